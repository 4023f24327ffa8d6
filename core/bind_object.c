/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * References to the app and to qubes. One object has one userdata a generation, in a table of weak values, so
 * that they compare as they are. What an object offers is the scripts' business: scripts/lib/object.lua sets
 * the metamethods once.
 */
#include <lauxlib.h>

#include "qd/bind_core.h"

#define OBJECT "qd.object"
#define VIEWS_MAX 2 /* kept with each object */

void qd_push_object(lua_State *L, struct qd_object *object)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_reference *reference;

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
    reference = lua_newuserdatauv(L, sizeof(*reference), VIEWS_MAX);
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
    struct qd_reference *reference = lua_touserdata(L, index);
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
    struct qd_reference *reference = lua_touserdata(L, 1);
    struct qd_daemon *daemon = qd_generation_of(L)->daemon;

    if (reference->object && daemon)
        qd_object_unref(daemon->model, reference->object);
    reference->object = NULL;
    return 0;
}

static int field_read(lua_State *L, int status, lua_KContext context)
{
    (void)L; /* its one result is on the top */
    (void)status;
    (void)context;
    return 1;
}

/* __index of objects. Upvalues: name of a view → its number, the tables of the views by that number, and the
 * function that knows all else. Rules read views of a thousand qubes at a time, and each instruction of Lua
 * is counted there; so the way to them has none, and an object that was asked before has them itself. */
static int read_field(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNUMBER) {
        int number = (int)lua_tointeger(L, 3);

        if (lua_getiuservalue(L, 1, number) != LUA_TNIL)
            return 1;
        lua_rawgeti(L, lua_upvalueindex(2), number);
        lua_pushvalue(L, 1);
        lua_gettable(L, -2); /* made now */
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, number);
        return 1;
    }
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_insert(L, 1);
    lua_callk(L, 2, 1, 0, field_read);
    return 1;
}

/* The table of names at 4 becomes the first two upvalues of read_field, pushed. */
static void push_views(lua_State *L)
{
    int count = 0;

    lua_newtable(L);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, 4); lua_pop(L, 1)) {
        if (++count > VIEWS_MAX)
            luaL_error(L, "objects have room for %d views", VIEWS_MAX);
        lua_pushvalue(L, -2);
        lua_pushinteger(L, count);
        lua_rawset(L, -6);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -4, count);
    }
}

/* core.set_object_metatable(index, newindex, tostring, views): once, by scripts/lib/object.lua. `views`: name
 * of a field → a table of its values by object, each of which stays the same; `index` is not asked for those.
 */
static int set_metatable(lua_State *L)
{
    if (!qd_generation_of(L)->loading)
        return luaL_error(L, "the metamethods of objects are set while scripts load");
    for (int i = 1; i <= 3; i++)
        luaL_checktype(L, i, LUA_TFUNCTION);
    luaL_checktype(L, 4, LUA_TTABLE);
    lua_settop(L, 4);
    lua_rawgeti(L, LUA_REGISTRYINDEX, qd_generation_of(L)->object_metatable);
    push_views(L);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, read_field, 3);
    lua_setfield(L, 5, "__index");
    lua_pushvalue(L, 2);
    lua_setfield(L, 5, "__newindex");
    lua_pushvalue(L, 3);
    lua_setfield(L, 5, "__tostring");
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
