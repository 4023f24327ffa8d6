/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.policy(): the files of the qrexec policy, for the script that parses it while a generation loads. They
 * are part of the generation and of its digest (law 8), wherever an include leads.
 */
#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "qd/generation.h"
#include "qd/log.h"

static struct qd_load *check_load(lua_State *L)
{
    struct qd_load *load;

    lua_getfield(L, LUA_REGISTRYINDEX, QD_LOAD);
    load = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!load)
        luaL_error(L, "the qrexec policy is read while scripts load, not later");
    return load;
}

/* A path from a policy; NULL for one that no file can have. */
static const char *check_path(lua_State *L)
{
    size_t size;
    const char *path = luaL_checklstring(L, 1, &size);

    return strlen(path) == size ? path : NULL;
}

static bool is_absent(int error)
{
    return error == ENOENT || error == ENOTDIR;
}

/* Bytes of the file, at most `space`, or negative errno. */
static ssize_t read_bytes(const char *path, char *text, size_t space)
{
    FILE *file = fopen(path, "re");
    size_t size;
    int failed;

    if (!file)
        return -errno;
    size = fread(text, 1, space, file);
    failed = ferror(file);
    fclose(file);
    return failed ? -EIO : (ssize_t)size;
}

/* read(path): its text; nil when there is no such file. Raises for one that can't be read. */
static int read_policy(lua_State *L)
{
    struct qd_load *load = check_load(L);
    const char *path = check_path(L);
    struct stat status;
    ssize_t size;
    char *text;

    if (!path || (stat(path, &status) < 0 && is_absent(errno)))
        return 0;
    if (stat(path, &status) < 0)
        return luaL_error(L, "%s: cannot be read: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode)) /* a pipe would never end */
        return luaL_error(L, "%s: is no ordinary file", path);
    if (status.st_size > QD_LOAD_FILE_MAX)
        return luaL_error(L, "%s: larger than %d bytes", path, QD_LOAD_FILE_MAX);
    text = lua_newuserdatauv(L, (size_t)status.st_size + 1, 0);
    size = read_bytes(path, text, (size_t)status.st_size + 1);
    if (size < 0)
        return luaL_error(L, "%s: cannot be read: %s", path, strerror((int)-size));
    if (size > status.st_size)
        return luaL_error(L, "%s: changes while it is read", path);
    if (qd_load_digest_policy(load, path, text, (size_t)size) < 0)
        return luaL_error(L, "%s: there are too many files", path);
    lua_pushlstring(L, text, (size_t)size);
    return 1;
}

static int close_directory(lua_State *L)
{
    DIR **directory = lua_touserdata(L, 1);

    if (*directory)
        closedir(*directory);
    *directory = NULL;
    return 0;
}

/* Pushes a place for an open directory, which is closed on whatever way the function is left. */
static DIR **push_directory(lua_State *L)
{
    DIR **directory = lua_newuserdatauv(L, sizeof(DIR *), 0);

    *directory = NULL;
    if (luaL_newmetatable(L, "qd.directory")) {
        lua_pushcfunction(L, close_directory);
        lua_setfield(L, -2, "__close");
        lua_pushcfunction(L, close_directory);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    return directory;
}

/* list(path): the names of the files in it, in no order; nil when there is no such directory. Raises for one
 * that can't be read. */
static int list_policy(lua_State *L)
{
    const char *path = check_path(L);
    const struct dirent *entry;
    DIR **directory;
    lua_Integer count = 0;

    check_load(L);
    if (!path)
        return 0;
    directory = push_directory(L);
    *directory = opendir(path);
    if (!*directory && is_absent(errno))
        return 0;
    if (!*directory)
        return luaL_error(L, "%s: cannot be read: %s", path, strerror(errno));
    lua_newtable(L);
    while ((entry = readdir(*directory))) {
        struct stat status;

        if (fstatat(dirfd(*directory), entry->d_name, &status, 0) == 0 && S_ISDIR(status.st_mode))
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* failed(message): at start the daemon goes on without the policy; otherwise the load ends here. */
static int policy_failed(lua_State *L)
{
    const struct qd_load_options *options = qd_load_options_of(check_load(L));

    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    if (!options->policy_may_fail)
        return lua_error(L);
    qd_log(QD_LOG_ERROR, "the qrexec policy does not load, so qubes and events are shown to dom0 only: %s",
           lua_tostring(L, 1));
    return 0;
}

/* Appends the directory to the array on the top, if there is one. */
static void add_directory(lua_State *L, struct qd_load *load, const char *path, size_t size)
{
    struct stat status;

    path = lua_pushlstring(L, path, size);
    if (size == 0 || (stat(path, &status) < 0 && is_absent(errno))) {
        lua_pop(L, 1);
        return;
    }
    qd_load_digest_policy(load, path, "", 0);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* core.policy(): { directories = those that exist, read =, list =, failed = }. */
int qd_bind_policy(lua_State *L)
{
    struct qd_load *load = check_load(L);
    const char *rest = qd_load_options_of(load)->policy_dir;

    lua_createtable(L, 0, 4);
    lua_pushcfunction(L, read_policy);
    lua_setfield(L, -2, "read");
    lua_pushcfunction(L, list_policy);
    lua_setfield(L, -2, "list");
    lua_pushcfunction(L, policy_failed);
    lua_setfield(L, -2, "failed");
    lua_newtable(L);
    while (rest) {
        size_t size = strcspn(rest, ":");

        add_directory(L, load, rest, size);
        rest = rest[size] ? rest + size + 1 : NULL;
    }
    lua_setfield(L, -2, "directories");
    return 1;
}
