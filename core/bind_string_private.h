/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Between the two files of the string library. All may raise. Thread of Lua.
 */
#ifndef QD_BIND_STRING_PRIVATE_H
#define QD_BIND_STRING_PRIVATE_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

/* Steps used, to the budget; returns what it still allows, UINT64_MAX without one. */
uint64_t qd_string_charge(lua_State *L, uint64_t used);
/* The same for bytes made or read, at the rate of QD_STRING_BYTES_PER_STEP. */
void qd_string_charge_bytes(lua_State *L, size_t size);

/* The functions of the library that match patterns: bind_string_match.c. */
int qd_string_find(lua_State *L);
int qd_string_gmatch(lua_State *L);
int qd_string_gsub(lua_State *L);
int qd_string_match(lua_State *L);

#endif
