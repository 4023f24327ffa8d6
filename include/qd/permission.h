/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Asking the rules: permission, filters, visibility (laws 1, 3, 4, 10).
 */
#ifndef QD_PERMISSION_H
#define QD_PERMISSION_H

#include "qd/daemon.h"

/* A question to the hooks of one method. */
struct qd_question {
    struct qd_generation *generation;
    const struct qd_method *method;
    struct qd_object *source;
    struct qd_object *dest;
    struct qd_slice arg;
    bool bypass;
    bool shadow;              /* the shadow rules are asked instead of the others */
    bool visibility;          /* what the source may know of: hooks for lists only are not asked */
    struct qd_narrow *narrow; /* the set that is asked; NULL: the main rules */
    /* The answer, when it was no: */
    bool failed;    /* a rule went wrong, so it is a no (law 4); otherwise a rule said deny */
    bool withheld;  /* the caller is not told the reason */
    bool permitted; /* by the rules; the core refuses it nevertheless */
    bool expected;  /* a denial that the rule said is nothing special */
    char reason[256];
    char place[192]; /* file:line of the rule */
    bool killed;     /* a budget was used up */
    /* While it is asked: */
    struct qd_hook *hook;    /* which is running, or whose filter */
    struct qd_hook *remover; /* whose filter was the first to remove something of a list */
    uint64_t clock_ns;       /* when that began */
    int64_t left;            /* instructions, then; only in a trace */
};

/* Asks all hooks. `info` is the index of a table with further fields, or 0; `list` the index of an array (or
 * core.all_qubes()) to be filtered, or 0. Pushes, when permitted: with a list, the items that pass; without
 * one, the array of filters, or nil when there are none. 0; -EACCES: nothing is pushed. May raise only for
 * lack of memory. */
int qd_permission_ask(lua_State *L, struct qd_question *question, int info, int list);

/* Whether filters (index of an array, or nil) let an event pass. Fails closed. */
bool qd_permission_filter_event(lua_State *L, struct qd_generation *generation, int filters,
                                struct qd_object *subject, const char *event, int info);

/* Whether the source may know that the object exists: itself, dom0, the app, and what the filters of
 * admin.vm.List let pass. Never raises; fails closed. */
bool qd_permission_visible(lua_State *L, struct qd_object *source, bool bypass, struct qd_object *object);
/* Whether rules decide which qubes the source may know of, be there any that it may not or none. Never
 * raises; fails closed: true when that can't be found out. */
bool qd_permission_restricted(lua_State *L, struct qd_object *source, bool bypass);
/* Whether there is any rule that could hide something. */
bool qd_permission_may_hide(const struct qd_generation *generation, bool bypass);

/* filter_list(function) of rules. */
int qd_permission_filter_list(lua_State *L);

/* Raises unless all values of the table (index) are plain: strings, numbers, booleans, none, objects, tables
 * of these; never an untrusted one (law 2). */
void qd_permission_check_info(lua_State *L, int index);

#endif
