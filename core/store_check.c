/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A check reads through a connection of its own, in one read transaction, so it may run beside the daemon and
 * judges one moment's state. It takes no lock that the daemon could meet, except that a checkpoint stops
 * short of it.
 */
#include "store_sql.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUSY_TIMEOUT_MS 5000
#define LINES_MAX 100 /* of each kind: a badly damaged file would print millions */

struct check {
    sqlite3 *db;
    FILE *out;
    bool found; /* a defect */
};

/* Each row of these is a defect, described by its only column. */
static const char *const defects[] = {
    "SELECT 'the app (object 0) is missing' WHERE NOT EXISTS (SELECT 1 FROM object WHERE id = 0)",
    "SELECT 'object ' || id || ' is neither the app nor a qube' FROM object"
    " WHERE id <> 0 AND id NOT IN (SELECT object FROM qube)",
    "SELECT 'the highest object id is not remembered' WHERE (SELECT max(id) FROM object)"
    " > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'object'), -1)",
    /* The daemon reads C strings, so a NUL would cut them. */
    "SELECT 'qube ' || object || ' has an unreadable name, class or uuid' FROM qube"
    " WHERE typeof(name) <> 'text' OR name = '' OR instr(name, char(0))"
    " OR typeof(class_name) <> 'text' OR class_name = '' OR instr(class_name, char(0))"
    " OR typeof(uuid) NOT IN ('text', 'null') OR instr(coalesce(uuid, ''), char(0)) OR typeof(qid) <> "
    "'integer'",
    "SELECT 'attribute ' || place || ' of object ' || object || ' has an unreadable kind, name, type or "
    "value'"
    " FROM attribute WHERE typeof(kind) <> 'text' OR kind = '' OR instr(kind, char(0))"
    " OR typeof(name) <> 'text' OR instr(name, char(0))"
    " OR typeof(type) <> 'text' OR length(CAST(type AS BLOB)) <> 1"
    " OR typeof(value) NOT IN ('text', 'null') OR instr(coalesce(value, ''), char(0))",
};

/* Prints the rows that `query` finds, each as one line. `fine` (may be NULL) is the row that is no defect. */
static int print_rows(struct check *check, const char *query, const char *fine)
{
    sqlite3_stmt *statement = NULL;
    int lines = 0;
    int code;

    code = sqlite3_prepare_v2(check->db, query, -1, &statement, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        const char *text;

        code = sqlite3_step(statement);
        if (code != SQLITE_ROW)
            break;
        text = (const char *)sqlite3_column_text(statement, 0);
        if (fine && text && strcmp(text, fine) == 0)
            continue;
        check->found = true;
        if (++lines > LINES_MAX) {
            fprintf(check->out, "... and more\n");
            code = SQLITE_DONE;
            break;
        }
        fprintf(check->out, "%s\n", text ? text : "no memory");
    }
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Rows whose parent is missing. */
static int check_references(struct check *check)
{
    return print_rows(
        check,
        "SELECT 'row ' || coalesce(rowid, '?') || ' of ' || \"table\" || ' refers to a row of ' || parent || "
        "' that does not exist' FROM pragma_foreign_key_check",
        NULL);
}

/* 0: go on; negative: the file is none that can be looked into, and `out` has been told why. SQLite's codes
 * go to `ret_code`. */
static int check_version(struct check *check, int64_t *ret_version, int *ret_code)
{
    int64_t application = 0;
    int64_t version = 0;
    int code;

    code = qd_store_sql_number(check->db, "PRAGMA application_id", &application);
    if (code == SQLITE_OK)
        code = qd_store_sql_number(check->db, "PRAGMA user_version", &version);
    *ret_code = code;
    if (code != SQLITE_OK)
        return 0;
    if (application != QD_STORE_APPLICATION_ID || version < 1) {
        fprintf(check->out,
                "it is no store of qubesd, or an empty one (application id %" PRId64 ", schema %" PRId64
                ")\n",
                application, version);
        return -EUCLEAN;
    }
    if (version > qd_store_sql_version()) {
        fprintf(check->out, "it was written by a newer qubesd: schema %" PRId64 ", this one knows %d\n",
                version, qd_store_sql_version());
        return -EOVERFLOW;
    }
    *ret_version = version;
    return 0;
}

static int check_contents(struct check *check)
{
    int code;

    code = print_rows(check, "SELECT * FROM pragma_integrity_check", "ok");
    if (code == SQLITE_OK)
        code = check_references(check);
    for (size_t i = 0; i < sizeof defects / sizeof defects[0] && code == SQLITE_OK; i++)
        code = print_rows(check, defects[i], NULL);
    return code;
}

static int print_summary(struct check *check, int64_t version)
{
    int64_t qubes = 0;
    int64_t attributes = 0;
    int code;

    code = qd_store_sql_number(check->db, "SELECT count(*) FROM qube", &qubes);
    if (code == SQLITE_OK)
        code = qd_store_sql_number(check->db, "SELECT count(*) FROM attribute", &attributes);
    if (code == SQLITE_OK)
        fprintf(check->out, "clean: schema %" PRId64 ", %" PRId64 " qubes, %" PRId64 " attributes\n", version,
                qubes, attributes);
    return code;
}

/* What SQLite says when it cannot go on: a defect of the file, or of the circumstances. */
static int report(struct check *check, int code)
{
    /* "No such table" and the like, of a schema whose version says that it is there. */
    int error = (code & 0xff) == SQLITE_ERROR ? -EUCLEAN : qd_store_sql_errno(check->db, code);
    char *words = qd_store_sql_words(check->db, code, error);

    fprintf(check->out, "%s: %s\n", error == -EUCLEAN ? "it is damaged, or no store" : "it cannot be checked",
            words ? words : "no memory");
    free(words);
    return error;
}

int qd_store_check(const char *path, FILE *out)
{
    struct check check = {.out = out};
    struct stat status;
    int64_t version = 0;
    char *real_path;
    int code = SQLITE_OK;
    int error = 0;

    /* The daemon's name of the file; and one that SQLite can't take for a URI. */
    real_path = realpath(path, NULL);
    if (!real_path || stat(real_path, &status) < 0)
        error = -errno;
    else if (!S_ISREG(status.st_mode))
        error = -EINVAL;
    if (error < 0) {
        fprintf(out, "it cannot be checked: %s\n", strerror(-error));
        goto out;
    }
    code = sqlite3_open_v2(real_path, &check.db,
                           SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK) {
        sqlite3_busy_timeout(check.db, BUSY_TIMEOUT_MS);
        code = sqlite3_exec(check.db, "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; BEGIN", NULL,
                            NULL, NULL);
    }
    if (code == SQLITE_OK)
        error = check_version(&check, &version, &code);
    if (error == 0 && code == SQLITE_OK)
        code = check_contents(&check);
    if (error == 0 && code == SQLITE_OK && !check.found)
        code = print_summary(&check, version);
    if (code != SQLITE_OK)
        error = report(&check, code);
    if (error == 0 && check.found)
        error = -EUCLEAN;
out:
    sqlite3_close(check.db);
    free(real_path);
    return error;
}
