/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libvirt's event loop, driven as libvirt drives it: by virEventAddHandle() and its like.
 */
#include <libvirt/libvirt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "qd/virt_loop.h"

#define LONG_MS 20000

struct fixture {
    uv_loop_t loop;
    uv_timer_t tick;
    bool closed;
};

/* One handle or timeout, and what became of it. */
struct probe {
    int id, fd;
    int calls, events;
    bool freed;
    bool in_libvirt; /* a call that removes it runs */
    bool once;       /* removes itself when called */
};

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void open_loop(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_timer_init(&f->loop, &f->tick);
    uv_timer_start(&f->tick, on_tick, 2, 2);
    assert_int_equal(qd_virt_loop_open(&f->loop), 0);
}

static void on_closed(void *context)
{
    struct fixture *f = context;

    f->closed = true;
}

static void close_loop(struct fixture *f)
{
    qd_virt_loop_close(on_closed, f);
    assert_false(f->closed);
    uv_close((uv_handle_t *)&f->tick, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void turn(struct fixture *f, unsigned ms)
{
    uint64_t end = uv_hrtime() / 1000000 + ms;

    while (uv_hrtime() / 1000000 < end)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void turn_until(struct fixture *f, const int *value, int least)
{
    uint64_t end = uv_hrtime() / 1000000 + LONG_MS;

    while (*value < least && uv_hrtime() / 1000000 < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(*value >= least);
}

static void on_free(void *opaque)
{
    struct probe *probe = opaque;

    assert_false(probe->in_libvirt);
    assert_false(probe->freed);
    probe->freed = true;
}

static void remove_probe(struct probe *probe)
{
    probe->in_libvirt = true;
    assert_int_equal(probe->fd < 0 ? virEventRemoveTimeout(probe->id) : virEventRemoveHandle(probe->id), 0);
    probe->in_libvirt = false;
}

static void on_event(int watch, int fd, int events, void *opaque)
{
    struct probe *probe = opaque;

    assert_int_equal(watch, probe->id);
    assert_int_equal(fd, probe->fd); /* libvirt's number, not the duplicate's */
    assert_false(probe->freed);
    probe->calls++;
    probe->events |= events;
    if (probe->once)
        remove_probe(probe);
}

static void on_timeout(int timer, void *opaque)
{
    struct probe *probe = opaque;

    assert_int_equal(timer, probe->id);
    assert_false(probe->freed);
    probe->calls++;
    if (probe->once)
        remove_probe(probe);
}

static void watch(struct probe *probe, int fd, int events)
{
    *probe = (struct probe){.fd = fd};
    probe->id = virEventAddHandle(fd, events, on_event, probe, on_free);
    assert_true(probe->id > 0);
}

static void time_out(struct probe *probe, int ms)
{
    *probe = (struct probe){.fd = -1};
    probe->id = virEventAddTimeout(ms, on_timeout, probe, on_free);
    assert_true(probe->id > 0);
}

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

static void test_handles(void **state)
{
    struct probe reader, writer, off;
    struct fixture f;
    int pair[2];

    (void)state;
    open_loop(&f);
    make_pair(pair);
    /* Several on one descriptor. */
    watch(&reader, pair[0], VIR_EVENT_HANDLE_READABLE);
    watch(&writer, pair[0], VIR_EVENT_HANDLE_WRITABLE);
    watch(&off, pair[0], 0);
    turn_until(&f, &writer.calls, 2);
    assert_int_equal(writer.events, VIR_EVENT_HANDLE_WRITABLE);
    assert_int_equal(reader.calls, 0);
    virEventUpdateHandle(writer.id, 0);
    turn(&f, 20);
    writer.calls = 0;
    assert_int_equal(write(pair[1], "x", 1), 1);
    turn_until(&f, &reader.calls, 2);
    assert_int_equal(reader.events, VIR_EVENT_HANDLE_READABLE);
    assert_int_equal(writer.calls, 0);
    virEventUpdateHandle(off.id, VIR_EVENT_HANDLE_READABLE);
    turn_until(&f, &off.calls, 1);

    off.once = true; /* inside its own callback */
    turn(&f, 20);
    assert_true(off.freed);
    remove_probe(&reader);
    assert_false(reader.freed); /* later, on the loop's thread */
    turn(&f, 20);
    assert_true(reader.freed);
    assert_int_equal(virEventRemoveHandle(reader.id), -1);
    remove_probe(&writer);
    close_loop(&f); /* frees what was removed a moment ago */
    assert_true(writer.freed);
    close(pair[0]);
    close(pair[1]);
}

static void test_hang_up(void **state)
{
    struct probe reader, hang_up;
    struct fixture f;
    int pair[2];

    (void)state;
    open_loop(&f);
    make_pair(pair);
    watch(&reader, pair[0], VIR_EVENT_HANDLE_READABLE);
    watch(&hang_up, pair[0], VIR_EVENT_HANDLE_HANGUP);
    turn(&f, 20);
    assert_int_equal(reader.calls + hang_up.calls, 0);
    close(pair[1]);
    turn_until(&f, &reader.calls, 1); /* reads the end */
    turn_until(&f, &hang_up.calls, 1);
    assert_int_equal(hang_up.events, VIR_EVENT_HANDLE_HANGUP);
    remove_probe(&reader);
    remove_probe(&hang_up);
    close_loop(&f);
    close(pair[0]);
}

/* POLLERR, which libuv answers by stopping the poll. */
static void test_error(void **state)
{
    struct probe writer;
    struct fixture f;
    int ends[2];

    (void)state;
    open_loop(&f);
    assert_int_equal(pipe(ends), 0);
    watch(&writer, ends[1], VIR_EVENT_HANDLE_WRITABLE);
    turn_until(&f, &writer.calls, 1);
    close(ends[0]);
    writer.calls = writer.events = 0;
    turn_until(&f, &writer.calls, 3); /* until libvirt removes the handle, as its own loop does */
    assert_true(writer.events & VIR_EVENT_HANDLE_ERROR);
    writer.once = true;
    turn(&f, 20);
    assert_true(writer.freed);
    close_loop(&f);
    close(ends[1]);
}

struct stream_probe {
    uv_pipe_t pipe;
    char buffer[8];
    int got;
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct stream_probe *probe = handle->data;

    (void)suggested;
    *buf = uv_buf_init(probe->buffer, sizeof(probe->buffer));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct stream_probe *probe = stream->data;

    (void)buf;
    if (size > 0)
        probe->got += (int)size;
}

static void remove_and_close(void *argument)
{
    struct probe *probe = argument;

    remove_probe(probe);
    close(probe->fd);
}

/* libvirt removes a handle and closes its descriptor on another thread; the number is taken by a stream of
 * ours before the loop knows. */
static void test_descriptor_taken(void **state)
{
    struct stream_probe stream = {0};
    struct probe old, again;
    uv_thread_t thread;
    struct fixture f;
    int pair[2], fresh[2];

    (void)state;
    open_loop(&f);
    make_pair(pair);
    watch(&old, pair[0], VIR_EVENT_HANDLE_READABLE);
    turn(&f, 20);
    assert_int_equal(uv_thread_create(&thread, remove_and_close, &old), 0);
    uv_thread_join(&thread);
    make_pair(fresh);
    assert_int_equal(fresh[0], pair[0]);
    uv_pipe_init(&f.loop, &stream.pipe, 0);
    stream.pipe.data = &stream;
    assert_int_equal(uv_pipe_open(&stream.pipe, fresh[0]), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&stream.pipe, on_alloc, on_read), 0);
    assert_int_equal(write(fresh[1], "hello", 5), 5);
    turn_until(&f, &stream.got, 5);
    assert_true(old.freed);
    assert_int_equal(old.calls, 0);
    uv_close((uv_handle_t *)&stream.pipe, NULL);
    turn(&f, 20);
    close(fresh[1]);
    close(pair[1]);

    /* And by libvirt's next handle. */
    make_pair(pair);
    watch(&old, pair[0], VIR_EVENT_HANDLE_READABLE);
    turn(&f, 20);
    remove_and_close(&old);
    make_pair(fresh);
    assert_int_equal(fresh[0], pair[0]);
    watch(&again, fresh[0], VIR_EVENT_HANDLE_READABLE);
    assert_int_equal(write(fresh[1], "x", 1), 1);
    turn_until(&f, &again.calls, 1);
    remove_probe(&again);
    close_loop(&f);
    close(fresh[0]);
    close(fresh[1]);
    close(pair[1]);
}

static void test_timeouts(void **state)
{
    struct probe often, always, off;
    struct fixture f;

    (void)state;
    open_loop(&f);
    time_out(&often, 10);
    time_out(&always, 0);
    time_out(&off, -1);
    turn_until(&f, &often.calls, 3);
    assert_true(always.calls > often.calls);
    assert_int_equal(off.calls, 0);
    virEventUpdateTimeout(often.id, -1);
    virEventUpdateTimeout(off.id, 0);
    turn_until(&f, &off.calls, 1);
    often.calls = 0;
    always.once = true;
    turn(&f, 50);
    assert_int_equal(often.calls, 0);
    assert_true(always.freed);
    remove_probe(&often);
    remove_probe(&off);
    close_loop(&f);
    assert_true(often.freed && off.freed);
}

#define THREADS 4
#define ROUNDS 300

static void add_and_remove(void *argument)
{
    int *pair = argument;

    for (int i = 0; i < ROUNDS; i++) {
        int handle = virEventAddHandle(pair[0], VIR_EVENT_HANDLE_READABLE, NULL, NULL, NULL);
        int timeout = virEventAddTimeout(100000, NULL, NULL, NULL);

        assert_true(handle > 0 && timeout > 0 && handle != timeout);
        virEventUpdateHandle(handle, 0);
        virEventUpdateTimeout(timeout, -1);
        if (i % 10 == 0)
            uv_sleep(1);
        assert_int_equal(virEventRemoveHandle(handle), 0);
        assert_int_equal(virEventRemoveTimeout(timeout), 0);
    }
}

static void test_threads(void **state)
{
    uv_thread_t threads[THREADS];
    struct fixture f;
    int pair[2];

    (void)state;
    open_loop(&f);
    make_pair(pair);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(uv_thread_create(&threads[i], add_and_remove, pair), 0);
    turn(&f, 100);
    for (int i = 0; i < THREADS; i++)
        uv_thread_join(&threads[i]);
    close_loop(&f);
    close(pair[0]);
    close(pair[1]);
}

/* What a lost worker leaves behind is served again by the next loop. */
static void test_reopen(void **state)
{
    struct probe reader, timeout;
    struct fixture f;
    int pair[2];

    (void)state;
    open_loop(&f);
    assert_int_equal(qd_virt_loop_open(&f.loop), UV_EBUSY);
    make_pair(pair);
    watch(&reader, pair[0], VIR_EVENT_HANDLE_READABLE);
    time_out(&timeout, 5);
    turn_until(&f, &timeout.calls, 1);
    close_loop(&f);
    assert_int_equal(write(pair[1], "x", 1), 1);
    timeout.calls = 0;

    open_loop(&f);
    turn_until(&f, &reader.calls, 1);
    turn_until(&f, &timeout.calls, 1);
    close_loop(&f);
    remove_probe(&reader); /* no loop: freed by the next one */
    assert_false(reader.freed);
    open_loop(&f);
    remove_probe(&timeout);
    close_loop(&f);
    assert_true(reader.freed && timeout.freed);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handles),  cmocka_unit_test(test_hang_up),
        cmocka_unit_test(test_error),    cmocka_unit_test(test_descriptor_taken),
        cmocka_unit_test(test_timeouts), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_reopen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
