/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The store in one process. What needs a second one (kill -9, a full disk) is in test_store_crash.c.
 */
#include "store_fixture.h"

#include <time.h>

static void assert_open_fails(struct fixture *fixture, int expected, const char *part)
{
    struct qd_store *store = NULL;
    char *message = NULL;
    int error = qd_store_open(fixture->path, &store, &message);

    if (error != expected || !message || !strstr(message, part))
        fail_msg("open: %d, expected %d and \"%s\": %s", error, expected, part, message ? message : "NULL");
    assert_null(store);
    free(message);
}

static mode_t mode_of(struct fixture *fixture, const char *suffix)
{
    struct stat status;
    char path[400];

    snprintf(path, sizeof path, "%s%s", fixture->path, suffix);
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 07777;
}

static off_t size_of(struct fixture *fixture, const char *suffix)
{
    struct stat status;
    char path[400];

    snprintf(path, sizeof path, "%s%s", fixture->path, suffix);
    return stat(path, &status) == 0 ? status.st_size : 0;
}

static void write_file(struct fixture *fixture, long offset, const char *bytes, size_t size)
{
    FILE *file = fopen(fixture->path, offset ? "r+" : "w");

    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void add_qube(struct qd_store_txn *txn, int64_t object, const char *name)
{
    char uuid[64];

    snprintf(uuid, sizeof uuid, "uuid-%lld", (long long)object);
    assert_int_equal(qd_store_txn_add_qube(txn, object, object + 100, uuid, name, "AppVM"), 0);
}

static void set(struct qd_store_txn *txn, int64_t object, const char *name, const char *value)
{
    assert_int_equal(qd_store_txn_set(txn, object, "feature", name, 's', value), 0);
}

static void test_new_file(void **state)
{
    struct fixture *fixture = *state;
    int64_t next = 0;
    mode_t umask_before = umask(0);

    open_store(fixture);
    umask(umask_before);
    assert_int_equal(mode_of(fixture, ""), 0600);
    assert_int_equal(mode_of(fixture, "-lock"), 0600);
    assert_int_equal(apply(fixture, txn_numbered(1)), 0);
    assert_int_equal(mode_of(fixture, "-wal"), 0600);
    assert_int_equal(mode_of(fixture, "-shm"), 0600);
    assert_int_equal(qd_store_next_object(fixture->store, &next), 0);
    assert_int_equal(next, 1);
    load(fixture);
    assert_record(fixture, "0.feature.n1=s1 ");
}

static void test_round_trip(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_txn *txn = qd_store_txn_new(NULL);

    open_store(fixture);
    assert_int_equal(qd_store_txn_add_qube(txn, 7, 3, "u-7", "work", "AppVM"), 0);
    assert_int_equal(qd_store_txn_add_qube(txn, 2, 4, NULL, "vault", "TemplateVM"), 0);
    assert_int_equal(qd_store_txn_set(txn, 7, "property", "netvm", 'q', NULL), 0);
    assert_int_equal(qd_store_txn_set(txn, 2, "tag", "", 't', ""), 0);
    assert_int_equal(qd_store_txn_set(txn, 0, "label", "red", 'l', "\xc3\xa4\xff'\"\n"), 0);
    assert_int_equal(apply(fixture, txn), 0);
    for (int i = 0; i < 2; i++) {
        load(fixture);
        assert_record(fixture, "2:4:-:vault:TemplateVM 7:3:u-7:work:AppVM "
                               "7.property.netvm=q<null> 2.tag.=t 0.label.red=l\xc3\xa4\xff'\"\n ");
        close_store(fixture);
        open_store(fixture);
    }
}

static void test_order_kept(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_txn *txn = qd_store_txn_new(NULL);

    open_store(fixture);
    set(txn, 0, "c", "1");
    set(txn, 0, "a", "2");
    set(txn, 0, "b", "3");
    assert_int_equal(apply(fixture, txn), 0);
    txn = qd_store_txn_new(NULL);
    set(txn, 0, "a", "4"); /* keeps its place */
    assert_int_equal(qd_store_txn_delete(txn, 0, "feature", "c"), 0);
    set(txn, 0, "c", "5"); /* has lost it */
    assert_int_equal(qd_store_txn_delete(txn, 0, "feature", "never-there"), 0);
    assert_int_equal(apply(fixture, txn), 0);
    close_store(fixture);
    open_store(fixture);
    load(fixture);
    assert_record(fixture, "0.feature.a=s4 0.feature.b=s3 0.feature.c=s5 ");
}

static void test_deleted_qube(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_txn *txn = qd_store_txn_new(NULL);
    int64_t next = 0;

    open_store(fixture);
    add_qube(txn, 1, "one");
    add_qube(txn, 2, "two");
    set(txn, 2, "a", "x");
    set(txn, 1, "a", "y");
    assert_int_equal(apply(fixture, txn), 0);
    txn = qd_store_txn_new(NULL);
    assert_int_equal(qd_store_txn_delete_qube(txn, 2), 0);
    assert_int_equal(apply(fixture, txn), 0);
    close_store(fixture);
    open_store(fixture);
    load(fixture);
    assert_record(fixture, "1:101:uuid-1:one:AppVM 1.feature.a=sy ");
    assert_int_equal(qd_store_next_object(fixture->store, &next), 0);
    assert_int_equal(next, 3);
    assert_check(fixture, 0, "clean");

    txn = qd_store_txn_new(NULL); /* the name is free again */
    add_qube(txn, 3, "two");
    assert_int_equal(apply(fixture, txn), 0);
}

static void test_all_or_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_txn *txn = qd_store_txn_new(NULL);

    open_store(fixture);
    add_qube(txn, 1, "one");
    assert_int_equal(apply(fixture, txn), 0);

    txn = txn_numbered(1);
    set(txn, 5, "a", "x"); /* of no object */
    assert_int_equal(apply(fixture, txn), -EINVAL);
    assert_non_null(strstr(fixture->message, "FOREIGN KEY"));
    txn = txn_numbered(1);
    add_qube(txn, 2, "one"); /* the name is taken */
    assert_int_equal(apply(fixture, txn), -EINVAL);
    txn = txn_numbered(1);
    assert_int_equal(qd_store_txn_delete_qube(txn, QD_STORE_APP), 0);
    assert_int_equal(apply(fixture, txn), -EINVAL);

    load(fixture);
    assert_record(fixture, "1:101:uuid-1:one:AppVM ");
    assert_int_equal(apply(fixture, txn_numbered(1)), 0);
}

static int refuse_qube(void *context, int64_t object, int64_t qid, const char *uuid, const char *name,
                       const char *class_name)
{
    visit_qube(context, object, qid, uuid, name, class_name);
    return -EDOM;
}

static void test_visitor_stops(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_visitor visitor = {refuse_qube, visit_attribute, fixture};
    struct qd_store_txn *txn = txn_numbered(1);
    char *message = NULL;

    open_store(fixture);
    add_qube(txn, 1, "one");
    add_qube(txn, 2, "two");
    assert_int_equal(apply(fixture, txn), 0);
    assert_int_equal(qd_store_load(fixture->store, &visitor, &message), -EDOM);
    assert_non_null(strstr(message, "object 1"));
    free(message);
    assert_record(fixture, "1:101:uuid-1:one:AppVM ");
}

static void test_group_commit(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_counters counters;
    const char *position;
    char word[16];

    open_store(fixture);
    start_store(fixture);
    for (int i = 1; i <= 100; i++)
        qd_store_submit(fixture->store, txn_numbered(i));
    stop_store(fixture);
    counters = qd_store_counters(fixture->store);
    assert_int_equal(counters.transactions, 100);
    assert_int_equal(counters.failures, 0);
    assert_in_range(counters.commits, 1, 10);

    position = fixture->record;
    assert_memory_equal(position, "committed 1 ", 12);
    for (int i = 1; i <= 100; i++) {
        snprintf(word, sizeof word, " %d ", i);
        position = strstr(position, word);
        assert_non_null(position);
    }
    load(fixture);
    assert_non_null(strstr(fixture->record, "0.feature.n100=s1"));
}

/* A transaction of many operations and a queue of many transactions: the batches are bounded, nothing is
 * split or lost. */
static void test_bounded_batches(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_txn *txn = qd_store_txn_new((void *)1);
    struct qd_store_counters counters;
    char name[32];

    open_store(fixture);
    start_store(fixture);
    for (int i = 0; i < 6000; i++) {
        snprintf(name, sizeof name, "big%d", i);
        set(txn, 0, name, "x");
    }
    qd_store_submit(fixture->store, txn);
    for (int i = 2; i <= 5001; i++)
        qd_store_submit(fixture->store, txn_numbered(i));
    stop_store(fixture);
    counters = qd_store_counters(fixture->store);
    assert_int_equal(counters.transactions, 5001);
    assert_in_range(counters.commits, 3, 20);
    load(fixture);
    assert_non_null(strstr(fixture->record, "0.feature.big5999=sx 0.feature.n2=s1 "));
    assert_non_null(strstr(fixture->record, "0.feature.n5001=s1 "));
}

static int numbers_left;

static void submit_next(struct fixture *fixture)
{
    if (numbers_left > 0)
        qd_store_submit(fixture->store, txn_numbered(numbers_left--));
}

/* Each answer submits the next, while the store is stopping: all are committed, one at a time. */
static void test_submit_in_callback_while_stopping(void **state)
{
    struct fixture *fixture = *state;

    open_store(fixture);
    start_store(fixture);
    fixture->in_committed = submit_next;
    numbers_left = 3;
    submit_next(fixture);
    stop_store(fixture);
    assert_record(fixture, "committed 3 committed 2 committed 1 ");
    assert_int_equal(qd_store_counters(fixture->store).commits, 3);
}

static void test_too_late(void **state)
{
    struct fixture *fixture = *state;

    open_store(fixture);
    start_store(fixture);
    qd_store_stop(fixture->store, on_stopped);
    uv_sleep(100); /* the thread has ended, the loop does not know yet */
    qd_store_submit(fixture->store, txn_numbered(1));
    assert_record(fixture, "");
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_true(fixture->stopped);
    assert_record(fixture, "failed 1 ");
    assert_int_equal(fixture->error, -ESHUTDOWN);

    start_store(fixture); /* and again */
    qd_store_submit(fixture->store, txn_numbered(2));
    stop_store(fixture);
    assert_record(fixture, "committed 2 ");
}

#ifdef QD_TESTING
static void wait_for_failure(struct fixture *fixture)
{
    fixture->in_committed = NULL;
    for (int i = 0; qd_store_counters(fixture->store).failures < 1 && i < 1000; i++)
        uv_sleep(5);
}

static void submit_four(struct fixture *fixture)
{
    fixture->in_failed = NULL;
    qd_store_submit(fixture->store, txn_numbered(4));
}

static void test_failed_batch(void **state)
{
    struct fixture *fixture = *state;

    setenv("QD_TEST_STORE_FAIL", "1", 1);
    setenv("QD_TEST_STORE_DELAY_MS", "300", 1);
    open_store(fixture);
    start_store(fixture);
    fixture->in_failed = submit_four;
    qd_store_submit(fixture->store, txn_numbered(1));
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    uv_sleep(50); /* in the commit */
    qd_store_submit(fixture->store, txn_numbered(2));
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    wait_for_failure(fixture); /* the loop does not know yet */
    qd_store_submit(fixture->store, txn_numbered(3));
    stop_store(fixture);
    assert_record(fixture, "failed 1 2 3 committed 4 ");
    assert_int_equal(fixture->error, -ENOSPC);
    assert_string_equal(fixture->message, "the change cannot be stored: database or disk is full");
    assert_int_equal(qd_store_counters(fixture->store).failures, 1);
    assert_int_equal(qd_store_counters(fixture->store).commits, 1);
    assert_int_equal(qd_store_counters(fixture->store).transactions, 1);
    load(fixture);
    assert_record(fixture, "0.feature.n4=s1 ");
    assert_check(fixture, 0, "clean");
}

static void submit_three(struct fixture *fixture)
{
    fixture->in_committed = NULL;
    qd_store_submit(fixture->store, txn_numbered(3));
}

/* So many operations are a batch of their own. */
static void submit_batch(struct fixture *fixture, int number)
{
    struct qd_store_txn *txn = txn_numbered(number);
    char name[16];

    snprintf(name, sizeof name, "n%d", number);
    for (int i = 0; i < 5000; i++)
        set(txn, 0, name, "1");
    qd_store_submit(fixture->store, txn);
}

/* What a committed callback submits before the loop has heard of a failure rests on it like the rest. */
static void test_failure_behind_success(void **state)
{
    struct fixture *fixture = *state;

    setenv("QD_TEST_STORE_FAIL", "2", 1);
    setenv("QD_TEST_STORE_DELAY_MS", "300", 1);
    open_store(fixture);
    start_store(fixture);
    fixture->in_failed = submit_four;
    submit_batch(fixture, 1);
    submit_batch(fixture, 2);
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    wait_for_failure(fixture); /* both have ended, and the loop knows of neither */
    assert_record(fixture, "");
    fixture->in_committed = submit_three;
    stop_store(fixture);
    assert_record(fixture, "committed 1 failed 2 3 committed 4 ");
    load(fixture);
    assert_record(fixture, "0.feature.n1=s1 0.feature.n4=s1 ");
}

/* While the loop hears of the first batch the second is committed and the third fails: told in that order all
 * the same. */
static void test_answers_in_order(void **state)
{
    struct fixture *fixture = *state;

    setenv("QD_TEST_STORE_FAIL", "3", 1);
    setenv("QD_TEST_STORE_DELAY_MS", "200", 1);
    open_store(fixture);
    start_store(fixture);
    fixture->in_committed = wait_for_failure;
    for (int i = 1; i <= 3; i++)
        submit_batch(fixture, i);
    stop_store(fixture);
    assert_record(fixture, "committed 1 committed 2 failed 3 ");
}
#endif

/* A change that does not fit is a failure like a full disk: the batch fails, the next is tried. */
static void test_unfit_change(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_txn *txn = txn_numbered(1);

    open_store(fixture);
    start_store(fixture);
    set(txn, 99, "a", "x");
    qd_store_submit(fixture->store, txn);
    stop_store(fixture);
    assert_record(fixture, "failed 1 ");
    assert_int_equal(fixture->error, -EINVAL);
    assert_int_equal(apply(fixture, txn_numbered(2)), 0);
    load(fixture);
    assert_record(fixture, "0.feature.n2=s1 ");
}

static void test_second_open(void **state)
{
    struct fixture *fixture = *state;
    char first_path[sizeof fixture->path];

    open_store(fixture);
    assert_open_fails(fixture, -EBUSY, "in use by another process");
    strcpy(first_path, fixture->path);
    snprintf(fixture->path, sizeof fixture->path, "%s/link", fixture->directory);
    assert_int_equal(symlink(first_path, fixture->path), 0);
    assert_open_fails(fixture, -EBUSY, "qubes.db");
    strcpy(fixture->path, first_path);
    assert_int_equal(apply(fixture, txn_numbered(1)), 0); /* the attempts did no harm */
    close_store(fixture);
    open_store(fixture);
}

static void test_not_a_store(void **state)
{
    struct fixture *fixture = *state;
    char garbage[20000];

    write_file(fixture, 0, "diary\n", 6);
    assert_open_fails(fixture, -EUCLEAN, "no store of qubesd");
    assert_check(fixture, -EUCLEAN, "no store");
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 7919 >> 3);
    write_file(fixture, 0, garbage, sizeof garbage);
    assert_open_fails(fixture, -EUCLEAN, "no store of qubesd");
    assert_check(fixture, -EUCLEAN, "no store");
    assert_int_equal(size_of(fixture, ""), sizeof garbage);

    assert_int_equal(unlink(fixture->path), 0);
    tamper(fixture, "CREATE TABLE t (a); PRAGMA user_version = 1");
    assert_open_fails(fixture, -EUCLEAN, "no store of qubesd");
    assert_check(fixture, -EUCLEAN, "no store of qubesd");

    write_file(fixture, 0, "", 0); /* empty is as good as new: a creation that was interrupted */
    assert_check(fixture, -EUCLEAN, "empty");
    open_store(fixture);
    assert_check(fixture, 0, "clean");
}

static void test_no_directory(void **state)
{
    struct fixture *fixture = *state;
    char path[sizeof fixture->path];

    strcpy(path, fixture->path);
    snprintf(fixture->path, sizeof fixture->path, "%s/none/qubes.db", fixture->directory);
    assert_open_fails(fixture, -ENOENT, "/none/ of the store cannot be used: No such file or directory");
    assert_check(fixture, -ENOENT, "No such file or directory");
    strcpy(fixture->path, fixture->directory);
    assert_open_fails(fixture, -EISDIR, "not a regular file");
    assert_check(fixture, -EINVAL, "cannot be checked");
    strcat(fixture->path, "/");
    assert_open_fails(fixture, -EINVAL, "does not name a file");
    strcpy(fixture->path, path);
}

static void test_newer_version(void **state)
{
    struct fixture *fixture = *state;

    open_store(fixture);
    close_store(fixture);
    tamper(fixture, "PRAGMA user_version = 99");
    assert_open_fails(fixture, -EOVERFLOW, "schema 99");
    assert_check(fixture, -EOVERFLOW, "schema 99");
    tamper(fixture, "PRAGMA user_version = 1");
    open_store(fixture);
}

/* A store with enough in it to have pages worth damaging. */
static void fill(struct fixture *fixture, int qubes, int attributes)
{
    struct qd_store_txn *txn = qd_store_txn_new(NULL);
    char name[32];

    open_store(fixture);
    for (int i = 1; i <= qubes; i++) {
        snprintf(name, sizeof name, "qube-%d", i);
        add_qube(txn, i, name);
        for (int k = 0; k < attributes; k++) {
            snprintf(name, sizeof name, "attribute-%d", k);
            set(txn, i, name, "some value of some length");
        }
    }
    assert_int_equal(apply(fixture, txn), 0);
    close_store(fixture);
}

static void test_check_damaged_pages(void **state)
{
    struct fixture *fixture = *state;
    char zeros[4096] = {0};
    struct qd_store_visitor visitor = {visit_qube, visit_attribute, fixture};
    long pages;
    int found = 0;

    fill(fixture, 50, 5);
    assert_check(fixture, 0, "clean: schema 1, 50 qubes, 250 attributes");
    pages = size_of(fixture, "") / 4096;
    assert_in_range(pages, 10, 1000);
    for (long page = 1; page < pages; page++) {
        char before[4096];
        FILE *file = fopen(fixture->path, "r");
        char *message = NULL;
        char *text;

        assert_int_equal(fseek(file, page * 4096, SEEK_SET), 0);
        assert_int_equal(fread(before, 1, sizeof before, file), sizeof before);
        fclose(file);
        write_file(fixture, page * 4096, zeros, sizeof zeros);
        assert_int_equal(check(fixture, &text), -EUCLEAN);
        free(text);
        /* An open that meets it says so, and a load never makes something up in silence and crashes. */
        if (qd_store_open(fixture->path, &fixture->store, &message) == 0) {
            if (qd_store_load(fixture->store, &visitor, &message) < 0) {
                assert_non_null(strstr(message, "--check-store"));
                found++;
            }
            close_store(fixture);
        }
        free(message);
        write_file(fixture, page * 4096, before, sizeof before);
    }
    assert_true(found > 0);
    assert_check(fixture, 0, "clean");
}

static void test_check_finds(void **state)
{
    static const struct {
        const char *damage;
        const char *repair;
        const char *line;
    } cases[] = {
        {"INSERT INTO attribute (place, object, kind, name, type, value) VALUES (1000, 77, 'tag', 'x', 't', "
         "'')",
         "DELETE FROM attribute WHERE object = 77",
         "row 1000 of attribute refers to a row of object that does not exist"},
        {"DELETE FROM object WHERE id = 1", "INSERT INTO object VALUES (1)",
         "of qube refers to a row of object"},
        {"INSERT INTO object VALUES (66)", "DELETE FROM object WHERE id = 66",
         "object 66 is neither the app nor a qube"},
        {"DELETE FROM object WHERE id = 0", "INSERT INTO object VALUES (0)", "the app (object 0) is missing"},
        {"UPDATE attribute SET value = 'a' || char(0) || 'b' WHERE place = 3",
         "UPDATE attribute SET value = 'a'", "attribute 3 of object 1 has an unreadable"},
        {"UPDATE qube SET class_name = '' WHERE object = 2", "UPDATE qube SET class_name = 'AppVM'",
         "qube 2 has an unreadable"},
        {"DELETE FROM sqlite_sequence", "INSERT INTO sqlite_sequence VALUES ('object', 66)",
         "highest object id"},
        {"ALTER TABLE attribute RENAME COLUMN value TO worth",
         "ALTER TABLE attribute RENAME COLUMN worth TO value", "no such column"},
    };
    struct fixture *fixture = *state;

    fill(fixture, 3, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tamper(fixture, cases[i].damage);
        assert_check(fixture, -EUCLEAN, cases[i].line);
        tamper(fixture, cases[i].repair);
        assert_check(fixture, 0, "clean");
    }
    tamper(fixture, "ALTER TABLE attribute RENAME COLUMN value TO worth");
    assert_open_fails(fixture, -EUCLEAN, "damaged");
}

/* Beside the running store: clean, sees commits, hinders none. */
static void test_check_live(void **state)
{
    struct fixture *fixture = *state;

    open_store(fixture);
    start_store(fixture);
    for (int i = 1; i <= 50; i++) {
        qd_store_submit(fixture->store, txn_numbered(i));
        assert_check(fixture, 0, "clean");
    }
    stop_store(fixture);
    assert_check(fixture, 0, "50 attributes");
    assert_int_equal(qd_store_counters(fixture->store).failures, 0);
}

static void submit_until_none(struct fixture *fixture)
{
    char *value;
    struct qd_store_txn *txn;

    if (numbers_left-- <= 0)
        return;
    value = malloc(20001);
    memset(value, 'a' + numbers_left % 26, 20000); /* SQLite would not write what is there already */
    value[20000] = '\0';
    txn = qd_store_txn_new(NULL);
    set(txn, 0, "long", value);
    free(value);
    qd_store_submit(fixture->store, txn);
}

/* The log is moved into the file as it grows; a reader can put that off, but fails no commit. */
static void test_checkpoint(void **state)
{
    struct fixture *fixture = *state;
    sqlite3 *reader = NULL;
    off_t with_reader;

    open_store(fixture);
    fixture->in_committed = submit_until_none;
    start_store(fixture);
    numbers_left = 600; /* about 3,000 pages */
    submit_until_none(fixture);
    stop_store(fixture);
    assert_int_equal(qd_store_counters(fixture->store).commits, 600);
    assert_in_range(size_of(fixture, "-wal"), 1, 6 << 20);

    assert_int_equal(sqlite3_open_v2(fixture->path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT * FROM qube", NULL, NULL, NULL), SQLITE_OK);
    start_store(fixture);
    numbers_left = 600;
    submit_until_none(fixture);
    stop_store(fixture);
    sqlite3_close(reader);
    assert_int_equal(qd_store_counters(fixture->store).commits, 1200);
    with_reader = size_of(fixture, "-wal");
    assert_true(with_reader > 10 << 20);

    start_store(fixture);
    numbers_left = 600;
    submit_until_none(fixture);
    stop_store(fixture);
    assert_int_equal(qd_store_counters(fixture->store).failures, 0);
    assert_true(size_of(fixture, "-wal") <= with_reader + (6 << 20));
    close_store(fixture);
    assert_int_equal(size_of(fixture, "-wal"), 0);
    assert_check(fixture, 0, "clean");
}

static int count_qube(void *context, int64_t object, int64_t qid, const char *uuid, const char *name,
                      const char *class_name)
{
    (void)object;
    (void)qid;
    (void)uuid;
    (void)name;
    (void)class_name;
    ++*(int *)context;
    return 0;
}

static int count_attribute(void *context, int64_t object, const char *kind, const char *name, char type,
                           const char *value)
{
    (void)object;
    (void)kind;
    (void)name;
    (void)type;
    (void)value;
    ++*(int *)context;
    return 0;
}

static void test_many_qubes(void **state)
{
    struct fixture *fixture = *state;
    int rows = 0;
    struct qd_store_visitor visitor = {count_qube, count_attribute, &rows};
    char *message = NULL;
    clock_t start;
    double seconds;

    fill(fixture, 10000, 10);
    start = clock();
    open_store(fixture);
    assert_int_equal(qd_store_load(fixture->store, &visitor, &message), 0);
    seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("open and load 10,000 qubes with 10 attributes each: %.3f s of CPU\n", seconds);
    assert_int_equal(rows, 110000);
    assert_true(seconds < 1.0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(test_new_file),
        TEST(test_round_trip),
        TEST(test_order_kept),
        TEST(test_deleted_qube),
        TEST(test_all_or_nothing),
        TEST(test_visitor_stops),
        TEST(test_group_commit),
        TEST(test_bounded_batches),
        TEST(test_submit_in_callback_while_stopping),
        TEST(test_too_late),
#ifdef QD_TESTING
        TEST(test_failed_batch),
        TEST(test_failure_behind_success),
        TEST(test_answers_in_order),
#endif
        TEST(test_unfit_change),
        TEST(test_second_open),
        TEST(test_not_a_store),
        TEST(test_no_directory),
        TEST(test_newer_version),
        TEST(test_check_damaged_pages),
        TEST(test_check_finds),
        TEST(test_check_live),
        TEST(test_checkpoint),
        TEST(test_many_qubes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
