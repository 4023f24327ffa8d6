/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.stat, core.list_directory, core.read_file: files, on libuv's threads. The call may be gone when it is
 * there; the work itself can't be called back.
 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "wait_private.h"

#define TEXT_MAX (64u << 10) /* bytes */

/* ---- what there is ---- */

static int push_stat(lua_State *L, struct qd_wait *wait)
{
    if (!wait->flag) {
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, 0, 2);
    lua_pushstring(L, (wait->number & S_IFMT) == S_IFDIR ? "directory" : "file");
    lua_setfield(L, -2, "type");
    return 1;
}

static void stat_done(uv_fs_t *request)
{
    struct qd_wait *wait = request->data;

    wait->flag = request->result == 0;
    wait->number = (int64_t)request->statbuf.st_mode;
    uv_fs_req_cleanup(request);
    qd_wait_resume(wait);
}

static int start_file(lua_State *L, bool directory, int (*push)(lua_State *L, struct qd_wait *wait),
                      uv_fs_cb done)
{
    const char *path = luaL_checkstring(L, 1);
    struct qd_call *call = qd_wait_check(L);
    struct qd_wait *wait = qd_wait_new(call, push);
    int r;

    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    wait->request.data = wait;
    r = directory ? uv_fs_scandir(&call->daemon->loop, &wait->request, path, 0, done)
                  : uv_fs_stat(&call->daemon->loop, &wait->request, path, done);
    if (r < 0) {
        qd_wait_drop(wait);
        return luaL_error(L, "%s: %s", path, uv_strerror(r));
    }
    return qd_wait_yield(L);
}

static int stat_file(lua_State *L)
{
    return start_file(L, false, push_stat, stat_done);
}

/* Names, each with its NUL, in `text`; `number` bytes. */
static int push_names(lua_State *L, struct qd_wait *wait)
{
    const char *name = wait->text;

    if (!wait->flag) {
        lua_pushnil(L);
        return 1;
    }
    lua_newtable(L);
    for (lua_Integer i = 1; name && name < wait->text + wait->number; i++, name += strlen(name) + 1) {
        lua_pushstring(L, name);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

static void scan_done(uv_fs_t *request)
{
    struct qd_wait *wait = request->data;
    uv_dirent_t entry;

    wait->flag = request->result >= 0;
    while (wait->flag && uv_fs_scandir_next(request, &entry) == 0) {
        size_t size = strlen(entry.name) + 1;
        char *grown = realloc(wait->text, (size_t)wait->number + size);

        if (!grown) {
            wait->flag = false;
            break;
        }
        memcpy(grown + wait->number, entry.name, size);
        wait->text = grown;
        wait->number += (int64_t)size;
    }
    uv_fs_req_cleanup(request);
    qd_wait_resume(wait);
}

static int list_directory(lua_State *L)
{
    return start_file(L, true, push_names, scan_done);
}

/* ---- the text of a small one ---- */

struct reading {
    uv_work_t work;
    struct qd_wait *wait;
    char *path;
    size_t size;
    int error; /* errno's; 0: `data` is the whole file */
    char data[TEXT_MAX + 1];
};

static void reading_free(void *context)
{
    struct reading *reading = context;

    if (reading)
        free(reading->path);
    free(reading);
}

/* Any thread. One that is longer than `data` is too long. */
static int read_whole(int file, struct reading *reading)
{
    while (reading->size < sizeof(reading->data)) {
        ssize_t count = read(file, reading->data + reading->size, sizeof(reading->data) - reading->size);

        if (count == 0)
            return 0;
        if (count < 0 && errno != EINTR)
            return errno;
        if (count > 0)
            reading->size += (size_t)count;
    }
    return EFBIG;
}

/* A thread of libuv's. O_NONBLOCK, since a pipe of that name must not hold it. */
static void read_regular(uv_work_t *work)
{
    struct reading *reading = work->data;
    int file = open(reading->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;

    if (file < 0) {
        reading->error = errno;
        return;
    }
    if (fstat(file, &status) < 0)
        reading->error = errno;
    else
        reading->error = S_ISREG(status.st_mode) ? read_whole(file, reading) : EINVAL;
    close(file);
}

static void read_done(uv_work_t *work, int status)
{
    struct reading *reading = work->data;

    if (status < 0)
        reading->error = -status;
    qd_wait_done(reading->wait, reading);
}

static int push_text(lua_State *L, void *result)
{
    const struct reading *reading = result;

    if (reading->error == 0) {
        lua_pushlstring(L, reading->data, reading->size);
        return 1;
    }
    lua_pushnil(L);
    if (reading->error == ENOENT || reading->error == ENOTDIR)
        return 1;
    lua_pushstring(L, strerror(reading->error));
    return 2;
}

/* core.read_file(path): its text, of 64 KiB at most; nil when there is none; nil and why when it can't be
 * read. */
static int read_file(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct qd_call *call = qd_wait_check(L);
    struct reading *reading = calloc(1, sizeof(*reading));
    int r;

    if (reading)
        reading->path = strdup(path);
    if (!reading || !reading->path) {
        reading_free(reading);
        return luaL_error(L, "no memory");
    }
    reading->wait = qd_wait_begin(call, push_text, reading_free);
    if (!reading->wait) {
        reading_free(reading);
        return luaL_error(L, "no memory");
    }
    reading->work.data = reading;
    r = uv_queue_work(&call->daemon->loop, &reading->work, read_regular, read_done);
    if (r < 0) {
        qd_wait_drop(reading->wait);
        reading_free(reading);
        return luaL_error(L, "%s: %s", path, uv_strerror(r));
    }
    return qd_wait_yield(L);
}

void qd_bind_file_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"stat", stat_file},
        {"list_directory", list_directory},
        {"read_file", read_file},
        {NULL, NULL},
    };

    luaL_setfuncs(L, functions, 0);
}
