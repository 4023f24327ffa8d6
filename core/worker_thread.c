/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker_private.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define NS_PER_MS 1000000ULL

int qd_worker_shared_open(struct qd_worker_pool *pool, const struct qd_worker_limits *limits)
{
    struct qd_worker_shared *shared = calloc(1, sizeof(*shared));
    int error;

    if (!shared)
        return -ENOMEM;
    error = uv_mutex_init(&shared->mutex);
    if (error < 0)
        goto fail;
    error = uv_cond_init(&shared->wake);
    if (error < 0) {
        uv_mutex_destroy(&shared->mutex);
        goto fail;
    }
    TAILQ_INIT(&shared->ready);
    TAILQ_INIT(&shared->finished);
    shared->references = 1;
    shared->limits = *limits;
    shared->wanted = limits->threads;
    shared->async = &pool->async;
    pool->shared = shared;
    return 0;

fail:
    free(shared);
    return error;
}

void qd_worker_shared_unref(struct qd_worker_shared *shared)
{
    bool last = --shared->references == 0;

    uv_mutex_unlock(&shared->mutex);
    if (!last)
        return;
    uv_cond_destroy(&shared->wake);
    uv_mutex_destroy(&shared->mutex);
    free(shared);
}

void qd_worker_shared_grow(struct qd_worker_shared *shared)
{
    unsigned room = shared->limits.threads_max - shared->lost;

    if (TAILQ_EMPTY(&shared->ready) || shared->busy < shared->wanted ||
        uv_hrtime() - shared->taken_at < shared->limits.patience_ms * NS_PER_MS)
        return;
    shared->wanted += shared->limits.threads;
    if (shared->wanted > room)
        shared->wanted = room;
}

bool qd_worker_shared_short(const struct qd_worker_shared *shared)
{
    return shared->healthy < shared->wanted && shared->healthy + shared->lost < shared->limits.threads_max;
}

/* If the pool has grown, the thread has its replacement already. */
void qd_worker_shared_lose(struct qd_worker_shared *shared)
{
    shared->busy--;
    shared->healthy--;
    shared->lost++;
    if (shared->wanted > shared->limits.threads)
        shared->wanted--;
}

void qd_worker_job_queue(struct qd_worker_pool *pool, struct qd_worker_job *job)
{
    uv_mutex_lock(&pool->shared->mutex);
    job->state = QD_WORKER_JOB_READY;
    TAILQ_INSERT_TAIL(&pool->shared->ready, job, link);
    uv_cond_signal(&pool->shared->wake);
    uv_mutex_unlock(&pool->shared->mutex);
}

/* The job has returned after its deadline. Whether its thread goes on working: it may have been replaced. */
static bool return_late(struct qd_worker_shared *shared, struct qd_worker_job *job)
{
    uv_mutex_unlock(&shared->mutex);
    job->task.release(job->task.context);
    uv_mutex_lock(&shared->mutex);

    if (shared->async)
        TAILQ_INSERT_TAIL(&shared->finished, job, link);
    else
        free(job);
    shared->lost--;
    if (shared->healthy >= shared->wanted || shared->stop)
        return false;
    shared->healthy++;
    return true;
}

/* With an empty queue: whether there are enough others to wait for the next job. */
static bool give_up_place(struct qd_worker_shared *shared)
{
    if (shared->healthy - shared->busy <= shared->limits.threads)
        return false;
    shared->wanted = shared->healthy - 1;
    return true;
}

static void work(void *argument)
{
    struct qd_worker_thread *worker = argument;
    struct qd_worker_shared *shared = worker->shared;
    bool healthy = true;

    prctl(PR_SET_NAME, "qd-worker");
    uv_mutex_lock(&shared->mutex);
    while (healthy) {
        struct qd_worker_job *job = TAILQ_FIRST(&shared->ready);

        if (!job) {
            if (shared->stop || give_up_place(shared))
                break;
            uv_cond_wait(&shared->wake, &shared->mutex);
            continue;
        }
        TAILQ_REMOVE(&shared->ready, job, link);
        job->state = QD_WORKER_JOB_RUNNING;
        shared->taken_at = uv_hrtime();
        shared->busy++;
        uv_mutex_unlock(&shared->mutex);
        job->task.run(job->task.context);
        uv_mutex_lock(&shared->mutex);

        if (job->state == QD_WORKER_JOB_LOST) {
            healthy = return_late(shared, job);
        } else {
            job->state = QD_WORKER_JOB_FINISHED;
            shared->busy--;
            TAILQ_INSERT_TAIL(&shared->finished, job, link);
        }
        if (shared->async)
            uv_async_send(shared->async);
    }
    if (healthy)
        shared->healthy--;
    if (shared->async) {
        worker->next_exited = shared->exited;
        shared->exited = worker;
        uv_async_send(shared->async);
    } else {
        free(worker); /* detached */
    }
    qd_worker_shared_unref(shared);
}

int qd_worker_thread_start(struct qd_worker_pool *pool)
{
    struct qd_worker_shared *shared = pool->shared;
    struct qd_worker_thread *worker = calloc(1, sizeof(*worker));
    sigset_t all, before;
    int error;

    if (!worker)
        return -ENOMEM;
    worker->shared = shared;
    uv_mutex_lock(&shared->mutex);
    shared->references++;
    shared->healthy++;
    uv_mutex_unlock(&shared->mutex);

    /* Signals are for the loop's thread; but a fault stays its own thread's, so that it is reported. */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = uv_thread_create(&worker->thread, work, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error < 0) {
        uv_mutex_lock(&shared->mutex);
        shared->references--;
        shared->healthy--;
        uv_mutex_unlock(&shared->mutex);
        free(worker);
        return error;
    }
    TAILQ_INSERT_TAIL(&pool->workers, worker, link);
    return 0;
}
