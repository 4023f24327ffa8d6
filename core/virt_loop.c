/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A `watch` is what libvirt asked for; a `slot` is the libuv handle that serves it. The watch is written
 * under the mutex by any thread; its slot, and the watch's end, are the loop's thread's alone.
 *
 * Each handle is polled on a duplicate of its descriptor. libvirt may close a descriptor right after it
 * removed the handle, on a thread of its own, and the number may be in use again before the loop hears of it:
 * a poll on libvirt's own number would then sit on somebody else's socket. It may also add several handles on
 * one descriptor, and two active uv_poll_t on one descriptor break each other. A duplicate is ours until we
 * close it, and no two polls share one.
 */
#include "qd/virt_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "qd/log.h"

struct slot {
    union {
        uv_handle_t handle;
        uv_poll_t poll;
        uv_timer_t timer;
    } uv;
    struct watch *watch;
};

struct watch {
    TAILQ_ENTRY(watch) link;
    int id;
    int fd;     /* as libvirt named it; -1: a timeout */
    int own_fd; /* its duplicate */
    int wanted; /* events of libvirt; for a timeout milliseconds, below 0: off */
    bool stale; /* the slot doesn't follow `wanted` yet */
    bool removed;
    virEventHandleCallback on_handle;
    virEventTimeoutCallback on_timeout;
    void *opaque;
    virFreeCallback free_opaque;
    struct slot *slot;
};

TAILQ_HEAD(watches, watch);

static struct {
    uv_mutex_t mutex; /* the list, its watches, `next_id`, and whether `async` may be sent to */
    struct watches watches;
    int next_id;
    uv_async_t *async; /* NULL: not open */

    bool registered; /* from here on: the loop's thread */
    uv_loop_t *loop;
    unsigned handles; /* of libuv, not yet closed */
    void (*closed)(void *context);
    void *context;
} table;

static void wake_loop(void)
{
    if (table.async)
        uv_async_send(table.async);
}

static struct watch *find_watch(int id, bool is_timeout)
{
    struct watch *watch;

    for (watch = TAILQ_FIRST(&table.watches); watch; watch = TAILQ_NEXT(watch, link)) {
        if (watch->id == id && !watch->removed && (watch->fd < 0) == is_timeout)
            return watch;
    }
    return NULL;
}

static int add_watch(const struct watch *model)
{
    struct watch *watch = malloc(sizeof(*watch));
    int id;

    if (!watch)
        return -1;
    *watch = *model;
    watch->stale = true;
    if (watch->fd >= 0) {
        watch->own_fd = fcntl(watch->fd, F_DUPFD_CLOEXEC, 0);
        if (watch->own_fd < 0) {
            free(watch);
            return -1;
        }
    }
    uv_mutex_lock(&table.mutex);
    id = watch->id = table.next_id;
    table.next_id = table.next_id == INT_MAX ? 1 : table.next_id + 1;
    TAILQ_INSERT_TAIL(&table.watches, watch, link);
    wake_loop();
    uv_mutex_unlock(&table.mutex);
    return id;
}

static void update_watch(int id, bool is_timeout, int wanted)
{
    struct watch *watch;

    uv_mutex_lock(&table.mutex);
    watch = find_watch(id, is_timeout);
    if (watch) {
        watch->wanted = wanted;
        watch->stale =
            true; /* also when it is the same: a timeout starts anew, a poll that met an error too */
        wake_loop();
    }
    uv_mutex_unlock(&table.mutex);
}

static int remove_watch(int id, bool is_timeout)
{
    struct watch *watch;

    uv_mutex_lock(&table.mutex);
    watch = find_watch(id, is_timeout);
    if (watch) {
        watch->removed = true;
        wake_loop();
    }
    uv_mutex_unlock(&table.mutex);
    return watch ? 0 : -1;
}

static int add_handle(int fd, int events, virEventHandleCallback callback, void *opaque, virFreeCallback ff)
{
    return add_watch(&(struct watch){.fd = fd,
                                     .own_fd = -1,
                                     .wanted = events,
                                     .on_handle = callback,
                                     .opaque = opaque,
                                     .free_opaque = ff});
}

static void update_handle(int id, int events)
{
    update_watch(id, false, events);
}

static int remove_handle(int id)
{
    return remove_watch(id, false);
}

static int add_timeout(int milliseconds, virEventTimeoutCallback callback, void *opaque, virFreeCallback ff)
{
    return add_watch(&(struct watch){.fd = -1,
                                     .own_fd = -1,
                                     .wanted = milliseconds,
                                     .on_timeout = callback,
                                     .opaque = opaque,
                                     .free_opaque = ff});
}

static void update_timeout(int id, int milliseconds)
{
    update_watch(id, true, milliseconds);
}

static int remove_timeout(int id)
{
    return remove_watch(id, true);
}

static int to_uv(int events)
{
    return (events & VIR_EVENT_HANDLE_READABLE ? UV_READABLE : 0) |
           (events & VIR_EVENT_HANDLE_WRITABLE ? UV_WRITABLE : 0) |
           (events & (VIR_EVENT_HANDLE_HANGUP | VIR_EVENT_HANDLE_ERROR) ? UV_DISCONNECT : 0);
}

static int from_uv(int events)
{
    return (events & UV_READABLE ? VIR_EVENT_HANDLE_READABLE : 0) |
           (events & UV_WRITABLE ? VIR_EVENT_HANDLE_WRITABLE : 0) |
           (events & UV_DISCONNECT ? VIR_EVENT_HANDLE_HANGUP : 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct slot *slot = poll->data;
    struct watch *watch = slot->watch;
    int wanted, ready = from_uv(events);

    uv_mutex_lock(&table.mutex);
    wanted = watch->removed ? 0 : watch->wanted;
    if (status < 0) {
        /* libuv stopped the poll. libvirt's own loop would tell it again until libvirt removes the handle. */
        ready = VIR_EVENT_HANDLE_ERROR | (wanted & VIR_EVENT_HANDLE_READABLE);
        watch->stale = true;
        wake_loop();
    }
    uv_mutex_unlock(&table.mutex);

    /* The watch lives through the call: only this thread ends it, in follow_table(). */
    ready &= wanted | VIR_EVENT_HANDLE_ERROR | VIR_EVENT_HANDLE_HANGUP;
    if (wanted && ready)
        watch->on_handle(watch->id, watch->fd, ready, watch->opaque);
}

static void on_timer(uv_timer_t *timer)
{
    struct slot *slot = timer->data;
    struct watch *watch = slot->watch;
    bool due;

    uv_mutex_lock(&table.mutex);
    due = !watch->removed && !watch->stale && watch->wanted >= 0;
    uv_mutex_unlock(&table.mutex);
    if (due)
        watch->on_timeout(watch->id, watch->opaque);
}

static void handle_gone(void)
{
    if (--table.handles == 0)
        table.closed(table.context);
}

static void on_slot_closed(uv_handle_t *handle)
{
    free(handle->data);
    handle_gone();
}

static void on_async_closed(uv_handle_t *handle)
{
    free(handle);
    handle_gone();
}

static void close_slot(struct watch *watch)
{
    if (watch->slot)
        uv_close(&watch->slot->uv.handle, on_slot_closed);
    watch->slot = NULL;
}

static int open_slot(struct watch *watch)
{
    struct slot *slot = calloc(1, sizeof(*slot));
    int error;

    if (!slot)
        return -ENOMEM;
    error = watch->fd >= 0 ? uv_poll_init(table.loop, &slot->uv.poll, watch->own_fd)
                           : uv_timer_init(table.loop, &slot->uv.timer);
    if (error < 0) {
        free(slot);
        return error;
    }
    slot->uv.handle.data = slot;
    slot->watch = watch;
    watch->slot = slot;
    table.handles++;
    return 0;
}

/* Makes the slot do what the watch wants. */
static int serve_watch(struct watch *watch)
{
    bool off = watch->fd >= 0 ? watch->wanted == 0 : watch->wanted < 0;
    int error = 0;

    if (!watch->slot) {
        if (off)
            return 0;
        error = open_slot(watch);
        if (error < 0)
            return error;
    }
    if (watch->fd < 0) {
        uint64_t period = off ? 0 : (uint64_t)watch->wanted;

        /* 0 means "each time round the loop" to libvirt; a millisecond keeps that from starving everyone
         * else. */
        return off ? uv_timer_stop(&watch->slot->uv.timer)
                   : uv_timer_start(&watch->slot->uv.timer, on_timer, period, period ? period : 1);
    }
    return off ? uv_poll_stop(&watch->slot->uv.poll)
               : uv_poll_start(&watch->slot->uv.poll, to_uv(watch->wanted), on_poll);
}

/* Brings libuv in line with the table, and ends what was removed. Whether something was. */
static bool follow_table(void)
{
    struct watches removed = TAILQ_HEAD_INITIALIZER(removed);
    struct watch *watch, *next;
    bool any = false;

    uv_mutex_lock(&table.mutex);
    for (watch = TAILQ_FIRST(&table.watches); watch; watch = next) {
        next = TAILQ_NEXT(watch, link);
        if (watch->removed) {
            TAILQ_REMOVE(&table.watches, watch, link);
            TAILQ_INSERT_TAIL(&removed, watch, link);
        } else if (watch->stale && table.async) {
            int error = serve_watch(watch);

            watch->stale = false;
            if (error < 0)
                qd_log(QD_LOG_ERROR, "libvirt's %s %d is not served: %s",
                       watch->fd >= 0 ? "descriptor" : "timer", watch->id, uv_strerror(error));
        }
    }
    uv_mutex_unlock(&table.mutex);

    while ((watch = TAILQ_FIRST(&removed))) {
        TAILQ_REMOVE(&removed, watch, link);
        close_slot(watch); /* takes the duplicate off epoll: it can be closed */
        if (watch->own_fd >= 0)
            close(watch->own_fd);
        if (watch->free_opaque)
            watch->free_opaque(watch->opaque);
        free(watch);
        any = true;
    }
    return any;
}

static void on_async(uv_async_t *async)
{
    (void)async;
    follow_table();
}

int qd_virt_loop_open(uv_loop_t *loop)
{
    struct watch *watch;
    uv_async_t *async;
    int error;

    if (table.handles > 0)
        return -EBUSY;
    if (!table.registered) {
        error = uv_mutex_init(&table.mutex);
        if (error < 0)
            return error;
        TAILQ_INIT(&table.watches);
        table.next_id = 1;
        virEventRegisterImpl(add_handle, update_handle, remove_handle, add_timeout, update_timeout,
                             remove_timeout);
        table.registered = true;
    }
    async = malloc(sizeof(*async));
    if (!async)
        return -ENOMEM;
    error = uv_async_init(loop, async, on_async);
    if (error < 0) {
        free(async);
        return error;
    }
    table.handles = 1;
    table.loop = loop;
    uv_mutex_lock(&table.mutex);
    table.async = async;
    for (watch = TAILQ_FIRST(&table.watches); watch; watch = TAILQ_NEXT(watch, link))
        watch->stale = true; /* left from an earlier loop */
    wake_loop();
    uv_mutex_unlock(&table.mutex);
    return 0;
}

void qd_virt_loop_close(void (*closed)(void *context), void *context)
{
    struct watch *watch;
    uv_async_t *async = table.async;

    table.closed = closed;
    table.context = context;
    uv_mutex_lock(&table.mutex);
    table.async = NULL; /* no other thread sends to it from here on */
    uv_mutex_unlock(&table.mutex);

    while (follow_table()) /* a free callback may remove further ones */
        ;
    uv_mutex_lock(&table.mutex);
    for (watch = TAILQ_FIRST(&table.watches); watch; watch = TAILQ_NEXT(watch, link))
        close_slot(watch);
    uv_mutex_unlock(&table.mutex);
    uv_close((uv_handle_t *)async, on_async_closed);
}
