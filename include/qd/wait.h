/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For primitives that wait, and need not see a wait's inside: the coroutine yields, and is resumed from the
 * loop with what a function pushes. Everything that may raise comes before qd_wait_begin. Loop's thread.
 */
#ifndef QD_WAIT_H
#define QD_WAIT_H

#include "qd/daemon.h"

struct qd_wait;

/* The running call, or a Lua error when nothing may wait here. Hands what the call has changed so far to the
 * store. */
struct qd_call *qd_wait_check(lua_State *L);
/* The call waits from here on. `push` gets the result, on the coroutine, and may raise; `free_result` is
 * called at the end whether or not somebody still waited. NULL: no memory. Raises nothing. */
struct qd_wait *qd_wait_begin(struct qd_call *call, int (*push)(lua_State *L, void *result),
                              void (*free_result)(void *result));
/* What the primitive returns after qd_wait_begin. */
int qd_wait_yield(lua_State *L);
/* Instead of it, when the work could not be begun. */
void qd_wait_drop(struct qd_wait *wait);
/* The end of the work, once, never from inside the primitive itself: the call is resumed soon. Takes the
 * result over; NULL pushes nothing. The wait is no longer the caller's. */
void qd_wait_done(struct qd_wait *wait, void *result);

#endif
