/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What each rule cost and said. Two readers: the counters of every hook, which are always kept, and a trace
 * of all questions that one explained call asks (explain.h). permission.c tells both through the functions of
 * the first part. Loop's thread; nothing here raises but qd_trace_push.
 */
#ifndef QD_TRACE_H
#define QD_TRACE_H

#include "qd/permission.h"

enum qd_said { QD_SAID_NOTHING, QD_SAID_DENY, QD_SAID_FAILED, QD_SAID_FILTER, QD_SAID_FILTER_LIST };

/* ---- told by permission.c ---- */

/* A question begins: it is asked for the first hook after this. */
void qd_trace_begin(struct qd_question *question);
/* This hook is asked now. */
void qd_trace_ask(struct qd_question *question, struct qd_hook *hook);
/* A filter of this hook runs now. */
void qd_trace_enter(struct qd_question *question, struct qd_hook *hook);
/* The hook that was asked has returned. */
void qd_trace_said(struct qd_question *question, enum qd_said said);
/* A filter of the hook `question->hook` has run, and let `removed` items not pass. */
void qd_trace_filtered(struct qd_question *question, size_t removed);
/* The question ended by an error in `question->hook`: a denial, or a failure. Its reason is filled in. */
void qd_trace_ended(struct qd_question *question, const struct qd_budget *budget);

/* ---- the trace of an explained call ---- */

#define QD_TRACE_RULES_MAX 100000 /* of all questions together; likewise items and hidden qubes */

struct qd_trace_rule {
    const struct qd_hook *hook;
    enum qd_said said;
    char *reason; /* malloc; NULL: none */
    uint64_t instructions, ns;
};

struct qd_trace_item {
    char *text;
    const struct qd_hook *removed_by; /* NULL: kept */
};

/* One question to the rules of a method. */
struct qd_trace_question {
    const struct qd_method *method;
    char *arg;
    struct qd_trace_rule *rules;
    size_t rule_count;
    struct qd_trace_item *items;
    size_t item_count;
};

/* A qube that the source may not know of, though the call came across it. */
struct qd_trace_hidden {
    char *qube;
    const struct qd_hook *by; /* NULL: the core, since the rules did not load */
    char *reason;             /* of a rule that failed; NULL: a filter removed it */
};

/* Zeroed at the beginning, but for the moment. Its hooks and methods are the generation's. */
struct qd_trace {
    struct qd_trace_question *questions;
    size_t question_count;
    struct qd_trace_hidden *hidden;
    size_t hidden_count;
    size_t used;     /* of QD_TRACE_RULES_MAX */
    bool incomplete; /* there was more, or no memory for it */
    int64_t now_s;   /* the moment, in seconds since 1970, that grants are judged by; 0: now */
    bool timed;      /* a grant was judged by it */
};

/* The items at `list` (index of an array), before any filter. */
void qd_trace_items(struct qd_trace *trace, lua_State *L, int list);
/* The hook made `after` (index of an array) of what was left. */
void qd_trace_kept(struct qd_trace *trace, lua_State *L, const struct qd_hook *hook, int before, int after);
/* One item that was judged by itself; `hook` is who removed it, or NULL. */
void qd_trace_item(struct qd_trace *trace, const char *text, const struct qd_hook *hook);
/* A question about visibility said no. */
void qd_trace_hide(struct qd_trace *trace, const struct qd_object *object,
                   const struct qd_question *question);

/* The wall clock for what is judged by it: that of the trace when a call is explained. Seconds since 1970. */
int64_t qd_trace_wall_s(const struct qd_generation *generation);

/* Pushes a table: `questions`, an array of { method, arg, rules = array of { file, line, event, said, reason,
 * instructions, ns }, items = array of { name, removed_by } }; `hidden`, an array of { qube, file, line,
 * reason }; `incomplete`; `timed`. May raise. */
void qd_trace_push(lua_State *L, const struct qd_trace *trace);
void qd_trace_free(struct qd_trace *trace);

#endif
