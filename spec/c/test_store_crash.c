/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The store when its process is killed, its disk is full or its fsync fails (law 6). The writers that are
 * killed are this program itself, started again with the name of a role.
 */
#include "store_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define IN_FLIGHT 16 /* transactions of the writer that wait for their answer */
#define SLOTS 500

static atomic_int syncs;
static atomic_int syncs_to_fail;
static atomic_uint sync_delay_ms;

/* SQLite's calls come here, since the program's own definition goes before libc's. */
int fdatasync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    if (atomic_load(&syncs_to_fail) > 0) {
        atomic_fetch_sub(&syncs_to_fail, 1);
        errno = EIO;
        return -1;
    }
    if (atomic_load(&sync_delay_ms))
        uv_sleep(atomic_load(&sync_delay_ms));
    return (int)syscall(SYS_fdatasync, fd);
}

/* What the writer's store holds after its transaction `n` follows from n alone: the counter, a slot for each
 * of the last numbers, and a qube with three attributes for each multiple of 4, which lives until transaction
 * n + 6. */
static bool qube_lives(int qube, int counter)
{
    return qube > 0 && qube % 4 == 0 && qube <= counter && qube + 6 > counter;
}

static struct qd_store_txn *writer_txn(int n)
{
    struct qd_store_txn *txn = qd_store_txn_new((void *)(intptr_t)n);
    char name[32];
    char value[32];
    int error = 0;

    snprintf(value, sizeof value, "%d", n);
    snprintf(name, sizeof name, "slot-%d", n % SLOTS);
    error |= qd_store_txn_set(txn, QD_STORE_APP, "feature", "counter", 's', value);
    if (n % 4 == 0) {
        snprintf(name, sizeof name, "qube-%d", n);
        error |= qd_store_txn_add_qube(txn, n, n, name, name, "AppVM");
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "tag-%d", i);
            error |= qd_store_txn_set(txn, n, "tag", name, 't', value);
        }
    }
    if (n > 6 && (n - 6) % 4 == 0)
        error |= qd_store_txn_delete_qube(txn, n - 6);
    snprintf(name, sizeof name, "slot-%d", n % SLOTS);
    error |= qd_store_txn_set(txn, QD_STORE_APP, "feature", name, 's', value);
    if (error)
        abort();
    return txn;
}

struct writer {
    struct qd_store *store;
    int next;
};

static void writer_committed(void *context, struct qd_store_txn *list)
{
    struct writer *writer = context;
    struct qd_store_txn *next;

    for (; list; list = next) {
        int number = (int)(intptr_t)list->owner;

        next = list->next;
        qd_store_txn_free(list);
        if (write(STDOUT_FILENO, &number, sizeof number) != sizeof number)
            _exit(3);
        qd_store_submit(writer->store, writer_txn(writer->next++));
    }
}

static void writer_failed(void *context, struct qd_store_txn *list, int error, const char *message)
{
    (void)context;
    (void)list;
    fprintf(stderr, "writer: %d %s\n", error, message);
    _exit(4);
}

/* What the visitor finds, by number. */
struct found {
    int counter;
    int slots[SLOTS];
    int slot_count;
    int qubes[8];
    int qube_count;
    int tags;
    bool wrong;
};

static int find_qube(void *context, int64_t object, int64_t qid, const char *uuid, const char *name,
                     const char *class_name)
{
    struct found *found = context;

    found->wrong |= qid != object || atoi(name + 5) != object || strcmp(uuid, name) != 0;
    found->wrong |= strcmp(class_name, "AppVM") != 0 || found->qube_count == 8;
    if (!found->wrong)
        found->qubes[found->qube_count++] = (int)object;
    return 0;
}

static int find_attribute(void *context, int64_t object, const char *kind, const char *name, char type,
                          const char *value)
{
    struct found *found = context;

    (void)kind;
    if (object != QD_STORE_APP) {
        found->tags++;
        found->wrong |= type != 't' || atoi(value) != object;
    } else if (strcmp(name, "counter") == 0) {
        found->counter = atoi(value);
    } else {
        found->slot_count++;
        found->slots[atoi(name + 5) % SLOTS] = atoi(value);
    }
    return 0;
}

static int writer_main(const char *path)
{
    static struct found found;
    struct qd_store_visitor visitor = {find_qube, find_attribute, &found};
    struct writer writer = {0};
    struct qd_store_callbacks callbacks = {writer_committed, writer_failed, &writer};
    char *message = NULL;
    uv_loop_t loop;

    if (qd_store_open(path, &writer.store, &message) < 0 ||
        qd_store_load(writer.store, &visitor, &message) < 0) {
        fprintf(stderr, "writer: %s\n", message);
        return 2;
    }
    uv_loop_init(&loop);
    writer.next = found.counter + 1;
    if (qd_store_start(writer.store, &loop, &callbacks) < 0)
        return 2;
    for (int i = 0; i < IN_FLIGHT; i++)
        qd_store_submit(writer.store, writer_txn(writer.next++));
    uv_run(&loop, UV_RUN_DEFAULT); /* until the kill */
    return 5;
}

/* Starts this program in a role; its standard output comes from `ret_out`. */
static pid_t start_role(const char *role, const char *path, int *ret_out)
{
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl("/proc/self/exe", "test_store_crash", role, path, (char *)NULL);
        _exit(6);
    }
    close(ends[1]);
    *ret_out = ends[0];
    return pid;
}

/* The store must hold exactly what the writer's transactions up to some number make, all acknowledged ones
 * among them. */
static int assert_writers_store(struct fixture *fixture, int acknowledged)
{
    struct found found = {0};
    struct qd_store_visitor visitor = {find_qube, find_attribute, &found};
    char *message = NULL;
    int live = 0;

    assert_check(fixture, 0, "clean"); /* as the kill has left it, and */
    open_store(fixture);
    assert_int_equal(qd_store_load(fixture->store, &visitor, &message), 0);
    close_store(fixture);
    assert_check(fixture, 0, "clean"); /* when its log is in the file */

    assert_false(found.wrong);
    assert_true(found.counter >= acknowledged);
    for (int n = found.counter > 8 ? found.counter - 8 : 1; n <= found.counter; n++) {
        if (qube_lives(n, found.counter))
            assert_int_equal(found.qubes[live++], n);
    }
    assert_int_equal(found.qube_count, live);
    assert_int_equal(found.tags, 3 * live);
    assert_int_equal(found.slot_count, found.counter < SLOTS ? found.counter : SLOTS);
    for (int n = found.counter; n > 0 && n > found.counter - SLOTS; n--)
        assert_int_equal(found.slots[n % SLOTS], n);
    return found.counter;
}

static void test_kill_writer(void **state)
{
    struct fixture *fixture = *state;
    int counter = 0;
    int acknowledged = 0;

    srand((unsigned)time(NULL));
    for (int round = 0; round < 20; round++) {
        int number;
        int status;
        int out;
        pid_t pid = start_role("writer", fixture->path, &out);

        /* In some rounds the kill is to hit the opening. */
        if (round % 4 != 0 && read(out, &number, sizeof number) == sizeof number)
            acknowledged = number;
        uv_sleep((unsigned)rand() % 50);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status)); /* it was writing until then */
        while (read(out, &number, sizeof number) == sizeof number)
            acknowledged = number;
        close(out);
        if (access(fixture->path, F_OK) == 0 && acknowledged > 0)
            counter = assert_writers_store(fixture, acknowledged);
        assert_true(counter <= acknowledged + 2 * IN_FLIGHT);
    }
    print_message("20 kills, %d transactions acknowledged, %d found\n", acknowledged, counter);
    assert_true(acknowledged > 20);
}

/* A kill at any moment of the creation leaves a file that opens. */
static void test_kill_creation(void **state)
{
    struct fixture *fixture = *state;

    for (int round = 0; round < 30; round++) {
        int status;
        int out;
        pid_t pid = start_role("writer", fixture->path, &out);
        struct timespec pause = {.tv_nsec = round * 300000L};

        nanosleep(&pause, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        close(out);
        open_store(fixture);
        close_store(fixture);
        assert_check(fixture, 0, "clean");
        assert_int_equal(unlink(fixture->path), 0);
    }
}

static int opener_main(const char *path)
{
    struct qd_store *store = NULL;
    char *message = NULL;
    int error = qd_store_open(path, &store, &message);

    printf("%d %s\n", error, message ? message : "");
    qd_store_close(store);
    free(message);
    return 0;
}

static void test_second_process(void **state)
{
    struct fixture *fixture = *state;
    char expected[512];
    char line[512];
    FILE *file;
    int out;
    pid_t pid;

    open_store(fixture);
    for (int i = 0; i < 2; i++) {
        pid = start_role("opener", fixture->path, &out);
        file = fdopen(out, "r");
        assert_non_null(fgets(line, sizeof line, file));
        fclose(file);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        snprintf(expected, sizeof expected, i ? "0 \n" : "%d the store ", -EBUSY);
        assert_memory_equal(line, expected, strlen(expected));
        snprintf(expected, sizeof expected, "(%ld)", (long)getpid()); /* who has it */
        assert_true(i || strstr(line, expected));
        if (i == 0)
            close_store(fixture);
    }
    open_store(fixture);
}

/* One answer of the store's, as words on stdout. */
static int full_main(const char *path)
{
    struct fixture fixture = {.record = calloc(1, 1)};
    struct rlimit limit = {.rlim_cur = 200000, .rlim_max = RLIM_INFINITY};
    char *value = malloc(50001);

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 200000;
    setrlimit(RLIMIT_FSIZE, &limit);
    snprintf(fixture.path, sizeof fixture.path, "%s", path);
    memset(value, 'x', 50000);
    value[50000] = '\0';
    open_store(&fixture);
    uv_loop_init(&fixture.loop);
    for (int i = 1; i <= 6; i++) {
        struct qd_store_txn *txn = txn_numbered(i);

        if (i == 6) { /* there is room again */
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_FSIZE, &limit);
        }
        if (i != 5) { /* the fifth is small and may fit */
            char name[16];

            snprintf(name, sizeof name, "big%d", i);
            qd_store_txn_set(txn, 0, "feature", name, 's', value);
        }
        start_store(&fixture);
        qd_store_submit(fixture.store, txn);
        stop_store(&fixture);
    }
    printf("%s%d %s\n", fixture.record, fixture.error, fixture.message);
    qd_store_close(fixture.store);
    uv_loop_close(&fixture.loop);
    free(fixture.record);
    free(value);
    return 0;
}

/* A write that the kernel refuses, for real: what was answered as failed is not there, the rest is. */
static void test_full_disk(void **state)
{
    struct fixture *fixture = *state;
    char line[512];
    char name[64];
    bool some_failed = false;
    FILE *file;
    int out;
    pid_t pid = start_role("full", fixture->path, &out);

    file = fdopen(out, "r");
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    print_message("%s", line);
    assert_memory_equal(line, "committed 1 ", 12);
    assert_non_null(strstr(line, "committed 6 "));
    snprintf(name, sizeof name, "%d the change cannot be stored: disk I/O error: File too large", -EFBIG);
    assert_non_null(strstr(line, name));

    assert_check(fixture, 0, "clean");
    open_store(fixture);
    load(fixture);
    for (int i = 1; i <= 6; i++) {
        bool failed;

        snprintf(name, sizeof name, "failed %d ", i);
        failed = strstr(line, name);
        some_failed |= failed;
        snprintf(name, sizeof name, "0.feature.n%d=s1 ", i);
        assert_int_equal(strstr(fixture->record, name) == NULL, failed);
    }
    assert_true(some_failed);
}

static void copy_file(struct fixture *fixture, const char *suffix)
{
    char buffer[65536];
    char path[400];
    FILE *from;
    FILE *to;
    size_t size;

    snprintf(path, sizeof path, "%s%s", fixture->path, suffix);
    from = fopen(path, "r");
    snprintf(path, sizeof path, "%s/copy.db%s", fixture->directory, suffix);
    to = fopen(path, "w");
    assert_true(from && to);
    while ((size = fread(buffer, 1, sizeof buffer, from)) > 0)
        assert_int_equal(fwrite(buffer, 1, size, to), size);
    fclose(from);
    fclose(to);
}

/* A commit whose fsync fails has been written already, and a crash must not bring it back. */
static void test_failed_sync(void **state)
{
    struct fixture *fixture = *state;
    struct fixture after_crash = {.record = calloc(1, 1)};

    open_store(fixture);
    start_store(fixture);
    qd_store_submit(fixture->store, txn_numbered(1));
    stop_store(fixture);
    start_store(fixture);
    atomic_store(&syncs_to_fail, 1);
    qd_store_submit(fixture->store, txn_numbered(2));
    stop_store(fixture);
    assert_record(fixture, "committed 1 failed 2 ");
    assert_int_equal(fixture->error, -EIO);
    assert_int_equal(atomic_load(&syncs_to_fail), 0);

    copy_file(fixture, "");
    copy_file(fixture, "-wal");
    snprintf(after_crash.path, sizeof after_crash.path, "%s/copy.db", fixture->directory);
    open_store(&after_crash);
    load(&after_crash);
    assert_record(&after_crash, "0.feature.n1=s1 ");
    close_store(&after_crash);
    free(after_crash.record);

    start_store(fixture);
    qd_store_submit(fixture->store, txn_numbered(3));
    stop_store(fixture);
    assert_record(fixture, "committed 3 ");
    assert_check(fixture, 0, "clean");
}

/* 64 callers, each of whom waits for its answer: the syncs are shared. And one caller has one sync a commit.
 */
static int answers_left;
static int last_number; /* never the same again: what is there already needs no sync */

static void submit_when_answered(void *context, struct qd_store_txn *list)
{
    struct fixture *fixture = context;
    struct qd_store_txn *next;

    for (; list; list = next) {
        next = list->next;
        qd_store_txn_free(list);
        if (answers_left-- > 0)
            qd_store_submit(fixture->store, txn_numbered(++last_number));
    }
}

/* One caller has a sync for each answer; 64, each of whom waits for its own, share them. */
static void test_syncs_shared(void **state)
{
    struct fixture *fixture = *state;
    struct qd_store_callbacks callbacks = {submit_when_answered, on_failed, fixture};
    struct qd_store_counters counters;
    int before;

    atomic_store(&sync_delay_ms, 2); /* a common disk's, also where the directory is in memory */
    for (int callers = 1; callers <= 64; callers += 63) {
        open_store(fixture);
        assert_int_equal(qd_store_start(fixture->store, &fixture->loop, &callbacks), 0);
        before = atomic_load(&syncs);
        answers_left = callers == 1 ? 100 : 6400;
        for (int i = 0; i < callers; i++)
            qd_store_submit(fixture->store, txn_numbered(++last_number));
        stop_store(fixture);
        counters = qd_store_counters(fixture->store);
        before = atomic_load(&syncs) - before;
        print_message("%d callers: %d transactions, %d commits, %d syncs\n", callers,
                      (int)counters.transactions, (int)counters.commits, before);
        if (callers == 1)
            assert_int_equal(counters.commits, counters.transactions);
        else
            assert_true(counters.transactions >= 10 * (uint64_t)before);
        assert_true((uint64_t)before >= counters.commits); /* acknowledged means synced */
        close_store(fixture);
    }
    atomic_store(&sync_delay_ms, 0);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(test_kill_writer), TEST(test_kill_creation), TEST(test_second_process),
        TEST(test_full_disk),   TEST(test_failed_sync),   TEST(test_syncs_shared),
    };

    if (argc == 3 && strcmp(argv[1], "writer") == 0)
        return writer_main(argv[2]);
    if (argc == 3 && strcmp(argv[1], "opener") == 0)
        return opener_main(argv[2]);
    if (argc == 3 && strcmp(argv[1], "full") == 0)
        return full_main(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
