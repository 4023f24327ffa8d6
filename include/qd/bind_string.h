/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The `string` library of all scripts and rules: that of Lua 5.4, but bounded (law 4). Patterns are matched
 * by qd/pattern.h within a number of steps, and no function makes a string beyond QD_STRING_SIZE_MAX out of
 * small ones. There is no dump, pack, unpack or packsize.
 *
 * All functions of this header belong to the thread that runs Lua.
 */
#ifndef QD_BIND_STRING_H
#define QD_BIND_STRING_H

#include <lua.h>
#include <stdint.h>

#define QD_STRING_SIZE_MAX (16u << 20) /* bytes of what rep, format and gsub make */
#define QD_STRING_BYTES_PER_STEP 16    /* for the budget, of bytes searched plainly or made */

/*
 * Pushes a new table with the library, and makes it what methods of strings (`s:find()`) are looked up in;
 * getmetatable of a string gives false from then on. A copy of the table is fine where each set of scripts
 * must have its own, but the methods of strings stay with this one, so never hand it itself to a rule that
 * could write to it. May raise (memory).
 */
void qd_bind_string_open(lua_State *L);

/*
 * Charges the steps that the library takes. It is called before the first match of a call with `used` 0,
 * after each match, and for the bytes that rep, format and gsub make and a plain find reads. It returns how
 * many steps the next match may take: UINT64_MAX for the default, QD_PATTERN_STEPS for the whole call.
 * Any other number is a limit of the caller's own, also a higher one; 0 fails the call. When a match runs out
 * of such a limit, `used` is all of it; the callback should then make sure that a pcall around the failed
 * call changes nothing. May raise.
 */
typedef uint64_t (*qd_pattern_budget_fn)(lua_State *L, uint64_t used);

/* One for the process; NULL: no budget but the default. Set it before scripts run. Never raises. */
void qd_bind_string_set_budget(qd_pattern_budget_fn budget);

#endif
