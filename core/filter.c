/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The filters that rules return, applied to lists.
 */
#include <lauxlib.h>

#include "permission_private.h"

#define FILTER_LIST "qd.filter_list"

int qd_permission_filter_list(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, FILTER_LIST)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    return 1;
}

bool qd_filter_is_one(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TFUNCTION || luaL_testudata(L, index, FILTER_LIST);
}

bool qd_filter_verdict(lua_State *L)
{
    bool keep = lua_toboolean(L, -1);

    if (!lua_isboolean(L, -1) && !lua_isnil(L, -1))
        luaL_error(L, "a filter returns true or false, not a %s", luaL_typename(L, -1));
    lua_pop(L, 1);
    return keep;
}

void qd_filter_items(lua_State *L, int filter, int list)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, list), kept = 0;

    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_pushvalue(L, filter);
        lua_rawgeti(L, list, i);
        lua_call(L, 1, 1);
        if (qd_filter_verdict(L)) {
            lua_rawgeti(L, list, i);
            lua_rawseti(L, -2, ++kept);
        }
    }
    lua_replace(L, list);
}

void qd_filter_whole(lua_State *L, int filter, int list)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, list), kept = 0, returned;
    int answer, keep;

    lua_getiuservalue(L, filter, 1);
    lua_createtable(L, (int)count, 0); /* a copy of its own: other filters must not see what it does to it */
    lua_createtable(L, 0, (int)count);
    keep = lua_gettop(L);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        lua_pushvalue(L, -1);
        lua_rawseti(L, keep - 1, i);
        lua_pushboolean(L, 0);
        lua_rawset(L, keep);
    }
    lua_insert(L, keep - 2); /* keep, function, copy */
    keep -= 2;
    lua_call(L, 1, 1);
    answer = lua_gettop(L);
    if (lua_type(L, answer) != LUA_TTABLE)
        luaL_error(L, "a filter of lists returns an array of the items to keep, not a %s",
                   luaL_typename(L, answer));
    returned = (lua_Integer)lua_rawlen(L, answer);
    for (lua_Integer i = 1; i <= returned; i++) {
        lua_rawgeti(L, answer, i);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, keep) == LUA_TNIL)
            luaL_error(L, "a filter of lists returned something that is no item of the list");
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
        lua_rawset(L, keep);
    }
    lua_createtable(L, (int)returned, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        lua_pushvalue(L, -1);
        lua_rawget(L, keep);
        if (lua_toboolean(L, -1)) {
            lua_pop(L, 1);
            lua_rawseti(L, -2, ++kept);
        } else {
            lua_pop(L, 2);
        }
    }
    lua_replace(L, list);
    lua_settop(L, keep - 1);
}
