/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/explain.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/generation.h"
#include "qd/limit.h"

#define DRY "qd.dry"

/* ---- what the dry call meets ---- */

void qd_dry_stop(lua_State *L, struct qd_call *call, const char *why)
{
    struct qd_dry *dry = call->dry;

    dry->stopped = why;
    if (lua_isyieldable(L))
        lua_yield(L, 0); /* no pcall of the handler gets in its way */
    else
        luaL_error(L, "the explanation ends here: %s", why);
}

void qd_dry_refused(struct qd_call *call, const struct qd_question *question)
{
    struct qd_dry *dry = call->dry;

    dry->verdict = question->failed ? QD_VERDICT_FAILED : QD_VERDICT_DENIED;
    snprintf(dry->reason, sizeof(dry->reason), "%s", question->reason);
    snprintf(dry->place, sizeof(dry->place), "%s", question->place);
}

void qd_dry_subscribe(lua_State *L, struct qd_call *call, int filters)
{
    struct qd_dry *dry = call->dry;

    if (!dry->subject || !qd_permission_visible(L, call->source, call->bypass, dry->subject))
        return;
    filters = lua_absindex(L, filters);
    lua_newtable(L);
    qd_permission_filter_event(L, call->generation, filters, dry->subject, dry->event, lua_gettop(L));
    lua_pop(L, 1);
}

static bool was_refused(const struct qd_dry *dry)
{
    return dry->verdict == QD_VERDICT_DENIED || dry->verdict == QD_VERDICT_FAILED;
}

void qd_dry_ended(struct qd_call *call, const char *body, size_t size)
{
    struct qd_dry *dry = call->dry;

    dry->permitted = call->state == QD_CALL_PERMITTED;
    dry->verdict = dry->permitted ? QD_VERDICT_PERMITTED : QD_VERDICT_UNDECIDED;
    if (!body)
        return;
    dry->body = malloc(size + 1);
    if (!dry->body) {
        dry->trace.incomplete = true;
        return;
    }
    memcpy(dry->body, body, size);
    dry->body_size = size;
}

void qd_dry_raised(struct qd_call *call, bool known, const char *class_name, const char *message)
{
    struct qd_dry *dry = call->dry;

    dry->permitted = call->state == QD_CALL_PERMITTED && !was_refused(dry);
    if (!known && !call->daemon->config.debug) {
        dry->verdict = QD_VERDICT_CLOSED;
        dry->problem = strdup(message);
        return;
    }
    if (!was_refused(dry))
        dry->verdict = QD_VERDICT_EXCEPTION;
    dry->class_name = strdup(class_name);
    dry->message = strdup(message);
    if (!dry->class_name || !dry->message)
        dry->trace.incomplete = true;
}

/* ---- running it ---- */

static void run(struct qd_daemon *daemon, struct qd_generation *generation, const struct qd_request *request,
                struct qd_dry *dry)
{
    enum qd_socket socket = qd_method_socket(request->method.data, request->method.size);
    struct qd_ends ends = {0};
    struct qd_refusal refusal;
    struct qd_call *call;
    bool is_call;

    if (socket == QD_SOCKET_CONSOLE)
        socket = QD_SOCKET_ADMIN; /* the console is outside the rules: there is nothing to explain */
    is_call = qd_dispatch_check(daemon, socket, QD_ASKED_DRY, request, &ends, &refusal);
    dry->method = ends.method;
    if (!is_call) {
        dry->verdict = QD_VERDICT_EXCEPTION;
        if (refusal.limit)
            snprintf(dry->place, sizeof(dry->place), "%.180s:%d", refusal.limit->file, refusal.limit->line);
        dry->class_name = strdup(refusal.class_name);
        dry->message = strdup(refusal.message);
        return;
    }
    call = qd_call_new(daemon, generation, ends.method);
    if (!call) {
        dry->trace.incomplete = true;
        return;
    }
    call->dry = dry;
    call->source = qd_object_ref(ends.source);
    call->dest = qd_object_ref(ends.dest);
    call->arg = request->arg;
    call->payload = request->payload;
    qd_call_start(call); /* never waits, so it is over when this returns */
    if (dry->subject)
        qd_permission_visible(generation->L, ends.source, false, dry->subject); /* notes it when not */
}

static int collect(lua_State *L)
{
    struct qd_dry *dry = lua_touserdata(L, 1);

    free(dry->class_name);
    free(dry->message);
    free(dry->body);
    free(dry->problem);
    qd_trace_free(&dry->trace);
    *dry = (struct qd_dry){0};
    return 0;
}

/* A userdata, so that its strings are freed whatever is raised. */
static struct qd_dry *push_dry(lua_State *L)
{
    struct qd_dry *dry = lua_newuserdatauv(L, sizeof(*dry), 0);

    *dry = (struct qd_dry){0};
    if (luaL_newmetatable(L, DRY)) {
        lua_pushcfunction(L, collect);
        lua_setfield(L, -2, "__gc");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    return dry;
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    if (text && text[0])
        qd_set_text(L, name, text);
}

static void push_result(lua_State *L, const struct qd_generation *generation, const struct qd_dry *dry)
{
    static const char *const words[] = {
        [QD_VERDICT_CLOSED] = "closed",       [QD_VERDICT_PERMITTED] = "permitted",
        [QD_VERDICT_DENIED] = "denied",       [QD_VERDICT_FAILED] = "failed",
        [QD_VERDICT_EXCEPTION] = "exception", [QD_VERDICT_UNDECIDED] = "undecided"};

    static const char *const needs[] = {
        [QD_NEED_NONE] = "none", [QD_NEED_REQUIRED] = "required", [QD_NEED_OPTIONAL] = "optional"};

    qd_trace_push(L, &dry->trace);
    set_text(L, "payload", dry->method ? needs[dry->method->payload] : NULL);
    set_text(L, "verdict", words[dry->verdict]);
    set_text(L, "class", dry->class_name);
    set_text(L, "message", dry->message);
    set_text(L, "problem", dry->problem);
    set_text(L, "reason", dry->reason);
    set_text(L, "place", dry->place);
    set_text(L, "stopped", dry->stopped);
    set_text(L, "digest", generation->digest);
    if (dry->body) {
        lua_pushlstring(L, dry->body, dry->body_size);
        lua_setfield(L, -2, "body");
    }
    lua_pushboolean(L, dry->permitted);
    lua_setfield(L, -2, "permitted");
    lua_pushinteger(L, generation->number);
    lua_setfield(L, -2, "generation");
}

int qd_bind_explain(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_request request;
    struct qd_dry *dry;
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    struct qd_object *subject = lua_isnoneornil(L, 2) ? NULL : qd_check_object(L, 2);
    const char *event = luaL_optstring(L, 3, "");
    int64_t now_s = luaL_optinteger(L, 4, 0);
    uint64_t deadline = generation->script_deadline_ns;

    lua_settop(L, 3);
    if (generation->budget || generation->trace || !daemon->running)
        return luaL_error(L, "only a call can have another one explained");
    if (daemon->generation != generation)
        return luaL_error(L, "these scripts do not serve any more");
    dry = push_dry(L);
    dry->subject = subject;
    dry->event = event;
    dry->trace.now_s = now_s;
    if (qd_frame_parse(bytes, size, &request) == 0) {
        generation->trace = &dry->trace;
        run(daemon, generation, &request, dry);
        generation->trace = NULL;
        generation->script_deadline_ns = deadline;
    } else {
        dry->problem = strdup("these bytes are no request");
    }
    push_result(L, generation, dry);
    return 1;
}
