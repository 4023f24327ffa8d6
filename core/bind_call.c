/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The `call` of a method's handler (docs/scripting.md, "Methods").
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/connection.h"
#include "qd/decision.h"
#include "qd/explain.h"
#include "qd/generation.h"
#include "qd/log.h"
#include "qd/permission.h"

#define CALL "qd.call"

/* The first argument, which must be a call. */
static struct qd_call_handle *check_handle(lua_State *L)
{
    struct qd_call_handle *handle = lua_touserdata(L, 1);
    const void *type = NULL;

    if (handle && lua_getmetatable(L, 1)) {
        type = lua_topointer(L, -1);
        lua_pop(L, 1);
    }
    if (type != qd_generation_of(L)->call_type)
        luaL_typeerror(L, 1, "call");
    return handle;
}

static struct qd_call *check_call(lua_State *L)
{
    struct qd_call_handle *handle = check_handle(L);

    if (!handle->call)
        luaL_error(L, "this call has ended");
    if (qd_generation_of(L)->budget)
        luaL_error(L, "a rule can't act for a call");
    return handle->call;
}

void qd_push_call(lua_State *L, struct qd_call *call)
{
    struct qd_call_handle *handle = lua_newuserdatauv(L, sizeof(*handle), 0);

    handle->call = NULL;
    luaL_setmetatable(L, CALL);
    handle->call = call;
    call->handle = handle;
}

int qd_refuse_call(lua_State *L, struct qd_call *call, const struct qd_question *question, uint64_t asked_ns)
{
    if (call->dry)
        qd_dry_refused(call, question);
    else
        qd_decision_refused(call, question, asked_ns);
    return qd_raise(L, "PermissionDenied", "%s",
                    question->failed || question->withheld || !question->reason[0]
                        ? "the rules do not permit this call"
                        : question->reason);
}

/* Asks; what qd_permission_ask pushes is left. */
static struct qd_call *ask(lua_State *L, int info, int list)
{
    struct qd_call *call = check_call(L);
    struct qd_question question = qd_call_question(call, call->method);
    uint64_t begin_ns = call->daemon->audit ? uv_hrtime() : 0, asked_ns;
    int r;

    /* A stream that goes on for long asks again from time to time. */
    if (call->denied || (call->state != QD_CALL_CHECKED && !call->method->cancellable))
        luaL_error(L, "%s asked for permission twice", call->method->name);
    if (!lua_isnoneornil(L, info)) {
        luaL_checktype(L, info, LUA_TTABLE);
        qd_permission_check_info(L, info);
    } else {
        info = 0;
    }
    r = qd_permission_ask(L, &question, info, list);
    asked_ns = call->daemon->audit ? uv_hrtime() - begin_ns : 0;
    if (r < 0) {
        call->denied = true; /* and stays it, should the method catch the error */
        qd_refuse_call(L, call, &question, asked_ns);
    }
    if (!call->dry && call->state == QD_CALL_CHECKED)
        qd_decision_permitted(L, call, info, list ? lua_gettop(L) : 0, asked_ns);
    call->state = QD_CALL_PERMITTED;
    return call;
}

/* What a method does with its permission isn't tried when it is only explained, unless it reads. */
static void begin_acting(lua_State *L, struct qd_call *call)
{
    if (!call->dry || call->method->read_only)
        return;
    if (qd_permission_restricted(L, call->source, call->bypass))
        qd_dry_stop(
            L, call,
            "what the method itself might refuse is not tried; to the source rules show only some of the "
            "qubes, and what could tell it of others is refused");
    qd_dry_stop(L, call, "what the method itself might refuse is not tried");
}

/* call:permission{ … } */
static int permission(lua_State *L)
{
    struct qd_call *call;

    lua_settop(L, 2);
    call = ask(L, 2, 0);
    if (!lua_isnil(L, -1))
        return luaL_error(L, "%s is declared with filters, but asks without a list", call->method->name);
    begin_acting(L, call);
    return 0;
}

/* call:filter(list, { … }) */
static int filter(lua_State *L)
{
    lua_settop(L, 3);
    if (!lua_istable(L, 2) && !lua_islightuserdata(L, 2))
        return luaL_typeerror(L, 2, "array or core.all_qubes()");
    if (!check_call(L)->method->filters)
        return luaL_error(L, "%s is not declared with filters", check_call(L)->method->name);
    begin_acting(L, ask(L, 3, 2));
    return 1;
}

/* call:filter_as(method, list[, { … }]): each item as a call of that method with the item as its argument. */
static int filter_as(lua_State *L)
{
    struct qd_call *call = check_call(L);
    size_t size;
    const char *name = luaL_checklstring(L, 2, &size);
    const struct qd_method *method = qd_generation_method(call->generation, QD_SOCKET_CONSOLE, name, size);
    lua_Integer count, kept = 0;

    luaL_checktype(L, 3, LUA_TTABLE);
    if (!method)
        return luaL_error(L, "there is no method %s", name);
    if (call->state != QD_CALL_PERMITTED)
        return luaL_error(L, "%s: filter_as comes after permission", call->method->name);
    lua_settop(L, 4);
    if (call->bypass || (method->hook_count == 0 && method->shadow_count == 0 &&
                         call->generation->narrow_count == 0 && !call->generation->lock_reason)) {
        lua_settop(L, 3);
        return 1;
    }
    count = (lua_Integer)lua_rawlen(L, 3);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        struct qd_question question = qd_call_question(call, method);

        lua_rawgeti(L, 3, i);
        question.arg.data = luaL_checklstring(L, -1, &question.arg.size);
        if (qd_permission_ask(L, &question, lua_istable(L, 4) ? 4 : 0, 0) == 0) {
            lua_pop(L, 1);
            qd_decision_item(L, call, method, question.arg, lua_istable(L, 4) ? 4 : 0);
            lua_rawseti(L, 5, ++kept);
        } else if (question.failed) {
            return qd_refuse_call(L, call, &question, 0);
        } else {
            lua_pop(L, 1);
        }
    }
    return 1;
}

static int enforce(lua_State *L)
{
    check_call(L);
    if (lua_toboolean(L, 2))
        return 0;
    return qd_raise(L, "ProtocolError", "%s", luaL_optstring(L, 3, "malformed request"));
}

/* call:visible(qube) */
static int visible(lua_State *L)
{
    struct qd_call *call = check_call(L);
    struct qd_object *object = qd_to_object(L, 2);

    lua_pushboolean(L, object && !object->removed &&
                           qd_permission_visible(L, call->source, call->bypass, object));
    return 1;
}

/* call:may_hide(): whether any rule could hide a qube from this caller; when not, checks of what it may see
 * can be left out. */
static int may_hide(lua_State *L)
{
    struct qd_call *call = check_call(L);

    lua_pushboolean(L, qd_permission_may_hide(call->generation, call->bypass));
    return 1;
}

/* call:qube(name) */
static int qube(lua_State *L)
{
    struct qd_call *call = check_call(L);
    struct qd_model *model = call->daemon->model;
    size_t size;
    const char *name = luaL_checklstring(L, 2, &size);
    struct qd_object *found = size > 5 && memcmp(name, "uuid:", 5) == 0
                                  ? qd_model_qube_by_uuid(model, name + 5)
                                  : qd_model_qube_by_name(model, name, size);

    if (found && !qd_permission_visible(L, call->source, call->bypass, found))
        found = NULL;
    qd_push_object(L, found);
    return 1;
}

static int send_frame(lua_State *L, struct qd_call *call, struct qd_object *subject, const char *event,
                      int info)
{
    size_t size;
    const char *frame;

    qd_event_push_frame(L, subject, event, info, call->source, call->bypass);
    frame = lua_tolstring(L, -1, &size);
    if (!call->connection)
        return 0;
    if (qd_connection_queued(call->connection) + size > QD_EVENTS_QUEUED_MAX)
        return luaL_error(L, "the client does not read its events");
    call->streaming = true;
    qd_connection_stream(call->connection, frame, size);
    return 0;
}

/* call:send_event(subject, event, info) */
static int send_event(lua_State *L)
{
    struct qd_call *call = check_call(L);
    struct qd_object *subject = qd_check_object(L, 2);
    const char *event = luaL_checkstring(L, 3);

    lua_settop(L, 4);
    if (call->state != QD_CALL_PERMITTED)
        return luaL_error(L, "%s: no answer before permission", call->method->name);
    if (!qd_permission_visible(L, call->source, call->bypass, subject))
        return 0;
    return send_frame(L, call, subject, event, lua_istable(L, 4) ? 4 : 0);
}

/* Takes what the stream was asked under before, or makes a new one. Nothing here raises. */
static struct qd_subscriber *take_subscriber(struct qd_call *call)
{
    struct qd_subscriber *subscriber = call->connection->subscriber;
    struct qd_daemon *daemon = call->daemon;

    if (subscriber) {
        if (subscriber->filters != LUA_NOREF)
            luaL_unref(subscriber->generation->L, LUA_REGISTRYINDEX, subscriber->filters);
        qd_generation_unref(subscriber->generation);
    } else {
        subscriber = calloc(1, sizeof(*subscriber));
        if (!subscriber)
            return NULL;
        subscriber->id = ++daemon->next_subscriber;
        subscriber->connection = call->connection;
        subscriber->source = qd_object_ref(call->source);
        subscriber->dest = qd_object_ref(call->dest);
        subscriber->bypass = call->bypass;
        subscriber->next = daemon->subscribers;
        daemon->subscribers = subscriber;
        call->connection->subscriber = subscriber;
    }
    subscriber->generation = qd_generation_ref(call->generation);
    subscriber->method = call->method;
    subscriber->filters = LUA_NOREF;
    return subscriber;
}

/* call:subscribe{ … } */
static int subscribe(lua_State *L)
{
    struct qd_subscriber *subscriber;
    struct qd_call *call;
    int filters = LUA_NOREF;

    lua_settop(L, 2);
    call = ask(L, 2, 0);
    if (call->dry)
        qd_dry_subscribe(L, call, -1);
    if (!call->connection)
        return 0;
    if (!lua_isnil(L, -1))
        filters = luaL_ref(L, LUA_REGISTRYINDEX);
    subscriber = take_subscriber(call);
    if (!subscriber) {
        luaL_unref(L, LUA_REGISTRYINDEX, filters);
        return luaL_error(L, "no memory");
    }
    subscriber->filters = filters;
    return 0;
}

/* call:is_resumed(): the stream was there already, and is only asked for again after a reload. */
static int is_resumed(lua_State *L)
{
    lua_pushboolean(L, check_call(L)->resubscribing);
    return 1;
}

static int get_field(lua_State *L)
{
    struct qd_call_handle *handle = check_handle(L);
    struct qd_call *call = handle->call;
    const char *key;

    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (!call)
        return luaL_error(L, "this call has ended");
    if (strcmp(key, "dest") == 0)
        qd_push_object(L, call->dest);
    else if (strcmp(key, "arg") == 0)
        lua_pushlstring(L, call->arg.data, call->arg.size);
    else if (strcmp(key, "src") == 0)
        qd_push_object(L, call->source);
    else if (strcmp(key, "app") == 0)
        qd_push_object(L, qd_model_app(call->daemon->model));
    else if (strcmp(key, "method") == 0)
        lua_pushstring(L, call->method->name);
    else
        return luaL_error(L, "a call has no '%s'", key);
    return 1;
}

static int set_field(lua_State *L)
{
    return luaL_error(L, "a call is read-only");
}

void qd_bind_call_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"permission", permission},
        {"filter", filter},
        {"filter_as", filter_as},
        {"enforce", enforce},
        {"visible", visible},
        {"qube", qube},
        {"subscribe", subscribe},
        {"send_event", send_event},
        {"is_resumed", is_resumed},
        {"may_hide", may_hide},
        {NULL, NULL},
    };

    luaL_newmetatable(L, CALL);
    qd_generation_of(L)->call_type = lua_topointer(L, -1);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, get_field, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, set_field);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
