/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_sql.h"

#include <errno.h>
#include <qd/log.h>
#include <stdlib.h>

/* Steps a statement without rows and makes it ready for its next use. 0 or SQLite's code. */
static int run(struct qd_store_sql *sql, enum qd_store_statement which)
{
    sqlite3_stmt *statement = sql->statements[which];
    int code;

    /* sqlite3_system_errno is not set by a commit. */
    errno = 0;
    code = sqlite3_step(statement);
    sql->system_error = (code & 0xff) == SQLITE_IOERR ? errno : 0;
    /* After an error the reset returns it once more, and before it sqlite3_errmsg is the better one. */
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* The bound strings live as long as their transaction, so none is copied. */
static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    if (text)
        sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, index);
}

static int add_qube(struct qd_store_sql *sql, const struct qd_store_op *op)
{
    sqlite3_stmt *statement = sql->statements[QD_STORE_QUBE_INSERT];
    int code;

    sqlite3_bind_int64(sql->statements[QD_STORE_OBJECT_INSERT], 1, op->object);
    code = run(sql, QD_STORE_OBJECT_INSERT);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_int64(statement, 1, op->object);
    sqlite3_bind_int64(statement, 2, op->qid);
    bind_text(statement, 3, op->uuid);
    bind_text(statement, 4, op->name);
    bind_text(statement, 5, op->class_name);
    return run(sql, QD_STORE_QUBE_INSERT);
}

static int delete_qube(struct qd_store_sql *sql, const struct qd_store_op *op)
{
    if (op->object == QD_STORE_APP)
        return SQLITE_CONSTRAINT;
    sqlite3_bind_int64(sql->statements[QD_STORE_OBJECT_REMOVE], 1, op->object);
    return run(sql, QD_STORE_OBJECT_REMOVE);
}

static int set_attribute(struct qd_store_sql *sql, const struct qd_store_op *op)
{
    sqlite3_stmt *statement = sql->statements[QD_STORE_ATTRIBUTE_UPSERT];

    sqlite3_bind_int64(statement, 1, op->object);
    bind_text(statement, 2, op->kind);
    bind_text(statement, 3, op->name);
    sqlite3_bind_text(statement, 4, &op->type, 1, SQLITE_STATIC);
    bind_text(statement, 5, op->value);
    return run(sql, QD_STORE_ATTRIBUTE_UPSERT);
}

static int delete_attribute(struct qd_store_sql *sql, const struct qd_store_op *op)
{
    sqlite3_stmt *statement = sql->statements[QD_STORE_ATTRIBUTE_REMOVE];

    sqlite3_bind_int64(statement, 1, op->object);
    bind_text(statement, 2, op->kind);
    bind_text(statement, 3, op->name);
    return run(sql, QD_STORE_ATTRIBUTE_REMOVE);
}

static int apply(struct qd_store_sql *sql, const struct qd_store_txn *txn)
{
    int code = SQLITE_OK;

    for (size_t i = 0; i < txn->op_count && code == SQLITE_OK; i++) {
        const struct qd_store_op *op = &txn->ops[i];

        switch (op->op) {
        case QD_STORE_QUBE_ADD:
            code = add_qube(sql, op);
            break;
        case QD_STORE_QUBE_DELETE:
            code = delete_qube(sql, op);
            break;
        case QD_STORE_ATTRIBUTE_SET:
            code = set_attribute(sql, op);
            break;
        case QD_STORE_ATTRIBUTE_DELETE:
            code = delete_attribute(sql, op);
            break;
        default:
            code = SQLITE_MISUSE;
        }
    }
    return code;
}

static int commit(struct qd_store_sql *sql)
{
#ifdef QD_TESTING
    if (sql->test_delay_ms)
        uv_sleep((unsigned)sql->test_delay_ms);
    if (sql->test_fail && ++sql->test_commits == sql->test_fail)
        return SQLITE_FULL;
#endif
    return run(sql, QD_STORE_COMMIT);
}

/* A commit that fails late (in the fsync, or in the log's index) has its record in the log already: SQLite
 * ignores it from now on, but after a crash it would be read as valid, and a change that was reported as
 * failed would be back. An emptied log can't. */
static void wipe_log(struct qd_store_sql *sql)
{
    int code = sqlite3_wal_checkpoint_v2(sql->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);

    if (code == SQLITE_OK)
        sql->log_pages = 0;
    else
        qd_log(QD_LOG_WARNING, "store: %s: the log cannot be emptied after the failed commit: %s", sql->path,
               sqlite3_errstr(code));
}

int qd_store_sql_batch(struct qd_store_sql *sql, const struct qd_store_txn *first, size_t count,
                       char **ret_message)
{
    const struct qd_store_txn *txn = first;
    bool committing = false;
    char *words;
    int error;
    int code;

    code = run(sql, QD_STORE_BEGIN);
    for (size_t i = 0; i < count && code == SQLITE_OK; i++, txn = txn->next)
        code = apply(sql, txn);
    if (code == SQLITE_OK) {
        committing = true;
        code = commit(sql);
    }
    if (code == SQLITE_OK)
        return 0;

    /* Words first: the rollback would overwrite them. */
    error = sql->system_error > 0 ? -sql->system_error : qd_store_sql_errno(sql->db, code);
    words = qd_store_sql_words(sql->db, code, error);
    qd_log(QD_LOG_ERROR, "store: %s: %zu transaction(s) not committed: %s (SQLite's code %d)", sql->path,
           count, words ? words : "no memory", code);
    *ret_message = qd_store_text("the change cannot be stored: %s", words ? words : "no memory");
    free(words);
    if (!sqlite3_get_autocommit(sql->db)) /* some errors have rolled back already */
        run(sql, QD_STORE_ROLLBACK);
    if (committing)
        wipe_log(sql);
    return error;
}
