/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shared by the store's specs: a directory of its own for each test, transactions in one line, and a recorder
 * of what the callbacks and the visitor were told, as text that a test compares.
 */
#ifndef QD_STORE_FIXTURE_H
#define QD_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <qd/store.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURE_UNUSED __attribute__((unused))

struct fixture {
    char directory[256];
    char path[300];
    struct qd_store *store;
    uv_loop_t loop;
    char *record; /* what was told, words with a space after each */
    size_t record_size;
    bool stopped;
    int error; /* the last failure's */
    char message[256];
    void (*in_committed)(struct fixture *fixture);
    void (*in_failed)(struct fixture *fixture);
};

FIXTURE_UNUSED static int fixture_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *parent = getenv("TMPDIR");

    assert_non_null(fixture);
    snprintf(fixture->directory, sizeof fixture->directory, "%s/test_store.XXXXXX",
             parent ? parent : P_tmpdir);
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof fixture->path, "%s/qubes.db", fixture->directory);
    fixture->record = calloc(1, 1);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    *state = fixture;
    return 0;
}

FIXTURE_UNUSED static int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;
    DIR *directory = opendir(fixture->directory);
    char path[600];

    qd_store_close(fixture->store);
    assert_int_equal(uv_loop_close(&fixture->loop), 0); /* a handle that is left is -EBUSY */
    for (struct dirent *entry; (entry = readdir(directory));) {
        snprintf(path, sizeof path, "%s/%s", fixture->directory, entry->d_name);
        unlink(path);
    }
    closedir(directory);
    assert_int_equal(rmdir(fixture->directory), 0);
    unsetenv("QD_TEST_STORE_FAIL");
    unsetenv("QD_TEST_STORE_DELAY_MS");
    free(fixture->record);
    free(fixture);
    return 0;
}

FIXTURE_UNUSED __attribute__((format(printf, 2, 3))) static void record(struct fixture *fixture,
                                                                        const char *format, ...)
{
    va_list arguments;
    char word[512];
    size_t size;

    va_start(arguments, format);
    vsnprintf(word, sizeof word, format, arguments);
    va_end(arguments);
    size = strlen(word);
    fixture->record = realloc(fixture->record, fixture->record_size + size + 2);
    assert_non_null(fixture->record);
    memcpy(fixture->record + fixture->record_size, word, size);
    fixture->record_size += size + 1;
    strcpy(fixture->record + fixture->record_size - 1, " ");
}

/* Compares what was told, and forgets it. */
FIXTURE_UNUSED static void assert_record(struct fixture *fixture, const char *expected)
{
    assert_string_equal(fixture->record, expected);
    fixture->record[0] = '\0';
    fixture->record_size = 0;
}

FIXTURE_UNUSED static void open_store(struct fixture *fixture)
{
    char *message = NULL;
    int error = qd_store_open(fixture->path, &fixture->store, &message);

    if (error < 0)
        fail_msg("open: %d %s", error, message ? message : "");
    assert_null(message);
}

FIXTURE_UNUSED static void close_store(struct fixture *fixture)
{
    qd_store_close(fixture->store);
    fixture->store = NULL;
}

/* A transaction that sets one attribute of the app. Its owner is its number, for the record. */
FIXTURE_UNUSED static struct qd_store_txn *txn_numbered(int number)
{
    struct qd_store_txn *txn = qd_store_txn_new((void *)(intptr_t)number);
    char name[32];

    snprintf(name, sizeof name, "n%d", number);
    assert_non_null(txn);
    assert_int_equal(qd_store_txn_set(txn, QD_STORE_APP, "feature", name, 's', "1"), 0);
    return txn;
}

/* Applies and frees. The failure's message is kept in the fixture. */
FIXTURE_UNUSED static int apply(struct fixture *fixture, struct qd_store_txn *txn)
{
    char *message = NULL;
    int error = qd_store_apply(fixture->store, txn, &message);

    snprintf(fixture->message, sizeof fixture->message, "%s", message ? message : "");
    assert_true(error < 0 || !message);
    free(message);
    qd_store_txn_free(txn);
    return error;
}

FIXTURE_UNUSED static int visit_qube(void *context, int64_t object, int64_t qid, const char *uuid,
                                     const char *name, const char *class_name)
{
    record(context, "%lld:%lld:%s:%s:%s", (long long)object, (long long)qid, uuid ? uuid : "-", name,
           class_name);
    return 0;
}

FIXTURE_UNUSED static int visit_attribute(void *context, int64_t object, const char *kind, const char *name,
                                          char type, const char *value)
{
    record(context, "%lld.%s.%s=%c%s", (long long)object, kind, name, type, value ? value : "<null>");
    return 0;
}

FIXTURE_UNUSED static void load(struct fixture *fixture)
{
    struct qd_store_visitor visitor = {visit_qube, visit_attribute, fixture};
    char *message = NULL;

    assert_int_equal(qd_store_load(fixture->store, &visitor, &message), 0);
    assert_null(message);
}

static void record_list(struct fixture *fixture, const char *word, struct qd_store_txn *list)
{
    struct qd_store_txn *next;

    record(fixture, "%s", word);
    for (; list; list = next) {
        next = list->next;
        record(fixture, "%d", (int)(intptr_t)list->owner);
        qd_store_txn_free(list);
    }
}

FIXTURE_UNUSED static void on_committed(void *context, struct qd_store_txn *list)
{
    struct fixture *fixture = context;

    record_list(fixture, "committed", list);
    if (fixture->in_committed)
        fixture->in_committed(fixture);
}

FIXTURE_UNUSED static void on_failed(void *context, struct qd_store_txn *list, int error, const char *message)
{
    struct fixture *fixture = context;

    fixture->error = error;
    snprintf(fixture->message, sizeof fixture->message, "%s", message);
    record_list(fixture, "failed", list);
    if (fixture->in_failed)
        fixture->in_failed(fixture);
}

FIXTURE_UNUSED static void on_stopped(void *context)
{
    struct fixture *fixture = context;

    fixture->stopped = true;
}

FIXTURE_UNUSED static void start_store(struct fixture *fixture)
{
    struct qd_store_callbacks callbacks = {on_committed, on_failed, fixture};

    assert_int_equal(qd_store_start(fixture->store, &fixture->loop, &callbacks), 0);
}

/* Stops, and runs the loop until it has nothing left. */
FIXTURE_UNUSED static void stop_store(struct fixture *fixture)
{
    fixture->stopped = false;
    qd_store_stop(fixture->store, on_stopped);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_true(fixture->stopped);
}

/* Runs SQL on the closed store, as somebody else's program would. */
FIXTURE_UNUSED static void tamper(struct fixture *fixture, const char *query)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open_v2(fixture->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL),
                     SQLITE_OK);
    if (sqlite3_exec(db, query, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", query, sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* The result, with what was printed in `ret_text` (malloc). */
FIXTURE_UNUSED static int check(struct fixture *fixture, char **ret_text)
{
    size_t size = 0;
    FILE *out;
    int error;

    *ret_text = NULL;
    out = open_memstream(ret_text, &size);
    assert_non_null(out);
    error = qd_store_check(fixture->path, out);
    fclose(out);
    return error;
}

FIXTURE_UNUSED static void assert_check(struct fixture *fixture, int expected, const char *part)
{
    char *text;
    int error = check(fixture, &text);

    if (error != expected || !strstr(text, part))
        fail_msg("check: %d, expected %d and \"%s\":\n%s", error, expected, part, text);
    free(text);
}

#endif
