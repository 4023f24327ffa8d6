/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The store: what the daemon must still know after a kill -9 (law 6), in one SQLite file.
 *
 * One thread of its own runs every transaction, so that neither the loop nor libvirt can hold a commit up. It
 * takes all transactions that wait, applies them as one SQLite transaction and commits once: a batch costs
 * one fsync.
 *
 * Words: an *object* is the app (id 0) or a qube (id from 1, never used twice); an *attribute* of an object
 * is a value under a kind ("property", "feature", "tag", "label", …) and a name. The store gives no meaning
 * to kinds, types and values.
 */
#ifndef QD_STORE_H
#define QD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>

#define QD_STORE_APP 0 /* the object id of the app */

enum qd_store_op_kind {
    QD_STORE_QUBE_ADD,      /* object, qid, uuid, name, class_name */
    QD_STORE_QUBE_DELETE,   /* object, with all its attributes */
    QD_STORE_ATTRIBUTE_SET, /* object, kind, name, type, value; keeps its place in the order when it exists */
    QD_STORE_ATTRIBUTE_DELETE, /* object, kind, name */
};

/* One change. The strings belong to the operation (malloc) and are freed with its transaction. */
struct qd_store_op {
    enum qd_store_op_kind op;
    int64_t object;
    int64_t qid;
    char *uuid;
    char *class_name;
    char *kind;
    char *name;
    char type;   /* one letter, given back by qd_store_load as it is */
    char *value; /* NULL is stored as NULL */
};

/* The changes of one call, applied wholly or not at all. */
struct qd_store_txn {
    struct qd_store_op *ops;
    size_t op_count;
    size_t op_space;
    void *owner; /* the submitter's */
    struct qd_store_txn *next;
};

/* Both are called on the loop's thread; each transaction is in exactly one of the lists, oldest first, and
 * belongs to the callee from then on (qd_store_txn_free). */
struct qd_store_callbacks {
    /* The list is on disk. */
    void (*committed)(void *context, struct qd_store_txn *list);
    /* Nothing of the list is on disk. It holds the batch that failed and all that was submitted after it, up
     * to this moment, since they may rest on what failed. `message` says what failed, for the log and for the
     * callers. */
    void (*failed)(void *context, struct qd_store_txn *list, int error, const char *message);
    void *context;
};

/* Called by qd_store_load on the calling thread: first each qube (by object id), then each attribute (in the
 * order in which it was first set). Return a negative errno to stop the loading with it. Strings live for the
 * call. */
struct qd_store_visitor {
    int (*qube)(void *context, int64_t object, int64_t qid, const char *uuid, const char *name,
                const char *class_name);
    int (*attribute)(void *context, int64_t object, const char *kind, const char *name, char type,
                     const char *value);
    void *context;
};

struct qd_store_counters {
    uint64_t commits;      /* successful ones, each an fsync of the log */
    uint64_t transactions; /* that were committed */
    uint64_t failures;     /* failed batches */
};

struct qd_store;

/* Opens (creates, migrates) `path`. Blocks: for start-up only. -EBUSY: another process has it; -EUCLEAN: not
 * a store, or a damaged one; -EOVERFLOW: written by a newer version. `ret_message` (malloc; NULL on success,
 * and when there is no memory for it) says which and what to do. */
int qd_store_open(const char *path, struct qd_store **ret_store, char **ret_message);

/* Reads everything. Blocks: for start-up only, before qd_store_start. */
int qd_store_load(struct qd_store *store, const struct qd_store_visitor *visitor, char **ret_message);

/* The lowest object id that was never used, also by a qube that is deleted by now. Before qd_store_start. */
int qd_store_next_object(struct qd_store *store, int64_t *ret_object);

/* Applies one transaction and commits it, on the calling thread. For start-up and the offline tools, before
 * qd_store_start. */
int qd_store_apply(struct qd_store *store, const struct qd_store_txn *txn, char **ret_message);

/* Starts the thread. After this only qd_store_submit, _counters and _stop may be called. */
int qd_store_start(struct qd_store *store, uv_loop_t *loop, const struct qd_store_callbacks *callbacks);

/* Queues `txn`, which belongs to the store until one of the callbacks. Never blocks on the disk, never calls
 * back at once: it is gathered until the end of the loop's turn, so that the callers of one turn share a
 * commit. On the loop's thread (also in a callback), from qd_store_start until `stopped`; what comes too late
 * to be committed fails with -ESHUTDOWN. */
void qd_store_submit(struct qd_store *store, struct qd_store_txn *txn);

struct qd_store_counters qd_store_counters(struct qd_store *store);

/* Stops: what was submitted is committed first, the callbacks are called for it, then `stopped` (with the
 * callbacks' context) on the loop's thread, when the thread is joined and the libuv handles are closed. The
 * store is still open (for qd_store_close). */
void qd_store_stop(struct qd_store *store, void (*stopped)(void *context));

/* Checkpoints, closes and frees. Not while the thread runs. */
void qd_store_close(struct qd_store *store);

/* qubesd --check-store: SQLite's integrity check, the schema's version, references between the tables, every
 * value readable. Prints what it finds, a line each, to `out`. 0: clean; -EUCLEAN: not; other: could not be
 * checked. Changes nothing, but SQLite may leave its -wal and -shm files. Also beside a running daemon: it
 * sees the state after some commit. */
int qd_store_check(const char *path, FILE *out);

/* qubesd --copy-store: writes the store at `path` as it is at one moment to the new file `target`, which only
 * its owner may read. Also beside a running daemon. -EEXIST: there is such a file. */
int qd_store_copy(const char *path, const char *target, char **ret_message);

/* Transactions are built with these. All copy their strings. 0 or -ENOMEM (then the transaction is as
 * before). `type`: see above. Within a transaction the order counts: a qube is added before its attributes
 * are set. */
struct qd_store_txn *qd_store_txn_new(void *owner);
int qd_store_txn_add_qube(struct qd_store_txn *txn, int64_t object, int64_t qid, const char *uuid,
                          const char *name, const char *class_name);
int qd_store_txn_delete_qube(struct qd_store_txn *txn, int64_t object);
int qd_store_txn_set(struct qd_store_txn *txn, int64_t object, const char *kind, const char *name, char type,
                     const char *value);
int qd_store_txn_delete(struct qd_store_txn *txn, int64_t object, const char *kind, const char *name);
void qd_store_txn_free(struct qd_store_txn *txn); /* this one, not the list that it is in */

#endif
