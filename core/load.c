/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Loading a generation: files to a verified state, or one error that names file and line. Runs on any thread.
 */
#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "qd/bind_core.h"
#include "qd/bind_string.h"
#include "qd/coverage.h"
#include "qd/generation.h"
#include "qd/log.h"
#include "qd/narrow.h"
#include "qd/run.h"

#define FILES_MAX 4096
#define DEPTH_MAX 4
#define GC_PAUSE                                                                                             \
    600 /* percent: nearly everything a call makes dies with it, so a collection can wait until the state    \
           has grown sixfold */

/* What a load carries along; the state finds it in the registry. */
struct qd_load {
    const struct qd_load_options *options;
    struct qd_generation *generation;
    SHA2_CTX digest, code_digest;
    unsigned files;
    char *message;
};

static int fail(struct qd_load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct qd_load *load, const char *format, ...)
{
    va_list arguments;

    if (!load->message) {
        va_start(arguments, format);
        if (vasprintf(&load->message, format, arguments) < 0)
            load->message = NULL;
        va_end(arguments);
    }
    return -EINVAL;
}

/* Name, size and bytes, so that no two sets of files have one digest. */
static void add_to(SHA2_CTX *digest, const char *shown, const char *text, size_t size)
{
    SHA256Update(digest, (const uint8_t *)shown, strlen(shown) + 1);
    SHA256Update(digest, (const uint8_t *)&size, sizeof(size));
    SHA256Update(digest, (const uint8_t *)text, size);
}

int qd_load_digest(struct qd_load *load, const char *shown, const char *text, size_t size)
{
    add_to(&load->code_digest, shown, text, size);
    return qd_load_digest_policy(load, shown, text, size);
}

int qd_load_digest_policy(struct qd_load *load, const char *shown, const char *text, size_t size)
{
    if (++load->files > FILES_MAX)
        return -E2BIG;
    add_to(&load->digest, shown, text, size);
    return 0;
}

const struct qd_load_options *qd_load_options_of(const struct qd_load *load)
{
    return load->options;
}

/* The whole file, malloc'ed. */
static int read_file(struct qd_load *load, const char *path, const char *shown, char **ret_text,
                     size_t *ret_size)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size;
    int r = 0;

    if (!file)
        return fail(load, "%s: cannot be read: %s", path, strerror(errno));
    text = malloc(QD_LOAD_FILE_MAX + 1);
    size = text ? fread(text, 1, QD_LOAD_FILE_MAX + 1, file) : 0;
    if (!text || ferror(file))
        r = fail(load, "%s: cannot be read", shown);
    else if (size > QD_LOAD_FILE_MAX)
        r = fail(load, "%s: larger than %u bytes", shown, QD_LOAD_FILE_MAX);
    else if (qd_load_digest(load, shown, text, size) < 0)
        r = fail(load, "%s: more than %u files", shown, FILES_MAX);
    fclose(file);
    if (r < 0) {
        free(text);
        return r;
    }
    *ret_text = text;
    *ret_size = size;
    return 0;
}

/* Compiles; leaves the chunk on the stack. */
static int compile_text(struct qd_load *load, const char *shown, const char *text, size_t size)
{
    lua_State *L = load->generation->L;
    char chunk[512];
    int r;

    snprintf(chunk, sizeof(chunk), "@%s", shown);
    if (luaL_loadbufferx(L, text, size, chunk, "t") == LUA_OK)
        return 0;
    r = fail(load, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return r;
}

static int compile(struct qd_load *load, const char *path, const char *shown)
{
    char *text = NULL;
    size_t size = 0;
    int r = read_file(load, path, shown, &text, &size);

    if (r < 0)
        return r;
    r = compile_text(load, shown, text, size);
    free(text);
    return r;
}

/* Runs the chunk on the stack's top; its first result is left on success. */
static int run(struct qd_load *load)
{
    lua_State *L = load->generation->L;
    const char *text;

    if (qd_run_protected(L, 0, 1) == LUA_OK)
        return 0;
    if (lua_type(L, -1) == LUA_TTABLE)
        lua_getfield(L, -1, "message");
    text = lua_tostring(L, -1);
    fail(load, "%s", text ? text : "an error object");
    return -EINVAL;
}

static int load_script(struct qd_load *load, const char *path, const char *shown)
{
    int r = compile(load, path, shown);

    if (r == 0)
        r = run(load);
    if (r == 0)
        lua_pop(load->generation->L, 1);
    return r;
}

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
        return fail(load, "%s%s%s", budget.killed ? shown : "", budget.killed ? ": " : "",
                    budget.killed ? budget.killed : budget.reason);
    return 0;
}

static int load_rule(struct qd_load *load, const char *path, const char *shown)
{
    int r = compile(load, path, shown);

    return r < 0 ? r : run_rule(load, shown, 0);
}

int qd_load_narrow_rule(struct qd_load *load, const char *shown, const char *text, size_t size,
                        uint64_t until_ns)
{
    int r = qd_load_digest(load, shown, text, size) < 0
                ? fail(load, "%s: more than %u files", shown, FILES_MAX)
                : compile_text(load, shown, text, size);

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

/* A hook of core_hooks with one string, see scripts/lib/site.lua; its first result is left on success. */
static int run_core_hook(struct qd_load *load, const char *name, const char *argument)
{
    struct qd_generation *generation = load->generation;
    lua_State *L = generation->L;

    /* Plain tables and short strings, in a state that has just been made: nothing here raises but for want of
     * memory, which a load does not survive anyway. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, generation->core_hooks);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_pushstring(L, argument);
    if (qd_run_protected(L, 1, 1) == LUA_OK)
        return 0;
    return fail(load, "%s: %s", argument, lua_tostring(L, -1));
}

static int load_extension_file(struct qd_load *load, const char *path, const char *shown)
{
    lua_State *L = load->generation->L;
    int r = compile(load, path, shown);

    if (r < 0)
        return r;
    r = run_core_hook(load, "site_begin", shown);
    if (r < 0)
        return r;
    lua_setupvalue(L, -2, 1);
    r = run(load);
    if (r == 0)
        r = run_core_hook(load, "site_end", shown);
    return r;
}

/* A message that has no place of its own gets the file's name. */
static void name_file(struct qd_load *load, const char *shown)
{
    char *message = load->message;

    if (!message || strncmp(message, "ext.d/", 6) == 0)
        return;
    if (asprintf(&load->message, "%s: %s", shown, message) < 0)
        load->message = NULL;
    free(message);
}

/* An extension of the site: its own environment, its own time. What it registers counts when the file has run
 * to its end. */
static int load_extension(struct qd_load *load, const char *path, const char *shown)
{
    struct qd_generation *generation = load->generation;
    uint64_t deadline = generation->script_deadline_ns, begin = uv_hrtime();
    int top = lua_gettop(generation->L), r;

    generation->script_deadline_ns = begin + QD_SITE_MILLISECONDS * UINT64_C(1000000);
    r = load_extension_file(load, path, shown);
    if (r < 0)
        name_file(load, shown);
    lua_settop(generation->L, top);
    generation->script_deadline_ns = deadline + (uv_hrtime() - begin);
    if (r == 0 || !load->options->ext_may_fail)
        return r;
    qd_log(QD_LOG_ERROR, "an extension does not load, and is left out: %s",
           load->message ? load->message : "no memory");
    free(load->message);
    load->message = NULL;
    return 0;
}

static int is_lua(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);

    return entry->d_name[0] != '.' && size > 4 && strcmp(entry->d_name + size - 4, ".lua") == 0;
}

static int is_folder(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && !is_lua(entry);
}

static int in_byte_order(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

typedef int (*load_fn)(struct qd_load *load, const char *path, const char *shown);

static int load_folder(struct qd_load *load, const char *path, const char *shown, load_fn load_one,
                       int depth);

/* One pass over a folder: its Lua files, or its sub-folders. */
static int load_entries(struct qd_load *load, const char *path, const char *shown, load_fn load_one,
                        int depth, bool folders)
{
    struct dirent **entries;
    int count = scandir(path, &entries, folders ? is_folder : is_lua, in_byte_order), r = 0;

    if (count < 0)
        return fail(load, "%s: cannot be read: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char entry_path[4096], entry_shown[512];
        struct stat status;

        snprintf(entry_path, sizeof(entry_path), "%s/%s", path, entries[i]->d_name);
        snprintf(entry_shown, sizeof(entry_shown), "%s/%s", shown, entries[i]->d_name);
        free(entries[i]);
        if (r < 0)
            continue;
        if (!folders)
            r = load_one(load, entry_path, entry_shown);
        else if (stat(entry_path, &status) == 0 && S_ISDIR(status.st_mode))
            r = load_folder(load, entry_path, entry_shown, load_one, depth - 1);
    }
    free(entries);
    return r;
}

static int load_folder(struct qd_load *load, const char *path, const char *shown, load_fn load_one, int depth)
{
    int r = load_entries(load, path, shown, load_one, depth, false);

    if (r == 0 && depth > 0)
        r = load_entries(load, path, shown, load_one, depth, true);
    return r;
}

/* import(name): scripts/lib/NAME.lua, once. */
static int import(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    struct qd_load *load;
    char path[4096], shown[512];

    if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_/") != strlen(name))
        return luaL_error(L, "import('%s'): a name has small letters, digits, _ and /", name);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "qd.imports");
    if (lua_getfield(L, -1, name) != LUA_TNIL)
        return 1;
    lua_getfield(L, LUA_REGISTRYINDEX, QD_LOAD);
    load = lua_touserdata(L, -1);
    if (!load)
        return luaL_error(L, "import() is for the file itself, not for the functions in it");
    lua_pop(L, 2);
    snprintf(path, sizeof(path), "%s/lib/%s.lua", load->options->scripts_dir, name);
    snprintf(shown, sizeof(shown), "scripts/lib/%s.lua", name);
    if (compile(load, path, shown) < 0)
        return luaL_error(L, "%s", load->message ? load->message : "cannot be loaded");
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1))
        return luaL_error(L, "%s returns nothing", shown);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, name);
    return 1;
}

static int refuse_global(lua_State *L)
{
    return luaL_error(L, "no new globals: '%s' must be local", luaL_tolstring(L, 2, NULL));
}

/* Opens the libraries that scripts have, and the core's own. Protected. */
static int open_libraries(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {"_G", luaopen_base}, {"table", luaopen_table}, {"math", luaopen_math}, {"utf8", luaopen_utf8}};
    static const char *const removed[] = {"dofile", "loadfile", "load", "collectgarbage", "print", "warn"};

    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
        lua_pop(L, 1);
    }
    for (size_t i = 0; i < sizeof(removed) / sizeof(removed[0]); i++) {
        lua_pushnil(L);
        lua_setglobal(L, removed[i]);
    }
    qd_bind_string_open(L);
    lua_setglobal(L, "string");
    qd_bind_core_open(L);
    qd_bind_method_open(L);
    lua_pushcfunction(L, import);
    lua_setglobal(L, "import");
    lua_newtable(L);
    lua_pushvalue(L, -1);
    qd_generation_of(L)->core_hooks = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_setglobal(L, "core_hooks");
    return 0;
}

/* From here on a script that forgets a `local` fails to load. Protected. */
static int close_globals(lua_State *L)
{
    lua_pushglobaltable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, refuse_global);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    return 0;
}

static int run_function(struct qd_load *load, lua_CFunction function)
{
    lua_pushcfunction(load->generation->L, function);
    if (run(load) < 0)
        return -EINVAL;
    lua_pop(load->generation->L, 1);
    return 0;
}

static int load_scripts(struct qd_load *load)
{
    static const char *const folders[] = {"classes", "hypervisor", "storage", "ext", "api"};
    char path[4096], shown[64];
    int r = run_function(load, open_libraries);

    snprintf(path, sizeof(path), "%s/lib/globals.lua", load->options->scripts_dir);
    if (r == 0)
        r = load_script(load, path, "scripts/lib/globals.lua");
    if (r == 0)
        r = run_function(load, close_globals);
    for (size_t i = 0; r == 0 && i < sizeof(folders) / sizeof(folders[0]); i++) {
        struct stat status;

        snprintf(path, sizeof(path), "%s/%s", load->options->scripts_dir, folders[i]);
        snprintf(shown, sizeof(shown), "scripts/%s", folders[i]);
        if (stat(path, &status) == 0 || errno != ENOENT)
            r = load_folder(load, path, shown, load_script, DEPTH_MAX);
    }
    return r;
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
    r = load_folder(load, path, "acl.d/shadow", load_rule, 0);
    generation->loading_shadow = false;
    if (r == 0)
        return;
    qd_log(QD_LOG_ERROR, "the shadow rules do not load, so there are none: %s",
           load->message ? load->message : "no memory");
    drop_hooks(generation, count);
    free(load->message);
    load->message = NULL;
}

static int load_rules(struct qd_load *load)
{
    struct stat status;
    int r;

    if (load->options->acl_may_be_absent && stat(load->options->acl_dir, &status) < 0 && errno == ENOENT)
        return 0;
    r = load_folder(load, load->options->acl_dir, "acl.d", load_rule_or_report, 0);
    if (r == 0)
        load_shadow(load);
    return r;
}

static int load_extensions(struct qd_load *load)
{
    struct stat status;

    if (!load->options->ext_dir || (stat(load->options->ext_dir, &status) < 0 && errno == ENOENT))
        return 0;
    return load_folder(load, load->options->ext_dir, "ext.d", load_extension, 0);
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

/* A rule that no method has an event for would never be asked, most likely because of a misspelled name: what
 * it was to refuse would be permitted. The scripts know which names are all right in spite of it. */
static int check_rules(struct qd_load *load)
{
    lua_State *L = load->generation->L;
    int r = 0;

    for (size_t i = 0; r == 0 && i < load->generation->hook_count; i++) {
        const struct qd_hook *hook = &load->generation->hooks[i];

        if (hook->matched)
            continue;
        r = run_core_hook(load, "unmatched_rule", hook->pattern);
        if (r == 0 && hook->shadow && !lua_isnil(L, -1))
            qd_log(QD_LOG_ERROR, "%s:%d: %s", hook->file, hook->line, lua_tostring(L, -1));
        else if (r == 0 && !lua_isnil(L, -1))
            r = fail(load, "%s:%d: %s", hook->file, hook->line, lua_tostring(L, -1));
        else if (r == 0)
            tell_waiting(load, hook);
        r = report(load, r);
        lua_settop(L, 0);
    }
    return r;
}

static struct qd_generation *generation_new(void)
{
    struct qd_generation *generation = calloc(1, sizeof(*generation));

    if (!generation)
        return NULL;
    generation->refs = 1;
    generation->loading = true;
    generation->L = lua_newstate(qd_run_allocate, generation);
    if (!generation->L) {
        free(generation);
        return NULL;
    }
    *(struct qd_generation **)lua_getextraspace(generation->L) = generation;
    qd_run_watch(generation->L);
    lua_gc(generation->L, LUA_GCINC, GC_PAUSE, 0, 0);
    generation->script_deadline_ns = uv_hrtime() + QD_LOAD_MILLISECONDS * UINT64_C(1000000);
    return generation;
}

static int load_all(struct qd_load *load, bool with_rules, bool *ret_rules)
{
    lua_State *L = load->generation->L;
    int r;

    lua_pushlightuserdata(L, load);
    lua_setfield(L, LUA_REGISTRYINDEX, QD_LOAD);
    r = load_scripts(load);
    if (r == 0)
        r = load_extensions(load);
    if (r == 0 && with_rules) {
        r = load_rules(load);
        *ret_rules = r < 0;
        if (r == 0)
            qd_narrow_load(load, load->generation);
    }
    if (r == 0)
        r = qd_method_resolve(load->generation, &load->message);
    if (r == 0) {
        r = check_rules(load);
        *ret_rules = r < 0;
    }
    if (r == 0)
        qd_narrow_resolve(load->generation);
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, QD_LOAD);
    lua_settop(L, 0);
    return r;
}

static int load_generation(const struct qd_load_options *options, bool with_rules,
                           struct qd_generation **ret_generation, char **ret_message, bool *ret_rules)
{
    struct qd_load load = {.options = options, .generation = generation_new()};
    int r;

    *ret_rules = false;
    if (!load.generation) {
        *ret_message = strdup("no memory");
        return -ENOMEM;
    }
    SHA256Init(&load.digest);
    SHA256Init(&load.code_digest);
    if (options->coverage_file)
        load.generation->coverage = qd_coverage_new(options->coverage_file);
    r = load_all(&load, with_rules, ret_rules);
    if (r < 0) {
        qd_generation_unref(load.generation);
        *ret_message = load.message ? load.message : strdup("no memory");
        return r;
    }
    free(load.message);
    SHA256End(&load.digest, load.generation->digest);
    SHA256End(&load.code_digest, load.generation->code_digest);
    load.generation->loading = false;
    lua_sethook(load.generation->L, NULL, 0, 0);
    load.generation->script_deadline_ns = 0;
    *ret_generation = load.generation;
    return 0;
}

int qd_generation_load(const struct qd_load_options *options, struct qd_generation **ret_generation,
                       char **ret_message, bool *ret_rules)
{
    return load_generation(options, true, ret_generation, ret_message, ret_rules);
}

int qd_generation_load_locked(const struct qd_load_options *options, const char *reason,
                              struct qd_generation **ret_generation, char **ret_message)
{
    bool rules;
    int r = load_generation(options, false, ret_generation, ret_message, &rules);

    if (r == 0) {
        (*ret_generation)->lock_reason = strdup(reason);
        if (!(*ret_generation)->lock_reason) {
            qd_generation_unref(*ret_generation);
            *ret_message = strdup("no memory");
            return -ENOMEM;
        }
    }
    return r;
}
