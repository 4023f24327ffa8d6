/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_sql.h"

#include <errno.h>
#include <qd/log.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The log is moved into the file when it has so many pages (4 MiB). A checkpoint that fails or meets a reader
 * is tried again after as many more, not after every commit. */
#define CHECKPOINT_PAGES 1000

/* An update leaves the row, and so its place, as it is. */
static const char upsert_text[] = "INSERT INTO attribute (object, kind, name, type, value)"
                                  " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (object, kind, name)"
                                  " DO UPDATE SET type = excluded.type, value = excluded.value";

static const char *const statement_texts[QD_STORE_STATEMENTS] = {
    [QD_STORE_BEGIN] = "BEGIN IMMEDIATE",
    [QD_STORE_COMMIT] = "COMMIT",
    [QD_STORE_ROLLBACK] = "ROLLBACK",
    [QD_STORE_OBJECT_INSERT] = "INSERT INTO object (id) VALUES (?1)",
    [QD_STORE_OBJECT_REMOVE] = "DELETE FROM object WHERE id = ?1",
    [QD_STORE_QUBE_INSERT] =
        "INSERT INTO qube (object, qid, uuid, name, class_name) VALUES (?1, ?2, ?3, ?4, ?5)",
    [QD_STORE_ATTRIBUTE_UPSERT] = upsert_text,
    [QD_STORE_ATTRIBUTE_REMOVE] = "DELETE FROM attribute WHERE object = ?1 AND kind = ?2 AND name = ?3",
};

char *qd_store_text(const char *format, ...)
{
    va_list arguments;
    int length;
    char *text;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        return NULL;
    text = malloc((size_t)length + 1);
    if (!text)
        return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

int qd_store_sql_errno(sqlite3 *db, int code)
{
    int system_error;

    switch (code & 0xff) {
    case SQLITE_OK:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return -EINVAL; /* a change that does not fit what is stored: the submitter's mistake */
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        system_error = db ? sqlite3_system_errno(db) : 0;
        return system_error > 0 ? -system_error : -EIO;
    default:
        return -EIO;
    }
}

char *qd_store_sql_words(sqlite3 *db, int code, int error)
{
    int primary = code & 0xff;
    /* The connection's own message names the constraint, the table, the statement. */
    const char *words =
        db && sqlite3_extended_errcode(db) == code ? sqlite3_errmsg(db) : sqlite3_errstr(code);

    if ((primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN) && error != -EIO)
        return qd_store_text("%s: %s", words, strerror(-error));
    return qd_store_text("%s", words);
}

int qd_store_sql_number(sqlite3 *db, const char *query, int64_t *ret_number)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = 0;
    int code;

    code = sqlite3_prepare_v2(db, query, -1, &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    else if (code == SQLITE_DONE)
        code = SQLITE_ERROR;
    if (code == SQLITE_ROW)
        code = sqlite3_finalize(statement);
    else
        sqlite3_finalize(statement);
    if (code == SQLITE_OK)
        *ret_number = number;
    return code;
}

static int note_log_pages(void *context, sqlite3 *db, const char *database, int pages)
{
    struct qd_store_sql *sql = context;

    (void)db;
    (void)database;
    sql->log_pages = pages;
    return SQLITE_OK;
}

int qd_store_sql_prepare(struct qd_store_sql *sql)
{
    for (int i = 0; i < QD_STORE_STATEMENTS; i++) {
        int code = sqlite3_prepare_v3(sql->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &sql->statements[i], NULL);

        if (code != SQLITE_OK)
            return code;
    }
    /* In the place of SQLite's own checkpoint, which would run before the commit returns and so delay the
     * answers. */
    sqlite3_wal_hook(sql->db, note_log_pages, sql);
    sql->checkpoint_at = CHECKPOINT_PAGES;
    return SQLITE_OK;
}

void qd_store_sql_close(struct qd_store_sql *sql)
{
    int code;

    for (int i = 0; i < QD_STORE_STATEMENTS; i++)
        sqlite3_finalize(sql->statements[i]);
    /* The last connection's close is a checkpoint, too. */
    code = sqlite3_close(sql->db);
    if (code != SQLITE_OK)
        qd_log(QD_LOG_WARNING, "store: %s: cannot be closed: %s", sql->path, sqlite3_errstr(code));
    if (sql->lock_fd >= 0)
        close(sql->lock_fd);
    free(sql->path);
    *sql = (struct qd_store_sql){.lock_fd = -1};
}

static const char *column_text(sqlite3_stmt *statement, int column)
{
    return (const char *)sqlite3_column_text(statement, column);
}

/* `visit` is called for each row; its negative errno ends the walk. Returns that, or what SQLite says. */
static int walk(struct qd_store_sql *sql, const char *query, const char *thing,
                int (*visit)(const struct qd_store_visitor *visitor, sqlite3_stmt *row),
                const struct qd_store_visitor *visitor, char **ret_message)
{
    sqlite3_stmt *statement = NULL;
    char *words = NULL;
    int error = 0;
    int code;

    code = sqlite3_prepare_v2(sql->db, query, -1, &statement, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code != SQLITE_ROW)
            break;
        error = visit(visitor, statement);
        if (error < 0) {
            *ret_message = qd_store_text("%s: loading stopped at the %s of object %lld: %s", sql->path, thing,
                                         (long long)sqlite3_column_int64(statement, 0), strerror(-error));
            goto out;
        }
    }
    if (code != SQLITE_DONE) {
        error = qd_store_sql_errno(sql->db, code);
        words = qd_store_sql_words(sql->db, code, error);
        *ret_message = qd_store_text("the store %s cannot be read (%s): see qubesd --check-store", sql->path,
                                     words ? words : "no memory");
    }
out:
    sqlite3_finalize(statement);
    free(words);
    return error;
}

static int visit_qube(const struct qd_store_visitor *visitor, sqlite3_stmt *row)
{
    const char *name = column_text(row, 3);
    const char *class_name = column_text(row, 4);

    if (!name || !class_name) /* NOT NULL in the schema, so: no memory */
        return -ENOMEM;
    return visitor->qube(visitor->context, sqlite3_column_int64(row, 0), sqlite3_column_int64(row, 1),
                         column_text(row, 2), name, class_name);
}

static int visit_attribute(const struct qd_store_visitor *visitor, sqlite3_stmt *row)
{
    const char *kind = column_text(row, 1);
    const char *name = column_text(row, 2);
    const char *type = column_text(row, 3);
    bool has_value = sqlite3_column_type(row, 4) != SQLITE_NULL;
    const char *value = column_text(row, 4);

    if (!kind || !name || !type || (has_value && !value))
        return -ENOMEM;
    return visitor->attribute(visitor->context, sqlite3_column_int64(row, 0), kind, name, type[0], value);
}

int qd_store_sql_load(struct qd_store_sql *sql, const struct qd_store_visitor *visitor, char **ret_message)
{
    int error;

    error = walk(sql, "SELECT object, qid, uuid, name, class_name FROM qube ORDER BY object", "qube",
                 visit_qube, visitor, ret_message);
    if (error < 0)
        return error;
    return walk(sql, "SELECT object, kind, name, type, value FROM attribute ORDER BY place", "attributes",
                visit_attribute, visitor, ret_message);
}

void qd_store_sql_checkpoint(struct qd_store_sql *sql)
{
    int pages = 0;
    int moved = 0;
    int code;

    if (sql->log_pages < CHECKPOINT_PAGES) {
        sql->checkpoint_at = CHECKPOINT_PAGES;
        return;
    }
    if (sql->log_pages < sql->checkpoint_at)
        return;
    sql->checkpoint_at = sql->log_pages + CHECKPOINT_PAGES;
    /* Passive: a reader (a check of the live store) is not waited for. */
    code = sqlite3_wal_checkpoint_v2(sql->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &moved);
    if (code != SQLITE_OK)
        qd_log(QD_LOG_WARNING, "store: %s: no checkpoint, the log has %d pages: %s", sql->path,
               sql->log_pages, sqlite3_errstr(code));
}
