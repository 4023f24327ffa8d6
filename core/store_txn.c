/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <qd/store.h>
#include <stdlib.h>
#include <string.h>

static void free_op(struct qd_store_op *op)
{
    free(op->uuid);
    free(op->class_name);
    free(op->kind);
    free(op->name);
    free(op->value);
}

/* A NULL is copied as one. */
static int copy(const char *text, char **ret_copy)
{
    char *copied;

    if (!text) {
        *ret_copy = NULL;
        return 0;
    }
    copied = strdup(text);
    if (!copied)
        return -ENOMEM;
    *ret_copy = copied;
    return 0;
}

/* Takes over the strings of `op`, also when it fails. */
static int append(struct qd_store_txn *txn, struct qd_store_op *op)
{
    if (txn->op_count == txn->op_space) {
        size_t space = txn->op_space ? 2 * txn->op_space : 4;
        struct qd_store_op *ops = reallocarray(txn->ops, space, sizeof *ops);

        if (!ops) {
            free_op(op);
            return -ENOMEM;
        }
        txn->ops = ops;
        txn->op_space = space;
    }
    txn->ops[txn->op_count++] = *op;
    return 0;
}

struct qd_store_txn *qd_store_txn_new(void *owner)
{
    struct qd_store_txn *txn = calloc(1, sizeof *txn);

    if (txn)
        txn->owner = owner;
    return txn;
}

int qd_store_txn_add_qube(struct qd_store_txn *txn, int64_t object, int64_t qid, const char *uuid,
                          const char *name, const char *class_name)
{
    struct qd_store_op op = {.op = QD_STORE_QUBE_ADD, .object = object, .qid = qid};

    if (copy(uuid, &op.uuid) < 0 || copy(name, &op.name) < 0 || copy(class_name, &op.class_name) < 0) {
        free_op(&op);
        return -ENOMEM;
    }
    return append(txn, &op);
}

int qd_store_txn_delete_qube(struct qd_store_txn *txn, int64_t object)
{
    struct qd_store_op op = {.op = QD_STORE_QUBE_DELETE, .object = object};

    return append(txn, &op);
}

int qd_store_txn_set(struct qd_store_txn *txn, int64_t object, const char *kind, const char *name, char type,
                     const char *value)
{
    struct qd_store_op op = {.op = QD_STORE_ATTRIBUTE_SET, .object = object, .type = type};

    if (copy(kind, &op.kind) < 0 || copy(name, &op.name) < 0 || copy(value, &op.value) < 0) {
        free_op(&op);
        return -ENOMEM;
    }
    return append(txn, &op);
}

int qd_store_txn_delete(struct qd_store_txn *txn, int64_t object, const char *kind, const char *name)
{
    struct qd_store_op op = {.op = QD_STORE_ATTRIBUTE_DELETE, .object = object};

    if (copy(kind, &op.kind) < 0 || copy(name, &op.name) < 0) {
        free_op(&op);
        return -ENOMEM;
    }
    return append(txn, &op);
}

void qd_store_txn_free(struct qd_store_txn *txn)
{
    if (!txn)
        return;
    for (size_t i = 0; i < txn->op_count; i++)
        free_op(&txn->ops[i]);
    free(txn->ops);
    free(txn);
}
