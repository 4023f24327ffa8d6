/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The connection's life, on the loop's thread. One connect job at a time: they share a key, so an attempt
 * that never returns costs one worker, not one each time it is tried again.
 */
#include "virt_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qd/log.h"

#define KEY "connection" /* no uuid is spelled so */
#define CONNECT_DEADLINE_MS 30000
#define STEADY_MS 2000 /* a connection that stood for so long: the next pause is short again */

static void retry_later(struct qd_virt *virt)
{
    if (virt->closing)
        return;
    uv_timer_set_repeat(&virt->retry, virt->pause_ms);
    uv_timer_again(&virt->retry);
    virt->pause_ms = virt->pause_ms * 2 < QD_VIRT_RETRY_MAX_MS ? virt->pause_ms * 2 : QD_VIRT_RETRY_MAX_MS;
}

static const char *close_reason(int reason)
{
    switch (reason) {
    case VIR_CONNECT_CLOSE_REASON_EOF:
        return "the server closed the connection";
    case VIR_CONNECT_CLOSE_REASON_KEEPALIVE:
        return "the server doesn't answer";
    default:
        return "the connection broke";
    }
}

static void lose(struct qd_virt *virt, const char *reason)
{
    struct qd_virt_hub *hub = virt->hub;

    uv_mutex_lock(&hub->mutex);
    hub->old = hub->line; /* empty until now: the job that made this line took it */
    hub->line = (struct qd_virt_line){0};
    hub->ready = hub->dead = false;
    uv_mutex_unlock(&hub->mutex);
    virt->counters.connected = false;
    if (uv_now(virt->loop) - virt->connected_at >= STEADY_MS)
        virt->pause_ms = QD_VIRT_RETRY_MS;
    qd_log(QD_LOG_WARNING, "libvirt: %s: lost: %s", virt->uri, reason);
    virt->callbacks.disconnected(virt->callbacks.context, reason);
    retry_later(virt);
}

void qd_virt_conn_lost(struct qd_virt *virt, uint64_t generation, const char *reason)
{
    bool present_one;

    uv_mutex_lock(&virt->hub->mutex);
    present_one = virt->hub->ready && virt->hub->generation == generation;
    uv_mutex_unlock(&virt->hub->mutex);
    if (present_one && !virt->closing)
        lose(virt, reason ? reason : "the connection broke");
}

static void on_async(uv_async_t *async)
{
    struct qd_virt *virt = async->data;
    struct qd_virt_hub *hub = virt->hub;
    bool dead;
    int reason;

    uv_mutex_lock(&hub->mutex);
    dead = hub->dead && hub->ready; /* one that isn't ready yet is seen to by done_connect() */
    reason = hub->close_reason;
    uv_mutex_unlock(&hub->mutex);
    if (dead && !virt->closing)
        lose(virt, close_reason(reason));
}

/* Takes the job's connection over, when there is a living one. */
static bool take_over(struct qd_virt_hub *hub, struct qd_virt_connect_job *job, int error)
{
    bool taken;

    uv_mutex_lock(&hub->mutex);
    taken = error == 0 && job->outcome.error == 0 && !hub->dead;
    hub->ready = taken;
    if (taken) {
        hub->line = job->line;
    } else {
        hub->generation++; /* a job that comes late shall keep its connection for itself */
        hub->line = (struct qd_virt_line){0};
        if (error == 0)
            hub->old = job->line;
    }
    if (error == 0)
        job->line = (struct qd_virt_line){0};
    uv_mutex_unlock(&hub->mutex);
    return taken;
}

static void tell_failure(struct qd_virt *virt, struct qd_virt_connect_job *job, int error)
{
    const char *reason = error == -ETIMEDOUT    ? "it doesn't answer"
                         : error < 0            ? strerror(-error)
                         : job->outcome.message ? job->outcome.message
                                                : "the connection was closed at once";

    qd_log(virt->complained ? QD_LOG_DEBUG : QD_LOG_WARNING,
           "libvirt: %s: not connected, will be tried again: %s", virt->uri, reason);
    virt->complained = true;
}

static void done_connect(void *context, int error)
{
    struct qd_virt_connect_job *job = context;
    struct qd_virt *virt = job->virt;

    if (!take_over(virt->hub, job, error)) {
        qd_virt_connect_flush(virt, false);
        if (!virt->closing)
            tell_failure(virt, job, error);
        retry_later(virt);
        return;
    }
    if (virt->closing)
        return; /* the disconnect job is next */
    virt->host = job->host;
    virt->connected_at = uv_now(virt->loop);
    virt->counters.connected = true;
    virt->complained = false;
    qd_log(QD_LOG_INFO, "libvirt: %s: connected, %zu domains", virt->uri, job->list.count);
    virt->callbacks.connected(virt->callbacks.context, job->list.domains, job->list.count);
    qd_virt_connect_flush(virt, true);
}

static void done_disconnect(void *context, int error)
{
    struct qd_virt_connect_job *job = context;

    (void)error;
    job->disconnected(job->virt);
}

/* `uri` NULL: only closes. */
static int submit(struct qd_virt *virt, const char *uri, unsigned deadline_ms,
                  void (*disconnected)(struct qd_virt *virt))
{
    struct qd_virt_connect_job *job = calloc(1, sizeof(*job));
    struct qd_worker_task task = {.run = qd_virt_connect_run,
                                  .done = uri ? done_connect : done_disconnect,
                                  .release = qd_virt_connect_release,
                                  .context = job};
    int error;

    if (!job)
        return -ENOMEM;
    job->hub = qd_virt_hub_ref(virt->hub);
    job->virt = virt;
    job->disconnected = disconnected;
    job->uri = uri ? strdup(uri) : NULL;
    if (uri) {
        uv_mutex_lock(&virt->hub->mutex);
        job->generation = ++virt->hub->generation;
        uv_mutex_unlock(&virt->hub->mutex);
    }
    error = uri && !job->uri ? -ENOMEM : qd_worker_submit(virt->pool, &task, KEY, deadline_ms);
    if (error < 0)
        qd_virt_connect_release(job);
    return error;
}

static void on_retry(uv_timer_t *timer)
{
    struct qd_virt *virt = timer->data;

    if (submit(virt, virt->uri, CONNECT_DEADLINE_MS, NULL) == 0)
        uv_timer_stop(timer); /* else it repeats */
}

int qd_virt_conn_open(struct qd_virt *virt)
{
    struct qd_virt_hub *hub = calloc(1, sizeof(*hub));
    int error;

    if (!hub)
        return -ENOMEM;
    error = uv_mutex_init(&hub->mutex);
    if (error < 0) {
        free(hub);
        return error;
    }
    hub->references = 1;
    error = uv_async_init(virt->loop, &virt->async, on_async);
    if (error < 0) {
        qd_virt_hub_unref(hub);
        return error;
    }
    uv_timer_init(virt->loop, &virt->retry);
    virt->async.data = virt->retry.data = virt;
    virt->handles = 2;
    hub->async = &virt->async;
    hub->virt = virt;
    virt->hub = hub;
    virt->events_end = &virt->events;
    virt->pause_ms = QD_VIRT_RETRY_MS;
    uv_timer_start(&virt->retry, on_retry, 0, QD_VIRT_RETRY_MS);
    return 0;
}

void qd_virt_conn_stop(struct qd_virt *virt)
{
    uv_timer_stop(&virt->retry);
    qd_virt_connect_flush(virt, false);
}

int qd_virt_conn_disconnect(struct qd_virt *virt, unsigned deadline_ms, void (*done)(struct qd_virt *virt))
{
    return submit(virt, NULL, deadline_ms, done);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct qd_virt *virt = handle->data;

    if (--virt->handles == 0)
        virt->handles_closed(virt);
}

void qd_virt_conn_close(struct qd_virt *virt, void (*done)(struct qd_virt *virt))
{
    struct qd_virt_hub *hub = virt->hub;

    uv_mutex_lock(&hub->mutex);
    hub->async = NULL;
    uv_mutex_unlock(&hub->mutex);
    hub->virt = NULL;
    qd_virt_hub_unref(
        hub); /* libvirt has further ones when the connection was left open, for a lost worker's sake */
    virt->hub = NULL;
    virt->handles_closed = done;
    uv_close((uv_handle_t *)&virt->async, on_handle_closed);
    uv_close((uv_handle_t *)&virt->retry, on_handle_closed);
}
