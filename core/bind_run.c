/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.run: runs a program and waits for its end (program.h).
 */
#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/program.h"
#include "qd/wait.h"

#define ARGUMENTS_MAX 64
#define INPUT_MAX (1u << 20)
#define OUTPUT_DEFAULT (64u << 10)
#define OUTPUT_MAX (1u << 20)
#define SECONDS_DEFAULT 30.0
#define SECONDS_MAX 3600.0

static void push_bytes(lua_State *L, const char *name, const struct qd_program_bytes *bytes)
{
    lua_pushlstring(L, bytes->data ? bytes->data : "", bytes->size);
    lua_setfield(L, -2, name);
}

static int push_result(lua_State *L, void *context)
{
    struct qd_program_result *result = context;

    lua_createtable(L, 0, 5);
    push_bytes(L, "output", &result->output);
    push_bytes(L, "error_output", &result->error_output);
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

/* What the table says; everything points into Lua's strings, which the table holds. */
struct request {
    struct qd_program_request program;
    const char *arguments[ARGUMENTS_MAX + 2];
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

    request->arguments[0] = request->program.program;
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
    request->program.arguments = request->arguments;
    lua_getfield(L, 1, "program");
    request->program.program = check_text(L, -1, "program");
    if (request->program.program[0] != '/')
        luaL_error(L, "core.run: program has to be a path from the root: '%s'", request->program.program);
    lua_pop(L, 1);
    check_arguments(L, request);
    request->program.input = "";
    request->program.input_size = 0;
    if (lua_getfield(L, 1, "input") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "core.run: input has to be a string");
        request->program.input = lua_tolstring(L, -1, &request->program.input_size);
        if (request->program.input_size > INPUT_MAX)
            luaL_error(L, "core.run: more than %d bytes of input", (int)INPUT_MAX);
    }
    lua_pop(L, 1);
    request->program.seconds = check_number(L, "seconds", SECONDS_DEFAULT, SECONDS_MAX);
    request->program.output_max = (size_t)check_number(L, "max_output", OUTPUT_DEFAULT, OUTPUT_MAX);
}

/* A result of program.c. */
static void on_done(void *context, struct qd_program_result *result)
{
    qd_wait_done(context, result);
}

/* core.run{ program =, args =, input =, seconds =, max_output = } */
static int run(lua_State *L)
{
    struct request request;
    struct qd_call *call = qd_check_writer(L);
    struct qd_wait *wait;
    int r;

    check_request(L, &request);
    lua_settop(L, 1);
    qd_wait_check(L);
    wait = qd_wait_begin(call, push_result, qd_program_result_free);
    if (!wait)
        return luaL_error(L, "no memory");
    r = qd_program_start(call->daemon, &request.program, on_done, wait);
    if (r < 0) {
        qd_wait_drop(wait);
        return luaL_error(L, r == -EAGAIN ? "core.run: too many programs at a time" : "no memory");
    }
    return qd_wait_yield(L);
}

void qd_bind_run_open(lua_State *L)
{
    lua_pushcfunction(L, run);
    lua_setfield(L, -2, "run");
}
