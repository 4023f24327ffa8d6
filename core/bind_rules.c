/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The environment of rule files (acl.d/README): `on`, `deny`, `filter_list`, and what of Lua's library can't
 * leave the sandbox (law 4).
 */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/bind_string.h"
#include "qd/generation.h"
#include "qd/grant.h"
#include "qd/limit.h"
#include "qd/narrow.h"
#include "qd/permission.h"
#include "qd/run.h"

#define HOOKS_MAX 100000
#define COMPARISON_STEPS 4 /* of table.sort, for the budget */

/* Copied name by name: what is not here does not exist for rules. Missing on purpose: everything that loads
 * or writes code or files, raw access, metatables, coroutines, and table.move, whose loop no budget sees. */
static const char *const base_names[] = {"assert", "error",    "ipairs",   "next", "pairs", "pcall",
                                         "select", "tonumber", "tostring", "type", NULL};
static const char *const table_names[] = {"concat", "insert", "pack", "remove", "sort", "unpack", NULL};
static const char *const library_names[] = {"string", "math", "utf8", NULL};

void qd_hook_free(struct qd_hook *hook)
{
    free(hook->pattern);
    free(hook->file);
    free(hook->told);
}

/* A pattern that no permission event can match is a mistake, most likely an event of another kind. */
static bool may_match(const char *pattern)
{
    size_t plain = strcspn(pattern, "*?");

    if (pattern[plain])
        return strncmp(pattern, "admin-permission:", plain < 17 ? plain : 17) == 0 ||
               strncmp(pattern, "mgmt-permission:", plain < 16 ? plain : 16) == 0;
    return strncmp(pattern, "admin-permission:", 17) == 0 || strncmp(pattern, "mgmt-permission:", 16) == 0;
}

void qd_bind_rules_add_hook(lua_State *L, const char *pattern, bool list_only)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_narrow *narrow = generation->narrowing;
    struct qd_hook **hooks = narrow ? &narrow->hooks : &generation->hooks, *grown, *hook;
    size_t *count = narrow ? &narrow->hook_count : &generation->hook_count;
    size_t most = narrow ? QD_NARROW_HOOKS_MAX : HOOKS_MAX;
    lua_Debug caller;
    int function;

    if (*count >= most)
        luaL_error(L, "more than %d rules", (int)most);
    memset(&caller, 0, sizeof(caller));
    if (lua_getstack(L, 1, &caller))
        lua_getinfo(L, "Sl", &caller);
    function = luaL_ref(L, LUA_REGISTRYINDEX);

    /* Nothing below raises but the last line. */
    if (*count % 64 == 0) {
        grown = realloc(*hooks, (*count + 64) * sizeof(*grown));
        if (!grown) {
            luaL_error(L, "no memory");
            return;
        }
        *hooks = grown;
    }
    hook = &(*hooks)[*count];
    *hook = (struct qd_hook){.pattern = strdup(pattern),
                             .file = strdup(caller.short_src),
                             .line = caller.currentline,
                             .function = function,
                             .list_only = list_only,
                             .shadow = generation->loading_shadow};
    if (hook->pattern && hook->file) {
        ++*count;
        return;
    }
    qd_hook_free(hook);
    luaL_error(L, "no memory");
}

/* on(event, function) of rules, and of scripts as core.on_permission. */
static int add_hook(lua_State *L, bool list_only)
{
    const char *pattern = luaL_checkstring(L, 1);

    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!qd_generation_of(L)->loading)
        return luaL_error(L, "on() is for the file itself, not for the functions in it");
    if (strlen(pattern) > 150 || !may_match(pattern))
        return luaL_error(
            L, "on('%s'): a rule judges events named admin-permission:METHOD, with * and ? as wildcards",
            pattern);
    lua_settop(L, 2);
    qd_bind_rules_add_hook(L, pattern, list_only);
    return 0;
}

static int on(lua_State *L)
{
    return add_hook(L, false);
}

/* core.on_permission(event, function[, { visibility = false }]) */
int qd_bind_rules_on_permission(lua_State *L)
{
    bool list_only = false;

    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        list_only = lua_getfield(L, 3, "visibility") == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    }
    return add_hook(L, list_only);
}

/* The second argument of deny: { expected = true }. */
static bool is_expected(lua_State *L)
{
    bool expected = false;

    if (lua_isnoneornil(L, 2))
        return false;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "expected") != 0 ||
            !lua_isboolean(L, -1))
            luaL_error(L, "deny(reason, { expected = true }) takes nothing else");
        expected = lua_toboolean(L, -1);
    }
    return expected;
}

/* deny([reason[, { expected = true }]]): sticks, whether or not a pcall catches the error. */
int qd_bind_rules_deny(lua_State *L)
{
    struct qd_budget *budget = qd_generation_of(L)->budget;
    const char *reason = luaL_optstring(L, 1, "");
    bool expected = is_expected(L);

    if (!budget || qd_generation_of(L)->loading)
        return luaL_error(L, "deny() is for rules that are being asked");
    if (!budget->denied) {
        snprintf(budget->reason, sizeof(budget->reason), "%s", reason);
        budget->expected = expected;
    }
    budget->denied = true;
    return luaL_error(L, "denied");
}

/* Whether the first is less, as table.sort asks by itself; but charged, since comparing long strings costs as
 * much as making them. */
static int compare(lua_State *L)
{
    size_t a = 0, b = 0;

    if (lua_type(L, 1) == LUA_TSTRING && lua_type(L, 2) == LUA_TSTRING) {
        lua_tolstring(L, 1, &a);
        lua_tolstring(L, 2, &b);
    }
    if (qd_budget_charge(L, COMPARISON_STEPS + (a < b ? a : b) / QD_STRING_BYTES_PER_STEP) == 0)
        return luaL_error(L, "too costly to sort");
    lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
    return 1;
}

/* table.sort(list[, function]), with the stock function as upvalue. */
static int sort(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_pushcfunction(L, compare);
        lua_replace(L, 2);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 0);
    return 0;
}

static void wrap_sort(lua_State *L)
{
    lua_getfield(L, -1, "table");
    lua_getfield(L, -1, "sort");
    lua_pushcclosure(L, sort, 1);
    lua_setfield(L, -2, "sort");
    lua_pop(L, 1);
}

static void copy_library(lua_State *L, const char *name, const char *const only[])
{
    lua_newtable(L);
    lua_getglobal(L, name);
    for (int i = 0; only && only[i]; i++) {
        lua_getfield(L, -1, only[i]);
        lua_setfield(L, -3, only[i]);
    }
    if (!only) {
        for (lua_pushnil(L); lua_next(L, -2);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_settable(L, -5);
        }
    }
    lua_pop(L, 1);
    lua_setfield(L, -2, name);
}

void qd_bind_rules_push_environment(lua_State *L)
{
    static const luaL_Reg functions[] = {{"xpcall", qd_run_xpcall},
                                         {"on", on},
                                         {"deny", qd_bind_rules_deny},
                                         {"filter_list", qd_permission_filter_list},
                                         {NULL, NULL}};
    static const luaL_Reg declarations[] = {
        {"grant", qd_grant_bind}, {"limit", qd_limit_bind}, {"narrow", qd_narrow_bind}, {NULL, NULL}};

    lua_newtable(L);
    for (int i = 0; base_names[i]; i++) {
        lua_getglobal(L, base_names[i]);
        lua_setfield(L, -2, base_names[i]);
    }
    for (int i = 0; library_names[i]; i++)
        copy_library(L, library_names[i], NULL);
    lua_getfield(L, -1, "math"); /* no random numbers: rules answer the same whenever they are asked */
    lua_pushnil(L);
    lua_setfield(L, -2, "random");
    lua_pushnil(L);
    lua_setfield(L, -2, "randomseed");
    lua_pop(L, 1);
    copy_library(L, "table", table_names);
    wrap_sort(L);
    luaL_setfuncs(L, functions, 0);
    lua_pushlightuserdata(L, QD_NONE_POINTER);
    lua_setfield(L, -2, "none");
    if (!qd_generation_of(L)->narrowing)
        luaL_setfuncs(L, declarations, 0);
}
