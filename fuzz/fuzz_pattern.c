/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Patterns: the matcher alone, over bytes in blocks of exactly their size; then the whole string library
 * against the stock one. Input: a byte each for the sizes of pattern and replacement, start, limit and steps;
 * pattern; replacement; the rest is the subject.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../spec/c/pattern_compare.h"
#include "qd/pattern.h"

#define STEPS 20000 /* a match; keeps the stock matcher quick too */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct parts {
    const char *pattern, *replacement, *subject;
    size_t pattern_size, replacement_size, subject_size;
    int start, limit;
    uint64_t steps;
};

static uint64_t allow_some(lua_State *L, uint64_t used)
{
    (void)L;
    (void)used;
    return STEPS;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static char *copy(const char *data, size_t size)
{
    char *block = malloc(size);

    if (size && !block)
        fail("no memory");
    if (size)
        memcpy(block, data, size);
    return block;
}

static void check_captures(const struct qd_pattern_match *match, size_t subject_size)
{
    if (match->start > match->end || match->end > subject_size || match->count > QD_PATTERN_CAPTURES_MAX)
        fail("a match out of bounds");
    for (unsigned i = 0; i < match->count; i++) {
        const struct qd_pattern_capture *capture = &match->captures[i];

        if (capture->start > subject_size)
            fail("a capture begins out of bounds");
        if (capture->size != QD_PATTERN_POSITION && capture->size != QD_PATTERN_UNFINISHED &&
            capture->size > subject_size - capture->start)
            fail("a capture ends out of bounds");
    }
}

static void match_alone(const struct parts *parts)
{
    char *pattern = copy(parts->pattern, parts->pattern_size);
    char *subject = copy(parts->subject, parts->subject_size);
    struct qd_pattern_input input = {
        .pattern = pattern,
        .pattern_size = parts->pattern_size,
        .subject = subject,
        .subject_size = parts->subject_size,
        .start = parts->start < 0 ? 0 : (size_t)parts->start,
        .refused_end = parts->limit < 0 ? QD_PATTERN_NO_END : (size_t)parts->limit,
        .caret_is_text = parts->limit & 1,
    };
    struct qd_pattern_match match;
    uint64_t left = parts->steps;
    const char *message = NULL;
    int r = qd_pattern_match(&input, &left, &match, &message);

    if (r != 0 && r != 1 && r != -E2BIG && r != -EINVAL)
        fail("an unknown result");
    if ((r == -EINVAL) != (message != NULL) || (r == -E2BIG && left != 0) || left > parts->steps)
        fail("inconsistent outputs");
    if (r == 1) {
        check_captures(&match, parts->subject_size);
        if (match.end == input.refused_end || match.start < input.start)
            fail("a match that was not asked for");
    }
    free(pattern);
    free(subject);
}

static void match_in_library(const struct parts *parts)
{
    static lua_State *L;

    if (!L) {
        qd_bind_string_set_budget(allow_some);
        L = pattern_compare_new();
        if (!L)
            fail("no state");
    }
    lua_pushvalue(L, 1);
    lua_pushlstring(L, parts->subject, parts->subject_size);
    lua_pushlstring(L, parts->pattern, parts->pattern_size);
    lua_pushlstring(L, parts->replacement, parts->replacement_size);
    lua_pushinteger(L, parts->start);
    lua_pushinteger(L, parts->limit);
    if (lua_pcall(L, 5, 1, 0) != LUA_OK || !lua_isnil(L, -1))
        fail(lua_tostring(L, -1));
    lua_settop(L, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parts parts = {0};
    size_t rest;

    if (size < 5 || size > 600)
        return 0;
    rest = size - 5;
    parts.pattern_size = data[0] < rest ? data[0] : rest;
    rest -= parts.pattern_size;
    parts.replacement_size = data[1] % 16u < rest ? data[1] % 16u : rest;
    parts.subject_size = rest - parts.replacement_size;
    parts.start = (int)data[2] % 24 - 8;
    parts.limit = data[3] < 128 ? 1000 : (int)data[3] % 24 - 8;
    parts.steps = (uint64_t)data[4] * data[4];
    parts.pattern = (const char *)data + 5;
    parts.replacement = parts.pattern + parts.pattern_size;
    parts.subject = parts.replacement + parts.replacement_size;
    match_alone(&parts);
    match_in_library(&parts);
    return 0;
}
