/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Threads for calls that may block, or never return (law 7). Knows nothing of libvirt.
 *
 * A *job* has a deadline: its `done` is called by then, whatever its thread is doing. A thread that is still
 * inside a job at the job's deadline is *lost*, and replaced. Jobs needn't wait for that: when one waits and
 * every thread has been inside the same job for `patience_ms`, `threads` more are started; a thread that
 * would be idle beside `threads` others ends. There are never more than `threads_max`, lost ones included.
 * When no thread is left that isn't lost, every job fails at once, until a lost one returns.
 *
 * Jobs with the same *key* run one after the other, in their order. While the job that runs is past its
 * deadline, new ones of its key fail at once; when it returns after all, the key's turn passes to the next.
 *
 * All functions: the loop's thread.
 */
#ifndef QD_WORKER_H
#define QD_WORKER_H

#include <uv.h>

struct qd_worker_pool;

struct qd_worker_task {
    /* On a thread of the pool. */
    void (*run)(void *context);

    /* Once, on the loop's thread, never before qd_worker_submit() returns. 0: `run` has returned. Else `run`
     * hasn't, it may be running at this moment and write to what it writes to, or it will never be called:
     *   -ETIMEDOUT  the deadline
     *   -EBUSY      an earlier job of the same key is inside `run` past its deadline
     *   -EAGAIN     every thread is lost
     *   -ECANCELED  the pool closes */
    void (*done)(void *context, int error);

    /* Once, last: nothing uses the context any more. On the loop's thread, after `done`; but on the job's
     * thread when `run` returns after `done` was called, maybe even after the pool was closed. */
    void (*release)(void *context);

    void *context;
};

struct qd_worker_limits {
    unsigned threads;
    unsigned threads_max;
    unsigned patience_ms;
};

int qd_worker_pool_open(uv_loop_t *loop, const struct qd_worker_limits *limits,
                        struct qd_worker_pool **ret_pool);

/* `key` is copied; NULL: in no order. `deadline_ms` counts from now, waiting included. -ECANCELED when the
 * pool closes, -ENOMEM: then none of the task's functions is called. */
int qd_worker_submit(struct qd_worker_pool *pool, const struct qd_worker_task *task, const char *key,
                     unsigned deadline_ms);

/* Threads that are inside a job past its deadline, now. */
unsigned qd_worker_lost(struct qd_worker_pool *pool);

/* Threads that there are, lost ones included, now. */
unsigned qd_worker_count(struct qd_worker_pool *pool);

/* Jobs that don't run yet fail with -ECANCELED. */
void qd_worker_cancel_waiting(struct qd_worker_pool *pool);

/* Jobs that wait fail with -ECANCELED; those that run are waited for up to `grace_ms`, then fail with
 * -ECANCELED. `closed` is called when no handle of the pool is left on the loop, not before this returns; the
 * pool is freed after it. Lost threads are detached, and free what they share with the pool when they return.
 */
void qd_worker_pool_close(struct qd_worker_pool *pool, unsigned grace_ms, void (*closed)(void *context),
                          void *context);

#endif
