/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every entry into Lua: protected calls, resumes, and calls of hooks under a budget (law 4). No other file
 * calls lua_pcall or lua_resume.
 */
#ifndef QD_RUN_H
#define QD_RUN_H

#include "qd/daemon.h"

/* Calls the function below its `arguments` on the stack's top, as lua_pcall. On failure one value is left:
 * the error's text with a traceback, or the exception object as it was raised. Returns a status of Lua. Never
 * raises. */
int qd_run_protected(lua_State *L, int arguments, int results);

/* As lua_resume, with the time limit of scripts (QD_SCRIPT_MILLISECONDS). */
int qd_run_resume(struct qd_generation *generation, lua_State *thread, int arguments, int *ret_results);

/* Opens a budget for one question to the rules; `items` may be judged by filters. The budget is the caller's,
 * on its stack. */
void qd_budget_begin(struct qd_generation *generation, lua_State *L, struct qd_budget *budget, size_t items);
/* Instructions that may still be used, exact while a call is explained, else in steps. */
int64_t qd_budget_left(const struct qd_budget *budget);
/* Closes it. */
void qd_budget_end(struct qd_generation *generation, lua_State *L);
/* Calls a hook, protected, within the open budget. 0; -EACCES when anything went wrong: the budget's
 * `killed`, or `reason` and `denied`, say what, and nothing is left on the stack. */
int qd_run_hook(struct qd_generation *generation, lua_State *L, int arguments, int results);
/* What the string library may still spend on a pattern, and has spent (include/qd/bind_string.h). */
uint64_t qd_budget_charge(lua_State *L, uint64_t used);

/* The xpcall of rules: calls the handler after the error, not inside it. There the count hook, which a kill
 * raises in, does not run, so that a handler which loops could not be stopped. */
int qd_run_xpcall(lua_State *L);

/* core.guarded(may_wait, function, …), for hooks of sites (scripts/lib/site.lua): true, or false, the error,
 * and file:line of the innermost function of a file of ext.d. Without may_wait the function can't wait, and
 * has QD_SITE_MILLISECONDS; what it has changed before it fails is taken back. With it, it has as long
 * between two waits as any script. Its time is not counted as that of whoever called. */
int qd_run_guarded(lua_State *L);

/* The allocator of generations: counts, and refuses past the generation's or the hook's limit. */
void *qd_run_allocate(void *context, void *block, size_t old_size, size_t new_size);

/* Watches a state that loads by a count hook. Whoever loads on another thread than the loop's needs this;
 * calls are watched by the alarm. */
void qd_run_watch(lua_State *L);

/* Starts the alarm that looks after scripts that run too long (QD_SCRIPT_MILLISECONDS). Once, on the loop's
 * thread. */
int qd_run_start_alarm(void);

#endif
