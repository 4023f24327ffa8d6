/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Primitives on the model. Every write goes through qd_check_writer (law 3).
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/explain.h"

struct qd_daemon *qd_check_daemon(lua_State *L)
{
    struct qd_daemon *daemon = qd_generation_of(L)->daemon;

    if (!daemon)
        luaL_error(L, "while scripts load there are no objects yet");
    return daemon;
}

struct qd_call *qd_check_writer(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);
    struct qd_call *call = daemon->running;

    if (qd_generation_of(L)->budget)
        luaL_error(L, "a rule can only look: it may change nothing");
    if (!call) {
        luaL_error(L, "no call runs: nothing may be changed");
        return NULL; /* not reached */
    }
    if (call->state != QD_CALL_PERMITTED)
        luaL_error(L, "%s: no change before permission", call->method ? call->method->name : "a task");
    if (call->dry)
        qd_dry_stop(L, call, "it would change something");
    return call;
}

static int app(lua_State *L)
{
    qd_push_object(L, qd_model_app(qd_check_daemon(L)->model));
    return 1;
}

static struct qd_object *find_qube(struct qd_model *model, const char *key, size_t size)
{
    if (size == QD_UUID_SIZE - 1 + 5 && memcmp(key, "uuid:", 5) == 0)
        return qd_model_qube_by_uuid(model, key + 5);
    return qd_model_qube_by_name(model, key, size);
}

static int qube(lua_State *L)
{
    struct qd_model *model = qd_check_daemon(L)->model;
    const char *key;
    size_t size;

    if (lua_type(L, 1) == LUA_TNUMBER) {
        qd_push_object(L, qd_model_qube_by_qid(model, luaL_checkinteger(L, 1)));
        return 1;
    }
    key = luaL_checklstring(L, 1, &size);
    qd_push_object(L, find_qube(model, key, size));
    return 1;
}

static int qubes(lua_State *L)
{
    struct qd_model *model = qd_check_daemon(L)->model;
    size_t count = qd_model_qube_count(model);

    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        qd_push_object(L, qd_model_qubes(model)[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static void push_str(lua_State *L, const struct qd_str *str)
{
    if (str)
        lua_pushlstring(L, str->data, str->size);
    else
        lua_pushnil(L);
}

static int name(lua_State *L)
{
    push_str(L, qd_check_object(L, 1)->name);
    return 1;
}

static int uuid(lua_State *L)
{
    lua_pushstring(L, qd_check_object(L, 1)->uuid);
    return 1;
}

static int qid(lua_State *L)
{
    lua_pushinteger(L, qd_check_object(L, 1)->qid);
    return 1;
}

static int class_name(lua_State *L)
{
    struct qd_object *object = qd_check_object(L, 1);

    if (object->class_name)
        push_str(L, object->class_name);
    else
        lua_pushliteral(L, "Qubes");
    return 1;
}

static int power(lua_State *L)
{
    lua_pushstring(L, qd_power_name(qd_check_object(L, 1)->power));
    return 1;
}

static int domain_id(lua_State *L)
{
    lua_pushinteger(L, qd_check_object(L, 1)->domain_id);
    return 1;
}

static int removed(lua_State *L)
{
    lua_pushboolean(L, qd_check_object(L, 1)->removed);
    return 1;
}

static int is_app(lua_State *L)
{
    struct qd_object *object = qd_to_object(L, 1);

    lua_pushboolean(L, object && object->id == QD_APP_ID);
    return 1;
}

static int is_object(lua_State *L)
{
    lua_pushboolean(L, qd_to_object(L, 1) != NULL);
    return 1;
}

void qd_push_value(lua_State *L, const struct qd_value *value)
{
    switch (value->type) {
    case QD_VALUE_BOOL:
        lua_pushboolean(L, value->u.boolean);
        break;
    case QD_VALUE_INT:
        lua_pushinteger(L, value->u.integer);
        break;
    case QD_VALUE_STR:
        push_str(L, value->u.str);
        break;
    case QD_VALUE_QUBE:
        qd_push_object(L, value->u.object->removed ? NULL : value->u.object);
        break;
    default:
        lua_pushnil(L);
    }
}

static int get(lua_State *L)
{
    struct qd_model *model = qd_check_daemon(L)->model;
    struct qd_object *object = qd_check_object(L, 1);
    size_t kind_size, name_size;
    const char *kind = luaL_checklstring(L, 2, &kind_size), *attribute = luaL_checklstring(L, 3, &name_size);
    const struct qd_value *value = qd_object_get(model, object, kind, kind_size, attribute, name_size);

    lua_pushboolean(L, value != NULL);
    if (!value)
        return 1;
    qd_push_value(L, value);
    return 2;
}

static int set(lua_State *L)
{
    struct qd_call *call = qd_check_writer(L);
    struct qd_model *model = call->daemon->model;
    struct qd_object *object = qd_check_object(L, 1);
    size_t kind_size, name_size, size;
    const char *kind = luaL_checklstring(L, 2, &kind_size), *attribute = luaL_checklstring(L, 3, &name_size);
    struct qd_value value = {.type = QD_VALUE_NONE};
    const char *text;
    int r;

    luaL_argcheck(L, !object->removed, 1, "this qube was removed");
    switch (lua_type(L, 4)) {
    case LUA_TNIL:
    case LUA_TNONE:
        break;
    case LUA_TLIGHTUSERDATA:
        luaL_argcheck(L, lua_touserdata(L, 4) == QD_NONE_POINTER, 4, "not a value of attributes");
        break;
    case LUA_TBOOLEAN:
        value = (struct qd_value){.type = QD_VALUE_BOOL, .u.boolean = lua_toboolean(L, 4)};
        break;
    case LUA_TNUMBER:
        value = (struct qd_value){.type = QD_VALUE_INT, .u.integer = luaL_checkinteger(L, 4)};
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, 4, &size);
        luaL_argcheck(L, !memchr(text, '\0', size), 4, "a value has no NUL byte");
        value = (struct qd_value){.type = QD_VALUE_STR, .u.str = qd_str_new(text, size)};
        if (!value.u.str)
            return luaL_error(L, "no memory");
        break;
    default:
        value = (struct qd_value){.type = QD_VALUE_QUBE, .u.object = qd_check_qube(L, 4)};
        qd_object_ref(value.u.object);
    }
    r = qd_model_set(model, &call->journal, object, kind, kind_size, attribute, name_size, &value);
    qd_value_unref(model, &value);
    if (r < 0)
        return qd_raise(L, "QubesException", r == -ENOSPC ? "too many settings on one qube" : "no memory");
    return 0;
}

static int unset(lua_State *L)
{
    struct qd_call *call = qd_check_writer(L);
    struct qd_object *object = qd_check_object(L, 1);
    size_t kind_size, name_size;
    const char *kind = luaL_checklstring(L, 2, &kind_size), *attribute = luaL_checklstring(L, 3, &name_size);
    int r =
        qd_model_unset(call->daemon->model, &call->journal, object, kind, kind_size, attribute, name_size);

    if (r < 0 && r != -ENOENT)
        return luaL_error(L, "no memory");
    lua_pushboolean(L, r == 0);
    return 1;
}

static int names(lua_State *L)
{
    struct qd_model *model = qd_check_daemon(L)->model;
    struct qd_object *object = qd_check_object(L, 1);
    size_t size;
    const char *kind = luaL_checklstring(L, 2, &size);
    const struct qd_str *interned = qd_model_find_interned(model, kind, size);
    lua_Integer count = 0;

    lua_newtable(L);
    for (size_t i = 0; interned && i < object->attribute_count; i++) {
        if (object->attributes[i].kind != interned)
            continue;
        push_str(L, object->attributes[i].name);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* core.kinds(o): the kinds of its attributes, in the order of first setting. */
static int kinds(lua_State *L)
{
    struct qd_object *object = qd_check_object(L, 1);
    lua_Integer count = 0;

    lua_newtable(L);
    for (size_t i = 0; i < object->attribute_count; i++) {
        size_t before = 0;

        while (before < i && object->attributes[before].kind != object->attributes[i].kind)
            before++;
        if (before < i)
            continue;
        push_str(L, object->attributes[i].kind);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* A random uuid (version 4). */
static void make_uuid(char ret_uuid[static QD_UUID_SIZE])
{
    unsigned char bytes[16];
    char *out = ret_uuid;

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        abort(); /* cannot happen for so few bytes once the kernel has started */
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = "0123456789abcdef"[bytes[i] >> 4];
        *out++ = "0123456789abcdef"[bytes[i] & 15];
    }
    *out = '\0';
}

static int new_uuid(lua_State *L)
{
    char text[QD_UUID_SIZE];

    make_uuid(text);
    lua_pushstring(L, text);
    return 1;
}

static int add_qube(lua_State *L)
{
    struct qd_call *call = qd_check_writer(L);
    struct qd_model *model = call->daemon->model;
    char made[QD_UUID_SIZE];
    const char *qube_name, *qube_class, *qube_uuid = made;
    struct qd_object *added;
    int64_t number;
    int r;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "name");
    qube_name = luaL_checkstring(L, -1);
    lua_getfield(L, 1, "class");
    qube_class = luaL_checkstring(L, -1);
    number = lua_getfield(L, 1, "qid") == LUA_TNIL ? qd_model_free_qid(model) : luaL_checkinteger(L, -1);
    if (lua_getfield(L, 1, "uuid") == LUA_TNIL)
        make_uuid(made);
    else
        qube_uuid = luaL_checkstring(L, -1);
    luaL_argcheck(L, strlen(qube_uuid) == QD_UUID_SIZE - 1, 1, "a uuid has 36 characters");
    r = qd_model_add_qube(model, &call->journal, 0, number, qube_uuid, qube_name, qube_class, &added);
    if (r == -EEXIST)
        return qd_raise(L, "QubesVMAlreadyExistsError", "there is a qube with this name already: %s",
                        qube_name);
    if (r < 0)
        return qd_raise(L, "QubesException", r == -ENOSPC ? "too many qubes" : "no memory");
    qd_push_object(L, added);
    return 1;
}

static int delete_qube(lua_State *L)
{
    struct qd_call *call = qd_check_writer(L);

    if (qd_model_delete_qube(call->daemon->model, &call->journal, qd_check_qube(L, 1)) < 0)
        return luaL_error(L, "no memory");
    return 0;
}

static int set_power(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);
    struct qd_object *object = qd_check_object(L, 1);
    const char *word = luaL_checkstring(L, 2);

    if (qd_generation_of(L)->budget)
        return luaL_error(L, "a rule can only look: it may change nothing");
    if (daemon->running && daemon->running->dry)
        qd_dry_stop(L, daemon->running, "it would change a power state");
    for (int i = 0; i < QD_POWER_COUNT; i++) {
        if (strcmp(word, qd_power_name(i)) == 0) {
            bool changed = qd_model_set_power(daemon->model, object, i, luaL_optinteger(L, 3, -1));

            if (changed)
                qd_wait_power_changed(daemon, object);
            lua_pushboolean(L, changed);
            return 1;
        }
    }
    return luaL_argerror(L, 2, "not a power state");
}

static int version(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)qd_model_version(qd_check_daemon(L)->model));
    return 1;
}

static int epoch(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)qd_model_epoch(qd_check_daemon(L)->model));
    return 1;
}

static int next_epoch(lua_State *L)
{
    qd_model_next_epoch(qd_check_daemon(L)->model);
    return 0;
}

static int all_qubes(lua_State *L)
{
    lua_pushlightuserdata(L, qd_model_app(qd_check_daemon(L)->model));
    return 1;
}

void qd_bind_model_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"app", app},
        {"qube", qube},
        {"qubes", qubes},
        {"name", name},
        {"uuid", uuid},
        {"qid", qid},
        {"class", class_name},
        {"power", power},
        {"domain_id", domain_id},
        {"removed", removed},
        {"is_app", is_app},
        {"is_object", is_object},
        {"get", get},
        {"set", set},
        {"unset", unset},
        {"names", names},
        {"kinds", kinds},
        {"new_uuid", new_uuid},
        {"add_qube", add_qube},
        {"delete_qube", delete_qube},
        {"set_power", set_power},
        {"format", qd_bind_format},
        {"version", version},
        {"epoch", epoch},
        {"next_epoch", next_epoch},
        {"all_qubes", all_qubes},
        {NULL, NULL},
    };

    luaL_setfuncs(L, functions, 0);
}
