/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virt on libvirt's embedded driver. Built with QD_TESTING, for operations that hang.
 */
#include "virt_fixture.h"

#include <time.h>

#define TEST_URI "test:///default"
#define NOT_THERE "00000000-0000-4000-8000-00000000dead"

/* The nth of a family of domains; its uuid is the answer. */
static const char *make_xml(const char *family, unsigned n, char xml[512])
{
    static char uuids[64][QD_VIRT_UUID_SIZE];
    char *uuid = uuids[n];

    snprintf(uuid, QD_VIRT_UUID_SIZE, "00000000-0000-4000-8000-%012u", n);
    snprintf(xml, 512,
             "<domain type='test'><name>%.32s%u</name><uuid>%.36s</uuid><memory "
             "unit='MiB'>64</memory><vcpu>2</vcpu>"
             "<os><type>hvm</type></os></domain>",
             family, n, uuid);
    return uuid;
}

static const char *define(struct fixture *f, const char *family, unsigned n)
{
    char xml[512];
    const char *uuid = make_xml(family, n, xml);

    must(f, QD_VIRT_DEFINE, uuid, xml, 0);
    return uuid;
}

static void test_lifecycle(void **state)
{
    struct fixture f;
    struct answer answer;
    const char *uuid;

    (void)state;
    open_virt(&f, TEST_URI, NULL);
    uuid = define(&f, "life", 1);
    assert_int_equal(must(&f, QD_VIRT_STATE, uuid, NULL, 0).number, VIR_DOMAIN_SHUTOFF);
    answer = must(&f, QD_VIRT_CREATE, uuid, NULL, 0);
    assert_true(answer.id > 0);
    assert_int_equal(must(&f, QD_VIRT_STATE, uuid, NULL, 0).number, VIR_DOMAIN_RUNNING);
    must(&f, QD_VIRT_SUSPEND, uuid, NULL, 0);
    answer = must(&f, QD_VIRT_STATE, uuid, NULL, 0);
    assert_int_equal(answer.number, VIR_DOMAIN_PAUSED);
    assert_true(answer.id > 0);
    must(&f, QD_VIRT_RESUME, uuid, NULL, 0);
    must(&f, QD_VIRT_SHUTDOWN, uuid, NULL, 0);
    assert_int_equal(must(&f, QD_VIRT_STATE, uuid, NULL, 0).number, VIR_DOMAIN_SHUTOFF);
    must(&f, QD_VIRT_CREATE, uuid, NULL, 0);
    answer = must(&f, QD_VIRT_DESTROY, uuid, NULL, 0);
    assert_int_equal(answer.id, -1);
    assert_non_null(strstr(must(&f, QD_VIRT_XML, uuid, NULL, 0).text, "<name>life1</name>"));
    must(&f, QD_VIRT_UNDEFINE, uuid, NULL, 0);
    assert_int_equal(must(&f, QD_VIRT_STATE, uuid, NULL, 0).number, -1);

    turn_until(&f, &f.event_count, 8);
    assert_string_equal(f.events, "life1:0 life1:2 life1:3 life1:4 life1:5 life1:2 life1:5 life1:1 ");
    assert_int_equal(qd_virt_counters(f.virt).timeouts, 0);
    close_virt(&f, 1000);
}

/* The embedded driver doesn't know START_PAUSED; the domain is paused all the same. */
static void test_start_paused(void **state)
{
    struct fixture f;
    const char *uuid;

    (void)state;
    open_virt(&f, TEST_URI, NULL);
    uuid = define(&f, "paused", 1);
    must(&f, QD_VIRT_CREATE, uuid, NULL, VIR_DOMAIN_START_PAUSED);
    assert_int_equal(must(&f, QD_VIRT_STATE, uuid, NULL, 0).number, VIR_DOMAIN_PAUSED);
    close_virt(&f, 1000);
}

struct stats {
    bool done;
    int error;
    size_t count;
    struct qd_virt_domain found; /* of the name that is sought */
    const char *name;
};

static void on_stats(void *context, int error, const char *message, const struct qd_virt_domain *domains,
                     size_t count)
{
    struct stats *stats = context;

    stats->done = true;
    stats->error = error;
    stats->count = count;
    assert_true((error < 0) == (message != NULL));
    for (size_t i = 0; i < count; i++) {
        if (stats->name && strcmp(domains[i].name, stats->name) == 0)
            stats->found = domains[i];
    }
}

static void test_stats_and_host(void **state)
{
    struct stats stats = {.name = "stats1"};
    struct fixture f;
    const char *uuid;

    (void)state;
    start_virt(&f, TEST_URI, NULL);
    assert_int_equal(qd_virt_host(f.virt).memory_kib, 0);
    assert_false(qd_virt_counters(f.virt).connected);
    turn_until(&f, &f.connected, 1);
    assert_string_equal(f.listed, "test:1 "); /* the one that the driver begins with */
    assert_true(qd_virt_counters(f.virt).connected);
    assert_true(qd_virt_host(f.virt).memory_kib > 0);
    assert_true(qd_virt_host(f.virt).cpus > 0);
    assert_string_equal(qd_virt_host(f.virt).type, "TEST");

    uuid = define(&f, "stats", 1);
    define(&f, "inactive", 2);
    must(&f, QD_VIRT_CREATE, uuid, NULL, 0);
    assert_int_equal(qd_virt_get_stats(f.virt, LONG_MS, on_stats, &stats), 0);
    turn(&f, &stats.done, LONG_MS);
    assert_int_equal(stats.error, 0);
    assert_int_equal(stats.count, 2);
    assert_string_equal(stats.found.uuid, uuid);
    assert_int_equal(stats.found.state, VIR_DOMAIN_RUNNING);
    assert_true(stats.found.domain_id > 0);
    assert_true(stats.found.cpu_time_ns > 0);
    assert_int_equal(stats.found.memory_kib, 64 * 1024);
    assert_int_equal(stats.found.max_memory_kib, 64 * 1024);
    assert_int_equal(stats.found.vcpus, 2);
    close_virt(&f, 1000);
}

static void test_errors(void **state)
{
    struct fixture f;
    struct answer answer;
    const char *uuid;

    (void)state;
    open_virt(&f, TEST_URI, NULL);
    answer = ask(&f, QD_VIRT_CREATE, NOT_THERE, NULL, 0);
    assert_int_equal(answer.error, -EIO);
    assert_int_equal(answer.code, VIR_ERR_NO_DOMAIN);
    assert_int_equal(answer.id, -1);
    must(&f, QD_VIRT_UNDEFINE, NOT_THERE, NULL, 0);
    assert_int_equal(must(&f, QD_VIRT_STATE, NOT_THERE, NULL, 0).number, -1);

    assert_int_equal(ask(&f, QD_VIRT_STATE, "no uuid at all", NULL, 0).error, -EIO);
    assert_int_equal(ask(&f, QD_VIRT_DEFINE, NOT_THERE, "<domain", 0).code, VIR_ERR_XML_DETAIL);
    assert_int_equal(ask(&f, QD_VIRT_DEFINE, NOT_THERE, NULL, 0).error, -EIO);
    uuid = define(&f, "errors", 1);
    assert_int_equal(ask(&f, QD_VIRT_DESTROY, uuid, NULL, 0).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(f.disconnected, 0); /* none of it is the connection's fault */
    close_virt(&f, 1000);
}

static void test_order(void **state)
{
    struct answer answers[40] = {0};
    struct fixture f;
    int order = 0;
    const char *uuid;

    (void)state;
    open_virt(&f, TEST_URI, NULL);
    uuid = define(&f, "order", 1);
    for (unsigned i = 0; i < 40; i++) {
        answers[i].order = &order;
        submit(&f, i % 2 ? QD_VIRT_DESTROY : QD_VIRT_CREATE, uuid, NULL, 0, LONG_MS, &answers[i]);
    }
    turn(&f, &answers[39].done, LONG_MS);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(answers[i].error, 0);
        assert_int_equal(answers[i].position, i + 1);
    }
    turn_until(&f, &f.event_count, 41);
    close_virt(&f, 1000);
}

/* One domain is stuck; nobody else notices; when libvirt returns, its turn passes on. */
static void test_blocked(void **state)
{
    struct answer stuck = {0}, waiting = {0}, hasty = {0}, second = {0};
    struct fixture f;
    const char *frozen, *other;
    uint64_t start;

    (void)state;
    open_virt(&f, TEST_URI, "create:frozen*:1");
    frozen = define(&f, "frozen", 1);
    other = define(&f, "other", 2);
    start = uv_hrtime();
    submit(&f, QD_VIRT_CREATE, frozen, NULL, 0, 200, &stuck);
    submit(&f, QD_VIRT_STATE, frozen, NULL, 0, LONG_MS, &waiting);
    submit(&f, QD_VIRT_STATE, frozen, NULL, 0, 50, &hasty); /* its deadline comes while it waits */
    must(&f, QD_VIRT_CREATE, other, NULL, 0);
    assert_false(stuck.done);

    turn(&f, &hasty.done, LONG_MS);
    assert_int_equal(hasty.error, -ETIMEDOUT);
    assert_false(stuck.done);
    turn(&f, &stuck.done, LONG_MS);
    assert_int_equal(stuck.error, -ETIMEDOUT);
    assert_in_range((uv_hrtime() - start) / 1000000, 195, 900);
    assert_int_equal(qd_virt_counters(f.virt).lost_workers, 1);
    assert_int_equal(qd_virt_counters(f.virt).timeouts, 2);
    submit(&f, QD_VIRT_STATE, frozen, NULL, 0, LONG_MS, &second);
    turn(&f, &second.done, 200);
    assert_int_equal(second.error, -EBUSY);
    must(&f, QD_VIRT_DESTROY, other, NULL, 0);

    turn(&f, &waiting.done, LONG_MS); /* the late create was carried out */
    assert_int_equal(waiting.error, 0);
    assert_int_equal(waiting.number, VIR_DOMAIN_RUNNING);
    assert_true(uv_hrtime() - start >= 990000000);
    assert_int_equal(qd_virt_counters(f.virt).lost_workers, 0);
    must(&f, QD_VIRT_DESTROY, frozen, NULL, 0);
    close_virt(&f, 1000);
}

static void test_many_blocked(void **state)
{
    enum { BLOCKED = 3 * QD_VIRT_WORKERS };
    struct answer stuck[BLOCKED] = {0};
    struct fixture f;
    const char *other;

    (void)state;
    open_virt(&f, TEST_URI, "create:frozen*:1.5");
    other = define(&f, "other", 50);
    for (unsigned i = 0; i < BLOCKED; i++) {
        const char *uuid = define(&f, "frozen", i);

        submit(&f, QD_VIRT_CREATE, uuid, NULL, 0, 100, &stuck[i]);
    }
    must(&f, QD_VIRT_CREATE, other, NULL, 0); /* waits 100 ms, for the first ones to be written off */
    for (unsigned i = 0; i < BLOCKED; i++) {
        turn(&f, &stuck[i].done, LONG_MS);
        assert_int_equal(stuck[i].error, -ETIMEDOUT);
    }
    assert_in_range(qd_virt_counters(f.virt).lost_workers, QD_VIRT_WORKERS, BLOCKED);
    must(&f, QD_VIRT_DESTROY, other, NULL, 0);
    turn(&f, NULL, 1700);
    assert_int_equal(qd_virt_counters(f.virt).lost_workers, 0);
    must(&f, QD_VIRT_CREATE, other, NULL, 0);
    close_virt(&f, 1000);
}

static void test_stats_blocked(void **state)
{
    struct stats first = {0}, second = {0};
    struct fixture f;

    (void)state;
    open_virt(&f, TEST_URI, "stats:*:0.5");
    assert_int_equal(qd_virt_get_stats(f.virt, 50, on_stats, &first), 0);
    turn(&f, &first.done, LONG_MS);
    assert_int_equal(first.error, -ETIMEDOUT);
    assert_int_equal(qd_virt_get_stats(f.virt, 50, on_stats, &second), 0);
    turn(&f, &second.done, 40);
    assert_int_equal(second.error, -EBUSY);
    close_virt(&f, 1000);
    uv_sleep(600); /* the lost worker comes home to a virt that is gone */
}

static void test_close_with_jobs(void **state)
{
    struct answer running = {0}, waiting = {0}, refused = {0};
    struct fixture f;
    const char *uuid;

    (void)state;
    open_virt(&f, TEST_URI, "create:slow*:0.3");
    uuid = define(&f, "slow", 1);
    submit(&f, QD_VIRT_CREATE, uuid, NULL, 0, LONG_MS, &running);
    submit(&f, QD_VIRT_STATE, uuid, NULL, 0, LONG_MS, &waiting);
    turn(&f, NULL, 50);
    qd_virt_close(f.virt, 5000, on_fixture_closed);
    assert_false(waiting.done);
    assert_int_equal(qd_virt_submit(f.virt, QD_VIRT_STATE, uuid, NULL, 0, 100, on_answer, &refused),
                     -ECANCELED);
    turn(&f, &f.closed, LONG_MS);
    assert_int_equal(running.error, 0); /* was waited for */
    assert_true(running.done);
    assert_true(waiting.done);
    assert_int_equal(waiting.error, -ECANCELED);
    assert_false(refused.done);
    close_virt(&f, 0);
}

static void test_close_with_lost_worker(void **state)
{
    struct answer lost = {0}, left = {0};
    struct fixture f;
    const char *first, *second;
    uint64_t start;

    (void)state;
    open_virt(&f, TEST_URI, "create:lost*:0.8");
    first = define(&f, "lost", 1);
    second = define(&f, "lost", 2);
    submit(&f, QD_VIRT_CREATE, first, NULL, 0, 50, &lost);
    turn(&f, &lost.done, LONG_MS);
    submit(&f, QD_VIRT_CREATE, second, NULL, 0, LONG_MS, &left);
    turn(&f, NULL, 50);
    start = uv_hrtime();
    close_virt(&f, 100);
    assert_in_range((uv_hrtime() - start) / 1000000, 95, 700);
    assert_int_equal(left.error, -ECANCELED);
    uv_sleep(1000); /* both return, to nothing that was freed */

    open_virt(&f, TEST_URI, NULL);            /* libvirt's loop is served again */
    assert_string_equal(f.listed, "test:1 "); /* and the last of them closed the connection */
    close_virt(&f, 1000);
}

static void on_answer_close(void *context, const struct qd_virt_result *result)
{
    struct fixture *f = context;

    (void)result;
    qd_virt_close(f->virt, 1000, on_fixture_closed);
}

static void test_close_early(void **state)
{
    struct fixture f;

    (void)state;
    start_virt(&f, TEST_URI, NULL);
    close_virt(&f, 1000);
    assert_int_equal(f.connected, 0);

    open_virt(&f, TEST_URI, NULL);
    assert_int_equal(qd_virt_submit(f.virt, QD_VIRT_STATE, NOT_THERE, NULL, 0, LONG_MS, on_answer_close, &f),
                     0);
    turn(&f, &f.closed, LONG_MS);
    close_virt(&f, 0);
}

static void test_no_connection(void **state)
{
    struct answer answer;
    struct fixture f;

    (void)state;
    start_virt(&f, "test:///this/file/is/not/there.xml", NULL);
    answer = ask(&f, QD_VIRT_STATE, NOT_THERE, NULL, 0);
    assert_int_equal(answer.error, -ENOTCONN);
    turn(&f, NULL, 500); /* a few attempts */
    assert_int_equal(f.connected, 0);
    assert_int_equal(f.disconnected, 0); /* of what never stood */
    close_virt(&f, 1000);

    start_virt(&f, TEST_URI, "connect:*:60");
    answer = ask(&f, QD_VIRT_STATE, NOT_THERE, NULL, 0);
    assert_int_equal(answer.error, -ENOTCONN);
    close_virt(&f, 100); /* its worker is left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lifecycle),       cmocka_unit_test(test_start_paused),
        cmocka_unit_test(test_stats_and_host),  cmocka_unit_test(test_errors),
        cmocka_unit_test(test_order),           cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_many_blocked),    cmocka_unit_test(test_stats_blocked),
        cmocka_unit_test(test_close_with_jobs), cmocka_unit_test(test_close_with_lost_worker),
        cmocka_unit_test(test_close_early),     cmocka_unit_test(test_no_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
