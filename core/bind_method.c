/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The global `method` of scripts (docs/scripting.md, "Methods"): a declaration and its handler (law 9).
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/generation.h"

#define METHODS_MAX 1024

void qd_method_free(struct qd_method *method)
{
    if (!method)
        return;
    free(method->name);
    free(method->event);
    free(method->filters);
    free(method->hooks);
    free(method->shadow_hooks);
    free(method);
}

static bool begins_with(const char *name, size_t size, const char *prefix)
{
    return size >= strlen(prefix) && memcmp(name, prefix, strlen(prefix)) == 0;
}

enum qd_socket qd_method_socket(const char *name, size_t size)
{
    if (begins_with(name, size, "internal."))
        return QD_SOCKET_INTERNAL;
    if (begins_with(name, size, "qubes."))
        return QD_SOCKET_MISC;
    return begins_with(name, size, "console.") ? QD_SOCKET_CONSOLE : QD_SOCKET_ADMIN;
}

/* A field of the declaration that must be one of `words`; raises otherwise. */
static int field_word(lua_State *L, const char *field, const char *const words[])
{
    const char *value;

    lua_getfield(L, 2, field);
    value = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0) {
            lua_pop(L, 1);
            return i;
        }
    }
    return luaL_error(L, "method %s: the field '%s' must be '%s', '%s' or '%s'", lua_tostring(L, 1), field,
                      words[0], words[1], words[2]);
}

static bool field_boolean(lua_State *L, const char *field)
{
    bool value;

    if (lua_getfield(L, 2, field) != LUA_TBOOLEAN && !lua_isnil(L, -1))
        luaL_error(L, "method %s: the field '%s' must be a boolean", lua_tostring(L, 1), field);
    value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static const char *field_string(lua_State *L, const char *field, bool required)
{
    if (lua_getfield(L, 2, field) != LUA_TSTRING && (required || !lua_isnil(L, -1)))
        luaL_error(L, "method %s: the field '%s' must be a string", lua_tostring(L, 1), field);
    return lua_tostring(L, -1); /* left on the stack, so that it stays */
}

static int declare(lua_State *L)
{
    static const char *const needs[] = {"none", "required", "optional", NULL};
    static const char *const dests[] = {"any", "adminvm", "qube", NULL};
    static const char *const scopes[] = {"local", "global", "none", NULL};
    struct qd_generation *generation = qd_generation_of(L);
    const char *name = luaL_checkstring(L, 1), *filters;
    bool reads, acts;
    struct qd_method **grown, *method, declared = {0};

    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    if (!generation->loading || generation->method_count >= METHODS_MAX)
        return luaL_error(L, "methods are declared while scripts load, %d at most", METHODS_MAX);
    if (strncmp(name, "mgmt.", 5) == 0 || strlen(name) > 100 || !strchr(name, '.'))
        return luaL_error(
            L, "method %s: a name has a dot, at most 100 bytes and today's first part (admin., not mgmt.)",
            name);
    for (size_t i = 0; i < generation->method_count; i++) {
        if (strcmp(generation->methods[i]->name, name) == 0)
            return luaL_error(L, "method %s is declared twice", name);
    }
    declared.socket = qd_method_socket(name, strlen(name));
    declared.arg = (enum qd_need)field_word(L, "arg", needs);
    declared.payload = (enum qd_need)field_word(L, "payload", needs);
    declared.dest = (enum qd_dest)field_word(L, "dest", dests);
    field_word(L, "scope", scopes);
    reads = field_boolean(L, "read");
    acts = field_boolean(L, "write");
    acts = field_boolean(L, "execute") || acts; /* both are looked at */
    if (!reads && !acts)
        return luaL_error(L, "method %s: at least one of 'read', 'write', 'execute' must be true", name);
    declared.read_only = !acts;
    declared.cancellable = field_boolean(L, "cancellable");
    field_string(L, "doc", true);
    filters = field_string(L, "filters", false);
    lua_pushvalue(L, 3);
    declared.handler = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "qd.declarations");
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, name);

    /* Nothing below raises. */
    grown = realloc(generation->methods, (generation->method_count + 1) * sizeof(*grown));
    if (grown)
        generation->methods = grown;
    method = malloc(sizeof(*method));
    if (grown && method) {
        *method = declared;
        method->name = strdup(name);
        method->filters = filters ? strdup(filters) : NULL;
        if (asprintf(&method->event, "admin-permission:%s", name) < 0)
            method->event = NULL;
        generation->methods[generation->method_count++] = method;
        if (method->name && method->event && (method->filters || !filters))
            return 0;
    } else {
        free(method);
    }
    return luaL_error(L, "no memory");
}

void qd_bind_method_open(lua_State *L)
{
    lua_pushcfunction(L, declare);
    lua_setglobal(L, "method");
}

static int compare(const void *a, const void *b)
{
    return strcmp((*(struct qd_method *const *)a)->name, (*(struct qd_method *const *)b)->name);
}

static size_t *shrink(size_t *indexes, size_t count)
{
    size_t *shrunk = realloc(indexes, (count + 1) * sizeof(*indexes));

    return shrunk ? shrunk : indexes;
}

static int resolve_hooks(struct qd_generation *generation, struct qd_method *method)
{
    char names[QD_SPELLINGS][256];
    size_t spellings = qd_event_spellings(method->name, names);

    method->hooks = calloc(generation->hook_count + 1, sizeof(*method->hooks));
    method->shadow_hooks = calloc(generation->hook_count + 1, sizeof(*method->shadow_hooks));
    if (!method->hooks || !method->shadow_hooks)
        return -ENOMEM;
    for (size_t i = 0; i < generation->hook_count; i++) {
        bool matches = false;

        for (size_t k = 0; k < spellings && !matches; k++)
            matches = qd_event_matches(generation->hooks[i].pattern, names[k]);
        if (!matches)
            continue;
        generation->hooks[i].matched = true;
        if (generation->hooks[i].shadow)
            method->shadow_hooks[method->shadow_count++] = i;
        else
            method->hooks[method->hook_count++] = i;
    }
    method->hooks = shrink(method->hooks, method->hook_count);
    method->shadow_hooks = shrink(method->shadow_hooks, method->shadow_count);
    return 0;
}

static bool may_hide(const struct qd_generation *generation)
{
    const struct qd_method *method = generation->list_method;

    for (size_t i = 0; i < method->hook_count; i++) {
        if (!generation->hooks[method->hooks[i]].list_only)
            return true;
    }
    return false;
}

int qd_method_resolve(struct qd_generation *generation, char **ret_message)
{
    if (generation->method_count)
        qsort(generation->methods, generation->method_count, sizeof(*generation->methods), compare);
    for (size_t i = 0; i < generation->method_count; i++) {
        struct qd_method *method = generation->methods[i];

        method->number = i;
        if (resolve_hooks(generation, method) < 0) {
            *ret_message = strdup("no memory");
            return -ENOMEM;
        }
        if (strcmp(method->name, "admin.vm.List") == 0)
            generation->list_method = method;
    }
    if (!generation->list_method) {
        *ret_message = strdup("scripts/api declares no admin.vm.List, which decides what a caller may see");
        return -EINVAL;
    }
    generation->may_hide = may_hide(generation);
    return 0;
}
