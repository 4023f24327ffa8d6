/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.lock and core.unlock: one call at a time has a qube's lock, the others wait for it in the order of
 * asking.
 */
#include <lauxlib.h>
#include <stdlib.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "wait_private.h"

struct qd_lock {
    struct qd_lock *next;
    struct qd_object *object;
    struct qd_call *owner;
    struct qd_wait *first; /* in the order of asking */
};

/* core.lock(qube) */
int qd_bind_lock(lua_State *L)
{
    struct qd_object *qube = qd_check_object(L, 1);
    struct qd_call *call = qd_wait_check(L);
    struct qd_lock *lock = call->daemon->locks;
    struct qd_wait *wait, **link;

    while (lock && lock->object != qube)
        lock = lock->next;
    if (lock && lock->owner == call)
        return luaL_error(L, "the call has this lock already");
    if (!lock) {
        lock = calloc(1, sizeof(*lock));
        if (!lock)
            return luaL_error(L, "no memory");
        *lock = (struct qd_lock){.next = call->daemon->locks, .object = qd_object_ref(qube), .owner = call};
        call->daemon->locks = lock;
        return 0;
    }
    wait = qd_wait_new(call, NULL);
    if (!wait)
        return luaL_error(L, "no memory");
    for (link = &lock->first; *link; link = &(*link)->next)
        ;
    *link = wait;
    return qd_wait_yield(L);
}

/* Hands the lock to the next who waits for it, or takes it off the list. Whether it is still in the list. */
static bool release(struct qd_daemon *daemon, struct qd_lock **link)
{
    struct qd_lock *lock = *link;
    struct qd_wait *next = lock->first;

    if (next) {
        lock->first = next->next;
        lock->owner = next->call;
        qd_wait_ready(next);
        return true;
    }
    *link = lock->next;
    qd_object_unref(daemon->model, lock->object);
    free(lock);
    return false;
}

/* core.unlock(qube) */
int qd_bind_unlock(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);
    struct qd_object *qube = qd_check_object(L, 1);

    for (struct qd_lock **link = &daemon->locks; *link; link = &(*link)->next) {
        if ((*link)->object == qube && (*link)->owner == daemon->running) {
            release(daemon, link);
            return 0;
        }
    }
    return luaL_error(L, "the call does not have this lock");
}

void qd_locks_release(struct qd_call *call)
{
    struct qd_lock **link = &call->daemon->locks;

    while (*link) {
        if ((*link)->owner != call || release(call->daemon, link))
            link = &(*link)->next;
    }
}

void qd_locks_forget(struct qd_wait *wait)
{
    for (struct qd_lock *lock = wait->daemon->locks; lock; lock = lock->next)
        qd_wait_unlink(&lock->first, wait);
}
