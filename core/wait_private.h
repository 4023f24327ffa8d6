/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The inside of a wait, for wait.c and the primitives of bind_wait.c, bind_lock.c, bind_file.c and
 * bind_virt.c; others have wait.h.
 */
#ifndef QD_WAIT_PRIVATE_H
#define QD_WAIT_PRIVATE_H

#include "qd/wait.h"

struct qd_wait {
    struct qd_wait *next; /* in one of the daemon's lists */
    struct qd_daemon *daemon;
    struct qd_call *call;   /* NULL: nobody waits any more */
    bool has_timer, handed; /* a handed wait is on the ready list or at a worker's */
    bool committing;
    uv_timer_t timer;
    uv_fs_t request;
    struct qd_object *object;
    int (*push)(lua_State *L, struct qd_wait *wait);
    /* results */
    bool failed;
    bool flag;
    char *text;
    int64_t number;
    struct qd_virt_domain *domains;
    size_t count;
    void *result; /* of another file's, see wait.h */
    int (*push_result)(lua_State *L, void *result);
    void (*free_result)(void *result);
};

/* The running call waits; `push` (NULL: nothing) gives the results. NULL: no memory. */
struct qd_wait *qd_wait_new(struct qd_call *call, int (*push)(lua_State *L, struct qd_wait *wait));
/* Resumes the call that waits, at once. */
void qd_wait_resume(struct qd_wait *wait);
/* Soon, from the loop: never from inside another call. */
void qd_wait_ready(struct qd_wait *wait);
/* Takes it out of a list, if it is there. */
void qd_wait_unlink(struct qd_wait **list, struct qd_wait *wait);
/* A number of seconds, of the argument; raises. */
double qd_wait_check_seconds(lua_State *L, int index);

/* bind_lock.c: core.lock(qube), core.unlock(qube); and who waits no more. */
int qd_bind_lock(lua_State *L);
int qd_bind_unlock(lua_State *L);
void qd_locks_forget(struct qd_wait *wait);

/* bind_virt.c: core.virt(qube, operation, argument, flags, seconds), core.virt_stats(seconds). */
int qd_bind_virt(lua_State *L);
int qd_bind_virt_stats(lua_State *L);

#endif
