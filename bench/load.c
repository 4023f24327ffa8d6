// SPDX-License-Identifier: GPL-2.0-or-later

// bench-load: keeps a number of calls under way at once, one connection a call, and checks every answer. The
// connections are non-blocking under one epoll; a call is connect, send, shutdown, read to the end, close,
// and the next one begins in its place at once. See load.h.

#define _GNU_SOURCE 1

#include "load.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 64,
    READ_MAX = 1 << 18,
    FAILURES_SHOWN = 3,
    RETRY_MS = 1, // a full backlog of a unix socket gives no event when it has room again
    IDLE_MS = 100,
};

struct slot {
    int fd; // -1: no call under way
    bool connecting;
    uint64_t index; // of the call
    uint64_t started;
    struct qd_load_answer answer;
};

struct engine {
    struct qd_load_plan plan;
    struct sockaddr_un address;
    int epoll;
    struct slot *slots;
    unsigned busy;    // slots with a call under way
    unsigned waiting; // of these, the ones not yet connected
    uint64_t begun;   // calls so far
    uint64_t start;
    uint64_t last; // when a call ended
    struct qd_load_samples samples;
    struct qd_load_totals totals;
};

static char request_buffer[QD_LOAD_REQUEST_MAX];
static char read_buffer[READ_MAX];

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static bool may_begin(const struct engine *engine, uint64_t now)
{
    if (engine->plan.calls)
        return engine->begun < engine->plan.calls;
    return now - engine->start < engine->plan.duration;
}

// `problem` is an errno, or 0 when the answer came to its end.
static void slot_end(struct engine *engine, struct slot *slot, int problem, uint64_t now)
{
    close(slot->fd);
    slot->fd = -1;
    engine->busy--;
    engine->last = now;
    engine->totals.elapsed = now - engine->start;
    if (!problem && qd_load_answer_good(&engine->plan, &slot->answer)) {
        engine->totals.bytes += slot->answer.size;
        qd_load_samples_add(&engine->samples, now - slot->started);
        return;
    }
    if (engine->totals.errors++ < FAILURES_SHOWN) {
        fprintf(stderr, "bench-load: call %" PRIu64 ": %s: ", slot->index,
                problem ? strerror(problem) : "wrong answer");
        qd_load_answer_print(&slot->answer, stderr);
    }
}

static void slot_send(struct engine *engine, struct slot *slot)
{
    size_t size = qd_load_plan_request(&engine->plan, slot->index, request_buffer);
    ssize_t sent = send(slot->fd, request_buffer, size, MSG_NOSIGNAL);
    if (sent >= 0 && (size_t)sent != size)
        errx(QD_LOAD_EXIT_FAILED, "a request of %zu bytes does not fit the socket's buffer", size);
    // A server may close before it has read: what it answered, if anything, still counts.
    if (sent >= 0)
        shutdown(slot->fd, SHUT_WR);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = slot};
    if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, slot->fd, &event) < 0)
        err(QD_LOAD_EXIT_FAILED, "epoll_ctl");
}

static void slot_connect(struct engine *engine, struct slot *slot)
{
    if (connect(slot->fd, (struct sockaddr *)&engine->address, sizeof engine->address) < 0) {
        if (errno != EAGAIN)
            err(QD_LOAD_EXIT_FAILED, "%s", engine->plan.socket);
        engine->totals.retries++;
        engine->waiting += !slot->connecting;
        slot->connecting = true;
        return;
    }
    engine->waiting -= slot->connecting;
    slot->connecting = false;
    slot_send(engine, slot);
}

static void slot_begin(struct engine *engine, struct slot *slot, uint64_t now)
{
    slot->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (slot->fd < 0)
        err(QD_LOAD_EXIT_FAILED, "socket");
    slot->index = engine->begun++;
    slot->started = now;
    slot->answer.size = 0;
    slot->answer.differs = false;
    engine->busy++;
    slot_connect(engine, slot);
}

// Whether the call has ended.
static bool slot_read(struct engine *engine, struct slot *slot, uint32_t events)
{
    for (;;) {
        ssize_t size = read(slot->fd, read_buffer, sizeof read_buffer);
        if (size < 0 && errno == EAGAIN)
            return false;
        if (size <= 0) {
            slot_end(engine, slot, size < 0 ? errno : 0, now_ns());
            return true;
        }
        qd_load_answer_add(&engine->plan, &slot->answer, read_buffer, (size_t)size);
        if ((size_t)size < sizeof read_buffer && !(events & (EPOLLRDHUP | EPOLLHUP)))
            return false; // nothing more for now: saves the read that would say so
    }
}

static void begin_all(struct engine *engine)
{
    uint64_t now = now_ns();
    for (unsigned i = 0; i < engine->plan.connections; i++) {
        struct slot *slot = &engine->slots[i];
        if (slot->fd < 0 && may_begin(engine, now))
            slot_begin(engine, slot, now);
        else if (slot->fd >= 0 && slot->connecting)
            slot_connect(engine, slot);
    }
}

static void run(struct engine *engine)
{
    struct epoll_event events[EVENTS_MAX];
    engine->start = engine->last = now_ns();
    begin_all(engine);
    while (engine->busy) {
        int count = epoll_wait(engine->epoll, events, EVENTS_MAX, engine->waiting ? RETRY_MS : IDLE_MS);
        if (count < 0 && errno != EINTR)
            err(QD_LOAD_EXIT_FAILED, "epoll_wait");
        for (int i = 0; i < count; i++) {
            struct slot *slot = events[i].data.ptr;
            if (slot_read(engine, slot, events[i].events) && may_begin(engine, engine->last))
                slot_begin(engine, slot, engine->last);
        }
        if (engine->waiting)
            begin_all(engine);
        if (count <= 0 && now_ns() - engine->last > engine->plan.timeout)
            errx(QD_LOAD_EXIT_FAILED, "gave up: %u calls wait for an answer, %zu were answered", engine->busy,
                 engine->samples.count);
    }
}

int main(int argc, char **argv)
{
    static struct engine engine = {.address.sun_family = AF_UNIX}; // static: what it holds lives to the end
    qd_load_plan_parse(argc, argv, &engine.plan);
    size_t path_size = strlen(engine.plan.socket);
    if (path_size >= sizeof engine.address.sun_path)
        errx(QD_LOAD_EXIT_USAGE, "%s: too long for a socket", engine.plan.socket);
    memcpy(engine.address.sun_path, engine.plan.socket, path_size);

    engine.epoll = epoll_create1(EPOLL_CLOEXEC);
    engine.slots = calloc(engine.plan.connections, sizeof *engine.slots);
    if (engine.epoll < 0 || !engine.slots)
        err(QD_LOAD_EXIT_FAILED, "start");
    for (unsigned i = 0; i < engine.plan.connections; i++)
        engine.slots[i].fd = -1;

    run(&engine);
    qd_load_report(&engine.samples, &engine.totals, stdout);
    free(engine.samples.values);
    free(engine.slots);
    close(engine.epoll);
    return engine.totals.errors || fflush(stdout) ? QD_LOAD_EXIT_FAILED : 0;
}
