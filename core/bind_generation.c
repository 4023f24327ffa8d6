/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.generations() and core.rules(): what serves, what served before, and what became of each rule.
 */
#include <lauxlib.h>
#include <time.h>

#include "qd/bind_core.h"
#include "qd/generation.h"

static void push_generation(lua_State *L, const struct qd_generation *generation)
{
    lua_createtable(L, 0, 8);
    qd_set_integer(L, "number", generation->number);
    qd_set_integer(L, "since", generation->since);
    qd_set_integer(L, "rules", (int64_t)generation->hook_count);
    qd_set_integer(L, "methods", (int64_t)generation->method_count);
    qd_set_integer(L, "lua_bytes", (int64_t)generation->memory);
    qd_set_text(L, "digest", generation->digest);
    qd_set_text(L, "code_digest", generation->code_digest);
    qd_set_text(L, "locked", generation->lock_reason);
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
    qd_set_text(L, "file", hook->file);
    qd_set_integer(L, "line", hook->line);
    qd_set_text(L, "event", hook->pattern);
    qd_set_integer(L, "calls", (int64_t)counters->calls);
    qd_set_integer(L, "denials", (int64_t)counters->denials);
    qd_set_integer(L, "filtered", (int64_t)counters->filtered);
    qd_set_integer(L, "failures", (int64_t)counters->failures);
    qd_set_integer(L, "ns", (int64_t)counters->ns);
    if (counters->asked_ns)
        qd_set_integer(L, "asked", wall_time(counters->asked_ns, now_ns));
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
