/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Entries in the QubesDB of qubes: core.qubesdb, core.qubesdb_list, core.qubesdb_sync.
 * scripts/lib/qubesdb.lua is the one file that calls them.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/log.h"
#include "qd/qubesdb.h"
#include "qd/wait.h"

struct result {
    uint64_t serial; /* of the call, for the untrusted values */
    struct qd_wait *wait;
    int error;
    struct qd_qubesdb_entry *entries;
    size_t count;
};

static void result_free(void *context)
{
    struct result *result = context;

    for (size_t i = 0; i < result->count; i++)
        free(result->entries[i].value);
    free(result->entries);
    free(result);
}

/* core.qubesdb(qube, 'write', path, value) or (qube, 'remove', path). What can't be written is logged:
 * whoever changes the model is not to fail for it. */
static int change(lua_State *L)
{
    static const char *const operations[] = {"write", "remove", NULL};
    struct qd_object *qube = qd_check_qube(L, 1);
    int operation = luaL_checkoption(L, 2, NULL, operations);
    size_t path_size, size = 0;
    const char *path = luaL_checklstring(L, 3, &path_size);
    const char *value = operation == 0 ? luaL_checklstring(L, 4, &size) : NULL;
    struct qd_call *call = qd_check_writer(L);
    int r;

    if (!call->daemon->qubesdb)
        return 0;
    r = operation == 0
            ? qd_qubesdb_write(call->daemon->qubesdb, qube->name->data, path, path_size, value, size)
            : qd_qubesdb_remove(call->daemon->qubesdb, qube->name->data, path, path_size);
    if (r == -EINVAL)
        qd_log(QD_LOG_WARNING, "QubesDB of %s: %s is not written: QubesDB takes no such path or value",
               qube->name->data, path);
    return 0;
}

static void keep(struct result *result, const struct qd_qubesdb_entry *entries, size_t count)
{
    result->entries = count > 0 ? calloc(count, sizeof(*entries)) : NULL;
    for (size_t i = 0; result->entries && i < count; i++) {
        result->entries[i] = entries[i];
        result->entries[i].value = malloc(entries[i].size + 1);
        if (!result->entries[i].value)
            break;
        memcpy(result->entries[i].value, entries[i].value, entries[i].size);
        result->count++;
    }
    if (result->count < count)
        result->error = -ENOMEM;
}

static void done(void *context, int error, const struct qd_qubesdb_entry *entries, size_t count)
{
    struct result *result = context;

    result->error = error;
    if (error == 0)
        keep(result, entries, count);
    qd_wait_done(result->wait, result);
}

static int push_list(lua_State *L, void *context)
{
    struct result *result = context;

    if (result->error) {
        lua_pushnil(L);
        lua_pushstring(L, result->error == -ENOENT ? "the qube has no QubesDB" : strerror(-result->error));
        return 2;
    }
    lua_createtable(L, 0, (int)result->count);
    for (size_t i = 0; i < result->count; i++) {
        qd_push_untrusted_bytes(L, result->serial, result->entries[i].value, result->entries[i].size);
        lua_setfield(L, -2, result->entries[i].path);
    }
    return 1;
}

static int push_sync(lua_State *L, void *context)
{
    struct result *result = context;

    lua_pushboolean(L, result->error == 0);
    return 1;
}

static int ask(lua_State *L, const char *prefix, size_t size)
{
    struct qd_object *qube = qd_check_qube(L, 1);
    struct qd_call *call = qd_wait_check(L);
    struct result *result;
    int r;

    if (!call->daemon->qubesdb)
        return 0;
    result = calloc(1, sizeof(*result));
    if (result) {
        result->serial = call->serial;
        result->wait = qd_wait_begin(call, prefix ? push_list : push_sync, result_free);
    }
    if (!result || !result->wait) {
        free(result);
        return luaL_error(L, "no memory");
    }
    r = prefix ? qd_qubesdb_list(call->daemon->qubesdb, qube->name->data, prefix, size, done, result)
               : qd_qubesdb_sync(call->daemon->qubesdb, qube->name->data, done, result);
    if (r < 0) {
        qd_wait_drop(result->wait);
        free(result);
        if (r == -EINVAL)
            return luaL_error(L, "'%s' is no path of QubesDB", prefix);
        lua_pushnil(L);
        lua_pushstring(L, strerror(-r));
        return 2;
    }
    return qd_wait_yield(L);
}

/* core.qubesdb_list(qube, prefix): a table of path → untrusted value; or nil and why. Waits. */
static int list(lua_State *L)
{
    size_t size;
    const char *prefix = luaL_checklstring(L, 2, &size);

    return ask(L, prefix, size);
}

/* core.qubesdb_sync(qube): waits until what was written so far has arrived; whether it has. */
static int sync_qube(lua_State *L)
{
    return ask(L, NULL, 0);
}

void qd_bind_qubesdb_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"qubesdb", change}, {"qubesdb_list", list}, {"qubesdb_sync", sync_qube}, {NULL, NULL}};

    luaL_setfuncs(L, functions, 0);
}
