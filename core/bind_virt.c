/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.virt and core.virt_stats: libvirt, which the call waits for.
 */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "wait_private.h"

static int push_virt(lua_State *L, struct qd_wait *wait)
{
    if (wait->text)
        lua_pushstring(L, wait->text);
    else
        lua_pushinteger(L, wait->number);
    return 1;
}

static void virt_done(void *context, const struct qd_virt_result *result)
{
    struct qd_wait *wait = context;

    if (result->error) {
        wait->failed = true;
        wait->text = strdup(result->message ? result->message : "libvirt failed");
    } else {
        wait->text = result->text ? strdup(result->text) : NULL;
        wait->number = result->text ? 0 : result->number;
        if (!result->text && result->number == 0)
            wait->number = result->domain_id;
    }
    qd_wait_resume(wait);
}

/* core.virt(qube, operation, argument, flags, seconds) */
int qd_bind_virt(lua_State *L)
{
    struct qd_object *qube = qd_check_qube(L, 1);
    int operation = luaL_checkoption(L, 2, NULL, qd_virt_op_names);
    const char *argument = luaL_optstring(L, 3, NULL);
    lua_Integer flags = luaL_optinteger(L, 4, 0);
    double seconds = lua_isnoneornil(L, 5) ? 60 : qd_wait_check_seconds(L, 5);
    struct qd_call *call = qd_check_writer(L);
    struct qd_wait *wait;

    qd_wait_check(L);
    wait = qd_wait_new(call, push_virt);
    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    if (qd_virt_submit(call->daemon->virt, operation, qube->uuid, argument, (unsigned)flags,
                       (unsigned)(seconds * 1000), virt_done, wait) < 0) {
        qd_wait_drop(wait);
        return luaL_error(L, "no memory");
    }
    return qd_wait_yield(L);
}

static int push_stats(lua_State *L, struct qd_wait *wait)
{
    lua_createtable(L, (int)wait->count, 0);
    for (size_t i = 0; i < wait->count; i++) {
        const struct qd_virt_domain *domain = &wait->domains[i];

        lua_createtable(L, 0, 8);
        qd_set_text(L, "uuid", domain->uuid);
        qd_set_text(L, "name", domain->name);
        qd_set_integer(L, "state", domain->state);
        qd_set_integer(L, "domain_id", domain->domain_id);
        qd_set_integer(L, "cpu_time", (int64_t)domain->cpu_time_ns);
        qd_set_integer(L, "memory_kib", (int64_t)domain->memory_kib);
        qd_set_integer(L, "max_memory_kib", (int64_t)domain->max_memory_kib);
        qd_set_integer(L, "vcpus", domain->vcpus);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static void stats_done(void *context, int error, const char *message, const struct qd_virt_domain *domains,
                       size_t count)
{
    struct qd_wait *wait = context;

    if (!error && wait->call && count) {
        wait->domains = calloc(count, sizeof(*wait->domains));
        wait->count = wait->domains ? count : 0;
        for (size_t i = 0; i < wait->count; i++) {
            wait->domains[i] = domains[i];
            wait->domains[i].name = strdup(domains[i].name ? domains[i].name : "");
        }
    } else if (error) {
        wait->failed = true;
        wait->text = strdup(message ? message : "libvirt failed");
    }
    qd_wait_resume(wait);
}

int qd_bind_virt_stats(lua_State *L)
{
    double seconds = lua_isnoneornil(L, 1) ? 5 : qd_wait_check_seconds(L, 1);
    struct qd_call *call = qd_wait_check(L);
    struct qd_wait *wait = qd_wait_new(call, push_stats);

    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    if (qd_virt_get_stats(call->daemon->virt, (unsigned)(seconds * 1000), stats_done, wait) < 0) {
        qd_wait_drop(wait);
        return luaL_error(L, "no memory");
    }
    return qd_wait_yield(L);
}
