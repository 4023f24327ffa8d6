/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The pool by itself, with jobs that are as slow as the tests want.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qd/worker.h"

#define LONG_MS 20000

static struct {
    uv_loop_t loop;
    uv_timer_t tick;
    struct qd_worker_pool *pool;
    bool closed;
    int done;             /* so many */
    atomic_int released;  /* so many */
    atomic_int exclusive; /* jobs of one key that run */
} f;

struct job {
    unsigned ms;
    bool exclusive;
    atomic_int *gate; /* runs until it is set */
    bool done;
    int error;
    int position;
    atomic_bool ran;
};

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_closed(void *context)
{
    (void)context;
    f.closed = true;
}

static void open_patient_pool(unsigned threads, unsigned threads_max, unsigned patience_ms)
{
    struct qd_worker_limits limits = {
        .threads = threads, .threads_max = threads_max, .patience_ms = patience_ms};

    memset(&f, 0, sizeof(f));
    assert_int_equal(uv_loop_init(&f.loop), 0);
    uv_timer_init(&f.loop, &f.tick);
    uv_timer_start(&f.tick, on_tick, 2, 2);
    assert_int_equal(qd_worker_pool_open(&f.loop, &limits, &f.pool), 0);
}

/* One that gets no help before a deadline. */
static void open_pool(unsigned threads, unsigned lost_max)
{
    open_patient_pool(threads, threads + lost_max, 4 * LONG_MS);
}

static void finish_pool(void)
{
    uint64_t end = uv_hrtime() / 1000000 + LONG_MS;

    while (!f.closed && uv_hrtime() / 1000000 < end)
        uv_run(&f.loop, UV_RUN_ONCE);
    assert_true(f.closed);
    uv_close((uv_handle_t *)&f.tick, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f.loop), 0);
}

static void close_pool(unsigned grace_ms)
{
    qd_worker_pool_close(f.pool, grace_ms, on_closed, NULL);
    assert_false(f.closed);
    finish_pool();
}

static void turn_until_done(int count)
{
    uint64_t end = uv_hrtime() / 1000000 + LONG_MS;

    while (f.done < count && uv_hrtime() / 1000000 < end)
        uv_run(&f.loop, UV_RUN_ONCE);
    assert_int_equal(f.done, count);
}

static void turn_until_lost(unsigned count)
{
    uint64_t end = uv_hrtime() / 1000000 + LONG_MS;

    while (qd_worker_lost(f.pool) != count && uv_hrtime() / 1000000 < end)
        uv_run(&f.loop, UV_RUN_ONCE);
    assert_int_equal(qd_worker_lost(f.pool), count);
}

static void turn_until_count(unsigned count)
{
    uint64_t end = uv_hrtime() / 1000000 + LONG_MS;

    while (qd_worker_count(f.pool) != count && uv_hrtime() / 1000000 < end)
        uv_run(&f.loop, UV_RUN_ONCE);
    assert_int_equal(qd_worker_count(f.pool), count);
}

static void turn_for(unsigned ms)
{
    uint64_t end = uv_hrtime() / 1000000 + ms;

    while (uv_hrtime() / 1000000 < end)
        uv_run(&f.loop, UV_RUN_ONCE);
}

static void run(void *context)
{
    struct job *job = context;

    if (job->exclusive)
        assert_int_equal(atomic_fetch_add(&f.exclusive, 1), 0);
    if (job->ms)
        uv_sleep(job->ms);
    while (job->gate && !atomic_load(job->gate))
        uv_sleep(1);
    if (job->exclusive)
        atomic_fetch_sub(&f.exclusive, 1);
    atomic_store(&job->ran, true);
}

static void done(void *context, int error)
{
    struct job *job = context;

    assert_false(job->done);
    job->done = true;
    job->error = error;
    job->position = ++f.done;
}

static void release(void *context)
{
    (void)context;
    atomic_fetch_add(&f.released, 1);
}

static void submit(struct job *job, const char *key, unsigned deadline_ms)
{
    struct qd_worker_task task = {.run = run, .done = done, .release = release, .context = job};

    assert_int_equal(qd_worker_submit(f.pool, &task, key, deadline_ms), 0);
    assert_false(job->done);
}

static void test_keys(void **state)
{
    static struct job jobs[200];

    (void)state;
    memset(jobs, 0, sizeof(jobs));
    open_pool(4, 4);
    for (int i = 0; i < 200; i++) {
        jobs[i].exclusive = i % 2;
        submit(&jobs[i], i % 2 ? "key" : NULL, LONG_MS);
    }
    turn_until_done(200);
    for (int i = 3; i < 200; i += 2)
        assert_true(jobs[i].position > jobs[i - 2].position);
    for (int i = 0; i < 200; i++)
        assert_true(jobs[i].error == 0 && jobs[i].ran);
    assert_int_equal(f.released, 200);
    close_pool(1000);
}

/* No thread is left: everything fails at once, what waits too; one comes back, and all is well. */
static void test_exhausted(void **state)
{
    struct job stuck[5] = {0}, waiting = {0}, refused = {0}, after[3] = {0};
    atomic_int gates[5] = {0};

    (void)state;
    open_pool(2, 3);
    for (int i = 0; i < 5; i++) {
        stuck[i].gate = &gates[i];
        submit(&stuck[i], i == 0 ? "key" : NULL,
               100 * ((unsigned)i + 1)); /* the next starts when one is written off */
    }
    submit(&waiting, "key", LONG_MS);
    turn_until_done(6);
    assert_int_equal(waiting.error, -EAGAIN);
    for (int i = 0; i < 5; i++)
        assert_int_equal(stuck[i].error, -ETIMEDOUT);
    assert_int_equal(qd_worker_lost(f.pool), 5); /* two, and the three that replaced them */
    submit(&refused, NULL, LONG_MS);
    turn_until_done(7);
    assert_int_equal(refused.error, -EAGAIN);

    atomic_store(&gates[4], 1);
    turn_until_lost(4);
    submit(&after[0], NULL, LONG_MS);
    submit(&after[1], "key", LONG_MS);
    turn_until_done(9);
    assert_int_equal(after[0].error, 0);
    assert_int_equal(after[1].error, -EBUSY);
    for (int i = 0; i < 4; i++)
        atomic_store(&gates[i], 1);
    turn_until_lost(0);
    submit(&after[2], "key", LONG_MS);
    turn_until_done(10);
    assert_int_equal(after[2].error, 0);
    close_pool(1000);
    assert_int_equal(f.released, 10);
}

/* More jobs hang than there are threads, and no deadline is near: others are done all the same. */
static void test_help(void **state)
{
    struct job stuck[7] = {0}, other = {0}, more[20] = {0};
    atomic_int gate = 0;

    (void)state;
    open_patient_pool(2, 8, 10);
    for (int i = 0; i < 7; i++) {
        stuck[i].gate = &gate;
        submit(&stuck[i], i == 0 ? "key" : NULL, LONG_MS);
    }
    submit(&other, NULL, LONG_MS);
    turn_until_done(1);
    assert_true(other.done && other.error == 0);
    turn_until_count(8);

    atomic_store(&gate, 1);
    turn_until_done(8);
    turn_until_count(2); /* whose help is needed no more leaves */
    for (int i = 0; i < 20; i++)
        submit(&more[i], NULL, LONG_MS);
    turn_until_done(28);
    assert_int_equal(qd_worker_lost(f.pool), 0);
    close_pool(1000);
    assert_int_equal(f.released, 28);
}

/* All there may be hang: the others wait, and go on when one returns. */
static void test_help_is_bounded(void **state)
{
    struct job stuck[5] = {0}, waiting = {0};
    atomic_int gates[5] = {0};

    (void)state;
    open_patient_pool(2, 5, 10);
    for (int i = 0; i < 5; i++) {
        stuck[i].gate = &gates[i];
        submit(&stuck[i], NULL, LONG_MS);
    }
    submit(&waiting, NULL, LONG_MS);
    turn_until_count(5);
    turn_for(200);
    assert_false(waiting.done);
    assert_int_equal(qd_worker_count(f.pool), 5);

    atomic_store(&gates[4], 1);
    turn_until_done(2);
    assert_true(stuck[4].done && waiting.done && waiting.error == 0);
    for (int i = 0; i < 4; i++)
        atomic_store(&gates[i], 1);
    turn_until_done(6);
    turn_until_count(2);
    close_pool(1000);
}

/* Who helped takes the place of who is lost. */
static void test_help_and_deadline(void **state)
{
    struct job stuck = {0}, other = {0}, after = {0};
    atomic_int gate = 0;

    (void)state;
    open_patient_pool(1, 4, 10);
    stuck.gate = &gate;
    submit(&stuck, "key", 3000);
    submit(&other, NULL, LONG_MS);
    turn_until_done(1);
    assert_true(other.done);
    turn_until_done(2);
    assert_int_equal(stuck.error, -ETIMEDOUT);
    assert_int_equal(qd_worker_lost(f.pool), 1);
    assert_int_equal(qd_worker_count(f.pool), 2);
    submit(&after, NULL, LONG_MS);
    turn_until_done(3);
    assert_int_equal(after.error, 0);
    atomic_store(&gate, 1);
    turn_until_lost(0);
    turn_until_count(1);
    close_pool(1000);
    assert_int_equal(f.released, 3);
}

/* Jobs that are only many, and wait for long, are no reason for more threads. */
static void test_no_help_for_the_busy(void **state)
{
    static struct job jobs[200];

    (void)state;
    memset(jobs, 0, sizeof(jobs));
    open_patient_pool(2, 8, 2000);
    for (int i = 0; i < 200; i++) {
        jobs[i].ms = 30;
        submit(&jobs[i], NULL, LONG_MS);
    }
    while (f.done < 200) { /* longer than the patience, but each job is much shorter */
        uv_run(&f.loop, UV_RUN_ONCE);
        assert_int_equal(qd_worker_count(f.pool), 2);
    }
    close_pool(1000);
}

static void test_deadline_in_queue(void **state)
{
    struct job slow = {.ms = 200}, waiting = {0}, next = {0};

    (void)state;
    open_pool(1, 1);
    submit(&slow, NULL, LONG_MS);
    submit(&waiting, NULL, 30);
    submit(&next, NULL, LONG_MS);
    turn_until_done(1);
    assert_int_equal(waiting.error, -ETIMEDOUT);
    assert_int_equal(qd_worker_lost(f.pool), 0);
    turn_until_done(3);
    assert_false(waiting.ran);
    assert_true(slow.error == 0 && next.error == 0);
    close_pool(1000);
}

static void test_cancel(void **state)
{
    struct job running = {.ms = 100}, ready = {0}, waiting = {0}, later = {0};

    (void)state;
    open_pool(1, 1);
    submit(&running, "key", LONG_MS);
    submit(&ready, NULL, LONG_MS);
    submit(&waiting, "key", LONG_MS);
    uv_sleep(20);
    qd_worker_cancel_waiting(f.pool);
    submit(&later, "key", LONG_MS);
    turn_until_done(4);
    assert_true(running.error == 0 && later.error == 0);
    assert_true(ready.error == -ECANCELED && waiting.error == -ECANCELED);
    assert_true(later.position > running.position);
    close_pool(1000);
    assert_int_equal(f.released, 4);
}

static void test_close(void **state)
{
    atomic_int gate = 0;
    struct job quick = {.ms = 50}, stuck = {.gate = &gate}, waiting = {0}, lost = {.gate = &gate};
    struct qd_worker_task task = {.run = run, .done = done, .release = release, .context = &quick};

    (void)state;
    open_pool(3, 3);
    submit(&lost, NULL, 10);
    turn_until_done(1);
    submit(&quick, "a", LONG_MS);
    submit(&waiting, "a", LONG_MS);
    submit(&stuck, "b", LONG_MS);
    uv_sleep(20);
    qd_worker_pool_close(f.pool, 150, on_closed, NULL);
    assert_int_equal(qd_worker_submit(f.pool, &task, NULL, 10), -ECANCELED);
    finish_pool();
    assert_int_equal(quick.error, 0);
    assert_int_equal(waiting.error, -ECANCELED);
    assert_int_equal(stuck.error, -ECANCELED);
    assert_int_equal(f.released, 2);
    atomic_store(&gate, 1); /* the two that were left behind end by themselves */
    for (int i = 0; i < 1000 && f.released < 4; i++)
        uv_sleep(5);
    assert_int_equal(f.released, 4);
    uv_sleep(50);
}

static void resubmit(void *context, int error)
{
    struct job *job = context;
    struct qd_worker_task task = {.run = run, .done = done, .release = release, .context = job};

    assert_int_equal(error, 0);
    assert_int_equal(qd_worker_submit(f.pool, &task, "key", LONG_MS), 0);
}

static void close_from_done(void *context, int error)
{
    (void)context;
    assert_int_equal(error, 0);
    qd_worker_pool_close(f.pool, 1000, on_closed, NULL);
}

static void test_calls_from_done(void **state)
{
    struct job job = {0};
    struct qd_worker_task task = {.run = run, .done = resubmit, .release = release, .context = &job};

    (void)state;
    open_pool(2, 2);
    assert_int_equal(qd_worker_submit(f.pool, &task, "key", LONG_MS), 0);
    turn_until_done(1);
    task.done = close_from_done;
    assert_int_equal(qd_worker_submit(f.pool, &task, NULL, LONG_MS), 0);
    finish_pool();
    assert_int_equal(f.released, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_exhausted),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_help_is_bounded),
        cmocka_unit_test(test_help_and_deadline),
        cmocka_unit_test(test_no_help_for_the_busy),
        cmocka_unit_test(test_deadline_in_queue),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_calls_from_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
