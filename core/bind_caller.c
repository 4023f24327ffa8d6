/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What scripts ask about the caller of the running call without having its `call`: in setters, in hooks,
 * where properties are computed. There a hidden qube must not make a difference that the caller could notice
 * (law 1).
 */
#include <lauxlib.h>
#include <stdio.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/generation.h"
#include "qd/permission.h"

/* The caller's call that runs now; NULL: a task, the daemon itself, the console, which is outside rules, or a
 * rule, which sees everything. */
static struct qd_call *running_call(lua_State *L)
{
    struct qd_call *call = qd_check_daemon(L)->running;

    return call && call->method && !call->bypass && !qd_generation_of(L)->budget ? call : NULL;
}

/* core.caller_sees(qube): whether the caller may know of it; true where there is none. */
static int caller_sees(lua_State *L)
{
    const struct qd_call *call = running_call(L);
    struct qd_object *qube = qd_check_object(L, 1);

    lua_pushboolean(L, !call || qd_permission_visible(L, call->source, false, qube));
    return 1;
}

/* core.caller_is_restricted(): whether rules decide for the caller which qubes it may know of, be there any
 * that it may not or none. False where there is no caller. */
static int caller_is_restricted(lua_State *L)
{
    const struct qd_call *call = running_call(L);

    lua_pushboolean(L, call && qd_permission_restricted(L, call->source, false));
    return 1;
}

/* core.caller_may_miss(): whether there are rules that could hide something from the caller. Costs nothing.
 */
static int caller_may_miss(lua_State *L)
{
    lua_pushboolean(L, running_call(L) && qd_permission_may_hide(qd_generation_of(L), false));
    return 1;
}

/* core.rules_may_hide(): whether there are rules that could hide something from anybody. */
static int rules_may_hide(lua_State *L)
{
    lua_pushboolean(L, qd_permission_may_hide(qd_generation_of(L), false));
    return 1;
}

/* core.refuse_caller(why): the rules have permitted the call, and it is refused nevertheless, in the words of
 * a denial without a reason. Why is for the log, the audit and explanations. */
static int refuse_caller(lua_State *L)
{
    struct qd_call *call = running_call(L);
    const char *why = luaL_checkstring(L, 1);
    struct qd_question question;

    if (!call || call->state != QD_CALL_PERMITTED)
        return luaL_error(L, "a caller is refused within a call, after permission");
    question = qd_call_question(call, call->method);
    question.withheld = true;
    question.permitted = true;
    snprintf(question.reason, sizeof(question.reason), "%s", why);
    return qd_refuse_call(L, call, &question, 0);
}

void qd_bind_caller_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"caller_sees", caller_sees},         {"caller_is_restricted", caller_is_restricted},
        {"caller_may_miss", caller_may_miss}, {"rules_may_hide", rules_may_hide},
        {"refuse_caller", refuse_caller},     {NULL, NULL}};

    luaL_setfuncs(L, functions, 0);
}
