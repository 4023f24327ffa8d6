/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a hook is told besides source and destination: plain values, read-only, since hooks must not speak to
 * each other.
 */
#include <lauxlib.h>

#include "permission_private.h"
#include "qd/bind_core.h"

#define READ_ONLY "qd.read_only"
#define INFO_DEPTH 4

static int read_only_index(lua_State *L)
{
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    if (lua_type(L, -1) == LUA_TTABLE)
        qd_info_push(L, lua_gettop(L));
    return 1;
}

static int read_only_newindex(lua_State *L)
{
    return luaL_error(L, "info is read-only");
}

static int read_only_next(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (!lua_next(L, lua_upvalueindex(1)))
        return 0;
    if (lua_type(L, -1) == LUA_TTABLE)
        qd_info_push(L, lua_gettop(L));
    lua_replace(L, 4);
    lua_settop(L, 4);
    return 2;
}

/* The iterator has the table as its upvalue: the state of a `for` would give it away. */
static int read_only_pairs(lua_State *L)
{
    lua_getiuservalue(L, 1, 1);
    lua_pushcclosure(L, read_only_next, 1);
    return 1;
}

static int read_only_length(lua_State *L)
{
    lua_getiuservalue(L, 1, 1);
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
    return 1;
}

void qd_info_push(lua_State *L, int index)
{
    static const luaL_Reg methods[] = {{"__index", read_only_index},
                                       {"__newindex", read_only_newindex},
                                       {"__pairs", read_only_pairs},
                                       {"__len", read_only_length},
                                       {NULL, NULL}};

    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, READ_ONLY)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

static void check_plain(lua_State *L, int index, int depth)
{
    if (depth > INFO_DEPTH)
        luaL_error(L, "info is nested too deep");
    luaL_checkstack(L, 8, "info");
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING && lua_type(L, -2) != LUA_TNUMBER)
            luaL_error(L, "the keys of info are names or numbers, not a %s", luaL_typename(L, -2));
        switch (lua_type(L, -1)) {
        case LUA_TTABLE:
            check_plain(L, lua_gettop(L), depth + 1);
            break;
        case LUA_TUSERDATA:
            if (qd_is_untrusted(L, -1))
                luaL_error(L, "an untrusted value can't be passed to hooks: validate it first");
            break;
        case LUA_TFUNCTION:
        case LUA_TTHREAD:
            luaL_error(L, "info has plain values only, not a %s", luaL_typename(L, -1));
            break;
        default:
            break;
        }
    }
}

void qd_permission_check_info(lua_State *L, int index)
{
    check_plain(L, lua_absindex(L, index), 1);
}
