/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.generations() and core.rules(): what serves, what served before, and what became of each rule.
 */
#include <lauxlib.h>
#include <time.h>

#include "qd/bind_core.h"
#include "qd/generation.h"

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, int64_t number)
{
    lua_pushinteger(L, (lua_Integer)number);
    lua_setfield(L, -2, name);
}

static void push_generation(lua_State *L, const struct qd_generation *generation)
{
    lua_createtable(L, 0, 8);
    set_number(L, "number", generation->number);
    set_number(L, "since", generation->since);
    set_number(L, "rules", (int64_t)generation->hook_count);
    set_number(L, "methods", (int64_t)generation->method_count);
    set_number(L, "lua_bytes", (int64_t)generation->memory);
    set_text(L, "digest", generation->digest);
    set_text(L, "code_digest", generation->code_digest);
    set_text(L, "locked", generation->lock_reason);
}

/* core.generations(): that which serves, and the one before or nil. */
static int generations(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);

    push_generation(L, daemon->generation);
    if (!daemon->previous)
        return 1;
    push_generation(L, daemon->previous);
    return 2;
}

/* Seconds since 1970, of a moment on uv_hrtime's clock. */
static int64_t wall_time(uint64_t moment_ns, uint64_t now_ns)
{
    return (int64_t)time(NULL) - (int64_t)((now_ns - moment_ns) / 1000000000u);
}

static void push_hook(lua_State *L, const struct qd_hook *hook, uint64_t now_ns)
{
    const struct qd_hook_counters *counters = &hook->counters;

    lua_createtable(L, 0, 10);
    set_text(L, "file", hook->file);
    set_number(L, "line", hook->line);
    set_text(L, "event", hook->pattern);
    set_number(L, "calls", (int64_t)counters->calls);
    set_number(L, "denials", (int64_t)counters->denials);
    set_number(L, "filtered", (int64_t)counters->filtered);
    set_number(L, "failures", (int64_t)counters->failures);
    set_number(L, "ns", (int64_t)counters->ns);
    if (counters->asked_ns)
        set_number(L, "asked", wall_time(counters->asked_ns, now_ns));
}

/* core.rules(): an array of the serving generation's rules, in the order of loading. */
static int rules(lua_State *L)
{
    const struct qd_generation *generation = qd_check_daemon(L)->generation;
    uint64_t now = uv_hrtime();

    lua_createtable(L, (int)generation->hook_count, 0);
    for (size_t i = 0; i < generation->hook_count; i++) {
        push_hook(L, &generation->hooks[i], now);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void qd_bind_generation_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"generations", generations}, {"rules", rules}, {NULL, NULL}};

    luaL_setfuncs(L, functions, 0);
}
