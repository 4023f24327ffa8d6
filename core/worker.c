/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The loop's half; worker_private.h tells how the halves meet.
 */
#include "worker_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- the end of a job ---- */

static void handle_gone(struct qd_worker_pool *pool)
{
    if (--pool->handles > 0)
        return;
    pool->closed(pool->context);
    free(pool);
}

static void on_deadline_closed(uv_handle_t *handle)
{
    struct qd_worker_deadline *deadline = handle->data;

    handle_gone(deadline->pool);
    free(deadline);
}

static void on_own_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void end_job(struct qd_worker_pool *pool, struct qd_worker_job *job)
{
    if (job->key)
        qd_worker_key_pass(pool, job->key);
    free(job);
}

/* Calls `done`; then the job is over, or its thread's alone. */
static void complete(struct qd_worker_pool *pool, struct qd_worker_job *job, int error)
{
    struct qd_worker_task task = job->task;
    bool lost = job->state == QD_WORKER_JOB_LOST; /* then from here on the job is its thread's */

    TAILQ_REMOVE(&pool->pending, job, pending_link);
    uv_close((uv_handle_t *)&job->deadline->timer, on_deadline_closed);
    job->deadline = NULL;
    task.done(task.context, error);
    if (!lost) {
        task.release(task.context);
        end_job(pool, job);
    }
}

/* Before it ran. Told with the finished ones, so never from inside a call of the pool's user. */
static void fail_waiting(struct qd_worker_pool *pool, int error)
{
    struct qd_worker_shared *shared = pool->shared;
    struct qd_worker_job *job;

    uv_mutex_lock(&shared->mutex);
    for (job = TAILQ_FIRST(&pool->pending); job; job = TAILQ_NEXT(job, pending_link)) {
        if (job->state == QD_WORKER_JOB_WAITING) {
            TAILQ_REMOVE(&job->key->waiting, job, link);
            job->key = NULL;
        } else if (job->state == QD_WORKER_JOB_READY) {
            TAILQ_REMOVE(&shared->ready, job, link);
        } else {
            continue;
        }
        job->state = QD_WORKER_JOB_FAILED;
        job->error = error;
        TAILQ_INSERT_TAIL(&shared->finished, job, link);
    }
    uv_async_send(&pool->async);
    uv_mutex_unlock(&shared->mutex);
}

/* Starts the threads that are missing. When there is none to work, nothing waits for nothing. */
static void replenish(struct qd_worker_pool *pool)
{
    struct qd_worker_shared *shared = pool->shared;
    unsigned healthy;
    bool missing;

    do {
        uv_mutex_lock(&shared->mutex);
        qd_worker_shared_grow(shared);
        healthy = shared->healthy;
        missing = qd_worker_shared_short(shared);
        uv_mutex_unlock(&shared->mutex);
    } while (missing && !pool->closing && qd_worker_thread_start(pool) == 0);
    if (healthy == 0)
        fail_waiting(pool, -EAGAIN);
}

static void on_patience(uv_timer_t *timer)
{
    struct qd_worker_pool *pool = timer->data;

    if (TAILQ_EMPTY(&pool->pending))
        uv_timer_stop(timer);
    else
        replenish(pool);
}

static void fail_at_deadline(struct qd_worker_pool *pool, struct qd_worker_job *job, int error)
{
    struct qd_worker_shared *shared = pool->shared;

    uv_mutex_lock(&shared->mutex);
    switch (job->state) {
    case QD_WORKER_JOB_WAITING:
        TAILQ_REMOVE(&job->key->waiting, job, link);
        job->key = NULL;
        break;
    case QD_WORKER_JOB_READY:
        TAILQ_REMOVE(&shared->ready, job, link);
        break;
    case QD_WORKER_JOB_RUNNING:
        job->state = QD_WORKER_JOB_LOST;
        if (job->key)
            job->key->overdue = true;
        qd_worker_shared_lose(shared);
        pool->lost++;
        break;
    default: /* it has an end, which is told when this round of the loop comes to the async */
        uv_mutex_unlock(&shared->mutex);
        return;
    }
    uv_mutex_unlock(&shared->mutex);
    replenish(pool);
    complete(pool, job, error);
}

static void on_deadline(uv_timer_t *timer)
{
    struct qd_worker_deadline *deadline = timer->data;

    fail_at_deadline(deadline->pool, deadline->job, -ETIMEDOUT);
}

/* Tells what is finished, joins the threads that left. */
static void collect(struct qd_worker_pool *pool)
{
    struct qd_worker_jobs finished = TAILQ_HEAD_INITIALIZER(finished);
    struct qd_worker_shared *shared = pool->shared;
    struct qd_worker_thread *worker, *next;
    struct qd_worker_job *job;

    uv_mutex_lock(&shared->mutex);
    TAILQ_CONCAT(&finished, &shared->finished, link);
    worker = shared->exited;
    shared->exited = NULL;
    uv_mutex_unlock(&shared->mutex);

    while ((job = TAILQ_FIRST(&finished))) {
        TAILQ_REMOVE(&finished, job, link);
        if (job->state == QD_WORKER_JOB_LOST) {
            pool->lost--;
            end_job(pool, job);
        } else {
            complete(pool, job, job->error);
        }
    }
    for (; worker; worker = next) {
        next = worker->next_exited;
        uv_thread_join(&worker->thread); /* it has nothing left to do but to end */
        TAILQ_REMOVE(&pool->workers, worker, link);
        free(worker);
    }
}

/* ---- closing ---- */

/* No job is to be told any more; the threads that haven't left are left behind. */
static void finish_close(struct qd_worker_pool *pool)
{
    struct qd_worker_shared *shared = pool->shared;
    struct qd_worker_thread *worker;
    struct qd_worker_job *job;

    pool->finished = true;
    uv_mutex_lock(&shared->mutex);
    while ((worker = shared->exited)) {
        shared->exited = worker->next_exited;
        TAILQ_REMOVE(&pool->workers, worker, link);
        uv_mutex_unlock(&shared->mutex);
        uv_thread_join(&worker->thread);
        uv_mutex_lock(&shared->mutex);
        free(worker);
    }
    shared->async = NULL;
    while ((job = TAILQ_FIRST(&shared->finished))) { /* lost ones, back at the last moment */
        TAILQ_REMOVE(&shared->finished, job, link);
        free(job);
    }
    while ((worker = TAILQ_FIRST(&pool->workers))) {
        TAILQ_REMOVE(&pool->workers, worker, link);
        pthread_detach(worker->thread); /* frees itself */
    }
    qd_worker_shared_unref(shared);
    pool->shared = NULL;
    qd_worker_key_free_all(pool);
    uv_close((uv_handle_t *)&pool->grace, on_own_closed);
    uv_close((uv_handle_t *)&pool->patience, on_own_closed);
    uv_close((uv_handle_t *)&pool->async, on_own_closed);
}

static void close_when_idle(struct qd_worker_pool *pool)
{
    bool idle;

    if (!pool->closing || pool->finished || !TAILQ_EMPTY(&pool->pending))
        return;
    uv_mutex_lock(&pool->shared->mutex);
    idle = pool->shared->healthy == 0;
    uv_mutex_unlock(&pool->shared->mutex);
    if (idle)
        finish_close(pool);
}

static void on_async(uv_async_t *async)
{
    struct qd_worker_pool *pool = async->data;

    collect(pool);
    close_when_idle(pool);
}

static void on_grace(uv_timer_t *timer)
{
    struct qd_worker_pool *pool = timer->data;
    struct qd_worker_job *job, *next;

    for (job = TAILQ_FIRST(&pool->pending); job; job = next) {
        next = TAILQ_NEXT(job, pending_link);
        fail_at_deadline(pool, job, -ECANCELED);
    }
    collect(pool);
    finish_close(pool);
}

/* ---- what the header declares ---- */

int qd_worker_pool_open(uv_loop_t *loop, const struct qd_worker_limits *limits,
                        struct qd_worker_pool **ret_pool)
{
    struct qd_worker_pool *pool = calloc(1, sizeof(*pool));
    int error;

    if (!pool)
        return -ENOMEM;
    pool->loop = loop;
    pool->patience_tick_ms = limits->patience_ms / 2 + 1;
    TAILQ_INIT(&pool->pending);
    TAILQ_INIT(&pool->workers);
    error = qd_worker_shared_open(pool, limits);
    if (error < 0)
        goto fail;
    error = uv_async_init(loop, &pool->async, on_async);
    if (error < 0) {
        uv_mutex_lock(&pool->shared->mutex);
        qd_worker_shared_unref(pool->shared);
        goto fail;
    }
    uv_timer_init(loop, &pool->grace);
    uv_timer_init(loop, &pool->patience);
    pool->async.data = pool->grace.data = pool->patience.data = pool;
    pool->handles = 3;
    replenish(pool); /* a thread that can't be started now is tried again with each job */
    *ret_pool = pool;
    return 0;

fail:
    free(pool);
    return error;
}

/* Into the queue, behind the earlier jobs of its key, or straight to its end. */
static int enqueue(struct qd_worker_pool *pool, struct qd_worker_job *job, const char *name)
{
    struct qd_worker_key **place = name ? qd_worker_key_find(pool, name) : NULL;

    if (place && *place && (*place)->overdue) {
        job->state = QD_WORKER_JOB_FAILED;
        job->error = -EBUSY;
        uv_mutex_lock(&pool->shared->mutex);
        TAILQ_INSERT_TAIL(&pool->shared->finished, job, link);
        uv_async_send(&pool->async);
        uv_mutex_unlock(&pool->shared->mutex);
    } else if (place && *place) {
        job->key = *place;
        job->state = QD_WORKER_JOB_WAITING;
        TAILQ_INSERT_TAIL(&job->key->waiting, job, link);
    } else {
        if (place && !(job->key = qd_worker_key_add(place, name)))
            return -ENOMEM;
        qd_worker_job_queue(pool, job);
    }
    return 0;
}

int qd_worker_submit(struct qd_worker_pool *pool, const struct qd_worker_task *task, const char *key,
                     unsigned deadline_ms)
{
    struct qd_worker_deadline *deadline;
    struct qd_worker_job *job;

    if (pool->closing)
        return -ECANCELED;
    job = calloc(1, sizeof(*job));
    deadline = malloc(sizeof(*deadline));
    if (!job || !deadline)
        goto fail;
    job->task = *task;
    job->deadline = deadline;
    if (enqueue(pool, job, key) < 0)
        goto fail;
    TAILQ_INSERT_TAIL(&pool->pending, job, pending_link);

    deadline->pool = pool;
    deadline->job = job;
    uv_timer_init(pool->loop, &deadline->timer);
    deadline->timer.data = deadline;
    pool->handles++;
    uv_update_time(pool->loop); /* the loop's clock may be as old as what it has been busy with */
    uv_timer_start(&deadline->timer, on_deadline, deadline_ms, 0);
    if (!uv_is_active((uv_handle_t *)&pool->patience))
        uv_timer_start(&pool->patience, on_patience, pool->patience_tick_ms, pool->patience_tick_ms);
    replenish(pool);
    return 0;

fail:
    free(deadline);
    free(job);
    return -ENOMEM;
}

unsigned qd_worker_lost(struct qd_worker_pool *pool)
{
    return pool->lost;
}

unsigned qd_worker_count(struct qd_worker_pool *pool)
{
    unsigned count;

    uv_mutex_lock(&pool->shared->mutex);
    count = pool->shared->healthy + pool->shared->lost;
    uv_mutex_unlock(&pool->shared->mutex);
    return count;
}

void qd_worker_cancel_waiting(struct qd_worker_pool *pool)
{
    fail_waiting(pool, -ECANCELED);
}

void qd_worker_pool_close(struct qd_worker_pool *pool, unsigned grace_ms, void (*closed)(void *context),
                          void *context)
{
    struct qd_worker_shared *shared = pool->shared;

    pool->closing = true;
    pool->closed = closed;
    pool->context = context;
    fail_waiting(pool, -ECANCELED); /* wakes the loop in any case */
    uv_mutex_lock(&shared->mutex);
    shared->stop = true;
    uv_cond_broadcast(&shared->wake);
    uv_mutex_unlock(&shared->mutex);
    uv_update_time(pool->loop);
    uv_timer_start(&pool->grace, on_grace, grace_ms, 0);
}
