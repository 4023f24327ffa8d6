/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * References to the app and to qubes. One object has one userdata a generation, in a table of weak values, so
 * that they compare as they are. What an object offers is the scripts' business: scripts/lib/object.lua sets
 * the metamethods once.
 */
#include <lauxlib.h>

#include "qd/bind_core.h"

#define OBJECT "qd.object"

struct reference {
    struct qd_object *object;
};

void qd_push_object(lua_State *L, struct qd_object *object)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct reference *reference;

    if (!object) {
        lua_pushnil(L);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, generation->proxies);
    if (lua_rawgetp(L, -1, object) != LUA_TNIL) {
        lua_remove(L, -2);
        return;
    }
    lua_pop(L, 1);
    reference = lua_newuserdatauv(L, sizeof(*reference), 0);
    reference->object = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, generation->object_metatable);
    lua_setmetatable(L, -2);
    reference->object = qd_object_ref(object);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, object);
    lua_remove(L, -2);
}

struct qd_object *qd_to_object(lua_State *L, int index)
{
    struct reference *reference = lua_touserdata(L, index);
    const void *type;

    if (!reference || !lua_getmetatable(L, index))
        return NULL;
    type = lua_topointer(L, -1);
    lua_pop(L, 1);
    return type == qd_generation_of(L)->object_type ? reference->object : NULL;
}

struct qd_object *qd_check_object(lua_State *L, int index)
{
    struct qd_object *object = qd_to_object(L, index);

    if (!object)
        luaL_typeerror(L, index, "qube or the app");
    return object;
}

struct qd_object *qd_check_qube(lua_State *L, int index)
{
    struct qd_object *object = qd_check_object(L, index);

    luaL_argcheck(L, object->name, index, "expected a qube");
    luaL_argcheck(L, !object->removed, index, "this qube was removed");
    return object;
}

static int collect(lua_State *L)
{
    struct reference *reference = lua_touserdata(L, 1);
    struct qd_daemon *daemon = qd_generation_of(L)->daemon;

    if (reference->object && daemon)
        qd_object_unref(daemon->model, reference->object);
    reference->object = NULL;
    return 0;
}

/* core.set_object_metatable(index, newindex, tostring): once, by scripts/lib/object.lua. */
static int set_metatable(lua_State *L)
{
    static const char *const names[] = {"__index", "__newindex", "__tostring"};

    if (!qd_generation_of(L)->loading)
        return luaL_error(L, "the metamethods of objects are set while scripts load");
    lua_rawgeti(L, LUA_REGISTRYINDEX, qd_generation_of(L)->object_metatable);
    for (int i = 0; i < 3; i++) {
        luaL_checktype(L, i + 1, LUA_TFUNCTION);
        lua_pushvalue(L, i + 1);
        lua_setfield(L, -2, names[i]);
    }
    return 0;
}

void qd_bind_object_open(lua_State *L)
{
    struct qd_generation *generation = qd_generation_of(L);

    luaL_newmetatable(L, OBJECT);
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    generation->object_type = lua_topointer(L, -1);
    generation->object_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    generation->proxies = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    generation->threads = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, set_metatable);
    lua_setfield(L, -2, "set_object_metatable");
}
