/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Untrusted data as a type (law 2): a userdata that has validators and nothing else, and that is empty once
 * its call has ended. `core.validate` has the same validators for plain strings, such as a call's argument.
 */
#include <errno.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/validate.h"

#define UNTRUSTED "qd.untrusted"

struct qd_untrusted *qd_push_untrusted(lua_State *L, struct qd_call *call)
{
    struct qd_untrusted *untrusted = lua_newuserdatauv(L, sizeof(*untrusted), 0);

    *untrusted = (struct qd_untrusted){.data = call->payload.data, .size = call->payload.size, .call = call};
    luaL_setmetatable(L, UNTRUSTED);
    return untrusted;
}

void qd_push_untrusted_bytes(lua_State *L, uint64_t serial, const void *data, size_t size)
{
    struct qd_untrusted *untrusted = lua_newuserdatauv(L, sizeof(*untrusted) + size, 0);
    char *copy = (char *)(untrusted + 1);

    if (size > 0)
        memcpy(copy, data, size);
    *untrusted = (struct qd_untrusted){.data = copy, .size = size, .serial = serial};
    luaL_setmetatable(L, UNTRUSTED);
}

bool qd_is_untrusted(lua_State *L, int index)
{
    return luaL_testudata(L, index, UNTRUSTED) != NULL;
}

/* Whether a value with bytes of its own belongs to the call that runs. */
static bool is_of_running(lua_State *L, const struct qd_untrusted *untrusted)
{
    const struct qd_call *running = qd_check_daemon(L)->running;

    return running && untrusted->serial == running->serial;
}

struct bytes {
    const unsigned char *data;
    size_t size;
};

/* The first argument: an untrusted value, or, for core.validate, a string. */
static struct bytes check_bytes(lua_State *L)
{
    struct qd_untrusted *untrusted = luaL_testudata(L, 1, UNTRUSTED);
    struct bytes bytes;

    if (!untrusted) {
        bytes.data = (const unsigned char *)luaL_checklstring(L, 1, &bytes.size);
        return bytes;
    }
    if (!untrusted->call && !is_of_running(L, untrusted))
        luaL_error(L, "an untrusted value lives as long as its call");
    return (struct bytes){(const unsigned char *)untrusted->data, untrusted->size};
}

static int push_plain(lua_State *L, struct bytes bytes)
{
    lua_pushlstring(L, (const char *)bytes.data, bytes.size);
    return 1;
}

typedef int (*text_fn)(const unsigned char *data, size_t size, const char **ret_reason);

static int validate_text(lua_State *L, text_fn check, const char *class_name, const char *what)
{
    struct bytes bytes = check_bytes(L);
    const char *reason = "malformed";

    if (check(bytes.data, bytes.size, &reason) < 0)
        return qd_raise(L, class_name, "%s: %s", what, reason);
    return push_plain(L, bytes);
}

static int ascii(lua_State *L)
{
    return validate_text(L, qd_validate_ascii, "ProtocolError", "payload");
}

static int printable_ascii(lua_State *L)
{
    return validate_text(L, qd_validate_printable_ascii, "ProtocolError", "payload");
}

static int qube_name(lua_State *L)
{
    return validate_text(L, qd_validate_qube_name, "QubesValueError", "name of a qube");
}

static int uuid(lua_State *L)
{
    return validate_text(L, qd_validate_uuid, "QubesVMInvalidUUIDError", "uuid");
}

static int label_name(lua_State *L)
{
    return validate_text(L, qd_validate_label_name, "QubesInvalidLabelError", "name of a label");
}

/* :label_value(): the colour alone, without white space around it. */
static int label_value(lua_State *L)
{
    struct bytes bytes = check_bytes(L);
    const char *reason = "malformed";
    char color[9];

    if (qd_validate_label_color(bytes.data, bytes.size, color, &reason) < 0)
        return qd_raise(L, "QubesInvalidLabelValueError", "colour of a label: %s", reason);
    lua_pushstring(L, color);
    return 1;
}

static int tag(lua_State *L)
{
    return validate_text(L, qd_validate_tag, "QubesInvalidTagError", "tag");
}

static int feature_name(lua_State *L)
{
    return validate_text(L, qd_validate_feature_name, "ProtocolError", "name of a feature");
}

static int utf8(lua_State *L)
{
    return validate_text(L, qd_validate_utf8, "ProtocolError", "payload");
}

static int feature_value(lua_State *L)
{
    return validate_text(L, qd_validate_feature_value, "ProtocolError", "value of a feature");
}

/* The name of a label that is to be made: stricter than that of one that is asked for. */
static int new_label_name(lua_State *L)
{
    return validate_text(L, qd_validate_new_label_name, "QubesInvalidLabelError", "name of a label");
}

static int argument(lua_State *L)
{
    return validate_text(L, qd_validate_argument, "ProtocolError", "argument");
}

static const char *option_string(lua_State *L, const char *field, const char *otherwise)
{
    return lua_istable(L, 2) && lua_getfield(L, 2, field) == LUA_TSTRING ? lua_tostring(L, -1) : otherwise;
}

static bool option_boolean(lua_State *L, const char *field)
{
    return lua_istable(L, 2) && lua_getfield(L, 2, field) != LUA_TNIL && lua_toboolean(L, -1);
}

static int64_t option_integer(lua_State *L, const char *field, int64_t otherwise)
{
    return lua_istable(L, 2) && lua_getfield(L, 2, field) != LUA_TNIL ? luaL_checkinteger(L, -1) : otherwise;
}

/* :number{ name =, negative =, min =, max = } */
static int number(lua_State *L)
{
    struct bytes bytes = check_bytes(L);
    const char *reason = "malformed", *name = option_string(L, "name", "number");
    int64_t least = option_integer(L, "min", INT64_MIN), most = option_integer(L, "max", INT64_MAX), value;

    if (qd_validate_number(bytes.data, bytes.size, option_boolean(L, "negative"), &value, &reason) < 0)
        return qd_raise(L, "ProtocolError", "%s: %s", name, reason);
    if (value < least || value > most)
        return qd_raise(L, "ProtocolError", "%s: out of bounds", name);
    lua_pushinteger(L, value);
    return 1;
}

/* :size(): a number of bytes. */
static int size(lua_State *L)
{
    struct bytes bytes = check_bytes(L);
    const char *reason = "malformed";
    int64_t value;

    if (qd_validate_size(bytes.data, bytes.size, &value, &reason) < 0)
        return qd_raise(L, "ProtocolError", "size: %s", reason);
    lua_pushinteger(L, value);
    return 1;
}

/* :int(): as the reference's properties of this type take it. */
static int integer(lua_State *L)
{
    struct bytes bytes = check_bytes(L);
    const char *reason = "malformed";
    int64_t value;

    if (qd_validate_python_int(bytes.data, bytes.size, &value, &reason) < 0)
        return qd_raise(L, "QubesValueError", "whole number: %s", reason);
    lua_pushinteger(L, value);
    return 1;
}

static int boolean(lua_State *L)
{
    struct bytes bytes = check_bytes(L);
    const char *reason = "malformed";
    bool value;

    if (qd_validate_boolean(bytes.data, bytes.size, &value, &reason) < 0)
        return qd_raise(L, "QubesValueError", "truth value: %s", reason);
    lua_pushboolean(L, value);
    return 1;
}

/* :matches_ascii(set): only letters, digits, and the bytes of `set` that are given. */
static int matches_ascii(lua_State *L)
{
    struct bytes bytes = check_bytes(L);
    size_t set_size;
    const char *set = luaL_checklstring(L, 2, &set_size);

    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] >= 0x80 || !memchr(set, bytes.data[i], set_size))
            return qd_raise(L, "ProtocolError", "payload: a byte that is not one of '%s'", set);
    }
    return push_plain(L, bytes);
}

static int empty(lua_State *L)
{
    lua_pushboolean(L, check_bytes(L).size == 0);
    return 1;
}

static int length(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_bytes(L).size);
    return 1;
}

static int refuse(lua_State *L)
{
    return luaL_error(L, "an untrusted value can only be validated");
}

void qd_bind_untrusted_open(lua_State *L)
{
    static const luaL_Reg validators[] = {
        {"ascii", ascii},
        {"printable_ascii", printable_ascii},
        {"number", number},
        {"int", integer},
        {"boolean", boolean},
        {"qube_name", qube_name},
        {"label_name", label_name},
        {"label_value", label_value},
        {"tag", tag},
        {"feature_name", feature_name},
        {"feature_value", feature_value},
        {"new_label_name", new_label_name},
        {"argument", argument},
        {"size", size},
        {"uuid", uuid},
        {"empty", empty},
        {"length", length},
        {"matches_ascii", matches_ascii},
        {"utf8", utf8},
        {NULL, NULL},
    };
    static const char *const refused[] = {"__tostring", "__concat",   "__len",  "__eq",    "__lt",
                                          "__le",       "__newindex", "__call", "__pairs", "__unm",
                                          "__index",    "__add",      "__name", NULL};

    luaL_newmetatable(L, UNTRUSTED);
    for (int i = 0; refused[i]; i++) {
        lua_pushcfunction(L, refuse);
        lua_setfield(L, -2, refused[i]);
    }
    luaL_newlib(L, validators);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "validate");
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "untrusted");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
