/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Private to the store's files: one SQLite connection, without threads and queues.
 *
 *   store.c        the thread, the queue, the batches: everything that include/qd/store.h says about time
 *   store_txn.c    how transactions are built
 *   store_sql.c    errors, statements, a load, the checkpoint
 *   store_batch.c  the transactions of a batch, applied and committed as one
 *   store_open.c   paths, the lock, the file's mode, the schema and its migrations
 *   store_check.c  qubesd --check-store
 *   store_copy.c   qubesd --copy-store
 *
 * Functions that take a connection are for one thread at a time. `ret_message` as in qd/store.h; NULL when
 * there is no memory for it.
 */
#ifndef QD_STORE_SQL_H
#define QD_STORE_SQL_H

#include <qd/store.h>
#include <sqlite3.h>

#define QD_STORE_APPLICATION_ID                                                                              \
    0x71647374 /* "qdst", in the file's header: tells a store from any other SQLite file */

enum qd_store_statement {
    QD_STORE_BEGIN,
    QD_STORE_COMMIT,
    QD_STORE_ROLLBACK,
    QD_STORE_OBJECT_INSERT,
    QD_STORE_OBJECT_REMOVE,
    QD_STORE_QUBE_INSERT,
    QD_STORE_ATTRIBUTE_UPSERT,
    QD_STORE_ATTRIBUTE_REMOVE,
    QD_STORE_STATEMENTS
};

struct qd_store_sql {
    char *path; /* absolute, without symbolic links */
    int lock_fd;
    sqlite3 *db;
    sqlite3_stmt *statements[QD_STORE_STATEMENTS];
    int system_error;  /* errno of the last statement that failed with an I/O error; 0: unknown */
    int log_pages;     /* in the write-ahead log after the last commit */
    int checkpoint_at; /* as many pages make the next checkpoint due */
#ifdef QD_TESTING
    unsigned long test_commits;
    unsigned long test_fail; /* this commit of qd_store_start's thread fails, from 1; 0: none */
    unsigned long test_delay_ms;
#endif
};

/* printf into malloc'ed memory; NULL: no memory. */
char *qd_store_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The negative errno for SQLite's result code, which `db` (may be NULL) has just returned. */
int qd_store_sql_errno(sqlite3 *db, int code);

/* The same as words, with those of `error` where SQLite has none of its own; malloc, may be NULL. */
char *qd_store_sql_words(sqlite3 *db, int code, int error);

/* One number, the first column of the first row. 0 or SQLite's code. */
int qd_store_sql_number(sqlite3 *db, const char *query, int64_t *ret_number);

/* The newest schema, which is the one that this program reads and writes. */
int qd_store_sql_version(void);

/* Everything of qd_store_open. `sql` must stay where it is until the close; after a failure it needs none. */
int qd_store_sql_open(struct qd_store_sql *sql, const char *path, char **ret_message);

/* Prepares all statements and takes over the checkpoints. 0 or SQLite's code. */
int qd_store_sql_prepare(struct qd_store_sql *sql);

/* Releases what there is, also after a half-done open. */
void qd_store_sql_close(struct qd_store_sql *sql);

int qd_store_sql_load(struct qd_store_sql *sql, const struct qd_store_visitor *visitor, char **ret_message);

/* Applies `count` transactions as one and commits. On failure none of them is in the store. */
int qd_store_sql_batch(struct qd_store_sql *sql, const struct qd_store_txn *first, size_t count,
                       char **ret_message);

/* Moves the log into the file when it has grown enough. Can't fail a commit: those are in the log. */
void qd_store_sql_checkpoint(struct qd_store_sql *sql);

#endif
