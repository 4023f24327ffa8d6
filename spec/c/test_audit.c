/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The audit's file when it can't grow: a limit on the size of files stands for a full disk, which as well
 * takes a part of a line before it says no.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "qd/audit.h"
#include "qd/daemon.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define LIMIT 1000 /* bytes: room for three lines and a part of the next */

static char directory[] = "/tmp/qubesd-audit-XXXXXX";
static char path[64];

static struct qd_daemon *open_audit(void)
{
    struct qd_daemon *daemon = calloc(1, sizeof(*daemon));

    assert_non_null(daemon);
    daemon->config.audit_file = path;
    daemon->config.audit_dom0 = "no";
    assert_int_equal(qd_audit_open(daemon), 0);
    assert_non_null(daemon->audit);
    return daemon;
}

static void record(struct qd_daemon *daemon, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct qd_audit_entry entry = {.generation = 1,
                                       .digest = DIGEST,
                                       .source = {"work", 4},
                                       .method = {"admin.vm.feature.Get", 20},
                                       .destination = {"vault", 5},
                                       .argument = {"", 0},
                                       .verdict = "permitted"};

        qd_audit_record(daemon, &entry);
    }
}

/* All lines are whole. How many decisions are there, and how many are told of as missing. */
static void read_lines(unsigned *ret_lines, unsigned *ret_dropped)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t space = 0;
    ssize_t size;

    assert_non_null(file);
    *ret_lines = *ret_dropped = 0;
    while ((size = getline(&line, &space, file)) > 0) {
        const char *dropped = strstr(line, ",\"dropped\":");

        assert_memory_equal(line, "{\"time\":\"", 9);
        assert_string_equal(line + size - 2, "}\n");
        assert_null(strstr(line + 1, "{\"time\":")); /* on half a line before it */
        if (dropped)
            *ret_dropped += (unsigned)strtoul(dropped + strlen(",\"dropped\":"), NULL, 10);
        else
            ++*ret_lines;
    }
    free(line);
    fclose(file);
}

static void set_limit(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_wants(void **state)
{
    struct qd_daemon *daemon = open_audit();
    struct stat status;
    unsigned lines, dropped;

    (void)state;
    assert_true(qd_audit_wants(daemon, 5));
    assert_false(qd_audit_wants(daemon, 0));
    record(daemon, 100);
    qd_audit_close(daemon); /* writes all of it */
    assert_false(qd_audit_wants(daemon, 5));
    read_lines(&lines, &dropped);
    assert_int_equal(lines, 100);
    assert_int_equal(dropped, 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777 & ~0640, 0);
    unlink(path);
    free(daemon);
}

static void test_no_half_lines(void **state)
{
    struct qd_daemon *daemon = open_audit();
    unsigned lines, dropped;

    (void)state;
    set_limit(LIMIT);
    record(daemon, 20);
    sleep(2); /* longer than the pause between two tries */
    record(daemon, 3);
    usleep(300000);
    read_lines(&lines, &dropped);
    assert_in_range(lines, 1, 4);
    set_limit(RLIM_INFINITY);
    sleep(2);
    record(daemon, 5);
    qd_audit_close(daemon);
    read_lines(&lines, &dropped);
    assert_in_range(lines, 5 + 1, 5 + 4);
    assert_int_equal(lines + dropped, 28);
    unlink(path);
    free(daemon);
}

/* At the end, what is missing is told of too, if that can be written. */
static void test_told_at_the_end(void **state)
{
    struct qd_daemon *daemon;
    unsigned lines, dropped;

    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    daemon = open_audit();
    record(daemon, 4);
    usleep(300000);
    assert_int_equal(rmdir(path), 0);
    qd_audit_close(daemon);
    read_lines(&lines, &dropped);
    assert_int_equal(lines, 0);
    assert_int_equal(dropped, 4);
    unlink(path);
    free(daemon);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/audit.log", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wants),
        cmocka_unit_test(test_no_half_lines),
        cmocka_unit_test(test_told_at_the_end),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
