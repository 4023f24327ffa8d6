/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A copy is made by SQLite itself, in one read transaction of a connection of its own, so it is one moment's
 * state also beside a daemon that serves.
 */
#include "store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 5000

/* An empty file, for root only: SQLite would make it readable to others. */
static int create(const char *target, char **ret_message)
{
    int fd = open(target, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), error = 0;

    if (fd < 0) {
        error = -errno;
        *ret_message = qd_store_text("%s cannot be created: %s", target, strerror(-error));
        return error;
    }
    close(fd);
    return 0;
}

static int copy(sqlite3 *db, const char *target)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &statement, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_bind_text(statement, 1, target, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* A path that SQLite can't take for a URI, nor for one relative to elsewhere. */
static char *absolute(const char *path)
{
    char *directory = path[0] == '/' ? NULL : getcwd(NULL, 0), *full;

    full = directory ? qd_store_text("%s/%s", directory, path) : strdup(path);
    free(directory);
    return full;
}

static int copy_store(sqlite3 *db, const char *path, const char *target, char **ret_message)
{
    int64_t application = 0;
    int code = qd_store_sql_number(db, "PRAGMA application_id", &application), error;
    char *words;

    if (code == SQLITE_OK && application != QD_STORE_APPLICATION_ID) {
        *ret_message = qd_store_text("%s is no store of qubesd", path);
        return -EUCLEAN;
    }
    if (code == SQLITE_OK) {
        error = create(target, ret_message);
        if (error < 0)
            return error;
        code = copy(db, target);
        if (code == SQLITE_OK)
            return 0;
        unlink(target);
    }
    error = qd_store_sql_errno(db, code);
    words = qd_store_sql_words(db, code, error);
    *ret_message = qd_store_text("%s cannot be copied: %s", path, words ? words : "no memory");
    free(words);
    return error;
}

int qd_store_copy(const char *path, const char *target, char **ret_message)
{
    char *source = realpath(path, NULL), *full = NULL;
    sqlite3 *db = NULL;
    int error = 0;

    if (!source) {
        error = -errno;
        *ret_message = qd_store_text("%s cannot be read: %s", path, strerror(-error));
        goto out;
    }
    full = absolute(target);
    if (!full ||
        sqlite3_open_v2(source, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                        NULL) != SQLITE_OK) {
        error = -EIO;
        *ret_message = qd_store_text("%s cannot be opened: %s", path, db ? sqlite3_errmsg(db) : "no memory");
        goto out;
    }
    sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
    error = copy_store(db, path, full, ret_message);
out:
    sqlite3_close(db);
    free(source);
    free(full);
    return error;
}
