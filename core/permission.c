/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/permission.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "permission_private.h"
#include "qd/bind_core.h"
#include "qd/narrow.h"
#include "qd/run.h"
#include "qd/trace.h"

/* Filters stand in an array, each followed by its hook (a light userdata), so that it is known who removed
 * what. These two write and read it. */
static void add_filter(lua_State *L, int filters, struct qd_hook *hook)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, filters);

    lua_rawseti(L, filters, count + 1);
    lua_pushlightuserdata(L, hook);
    lua_rawseti(L, filters, count + 2);
}

int qd_permission_push_filter(lua_State *L, struct qd_question *question, int filters, lua_Integer i)
{
    lua_rawgeti(L, filters, i + 1);
    qd_trace_enter(question, lua_touserdata(L, -1));
    lua_pop(L, 1);
    return lua_rawgeti(L, filters, i);
}

static void apply_filters(lua_State *L, struct qd_question *question, int filters, int list)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, filters);
    struct qd_trace *trace = question->generation->trace;

    if (trace)
        qd_trace_items(trace, L, list);
    for (lua_Integer i = 1; i <= count; i += 2) {
        int before = lua_gettop(L) + 1, filter = before + 1;

        lua_pushvalue(L, list);
        if (qd_permission_push_filter(L, question, filters, i) == LUA_TFUNCTION)
            qd_filter_items(L, filter, list);
        else
            qd_filter_whole(L, filter, list);
        if (!question->remover && lua_rawlen(L, list) < lua_rawlen(L, before))
            question->remover = question->hook;
        qd_trace_filtered(question, lua_rawlen(L, before) - lua_rawlen(L, list));
        if (trace)
            qd_trace_kept(trace, L, question->hook, before, list);
        lua_settop(L, before - 1);
    }
}

/* ---- a question, as one protected call under one budget ---- */

static enum qd_said collect_filters(lua_State *L, const struct qd_question *question, int result, int filters)
{
    enum qd_said said = QD_SAID_FILTER;

    if (lua_isnil(L, result))
        return QD_SAID_NOTHING;
    if (!question->method->filters && (qd_filter_is_one(L, result) || lua_istable(L, result)))
        luaL_error(L, "%s takes no filter", question->method->name);
    if (qd_filter_is_one(L, result)) {
        said = lua_type(L, result) == LUA_TFUNCTION ? QD_SAID_FILTER : QD_SAID_FILTER_LIST;
        lua_pushvalue(L, result);
        add_filter(L, filters, question->hook);
        return said;
    }
    if (!lua_istable(L, result) || lua_rawlen(L, result) == 0)
        luaL_error(L, "a rule returns nothing, a filter or an array of filters, not a %s",
                   luaL_typename(L, result));
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, result); i++) {
        lua_rawgeti(L, result, i);
        if (!qd_filter_is_one(L, -1))
            luaL_error(L, "a rule's array holds filters only, not a %s", luaL_typename(L, -1));
        if (lua_type(L, -1) != LUA_TFUNCTION)
            said = QD_SAID_FILTER_LIST;
        add_filter(L, filters, question->hook);
    }
    return said;
}

static size_t hook_count(const struct qd_question *question)
{
    return question->narrow   ? question->narrow->hook_count
           : question->shadow ? question->method->shadow_count
                              : question->method->hook_count;
}

/* The hook number `i` of the set that is asked; NULL: it has nothing to do with this question. */
static struct qd_hook *hook_at(const struct qd_question *question, size_t i)
{
    const size_t *hooks = question->shadow ? question->method->shadow_hooks : question->method->hooks;
    struct qd_hook *hook;

    if (question->narrow)
        return qd_narrow_hook(question->narrow, question->method, i);
    hook = &question->generation->hooks[hooks[i]];
    return (question->visibility && hook->list_only) || hook->disabled ? NULL : hook;
}

/* question, info -> array of filters. What the hooks are told, a read-only info for one, is made once for
 * all. */
static void ask_hooks(lua_State *L, struct qd_question *question, int info)
{
    int filters = lua_gettop(L) + 1, source = filters + 1;

    lua_newtable(L);
    qd_trace_begin(question);
    qd_push_object(L, question->source);
    lua_pushstring(L, question->method->event);
    qd_info_push(L, info);
    for (size_t i = 0; i < hook_count(question); i++) {
        struct qd_hook *hook = hook_at(question, i);

        if (!hook)
            continue;
        qd_trace_ask(question, hook);
        lua_rawgeti(L, LUA_REGISTRYINDEX, hook->function);
        for (int argument = source; argument < source + 3; argument++)
            lua_pushvalue(L, argument);
        lua_call(L, 3, 1);
        qd_trace_said(question, collect_filters(L, question, lua_gettop(L), filters));
        lua_settop(L, source + 2);
    }
    lua_settop(L, filters);
}

void qd_permission_spread(lua_State *L, int list)
{
    const struct qd_model *model = qd_generation_of(L)->daemon->model;
    size_t count = qd_model_qube_count(model);

    if (!lua_islightuserdata(L, list))
        return;
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        qd_push_object(L, qd_model_qubes(model)[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_replace(L, list);
}

/* (question, info or nil, list, array or nil): what qd_permission_ask describes. */
static int ask_body(lua_State *L)
{
    struct qd_question *question = lua_touserdata(L, 1);

    lua_settop(L, 3);
    lua_newtable(L);
    if (lua_istable(L, 2)) {
        for (lua_pushnil(L); lua_next(L, 2);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, 4);
        }
    }
    qd_push_object(L, question->dest);
    lua_setfield(L, 4, "dest");
    lua_pushlstring(L, question->arg.data, question->arg.size);
    lua_setfield(L, 4, "arg");
    ask_hooks(L, question, 4); /* the filters are at 5 */
    if (lua_isnil(L, 3)) {
        if (lua_rawlen(L, 5) == 0)
            lua_pushnil(L);
        return 1;
    }
    if (lua_rawlen(L, 5) == 0) {
        lua_pushvalue(L, 3);
        return 1;
    }
    qd_permission_spread(L, 3);
    apply_filters(L, question, 5, 3);
    lua_pushvalue(L, 3);
    return 1;
}

static size_t count_items(lua_State *L, int list, struct qd_daemon *daemon)
{
    if (!list)
        return 0;
    return lua_islightuserdata(L, list) ? qd_model_qube_count(daemon->model) : lua_rawlen(L, list);
}

void qd_permission_note_place(struct qd_question *question)
{
    if (question->hook)
        snprintf(question->place, sizeof(question->place), "%.180s:%d", question->hook->file,
                 question->hook->line);
}

int qd_permission_run(lua_State *L, struct qd_question *question, int arguments, size_t items)
{
    struct qd_generation *generation = question->generation;
    struct qd_budget budget;
    size_t memory = generation->memory;
    uint64_t began_ns = question->narrow ? uv_hrtime() : 0;
    int r;

    if (generation->budget) {
        /* A rule can't make another question be asked: that would be a second budget. */
        lua_pop(L, arguments + 1);
        question->failed = true;
        snprintf(question->reason, sizeof(question->reason), "a rule may not ask the rules");
        return -EACCES;
    }
    qd_budget_begin(generation, L, &budget, items);
    if (question->narrow)
        qd_narrow_begin(question->narrow, &budget);
    r = qd_run_hook(generation, L, arguments, 1);
    qd_budget_end(generation, L);
    if (question->narrow)
        qd_narrow_end(question->narrow, generation, &budget, memory, began_ns);
    if (r == 0)
        return 0;
    qd_permission_note_place(question);
    question->failed = !budget.denied;
    question->expected = budget.expected;
    question->killed = budget.killed != NULL;
    snprintf(question->reason, sizeof(question->reason), "%s", budget.killed ? budget.killed : budget.reason);
    if (budget.killed)
        question->failed = true;
    qd_trace_ended(question, &budget);
    return r;
}

int qd_permission_ask_set(lua_State *L, struct qd_question *question, int info, int list)
{
    if (hook_count(question) == 0) {
        if (list)
            lua_pushvalue(L, list);
        else
            lua_pushnil(L);
        return 0;
    }
    lua_pushcfunction(L, ask_body);
    lua_pushlightuserdata(L, question);
    if (info)
        lua_pushvalue(L, info);
    else
        lua_pushnil(L);
    if (list)
        lua_pushvalue(L, list);
    else
        lua_pushnil(L);
    return qd_permission_run(L, question, 3, count_items(L, list, question->generation->daemon));
}

int qd_permission_ask(lua_State *L, struct qd_question *question, int info, int list)
{
    struct qd_generation *generation = question->generation;
    int r;

    luaL_checkstack(L, 16, "permission");
    info = info ? lua_absindex(L, info) : 0;
    list = list ? lua_absindex(L, list) : 0;
    if (question->bypass) {
        if (list)
            lua_pushvalue(L, list);
        else
            lua_pushnil(L);
        return 0;
    }
    if (generation->lock_reason) {
        question->failed = true;
        snprintf(question->reason, sizeof(question->reason), "%s", generation->lock_reason);
        return -EACCES;
    }
    r = qd_permission_ask_set(L, question, info, list);
    return r == 0 && generation->narrow_count > 0 ? qd_narrow_ask(L, question, info, list != 0) : r;
}

/* ---- events ---- */

struct event_question {
    struct qd_question question;
    struct qd_object *subject;
    const char *event;
};

/* The subject as it may be shown, an event of the app by its class's name. */
static void trace_event(const struct event_question *event, const struct qd_hook *hook)
{
    struct qd_trace *trace = event->question.generation->trace;

    if (trace)
        qd_trace_item(trace, event->subject->name ? event->subject->name->data : "the system", hook);
}

/* (question, filters, info): whether all filters keep the event. */
static int event_body(lua_State *L)
{
    struct event_question *event = lua_touserdata(L, 1);

    lua_settop(L, 3);
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, 2); i += 2) {
        bool keep;

        if (qd_permission_push_filter(L, &event->question, 2, i) != LUA_TFUNCTION)
            return luaL_error(L, "events are filtered one by one: a filter of lists is not for them");
        qd_push_object(L, event->subject);
        lua_pushstring(L, event->event);
        if (lua_istable(L, 3))
            qd_info_push(L, 3);
        else
            lua_newtable(L);
        lua_call(L, 3, 1);
        keep = qd_filter_verdict(L);
        qd_trace_filtered(&event->question, keep ? 0 : 1);
        if (!keep) {
            trace_event(event, event->question.hook);
            lua_pushboolean(L, 0);
            return 1;
        }
    }
    trace_event(event, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

bool qd_permission_filter_event_set(lua_State *L, struct qd_question *question, int filters,
                                    struct qd_object *subject, const char *event, int info)
{
    struct event_question parameters = {*question, subject, event};
    bool keep;

    lua_pushcfunction(L, event_body);
    lua_pushlightuserdata(L, &parameters);
    lua_pushvalue(L, filters);
    if (info)
        lua_pushvalue(L, info);
    else
        lua_pushnil(L);
    if (qd_permission_run(L, &parameters.question, 3, 1) < 0)
        return false;
    keep = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return keep;
}

bool qd_permission_filter_event(lua_State *L, struct qd_generation *generation, int filters,
                                struct qd_object *subject, const char *event, int info)
{
    struct qd_question question = {.generation = generation};

    if (lua_isnil(L, filters))
        return true;
    filters = lua_absindex(L, filters);
    info = info ? lua_absindex(L, info) : 0;
    return qd_permission_filter_event_set(L, &question, filters, subject, event, info) &&
           (generation->narrow_count == 0 ||
            qd_narrow_filter_event(L, generation, filters, subject, event, info));
}
