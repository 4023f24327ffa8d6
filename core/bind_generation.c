/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.generations(), core.rules() and core.narrows(): what serves, what served before, and what became of
 * each rule.
 */
#include <lauxlib.h>
#include <time.h>

#include "qd/bind_core.h"
#include "qd/generation.h"
#include "qd/narrow.h"

static size_t count_rules(const struct qd_generation *generation)
{
    size_t count = generation->hook_count;

    for (size_t i = 0; i < generation->narrow_count; i++)
        count += generation->narrows[i].hook_count;
    return count;
}

static void push_generation(lua_State *L, const struct qd_generation *generation)
{
    lua_createtable(L, 0, 8);
    qd_set_integer(L, "number", generation->number);
    qd_set_integer(L, "since", generation->since);
    qd_set_integer(L, "rules", (int64_t)count_rules(generation));
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

/* Appends the hooks to the array on the stack's top. `tag`: that of their narrow set, or NULL. */
static void push_hooks(lua_State *L, const struct qd_hook *hooks, size_t count, const char *tag)
{
    uint64_t now_ns = uv_hrtime();

    for (size_t i = 0; i < count; i++) {
        push_hook(L, &hooks[i], now_ns);
        qd_set_text(L, "narrow", tag);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
}

/* core.rules(): an array of the serving generation's rules, in the order of loading; those of narrow sets
 * come behind. */
static int rules(lua_State *L)
{
    const struct qd_generation *generation = qd_check_daemon(L)->generation;

    lua_createtable(L, (int)count_rules(generation), 0);
    push_hooks(L, generation->hooks, generation->hook_count, NULL);
    for (size_t i = 0; i < generation->narrow_count; i++)
        push_hooks(L, generation->narrows[i].hooks, generation->narrows[i].hook_count,
                   generation->narrows[i].tag.text);
    return 1;
}

/* core.narrows(): an array of the serving generation's narrow sets; `problem` says why one did not load. */
static int narrows(lua_State *L)
{
    const struct qd_generation *generation = qd_check_daemon(L)->generation;

    lua_createtable(L, (int)generation->narrow_count, 0);
    for (size_t i = 0; i < generation->narrow_count; i++) {
        const struct qd_narrow *narrow = &generation->narrows[i];

        lua_createtable(L, 0, 5);
        qd_set_text(L, "directory", narrow->shown);
        qd_set_text(L, "tag", narrow->tag.text);
        qd_set_text(L, "file", narrow->file);
        qd_set_integer(L, "line", narrow->line);
        if (narrow->refused)
            qd_set_text(L, "problem", narrow->problem ? narrow->problem : "no memory");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void qd_bind_generation_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"generations", generations}, {"rules", rules}, {"narrows", narrows}, {NULL, NULL}};

    luaL_setfuncs(L, functions, 0);
}
