/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * --acl-coverage: which lines of rule files have run, for tests of rules. Each generation notes its own, on
 * the thread that it belongs to at the time, and appends them to the file when it is freed. Nothing raises.
 */
#ifndef QD_COVERAGE_H
#define QD_COVERAGE_H

#include <lua.h>

struct qd_coverage;

/* `path` has to outlive it. NULL: no memory. */
struct qd_coverage *qd_coverage_new(const char *path);
/* A line event of a hook: notes the line if it is one of acl.d. */
void qd_coverage_note(struct qd_coverage *coverage, lua_State *L, lua_Debug *activation);
/* Appends "FILE:LINE" for each line that has run, and frees it. NULL is fine. */
void qd_coverage_free(struct qd_coverage *coverage);

#endif
