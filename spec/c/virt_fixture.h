/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For the tests of virt: a loop, a virt on it, and what was told of.
 */
#ifndef QD_SPEC_VIRT_FIXTURE_H
#define QD_SPEC_VIRT_FIXTURE_H

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qd/virt.h"

#define LONG_MS 20000 /* "should have happened long ago", also under a sanitizer */

struct fixture {
    uv_loop_t loop;
    uv_timer_t tick; /* keeps the loop turning while a test waits */
    struct qd_virt *virt;
    char events[8192]; /* "NAME:EVENT " each, in their order */
    unsigned event_count;
    unsigned connected;
    unsigned disconnected;
    char reason[256];
    char listed[8192]; /* "NAME=STATE " each, of the last `connected` */
    bool closed;
};

struct answer {
    int *order; /* counts what is answered, when set */
    int position;
    bool done;
    int error;
    int code;
    char message[256];
    int64_t number;
    char text[4096];
    int64_t id;
};

static inline void on_fixture_tick(uv_timer_t *timer)
{
    (void)timer;
}

static inline void append(char *text, size_t space, const char *name, int number)
{
    size_t used = strlen(text);

    snprintf(text + used, space - used, "%s:%d ", name, number);
}

static inline void on_lifecycle(void *context, const char *uuid, const char *name, int event, int detail,
                                int64_t id)
{
    struct fixture *f = context;

    (void)detail;
    (void)id;
    assert_int_equal(strlen(uuid), QD_VIRT_UUID_SIZE - 1);
    append(f->events, sizeof(f->events), name, event);
    f->event_count++;
}

static inline void on_connected(void *context, const struct qd_virt_domain *domains, size_t count)
{
    struct fixture *f = context;

    f->connected++;
    f->listed[0] = '\0';
    for (size_t i = 0; i < count; i++)
        append(f->listed, sizeof(f->listed), domains[i].name, domains[i].state);
}

static inline void on_disconnected(void *context, const char *reason)
{
    struct fixture *f = context;

    f->disconnected++;
    snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static inline void on_fixture_closed(void *context)
{
    struct fixture *f = context;

    f->closed = true;
    f->virt = NULL;
}

static inline void on_answer(void *context, const struct qd_virt_result *result)
{
    struct answer *answer = context;

    assert_false(answer->done); /* once */
    answer->done = true;
    answer->error = result->error;
    answer->code = result->libvirt_code;
    answer->number = result->number;
    answer->id = result->domain_id;
    snprintf(answer->message, sizeof(answer->message), "%s", result->message ? result->message : "");
    snprintf(answer->text, sizeof(answer->text), "%s", result->text ? result->text : "");
    if (result->error < 0)
        assert_true(answer->message[0] != '\0');
    if (answer->order)
        answer->position = ++*answer->order;
}

/* Turns the loop until `*flag`, or for `ms` when it is NULL. */
static inline void turn(struct fixture *f, const bool *flag, unsigned ms)
{
    uint64_t end = uv_hrtime() / 1000000 + ms;

    while (!(flag && *flag) && uv_hrtime() / 1000000 < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    if (flag)
        assert_true(*flag);
}

static inline void turn_until(struct fixture *f, const unsigned *counter, unsigned value)
{
    uint64_t end = uv_hrtime() / 1000000 + LONG_MS;

    while (*counter < value && uv_hrtime() / 1000000 < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(*counter >= value);
}

static inline void start_virt(struct fixture *f, const char *uri, const char *block)
{
    struct qd_virt_callbacks callbacks = {
        .lifecycle = on_lifecycle, .connected = on_connected, .disconnected = on_disconnected, .context = f};

    if (block)
        setenv("QD_TEST_VIRT_BLOCK", block, 1);
    else
        unsetenv("QD_TEST_VIRT_BLOCK");
    memset(f, 0, sizeof(*f));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_timer_init(&f->loop, &f->tick);
    uv_timer_start(&f->tick, on_fixture_tick, 5, 5);
    assert_int_equal(qd_virt_open(&f->loop, uri, &callbacks, &f->virt), 0);
}

static inline void open_virt(struct fixture *f, const char *uri, const char *block)
{
    start_virt(f, uri, block);
    turn_until(f, &f->connected, 1);
}

/* Every handle is closed, or the loop wouldn't be. */
static inline void close_virt(struct fixture *f, unsigned grace_ms)
{
    if (f->virt)
        qd_virt_close(f->virt, grace_ms, on_fixture_closed);
    turn(f, &f->closed, LONG_MS);
    uv_close((uv_handle_t *)&f->tick, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static inline void submit(struct fixture *f, enum qd_virt_op op, const char *uuid, const char *argument,
                          unsigned flags, unsigned deadline_ms, struct answer *answer)
{
    answer->done = false;
    assert_int_equal(qd_virt_submit(f->virt, op, uuid, argument, flags, deadline_ms, on_answer, answer), 0);
    assert_false(answer->done); /* never before it returned */
}

static inline struct answer ask(struct fixture *f, enum qd_virt_op op, const char *uuid, const char *argument,
                                unsigned flags)
{
    struct answer answer = {0};

    submit(f, op, uuid, argument, flags, LONG_MS, &answer);
    turn(f, &answer.done, LONG_MS);
    return answer;
}

/* As ask(), of what must go well. */
static inline struct answer must(struct fixture *f, enum qd_virt_op op, const char *uuid,
                                 const char *argument, unsigned flags)
{
    struct answer answer = ask(f, op, uuid, argument, flags);

    if (answer.error < 0)
        fail_msg("operation %d: %d: %s", (int)op, answer.error, answer.message);
    return answer;
}

#endif
