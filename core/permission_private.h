/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Between permission.c, which asks one set of rules (the main ones, or a narrow set: question->narrow),
 * info.c and filter.c, which it does that with, visibility.c, which asks about single qubes, and narrow.c,
 * which knows what is to become of a narrow set's answer.
 */
#ifndef QD_PERMISSION_PRIVATE_H
#define QD_PERMISSION_PRIVATE_H

#include "qd/permission.h"

/* ---- info.c ---- */

/* Pushes a read-only view of the table. */
void qd_info_push(lua_State *L, int index);

/* ---- filter.c: all of it raises ---- */

/* Whether the value is a filter: a function, or what filter_list has made of one. */
bool qd_filter_is_one(lua_State *L, int index);
/* What a filter said of one item, popped: true keeps, false and nil drop, anything else is a mistake. */
bool qd_filter_verdict(lua_State *L);
/* Replaces the array at `list` by a new one of the items that the function keeps. */
void qd_filter_items(lua_State *L, int filter, int list);
/* The same for what filter_list has made: its function sees the whole list and returns an array of those to
 * keep, each of them an item of the list. */
void qd_filter_whole(lua_State *L, int filter, int list);

/* ---- permission.c ---- */

/* As qd_permission_ask, of one set. Indexes are absolute, or 0. */
int qd_permission_ask_set(lua_State *L, struct qd_question *question, int info, int list);
/* As qd_permission_filter_event; `filters` as qd_permission_ask_set has left them. */
bool qd_permission_filter_event_set(lua_State *L, struct qd_question *question, int filters,
                                    struct qd_object *subject, const char *event, int info);
/* Runs a C function below its arguments, question and all, under a budget. On failure the question says why.
 */
int qd_permission_run(lua_State *L, struct qd_question *question, int arguments, size_t items);
/* Pushes filter number `i` (1, 3, 5, …) of an array that qd_permission_ask_set has left, and enters its hook;
 * its type. */
int qd_permission_push_filter(lua_State *L, struct qd_question *question, int filters, lua_Integer i);
/* Fills the place in, from the hook. */
void qd_permission_note_place(struct qd_question *question);
/* Replaces core.all_qubes() at the index by the array of them. */
void qd_permission_spread(lua_State *L, int list);

/* ---- visibility.c ---- */

/* What is asked when it matters whether the source may know of a qube: the filters of admin.vm.List. */
struct qd_question qd_permission_visibility_question(struct qd_generation *generation,
                                                     struct qd_object *source);
/* Whether one set lets the qube be known. */
bool qd_permission_visible_set(lua_State *L, struct qd_question *question, struct qd_object *object);

#endif
