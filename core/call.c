/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A call's life: a coroutine is started, runs until it waits or ends, and the answer goes out when everything
 * it changed is on disk.
 */
#include "qd/call.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/connection.h"
#include "qd/explain.h"
#include "qd/generation.h"
#include "qd/log.h"
#include "qd/run.h"

#define THREADS_KEPT 64
#define ANCHORS 2 /* see push_handler */

struct qd_call *qd_call_new(struct qd_daemon *daemon, struct qd_generation *generation,
                            const struct qd_method *method)
{
    struct qd_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->daemon = daemon;
    call->generation = qd_generation_ref(generation);
    call->method = method;
    call->serial = ++daemon->calls_made;
    call->state = method ? QD_CALL_CHECKED : QD_CALL_PERMITTED;
    call->thread_ref = LUA_NOREF;
    call->next = daemon->calls;
    if (call->next)
        call->next->previous = call;
    daemon->calls = call;
    return call;
}

static void call_free(struct qd_call *call)
{
    struct qd_daemon *daemon = call->daemon;

    if (call->previous)
        call->previous->next = call->next;
    else
        daemon->calls = call->next;
    if (call->next)
        call->next->previous = call->previous;
    qd_journal_free(daemon->model, &call->journal);
    qd_outbox_drop(&call->outbox);
    if (call->source)
        qd_object_unref(daemon->model, call->source);
    if (call->dest)
        qd_object_unref(daemon->model, call->dest);
    qd_generation_unref(call->generation);
    free(call->request);
    free(call->answer);
    free(call->commit_message);
    free(call->spawned);
    free(call);
}

/* (call): takes a coroutine, a kept one or a new one. Protected, on the main thread; the coroutine is left.
 */
static int take_thread(lua_State *L)
{
    struct qd_call *call = lua_touserdata(L, 1);
    struct qd_generation *generation = call->generation;

    lua_rawgeti(L, LUA_REGISTRYINDEX, generation->threads);
    if (generation->thread_count > 0) {
        lua_rawgeti(L, -1, (lua_Integer)generation->thread_count);
        lua_pushnil(L);
        lua_rawseti(L, -3, (lua_Integer)generation->thread_count);
        generation->thread_count--;
        call->thread = lua_tothread(L, -1);
    } else {
        call->thread = lua_newthread(L);
        lua_sethook(call->thread, NULL, 0, 0);
    }
    call->thread_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* (call): gives the coroutine back. Protected, on the main thread. */
static int give_thread(lua_State *L)
{
    struct qd_call *call = lua_touserdata(L, 1);
    struct qd_generation *generation = call->generation;

    if (generation->thread_count >= THREADS_KEPT)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, generation->threads);
    lua_pushthread(call->thread);
    lua_xmove(call->thread, L, 1);
    lua_rawseti(L, -2, (lua_Integer)generation->thread_count + 1);
    generation->thread_count++;
    return 0;
}

/* For qd_task_run. */
struct qd_told {
    bool ended, failed;
    char *message;
};

static void tell_failure(struct qd_call *call, const char *message)
{
    if (!call->told || call->told->failed)
        return;
    call->told->failed = true;
    call->told->message = strdup(message);
}

static void tell_end(struct qd_call *call)
{
    if (call->told)
        call->told->ended = true;
}

static int run_on_main(struct qd_call *call, lua_CFunction function)
{
    lua_State *L = call->generation->L;
    int status;

    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, call);
    status = qd_run_protected(L, 1, 0);
    if (status != LUA_OK) {
        qd_log(QD_LOG_ERROR, "a call could not be set up: %s",
               lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error object");
        lua_pop(L, 1);
        return -ENOMEM;
    }
    return 0;
}

/* What scripts still hold of the call is dead from here on. */
static void end_script(struct qd_call *call)
{
    qd_wait_detach(call);
    qd_locks_release(call);
    if (call->handle)
        call->handle->call = NULL;
    if (call->untrusted)
        call->untrusted->call = NULL;
    call->handle = NULL;
    call->untrusted = NULL;
    if (!call->thread)
        return;
    if (lua_resetthread(call->thread) == LUA_OK)
        run_on_main(call, give_thread);
    luaL_unref(call->generation->L, LUA_REGISTRYINDEX, call->thread_ref);
    call->thread = NULL;
}

struct spawn {
    struct qd_generation *generation;
    int reference;
};

/* The function and its arguments, which the caller of core.spawn left in an array. */
static int push_spawned(lua_State *L, void *context)
{
    struct spawn *spawn = context;
    int count;

    lua_rawgeti(L, LUA_REGISTRYINDEX, spawn->reference);
    count = (int)luaL_len(L, -1);
    luaL_checkstack(L, count, "core.spawn");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, -i, i);
    lua_remove(L, -count - 1);
    return count;
}

static void start_task(struct qd_daemon *daemon, struct qd_generation *generation,
                       int (*push)(lua_State *L, void *context), void *context, struct qd_told *told);

static void start_spawned(struct qd_daemon *daemon, struct qd_generation *generation, int *references,
                          size_t count, bool run)
{
    for (size_t i = 0; i < count; i++) {
        struct spawn spawn = {generation, references[i]};

        if (run && !daemon->stopping)
            start_task(daemon, generation, push_spawned, &spawn, NULL);
        luaL_unref(generation->L, LUA_REGISTRYINDEX, references[i]);
    }
}

/* Everything is done: the answer can go. */
static void answer(struct qd_call *call)
{
    struct qd_connection *connection = call->connection;
    struct qd_daemon *daemon = call->daemon;
    struct qd_generation *generation = qd_generation_ref(call->generation);
    bool good = call->commit_error == 0;
    int *spawned = call->spawned;
    size_t count = call->spawned_count;

    call->spawned = NULL;
    call->state = QD_CALL_ANSWERED;
    if (!good)
        tell_failure(call, call->commit_message ? call->commit_message
                                                : "the change could not be stored, and was taken back");
    tell_end(call);
    call->connection = NULL;
    if (connection) {
        connection->call = NULL;
        if (!good)
            qd_answer_exception(daemon, connection, "QubesException", NULL,
                                call->commit_message ? call->commit_message
                                                     : "the change could not be stored, and was taken back");
        else if (call->streaming && !connection->subscriber)
            qd_connection_finish(connection);
        else if (!connection->subscriber)
            qd_connection_answer(connection, QD_FRAME_OK, QD_FRAME_HEAD_SIZE,
                                 call->answer ? call->answer : "", call->answer_size);
    }
    call_free(call);
    start_spawned(daemon, generation, spawned, count, good);
    free(spawned);
    qd_generation_unref(generation);
}

void qd_call_committed(struct qd_call *call, int error, const char *message)
{
    call->commits--;
    if (error && !call->commit_error) {
        call->commit_error = error;
        if (asprintf(&call->commit_message, "the change could not be stored, and was taken back: %s",
                     message) < 0)
            call->commit_message = NULL;
    }
    if (call->commits > 0)
        return;
    if (call->finished)
        answer(call);
    else
        qd_wait_committed(call);
}

/* The handler returned. A long answer is copied only when it has to wait for the disk. */
static void succeed(struct qd_call *call, int results)
{
    size_t size = 0;
    const char *text = "";

    if (results > 0 && lua_type(call->thread, -results) == LUA_TSTRING)
        text = lua_tolstring(call->thread, -results, &size);
    if (qd_commit_seal(call) < 0) {
        call->commit_error = -ENOMEM;
    } else if (call->commits == 0 && call->connection && !call->streaming && !call->connection->subscriber) {
        struct qd_connection *connection = call->connection;

        call->connection = NULL;
        qd_connection_answer(connection, QD_FRAME_OK, QD_FRAME_HEAD_SIZE, text, size);
    } else if (size > 0) {
        call->answer = malloc(size);
        if (call->answer)
            memcpy(call->answer, text, size);
        call->answer_size = call->answer ? size : 0;
    }
    end_script(call);
    call->finished = true;
    if (call->commits == 0)
        answer(call);
}

void qd_savepoint_begin(struct qd_call *call, struct qd_savepoint *ret_savepoint)
{
    *ret_savepoint = (struct qd_savepoint){call->journal.count, call->spawned_count, call->outbox};
    call->outbox = (struct qd_outbox){0};
}

void qd_savepoint_end(struct qd_call *call, struct qd_savepoint *savepoint, bool stays)
{
    if (!stays) {
        qd_journal_undo_to(call->daemon->model, &call->journal, savepoint->changes);
        qd_outbox_keep_announcements(&call->outbox);
        while (call->spawned_count > savepoint->spawned)
            luaL_unref(call->generation->L, LUA_REGISTRYINDEX, call->spawned[--call->spawned_count]);
    }
    qd_outbox_append(&savepoint->outbox, &call->outbox);
    call->outbox = savepoint->outbox;
}

static const char *call_name(const struct qd_call *call)
{
    return call->method ? call->method->name : "a task";
}

static void log_failure(const struct qd_call *call, const char *what)
{
    qd_log(QD_LOG_ERROR, "%s+%.*s (%s -> %s), %zu bytes of payload: %s", call_name(call), (int)call->arg.size,
           call->arg.data ? call->arg.data : "", call->source ? call->source->name->data : "-",
           call->dest ? call->dest->name->data : "-", call->payload.size, what);
}

/* What a failed coroutine leaves: an exception of the API, or an internal error. */
struct failure {
    lua_State *thread;
    bool known;
    const char *class_name, *message, *traceback; /* strings on the main thread's stack */
};

/* (failure): class, message, traceback. Protected, on the main thread, since describing needs memory too. */
static int describe_failure(lua_State *L)
{
    struct failure *failure = lua_touserdata(L, 1);
    lua_State *thread = failure->thread;

    luaL_checkstack(L, 8, "failure");
    lua_settop(L, 0);
    lua_pushvalue(thread, -1);
    lua_xmove(thread, L, 1);
    failure->known = qd_exception_push_parts(L, 1);
    if (!failure->known) {
        lua_pushliteral(L, "QubesException");
        if (lua_type(L, 1) == LUA_TSTRING)
            lua_pushvalue(L, 1);
        else
            lua_pushfstring(L, "an error object that is no exception: a %s", luaL_typename(L, 1));
    }
    luaL_traceback(L, thread, NULL, 0);
    return 3;
}

/* Answers an exception, or, for an internal error, closes the connection: the log has it whole, the caller
 * learns nothing. */
static void answer_failure(struct qd_call *call, const struct failure *failure)
{
    struct qd_connection *connection = call->connection;

    call->connection = NULL;
    if (!failure->known) {
        qd_log(QD_LOG_ERROR, "%s+%.*s (%s -> %s), %zu bytes of payload: %s\n%s", call_name(call),
               (int)call->arg.size, call->arg.data ? call->arg.data : "",
               call->source ? call->source->name->data : "-", call->dest ? call->dest->name->data : "-",
               call->payload.size, failure->message, failure->traceback);
        call->daemon->status.failed++;
    } else if (!call->method && !call->told) {
        log_failure(call, failure->message);
    }
    tell_failure(call, failure->message);
    if (!connection)
        return;
    if (call->resubscribing) {
        connection->call = NULL;
        qd_connection_finish(connection);
    } else if (failure->known) {
        qd_answer_exception(call->daemon, connection, failure->class_name, failure->traceback,
                            failure->message);
    } else if (call->daemon->config.debug) {
        qd_answer_exception(call->daemon, connection, "QubesException", failure->traceback, failure->message);
    } else {
        connection->call = NULL;
        qd_connection_abort(connection);
    }
}

/* Takes what a failed coroutine left apart. Its strings are on the main thread's stack, for the caller to
 * take off. */
static struct failure take_failure(struct qd_call *call)
{
    struct failure failure = {
        .thread = call->thread, .class_name = "QubesException", .message = "no memory", .traceback = ""};
    lua_State *L = call->generation->L;

    lua_pushcfunction(L, describe_failure);
    lua_pushlightuserdata(L, &failure);
    if (qd_run_protected(L, 1, 3) == LUA_OK) {
        failure.class_name = lua_tostring(L, -3);
        failure.message = lua_tostring(L, -2);
        failure.traceback = lua_tostring(L, -1);
    }
    return failure;
}

/* The handler failed: nothing of what it changed since it last waited stays. */
static void fail(struct qd_call *call)
{
    lua_State *L = call->generation->L;
    int top = lua_gettop(L);
    struct failure failure;

    qd_journal_undo(call->daemon->model, &call->journal);
    qd_outbox_keep_announcements(&call->outbox);
    qd_commit_flush(call);
    failure = take_failure(call);
    answer_failure(call, &failure);
    lua_settop(L, top);
    end_script(call);
    start_spawned(call->daemon, call->generation, call->spawned, call->spawned_count, false);
    call->spawned_count = 0;
    call->finished = true;
    call->commit_error = 0;
    if (call->commits == 0)
        answer(call);
}

/* The end of an explained call. It could change nothing, so there is nothing to undo. */
static void end_dry(struct qd_call *call, int status, int results)
{
    lua_State *L = call->generation->L;
    int top = lua_gettop(L);

    if (status == LUA_OK) {
        size_t size = 0;
        const char *text = results > 0 ? lua_tolstring(call->thread, -results, &size) : NULL;

        qd_dry_ended(call, text ? text : "", size);
    } else if (call->dry->stopped) {
        qd_dry_ended(call, NULL, 0);
    } else {
        struct failure failure = take_failure(call);

        qd_dry_raised(call, failure.known, failure.class_name, failure.message);
    }
    lua_settop(L, top);
    end_script(call);
    call_free(call);
}

/* After each run of the coroutine. */
static void settle(struct qd_call *call, int status, int results)
{
    if (call->dry && call->dry->stopped) {
        end_dry(call, LUA_YIELD, 0);
        return;
    }
    if (status == LUA_YIELD) {
        lua_pop(call->thread, results);
        if (call->wait)
            return;
        lua_pushliteral(call->thread, "a coroutine yielded without waiting for anything");
        status = LUA_ERRRUN;
    } else if (status == LUA_OK && call->method && call->state != QD_CALL_PERMITTED) {
        lua_pushfstring(call->thread, "%s returned without having asked permission", call->method->name);
        status = LUA_ERRRUN;
    } else if (status == LUA_OK && results > 0 && !lua_isnil(call->thread, -results) &&
               lua_type(call->thread, -results) != LUA_TSTRING && call->method) {
        lua_pushfstring(call->thread, "%s returned a %s: an answer is a string or nil", call->method->name,
                        luaL_typename(call->thread, -results));
        status = LUA_ERRRUN;
    }
    if (call->dry)
        end_dry(call, status, results);
    else if (status == LUA_OK)
        succeed(call, results);
    else
        fail(call);
}

void qd_call_resume(struct qd_call *call, int arguments)
{
    struct qd_daemon *daemon = call->daemon;
    struct qd_call *outer = daemon->running;
    int results, status;

    daemon->running = call;
    status = qd_run_resume(call->generation, call->thread, arguments, &results);
    daemon->running = outer;
    /* When a coroutine ends, everything on its stack counts as its results. */
    if (status == LUA_OK && call->method)
        results -= ANCHORS;
    settle(call, status, results);
}

/* (call): the handler and its arguments on the coroutine. Protected, on the coroutine. Below them, for as
 * long as the call lasts, stand the values that the call points to (ANCHORS), so that none is collected
 * before the call has ended. */
static int push_handler(lua_State *L)
{
    struct qd_call *call = lua_touserdata(L, 1);
    bool with_payload = call->method->payload != QD_NEED_NONE;

    lua_settop(L, 0);
    qd_push_call(L, call);
    if (with_payload)
        call->untrusted = qd_push_untrusted(L, call);
    else
        lua_pushnil(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->method->handler);
    lua_pushvalue(L, 1);
    if (with_payload)
        lua_pushvalue(L, 2);
    return lua_gettop(L);
}

/* Sets a thread up by a protected function that returns what is to be called and its arguments. */
static int prepare(struct qd_call *call, lua_CFunction function, void *argument)
{
    if (run_on_main(call, take_thread) < 0)
        return -ENOMEM;
    lua_pushcfunction(call->thread, function);
    lua_pushlightuserdata(call->thread, argument);
    if (qd_run_protected(call->thread, 1, LUA_MULTRET) == LUA_OK)
        return 0;
    log_failure(call, lua_type(call->thread, -1) == LUA_TSTRING ? lua_tostring(call->thread, -1)
                                                                : "it could not be set up");
    return -ENOMEM;
}

static void give_up(struct qd_call *call)
{
    struct qd_connection *connection = call->connection;

    call->connection = NULL;
    if (connection) {
        connection->call = NULL;
        qd_connection_abort(connection);
    }
    tell_failure(call, "it could not be started, or had to stop");
    tell_end(call);
    end_script(call);
    call_free(call);
}

void qd_call_start(struct qd_call *call)
{
    if (!call->dry)
        call->daemon->status.calls++;
    if (prepare(call, push_handler, call) < 0)
        give_up(call);
    else
        qd_call_resume(call, lua_gettop(call->thread) - ANCHORS - 1);
}

struct task {
    int (*push)(lua_State *L, void *context);
    void *context;
};

static int push_task(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);

    lua_settop(L, 0);
    return task->push(L, task->context);
}

static void start_task(struct qd_daemon *daemon, struct qd_generation *generation,
                       int (*push)(lua_State *L, void *context), void *context, struct qd_told *told)
{
    struct qd_call *call = qd_call_new(daemon, generation, NULL);
    struct task task = {push, context};

    if (!call) {
        if (told)
            *told = (struct qd_told){.ended = true, .failed = true};
        return;
    }
    call->told = told;
    if (prepare(call, push_task, &task) < 0)
        give_up(call);
    else if (lua_gettop(call->thread) == 0 || lua_isnil(call->thread, 1))
        give_up(call); /* there is no such hook */
    else
        qd_call_resume(call, lua_gettop(call->thread) - 1);
}

struct named_task {
    const char *name;
    int (*push)(lua_State *L, void *context);
    void *context;
};

static int push_named(lua_State *L, void *context)
{
    struct named_task *task = context;

    lua_rawgeti(L, LUA_REGISTRYINDEX, qd_generation_of(L)->core_hooks);
    if (lua_getfield(L, -1, task->name) == LUA_TNIL)
        return 0;
    lua_remove(L, -2);
    return 1 + (task->push ? task->push(L, task->context) : 0);
}

void qd_task_start(struct qd_daemon *daemon, const char *name, int (*push)(lua_State *L, void *context),
                   void *context)
{
    struct named_task task = {name, push, context};

    start_task(daemon, daemon->generation, push_named, &task, NULL);
}

int qd_task_run(struct qd_daemon *daemon, const char *name, int (*push)(lua_State *L, void *context),
                void *context, char **ret_message)
{
    struct named_task task = {name, push, context};
    struct qd_told told = {0};

    start_task(daemon, daemon->generation, push_named, &task, &told);
    while (!told.ended)
        uv_run(&daemon->loop, UV_RUN_ONCE);
    if (!told.failed)
        return 0;
    *ret_message = told.message;
    return -ECANCELED;
}

void qd_call_client_left(struct qd_call *call)
{
    call->connection = NULL;
    if (!call->method || !call->method->cancellable || !call->wait || call->finished)
        return;
    qd_journal_undo(call->daemon->model, &call->journal);
    qd_outbox_drop(&call->outbox);
    end_script(call);
    start_spawned(call->daemon, call->generation, call->spawned, call->spawned_count, false);
    call->spawned_count = 0;
    call->finished = true;
    if (call->commits == 0)
        answer(call);
}

void qd_call_abandon_all(struct qd_daemon *daemon)
{
    struct qd_call *next;

    for (struct qd_call *call = daemon->calls; call; call = next) {
        next = call->next;
        if (call->finished)
            continue;
        qd_journal_undo(daemon->model, &call->journal);
        start_spawned(daemon, call->generation, call->spawned, call->spawned_count, false);
        call->spawned_count = 0;
        if (call->commits == 0) {
            give_up(call);
        } else {
            end_script(call);
            call->finished = true;
        }
    }
}
