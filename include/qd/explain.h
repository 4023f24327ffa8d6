/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Explaining a call: it is run dry, by the same dispatch, handler and rules as a real one, but without a
 * client, and stops where it would change something, begin something or wait. Its questions are written into
 * a trace (trace.h). It counts in no statistics and logs nothing. Loop's thread.
 */
#ifndef QD_EXPLAIN_H
#define QD_EXPLAIN_H

#include "qd/trace.h"

enum qd_verdict {
    QD_VERDICT_CLOSED,    /* the connection would be closed without an answer */
    QD_VERDICT_PERMITTED, /* so far as the rules are concerned */
    QD_VERDICT_DENIED,    /* a rule said deny */
    QD_VERDICT_FAILED,    /* a rule went wrong, so it is denied */
    QD_VERDICT_EXCEPTION, /* any other exception of the API */
    QD_VERDICT_UNDECIDED  /* it would wait before it asks the rules */
};

/* What becomes of the dry call. Its strings are malloc'ed. */
struct qd_dry {
    enum qd_verdict verdict;
    bool permitted;                 /* the rules had permitted it when it ended, however it did */
    const struct qd_method *method; /* NULL: it did not come so far; the generation's */
    char *class_name, *message;     /* of the exception that the caller would get */
    char *body;                     /* the answer, when the handler ran to its end */
    size_t body_size;
    char *problem;             /* of a closed connection: what the log would say */
    char reason[256];          /* of a denial or failure */
    char place[192];           /* the rule's file:line */
    const char *stopped;       /* why it did not run to its end; NULL: it did */
    struct qd_object *subject; /* whose visibility is asked too, and of an event for subscriptions, or NULL */
    const char *event;
    struct qd_trace trace;
};

/* core.explain(request[, subject, event[, time]]): the bytes of a request, as a client sends them; runs it
 * dry. Of the subject, a qube, it is found out besides whether the source may know of it, and whether a
 * subscription that the request makes would get this event of it. Grants are judged by the time, in seconds
 * since 1970; by that of now when there is none. Returns a table: `verdict`, `permitted`, `class`, `message`,
 * `body`, `problem`, `reason`, `place`, `stopped`, `payload` (none, optional or required: what the method
 * takes; nil when it did not come so far), `generation`, `digest` and what qd_trace_push describes. */
int qd_bind_explain(lua_State *L);

/* ---- for what runs in a dry call ---- */

/* Ends the dry call here, before it does what `why` says. Never returns. */
void qd_dry_stop(lua_State *L, struct qd_call *call, const char *why);
/* The rules refused it. */
void qd_dry_refused(struct qd_call *call, const struct qd_question *question);
/* It would subscribe, under filters (index of an array, or of nil): judges the event that was asked for. */
void qd_dry_subscribe(lua_State *L, struct qd_call *call, int filters);

/* ---- call.c tells the end ---- */

void qd_dry_ended(struct qd_call *call, const char *body, size_t size);
/* With an exception of the API (`known`), or an error that the log would have. */
void qd_dry_raised(struct qd_call *call, bool known, const char *class_name, const char *message);

#endif
