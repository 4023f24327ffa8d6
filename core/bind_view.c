/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Views of an object's attributes of one kind, which look like tables: qube.tags, qube.features. What else
 * they can do is the scripts' business: scripts/lib/views.lua.
 */
#include <lauxlib.h>

#include "qd/bind_core.h"

/* Its user value is the reference, which so lives as long. */
struct view {
    const struct qd_reference *owner;
};

/* The view at the index, whose metatable is the upvalue. */
static struct view *check_view(lua_State *L, int index, int metatable)
{
    struct view *view = lua_touserdata(L, index);
    bool is_one = view && lua_getmetatable(L, index) && lua_rawequal(L, -1, metatable);

    if (!is_one)
        luaL_typeerror(L, index, "view");
    lua_pop(L, 1);
    return view;
}

/* __index of a view: (view, name) -> the value, or nothing. Upvalues: the metatable, the kind. */
static int read_view(lua_State *L)
{
    const struct view *view = check_view(L, 1, lua_upvalueindex(1));
    size_t kind_size, name_size;
    const char *kind = lua_tolstring(L, lua_upvalueindex(2), &kind_size), *name;
    const struct qd_value *value;

    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    luaL_argcheck(L, view->owner->object, 1, "its object is gone");
    name = lua_tolstring(L, 2, &name_size);
    value = qd_object_get(qd_check_daemon(L)->model, view->owner->object, kind, kind_size, name, name_size);
    if (!value)
        return 0;
    qd_push_value(L, value);
    return 1;
}

static int new_view(lua_State *L)
{
    struct view *view;

    qd_check_object(L, 1);
    view = lua_newuserdatauv(L, sizeof(*view), 1);
    view->owner = lua_touserdata(L, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setmetatable(L, -2);
    return 1;
}

static int view_owner(lua_State *L)
{
    check_view(L, 1, lua_upvalueindex(1));
    lua_getiuservalue(L, 1, 1);
    return 1;
}

/* core.view_type(kind, metamethods): two functions, one that makes a view of an object and one that tells the
 * object of a view. `metamethods` are those besides __index. Rules read views by the thousand, and each
 * instruction of Lua is counted there. */
static int view_type(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, read_view, 2);
    lua_setfield(L, 2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, 2, "__metatable");
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, new_view, 1);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, view_owner, 1);
    return 2;
}

void qd_bind_view_open(lua_State *L)
{
    lua_pushcfunction(L, view_type);
    lua_setfield(L, -2, "view_type");
}
