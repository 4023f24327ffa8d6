/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.caller_sees and core.caller_is_restricted: for what scripts do on behalf of a caller far from its
 * call, in setters and hooks. There a hidden qube must not make a difference that the caller could notice
 * (law 1).
 */
#include <lauxlib.h>

#include "permission_private.h"
#include "qd/bind_core.h"
#include "qd/generation.h"
#include "qd/narrow.h"

/* The caller's call that runs now; NULL: a task, the daemon itself, or the console, which is outside rules.
 */
static const struct qd_call *running_call(lua_State *L)
{
    const struct qd_call *call = qd_check_daemon(L)->running;

    return call && call->method && !call->bypass ? call : NULL;
}

/* core.caller_sees(qube): whether the caller may know of it; true where there is none. */
static int caller_sees(lua_State *L)
{
    const struct qd_call *call = running_call(L);
    struct qd_object *qube = qd_check_object(L, 1);

    lua_pushboolean(L, !call || qd_permission_visible(L, call->source, false, qube));
    return 1;
}

static bool is_narrowed(const struct qd_generation *generation)
{
    for (size_t i = 0; i < generation->narrow_count; i++) {
        if (generation->narrows[i].hides)
            return true;
    }
    return false;
}

/* core.caller_is_restricted(): whether rules decide for the caller which qubes it may know of, be there any
 * that it may not or none. False where there is no caller. */
static int caller_is_restricted(lua_State *L)
{
    const struct qd_call *call = running_call(L);
    struct qd_question question;
    bool restricted = false;

    if (call && qd_permission_may_hide(call->generation, false)) {
        question = qd_permission_visibility_question(call->generation, call->source);
        luaL_checkstack(L, 16, "permission");
        restricted = is_narrowed(call->generation);
        if (qd_permission_ask_set(L, &question, 0, 0) == 0)
            restricted = restricted || !lua_isnil(L, -1);
        else
            restricted = restricted || question.failed; /* a denial of the list hides nothing */
    }
    lua_pushboolean(L, restricted);
    return 1;
}

void qd_bind_caller_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"caller_sees", caller_sees}, {"caller_is_restricted", caller_is_restricted}, {NULL, NULL}};

    luaL_setfuncs(L, functions, 0);
}
