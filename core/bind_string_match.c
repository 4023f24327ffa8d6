/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE 1 /* memmem */

#include <lauxlib.h>
#include <string.h>

#include "bind_string_private.h"
#include "qd/bind_string.h"
#include "qd/pattern.h"

/* Everything in this file may raise, and nothing holds more than the stack of Lua does. */

/* One call of a function that matches: what it searches, and what it may still spend. */
struct search {
    struct qd_pattern_input input;
    struct qd_pattern_match match; /* the last one */
    uint64_t default_left;
    uint64_t allowed; /* by the budget; UINT64_MAX: by default_left */
};

/* The strings must stay on the stack, or in upvalues, as long as the search. */
static void search_begin(lua_State *L, struct search *search, int subject, int pattern)
{
    search->input = (struct qd_pattern_input){.refused_end = QD_PATTERN_NO_END};
    search->input.subject = luaL_checklstring(L, subject, &search->input.subject_size);
    search->input.pattern = luaL_checklstring(L, pattern, &search->input.pattern_size);
    search->default_left = QD_PATTERN_STEPS;
}

/* The next match, or false. */
static bool search_next(lua_State *L, struct search *search)
{
    bool by_default = search->allowed == UINT64_MAX;
    uint64_t limit = by_default ? search->default_left : search->allowed;
    uint64_t left = limit;
    const char *message = "pattern is too costly";
    int r = qd_pattern_match(&search->input, &left, &search->match, &message);

    if (by_default)
        search->default_left = left;
    search->allowed = qd_string_charge(L, limit - left);
    if (r < 0)
        luaL_error(L, "%s", message);
    return r > 0;
}

/* Where a search begins, as an offset: positions count from 1, negative ones from the end. */
static size_t check_start(lua_State *L, int argument, size_t size)
{
    lua_Integer position = luaL_optinteger(L, argument, 1);

    if (position > 0)
        return (size_t)position - 1;
    if (position == 0 || position < -(lua_Integer)size)
        return 0;
    return size - (size_t)-position;
}

/* Pushes a capture; the first is the whole match where the pattern has none. */
static void push_capture(lua_State *L, const struct search *search, unsigned i)
{
    const struct qd_pattern_match *match = &search->match;
    const struct qd_pattern_capture *capture = &match->captures[i];

    if (i >= match->count) {
        if (i != 0)
            luaL_error(L, "invalid capture index %%%d", (int)i + 1);
        lua_pushlstring(L, search->input.subject + match->start, match->end - match->start);
    } else if (capture->size == QD_PATTERN_POSITION) {
        lua_pushinteger(L, (lua_Integer)capture->start + 1);
    } else if (capture->size == QD_PATTERN_UNFINISHED) {
        luaL_error(L, "unfinished capture");
    } else {
        lua_pushlstring(L, search->input.subject + capture->start, capture->size);
    }
}

/* Pushes all of them, at least `minimum` (0 or 1); returns how many. */
static int push_captures(lua_State *L, const struct search *search, unsigned minimum)
{
    unsigned count = search->match.count > minimum ? search->match.count : minimum;

    luaL_checkstack(L, (int)count, "too many captures");
    for (unsigned i = 0; i < count; i++)
        push_capture(L, search, i);
    return (int)count;
}

static int push_span(lua_State *L, size_t start, size_t end)
{
    lua_pushinteger(L, (lua_Integer)start + 1);
    lua_pushinteger(L, (lua_Integer)end);
    return 2;
}

static int find_plain(lua_State *L, const struct qd_pattern_input *input)
{
    const char *from = input->subject + input->start;
    size_t size = input->subject_size - input->start, start;
    const char *found = memmem(from, size, input->pattern, input->pattern_size);

    qd_string_charge_bytes(L, found ? (size_t)(found - from) : size);
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    start = (size_t)(found - input->subject);
    return push_span(L, start, start + input->pattern_size);
}

static int find_or_match(lua_State *L, bool find)
{
    struct search search;
    int count = 0;

    search_begin(L, &search, 1, 2);
    search.input.start = check_start(L, 3, search.input.subject_size);
    if (search.input.start > search.input.subject_size) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || qd_pattern_is_text(search.input.pattern, search.input.pattern_size)))
        return find_plain(L, &search.input);
    search.allowed = qd_string_charge(L, 0);
    if (!search_next(L, &search)) {
        lua_pushnil(L);
        return 1;
    }
    if (find)
        count = push_span(L, search.match.start, search.match.end);
    return count + push_captures(L, &search, find ? 0 : 1);
}

int qd_string_find(lua_State *L)
{
    return find_or_match(L, true);
}

int qd_string_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* Where a gmatch is; its third upvalue, after subject and pattern. */
struct iteration {
    size_t start, refused_end;
};

static int gmatch_next(lua_State *L)
{
    struct iteration *iteration = lua_touserdata(L, lua_upvalueindex(3));
    struct search search;

    search_begin(L, &search, lua_upvalueindex(1), lua_upvalueindex(2));
    search.input.start = iteration->start;
    search.input.refused_end = iteration->refused_end;
    search.input.caret_is_text = true;
    search.allowed = qd_string_charge(L, 0);
    if (!search_next(L, &search))
        return 0;
    iteration->start = iteration->refused_end = search.match.end;
    return push_captures(L, &search, 1);
}

int qd_string_gmatch(lua_State *L)
{
    struct iteration *iteration;
    size_t size, start;

    luaL_checklstring(L, 1, &size);
    luaL_checkstring(L, 2);
    start = check_start(L, 3, size);
    lua_settop(L, 2);
    iteration = lua_newuserdatauv(L, sizeof(*iteration), 0);
    *iteration = (struct iteration){.start = start, .refused_end = QD_PATTERN_NO_END};
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

/* The result of a gsub as it grows. */
struct result {
    luaL_Buffer buffer;
    size_t size;
};

static void result_grow(lua_State *L, struct result *result, size_t size)
{
    if (size > QD_STRING_SIZE_MAX - result->size) {
        qd_string_charge_bytes(L, result->size);
        luaL_error(L, "resulting string too large");
    }
    result->size += size;
}

static void result_add(lua_State *L, struct result *result, const char *data, size_t size)
{
    result_grow(L, result, size);
    luaL_addlstring(&result->buffer, data, size);
}

/* Adds the value on top of the stack, a string or a number, and pops it. */
static void result_add_value(lua_State *L, struct result *result)
{
    size_t size;

    lua_tolstring(L, -1, &size);
    result_grow(L, result, size);
    luaL_addvalue(&result->buffer);
}

/* The replacement is a string: `%1` stands for a capture, `%0` for the match, `%%` for a percent sign. */
static void replace_by_string(lua_State *L, const struct search *search, struct result *result)
{
    const struct qd_pattern_match *match = &search->match;
    size_t size;
    const char *text = lua_tolstring(L, 3, &size), *end = text + size, *escape;

    while ((escape = memchr(text, '%', (size_t)(end - text)))) {
        char what = escape[1]; /* NUL when it is the last byte */

        result_add(L, result, text, (size_t)(escape - text));
        if (what == '%') {
            result_add(L, result, "%", 1);
        } else if (what == '0') {
            result_add(L, result, search->input.subject + match->start, match->end - match->start);
        } else if (what >= '1' && what <= '9') {
            push_capture(L, search, (unsigned)(what - '1'));
            result_add_value(L, result);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
        text = escape + 2;
    }
    result_add(L, result, text, (size_t)(end - text));
}

/* Adds what replaces the match; whether that is something else than the match itself. Runs Lua for a
 * function, and for a table with a metamethod. */
static bool replace(lua_State *L, const struct search *search, struct result *result, int type)
{
    const struct qd_pattern_match *match = &search->match;

    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        replace_by_string(L, search, result);
        return true;
    }
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, search, 1), 1);
    } else {
        push_capture(L, search, 0);
        lua_gettable(L, 3);
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        result_add(L, result, search->input.subject + match->start, match->end - match->start);
        return false;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    result_add_value(L, result);
    return true;
}

int qd_string_gsub(lua_State *L)
{
    struct search search;
    struct result result = {.size = 0};
    int type = lua_type(L, 3);
    lua_Integer limit, count = 0;
    bool anchored, changed = false;
    const char *subject;
    size_t size;

    search_begin(L, &search, 1, 2);
    subject = search.input.subject;
    size = search.input.subject_size;
    limit = luaL_optinteger(L, 4, (lua_Integer)size + 1);
    luaL_argexpected(
        L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
        "string/function/table");
    anchored = qd_pattern_is_anchored(search.input.pattern, search.input.pattern_size);
    search.allowed = qd_string_charge(L, 0);
    luaL_buffinit(L, &result.buffer);
    while (count < limit && search_next(L, &search)) {
        count++;
        result_add(L, &result, subject + search.input.start, search.match.start - search.input.start);
        changed |= replace(L, &search, &result, type);
        search.input.start = search.input.refused_end = search.match.end;
        if (anchored)
            break;
        /* What ran in between may have spent of the same budget. */
        if (type == LUA_TFUNCTION || type == LUA_TTABLE)
            search.allowed = qd_string_charge(L, 0);
    }
    if (changed) {
        result_add(L, &result, subject + search.input.start, size - search.input.start);
        luaL_pushresult(&result.buffer);
    } else {
        lua_pushvalue(L, 1);
    }
    qd_string_charge_bytes(L, result.size);
    lua_pushinteger(L, count);
    return 2;
}
