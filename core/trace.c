/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/trace.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/clock.h"
#include "qd/run.h"

/* Room for one more in an array, whose capacity follows from its count. */
static bool grow(void **array, size_t count, size_t size)
{
    size_t space = count == 0 ? 4 : count * 2;
    void *grown;

    if (count != 0 && (count < 4 || (count & (count - 1)) != 0))
        return true;
    grown = realloc(*array, space * size);
    if (grown)
        *array = grown;
    return grown != NULL;
}

static bool has_room(struct qd_trace *trace)
{
    if (trace->used >= QD_TRACE_RULES_MAX)
        trace->incomplete = true;
    else
        trace->used++;
    return !trace->incomplete;
}

static char *copy(struct qd_trace *trace, const char *text, size_t size)
{
    char *copied = strndup(text, size);

    if (!copied)
        trace->incomplete = true;
    return copied;
}

/* The trace that this question is written down in, NULL: none. What decides whether a qube is visible is
 * written down only when it is not (qd_trace_hide). */
static struct qd_trace *trace_of(const struct qd_question *question)
{
    return question->visibility ? NULL : question->generation->trace;
}

static struct qd_trace_question *last_question(struct qd_trace *trace)
{
    return trace->question_count ? &trace->questions[trace->question_count - 1] : NULL;
}

static void add_question(struct qd_trace *trace, const struct qd_question *question)
{
    if (!has_room(trace))
        return;
    if (!grow((void **)&trace->questions, trace->question_count, sizeof(*trace->questions))) {
        trace->incomplete = true;
        return;
    }
    trace->questions[trace->question_count++] = (struct qd_trace_question){
        .method = question->method,
        .arg = question->arg.size ? copy(trace, question->arg.data, question->arg.size) : NULL};
}

void qd_trace_begin(struct qd_question *question)
{
    struct qd_trace *trace = trace_of(question);

    question->clock_ns = uv_hrtime();
    if (trace)
        add_question(trace, question);
}

void qd_trace_enter(struct qd_question *question, struct qd_hook *hook)
{
    question->hook = hook;
    if (!question->clock_ns)
        question->clock_ns = uv_hrtime();
    if (question->generation->trace && question->generation->budget)
        question->left = qd_budget_left(question->generation->budget);
}

/* Adds what the hook has cost since it was entered: to its counters, or, while a call is explained, to the
 * rule in the trace. Gives the counters that are to be kept, or NULL. */
static struct qd_hook_counters *account(struct qd_question *question, struct qd_trace_rule *rule,
                                        const struct qd_budget *budget)
{
    uint64_t now = uv_hrtime(), spent = now - question->clock_ns;

    question->clock_ns = now;
    if (rule) {
        rule->ns += spent;
        rule->instructions += (uint64_t)(question->left - qd_budget_left(budget));
    }
    if (question->generation->trace)
        return NULL;
    question->hook->counters.ns += spent;
    question->hook->counters.asked_ns = now;
    return &question->hook->counters;
}

/* The rule of this hook in the question that is asked now; most often the last. */
static struct qd_trace_rule *rule_of(struct qd_trace *trace, const struct qd_hook *hook)
{
    struct qd_trace_question *question = trace ? last_question(trace) : NULL;

    for (size_t i = question ? question->rule_count : 0; i > 0; i--) {
        if (question->rules[i - 1].hook == hook)
            return &question->rules[i - 1];
    }
    return NULL;
}

static void add_rule(struct qd_trace *trace, const struct qd_hook *hook)
{
    struct qd_trace_question *question = last_question(trace);

    if (!question || !has_room(trace))
        return;
    if (!grow((void **)&question->rules, question->rule_count, sizeof(*question->rules))) {
        trace->incomplete = true;
        return;
    }
    question->rules[question->rule_count++] = (struct qd_trace_rule){.hook = hook};
}

void qd_trace_ask(struct qd_question *question, struct qd_hook *hook)
{
    struct qd_trace *trace = trace_of(question);

    if (trace)
        add_rule(trace, hook);
    if (!question->generation->trace)
        hook->counters.calls++;
    qd_trace_enter(question, hook);
}

void qd_trace_said(struct qd_question *question, enum qd_said said)
{
    struct qd_trace_rule *rule = rule_of(trace_of(question), question->hook);

    account(question, rule, question->generation->budget);
    if (rule)
        rule->said = said;
}

void qd_trace_filtered(struct qd_question *question, size_t removed)
{
    struct qd_trace_rule *rule = rule_of(trace_of(question), question->hook);
    struct qd_hook_counters *counters = account(question, rule, question->generation->budget);

    if (counters)
        counters->filtered += removed;
}

void qd_trace_ended(struct qd_question *question, const struct qd_budget *budget)
{
    struct qd_trace *trace = trace_of(question);
    struct qd_trace_rule *rule;
    struct qd_hook_counters *counters;

    if (!question->hook)
        return; /* before the first hook: no memory */
    rule = rule_of(trace, question->hook);
    counters = account(question, rule, budget);
    if (rule) {
        rule->said = question->failed ? QD_SAID_FAILED : QD_SAID_DENY;
        if (question->reason[0] && !rule->reason)
            rule->reason = copy(trace, question->reason, strlen(question->reason));
    }
    if (!counters)
        return;
    if (question->failed)
        counters->failures++;
    else
        counters->denials++;
}

void qd_trace_item(struct qd_trace *trace, const char *text, const struct qd_hook *hook)
{
    struct qd_trace_question *question = last_question(trace);

    if (!question || !has_room(trace))
        return;
    if (!grow((void **)&question->items, question->item_count, sizeof(*question->items))) {
        trace->incomplete = true;
        return;
    }
    question->items[question->item_count++] =
        (struct qd_trace_item){.text = copy(trace, text, strlen(text)), .removed_by = hook};
}

/* How an item of a list is shown. */
static const char *item_text(lua_State *L, int index)
{
    struct qd_object *object = qd_to_object(L, index);

    if (object)
        return object->name ? object->name->data : "";
    return lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : luaL_typename(L, index);
}

void qd_trace_items(struct qd_trace *trace, lua_State *L, int list)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, list);

    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        qd_trace_item(trace, item_text(L, lua_gettop(L)), NULL);
        lua_pop(L, 1);
    }
}

/* Filters keep the order, so the two lists are compared side by side. Two references to a qube may be two
 * values. */
static bool is_same(lua_State *L, int a, int b)
{
    struct qd_object *object = qd_to_object(L, a);

    return lua_rawequal(L, a, b) || (object && object == qd_to_object(L, b));
}

void qd_trace_kept(struct qd_trace *trace, lua_State *L, const struct qd_hook *hook, int before, int after)
{
    struct qd_trace_question *question = last_question(trace);
    lua_Integer i = 1, k = 1;

    for (size_t n = 0; question && n < question->item_count; n++) {
        struct qd_trace_item *item = &question->items[n];

        if (item->removed_by)
            continue;
        lua_rawgeti(L, before, i++);
        lua_rawgeti(L, after, k);
        if (is_same(L, lua_gettop(L) - 1, lua_gettop(L)))
            k++;
        else
            item->removed_by = hook;
        lua_pop(L, 2);
    }
}

void qd_trace_hide(struct qd_trace *trace, const struct qd_object *object, const struct qd_question *question)
{
    const char *name = object->name ? object->name->data : "";

    for (size_t i = 0; i < trace->hidden_count; i++) {
        if (trace->hidden[i].qube && strcmp(trace->hidden[i].qube, name) == 0)
            return;
    }
    if (!has_room(trace))
        return;
    if (!grow((void **)&trace->hidden, trace->hidden_count, sizeof(*trace->hidden))) {
        trace->incomplete = true;
        return;
    }
    trace->hidden[trace->hidden_count++] = (struct qd_trace_hidden){
        .qube = copy(trace, name, strlen(name)),
        .by = question->hook,
        .reason = question->failed ? copy(trace, question->reason, strlen(question->reason)) : NULL};
}

void qd_trace_free(struct qd_trace *trace)
{
    for (size_t i = 0; i < trace->question_count; i++) {
        struct qd_trace_question *question = &trace->questions[i];

        for (size_t k = 0; k < question->rule_count; k++)
            free(question->rules[k].reason);
        for (size_t k = 0; k < question->item_count; k++)
            free(question->items[k].text);
        free(question->rules);
        free(question->items);
        free(question->arg);
    }
    for (size_t i = 0; i < trace->hidden_count; i++) {
        free(trace->hidden[i].qube);
        free(trace->hidden[i].reason);
    }
    free(trace->questions);
    free(trace->hidden);
    *trace = (struct qd_trace){0};
}

int64_t qd_trace_wall_s(const struct qd_generation *generation)
{
    struct qd_trace *trace = generation->trace;

    if (trace)
        trace->timed = true;
    return trace && trace->now_s ? trace->now_s : qd_clock_wall_s();
}

/* ---- as Lua tables ---- */

static void set_place(lua_State *L, const struct qd_hook *hook)
{
    if (!hook)
        return;
    qd_set_text(L, "file", hook->file);
    qd_set_integer(L, "line", hook->line);
}

static void push_rule(lua_State *L, const struct qd_trace_rule *rule)
{
    static const char *const words[] = {[QD_SAID_NOTHING] = "nothing",
                                        [QD_SAID_DENY] = "denied",
                                        [QD_SAID_FAILED] = "failed",
                                        [QD_SAID_FILTER] = "filter",
                                        [QD_SAID_FILTER_LIST] = "filter_list"};

    lua_createtable(L, 0, 8);
    set_place(L, rule->hook);
    qd_set_text(L, "event", rule->hook->pattern);
    qd_set_text(L, "said", words[rule->said]);
    qd_set_text(L, "reason", rule->reason);
    qd_set_integer(L, "instructions", (int64_t)rule->instructions);
    qd_set_integer(L, "ns", (int64_t)rule->ns);
}

static void push_item(lua_State *L, const struct qd_trace_item *item)
{
    lua_createtable(L, 0, 2);
    qd_set_text(L, "name", item->text ? item->text : "");
    if (item->removed_by) {
        lua_pushfstring(L, "%s:%d", item->removed_by->file, item->removed_by->line);
        lua_setfield(L, -2, "removed_by");
    }
}

static void push_question(lua_State *L, const struct qd_trace_question *question)
{
    lua_createtable(L, 0, 4);
    qd_set_text(L, "method", question->method->name);
    qd_set_text(L, "arg", question->arg ? question->arg : "");
    lua_createtable(L, (int)question->rule_count, 0);
    for (size_t i = 0; i < question->rule_count; i++) {
        push_rule(L, &question->rules[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "rules");
    lua_createtable(L, (int)question->item_count, 0);
    for (size_t i = 0; i < question->item_count; i++) {
        push_item(L, &question->items[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "items");
}

void qd_trace_push(lua_State *L, const struct qd_trace *trace)
{
    luaL_checkstack(L, 12, "trace");
    lua_createtable(L, 0, 3);
    lua_createtable(L, (int)trace->question_count, 0);
    for (size_t i = 0; i < trace->question_count; i++) {
        push_question(L, &trace->questions[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "questions");
    lua_createtable(L, (int)trace->hidden_count, 0);
    for (size_t i = 0; i < trace->hidden_count; i++) {
        lua_createtable(L, 0, 4);
        qd_set_text(L, "qube", trace->hidden[i].qube ? trace->hidden[i].qube : "");
        set_place(L, trace->hidden[i].by);
        qd_set_text(L, "reason", trace->hidden[i].reason);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "hidden");
    lua_pushboolean(L, trace->incomplete);
    lua_setfield(L, -2, "incomplete");
    lua_pushboolean(L, trace->timed);
    lua_setfield(L, -2, "timed");
}
