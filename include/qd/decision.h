/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is told of a decision about a call, besides the answer: a line in the log for a refusal, a line of the
 * audit, and what shadow rules would have said. Loop's thread.
 */
#ifndef QD_DECISION_H
#define QD_DECISION_H

#include "qd/permission.h"

struct qd_call;
struct qd_request;

/* The rules refused the call, after `asked_ns`; or the core did, although they permitted it, which has its
 * line. */
void qd_decision_refused(struct qd_call *call, const struct qd_question *question, uint64_t asked_ns);
/* They permitted it. `info` is as in qd_permission_ask; `list` the index of the array that their filters have
 * left, or 0. The shadow rules are asked now: for lists, of what is left. May raise only for lack of memory.
 */
void qd_decision_permitted(lua_State *L, struct qd_call *call, int info, int list, uint64_t asked_ns);
/* After that, they permitted the item as a call of another method would be: the shadow rules are asked of it.
 * May raise only for lack of memory. */
void qd_decision_item(lua_State *L, struct qd_call *call, const struct qd_method *method,
                      struct qd_slice item, int info);
/* The call's destination is none, as far as its source may know. */
void qd_decision_unknown(struct qd_daemon *daemon, const struct qd_request *request,
                         const struct qd_object *source, bool hidden);

#endif
