/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From the journal of a call to the store, and back when the store fails (law 6).
 *
 * The model already has the changes while they are on their way. Commits reach the disk in the order in which
 * they were made, so when one fails, all that came after it are taken back with it, newest first, and the
 * model is again what is on disk.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/call.h"
#include "qd/log.h"

struct qd_commit {
    struct qd_commit *next;
    struct qd_daemon *daemon;
    struct qd_call *call;
    struct qd_journal journal;
    struct qd_outbox outbox; /* events of these changes */
    struct qd_outbox
        trailing; /* of calls that changed nothing, meanwhile: they keep their place among the others */
};

/* A value as the store keeps it: a letter for its type, and text. `ret_text` is malloc'ed, NULL for none. */
static int value_to_text(const struct qd_value *value, char *ret_type, char **ret_text)
{
    static const char letters[] = {[QD_VALUE_NONE] = 'n',
                                   [QD_VALUE_BOOL] = 'b',
                                   [QD_VALUE_INT] = 'i',
                                   [QD_VALUE_STR] = 's',
                                   [QD_VALUE_QUBE] = 'q'};
    int r = 0;

    *ret_type = letters[value->type];
    *ret_text = NULL;
    switch (value->type) {
    case QD_VALUE_NONE:
        return 0;
    case QD_VALUE_BOOL:
        *ret_text = strdup(value->u.boolean ? "1" : "0");
        return *ret_text ? 0 : -ENOMEM;
    case QD_VALUE_INT:
        r = asprintf(ret_text, "%" PRId64, value->u.integer);
        break;
    case QD_VALUE_STR:
        *ret_text = strdup(value->u.str->data);
        return *ret_text ? 0 : -ENOMEM;
    case QD_VALUE_QUBE:
        r = asprintf(ret_text, "%" PRId64, value->u.object->id);
        break;
    }
    return r < 0 ? -ENOMEM : 0;
}

static int add_set(struct qd_store_txn *txn, const struct qd_change *change)
{
    char type, *text;
    int r = value_to_text(&change->new_value, &type, &text);

    if (r == 0)
        r = qd_store_txn_set(txn, change->object->id, change->kind->data, change->name->data, type, text);
    free(text);
    return r;
}

static int add_change(struct qd_store_txn *txn, const struct qd_change *change)
{
    const struct qd_object *object = change->object;

    switch (change->op) {
    case QD_CHANGE_ADD:
        return qd_store_txn_add_qube(txn, object->id, object->qid, object->uuid, object->name->data,
                                     object->class_name->data);
    case QD_CHANGE_DELETE:
        return qd_store_txn_delete_qube(txn, object->id);
    default:
        return change->has_new ? add_set(txn, change)
                               : qd_store_txn_delete(txn, object->id, change->kind->data, change->name->data);
    }
}

static struct qd_store_txn *make_txn(struct qd_commit *commit)
{
    struct qd_store_txn *txn = qd_store_txn_new(commit);

    for (size_t i = 0; txn && i < commit->journal.count; i++) {
        if (add_change(txn, &commit->journal.changes[i]) < 0) {
            qd_store_txn_free(txn);
            return NULL;
        }
    }
    return txn;
}

void qd_commit_flush(struct qd_call *call)
{
    if (call->daemon->last_commit)
        qd_outbox_append(&call->daemon->last_commit->trailing, &call->outbox);
    else
        qd_outbox_deliver(call->daemon, &call->outbox);
}

int qd_commit_seal(struct qd_call *call)
{
    struct qd_daemon *daemon = call->daemon;
    struct qd_commit *commit;
    struct qd_store_txn *txn;

    if (call->journal.count == 0) {
        qd_commit_flush(call);
        return 0;
    }
    commit = calloc(1, sizeof(*commit));
    if (!commit)
        goto no_memory;
    *commit = (struct qd_commit){.daemon = daemon, .call = call, .journal = call->journal};
    txn = make_txn(commit);
    if (!txn)
        goto no_memory;
    commit->outbox = call->outbox;
    call->journal = (struct qd_journal){0};
    call->outbox = (struct qd_outbox){0};
    call->commits++;
    if (daemon->last_commit)
        daemon->last_commit->next = commit;
    else
        daemon->first_commit = commit;
    daemon->last_commit = commit;
    qd_store_submit(daemon->store, txn);
    return 0;
no_memory:
    free(commit);
    qd_journal_undo(daemon->model, &call->journal);
    qd_outbox_drop(&call->outbox);
    return -ENOMEM;
}

/* Takes the commit of the oldest transaction off the queue. */
static struct qd_commit *pop(struct qd_daemon *daemon)
{
    struct qd_commit *commit = daemon->first_commit;

    daemon->first_commit = commit->next;
    if (!daemon->first_commit)
        daemon->last_commit = NULL;
    return commit;
}

static void finish(struct qd_commit *commit, int error, const char *message)
{
    struct qd_call *call = commit->call;

    qd_journal_free(commit->daemon->model, &commit->journal);
    free(commit);
    qd_call_committed(call, error, message);
}

void qd_commit_done(void *context, struct qd_store_txn *list)
{
    struct qd_daemon *daemon = context;

    while (list) {
        struct qd_store_txn *txn = list;
        struct qd_commit *commit = pop(daemon);

        list = txn->next;
        qd_store_txn_free(txn);
        qd_outbox_deliver(daemon, &commit->outbox);
        qd_outbox_deliver(daemon, &commit->trailing);
        finish(commit, 0, NULL);
    }
}

static struct qd_commit *reverse(struct qd_commit *list)
{
    struct qd_commit *reversed = NULL;

    while (list) {
        struct qd_commit *next = list->next;

        list->next = reversed;
        reversed = list;
        list = next;
    }
    return reversed;
}

void qd_commit_failed(void *context, struct qd_store_txn *list, int error, const char *message)
{
    struct qd_daemon *daemon = context;
    struct qd_commit *commits = NULL, **link = &commits;

    qd_log(QD_LOG_ERROR, "the store failed, what waited for it is taken back: %s", message);
    while (list) {
        struct qd_store_txn *txn = list;

        list = txn->next;
        qd_store_txn_free(txn);
        *link = pop(daemon);
        link = &(*link)->next;
        *link = NULL;
    }
    commits = reverse(commits);
    for (struct qd_commit *commit = commits; commit; commit = commit->next)
        qd_journal_undo(daemon->model, &commit->journal);
    commits = reverse(commits);
    while (commits) {
        struct qd_commit *commit = commits;

        commits = commit->next;
        qd_outbox_drop(&commit->outbox);
        qd_outbox_deliver(daemon, &commit->trailing);
        finish(commit, error, message);
    }
}

/* ---- loading ---- */

static int load_qube(void *context, int64_t object, int64_t qid, const char *uuid, const char *name,
                     const char *class_name)
{
    struct qd_daemon *daemon = context;
    struct qd_object *qube;

    return qd_model_add_qube(daemon->model, NULL, object, qid, uuid, name, class_name, &qube);
}

static int load_attribute(void *context, int64_t id, const char *kind, const char *name, char type,
                          const char *text)
{
    struct qd_daemon *daemon = context;
    struct qd_object *object = qd_model_object_by_id(daemon->model, id);
    struct qd_value value = {.type = QD_VALUE_NONE};
    int r;

    if (!object || (!text && type != 'n'))
        return -EUCLEAN;
    switch (type) {
    case 'n':
        break;
    case 'b':
        value = (struct qd_value){.type = QD_VALUE_BOOL, .u.boolean = text[0] == '1'};
        break;
    case 'i':
        value = (struct qd_value){.type = QD_VALUE_INT, .u.integer = strtoll(text, NULL, 10)};
        break;
    case 's':
        value = (struct qd_value){.type = QD_VALUE_STR, .u.str = qd_str_new(text, strlen(text))};
        if (!value.u.str)
            return -ENOMEM;
        break;
    case 'q':
        value = (struct qd_value){.type = QD_VALUE_QUBE,
                                  .u.object = qd_model_object_by_id(daemon->model, strtoll(text, NULL, 10))};
        if (!value.u.object) {
            /* A removed qube that something still named: nothing can be meant by it any more. */
            qd_log(QD_LOG_NOTICE, "the store: %s %s of %s names a qube that is gone, and is left out", kind,
                   name, object->name ? object->name->data : "the app");
            return 0;
        }
        qd_object_ref(value.u.object);
        break;
    default:
        return -EUCLEAN;
    }
    r = qd_model_set(daemon->model, NULL, object, kind, strlen(kind), name, strlen(name), &value);
    qd_value_unref(daemon->model, &value);
    return r;
}

int qd_commit_load(struct qd_daemon *daemon, char **ret_message)
{
    struct qd_store_visitor visitor = {.qube = load_qube, .attribute = load_attribute, .context = daemon};

    int64_t next;
    int r = qd_store_load(daemon->store, &visitor, ret_message);

    if (r == 0)
        r = qd_store_next_object(daemon->store, &next);
    if (r == 0)
        qd_model_reserve_ids(daemon->model, next);
    return r;
}
