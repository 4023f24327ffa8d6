/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A wait: the coroutine of a call has yielded, and is resumed with what it waited for (law 7). What can be
 * waited for is in bind_wait.c, bind_lock.c, bind_file.c, bind_virt.c and, by wait.h, elsewhere.
 *
 * A wait has one owner, the call; the call can forget it (its client left, the daemon stops), and then the
 * result is dropped when it arrives. Results are pushed by a protected function, and errors are raised inside
 * the coroutine, after the resume.
 */
#include <lauxlib.h>
#include <stdlib.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/explain.h"
#include "qd/run.h"
#include "wait_private.h"

static void free_domains(struct qd_wait *wait)
{
    for (size_t i = 0; i < wait->count; i++)
        free(wait->domains[i].name);
    free(wait->domains);
}

static void wait_free(struct qd_wait *wait)
{
    if (wait->object)
        qd_object_unref(wait->daemon->model, wait->object);
    free_domains(wait);
    if (wait->result)
        wait->free_result(wait->result);
    free(wait->text);
    free(wait);
}

static void timer_closed(uv_handle_t *handle)
{
    struct qd_wait *wait = handle->data;

    wait->has_timer = false;
    if (!wait->handed)
        wait_free(wait);
}

/* The wait is over, one way or the other. A timer is closed before the memory goes. */
static void wait_end(struct qd_wait *wait)
{
    wait->handed = false;
    if (!wait->has_timer)
        wait_free(wait);
    else if (!uv_is_closing((uv_handle_t *)&wait->timer))
        uv_close((uv_handle_t *)&wait->timer, timer_closed);
}

void qd_wait_unlink(struct qd_wait **list, struct qd_wait *wait)
{
    while (*list && *list != wait)
        list = &(*list)->next;
    if (!*list)
        return; /* it may be in another */
    *list = wait->next;
    wait->next = NULL;
}

/* (wait): the results. Protected, on the coroutine. */
static int push_results(lua_State *L)
{
    struct qd_wait *wait = lua_touserdata(L, 1);

    lua_settop(L, 0);
    lua_pushboolean(L, !wait->failed);
    if (wait->failed)
        lua_pushstring(L, wait->text ? wait->text : "it failed");
    return 1 + (wait->failed ? 1 : wait->push ? wait->push(L, wait) : 0);
}

void qd_wait_resume(struct qd_wait *wait)
{
    struct qd_call *call = wait->call;
    lua_State *L;
    int before;

    if (!call) {
        wait_end(wait);
        return;
    }
    L = call->thread;
    before = lua_gettop(L);
    call->wait = NULL;
    wait->call = NULL;
    lua_pushcfunction(L, push_results);
    lua_pushlightuserdata(L, wait);
    if (qd_run_protected(L, 1, LUA_MULTRET) != LUA_OK) {
        lua_settop(L, before);
        lua_pushboolean(L, 0);
        lua_pushnil(L);
    }
    wait_end(wait);
    qd_call_resume(call, lua_gettop(L) - before);
}

void qd_wait_run_ready(uv_timer_t *timer)
{
    struct qd_daemon *daemon = timer->data;

    while (daemon->ready_waits) {
        struct qd_wait *wait = daemon->ready_waits;

        daemon->ready_waits = wait->next;
        wait->next = NULL;
        qd_wait_resume(wait);
    }
}

void qd_wait_ready(struct qd_wait *wait)
{
    struct qd_wait **link = &wait->daemon->ready_waits;

    while (*link)
        link = &(*link)->next;
    wait->next = NULL;
    wait->handed = true;
    *link = wait;
    uv_timer_start(&wait->daemon->ready, qd_wait_run_ready, 0, 0);
}

/* After the resume: (true, results…) or (false, message). */
static int after(lua_State *L, int status, lua_KContext base)
{
    int count = lua_gettop(L) - (int)base;

    (void)status;
    if (!lua_toboolean(L, (int)base + 1))
        return qd_raise(L, "LibvirtError", "%s", luaL_optstring(L, (int)base + 2, "no memory"));
    return count - 1;
}

/* Checks that the caller may wait at all, and gives back the running call. Raises otherwise. Everything that
 * can raise comes before the wait is made. */
struct qd_call *qd_wait_check(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);

    if (qd_generation_of(L)->budget)
        luaL_error(L, "a rule can only look: it may not wait");
    if (!lua_isyieldable(L) || !daemon->running || daemon->running->thread != L)
        luaL_error(L, "nothing may wait here: core.spawn starts a task, which may");
    if (daemon->running && daemon->running->dry)
        qd_dry_stop(L, daemon->running, "it would wait");
    if (qd_commit_seal(daemon->running) < 0)
        luaL_error(L, "no memory");
    return daemon->running;
}

struct qd_wait *qd_wait_new(struct qd_call *call, int (*push)(lua_State *L, struct qd_wait *wait))
{
    struct qd_wait *wait = calloc(1, sizeof(*wait));

    if (!wait)
        return NULL;
    wait->daemon = call->daemon;
    wait->call = call;
    wait->push = push;
    call->wait = wait;
    return wait;
}

void qd_wait_drop(struct qd_wait *wait)
{
    wait->call->wait = NULL;
    wait->call = NULL;
    wait_end(wait);
}

int qd_wait_yield(lua_State *L)
{
    return lua_yieldk(L, 0, lua_gettop(L), after);
}

/* ---- for other files (wait.h) ---- */

static int push_foreign(lua_State *L, struct qd_wait *wait)
{
    return wait->result ? wait->push_result(L, wait->result) : 0;
}

struct qd_wait *qd_wait_begin(struct qd_call *call, int (*push)(lua_State *L, void *result),
                              void (*free_result)(void *result))
{
    struct qd_wait *wait = qd_wait_new(call, push_foreign);

    if (!wait)
        return NULL;
    wait->handed = true;
    wait->push_result = push;
    wait->free_result = free_result;
    return wait;
}

void qd_wait_done(struct qd_wait *wait, void *result)
{
    wait->result = result;
    if (wait->call)
        qd_wait_ready(wait);
    else
        wait_end(wait);
}

void qd_wait_detach(struct qd_call *call)
{
    struct qd_wait *wait = call->wait;

    if (!wait)
        return;
    call->wait = NULL;
    wait->call = NULL;
    qd_wait_unlink(&wait->daemon->power_waits, wait);
    qd_locks_forget(wait);
    if (!wait->handed)
        wait_end(wait);
}
