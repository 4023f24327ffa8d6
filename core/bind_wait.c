/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Primitives that wait: the coroutine yields, and is resumed with what it waited for (law 7).
 *
 * A wait has one owner, the call; the call can forget it (its client left, the daemon stops), and then the
 * result is dropped when it arrives. Results are pushed by a protected function, and errors are raised inside
 * the coroutine, after the resume.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/explain.h"
#include "qd/log.h"
#include "qd/reload.h"
#include "qd/run.h"
#include "qd/wait.h"

#define SECONDS_MAX 86400.0

struct qd_wait {
    struct qd_wait *next; /* in one of the daemon's lists */
    struct qd_daemon *daemon;
    struct qd_call *call;                 /* NULL: nobody waits any more */
    bool has_timer, timer_closed, handed; /* a handed wait is on the ready list or at a worker's */
    bool committing;
    uv_timer_t timer;
    uv_fs_t request;
    struct qd_object *object;
    int (*push)(lua_State *L, struct qd_wait *wait);
    /* results */
    bool failed;
    bool flag;
    char *text;
    int64_t number;
    struct qd_virt_domain *domains;
    size_t count;
    void *result; /* of another file's, see wait.h */
    int (*push_result)(lua_State *L, void *result);
    void (*free_result)(void *result);
};

struct qd_lock {
    struct qd_lock *next;
    struct qd_object *object;
    struct qd_call *owner;
    struct qd_wait *first; /* in the order of asking */
};

static void free_domains(struct qd_wait *wait)
{
    for (size_t i = 0; i < wait->count; i++)
        free(wait->domains[i].name);
    free(wait->domains);
}

static void wait_free(struct qd_wait *wait)
{
    if (wait->object)
        qd_object_unref(wait->daemon->model, wait->object);
    free_domains(wait);
    if (wait->result)
        wait->free_result(wait->result);
    free(wait->text);
    free(wait);
}

static void timer_closed(uv_handle_t *handle)
{
    struct qd_wait *wait = handle->data;

    wait->has_timer = false;
    if (!wait->handed)
        wait_free(wait);
}

/* The wait is over, one way or the other. A timer is closed before the memory goes. */
static void wait_end(struct qd_wait *wait)
{
    wait->handed = false;
    if (!wait->has_timer)
        wait_free(wait);
    else if (!uv_is_closing((uv_handle_t *)&wait->timer))
        uv_close((uv_handle_t *)&wait->timer, timer_closed);
}

static void unlink_wait(struct qd_wait **list, struct qd_wait *wait)
{
    while (*list && *list != wait)
        list = &(*list)->next;
    if (*list)
        *list = wait->next;
    wait->next = NULL;
}

/* (wait): the results. Protected, on the coroutine. */
static int push_results(lua_State *L)
{
    struct qd_wait *wait = lua_touserdata(L, 1);

    lua_settop(L, 0);
    lua_pushboolean(L, !wait->failed);
    if (wait->failed)
        lua_pushstring(L, wait->text ? wait->text : "it failed");
    return 1 + (wait->failed ? 1 : wait->push ? wait->push(L, wait) : 0);
}

/* Resumes the call that waits. */
static void resume(struct qd_wait *wait)
{
    struct qd_call *call = wait->call;
    lua_State *L;
    int before;

    if (!call) {
        wait_end(wait);
        return;
    }
    L = call->thread;
    before = lua_gettop(L);
    call->wait = NULL;
    wait->call = NULL;
    lua_pushcfunction(L, push_results);
    lua_pushlightuserdata(L, wait);
    if (qd_run_protected(L, 1, LUA_MULTRET) != LUA_OK) {
        lua_settop(L, before);
        lua_pushboolean(L, 0);
        lua_pushnil(L);
    }
    wait_end(wait);
    qd_call_resume(call, lua_gettop(L) - before);
}

void qd_wait_run_ready(uv_timer_t *timer)
{
    struct qd_daemon *daemon = timer->data;

    while (daemon->ready_waits) {
        struct qd_wait *wait = daemon->ready_waits;

        daemon->ready_waits = wait->next;
        wait->next = NULL;
        resume(wait);
    }
}

/* Resumes it soon, from the loop: never from inside another call. */
static void make_ready(struct qd_wait *wait)
{
    struct qd_wait **link = &wait->daemon->ready_waits;

    while (*link)
        link = &(*link)->next;
    wait->next = NULL;
    wait->handed = true;
    *link = wait;
    uv_timer_start(&wait->daemon->ready, qd_wait_run_ready, 0, 0);
}

/* After the resume: (true, results…) or (false, message). */
static int after(lua_State *L, int status, lua_KContext base)
{
    int count = lua_gettop(L) - (int)base;

    (void)status;
    if (!lua_toboolean(L, (int)base + 1))
        return qd_raise(L, "LibvirtError", "%s", luaL_optstring(L, (int)base + 2, "no memory"));
    return count - 1;
}

/* Checks that the caller may wait at all, and gives back the running call. Raises otherwise. Everything that
 * can raise comes before the wait is made. */
static struct qd_call *check_waiter(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);

    if (qd_generation_of(L)->budget)
        luaL_error(L, "a rule can only look: it may not wait");
    if (!lua_isyieldable(L) || !daemon->running || daemon->running->thread != L)
        luaL_error(L, "nothing may wait here: core.spawn starts a task, which may");
    if (daemon->running && daemon->running->dry)
        qd_dry_stop(L, daemon->running, "it would wait");
    if (qd_commit_seal(daemon->running) < 0)
        luaL_error(L, "no memory");
    return daemon->running;
}

static struct qd_wait *wait_new(struct qd_call *call, int (*push)(lua_State *L, struct qd_wait *wait))
{
    struct qd_wait *wait = calloc(1, sizeof(*wait));

    if (!wait)
        return NULL;
    wait->daemon = call->daemon;
    wait->call = call;
    wait->push = push;
    call->wait = wait;
    return wait;
}

static void wait_drop(struct qd_wait *wait)
{
    wait->call->wait = NULL;
    wait->call = NULL;
    wait_end(wait);
}

static int yield(lua_State *L)
{
    return lua_yieldk(L, 0, lua_gettop(L), after);
}

/* ---- for other files (wait.h) ---- */

static int push_foreign(lua_State *L, struct qd_wait *wait)
{
    return wait->result ? wait->push_result(L, wait->result) : 0;
}

struct qd_call *qd_wait_check(lua_State *L)
{
    return check_waiter(L);
}

struct qd_wait *qd_wait_begin(struct qd_call *call, int (*push)(lua_State *L, void *result),
                              void (*free_result)(void *result))
{
    struct qd_wait *wait = wait_new(call, push_foreign);

    if (!wait)
        return NULL;
    wait->handed = true;
    wait->push_result = push;
    wait->free_result = free_result;
    return wait;
}

int qd_wait_yield(lua_State *L)
{
    return yield(L);
}

void qd_wait_drop(struct qd_wait *wait)
{
    wait_drop(wait);
}

void qd_wait_done(struct qd_wait *wait, void *result)
{
    wait->result = result;
    if (wait->call)
        make_ready(wait);
    else
        wait_end(wait);
}

void qd_wait_detach(struct qd_call *call)
{
    struct qd_wait *wait = call->wait;

    if (!wait)
        return;
    call->wait = NULL;
    wait->call = NULL;
    unlink_wait(&wait->daemon->power_waits, wait);
    for (struct qd_lock *lock = wait->daemon->locks; lock; lock = lock->next)
        unlink_wait(&lock->first, wait);
    if (!wait->handed)
        wait_end(wait);
}

/* ---- time and power states ---- */

static int push_flag(lua_State *L, struct qd_wait *wait)
{
    lua_pushboolean(L, wait->flag);
    return 1;
}

static void timed_out(uv_timer_t *timer)
{
    struct qd_wait *wait = timer->data;

    unlink_wait(&wait->daemon->power_waits, wait);
    if (!wait->handed)
        resume(wait);
}

static double check_seconds(lua_State *L, int index)
{
    double seconds = luaL_checknumber(L, index);

    luaL_argcheck(L, seconds >= 0 && seconds <= SECONDS_MAX, index, "seconds, from 0 to a day");
    return seconds;
}

static int start_timer(struct qd_wait *wait, double seconds)
{
    if (uv_timer_init(&wait->daemon->loop, &wait->timer) < 0)
        return -ENOMEM;
    wait->has_timer = true;
    wait->timer.data = wait;
    uv_update_time(&wait->daemon->loop);
    return uv_timer_start(&wait->timer, timed_out, (uint64_t)(seconds * 1000), 0);
}

static int sleep_seconds(lua_State *L)
{
    double seconds = check_seconds(L, 1);
    struct qd_wait *wait = wait_new(check_waiter(L), NULL);

    if (!wait)
        return luaL_error(L, "no memory");
    if (start_timer(wait, seconds) < 0) {
        wait_drop(wait);
        return luaL_error(L, "no timer");
    }
    return yield(L);
}

/* core.wait(qube, seconds) */
static int wait_power(lua_State *L)
{
    struct qd_object *qube = qd_check_object(L, 1);
    double seconds = check_seconds(L, 2);
    struct qd_wait *wait = wait_new(check_waiter(L), push_flag);

    if (!wait)
        return luaL_error(L, "no memory");
    wait->object = qd_object_ref(qube);
    if (start_timer(wait, seconds) < 0) {
        wait_drop(wait);
        return luaL_error(L, "no timer");
    }
    wait->next = wait->daemon->power_waits;
    wait->daemon->power_waits = wait;
    return yield(L);
}

void qd_wait_power_changed(struct qd_daemon *daemon, struct qd_object *qube)
{
    struct qd_wait **link = &daemon->power_waits;

    while (*link) {
        struct qd_wait *wait = *link;

        if (wait->object != qube) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        wait->flag = true;
        uv_timer_stop(&wait->timer);
        make_ready(wait);
    }
}

/* ---- locks ---- */

static int lock(lua_State *L)
{
    struct qd_object *qube = qd_check_object(L, 1);
    struct qd_call *call = check_waiter(L);
    struct qd_lock *lock = call->daemon->locks;
    struct qd_wait *wait, **link;

    while (lock && lock->object != qube)
        lock = lock->next;
    if (lock && lock->owner == call)
        return luaL_error(L, "the call has this lock already");
    if (!lock) {
        lock = calloc(1, sizeof(*lock));
        if (!lock)
            return luaL_error(L, "no memory");
        *lock = (struct qd_lock){.next = call->daemon->locks, .object = qd_object_ref(qube), .owner = call};
        call->daemon->locks = lock;
        return 0;
    }
    wait = wait_new(call, NULL);
    if (!wait)
        return luaL_error(L, "no memory");
    for (link = &lock->first; *link; link = &(*link)->next)
        ;
    *link = wait;
    return yield(L);
}

/* Hands the lock to the next who waits for it, or takes it off the list. Whether it is still in the list. */
static bool release(struct qd_daemon *daemon, struct qd_lock **link)
{
    struct qd_lock *lock = *link;
    struct qd_wait *next = lock->first;

    if (next) {
        lock->first = next->next;
        lock->owner = next->call;
        make_ready(next);
        return true;
    }
    *link = lock->next;
    qd_object_unref(daemon->model, lock->object);
    free(lock);
    return false;
}

static int unlock(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);
    struct qd_object *qube = qd_check_object(L, 1);

    for (struct qd_lock **link = &daemon->locks; *link; link = &(*link)->next) {
        if ((*link)->object == qube && (*link)->owner == daemon->running) {
            release(daemon, link);
            return 0;
        }
    }
    return luaL_error(L, "the call does not have this lock");
}

void qd_locks_release(struct qd_call *call)
{
    struct qd_lock **link = &call->daemon->locks;

    while (*link) {
        if ((*link)->owner != call || release(call->daemon, link))
            link = &(*link)->next;
    }
}

/* ---- the store ---- */

static int commit(lua_State *L)
{
    struct qd_call *call = check_waiter(L);
    struct qd_wait *wait;

    if (call->commits == 0)
        return 0;
    wait = wait_new(call, NULL);
    if (!wait)
        return luaL_error(L, "no memory");
    wait->committing = true;
    return yield(L);
}

void qd_wait_committed(struct qd_call *call)
{
    if (!call->wait || !call->wait->committing)
        return;
    if (call->commit_error) {
        call->wait->failed = true;
        call->wait->text = call->commit_message ? strdup(call->commit_message) : NULL;
    }
    make_ready(call->wait);
}

/* ---- libvirt ---- */

static int push_virt(lua_State *L, struct qd_wait *wait)
{
    if (wait->text)
        lua_pushstring(L, wait->text);
    else
        lua_pushinteger(L, wait->number);
    return 1;
}

static void virt_done(void *context, const struct qd_virt_result *result)
{
    struct qd_wait *wait = context;

    if (result->error) {
        wait->failed = true;
        wait->text = strdup(result->message ? result->message : "libvirt failed");
    } else {
        wait->text = result->text ? strdup(result->text) : NULL;
        wait->number = result->text ? 0 : result->number;
        if (!result->text && result->number == 0)
            wait->number = result->domain_id;
    }
    resume(wait);
}

/* core.virt(qube, operation, argument, flags, seconds) */
static int virt(lua_State *L)
{
    static const char *const operations[] = {[QD_VIRT_DEFINE] = "define",
                                             [QD_VIRT_CREATE] = "create",
                                             [QD_VIRT_SUSPEND] = "suspend",
                                             [QD_VIRT_RESUME] = "resume",
                                             [QD_VIRT_SHUTDOWN] = "shutdown",
                                             [QD_VIRT_DESTROY] = "destroy",
                                             [QD_VIRT_PM_SUSPEND] = "pm_suspend",
                                             [QD_VIRT_PM_WAKEUP] = "pm_wakeup",
                                             [QD_VIRT_UNDEFINE] = "undefine",
                                             [QD_VIRT_STATE] = "state",
                                             [QD_VIRT_XML] = "xml",
                                             NULL};
    struct qd_object *qube = qd_check_qube(L, 1);
    int operation = luaL_checkoption(L, 2, NULL, operations);
    const char *argument = luaL_optstring(L, 3, NULL);
    lua_Integer flags = luaL_optinteger(L, 4, 0);
    double seconds = lua_isnoneornil(L, 5) ? 60 : check_seconds(L, 5);
    struct qd_call *call = qd_check_writer(L);
    struct qd_wait *wait;

    check_waiter(L);
    wait = wait_new(call, push_virt);
    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    if (qd_virt_submit(call->daemon->virt, operation, qube->uuid, argument, (unsigned)flags,
                       (unsigned)(seconds * 1000), virt_done, wait) < 0) {
        wait_drop(wait);
        return luaL_error(L, "no memory");
    }
    return yield(L);
}

static void set_field(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static int push_stats(lua_State *L, struct qd_wait *wait)
{
    lua_createtable(L, (int)wait->count, 0);
    for (size_t i = 0; i < wait->count; i++) {
        const struct qd_virt_domain *domain = &wait->domains[i];

        lua_createtable(L, 0, 8);
        lua_pushstring(L, domain->uuid);
        lua_setfield(L, -2, "uuid");
        lua_pushstring(L, domain->name);
        lua_setfield(L, -2, "name");
        set_field(L, "state", (uint64_t)domain->state);
        set_field(L, "domain_id", (uint64_t)domain->domain_id);
        set_field(L, "cpu_time", domain->cpu_time_ns);
        set_field(L, "memory_kib", domain->memory_kib);
        set_field(L, "max_memory_kib", domain->max_memory_kib);
        set_field(L, "vcpus", domain->vcpus);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static void stats_done(void *context, int error, const char *message, const struct qd_virt_domain *domains,
                       size_t count)
{
    struct qd_wait *wait = context;

    if (!error && wait->call && count) {
        wait->domains = calloc(count, sizeof(*wait->domains));
        wait->count = wait->domains ? count : 0;
        for (size_t i = 0; i < wait->count; i++) {
            wait->domains[i] = domains[i];
            wait->domains[i].name = strdup(domains[i].name ? domains[i].name : "");
        }
    } else if (error) {
        wait->failed = true;
        wait->text = strdup(message ? message : "libvirt failed");
    }
    resume(wait);
}

static int virt_stats(lua_State *L)
{
    double seconds = lua_isnoneornil(L, 1) ? 5 : check_seconds(L, 1);
    struct qd_call *call = check_waiter(L);
    struct qd_wait *wait = wait_new(call, push_stats);

    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    if (qd_virt_get_stats(call->daemon->virt, (unsigned)(seconds * 1000), stats_done, wait) < 0) {
        wait_drop(wait);
        return luaL_error(L, "no memory");
    }
    return yield(L);
}

/* ---- files, on libuv's threads ---- */

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
    resume(wait);
}

static int start_file(lua_State *L, bool directory, int (*push)(lua_State *L, struct qd_wait *wait),
                      uv_fs_cb done)
{
    const char *path = luaL_checkstring(L, 1);
    struct qd_call *call = check_waiter(L);
    struct qd_wait *wait = wait_new(call, push);
    int r;

    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    wait->request.data = wait;
    r = directory ? uv_fs_scandir(&call->daemon->loop, &wait->request, path, 0, done)
                  : uv_fs_stat(&call->daemon->loop, &wait->request, path, done);
    if (r < 0) {
        wait_drop(wait);
        return luaL_error(L, "%s: %s", path, uv_strerror(r));
    }
    return yield(L);
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
    resume(wait);
}

static int list_directory(lua_State *L)
{
    return start_file(L, true, push_names, scan_done);
}

/* ---- reload ---- */

static int push_reload(lua_State *L, struct qd_wait *wait)
{
    lua_pushboolean(L, wait->flag);
    lua_pushinteger(L, wait->daemon->generation->number);
    lua_pushstring(L, wait->daemon->generation->digest);
    lua_pushstring(L, wait->text ? wait->text : "");
    return 4;
}

static void reloaded(void *context, const char *error)
{
    struct qd_wait *wait = context;

    wait->flag = error == NULL;
    wait->text = error ? strdup(error) : NULL;
    make_ready(wait);
}

static int change_generation(lua_State *L, int (*request)(struct qd_daemon *daemon, struct qd_wait *wait))
{
    struct qd_call *call = qd_check_writer(L);
    struct qd_wait *wait;
    int r;

    check_waiter(L);
    wait = wait_new(call, push_reload);
    if (!wait)
        return luaL_error(L, "no memory");
    wait->handed = true;
    r = request(call->daemon, wait);
    if (r < 0) {
        wait_drop(wait);
        if (r == -EALREADY)
            return qd_raise(L, "QubesException", "another call does so already");
        return luaL_error(L, "no memory");
    }
    return yield(L);
}

static int request_reload(struct qd_daemon *daemon, struct qd_wait *wait)
{
    return qd_reload_request(daemon, "a call asked for it", reloaded, wait);
}

static int request_rollback(struct qd_daemon *daemon, struct qd_wait *wait)
{
    return qd_reload_rollback(daemon, reloaded, wait);
}

/* core.reload(), core.rollback(): whether it worked, and the generation that serves now: number and digest;
 * what was wrong. */
static int reload(lua_State *L)
{
    return change_generation(L, request_reload);
}

static int rollback(lua_State *L)
{
    return change_generation(L, request_rollback);
}

void qd_bind_wait_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"sleep", sleep_seconds},   {"wait", wait_power},   {"lock", lock},
        {"unlock", unlock},         {"commit", commit},     {"virt", virt},
        {"virt_stats", virt_stats}, {"stat", stat_file},    {"list_directory", list_directory},
        {"reload", reload},         {"rollback", rollback}, {NULL, NULL},
    };

    luaL_setfuncs(L, functions, 0);
}
