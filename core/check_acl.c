/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/check_acl.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/generation.h"
#include "qd/run.h"

struct finding {
    char *message;
    bool error;
};

struct findings {
    struct finding *list;
    size_t count;
    bool incomplete; /* no memory for one */
};

static void add(void *context, bool error, const char *message)
{
    struct findings *findings = context;
    struct finding *grown = realloc(findings->list, (findings->count + 1) * sizeof(*grown));
    char *copy = strdup(message);

    if (grown)
        findings->list = grown;
    if (!grown || !copy) {
        findings->incomplete = true;
        free(copy);
        return;
    }
    grown[findings->count++] = (struct finding){.message = copy, .error = error};
}

/* (findings) -> text: core_hooks.rule_findings(array, environment of rules). Protected. */
static int describe(lua_State *L)
{
    const struct findings *findings = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, qd_generation_of(L)->core_hooks);
    lua_getfield(L, -1, "rule_findings");
    lua_createtable(L, (int)findings->count, 0);
    for (size_t i = 0; i < findings->count; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, findings->list[i].message);
        lua_setfield(L, -2, "message");
        lua_pushboolean(L, findings->list[i].error);
        lua_setfield(L, -2, "error");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    qd_bind_rules_push_environment(L);
    lua_call(L, 2, 1);
    luaL_checktype(L, -1, LUA_TSTRING);
    return 1;
}

static int write_findings(struct qd_generation *generation, const struct findings *findings, FILE *stream,
                          char **ret_message)
{
    lua_State *L = generation->L;
    const char *text;
    int r = 0;

    lua_pushcfunction(L, describe);
    lua_pushlightuserdata(L, (void *)findings);
    if (qd_run_protected(L, 1, 1) != LUA_OK) {
        text = lua_tostring(L, -1);
        *ret_message = strdup(text ? text : "an error object");
        return -EINVAL;
    }
    text = lua_tostring(L, -1);
    if (fputs(text, stream) < 0 || fflush(stream) < 0)
        r = -errno;
    lua_pop(L, 1);
    return r;
}

int qd_check_acl(const struct qd_config *config, const char *directory, FILE *stream, char **ret_message)
{
    struct findings findings = {0};
    struct qd_load_options options = {.scripts_dir = config->scripts_dir,
                                      .acl_dir = directory,
                                      .ext_dir = config->ext_dir,
                                      .ext_may_fail = true,
                                      .report = add,
                                      .report_context = &findings};
    struct qd_generation *generation;
    bool rules;
    int r = qd_generation_load(&options, &generation, ret_message, &rules);

    if (r == 0) {
        r = findings.incomplete ? -ENOMEM : write_findings(generation, &findings, stream, ret_message);
        qd_generation_unref(generation);
    }
    for (size_t i = 0; i < findings.count; i++)
        free(findings.list[i].message);
    free(findings.list);
    return r;
}
