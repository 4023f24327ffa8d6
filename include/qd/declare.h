/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What limit{}, grant{} and narrow() of rule files have in common: the fields of their table, which is the
 * first argument, and who and what a field means. Functions named …_check… and …_field… raise a Lua error
 * that names `what`; the others raise nothing.
 */
#ifndef QD_DECLARE_H
#define QD_DECLARE_H

#include <lua.h>

#include "qd/daemon.h"

enum qd_selector_kind { QD_SELECT_ANY, QD_SELECT_NAME, QD_SELECT_TAG, QD_SELECT_TYPE };

/* Some qubes: '*', the name of one, tag:NAME or type:CLASS. */
struct qd_selector {
    enum qd_selector_kind kind;
    char *text;  /* as it was written */
    size_t skip; /* where the name, tag or class begins in it */
};

/* Raises unless argument 1 is a table that has no other fields than these (NULL ends them), and the file is
 * still loading. */
void qd_declare_check_fields(lua_State *L, const char *what, const char *const names[]);
/* A field that is a string of at most 200 bytes without a NUL, or NULL when it is absent. It is left on the
 * stack, so that it stays. */
const char *qd_declare_field_string(lua_State *L, const char *what, const char *name, bool required);
/* A field that is a number of at least `least` and at most `most`. */
double qd_declare_field_number(lua_State *L, const char *what, const char *name, double least, double most,
                               double otherwise, bool required);
/* Raises unless the text is of a selector's form. */
void qd_declare_check_selector(lua_State *L, const char *what, const char *name, const char *text);
/* Raises unless the pattern (`*`, `?`, either name of the API) matches a declared method. */
void qd_declare_check_method(lua_State *L, const char *what, const char *pattern);
/* Raises unless a rule file is being loaded. */
void qd_declare_check_loading(lua_State *L, const char *what);
/* The line of the rule file that declares; the file's name is Lua's, and stays as long as that function runs.
 */
void qd_declare_place(lua_State *L, lua_Debug *ret_place);

/* Takes a copy of a checked text. -ENOMEM. */
int qd_selector_init(struct qd_selector *selector, const char *text);
void qd_selector_free(struct qd_selector *selector);
bool qd_selector_matches(const struct qd_selector *selector, const struct qd_model *model,
                         const struct qd_object *object);

/* Whether the pattern matches the method's name (of today, admin.…) in either spelling (law 10). */
bool qd_method_matches(const char *pattern, const char *name);

#endif
