/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Loading rules: those of acl.d, in shadow/ too, and what is wrong with them.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "load_private.h"
#include "qd/log.h"
#include "qd/run.h"

/* Runs the chunk on the stack's top as a rule file: its own environment, and a hook's budget already for its
 * top level. `until_ns` 0: that budget's own time. */
static int run_rule(struct qd_load *load, const char *shown, uint64_t until_ns)
{
    struct qd_generation *generation = load->generation;
    lua_State *L = generation->L;
    struct qd_budget budget;
    int r;

    qd_bind_rules_push_environment(L);
    lua_setupvalue(L, -2, 1);
    qd_budget_begin(generation, L, &budget, 0);
    if (until_ns)
        budget.deadline_ns = until_ns;
    r = qd_run_hook(generation, L, 0, 0);
    qd_budget_end(generation, L);
    qd_run_watch(L);
    if (r < 0)
        return qd_load_fail(load, "%s%s%s", budget.killed ? shown : "", budget.killed ? ": " : "",
                            budget.killed ? budget.killed : budget.reason);
    return 0;
}

static int load_rule(struct qd_load *load, const char *path, const char *shown)
{
    int r = qd_load_compile(load, path, shown);

    return r < 0 ? r : run_rule(load, shown, 0);
}

int qd_load_narrow_rule(struct qd_load *load, const char *shown, const char *text, size_t size,
                        uint64_t until_ns)
{
    int r = qd_load_digest(load, shown, text, size) < 0
                ? qd_load_fail(load, "%s: more than %u files", shown, QD_LOAD_FILES_MAX)
                : qd_load_compile_text(load, shown, text, size);

    return r < 0 ? r : run_rule(load, shown, until_ns);
}

char *qd_load_take_message(struct qd_load *load)
{
    char *message = load->message;

    load->message = NULL;
    return message;
}

/* Where all mistakes are wanted, one is told and the load goes on. */
static int report(struct qd_load *load, int r)
{
    const struct qd_load_options *options = load->options;

    if (r == 0 || !options->report)
        return r;
    options->report(options->report_context, true, load->message ? load->message : "no memory");
    free(load->message);
    load->message = NULL;
    return 0;
}

static int load_rule_or_report(struct qd_load *load, const char *path, const char *shown)
{
    return report(load, load_rule(load, path, shown));
}

/* What a set of files has registered from the hook `count` on is taken back. */
static void drop_hooks(struct qd_generation *generation, size_t count)
{
    while (generation->hook_count > count) {
        struct qd_hook *hook = &generation->hooks[--generation->hook_count];

        luaL_unref(generation->L, LUA_REGISTRYINDEX, hook->function);
        qd_hook_free(hook);
    }
}

/* Shadow rules change nothing, so a mistake in one keeps nothing from loading: there are none then. */
static void load_shadow(struct qd_load *load)
{
    struct qd_generation *generation = load->generation;
    size_t count = generation->hook_count;
    struct stat status;
    char path[4096];
    int r;

    snprintf(path, sizeof(path), "%s/shadow", load->options->acl_dir);
    if (stat(path, &status) < 0 && errno == ENOENT)
        return;
    generation->loading_shadow = true;
    r = qd_load_folder(load, path, "acl.d/shadow", load_rule_or_report, 0);
    generation->loading_shadow = false;
    generation->has_shadow = r == 0 && generation->hook_count > count;
    if (r == 0)
        return;
    qd_log(QD_LOG_ERROR, "the shadow rules do not load, so there are none: %s",
           load->message ? load->message : "no memory");
    drop_hooks(generation, count);
    free(load->message);
    load->message = NULL;
}

int qd_load_rules(struct qd_load *load)
{
    struct stat status;
    int r;

    if (load->options->acl_may_be_absent && stat(load->options->acl_dir, &status) < 0 && errno == ENOENT)
        return 0;
    r = qd_load_folder(load, load->options->acl_dir, "acl.d", load_rule_or_report, 0);
    if (r == 0)
        load_shadow(load);
    return r;
}

/* A rule that waits for a method is worth knowing of. */
static void tell_waiting(const struct qd_load *load, const struct qd_hook *hook)
{
    const struct qd_load_options *options = load->options;
    char message[512];

    snprintf(message, sizeof(message), "%s:%d: there is no %s yet, so this rule waits for it", hook->file,
             hook->line, hook->pattern);
    if (options->report)
        options->report(options->report_context, false, message);
    else
        qd_log(QD_LOG_NOTICE, "%s", message);
}

int qd_load_check_rules(struct qd_load *load)
{
    lua_State *L = load->generation->L;
    int r = 0;

    for (size_t i = 0; r == 0 && i < load->generation->hook_count; i++) {
        const struct qd_hook *hook = &load->generation->hooks[i];

        if (hook->matched)
            continue;
        r = qd_load_core_hook(load, "unmatched_rule", hook->pattern);
        if (r == 0 && hook->shadow && !load->options->report && !lua_isnil(L, -1))
            qd_log(QD_LOG_ERROR, "%s:%d: %s", hook->file, hook->line, lua_tostring(L, -1));
        else if (r == 0 && !lua_isnil(L, -1))
            r = qd_load_fail(load, "%s:%d: %s", hook->file, hook->line, lua_tostring(L, -1));
        else if (r == 0)
            tell_waiting(load, hook);
        r = report(load, r);
        lua_settop(L, 0);
    }
    return r;
}
