/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a call waits for that the core itself brings about: a time, a power state, its commit, a reload.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/reload.h"
#include "wait_private.h"

#define SECONDS_MAX 86400.0

/* ---- time and power states ---- */

static int push_flag(lua_State *L, struct qd_wait *wait)
{
    lua_pushboolean(L, wait->flag);
    return 1;
}

static void timed_out(uv_timer_t *timer)
{
    struct qd_wait *wait = timer->data;

    qd_wait_unlink(&wait->daemon->power_waits, wait);
    if (!wait->handed)
        qd_wait_resume(wait);
}

double qd_wait_check_seconds(lua_State *L, int index)
{
    double seconds = luaL_checknumber(L, index);

    luaL_argcheck(L, seconds >= 0 && seconds <= SECONDS_MAX, index, "seconds, from 0 to a day");
    return seconds;
}

static int start_timer(struct qd_wait *wait, double seconds)
{
    if (uv_timer_init(&wait->daemon->loop, &wait->timer) < 0)
        return -ENOMEM;
    wait->has_timer = true;
    wait->timer.data = wait;
    uv_update_time(&wait->daemon->loop);
    return uv_timer_start(&wait->timer, timed_out, (uint64_t)(seconds * 1000), 0);
}

static int sleep_seconds(lua_State *L)
{
    double seconds = qd_wait_check_seconds(L, 1);
    struct qd_wait *wait = qd_wait_new(qd_wait_check(L), NULL);

    if (!wait)
        return luaL_error(L, "no memory");
    if (start_timer(wait, seconds) < 0) {
        qd_wait_drop(wait);
        return luaL_error(L, "no timer");
    }
    return qd_wait_yield(L);
}

/* core.wait(qube, seconds) */
static int wait_power(lua_State *L)
{
    struct qd_object *qube = qd_check_object(L, 1);
    double seconds = qd_wait_check_seconds(L, 2);
    struct qd_wait *wait = qd_wait_new(qd_wait_check(L), push_flag);

    if (!wait)
        return luaL_error(L, "no memory");
    wait->object = qd_object_ref(qube);
    if (start_timer(wait, seconds) < 0) {
        qd_wait_drop(wait);
        return luaL_error(L, "no timer");
    }
    wait->next = wait->daemon->power_waits;
    wait->daemon->power_waits = wait;
    return qd_wait_yield(L);
}

void qd_wait_power_changed(struct qd_daemon *daemon, struct qd_object *qube)
{
    struct qd_wait **link = &daemon->power_waits;

    while (*link) {
        struct qd_wait *wait = *link;

        if (wait->object != qube) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        wait->flag = true;
        uv_timer_stop(&wait->timer);
        qd_wait_ready(wait);
    }
}

/* ---- the store ---- */

static int commit(lua_State *L)
{
    struct qd_call *call = qd_wait_check(L);
    struct qd_wait *wait;

    if (call->commits == 0)
        return 0;
    wait = qd_wait_new(call, NULL);
    if (!wait)
        return luaL_error(L, "no memory");
    wait->committing = true;
    return qd_wait_yield(L);
}

void qd_wait_committed(struct qd_call *call)
{
    if (!call->wait || !call->wait->committing)
        return;
    if (call->commit_error) {
        call->wait->failed = true;
        call->wait->text = call->commit_message ? strdup(call->commit_message) : NULL;
    }
    qd_wait_ready(call->wait);
}

/* ---- reload ---- */

static int push_reload(lua_State *L, struct qd_wait *wait)
{
    lua_pushboolean(L, wait->flag);
    lua_pushinteger(L, wait->daemon->generation->number);
    lua_pushstring(L, wait->daemon->generation->digest);
    lua_pushstring(L, wait->text ? wait->text : "");
    return 4;
}

static void reloaded(void *context, const char *error)
{
    struct qd_wait *wait = context;

    wait->flag = error == NULL;
    wait->text = error ? strdup(error) : NULL;
    qd_wait_ready(wait);
}

static int change_generation(lua_State *L, int (*request)(struct qd_daemon *daemon, struct qd_wait *wait))
{
    struct qd_call *call = qd_check_writer(L);
    struct qd_wait *wait;
    int r;

    qd_wait_check(L);
    wait = qd_wait_new(call, push_reload);
    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    r = request(call->daemon, wait);
    if (r < 0) {
        qd_wait_drop(wait);
        if (r == -EALREADY)
            return qd_raise(L, "QubesException", "another call does so already");
        return luaL_error(L, "no memory");
    }
    return qd_wait_yield(L);
}

static int request_reload(struct qd_daemon *daemon, struct qd_wait *wait)
{
    return qd_reload_request(daemon, "a call asked for it", reloaded, wait);
}

static int request_rollback(struct qd_daemon *daemon, struct qd_wait *wait)
{
    return qd_reload_rollback(daemon, reloaded, wait);
}

/* core.reload(), core.rollback(): whether it worked, and the generation that serves now: number and digest;
 * what was wrong. */
static int reload(lua_State *L)
{
    return change_generation(L, request_reload);
}

static int rollback(lua_State *L)
{
    return change_generation(L, request_rollback);
}

void qd_bind_wait_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"sleep", sleep_seconds},
        {"wait", wait_power},
        {"lock", qd_bind_lock},
        {"unlock", qd_bind_unlock},
        {"commit", commit},
        {"virt", qd_bind_virt},
        {"virt_stats", qd_bind_virt_stats},
        {"reload", reload},
        {"rollback", rollback},
        {NULL, NULL},
    };

    luaL_setfuncs(L, functions, 0);
}
