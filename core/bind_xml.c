/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.xml_parse and core.xml_format: between XML and nested tables { name =, attributes = {}, text =, tail
 * =, children = {}, line = }. The tree of C lives in a userdata meanwhile, so that an error of Lua frees it.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/xml.h"

#define HOLDER "qd.xml"

struct holder {
    struct qd_xml *xml;
    char *text; /* or a message */
};

static int collect(lua_State *L)
{
    struct holder *holder = lua_touserdata(L, 1);

    qd_xml_free(holder->xml);
    free(holder->text);
    *holder = (struct holder){0};
    return 0;
}

static struct holder *push_holder(lua_State *L)
{
    struct holder *holder = lua_newuserdatauv(L, sizeof(*holder), 0);

    *holder = (struct holder){0};
    if (luaL_newmetatable(L, HOLDER)) {
        lua_pushcfunction(L, collect);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return holder;
}

/* An element as a table; the depth is bounded by the reader. */
static void push_element(lua_State *L, const struct qd_xml_element *element)
{
    lua_Integer count = 0;

    luaL_checkstack(L, 8, "elements inside elements");
    lua_createtable(L, 0, 6);
    lua_pushstring(L, element->name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, element->line);
    lua_setfield(L, -2, "line");
    if (element->text) {
        lua_pushstring(L, element->text);
        lua_setfield(L, -2, "text");
    }
    if (element->tail) {
        lua_pushstring(L, element->tail);
        lua_setfield(L, -2, "tail");
    }
    lua_newtable(L);
    for (const struct qd_xml_attribute *attribute = element->first_attribute; attribute;
         attribute = attribute->next) {
        lua_createtable(L, 2, 0);
        lua_pushstring(L, attribute->name);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, attribute->value);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, ++count);
        lua_pushstring(L, attribute->value);
        lua_setfield(L, -2, attribute->name);
    }
    lua_setfield(L, -2, "attributes");
    lua_newtable(L);
    count = 0;
    for (const struct qd_xml_element *child = element->first_child; child; child = child->next) {
        push_element(L, child);
        lua_rawseti(L, -2, ++count);
    }
    lua_setfield(L, -2, "children");
}

static int fail(lua_State *L, const char *message)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
}

/* core.xml_parse(text): the root as a table, or nil and what is wrong where. */
static int parse(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    struct holder *holder;
    int r;

    if (qd_generation_of(L)->budget)
        return luaL_error(L, "a rule may not read XML");
    holder = push_holder(L);
    r = qd_xml_parse(text, size, &holder->xml, &holder->text);
    if (r < 0)
        return fail(L, holder->text ? holder->text : "no memory");
    push_element(L, holder->xml->root);
    qd_xml_free(holder->xml); /* not when the collector comes round */
    holder->xml = NULL;
    return 1;
}

static const char *field(lua_State *L, int index, const char *name, size_t *ret_size)
{
    int type = lua_getfield(L, index, name);
    const char *text = NULL;

    *ret_size = 0;
    if (type == LUA_TSTRING)
        text = lua_tolstring(L, -1, ret_size);
    else if (type != LUA_TNIL)
        luaL_error(L, "core.xml_format: '%s' of an element is a string", name);
    if (text && memchr(text, '\0', *ret_size))
        luaL_error(L, "core.xml_format: '%s' of an element has a NUL byte", name);
    return text; /* the table keeps it alive */
}

static void check(lua_State *L, int r)
{
    if (r < 0)
        luaL_error(L, "no memory");
}

/* The array part of `attributes`, which has their order. */
static void build_attributes(lua_State *L, struct qd_xml_element *element, int index)
{
    if (lua_getfield(L, index, "attributes") == LUA_TTABLE) {
        lua_Integer count = luaL_len(L, -1);

        for (lua_Integer i = 1; i <= count; i++) {
            const char *name, *value;

            if (lua_rawgeti(L, -1, i) != LUA_TTABLE)
                luaL_error(L, "core.xml_format: attributes are an array of { name, value }");
            lua_rawgeti(L, -1, 1);
            lua_rawgeti(L, -2, 2);
            name = lua_tostring(L, -2);
            value = lua_tostring(L, -1);
            if (!name || !value)
                luaL_error(L, "core.xml_format: attributes are an array of { name, value }");
            check(L, qd_xml_set_attribute(element, name, value));
            lua_pop(L, 3);
        }
    }
    lua_pop(L, 1);
}

static void build(lua_State *L, struct qd_xml *xml, struct qd_xml_element *parent, int index, int depth)
{
    struct qd_xml_element *element;
    const char *text;
    size_t size;

    luaL_checkstack(L, 10, "elements inside elements");
    luaL_checktype(L, index, LUA_TTABLE);
    if (depth >= QD_XML_DEPTH_MAX)
        luaL_error(L, "core.xml_format: elements stand inside each other too deep");
    text = field(L, index, "name", &size);
    if (!text)
        luaL_error(L, "core.xml_format: an element has a name");
    element = qd_xml_add(xml, parent, text);
    if (!element)
        luaL_error(L, "core.xml_format: too many elements, or no memory");
    text = field(L, index, "text", &size);
    if (text)
        check(L, qd_xml_append_text(element, text, size));
    text = field(L, index, "tail", &size);
    if (text && parent)
        check(L, qd_xml_append_tail(element, text, size));
    lua_pop(L, 3);
    build_attributes(L, element, index);
    if (lua_getfield(L, index, "children") == LUA_TTABLE) {
        lua_Integer count = luaL_len(L, -1);

        for (lua_Integer i = 1; i <= count; i++) {
            lua_rawgeti(L, -1, i);
            build(L, xml, element, lua_gettop(L), depth + 1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* core.xml_format(element): a document, or nil and why there is none. */
static int format(lua_State *L)
{
    struct holder *holder;
    size_t size;
    int r;

    luaL_checktype(L, 1, LUA_TTABLE);
    if (qd_generation_of(L)->budget)
        return luaL_error(L, "a rule may not write XML");
    lua_settop(L, 1);
    holder = push_holder(L);
    holder->xml = qd_xml_new();
    check(L, holder->xml ? 0 : -ENOMEM);
    build(L, holder->xml, NULL, 1, 0);
    r = qd_xml_format(holder->xml, &holder->text, &size);
    if (r < 0)
        return fail(L, r == -EILSEQ ? "a name or a text has what can not stand in XML" : strerror(-r));
    lua_pushlstring(L, holder->text, size);
    return 1;
}

void qd_bind_xml_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"xml_parse", parse}, {"xml_format", format}, {NULL, NULL}};

    luaL_setfuncs(L, functions, 0);
}
