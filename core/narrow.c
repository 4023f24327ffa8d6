/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/narrow.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "permission_private.h"
#include "qd/bind_core.h"
#include "qd/clock.h"
#include "qd/generation.h"
#include "qd/log.h"
#include "qd/trace.h"

#define STREAMS "narrow" /* the field of a stream's filters in which those of the sets are */

/* From now on, until the next reload. */
static void refuse(struct qd_narrow *narrow, const char *problem)
{
    narrow->refused = true;
    narrow->problem = strdup(problem);
}

/* ---- the share of the time ---- */

static bool has_share(struct qd_narrow *narrow)
{
    uint64_t now_ns = qd_clock_steady_ns();

    if (now_ns > narrow->earned_ns)
        narrow->saved_ns += (int64_t)((now_ns - narrow->earned_ns) / QD_NARROW_SHARE);
    if (narrow->saved_ns > QD_NARROW_SAVED_NS)
        narrow->saved_ns = QD_NARROW_SAVED_NS;
    narrow->earned_ns = now_ns;
    return narrow->saved_ns > 0;
}

void qd_narrow_begin(struct qd_narrow *narrow, struct qd_budget *budget)
{
    uint64_t until_ns = uv_hrtime() + QD_NARROW_MILLISECONDS * UINT64_C(1000000);

    (void)narrow;
    if (until_ns < budget->deadline_ns)
        budget->deadline_ns = until_ns;
    budget->memory -= QD_HOOK_MEMORY - QD_NARROW_MEMORY;
}

/* What a set's functions keep for themselves stays until the next reload, so what its questions make the
 * generation grow by is added up, and looked at when the garbage is gone. */
static void check_growth(struct qd_narrow *narrow, struct qd_generation *generation)
{
    if (narrow->grown < QD_NARROW_KEPT_BYTES / 2)
        return;
    narrow->grown = 0;
    lua_gc(generation->L, LUA_GCCOLLECT);
    if (generation->memory < generation->memory_loaded + QD_NARROW_KEPT_BYTES)
        return;
    refuse(narrow, "these rules keep too much memory");
    qd_log(QD_LOG_ERROR, "%s: the narrow rules keep too much memory: refused until the next reload",
           narrow->shown);
}

void qd_narrow_end(struct qd_narrow *narrow, struct qd_generation *generation, const struct qd_budget *budget,
                   size_t memory_before, uint64_t began_ns)
{
    narrow->saved_ns -= (int64_t)(uv_hrtime() - began_ns);
    if (budget->killed)
        narrow->saved_ns = -QD_NARROW_PENALTY_NS;
    else if (narrow->saved_ns <= 0)
        narrow->saved_ns = -QD_NARROW_PAUSE_NS;
    if (narrow->saved_ns <= 0)
        qd_log(QD_LOG_ERROR,
               "%s: the narrow rules have used up their share of the time%s%s: refused for %g s",
               narrow->shown, budget->killed ? ": " : "", budget->killed ? budget->killed : "",
               (double)-narrow->saved_ns * QD_NARROW_SHARE / 1e9);
    if (generation->memory > memory_before)
        narrow->grown += generation->memory - memory_before;
    check_growth(narrow, generation);
}

/* ---- who and what a set is about ---- */

bool qd_narrow_concerns(const struct qd_narrow *narrow, const struct qd_model *model,
                        const struct qd_object *object)
{
    return object->qid > 0 && qd_selector_matches(&narrow->tag, model, object);
}

static bool holds(const struct qd_narrow *narrow, const struct qd_model *model,
                  const struct qd_object *source)
{
    return source->qid != 0 && qd_selector_matches(&narrow->src, model, source);
}

struct qd_hook *qd_narrow_hook(const struct qd_narrow *narrow, const struct qd_method *method, size_t i)
{
    return narrow->judges[method->number * narrow->hook_count + i] ? &narrow->hooks[i] : NULL;
}

/* Whether the set has anything to say of calls of the method. */
static bool is_about(const struct qd_narrow *narrow, const struct qd_method *method)
{
    for (size_t i = 0; !narrow->refused && i < narrow->hook_count; i++) {
        if (qd_narrow_hook(narrow, method, i))
            return true;
    }
    return narrow->refused;
}

static void resolve_hooks(struct qd_narrow *narrow, const struct qd_generation *generation)
{
    narrow->judges = calloc(generation->method_count * narrow->hook_count + 1, sizeof(*narrow->judges));
    if (!narrow->judges) {
        refuse(narrow, "no memory");
        return;
    }
    for (size_t i = 0; i < generation->method_count; i++) {
        char names[QD_SPELLINGS][256];
        size_t spellings = qd_event_spellings(generation->methods[i]->name, names);

        for (size_t k = 0; k < spellings * narrow->hook_count; k++) {
            size_t hook = k / spellings;

            if (qd_event_matches(narrow->hooks[hook].pattern, names[k % spellings]))
                narrow->judges[i * narrow->hook_count + hook] = true;
        }
    }
}

void qd_narrow_resolve(struct qd_generation *generation)
{
    for (size_t i = 0; i < generation->narrow_count; i++) {
        struct qd_narrow *narrow = &generation->narrows[i];

        if (!narrow->refused)
            resolve_hooks(narrow, generation);
        narrow->hides = is_about(narrow, generation->list_method);
        generation->may_hide = generation->may_hide || narrow->hides;
        narrow->saved_ns = QD_NARROW_SAVED_NS;
        narrow->earned_ns = qd_clock_steady_ns();
    }
    generation->memory_loaded = generation->memory;
}

/* ---- asking ---- */

/* Whether a set can be asked; otherwise the question gets a refusal. */
static bool can_be_asked(struct qd_question *question)
{
    struct qd_narrow *narrow = question->narrow;

    if (!narrow->refused && has_share(narrow))
        return true;
    question->failed = true;
    if (narrow->refused)
        snprintf(question->reason, sizeof(question->reason), "%.200s",
                 narrow->problem ? narrow->problem : "no memory");
    else
        snprintf(question->reason, sizeof(question->reason), "the share of the time is used up");
    snprintf(question->place, sizeof(question->place), "%.180s", narrow->shown);
    return false;
}

/* Of one set; as qd_permission_ask_set. */
static int ask(lua_State *L, struct qd_question *question, int info, int list)
{
    return can_be_asked(question) ? qd_permission_ask_set(L, question, info, list) : -EACCES;
}

static void log_loss(const struct qd_question *question, const char *what)
{
    qd_log(QD_LOG_WARNING, "denied: %s are taken from %s of %s by %s: %s", what, question->method->name,
           question->source->name->data, question->place, question->reason);
}

/* Pushes the array of those items of the list that the set is about. */
static void push_concerned(lua_State *L, const struct qd_question *question, int list)
{
    const struct qd_model *model = question->generation->daemon->model;
    lua_Integer count = (lua_Integer)lua_rawlen(L, list), concerned = 0;

    lua_newtable(L);
    for (lua_Integer i = 1; i <= count; i++) {
        struct qd_object *object;

        lua_rawgeti(L, list, i);
        object = qd_to_object(L, -1);
        if (object && qd_narrow_concerns(question->narrow, model, object))
            lua_rawseti(L, -2, ++concerned);
        else
            lua_pop(L, 1);
    }
}

/* Replaces the list by that without those of `concerned` which are not in `kept` (arrays). */
static void take_away(lua_State *L, int list, int concerned, int kept)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, list), left = 0;
    int lost = lua_gettop(L) + 1;

    lua_newtable(L);
    for (lua_Integer i = 1; lua_rawgeti(L, concerned, i) != LUA_TNIL; i++) {
        lua_pushboolean(L, 1);
        lua_rawset(L, lost);
    }
    lua_pop(L, 1);
    for (lua_Integer i = 1; lua_rawgeti(L, kept, i) != LUA_TNIL; i++) {
        lua_pushnil(L);
        lua_rawset(L, lost);
    }
    lua_pop(L, 1);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lost) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_rawseti(L, -2, ++left);
        } else {
            lua_pop(L, 2);
        }
    }
    lua_replace(L, list);
}

/* A list of qubes: the set decides on those that it is about, and takes them all away when it fails or
 * denies. */
static void ask_of_list(lua_State *L, struct qd_question *question, int info, int list)
{
    int concerned = lua_gettop(L) + 1;

    qd_permission_spread(L, list);
    push_concerned(L, question, list);
    if (lua_rawlen(L, concerned) == 0)
        return;
    if (ask(L, question, info, concerned) < 0) {
        log_loss(question, "qubes");
        lua_newtable(L);
    }
    take_away(L, list, concerned, concerned + 1);
}

/* A stream: keeps { set, its filters, nil when it has none, or false when it failed or denied } in a field of
 * the stream's filters. */
static int ask_of_stream(lua_State *L, struct qd_question *question, int info, int filters, bool direct)
{
    int entry = lua_gettop(L) + 1;

    lua_createtable(L, 2, 0);
    lua_pushlightuserdata(L, question->narrow);
    lua_rawseti(L, entry, 1);
    if (ask(L, question, info, 0) < 0) {
        if (direct)
            return -EACCES;
        log_loss(question, "events");
        lua_pushboolean(L, 0);
    } else if (lua_isnil(L, -1)) {
        return 0;
    }
    lua_rawseti(L, entry, 2);
    if (lua_isnil(L, filters)) {
        lua_newtable(L);
        lua_replace(L, filters);
    }
    luaL_getsubtable(L, filters, STREAMS);
    lua_pushvalue(L, entry);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    return 0;
}

/* One set, whose question this is, about the answer at `result`. */
static int ask_one(lua_State *L, struct qd_question *question, int info, int result, bool with_list)
{
    const char *filters = question->method->filters;
    bool direct = qd_narrow_concerns(question->narrow, question->generation->daemon->model, question->dest);

    if (!is_about(question->narrow, question->method))
        return 0;
    if (filters && !with_list)
        return ask_of_stream(L, question, info, result, direct);
    if (direct) {
        if (ask(L, question, info, with_list ? result : 0) < 0)
            return -EACCES;
        if (with_list)
            lua_replace(L, result);
    } else if (with_list && filters && strcmp(filters, "qubes") == 0) {
        ask_of_list(L, question, info, result);
    }
    return 0;
}

int qd_narrow_ask(lua_State *L, struct qd_question *question, int info, bool with_list)
{
    struct qd_generation *generation = question->generation;
    int result = lua_gettop(L);

    for (size_t i = 0; i < generation->narrow_count; i++) {
        struct qd_question asked = *question;

        asked.narrow = &generation->narrows[i];
        asked.hook = NULL;
        if (!holds(asked.narrow, generation->daemon->model, question->source))
            continue;
        if (ask_one(L, &asked, info, result, with_list) < 0) {
            *question = asked;
            /* Whoever writes such rules may look at every qube: his words could tell the caller of a hidden
             * one. */
            question->withheld = true;
            question->narrow = NULL;
            lua_settop(L, result - 1);
            return -EACCES;
        }
        lua_settop(L, result);
    }
    return 0;
}

bool qd_narrow_visible(lua_State *L, const struct qd_question *question, struct qd_object *object)
{
    struct qd_generation *generation = question->generation;
    const struct qd_model *model = generation->daemon->model;

    for (size_t i = 0; i < generation->narrow_count; i++) {
        struct qd_question asked = *question;

        asked.narrow = &generation->narrows[i];
        asked.hook = NULL;
        if (!asked.narrow->hides || !holds(asked.narrow, model, question->source) ||
            !qd_narrow_concerns(asked.narrow, model, object))
            continue;
        if (!can_be_asked(&asked)) {
            if (generation->trace)
                qd_trace_hide(generation->trace, object, &asked);
            return false;
        }
        if (!qd_permission_visible_set(L, &asked, object))
            return false;
    }
    return true;
}

/* Whether the event tells of a qube that the set is about: its subject, or, of the app, the one that it
 * names. */
static bool is_told_of(lua_State *L, const struct qd_narrow *narrow, const struct qd_model *model,
                       const struct qd_object *subject, int info)
{
    const struct qd_object *about = NULL;
    bool told = qd_narrow_concerns(narrow, model, subject);

    if (!told && info) {
        lua_pushliteral(L, "vm");
        about = lua_rawget(L, info) == LUA_TUSERDATA ? qd_to_object(L, -1) : NULL;
        told = about && qd_narrow_concerns(narrow, model, about);
        lua_pop(L, 1);
    }
    return told;
}

bool qd_narrow_filter_event(lua_State *L, struct qd_generation *generation, int filters,
                            struct qd_object *subject, const char *event, int info)
{
    int top = lua_gettop(L), streams = top + 1, entry = top + 2;
    bool passes = true;

    lua_pushliteral(L, STREAMS);
    if (lua_rawget(L, filters) != LUA_TTABLE) {
        lua_settop(L, top);
        return true;
    }
    for (lua_Integer i = 1; passes && lua_rawgeti(L, streams, i) == LUA_TTABLE; i++) {
        struct qd_question question = {.generation = generation};

        lua_rawgeti(L, entry, 1);
        question.narrow = lua_touserdata(L, -1);
        if (is_told_of(L, question.narrow, generation->daemon->model, subject, info))
            passes = lua_rawgeti(L, entry, 2) == LUA_TTABLE && can_be_asked(&question) &&
                     qd_permission_filter_event_set(L, &question, lua_gettop(L), subject, event, info);
        lua_settop(L, streams);
    }
    lua_settop(L, top);
    return passes;
}
