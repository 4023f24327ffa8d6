/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A generation: one complete, verified set of scripts and rules in a lua_State of its own (law 8).
 */
#ifndef QD_GENERATION_H
#define QD_GENERATION_H

#include "qd/daemon.h"

struct qd_load_options {
    const char *scripts_dir;
    const char *acl_dir;
    const char *ext_dir;       /* NULL: no extensions of the site */
    const char *policy_dir;    /* directories, with ':' between them; NULL: there is no qrexec policy */
    const char *coverage_file; /* NULL: not wanted; outlives the generation */
    bool acl_may_be_absent;    /* at start only */
    bool ext_may_fail;         /* likewise: one that does not load is left out, and the log has why */
    /* Set: a mistake in a rule file does not end the load, but is told, and so is what else an admin should
     * know of (not an error). The message begins with file and line where it has them. On the load's thread.
     */
    void (*report)(void *context, bool error, const char *message);
    void *report_context;
    bool policy_may_fail; /* likewise: with a broken policy nothing is listed to qubes, and the log has why */
};

/* Loads and verifies everything. Any thread; touches nothing but files and the new state. On failure
 * `ret_message` (malloc) names file and line, and `ret_rules` tells whether it was the rules that failed. */
int qd_generation_load(const struct qd_load_options *options, struct qd_generation **ret_generation,
                       char **ret_message, bool *ret_rules);

/* Scripts without rules, in which all that asks is denied: what serves when the rules did not load at start
 * (laws 4 and 5). */
int qd_generation_load_locked(const struct qd_load_options *options, const char *reason,
                              struct qd_generation **ret_generation, char **ret_message);

struct qd_generation *qd_generation_ref(struct qd_generation *generation);
/* The last reference frees the state. Loop's thread, not from inside its own Lua code. */
void qd_generation_unref(struct qd_generation *generation);

/* NULL when this socket has no such method. `mgmt.` is `admin.` (law 10). The console has all methods. */
const struct qd_method *qd_generation_method(const struct qd_generation *generation, enum qd_socket socket,
                                             const char *name, size_t size);

/* The socket on which a method of this name is served besides the console's. */
enum qd_socket qd_method_socket(const char *name, size_t size);

/* Parts of loading, each in its own file. */
/* bind_method.c: the global `method`, and after loading the methods sorted and their hooks resolved. */
void qd_bind_method_open(lua_State *L);
int qd_method_resolve(struct qd_generation *generation, char **ret_message);
void qd_method_free(struct qd_method *method);
/* bind_rules.c: an environment for one rule file, pushed; `core.on_permission` for scripts. */
void qd_bind_rules_push_environment(lua_State *L);
int qd_bind_rules_on_permission(lua_State *L);
/* Adds the function on the stack's top, which is taken, as a hook of the rule file that runs now. May raise.
 */
void qd_bind_rules_add_hook(lua_State *L, const char *pattern, bool list_only);
int qd_bind_rules_deny(lua_State *L);
void qd_hook_free(struct qd_hook *hook);
/* policy_files.c: core.policy(), the files of the qrexec policy for scripts that load. */
int qd_bind_policy(lua_State *L);

/* load.c, for those: a file becomes part of what the digest is of. Where the state's load is, in the
 * registry. */
#define QD_LOAD "qd.load"
#define QD_LOAD_FILE_MAX (1u << 20)
struct qd_load;
/* -E2BIG: too many files. */
int qd_load_digest(struct qd_load *load, const char *shown, const char *text, size_t size);
/* The same for a file of the qrexec policy. */
int qd_load_digest_policy(struct qd_load *load, const char *shown, const char *text, size_t size);
const struct qd_load_options *qd_load_options_of(const struct qd_load *load);
/* Compiles and runs the text as a rule file of the narrow set that loads; within the budget of a hook, but
 * not longer than until `until_ns` (uv_hrtime's clock). */
int qd_load_narrow_rule(struct qd_load *load, const char *shown, const char *text, size_t size,
                        uint64_t until_ns);
/* What the last error said (malloc); NULL: there was no memory for it. */
char *qd_load_take_message(struct qd_load *load);

/* Whether a pattern of event names, `*` and `?`, matches. Linear in the name for each `*`. */
bool qd_event_matches(const char *pattern, const char *name);
/* All names of a method's permission event: whichever name of the API, admin or mgmt, a rule was written for,
 * it is meant (law 10). */
#define QD_SPELLINGS 4
size_t qd_event_spellings(const char *method, char ret_names[QD_SPELLINGS][256]);

#endif
