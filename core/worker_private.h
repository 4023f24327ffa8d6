/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Private to the files of the pool. Two halves:
 *
 *   worker.c         the loop's: jobs, deadlines, the calls of `done`, closing
 *   worker_key.c     the loop's: who waits for which key
 *   worker_thread.c  the threads', and what both share under one mutex. It is counted, so that
 *                    a lost thread finds it when it returns long after the pool is gone.
 *
 * A job's way:  WAITING for its key -> READY in the queue -> RUNNING -> FINISHED: done(0), release
 *               WAITING or READY -> FAILED: done(error), release             (straight so at its deadline)
 *               RUNNING -> LOST: done(-ETIMEDOUT); when it returns: release, and the key passes on
 */
#ifndef QD_WORKER_PRIVATE_H
#define QD_WORKER_PRIVATE_H

#include <stdbool.h>
#include <sys/queue.h>

#include "qd/worker.h"

#define QD_WORKER_KEY_BUCKETS 1024

enum qd_worker_job_state {
    QD_WORKER_JOB_WAITING,
    QD_WORKER_JOB_READY,
    QD_WORKER_JOB_RUNNING,
    QD_WORKER_JOB_FINISHED,
    QD_WORKER_JOB_FAILED,
    QD_WORKER_JOB_LOST
};

struct qd_worker_job {
    TAILQ_ENTRY(qd_worker_job) link;         /* of the key's waiting jobs, the queue, or what is finished */
    TAILQ_ENTRY(qd_worker_job) pending_link; /* of the pool's jobs whose `done` is still to be called */
    struct qd_worker_task task;
    struct qd_worker_key *key; /* NULL: none */
    struct qd_worker_deadline *deadline;
    enum qd_worker_job_state state; /* from READY on under the mutex */
    int error;
};

TAILQ_HEAD(qd_worker_jobs, qd_worker_job);

/* Exists while a job of it runs or is queued. */
struct qd_worker_key {
    struct qd_worker_key *next;
    struct qd_worker_jobs waiting;
    bool overdue; /* the job that runs is lost */
    char name[];
};

/* Apart from its job: either may be the last to go. */
struct qd_worker_deadline {
    uv_timer_t timer;
    struct qd_worker_pool *pool;
    struct qd_worker_job *job;
};

struct qd_worker_thread {
    TAILQ_ENTRY(qd_worker_thread) link; /* of the pool's; the loop's thread */
    struct qd_worker_thread *next_exited;
    struct qd_worker_shared *shared;
    uv_thread_t thread;
};

struct qd_worker_shared {
    uv_mutex_t mutex;
    uv_cond_t wake;
    unsigned references; /* the pool, and each thread */
    struct qd_worker_limits limits;
    unsigned wanted;  /* threads there should be that aren't lost; never fewer than limits.threads */
    unsigned healthy; /* that there are */
    unsigned busy;    /* of these, inside a job */
    unsigned lost;
    uint64_t taken_at; /* when a job was taken out of the queue last; uv_hrtime() */
    bool stop;
    uv_async_t *async; /* NULL: the pool is gone, nobody collects */
    struct qd_worker_jobs ready;
    struct qd_worker_jobs finished; /* FINISHED, FAILED, or LOST and returned */
    struct qd_worker_thread *exited;
};

struct qd_worker_pool {
    uv_loop_t *loop;
    struct qd_worker_shared *shared;
    uv_async_t async;
    uv_timer_t grace;
    uv_timer_t patience; /* runs while a job is pending */
    unsigned patience_tick_ms;
    unsigned lost;    /* as the loop knows: one that returned counts until its key has passed on */
    unsigned handles; /* not yet closed */
    struct qd_worker_jobs pending;
    TAILQ_HEAD(, qd_worker_thread) workers;
    struct qd_worker_key *keys[QD_WORKER_KEY_BUCKETS];
    bool closing;
    bool finished; /* closing has come to the handles */
    void (*closed)(void *context);
    void *context;
};

/* Sets up pool->shared, with the pool's reference. */
int qd_worker_shared_open(struct qd_worker_pool *pool, const struct qd_worker_limits *limits);
/* Unlocks the mutex, which the caller holds, and drops a reference. */
void qd_worker_shared_unref(struct qd_worker_shared *shared);
/* Wants more threads if jobs wait and those there are have been inside the same ones for too long. Under the
 * mutex, as the next two. */
void qd_worker_shared_grow(struct qd_worker_shared *shared);
/* Whether a thread is missing, and there may be one more. */
bool qd_worker_shared_short(const struct qd_worker_shared *shared);
/* A job's deadline has come while its thread is inside. */
void qd_worker_shared_lose(struct qd_worker_shared *shared);
/* One more thread, counted as healthy. */
int qd_worker_thread_start(struct qd_worker_pool *pool);

/* To the threads. */
void qd_worker_job_queue(struct qd_worker_pool *pool, struct qd_worker_job *job);

/* The place of the key in the table; NULL stands there when the key doesn't exist. */
struct qd_worker_key **qd_worker_key_find(struct qd_worker_pool *pool, const char *name);
/* NULL: no memory. */
struct qd_worker_key *qd_worker_key_add(struct qd_worker_key **place, const char *name);
/* The job that had the key's turn is over: the next is queued, or the key freed. */
void qd_worker_key_pass(struct qd_worker_pool *pool, struct qd_worker_key *key);
/* At the pool's end: the keys of lost jobs. */
void qd_worker_key_free_all(struct qd_worker_pool *pool);

#endif
