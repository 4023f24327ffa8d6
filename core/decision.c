/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/decision.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "permission_private.h"
#include "qd/audit.h"
#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/log.h"

#define SHADOW_LOG_NS UINT64_C(60000000000) /* between two lines about one shadow rule */

static struct qd_slice text_of(const struct qd_object *object)
{
    return (struct qd_slice){object->name->data, strlen(object->name->data)};
}

/* Never a payload. */
static struct qd_audit_entry entry_of(const struct qd_call *call, const char *verdict, uint64_t asked_ns)
{
    return (struct qd_audit_entry){.generation = call->generation->number,
                                   .digest = call->generation->digest,
                                   .source = text_of(call->source),
                                   .method = {call->method->name, strlen(call->method->name)},
                                   .destination = text_of(call->dest),
                                   .argument = call->arg,
                                   .verdict = verdict,
                                   .console = call->bypass,
                                   .asked_ns = asked_ns};
}

/* One line for each refusal: who, what, by which rule, in which generation. */
static void log_refusal(const struct qd_call *call, const struct qd_question *question)
{
    const char *by = question->place[0]    ? question->place
                     : question->permitted ? "the core, though the rules permit it"
                                           : "the core";

    qd_log(question->expected ? QD_LOG_INFO : QD_LOG_WARNING,
           "denied %s+%.*s (%s -> %s) by %s: %s%s [generation %u %.12s]", call->method->name,
           (int)call->arg.size, call->arg.data, call->source->name->data, call->dest->name->data, by,
           question->failed ? "the rule failed: " : "", question->reason, call->generation->number,
           call->generation->digest);
}

void qd_decision_refused(struct qd_call *call, const struct qd_question *question, uint64_t asked_ns)
{
    const char *verdict = question->failed ? "failed" : question->permitted ? "refused" : "denied";
    struct qd_audit_entry entry = entry_of(call, verdict, asked_ns);

    call->daemon->status.denied++;
    if (question->expected)
        call->daemon->status.denied_expected++;
    log_refusal(call, question);
    if (!qd_audit_wants(call->daemon, call->source->qid))
        return;
    entry.rule = question->place;
    entry.reason = question->reason;
    entry.expected = question->expected;
    qd_audit_record(call->daemon, &entry);
}

/* ---- shadow rules ---- */

/* The entry for a difference, or one that may be used for it; NULL: it has been logged lately, or enough of
 * this rule has. */
static struct qd_shadow_told *find_told(struct qd_hook *hook, const struct qd_question *question,
                                        uint64_t now_ns)
{
    struct qd_shadow_told *free_one = NULL;

    if (!hook->told)
        hook->told = calloc(QD_SHADOW_TOLD_MAX, sizeof(*hook->told));
    for (size_t i = 0; hook->told && i < QD_SHADOW_TOLD_MAX; i++) {
        struct qd_shadow_told *told = &hook->told[i];

        if (told->ns == 0 || now_ns - told->ns >= SHADOW_LOG_NS)
            free_one = told;
        else if (told->method == question->method->number && told->source == question->source->qid)
            return NULL;
    }
    return free_one;
}

static bool log_is_due(struct qd_hook *hook, const struct qd_question *question)
{
    uint64_t now_ns = uv_hrtime();
    struct qd_shadow_told *told = find_told(hook, question, now_ns);

    if (told)
        *told = (struct qd_shadow_told){now_ns, question->method->number, question->source->qid};
    return told != NULL;
}

static void log_difference(const struct qd_call *call, const struct qd_question *question,
                           const struct qd_audit_shadow *shadow)
{
    char what[64] = "deny";

    if (shadow->removed)
        snprintf(what, sizeof(what), "remove %zu items of", shadow->removed);
    else if (question->visibility)
        snprintf(what, sizeof(what), "hide the destination of");
    qd_log(QD_LOG_NOTICE, "shadow: %s would %s %s+%.*s (%s -> %s): %s%s", question->place, what,
           question->visibility ? call->method->name : question->method->name, (int)question->arg.size,
           question->arg.data, call->source->name->data, call->dest->name->data,
           question->failed ? "the rule failed: " : "", question->reason);
}

/* A rule that uses up its budget is not asked any more: what has no effect must not cost each call that much.
 */
static void judge_failure(struct qd_question *question)
{
    if (!question->killed || !question->hook)
        return;
    question->hook->disabled = true;
    qd_log(QD_LOG_WARNING, "shadow: %s is not asked any more, until the rules are loaded anew: %s",
           question->place, question->reason);
}

/* Counts a difference and, unless the like has just been told, logs it. It is put down to the rule. */
static void tell_difference(struct qd_call *call, struct qd_question *question, struct qd_hook *rule,
                            const char *verdict, struct qd_audit_shadow *shadow)
{
    question->hook = rule;
    qd_permission_note_place(question);
    shadow->verdict = verdict;
    shadow->rule = question->place;
    shadow->reason = question->reason;
    call->daemon->status.shadow_differences++;
    if (rule && log_is_due(rule, question))
        log_difference(call, question, shadow);
}

static struct qd_question shadow_question(const struct qd_call *call, const struct qd_method *method)
{
    struct qd_question question = qd_call_question(call, method);

    question.shadow = true;
    return question;
}

/* Asks the shadow rules of the question's method. Whether they differ, and then how. */
static bool ask_shadow(lua_State *L, struct qd_call *call, struct qd_question *question, int info, int list,
                       struct qd_audit_shadow *ret_shadow)
{
    int top = lua_gettop(L);
    size_t left = list ? lua_rawlen(L, list) : 0;
    int r = qd_permission_ask_set(L, question, info, list);

    *ret_shadow = (struct qd_audit_shadow){0};
    if (r == 0 && list)
        ret_shadow->removed = left - lua_rawlen(L, -1);
    lua_settop(L, top);
    if (r < 0) {
        judge_failure(question);
        tell_difference(call, question, question->hook, question->failed ? "failed" : "denied", ret_shadow);
    } else if (ret_shadow->removed) {
        tell_difference(call, question, question->remover, "filtered", ret_shadow);
    }
    return r < 0 || ret_shadow->removed;
}

/* Whether shadow rules on admin.vm.List would hide the call's destination from its source: then the call
 * would not come as far as its own rules. */
static bool ask_hidden(lua_State *L, struct qd_call *call, struct qd_question *question,
                       struct qd_audit_shadow *ret_shadow)
{
    if (!question->method || question->method->shadow_count == 0 || call->dest == call->source ||
        call->dest->qid == 0)
        return false;
    if (qd_permission_visible_set(L, question, call->dest))
        return false;
    *ret_shadow = (struct qd_audit_shadow){0};
    judge_failure(question);
    tell_difference(call, question, question->hook, question->failed ? "failed" : "hidden", ret_shadow);
    return true;
}

void qd_decision_permitted(lua_State *L, struct qd_call *call, int info, int list, uint64_t asked_ns)
{
    struct qd_question hiding = qd_permission_visibility_question(call->generation, call->source),
                       question = shadow_question(call, call->method);
    struct qd_audit_shadow shadow;
    struct qd_audit_entry entry;
    int top = lua_gettop(L);
    bool differs = false;

    hiding.shadow = true;
    if (call->generation->has_shadow && !call->bypass) {
        luaL_checkstack(L, 16, "shadow rules");
        differs = ask_hidden(L, call, &hiding, &shadow);
        if (list && call->method->shadow_count > 0) {
            lua_pushvalue(L, list);
            list = lua_gettop(L);
            qd_permission_spread(L, list);
        }
        differs = differs ||
                  (call->method->shadow_count > 0 && ask_shadow(L, call, &question, info, list, &shadow));
        lua_settop(L, top);
    }
    if (!qd_audit_wants(call->daemon, call->source->qid))
        return;
    entry = entry_of(call, "permitted", asked_ns);
    if (differs)
        entry.shadow = &shadow;
    qd_audit_record(call->daemon, &entry);
}

void qd_decision_item(lua_State *L, struct qd_call *call, const struct qd_method *method,
                      struct qd_slice item, int info)
{
    struct qd_question question = shadow_question(call, method);
    struct qd_audit_shadow shadow;

    if (method->shadow_count == 0 || call->dry)
        return;
    question.arg = item;
    ask_shadow(L, call, &question, info, 0, &shadow);
}

void qd_decision_unknown(struct qd_daemon *daemon, const struct qd_request *request,
                         const struct qd_object *source, bool hidden)
{
    struct qd_audit_entry entry = {.generation = daemon->generation->number,
                                   .digest = daemon->generation->digest,
                                   .source = text_of(source),
                                   .method = request->method,
                                   .destination = request->dest,
                                   .argument = request->arg,
                                   .verdict = "unknown-destination",
                                   .hidden = hidden};

    if (qd_audit_wants(daemon, source->qid))
        qd_audit_record(daemon, &entry);
}
