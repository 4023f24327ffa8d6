/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <qd/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Another process can only be a check, or an admin's sqlite3: both are soon done, or a mistake. */
#define BUSY_TIMEOUT_MS 2000

/* Only root reads it: what a caller may observe is for the rules to say, not for the file's mode. */
#define STORE_MODE 0600

/* Step n - 1 leads from version n - 1 to n. A step that was released is never changed, a new one is added. */
static const char *const migrations[] = {
    /* Row 0 of `object` is the app. AUTOINCREMENT remembers the highest id in sqlite_sequence, so that none
     * is used twice. `place` is the order in which attributes were first set. */
    "CREATE TABLE object ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id >= 0)"
    ") STRICT;"
    "INSERT INTO object (id) VALUES (0);"
    "CREATE TABLE qube ("
    "  object INTEGER PRIMARY KEY CHECK (object > 0) REFERENCES object (id) ON DELETE CASCADE,"
    "  qid INTEGER NOT NULL,"
    "  uuid TEXT UNIQUE,"
    "  name TEXT NOT NULL UNIQUE CHECK (name <> ''),"
    "  class_name TEXT NOT NULL"
    ") STRICT;"
    "CREATE TABLE attribute ("
    "  place INTEGER PRIMARY KEY,"
    "  object INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,"
    "  kind TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  type TEXT NOT NULL CHECK (length(type) = 1),"
    "  value TEXT,"
    "  UNIQUE (object, kind, name)"
    ") STRICT;",
};

int qd_store_sql_version(void)
{
    return sizeof migrations / sizeof migrations[0];
}

/* The file need not exist, its directory must. Links are followed now, so that one file has one lock. */
static int resolve(const char *path, char **ret_path, char **ret_message)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    char *directory = NULL;
    char *real_directory = NULL;
    struct stat status;
    char *resolved;
    int error = 0;

    if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        *ret_message = qd_store_text("\"%s\" does not name a file for the store", path);
        return -EINVAL;
    }
    resolved = realpath(path, NULL);
    if (!resolved && errno != ENOENT) {
        error = -errno;
        *ret_message = qd_store_text("the store %s cannot be reached: %s", path, strerror(-error));
        goto out;
    }
    if (resolved && stat(resolved, &status) == 0 && !S_ISREG(status.st_mode)) {
        error = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
        *ret_message = qd_store_text("the store %s is not a regular file", path);
        goto out;
    }
    if (!resolved) {
        directory = slash ? strndup(path, (size_t)(base - path)) : strdup(".");
        real_directory = directory ? realpath(directory, NULL) : NULL;
        if (directory && !real_directory) {
            error = -errno;
            *ret_message =
                qd_store_text("the directory %s of the store cannot be used: %s; create it, or choose "
                              "another with --state-dir",
                              directory, strerror(-error));
            goto out;
        }
        resolved = real_directory ? qd_store_text("%s/%s", real_directory, base) : NULL;
        if (!resolved) {
            error = -ENOMEM;
            *ret_message = NULL;
            goto out;
        }
    }
    *ret_path = resolved;
    resolved = NULL;
out:
    free(directory);
    free(real_directory);
    free(resolved);
    return error;
}

/* A file of its own beside the store: SQLite's locks are for one transaction, and closing a second descriptor
 * of the store would drop them. It stays when the daemon ends, since removing it would race with the next
 * one; the lock goes with the process. */
static int lock(const char *path, int *ret_fd, char **ret_message)
{
    char *lock_path = qd_store_text("%s-lock", path);
    char owner[24] = "";
    int fd = -1;
    int error = 0;

    if (!lock_path) {
        *ret_message = NULL;
        return -ENOMEM;
    }
    fd = open(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, STORE_MODE);
    if (fd < 0) {
        error = -errno;
        *ret_message = qd_store_text("the lock file %s cannot be opened: %s", lock_path, strerror(-error));
        goto out;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        error = errno == EWOULDBLOCK ? -EBUSY : -errno;
        if (error == -EBUSY && pread(fd, owner, sizeof owner - 1, 0) > 0)
            owner[strspn(owner, "0123456789")] = '\0';
        *ret_message =
            error == -EBUSY
                ? qd_store_text("the store %s is in use by another process (%s): stop that one first", path,
                                *owner ? owner : "unknown")
                : qd_store_text("the lock file %s: %s", lock_path, strerror(-error));
        goto out;
    }
    /* For the message above only, so a full disk is no reason to stop. */
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0)
        qd_log(QD_LOG_DEBUG, "store: %s: no process id written", lock_path);
    *ret_fd = fd;
    fd = -1;
out:
    if (fd >= 0)
        close(fd);
    free(lock_path);
    return error;
}

/* Else a power cut could take a new file's name away from what was acknowledged. */
static int sync_directory(const char *path)
{
    char *directory = strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    int fd = -1;
    int error = 0;

    if (!directory)
        return -ENOMEM;
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        error = -errno;
    if (fd >= 0)
        close(fd);
    free(directory);
    return error;
}

/* SQLite would create it with 0644 and the umask; the log and its index take this file's mode. */
static int create(const char *path, char **ret_message)
{
    int error = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, STORE_MODE);

    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0 || fchmod(fd, STORE_MODE) < 0)
        error = -errno;
    if (fd >= 0)
        close(fd);
    if (error == 0)
        error = sync_directory(path);
    if (error < 0)
        *ret_message = qd_store_text("the store %s cannot be created: %s", path, strerror(-error));
    return error;
}

static int explain(struct qd_store_sql *sql, const char *what, int code, char **ret_message)
{
    int error = qd_store_sql_errno(sql->db, code);
    char *words = qd_store_sql_words(sql->db, code, error);
    const char *advice = "";

    if ((code & 0xff) == SQLITE_NOTADB)
        advice = ": it is no store of qubesd; move it away, or choose another --state-dir";
    else if (error == -EUCLEAN)
        advice = ": it is damaged; see qubesd --check-store, and restore it from a backup";
    else if (error == -EBUSY)
        advice = ": another program has it open";
    *ret_message = qd_store_text("the store %s cannot be %s (%s)%s", sql->path, what,
                                 words ? words : "no memory", advice);
    free(words);
    return error;
}

/* What is in the file, before anything is written to it. */
static int identify(struct qd_store_sql *sql, int64_t *ret_version, char **ret_message)
{
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    int code;

    code = qd_store_sql_number(sql->db, "PRAGMA application_id", &application);
    if (code == SQLITE_OK)
        code = qd_store_sql_number(sql->db, "PRAGMA user_version", &version);
    if (code == SQLITE_OK)
        code = qd_store_sql_number(sql->db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (code != SQLITE_OK)
        return explain(sql, "read", code, ret_message);

    if (application == 0 && version == 0 && tables == 0) { /* new, or its creation was interrupted */
        *ret_version = 0;
        return 0;
    }
    if (application != QD_STORE_APPLICATION_ID || version < 1) {
        *ret_message =
            qd_store_text("%s is a database, but no store of qubesd: move it away, or choose another "
                          "--state-dir",
                          sql->path);
        return -EUCLEAN;
    }
    if (version > qd_store_sql_version()) {
        *ret_message =
            qd_store_text("the store %s was written by a newer qubesd (schema %lld, this one knows %d): "
                          "install that version, or restore a backup from before",
                          sql->path, (long long)version, qd_store_sql_version());
        return -EOVERFLOW;
    }
    *ret_version = version;
    return 0;
}

/* One step and its version number in one transaction. */
static int migrate_step(sqlite3 *db, int version)
{
    char pragmas[96];
    int code;

    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             QD_STORE_APPLICATION_ID, version);
    code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, migrations[version - 1], NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
    return code; /* a transaction left open is rolled back by the close that follows */
}

static int set_up(struct qd_store_sql *sql, char **ret_message)
{
    static const char *const settings[] = {
        "PRAGMA synchronous = FULL", /* a commit is an fsync of the log: law 6 */
        "PRAGMA foreign_keys = ON",
        "PRAGMA trusted_schema = OFF",
        "PRAGMA cell_size_check = ON",
        "PRAGMA temp_store = MEMORY",           /* no files elsewhere, which may be full or slow */
        "PRAGMA journal_size_limit = 16777216", /* gives the disk back after a long reader */
    };
    sqlite3_stmt *mode = NULL;
    bool is_wal = false;
    int code;

    code = sqlite3_prepare_v2(sql->db, "PRAGMA journal_mode = WAL", -1, &mode, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(mode);
        is_wal = code == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(mode, 0), "wal") == 0;
        if (code == SQLITE_ROW)
            code = SQLITE_OK;
    }
    sqlite3_finalize(mode);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0] && code == SQLITE_OK; i++)
        code = sqlite3_exec(sql->db, settings[i], NULL, NULL, NULL);
    if (code != SQLITE_OK)
        return explain(sql, "set up", code, ret_message);
    if (!is_wal) {
        *ret_message =
            qd_store_text("the store %s: its file system can't hold a write-ahead log; choose another "
                          "--state-dir",
                          sql->path);
        return -EOPNOTSUPP;
    }
    return 0;
}

int qd_store_sql_open(struct qd_store_sql *sql, const char *path, char **ret_message)
{
    int64_t version = 0;
    int error;
    int code;

    *sql = (struct qd_store_sql){.lock_fd = -1};
    error = resolve(path, &sql->path, ret_message);
    if (error < 0)
        goto out;
    error = lock(sql->path, &sql->lock_fd, ret_message);
    if (error < 0)
        goto out;
    error = create(sql->path, ret_message);
    if (error < 0)
        goto out;

    /* Used by one thread at a time, so without SQLite's mutexes. */
    code = sqlite3_open_v2(sql->path, &sql->db,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code != SQLITE_OK) {
        error = explain(sql, "opened", code, ret_message);
        goto out;
    }
    sqlite3_busy_timeout(sql->db, BUSY_TIMEOUT_MS);
    sqlite3_db_config(sql->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    error = identify(sql, &version, ret_message);
    if (error < 0)
        goto out;
    error = set_up(sql, ret_message);
    if (error < 0)
        goto out;
    while (version < qd_store_sql_version()) {
        code = migrate_step(sql->db, (int)++version);
        if (code != SQLITE_OK) {
            error = explain(sql, "brought to this version's schema", code, ret_message);
            goto out;
        }
    }
    code = qd_store_sql_prepare(sql);
    if (code != SQLITE_OK) {
        /* The version is ours, the tables are not. */
        error = explain(sql, "used", (code & 0xff) == SQLITE_ERROR ? SQLITE_CORRUPT : code, ret_message);
        goto out;
    }
out:
    if (error < 0)
        qd_store_sql_close(sql);
    return error;
}
