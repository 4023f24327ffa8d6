/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Jobs: copied, queued under their domain's uuid (the pool keeps their order and deadlines), told on the
 * loop's thread.
 */
#include "virt_private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#include "qd/virt_loop.h"

#define STATS_KEY "statistics" /* one at a time, so that a stuck server can't take a worker with each */

struct job {
    struct qd_virt *virt; /* the loop's thread; `done` only */
    struct qd_virt_hub *hub;
    enum qd_virt_op op;
    char *uuid;
    char *argument;
    unsigned flags;
    uint64_t generation;
    struct qd_virt_outcome outcome;
    struct qd_virt_list list;
    qd_virt_done_fn done; /* of an operation, or */
    qd_virt_stats_fn stats_done;
    void *context;
};

/* ---- on a worker ---- */

static virConnectPtr use_connection(struct job *job)
{
    virConnectPtr conn = qd_virt_hub_use(job->hub, &job->generation);

    if (!conn)
        job->outcome.error = -ENOTCONN;
    return conn;
}

static void run_op(void *context)
{
    struct job *job = context;
    virConnectPtr conn = use_connection(job);

    job->outcome.domain_id = -1;
    if (!conn)
        return;
    qd_virt_block_wait(qd_virt_op_names[job->op], conn, job->uuid,
                       job->op == QD_VIRT_DEFINE ? job->argument : NULL);
    qd_virt_op_run(conn, job->op, job->uuid, job->argument, job->flags, &job->outcome);
    virConnectClose(conn);
}

static void run_stats(void *context)
{
    struct job *job = context;
    virConnectPtr conn = use_connection(job);

    if (!conn)
        return;
    qd_virt_block_wait("stats", conn, NULL, NULL);
    qd_virt_list_read(conn, true, &job->list, &job->outcome);
    virConnectClose(conn);
}

static void release_job(void *context)
{
    struct job *job = context;

    qd_virt_outcome_clear(&job->outcome);
    qd_virt_list_clear(&job->list);
    qd_virt_hub_tidy(job->hub);
    qd_virt_hub_unref(job->hub);
    free(job->uuid);
    free(job->argument);
    free(job);
}

/* ---- the loop's thread ---- */

static const char *message_of(int error)
{
    switch (error) {
    case -ETIMEDOUT:
        return "libvirt did not answer in time";
    case -EBUSY:
        return "libvirt has not returned yet from an earlier operation that ran out of time";
    case -EAGAIN:
        return "libvirt does not return from any call";
    case -ECANCELED:
        return "the daemon is stopping";
    case -ENOTCONN:
        return "libvirt is not connected";
    case -EIO:
        return "libvirt failed without a message";
    default:
        return strerror(-error);
    }
}

/* After `done` was told: what the job says about the daemon's side. */
static void account(struct job *job, int error)
{
    if (error == -ETIMEDOUT)
        job->virt->counters.timeouts++;
    if (error == 0 && job->outcome.dead)
        qd_virt_conn_lost(job->virt, job->generation, job->outcome.message);
}

static void done_op(void *context, int error)
{
    struct job *job = context;
    struct qd_virt_result result = {.error = error, .domain_id = -1};

    if (error == 0) { /* else the worker may be writing to the outcome */
        result.error = job->outcome.error;
        result.libvirt_code = job->outcome.libvirt_code;
        result.message = job->outcome.message;
        result.number = job->outcome.number;
        result.text = job->outcome.text;
        result.domain_id = job->outcome.domain_id;
    }
    if (result.error < 0 && !result.message)
        result.message = message_of(result.error);
    job->done(job->context, &result);
    account(job, error);
}

static void done_stats(void *context, int error)
{
    struct job *job = context;
    const char *message = NULL;
    struct qd_virt_list none = {0}, *list = &none;
    int result = error;

    if (error == 0) {
        result = job->outcome.error;
        message = job->outcome.message;
        list = &job->list;
    }
    if (result < 0 && !message)
        message = message_of(result);
    job->stats_done(job->context, result, message, list->domains, list->count);
    account(job, error);
}

static int submit(struct qd_virt *virt, const struct job *model, const char *key, unsigned deadline_ms)
{
    struct job *job = malloc(sizeof(*job));
    struct qd_worker_task task = {.run = model->done ? run_op : run_stats,
                                  .done = model->done ? done_op : done_stats,
                                  .release = release_job,
                                  .context = job};
    int error = -ENOMEM;

    if (!job)
        return -ENOMEM;
    *job = *model;
    job->virt = virt;
    job->hub = qd_virt_hub_ref(virt->hub);
    job->uuid = model->uuid ? strdup(model->uuid) : NULL;
    job->argument = model->argument ? strdup(model->argument) : NULL;
    if ((!model->uuid || job->uuid) && (!model->argument || job->argument))
        error = qd_worker_submit(virt->pool, &task, key, deadline_ms);
    if (error < 0)
        release_job(job);
    else
        virt->counters.jobs++;
    return error;
}

int qd_virt_submit(struct qd_virt *virt, enum qd_virt_op op, const char *uuid, const char *argument,
                   unsigned flags, unsigned deadline_ms, qd_virt_done_fn done, void *context)
{
    struct job model = {.op = op,
                        .uuid = (char *)uuid,
                        .argument = (char *)argument,
                        .flags = flags,
                        .done = done,
                        .context = context};

    if (virt->closing)
        return -ECANCELED;
    return submit(virt, &model, uuid, deadline_ms);
}

int qd_virt_get_stats(struct qd_virt *virt, unsigned deadline_ms, qd_virt_stats_fn done, void *context)
{
    struct job model = {.stats_done = done, .context = context};

    if (virt->closing)
        return -ECANCELED;
    return submit(virt, &model, STATS_KEY, deadline_ms);
}

struct qd_virt_host qd_virt_host(struct qd_virt *virt)
{
    return virt->host;
}

struct qd_virt_counters qd_virt_counters(struct qd_virt *virt)
{
    struct qd_virt_counters counters = virt->counters;

    counters.workers = virt->pool ? qd_worker_count(virt->pool) : 0;
    counters.lost_workers = virt->pool ? qd_worker_lost(virt->pool) : 0;
    return counters;
}

/* ---- opening and closing ---- */

/* libvirt's default prints every error on stderr. */
static void ignore_error(void *context, virErrorPtr error)
{
    (void)context;
    (void)error;
}

static void ignore_closed(void *context)
{
    (void)context;
}

int qd_virt_open(uv_loop_t *loop, const char *uri, const struct qd_virt_callbacks *callbacks,
                 struct qd_virt **ret_virt)
{
    static const struct qd_worker_limits limits = {
        .threads = QD_VIRT_WORKERS, .threads_max = QD_VIRT_WORKERS_MAX, .patience_ms = QD_VIRT_PATIENCE_MS};
    struct qd_virt *virt = calloc(1, sizeof(*virt));
    int error = -ENOMEM;

    if (!virt)
        return -ENOMEM;
    qd_virt_block_read();
    virt->loop = loop;
    virt->callbacks = *callbacks;
    virt->uri = strdup(uri);
    if (!virt->uri)
        goto fail;
    error = qd_virt_loop_open(loop);
    if (error < 0)
        goto fail;
    virSetErrorFunc(NULL, ignore_error);
    if (virInitialize() < 0) {
        error = -EIO;
        goto fail_loop;
    }
    error = qd_worker_pool_open(loop, &limits, &virt->pool);
    if (error < 0)
        goto fail_loop;
    error = qd_virt_conn_open(virt);
    if (error < 0)
        goto fail_pool;
    *ret_virt = virt;
    return 0;

fail_pool:
    qd_worker_pool_close(virt->pool, 0, ignore_closed, NULL);
fail_loop:
    qd_virt_loop_close(ignore_closed, NULL);
fail:
    free(virt->uri);
    free(virt);
    return error;
}

static void on_loop_closed(void *context)
{
    struct qd_virt *virt = context;

    virt->closed(virt->callbacks.context);
    free(virt->uri);
    free(virt);
}

static void on_conn_closed(struct qd_virt *virt)
{
    qd_virt_loop_close(on_loop_closed, virt);
}

static void on_pool_closed(void *context)
{
    struct qd_virt *virt = context;

    virt->pool = NULL;
    qd_virt_conn_close(virt, on_conn_closed);
}

static void close_pool(struct qd_virt *virt)
{
    uint64_t now = uv_now(virt->loop);

    qd_worker_pool_close(virt->pool, virt->close_by > now ? (unsigned)(virt->close_by - now) : 0,
                         on_pool_closed, virt);
}

void qd_virt_close(struct qd_virt *virt, unsigned grace_ms, void (*closed)(void *context))
{
    if (virt->closing)
        return;
    virt->closing = true;
    virt->closed = closed;
    uv_update_time(virt->loop);
    virt->close_by = uv_now(virt->loop) + grace_ms;
    qd_virt_conn_stop(virt);
    qd_worker_cancel_waiting(virt->pool);
    /* A lost worker holds the connection, and would rather find it as it was. */
    if (qd_worker_lost(virt->pool) > 0 || qd_virt_conn_disconnect(virt, grace_ms, close_pool) < 0)
        close_pool(virt);
}
