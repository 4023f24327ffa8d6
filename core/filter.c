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

/* Pushes what of `list` stands in `answer` in the same order: all of the answer, if the filter went through
 * the list from first to last. Returns how many that are. */
static lua_Integer push_in_order(lua_State *L, int list, lua_Integer count, int answer, lua_Integer returned)
{
    lua_Integer found = 0;
    int kept = lua_gettop(L) + 1, wanted = kept + 1;

    lua_createtable(L, (int)returned, 0);
    lua_rawgeti(L, answer, 1);
    for (lua_Integer i = 1; i <= count && found < returned; i++) {
        lua_rawgeti(L, list, i);
        if (!lua_rawequal(L, -1, wanted)) {
            lua_pop(L, 1);
            continue;
        }
        lua_rawseti(L, kept, ++found);
        lua_rawgeti(L, answer, found + 1);
        lua_replace(L, wanted);
    }
    lua_pop(L, 1);
    return found;
}

/* Pushes what of `list` stands in `answer`, in the list's order; raises for what is no item of it. */
static void push_answered(lua_State *L, int list, lua_Integer count, int answer, lua_Integer returned)
{
    lua_Integer kept = 0;
    int keep;

    lua_createtable(L, 0, (int)count);
    keep = lua_gettop(L);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        lua_pushboolean(L, 0);
        lua_rawset(L, keep);
    }
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
}

void qd_filter_whole(lua_State *L, int filter, int list)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, list), returned;
    int top = lua_gettop(L), answer = top + 1;

    lua_getiuservalue(L, filter, 1);
    lua_createtable(L, (int)count, 0); /* a copy of its own: other filters must not see what it does to it */
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    if (lua_type(L, answer) != LUA_TTABLE)
        luaL_error(L, "a filter of lists returns an array of the items to keep, not a %s",
                   luaL_typename(L, answer));
    returned = (lua_Integer)lua_rawlen(L, answer);
    /* What stays is a copy: the rule may go on to change what it returned. */
    if (push_in_order(L, list, count, answer, returned) < returned)
        push_answered(L, list, count, answer, returned);
    lua_replace(L, list);
    lua_settop(L, top);
}
