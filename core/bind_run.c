/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.run: runs a program and waits for its end. No shell, no environment of ours, no descriptors but its
 * pipes, a process group of its own, which is killed at the deadline and at the program's end.
 *
 * A program ends three times: its process, its output and its error output, in any order. When all have, or
 * when what is left of its outputs does not end soon after it, the handles are closed and the call gets the
 * result.
 */
#include <lauxlib.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qd/bind_core.h"
#include "qd/wait.h"

#define PROGRAMS_MAX 32
#define ARGUMENTS_MAX 64
#define INPUT_MAX (1u << 20)
#define OUTPUT_DEFAULT (64u << 10)
#define OUTPUT_MAX (1u << 20)
#define SECONDS_DEFAULT 30.0
#define SECONDS_MAX 3600.0
#define LINGER_MS 500 /* for outputs that somebody still holds open when the program has ended */

enum { IN, OUT, ERR, PIPES };

struct bytes {
    char *data;
    size_t size;
};

struct result {
    int64_t status;
    int signal;
    struct bytes output[PIPES]; /* OUT and ERR */
    const char *error;          /* NULL: it ended by itself; a literal, or of uv_strerror */
};

struct qd_program {
    struct qd_program *next;
    struct qd_daemon *daemon;
    struct qd_wait *wait;
    struct result *result;
    uv_process_t process;
    uv_pipe_t pipes[PIPES];
    uv_timer_t timer;
    uv_write_t write;
    char *input;
    size_t output_max;
    unsigned handles, outputs; /* open */
    bool running, closing;
    char buffer[16384];
};

static void result_free(void *context)
{
    struct result *result = context;

    free(result->output[OUT].data);
    free(result->output[ERR].data);
    free(result);
}

static void push_bytes(lua_State *L, const char *name, const struct bytes *bytes)
{
    lua_pushlstring(L, bytes->data ? bytes->data : "", bytes->size);
    lua_setfield(L, -2, name);
}

static int push_result(lua_State *L, void *context)
{
    struct result *result = context;

    lua_createtable(L, 0, 5);
    push_bytes(L, "output", &result->output[OUT]);
    push_bytes(L, "error_output", &result->output[ERR]);
    if (result->error) {
        lua_pushstring(L, result->error);
        lua_setfield(L, -2, "error");
    }
    if (result->signal) {
        lua_pushinteger(L, result->signal);
        lua_setfield(L, -2, "signal");
    } else if (result->status >= 0) {
        lua_pushinteger(L, result->status);
        lua_setfield(L, -2, "status");
    }
    return 1;
}

static void program_free(struct qd_program *program)
{
    struct qd_program **link = &program->daemon->programs;

    while (*link && *link != program)
        link = &(*link)->next;
    if (*link)
        *link = program->next;
    program->daemon->program_count--;
    if (program->result)
        result_free(program->result);
    free(program->input);
    free(program);
}

static void handle_closed(uv_handle_t *handle)
{
    struct qd_program *program = handle->data;

    if (--program->handles == 0)
        program_free(program);
}

static void close_handle(uv_handle_t *handle)
{
    if (handle->type != UV_UNKNOWN_HANDLE && !uv_is_closing(handle))
        uv_close(handle, handle_closed);
}

static void kill_group(struct qd_program *program)
{
    if (program->process.pid > 0)
        kill(-program->process.pid, SIGKILL);
}

/* The result goes to whoever waits; the memory goes when the handles have closed. */
static void finish(struct qd_program *program)
{
    struct result *result = program->result;

    if (program->closing)
        return;
    program->closing = true;
    for (int i = 0; i < PIPES; i++)
        close_handle((uv_handle_t *)&program->pipes[i]);
    close_handle((uv_handle_t *)&program->timer);
    close_handle((uv_handle_t *)&program->process);
    program->result = NULL;
    if (program->wait)
        qd_wait_done(program->wait, result);
    else
        result_free(result);
    program->wait = NULL;
}

static void finish_if_over(struct qd_program *program)
{
    if (!program->running && program->outputs == 0)
        finish(program);
}

static void cut(struct qd_program *program, const char *why)
{
    if (!program->result)
        return;
    if (!program->result->error)
        program->result->error = why;
    if (program->running)
        kill_group(program); /* on_exit_of follows */
    else
        finish(program);
}

static void on_time(uv_timer_t *timer)
{
    struct qd_program *program = timer->data;

    if (program->running)
        cut(program, "it ran too long");
    else
        finish(program);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal_number)
{
    struct qd_program *program = process->data;

    program->running = false;
    if (program->closing)
        return;
    program->result->status = status;
    program->result->signal = signal_number;
    kill_group(program); /* what it has left behind */
    uv_timer_start(&program->timer, on_time, LINGER_MS, 0);
    finish_if_over(program);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    struct qd_program *program = handle->data;

    (void)suggested;
    *ret_buffer = uv_buf_init(program->buffer, sizeof(program->buffer));
}

static void on_output(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct qd_program *program = stream->data;
    struct bytes *output;
    size_t fits;
    char *grown;

    if (size == 0 || program->closing)
        return;
    if (size < 0) {
        program->outputs--;
        uv_read_stop(stream);
        finish_if_over(program);
        return;
    }
    output = &program->result->output[stream == (uv_stream_t *)&program->pipes[OUT] ? OUT : ERR];
    fits = program->output_max - output->size;
    if (fits > (size_t)size)
        fits = (size_t)size;
    grown = fits > 0 ? realloc(output->data, output->size + fits) : NULL;
    if (grown) {
        memcpy(grown + output->size, buffer->base, fits);
        output->data = grown;
        output->size += fits;
    }
    if (!grown || fits < (size_t)size)
        cut(program, fits > 0 && !grown ? "no memory for its output" : "it wrote too much");
}

/* A program need not read its input. */
static void on_written(uv_write_t *write, int status)
{
    struct qd_program *program = write->data;

    (void)status;
    if (!program->closing)
        close_handle((uv_handle_t *)&program->pipes[IN]);
}

/* ---- the request ---- */

/* What the table says; everything points into Lua's strings, which the table holds. */
struct request {
    const char *program, *input;
    const char *arguments[ARGUMENTS_MAX + 2];
    size_t input_size, output_max;
    double seconds;
};

static const char *check_text(lua_State *L, int index, const char *what)
{
    size_t size;
    const char *text;

    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "core.run: %s has to be a string", what);
    text = lua_tolstring(L, index, &size);
    if (strlen(text) != size)
        luaL_error(L, "core.run: %s has a NUL byte in it", what);
    return text;
}

static double check_number(lua_State *L, const char *name, double otherwise, double most)
{
    double value = otherwise;

    if (lua_getfield(L, 1, name) != LUA_TNIL) {
        if (!lua_isnumber(L, -1))
            luaL_error(L, "core.run: %s has to be a number", name);
        value = lua_tonumber(L, -1);
        if (!(value > 0 && value <= most))
            luaL_error(L, "core.run: %s has to be from 0 to %d", name, (int)most);
    }
    lua_pop(L, 1);
    return value;
}

static void check_arguments(lua_State *L, struct request *request)
{
    size_t count = 0;

    request->arguments[0] = request->program;
    if (lua_getfield(L, 1, "args") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        count = lua_rawlen(L, -1);
        if (count > ARGUMENTS_MAX)
            luaL_error(L, "core.run: more than %d arguments", ARGUMENTS_MAX);
        for (size_t i = 1; i <= count; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i);
            request->arguments[i] = check_text(L, -1, "an argument");
            lua_pop(L, 1);
        }
    }
    request->arguments[count + 1] = NULL;
    lua_pop(L, 1);
}

static void check_request(lua_State *L, struct request *request)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "program");
    request->program = check_text(L, -1, "program");
    if (request->program[0] != '/')
        luaL_error(L, "core.run: program has to be a path from the root: '%s'", request->program);
    lua_pop(L, 1);
    check_arguments(L, request);
    request->input = "";
    request->input_size = 0;
    if (lua_getfield(L, 1, "input") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "core.run: input has to be a string");
        request->input = lua_tolstring(L, -1, &request->input_size);
        if (request->input_size > INPUT_MAX)
            luaL_error(L, "core.run: more than %d bytes of input", (int)INPUT_MAX);
    }
    lua_pop(L, 1);
    request->seconds = check_number(L, "seconds", SECONDS_DEFAULT, SECONDS_MAX);
    request->output_max = (size_t)check_number(L, "max_output", OUTPUT_DEFAULT, OUTPUT_MAX);
}

static void init_handle(struct qd_program *program, uv_handle_t *handle)
{
    handle->data = program;
    program->handles++;
}

/* 0, or an error of libuv; the handles that are initialised then have to be closed. */
static int spawn(struct qd_program *program, const struct request *request)
{
    static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/", NULL};
    uv_loop_t *loop = &program->daemon->loop;
    uv_stdio_container_t stdio[PIPES];
    uv_process_options_t options = {.exit_cb = on_exit_of,
                                    .file = request->program,
                                    .args = (char **)request->arguments,
                                    .env = environment,
                                    .cwd = "/",
                                    .flags = UV_PROCESS_DETACHED, /* a process group of its own */
                                    .stdio_count = PIPES,
                                    .stdio = stdio};
    int r = uv_timer_init(loop, &program->timer);

    init_handle(program, (uv_handle_t *)&program->timer);
    for (int i = 0; i < PIPES; i++) {
        int one = uv_pipe_init(loop, &program->pipes[i], 0);

        r = r ? r : one;
        init_handle(program, (uv_handle_t *)&program->pipes[i]);
        stdio[i].flags = UV_CREATE_PIPE | (i == IN ? UV_READABLE_PIPE : UV_WRITABLE_PIPE);
        stdio[i].data.stream = (uv_stream_t *)&program->pipes[i];
    }
    if (r < 0)
        return r;
    /* Ours have it anyway; libraries, and whoever has started us, may have forgotten it. */
    close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    r = uv_spawn(loop, &program->process, &options);
    init_handle(program, (uv_handle_t *)&program->process);
    return r;
}

static void begin(struct qd_program *program, const struct request *request)
{
    uv_buf_t input = uv_buf_init(program->input, (unsigned)request->input_size);

    program->running = true;
    program->outputs = 2;
    program->write.data = program;
    uv_update_time(&program->daemon->loop);
    uv_timer_start(&program->timer, on_time, (uint64_t)(request->seconds * 1000), 0);
    uv_read_start((uv_stream_t *)&program->pipes[OUT], allocate, on_output);
    uv_read_start((uv_stream_t *)&program->pipes[ERR], allocate, on_output);
    if (uv_write(&program->write, (uv_stream_t *)&program->pipes[IN], &input, 1, on_written) < 0)
        close_handle((uv_handle_t *)&program->pipes[IN]);
}

/* The result of one that could not be started comes as any other does, from the loop. */
static void on_not_started(uv_timer_t *timer)
{
    finish(timer->data);
}

static struct qd_program *program_new(struct qd_daemon *daemon, const struct request *request)
{
    struct qd_program *program = calloc(1, sizeof(*program));

    if (!program)
        return NULL;
    program->daemon = daemon;
    program->output_max = request->output_max;
    program->result = calloc(1, sizeof(*program->result));
    program->input = malloc(request->input_size + 1);
    program->next = daemon->programs;
    daemon->programs = program;
    daemon->program_count++;
    if (!program->result || !program->input) {
        program_free(program);
        return NULL;
    }
    program->result->status = -1;
    memcpy(program->input, request->input, request->input_size);
    return program;
}

/* core.run{ program =, args =, input =, seconds =, max_output = } */
static int run(lua_State *L)
{
    struct request request;
    struct qd_program *program;
    struct qd_call *call = qd_check_writer(L);
    int r;

    check_request(L, &request);
    lua_settop(L, 1);
    qd_wait_check(L);
    if (call->daemon->program_count >= PROGRAMS_MAX)
        return luaL_error(L, "core.run: more than %d programs at a time", PROGRAMS_MAX);
    program = program_new(call->daemon, &request);
    if (!program)
        return luaL_error(L, "no memory");
    program->wait = qd_wait_begin(call, push_result, result_free);
    if (!program->wait) {
        program_free(program);
        return luaL_error(L, "no memory");
    }
    r = spawn(program, &request);
    if (r == 0) {
        begin(program, &request);
    } else {
        program->result->error = uv_strerror(r);
        uv_timer_start(&program->timer, on_not_started, 0, 0);
    }
    return qd_wait_yield(L);
}

void qd_programs_close(struct qd_daemon *daemon)
{
    for (struct qd_program *program = daemon->programs; program; program = program->next) {
        if (program->closing)
            continue;
        kill_group(program);
        finish(program);
    }
}

void qd_bind_run_open(lua_State *L)
{
    lua_pushcfunction(L, run);
    lua_setfield(L, -2, "run");
}
