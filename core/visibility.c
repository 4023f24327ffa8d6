/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whether a caller may know of a qube: whether the filters of admin.vm.List keep it (law 1).
 */
#include <lauxlib.h>

#include "permission_private.h"
#include "qd/bind_core.h"
#include "qd/narrow.h"
#include "qd/trace.h"

/* An array of the qubes that the set decides on. */
static void push_known(lua_State *L, const struct qd_question *question)
{
    const struct qd_model *model = question->generation->daemon->model;
    size_t count = qd_model_qube_count(model);
    lua_Integer pushed = 0;

    lua_createtable(L, question->narrow ? 0 : (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        struct qd_object *qube = qd_model_qubes(model)[i];

        if (question->narrow && !qd_narrow_concerns(question->narrow, model, qube))
            continue;
        qd_push_object(L, qube);
        lua_rawseti(L, -2, ++pushed);
    }
}

/* (question, filters, object): whether the filters of admin.vm.List let the qube pass. */
static int visible_body(lua_State *L)
{
    struct qd_question *question = lua_touserdata(L, 1);
    struct qd_object *object = lua_touserdata(L, 3);
    lua_Integer kept;
    bool seen = true;

    lua_settop(L, 3);
    lua_newtable(L);
    qd_push_object(L, object);
    lua_rawseti(L, 4, 1);
    for (lua_Integer i = 1; seen && i <= (lua_Integer)lua_rawlen(L, 2); i += 2) {
        if (qd_permission_push_filter(L, question, 2, i) == LUA_TFUNCTION) {
            qd_filter_items(L, 5, 4);
            seen = lua_rawlen(L, 4) == 1;
        } else {
            /* A function of the whole list may compare its items, so it gets all of them. */
            push_known(L, question);
            seen = false;
            qd_filter_whole(L, 5, 6);
            kept = (lua_Integer)lua_rawlen(L, 6);
            for (lua_Integer k = 1; k <= kept && !seen; k++) {
                lua_rawgeti(L, 6, k);
                seen = qd_to_object(L, -1) == object;
                lua_pop(L, 1);
            }
        }
        qd_trace_filtered(question, seen ? 0 : 1);
        lua_settop(L, 4);
    }
    lua_pushboolean(L, seen);
    return 1;
}

struct qd_question qd_permission_visibility_question(struct qd_generation *generation,
                                                     struct qd_object *source)
{
    return (struct qd_question){.generation = generation,
                                .method = generation->list_method,
                                .source = source,
                                .dest = qd_model_qube_by_qid(generation->daemon->model, 0),
                                .arg = {"", 0},
                                .visibility = true};
}

bool qd_permission_may_hide(const struct qd_generation *generation, bool bypass)
{
    return !bypass && generation->may_hide;
}

bool qd_permission_visible_set(lua_State *L, struct qd_question *question, struct qd_object *object)
{
    struct qd_generation *generation = question->generation;
    int top = lua_gettop(L);
    bool visible;

    if (qd_permission_ask_set(L, question, 0, 0) < 0) {
        /* A rule that denies the list hides nothing; one that fails hides everything. */
        if (question->failed && generation->trace)
            qd_trace_hide(generation->trace, object, question);
        lua_settop(L, top);
        return !question->failed;
    }
    if (lua_isnil(L, -1)) {
        lua_settop(L, top);
        return true;
    }
    lua_pushcfunction(L, visible_body);
    lua_pushlightuserdata(L, question);
    lua_pushvalue(L, top + 1);
    lua_pushlightuserdata(L, object);
    visible = qd_permission_run(L, question, 3, qd_model_qube_count(generation->daemon->model)) == 0 &&
              lua_toboolean(L, -1);
    if (!visible && generation->trace)
        qd_trace_hide(generation->trace, object, question);
    lua_settop(L, top);
    return visible;
}

bool qd_permission_visible(lua_State *L, struct qd_object *source, bool bypass, struct qd_object *object)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_question question;

    if (!qd_permission_may_hide(generation, bypass) || object == source || object->qid <= 0)
        return true;
    if (!lua_checkstack(L, 12))
        return false;
    question = qd_permission_visibility_question(generation, source);
    return qd_permission_visible_set(L, &question, object) &&
           (generation->narrow_count == 0 || qd_narrow_visible(L, &question, object));
}

static bool narrowed(const struct qd_generation *generation)
{
    for (size_t i = 0; i < generation->narrow_count; i++) {
        if (generation->narrows[i].hides)
            return true;
    }
    return false;
}

bool qd_permission_restricted(lua_State *L, struct qd_object *source, bool bypass)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_question question;
    int top = lua_gettop(L);
    bool restricted;

    if (!qd_permission_may_hide(generation, bypass))
        return false;
    if (narrowed(generation) || !lua_checkstack(L, 16))
        return true;
    question = qd_permission_visibility_question(generation, source);
    if (qd_permission_ask_set(L, &question, 0, 0) == 0)
        restricted = !lua_isnil(L, -1);
    else
        restricted = question.failed; /* a denial of the list hides nothing */
    lua_settop(L, top);
    return restricted;
}
