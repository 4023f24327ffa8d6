/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/decision.h"

#include <lauxlib.h>
#include <stdio.h>
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
                                   .asked_ns = asked_ns};
}

/* One line for each refusal: who, what, by which rule, in which generation. */
static void log_refusal(const struct qd_call *call, const struct qd_question *question)
{
    qd_log(question->expected ? QD_LOG_INFO : QD_LOG_WARNING,
           "denied %s+%.*s (%s -> %s) by %s: %s%s [generation %u %.12s]", call->method->name,
           (int)call->arg.size, call->arg.data, call->source->name->data, call->dest->name->data,
           question->place[0] ? question->place : "the core", question->failed ? "the rule failed: " : "",
           question->reason, call->generation->number, call->generation->digest);
}

void qd_decision_refused(struct qd_call *call, const struct qd_question *question, uint64_t asked_ns)
{
    struct qd_audit_entry entry = entry_of(call, question->failed ? "failed" : "denied", asked_ns);

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

static bool log_is_due(struct qd_hook *hook)
{
    uint64_t now_ns = uv_hrtime();

    if (hook->shadow_logged_ns && now_ns - hook->shadow_logged_ns < SHADOW_LOG_NS)
        return false;
    hook->shadow_logged_ns = now_ns;
    return true;
}

static void log_difference(const struct qd_call *call, const struct qd_question *question, size_t removed)
{
    char what[64] = "deny";

    if (removed)
        snprintf(what, sizeof(what), "remove %zu items of", removed);
    qd_log(QD_LOG_NOTICE, "shadow: %s would %s %s+%.*s (%s -> %s): %s%s", question->place, what,
           call->method->name, (int)call->arg.size, call->arg.data, call->source->name->data,
           call->dest->name->data, question->failed ? "the rule failed: " : "", question->reason);
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

/* Asks the shadow rules. Whether they differ, and then how. */
static bool ask_shadow(lua_State *L, struct qd_call *call, struct qd_question *question, int info, int list,
                       struct qd_audit_shadow *ret_shadow)
{
    int top = lua_gettop(L);
    size_t left = list ? lua_rawlen(L, list) : 0;
    int r = qd_permission_ask_set(L, question, info, list);

    *ret_shadow = (struct qd_audit_shadow){.rule = question->place, .reason = question->reason};
    if (r < 0) {
        judge_failure(question);
        ret_shadow->failed = question->failed;
    } else if (list) {
        ret_shadow->removed = left - lua_rawlen(L, -1);
        if (ret_shadow->removed && question->hook)
            snprintf(question->place, sizeof(question->place), "%.180s:%d", question->hook->file,
                     question->hook->line);
    }
    lua_settop(L, top);
    if (r == 0 && ret_shadow->removed == 0)
        return false;
    call->daemon->status.shadow_differences++;
    if (!question->hook || log_is_due(question->hook))
        log_difference(call, question, ret_shadow->removed);
    return true;
}

/* core.all_qubes() stands for a list that no filter has seen. */
static int push_list(lua_State *L, struct qd_daemon *daemon, int list)
{
    size_t count = qd_model_qube_count(daemon->model);

    if (!list || !lua_islightuserdata(L, list))
        return list;
    luaL_checkstack(L, 4, "shadow rules");
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        qd_push_object(L, qd_model_qubes(daemon->model)[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return lua_gettop(L);
}

void qd_decision_permitted(lua_State *L, struct qd_call *call, int info, int list, uint64_t asked_ns)
{
    struct qd_audit_shadow shadow;
    struct qd_question question = {.generation = call->generation,
                                   .method = call->method,
                                   .source = call->source,
                                   .dest = call->dest,
                                   .arg = call->arg,
                                   .shadow = true};
    struct qd_audit_entry entry;
    int top = lua_gettop(L);
    bool differs = false;

    if (call->method->shadow_count > 0 && !call->bypass)
        differs = ask_shadow(L, call, &question, info, push_list(L, call->daemon, list), &shadow);
    lua_settop(L, top);
    if (!qd_audit_wants(call->daemon, call->source->qid))
        return;
    entry = entry_of(call, "permitted", asked_ns);
    if (differs)
        entry.shadow = &shadow;
    qd_audit_record(call->daemon, &entry);
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
