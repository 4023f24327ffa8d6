/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The global table `core`: what is neither model nor waiting. Exceptions, the log, time, chance, the cache of
 * answers, tasks, the daemon's status.
 */
#include "qd/bind_core.h"

#include <lauxlib.h>
#include <sha256.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "qd/call.h"
#include "qd/explain.h"
#include "qd/generation.h"
#include "qd/limit.h"
#include "qd/log.h"
#include "qd/permission.h"
#include "qd/run.h"

#define CACHED "qd.cached"
#define CACHED_MAX 16
#define SPAWNED_MAX 256

int qd_raise(lua_State *L, const char *class_name, const char *format, ...)
{
    va_list arguments;

    lua_createtable(L, 0, 2);
    lua_pushstring(L, class_name);
    lua_setfield(L, -2, "class");
    va_start(arguments, format);
    lua_pushvfstring(L, format, arguments);
    va_end(arguments);
    lua_setfield(L, -2, "message");
    return lua_error(L);
}

/* Raw access only: an error object may have any metatable. */
static bool push_raw_string(lua_State *L, int index, const char *field)
{
    lua_pushstring(L, field);
    lua_rawget(L, index);
    return lua_type(L, -1) == LUA_TSTRING;
}

bool qd_exception_push_parts(lua_State *L, int index)
{
    int top = lua_gettop(L);

    index = lua_absindex(L, index);
    if (lua_istable(L, index) && push_raw_string(L, index, "class") && push_raw_string(L, index, "message"))
        return true;
    lua_settop(L, top);
    return false;
}

static int log_line(lua_State *L)
{
    static const char *const words[] = {"error", "warning", "notice", "info", "debug", NULL};

    qd_log(QD_LOG_ERROR + luaL_checkoption(L, 1, NULL, words), "%s", luaL_checkstring(L, 2));
    return 0;
}

static int push_time(lua_State *L, clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

static int wall_time(lua_State *L)
{
    return push_time(L, CLOCK_REALTIME);
}

static int monotonic(lua_State *L)
{
    return push_time(L, CLOCK_BOOTTIME);
}

static int random_number(lua_State *L)
{
    lua_Integer limit = luaL_checkinteger(L, 1);
    uint64_t number, skip;

    luaL_argcheck(L, limit > 0, 1, "a positive number");
    skip = UINT64_MAX - UINT64_MAX % (uint64_t)limit; /* above it the numbers are not evenly spread */
    do {
        if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
            return luaL_error(L, "the kernel gave no random bytes");
    } while (number >= skip);
    lua_pushinteger(L, (lua_Integer)(number % (uint64_t)limit));
    return 1;
}

/* core.sha256(text): the 32 bytes. */
static int sha256(lua_State *L)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA2_CTX context;
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);

    SHA256Init(&context);
    SHA256Update(&context, (const uint8_t *)text, size);
    SHA256Final(digest, &context);
    lua_pushlstring(L, (const char *)digest, sizeof(digest));
    return 1;
}

/* The name of the time zone, as /etc/localtime says by where it links to; else nil. */
static void push_timezone(lua_State *L)
{
    char target[256];
    ssize_t size = readlink("/etc/localtime", target, sizeof(target) - 1);
    const char *name;

    target[size > 0 ? size : 0] = '\0';
    name = strstr(target, "zoneinfo/");
    lua_pushstring(L, name ? name + strlen("zoneinfo/") : NULL);
}

static int config(lua_State *L)
{
    const struct qd_config *settings = &qd_check_daemon(L)->config;
    const char *name = luaL_checkstring(L, 1);

    if (strcmp(name, "state_dir") == 0)
        lua_pushstring(L, settings->state_dir);
    else if (strcmp(name, "kernels_dir") == 0)
        lua_pushstring(L, settings->kernels_dir);
    else if (strcmp(name, "libvirt_uri") == 0)
        lua_pushstring(L, settings->libvirt_uri);
    else if (strcmp(name, "timezone") == 0)
        push_timezone(L);
    else if (strcmp(name, "debug") == 0)
        lua_pushboolean(L, settings->debug);
    else
        lua_pushnil(L);
    return 1;
}

static int host(lua_State *L)
{
    struct qd_virt_host host = qd_virt_host(qd_check_daemon(L)->virt);

    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)host.memory_kib);
    lua_setfield(L, -2, "memory_kib");
    lua_pushinteger(L, host.cpus);
    lua_setfield(L, -2, "cpus");
    lua_pushstring(L, host.type);
    lua_setfield(L, -2, "type");
    lua_pushboolean(L, host.kvm);
    lua_setfield(L, -2, "kvm");
    return 1;
}

/* Kept answers: in the registry, key → { version, text }. A new generation begins without any. */
bool qd_cached_push(lua_State *L, const char *key, uint64_t version)
{
    int top = lua_gettop(L);

    luaL_getsubtable(L, LUA_REGISTRYINDEX, CACHED);
    if (lua_getfield(L, -1, key) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        if ((uint64_t)lua_tointeger(L, -1) == version) {
            lua_rawgeti(L, -2, 2);
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
            return true;
        }
    }
    lua_settop(L, top);
    return false;
}

void qd_cached_keep(lua_State *L, const char *key, uint64_t version)
{
    int count = 0;

    luaL_getsubtable(L, LUA_REGISTRYINDEX, CACHED);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        count++;
    if (count >= CACHED_MAX) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, CACHED);
    }
    lua_createtable(L, 2, 0);
    lua_pushinteger(L, (lua_Integer)version);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, 2);
    lua_setfield(L, -2, key);
    lua_pop(L, 1);
}

/* core.cached(key, version, function) */
static int cached(lua_State *L)
{
    const char *key = luaL_checkstring(L, 1);
    uint64_t version = (uint64_t)luaL_checkinteger(L, 2);

    luaL_checktype(L, 3, LUA_TFUNCTION);
    if (qd_generation_of(L)->budget)
        return luaL_error(L, "a rule may not use the cache");
    if (qd_cached_push(L, key, version))
        return 1;
    lua_settop(L, 3);
    lua_call(L, 0, 1);
    luaL_checkstring(L, -1);
    qd_cached_keep(L, key, version);
    return 1;
}

/* core.spawn(function, …) */
static int spawn(lua_State *L)
{
    struct qd_call *call = qd_check_writer(L);
    int count = lua_gettop(L), reference;
    int *grown;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (call->spawned_count >= SPAWNED_MAX)
        return luaL_error(L, "a call starts %d tasks at most", SPAWNED_MAX);
    lua_createtable(L, count, 0);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i);
    }
    reference = luaL_ref(L, LUA_REGISTRYINDEX);
    grown = realloc(call->spawned, (call->spawned_count + 1) * sizeof(*grown));
    if (!grown) {
        luaL_unref(L, LUA_REGISTRYINDEX, reference);
        return luaL_error(L, "no memory");
    }
    call->spawned = grown;
    call->spawned[call->spawned_count++] = reference;
    return 0;
}

void qd_set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

void qd_set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static uint64_t resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long total = 0, resident = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* core.status(): counters of the daemon. */
static int status(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);
    struct qd_store_counters store = qd_store_counters(daemon->store);
    struct qd_virt_counters virt = qd_virt_counters(daemon->virt);
    unsigned subscribers = 0;

    for (struct qd_subscriber *subscriber = daemon->subscribers; subscriber; subscriber = subscriber->next)
        subscribers++;
    lua_newtable(L);
    qd_set_integer(L, "calls", (int64_t)daemon->status.calls);
    qd_set_integer(L, "denied", (int64_t)daemon->status.denied);
    qd_set_integer(L, "denied_expected", (int64_t)daemon->status.denied_expected);
    qd_set_integer(L, "shadow_differences", (int64_t)daemon->status.shadow_differences);
    qd_set_integer(L, "limited", (int64_t)daemon->status.limited);
    qd_limit_push_status(L, daemon);
    lua_setfield(L, -2, "limits");
    qd_set_integer(L, "failed", (int64_t)daemon->status.failed);
    qd_set_integer(L, "connections", daemon->status.connections);
    qd_set_integer(L, "subscribers", (int64_t)subscribers);
    qd_set_integer(L, "qubes", (int64_t)qd_model_qube_count(daemon->model));
    qd_set_integer(L, "store_commits", (int64_t)store.commits);
    qd_set_integer(L, "store_calls", (int64_t)store.transactions);
    qd_set_integer(L, "store_failures", (int64_t)store.failures);
    qd_set_integer(L, "virt_jobs", virt.jobs);
    qd_set_integer(L, "virt_timeouts", (int64_t)virt.timeouts);
    qd_set_integer(L, "virt_workers", virt.workers);
    qd_set_integer(L, "virt_lost_workers", virt.lost_workers);
    lua_pushboolean(L, virt.connected);
    lua_setfield(L, -2, "virt_connected");
    qd_set_integer(L, "resident_kib", (int64_t)resident_kib());
    qd_set_integer(L, "lua_bytes", (int64_t)daemon->generation->memory);
    qd_set_integer(L, "generation", daemon->generation->number);
    qd_set_integer(L, "rules", (int64_t)daemon->generation->hook_count);
    qd_set_text(L, "digest", daemon->generation->digest);
    return 1;
}

/* core.serves(): whether calls that begin now begin in this generation. A stream that goes on for long ends
 * when it is no longer so. */
static int serves(lua_State *L)
{
    lua_pushboolean(L, qd_check_daemon(L)->generation == qd_generation_of(L));
    return 1;
}

/* core.in_rule(): whether a rule, or another hook of a permission event, runs. */
static int in_rule(lua_State *L)
{
    lua_pushboolean(L, qd_generation_of(L)->budget != NULL);
    return 1;
}

/* core.declarations(): what `method` was given, by name. */
static int declarations(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "qd.declarations");
    return 1;
}

static int label_value(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    return 1;
}

void qd_bind_core_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"log", log_line},
        {"time", wall_time},
        {"monotonic", monotonic},
        {"random", random_number},
        {"config", config},
        {"sha256", sha256},
        {"host", host},
        {"cached", cached},
        {"explain", qd_bind_explain},
        {"spawn", spawn},
        {"status", status},
        {"serves", serves},
        {"in_rule", in_rule},
        {"deny", qd_bind_rules_deny},
        {"guarded", qd_run_guarded},
        {"publish", qd_bind_publish},
        {"declarations", declarations},
        {"label_value", label_value},
        {"on_permission", qd_bind_rules_on_permission},
        {"filter_list", qd_permission_filter_list},
        {"policy", qd_bind_policy},
        {NULL, NULL},
    };

    luaL_newlib(L, functions);
    qd_bind_model_open(L);
    qd_bind_wait_open(L);
    qd_bind_object_open(L);
    qd_bind_view_open(L);
    qd_bind_untrusted_open(L);
    qd_bind_xml_open(L);
    qd_bind_run_open(L);
    qd_bind_file_open(L);
    qd_bind_qubesdb_open(L);
    qd_bind_generation_open(L);
    qd_bind_caller_open(L);
    lua_setglobal(L, "core");
    qd_bind_call_open(L);
    lua_pushlightuserdata(L, QD_NONE_POINTER);
    lua_setglobal(L, "none");
}
