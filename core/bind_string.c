/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/bind_string.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <string.h>

#include "bind_string_private.h"

static qd_pattern_budget_fn pattern_budget;

uint64_t qd_string_charge(lua_State *L, uint64_t used)
{
    return pattern_budget ? pattern_budget(L, used) : UINT64_MAX;
}

void qd_string_charge_bytes(lua_State *L, size_t size)
{
    if (size >= QD_STRING_BYTES_PER_STEP)
        qd_string_charge(L, size / QD_STRING_BYTES_PER_STEP);
}

/* rep and format look at the size that will come out, then call the stock function, their first upvalue, in
 * their own place on the stack: so its errors name the right argument. */
static int call_stock(lua_State *L)
{
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int string_rep(lua_State *L)
{
    size_t size, separator_size;
    lua_Integer count;

    luaL_checklstring(L, 1, &size);
    count = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator_size);
    /* The stock function counts up to `count` even when there is nothing to repeat. */
    if (count <= 0 || (size == 0 && separator_size == 0)) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (size > QD_STRING_SIZE_MAX || separator_size > QD_STRING_SIZE_MAX ||
        (lua_Unsigned)count - 1 > (QD_STRING_SIZE_MAX - size) / (size + separator_size))
        return luaL_error(L, "resulting string too large");
    qd_string_charge_bytes(L, (size_t)count * (size + separator_size));
    return call_stock(L);
}

/* The most bytes that one conversion of format can give; `truncated` says that it has a precision. A value
 * other than a string is made one here, as the stock function would, because its __tostring may give any
 * size. */
static size_t converted_size(lua_State *L, int argument, char conversion, bool truncated)
{
    enum { OTHERS_MAX = 512 }; /* any number with any width and precision: both have two digits at most */
    size_t size = 0;

    if (lua_isnone(L, argument))
        return 0;
    if (conversion == 's') {
        luaL_tolstring(L, argument, &size);
        lua_replace(L, argument);
        return truncated ? OTHERS_MAX : size + OTHERS_MAX;
    }
    if (conversion == 'q' && lua_type(L, argument) == LUA_TSTRING) {
        lua_tolstring(L, argument, &size);
        return size * 4 + 2;
    }
    return OTHERS_MAX;
}

static int string_format(lua_State *L)
{
    size_t size, total;
    const char *format = luaL_checklstring(L, 1, &size), *end = format + size;
    int argument = 1;

    total = size;
    while (total <= QD_STRING_SIZE_MAX && (format = memchr(format, '%', (size_t)(end - format)))) {
        size_t modifiers = strspn(++format, "-+ #0123456789.");
        bool truncated = memchr(format, '.', modifiers) != NULL;

        format += modifiers;
        if (format == end)
            break; /* malformed, the stock function says so */
        if (*format != '%')
            total += converted_size(L, ++argument, *format, truncated);
        format++;
    }
    if (total > QD_STRING_SIZE_MAX)
        return luaL_error(L, "resulting string too large");
    qd_string_charge_bytes(L, total);
    return call_stock(L);
}

/* Copies stock functions from the table at `stock` to the one on top. */
static void copy_functions(lua_State *L, int stock)
{
    static const char *const names[] = {"byte", "char", "len", "lower", "reverse", "sub", "upper"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        lua_getfield(L, stock, names[i]);
        lua_setfield(L, -2, names[i]);
    }
}

/* Adds `function` to the table on top, with the stock function of that name as its upvalue. */
static void wrap_function(lua_State *L, int stock, const char *name, lua_CFunction function)
{
    lua_getfield(L, stock, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

void qd_bind_string_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", qd_string_find},
        {"gmatch", qd_string_gmatch},
        {"gsub", qd_string_gsub},
        {"match", qd_string_match},
        {NULL, NULL},
    };
    int stock;

    luaL_checkstack(L, 6, "string library");
    /* It also gives strings their metatable: arithmetic, and __index, which is replaced below. */
    lua_pushcfunction(L, luaopen_string);
    lua_call(L, 0, 1);
    stock = lua_gettop(L);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    copy_functions(L, stock);
    wrap_function(L, stock, "format", string_format);
    wrap_function(L, stock, "rep", string_rep);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
    lua_remove(L, stock);
}

void qd_bind_string_set_budget(qd_pattern_budget_fn budget)
{
    pattern_budget = budget;
}
