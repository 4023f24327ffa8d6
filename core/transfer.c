/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <libgen.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qd/call.h"
#include "qd/log.h"
#include "qd/run.h"
#include "qd/xml.h"

#define FILE_MODE 0660
/* How a file that this daemon has written begins; the Python daemon writes no attributes here. */
#define OWN_BEGIN "<qubes written-by=\"qubesd-lua\""

struct text {
    char *data; /* malloc */
    size_t size;
    char digest[SHA256_DIGEST_STRING_LENGTH];
};

/* ---- files ---- */

static int read_whole(int file, struct text *text)
{
    size_t space = 0;
    ssize_t count;

    do {
        if (space - text->size < 65536) {
            char *grown = realloc(text->data, space + (space ? space : 262144));

            if (!grown)
                return -ENOMEM;
            text->data = grown;
            space += space ? space : 262144;
        }
        count = read(file, text->data + text->size, space - text->size);
        if (count > 0)
            text->size += (size_t)count;
        if (text->size > QD_XML_SIZE_MAX)
            return -EFBIG;
    } while (count > 0 || (count < 0 && errno == EINTR));
    return count < 0 ? -errno : 0;
}

static int read_file(const char *path, struct text *ret_text)
{
    struct text text = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC), r;

    if (file < 0)
        return -errno;
    r = read_whole(file, &text);
    close(file);
    if (r < 0) {
        free(text.data);
        return r;
    }
    SHA256Data((const uint8_t *)text.data, text.size, text.digest);
    *ret_text = text;
    return 0;
}

static int write_whole(int file, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(file, data, size);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        data += count;
        size -= (size_t)count;
    }
    return fsync(file) < 0 ? -errno : 0;
}

/* The rename is on disk when its directory is. */
static int sync_directory(const char *path)
{
    char *copy = strdup(path);
    int directory = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, r = 0;

    if (directory < 0 || fsync(directory) < 0)
        r = -errno;
    if (directory >= 0)
        close(directory);
    free(copy);
    return r;
}

/* Owner, group and mode as the file had them, where there was one; a new one is for its group, as the Python
 * daemon has it. */
static void copy_permissions(int file, const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0) {
        if (fchmod(file, FILE_MODE) < 0)
            qd_log(QD_LOG_NOTICE, "%s: its mode stays as it is: %s", path, strerror(errno));
    } else if (fchown(file, status.st_uid, status.st_gid) < 0 || fchmod(file, status.st_mode & 07777) < 0) {
        qd_log(QD_LOG_NOTICE, "%s: its owner or mode changes: %s", path, strerror(errno));
    }
}

static int replace_file(const char *path, const char *data, size_t size)
{
    char *temporary;
    int file, r;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return -ENOMEM;
    file = mkostemp(temporary, O_CLOEXEC);
    if (file < 0) {
        r = -errno;
        free(temporary);
        return r;
    }
    copy_permissions(file, path);
    r = write_whole(file, data, size);
    if (close(file) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(temporary);
    else
        r = sync_directory(path);
    free(temporary);
    return r;
}

/* ---- import ---- */

struct import {
    const struct text *text;
    bool mark;
};

static int push_import(lua_State *L, void *context)
{
    struct import *import = context;

    lua_pushlstring(L, import->text->data, import->text->size);
    if (import->mark)
        lua_pushstring(L, import->text->digest);
    else
        lua_pushnil(L);
    return 2;
}

static char *path_in_state(const struct qd_daemon *daemon, const char *name)
{
    char *path;

    return asprintf(&path, "%s/%s", daemon->config.state_dir, name) < 0 ? NULL : path;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int qd_transfer_import(struct qd_daemon *daemon, const char *path)
{
    char *own = path_in_state(daemon, "qubes.xml"), *message = NULL;
    struct text text = {0};
    struct import import = {&text, own && is_same_file(path, own)};
    int r = own ? read_file(path, &text) : -ENOMEM;

    if (r < 0) {
        qd_log(QD_LOG_ERROR, "%s: %s", path, strerror(-r));
    } else {
        daemon->generation->unhurried = true;
        r = qd_task_run(daemon, "import_xml", push_import, &import, &message);
        daemon->generation->unhurried = false;
        if (r < 0)
            qd_log(QD_LOG_ERROR, "%s is not imported: %s", path, message ? message : "no memory");
    }
    free(message);
    free(text.data);
    free(own);
    return r;
}

/* ---- export ---- */

struct export
{
    bool if_marked;
    struct text text;
};

/* (export): core_hooks.export_xml. Protected. */
static int call_export(lua_State *L)
{
    struct export *export = lua_touserdata(L, 1);
    const char *text;

    lua_rawgeti(L, LUA_REGISTRYINDEX, qd_generation_of(L)->core_hooks);
    lua_getfield(L, -1, "export_xml");
    lua_pushboolean(L, export->if_marked);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1))
        return 0;
    text = luaL_checklstring(L, -1, &export->text.size);
    export->text.data = malloc(export->text.size);
    if (!export->text.data)
        return luaL_error(L, "no memory");
    memcpy(export->text.data, text, export->text.size);
    return 0;
}

/* The text is NULL when there is nothing to be written. */
static int make_text(struct qd_daemon *daemon, bool if_marked, struct text *ret_text)
{
    struct export export = {.if_marked = if_marked};
    lua_State *L = daemon->generation->L;

    lua_pushcfunction(L, call_export);
    lua_pushlightuserdata(L, &export);
    if (qd_run_protected(L, 1, 0) != LUA_OK) {
        qd_log(QD_LOG_ERROR, "qubes.xml is not written: %s",
               lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error object");
        lua_pop(L, 1);
        return -ECANCELED;
    }
    *ret_text = export.text;
    return 0;
}

static int write_text(const char *path, const struct text *text)
{
    int r = replace_file(path, text->data, text->size);

    if (r < 0)
        qd_log(QD_LOG_ERROR, "%s is not written: %s", path, strerror(-r));
    else
        qd_log(QD_LOG_NOTICE, "exported to %s", path);
    return r;
}

int qd_transfer_export(struct qd_daemon *daemon, const char *path)
{
    struct text text = {0};
    int r;

    if (qd_model_qube_count(daemon->model) == 0) {
        qd_log(QD_LOG_ERROR, "%s is not written: the store is empty", path);
        return -ENOENT;
    }
    r = make_text(daemon, false, &text);
    if (r == 0)
        r = write_text(path, &text);
    free(text.data);
    return r;
}

/* ---- the file in the state directory ---- */

/* The digest of the file that the store was imported from; NULL: it was not. */
static const char *imported_digest(const struct qd_daemon *daemon)
{
    static const char kind[] = "xml", name[] = "export-at-stop";
    const struct qd_value *value =
        qd_object_get(daemon->model, qd_model_app(daemon->model), kind, strlen(kind), name, strlen(name));

    return value && value->type == QD_VALUE_STR ? value->u.str->data : NULL;
}

/* Whose the file is now. */
enum owner { OWNER_NOBODY, OWNER_US, OWNER_IMPORTED, OWNER_OTHER };

static enum owner owner_of(const char *path, const char *digest)
{
    struct text text = {0};
    enum owner owner = OWNER_OTHER;
    int r = read_file(path, &text);

    if (r == -ENOENT)
        return OWNER_NOBODY;
    if (r == 0 && text.size >= strlen(OWN_BEGIN) && memcmp(text.data, OWN_BEGIN, strlen(OWN_BEGIN)) == 0)
        owner = OWNER_US;
    else if (r == 0 && strcmp(text.digest, digest) == 0)
        owner = OWNER_IMPORTED;
    free(text.data);
    return owner;
}

static bool is_model_empty(const struct qd_daemon *daemon)
{
    return qd_model_qube_count(daemon->model) == 0 && qd_model_app(daemon->model)->attribute_count == 0;
}

int qd_transfer_first(struct qd_daemon *daemon)
{
    char *path = path_in_state(daemon, "qubes.xml");
    const char *digest = imported_digest(daemon);
    int r = 0;

    if (!path)
        return -ENOMEM;
    if (is_model_empty(daemon) && access(path, F_OK) == 0) {
        qd_log(QD_LOG_NOTICE, "the store is empty: importing %s", path);
        r = qd_transfer_import(daemon, path);
    } else if (digest && owner_of(path, digest) == OWNER_OTHER) {
        qd_log(QD_LOG_WARNING,
               "another program has written %s since this daemon last did. The store counts; to take the "
               "file over, move qubesd.db away and start again",
               path);
    }
    free(path);
    return r;
}

/* What was imported is kept under another name before it is replaced: it may have had faults, which were left
 * out. */
static void keep_imported(struct qd_daemon *daemon, const char *path)
{
    char *name = path_in_state(daemon, "qubes.xml.imported");

    if (name) {
        unlink(name);
        if (link(path, name) < 0)
            qd_log(QD_LOG_WARNING, "%s: no copy of it is kept: %s", path, strerror(errno));
    }
    free(name);
}

int qd_transfer_last(struct qd_daemon *daemon)
{
    const char *digest = imported_digest(daemon);
    char *path = path_in_state(daemon, "qubes.xml"), *beside = path_in_state(daemon, "qubes.xml.exported");
    struct text text = {0};
    int r = path && beside ? 0 : -ENOMEM;

    if (r == 0 && digest)
        r = make_text(daemon, true, &text);
    if (r == 0 && text.data) {
        enum owner owner = owner_of(path, digest);

        if (owner == OWNER_OTHER)
            qd_log(QD_LOG_WARNING, "another program has written %s meanwhile: it stays as it is", path);
        if (owner == OWNER_IMPORTED)
            keep_imported(daemon, path);
        r = write_text(owner == OWNER_OTHER ? beside : path, &text);
    }
    free(text.data);
    free(path);
    free(beside);
    return r;
}
