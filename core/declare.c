/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/declare.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/generation.h"
#include "qd/validate.h"

#define STRING_MAX 200

void qd_declare_check_loading(lua_State *L, const char *what)
{
    if (!qd_generation_of(L)->loading)
        luaL_error(L, "%s is for the file itself, not for the functions in it", what);
}

void qd_declare_check_fields(lua_State *L, const char *what, const char *const names[])
{
    qd_declare_check_loading(L, what);
    if (qd_generation_of(L)->loading_shadow)
        luaL_error(L, "%s is not for shadow rules", what);
    if (!lua_istable(L, 1))
        luaL_error(L, "%s takes a table: %s { … }", what, what);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        int i = 0;

        if (!key) {
            luaL_error(L, "%s: only named fields, not a list", what);
            return;
        }
        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i])
            luaL_error(L, "%s has no field '%s'", what, key);
    }
}

const char *qd_declare_field_string(lua_State *L, const char *what, const char *name, bool required)
{
    size_t size;
    const char *text;

    luaL_checkstack(L, 4, what);
    if (lua_getfield(L, 1, name) == LUA_TNIL && !required)
        return NULL;
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "%s: '%s' has to be a string", what, name);
    text = lua_tolstring(L, -1, &size);
    if (size == 0 || size > STRING_MAX || strlen(text) != size)
        luaL_error(L, "%s: '%s' has 1 to %d bytes, and no NUL", what, name, STRING_MAX);
    return text;
}

double qd_declare_field_number(lua_State *L, const char *what, const char *name, double least, double most,
                               double otherwise, bool required)
{
    double value = otherwise;

    if (lua_getfield(L, 1, name) != LUA_TNIL || required) {
        value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
        if (!(value >= least && value <= most))
            luaL_error(L, "%s: '%s' has to be a number from %f to %f", what, name, least, most);
    }
    lua_pop(L, 1);
    return value;
}

/* Where the name, tag or class begins. */
static size_t kind_of(const char *text, enum qd_selector_kind *ret_kind)
{
    if (strcmp(text, "*") == 0)
        *ret_kind = QD_SELECT_ANY;
    else if (strncmp(text, "tag:", 4) == 0)
        *ret_kind = QD_SELECT_TAG;
    else if (strncmp(text, "type:", 5) == 0)
        *ret_kind = QD_SELECT_TYPE;
    else
        *ret_kind = QD_SELECT_NAME;
    return *ret_kind == QD_SELECT_TAG ? 4 : *ret_kind == QD_SELECT_TYPE ? 5 : 0;
}

void qd_declare_check_selector(lua_State *L, const char *what, const char *name, const char *text)
{
    enum qd_selector_kind kind;
    const unsigned char *rest = (const unsigned char *)text + kind_of(text, &kind);
    size_t size = strlen((const char *)rest);
    const char *reason = "";
    bool good = true;

    if (kind == QD_SELECT_TAG)
        good = qd_validate_tag(rest, size, &reason) == 0;
    else if (kind == QD_SELECT_TYPE)
        good = size > 0 && strspn((const char *)rest,
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == size;
    else if (kind == QD_SELECT_NAME)
        good = qd_validate_qube_name(rest, size, &reason) == 0;
    if (!good)
        luaL_error(L, "%s: '%s' is the name of a qube, tag:NAME, type:CLASS or '*', not '%s'", what, name,
                   text);
}

bool qd_method_matches(const char *pattern, const char *name)
{
    char other[128];

    if (qd_event_matches(pattern, name))
        return true;
    if (strncmp(name, "admin.", 6) != 0)
        return false;
    snprintf(other, sizeof(other), "mgmt.%s", name + 6);
    return qd_event_matches(pattern, other);
}

void qd_declare_check_method(lua_State *L, const char *what, const char *pattern)
{
    const struct qd_generation *generation = qd_generation_of(L);

    for (size_t i = 0; i < generation->method_count; i++) {
        if (qd_method_matches(pattern, generation->methods[i]->name))
            return;
    }
    luaL_error(L, "%s: there is no method '%s'", what, pattern);
}

void qd_declare_place(lua_State *L, lua_Debug *ret_place)
{
    memset(ret_place, 0, sizeof(*ret_place));
    if (lua_getstack(L, 1, ret_place))
        lua_getinfo(L, "Sl", ret_place);
}

int qd_selector_init(struct qd_selector *selector, const char *text)
{
    selector->text = strdup(text);
    selector->skip = kind_of(text, &selector->kind);
    return selector->text ? 0 : -ENOMEM;
}

void qd_selector_free(struct qd_selector *selector)
{
    free(selector->text);
}

bool qd_selector_matches(const struct qd_selector *selector, const struct qd_model *model,
                         const struct qd_object *object)
{
    const char *wanted = selector->text + selector->skip;

    switch (selector->kind) {
    case QD_SELECT_NAME:
        return object->name && strcmp(object->name->data, wanted) == 0;
    case QD_SELECT_TAG:
        return qd_object_get(model, object, "tag", 3, wanted, strlen(wanted)) != NULL;
    case QD_SELECT_TYPE:
        return object->class_name && strcmp(object->class_name->data, wanted) == 0;
    default:
        return true;
    }
}
