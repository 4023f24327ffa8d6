/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Between permission.c, which asks one set of rules (the main ones, or a narrow set: question->narrow), and
 * narrow.c, which knows what is to become of a narrow set's answer.
 */
#ifndef QD_PERMISSION_PRIVATE_H
#define QD_PERMISSION_PRIVATE_H

#include "qd/permission.h"

/* As qd_permission_ask, of one set. Indexes are absolute, or 0. */
int qd_permission_ask_set(lua_State *L, struct qd_question *question, int info, int list);
/* As qd_permission_filter_event; `filters` as qd_permission_ask_set has left them. */
bool qd_permission_filter_event_set(lua_State *L, struct qd_question *question, int filters,
                                    struct qd_object *subject, const char *event, int info);
/* Whether one set lets the qube be known. */
bool qd_permission_visible_set(lua_State *L, struct qd_question *question, struct qd_object *object);
/* Replaces core.all_qubes() at the index by the array of them. */
void qd_permission_spread(lua_State *L, int list);

#endif
