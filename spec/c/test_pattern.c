/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The matcher of patterns, and the string library built on it: its bounds, and that it is otherwise the stock
 * one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pattern_compare.h"
#include "qd/pattern.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the matcher alone ---- */

static struct qd_pattern_input input_of(const char *subject, const char *pattern)
{
    return (struct qd_pattern_input){
        .subject = subject,
        .subject_size = strlen(subject),
        .pattern = pattern,
        .pattern_size = strlen(pattern),
        .refused_end = QD_PATTERN_NO_END,
    };
}

static int match(const char *subject, const char *pattern, struct qd_pattern_match *ret_match)
{
    struct qd_pattern_input input = input_of(subject, pattern);
    uint64_t steps = QD_PATTERN_STEPS;
    const char *message = NULL;

    return qd_pattern_match(&input, &steps, ret_match, &message);
}

static void test_captures(void **state)
{
    struct qd_pattern_match m;

    (void)state;
    assert_int_equal(match("key = value", "^(%w+)%s*=()%s*((.).*)$", &m), 1);
    assert_int_equal(m.start, 0);
    assert_int_equal(m.end, 11);
    assert_int_equal(m.count, 4);
    assert_int_equal(m.captures[0].start, 0);
    assert_int_equal(m.captures[0].size, 3);
    assert_int_equal(m.captures[1].start, 5);
    assert_true(m.captures[1].size == QD_PATTERN_POSITION);
    assert_int_equal(m.captures[2].start, 6);
    assert_int_equal(m.captures[2].size, 5);
    assert_int_equal(m.captures[3].size, 1);
    assert_int_equal(match("abc", "(a", &m), 1);
    assert_true(m.captures[0].size == QD_PATTERN_UNFINISHED);
}

static void test_start_anchor_and_refused_end(void **state)
{
    struct qd_pattern_input input = input_of("aXa", "^a");
    struct qd_pattern_match m;
    uint64_t steps = QD_PATTERN_STEPS;
    const char *message = NULL;

    (void)state;
    input.start = 1;
    assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), 0);
    input.start = 2;
    assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), 1);
    input.start = 4;
    assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), 0);
    input = input_of("x^a", "^a");
    assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), 0);
    input.caret_is_text = true;
    assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), 1);
    assert_int_equal(m.start, 1);
    input = input_of("ab", "%a?");
    input.refused_end = 1;
    assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), 1);
    assert_int_equal(m.start, 1);
    assert_int_equal(m.end, 2);
    assert_null(message);
}

static void test_empty_and_null(void **state)
{
    struct qd_pattern_input input = {.refused_end = QD_PATTERN_NO_END};
    struct qd_pattern_match m;
    uint64_t steps = 10;
    const char *message = NULL;

    (void)state;
    assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), 1);
    assert_int_equal(m.start, 0);
    assert_int_equal(m.end, 0);
    assert_int_equal(m.count, 0);
    assert_true(qd_pattern_is_text(NULL, 0));
    assert_false(qd_pattern_is_anchored(NULL, 0));
    assert_true(qd_pattern_is_text("a\0b]", 4));
    assert_false(qd_pattern_is_text("a\0-", 3));
}

static void test_malformed(void **state)
{
    static const struct {
        const char *subject, *pattern, *message;
    } cases[] = {
        {"a", "%", "malformed pattern (ends with '%')"},
        {"a", "[a", "malformed pattern (missing ']')"},
        {"a", "[]", "malformed pattern (missing ']')"},
        {"a", "[^]", "malformed pattern (missing ']')"},
        {"a", "[%]", "malformed pattern (missing ']')"},
        {"a", "[a%", "malformed pattern (missing ']')"},
        {"a", "%b(", "malformed pattern (missing arguments to '%b')"},
        {"a", "%b", "malformed pattern (missing arguments to '%b')"},
        {"a", "%fa", "missing '[' after '%f' in pattern"},
        {"a", "%f", "missing '[' after '%f' in pattern"},
        {"a", "%f[", "malformed pattern (missing ']')"},
        {"a", ")", "invalid pattern capture"},
        {"a", "(a))", "invalid pattern capture"},
        {"a", "%0", "invalid capture index %0"},
        {"a", "%1", "invalid capture index %1"},
        {"a", "(%1)", "invalid capture index %1"},
        {"a", "(a)%2", "invalid capture index %2"},
        {"", "()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()", "too many captures"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct qd_pattern_input input = input_of(cases[i].subject, cases[i].pattern);
        struct qd_pattern_match m = {.start = 7};
        uint64_t steps = QD_PATTERN_STEPS;
        const char *message = NULL;

        assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), -EINVAL);
        assert_string_equal(message, cases[i].message);
        assert_int_equal(m.start, 7);
    }
}

/* `unit` `count` times, then `tail`; the caller frees it. */
static char *repeat(const char *unit, size_t count, const char *tail)
{
    size_t size = strlen(unit);
    char *text = malloc(size * count + strlen(tail) + 1);

    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * size, unit, size);
    strcpy(text + size * count, tail);
    return text;
}

/* Patterns that backtrack, or that are long, are stopped after a bounded time. */
static void test_steps_bound_the_work(void **state)
{
    char *patterns[] = {
        repeat("a?", 26, "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        repeat("a*", 30, "b"),
        repeat(".-", 20, "c"),
        repeat("(a+)", 10, "%1c"),
        repeat("[", 60000, "]*c"),   /* a long set at each place */
        repeat("[^x", 20000, "]*c"), /* and for each byte */
        repeat("(.*)%1", 1, "%1c"),
        repeat(".-%f[^b]", 2, ""),
        repeat(".-%ba(", 3, ""),
    };
    char *subject = repeat("a", 60000, "");

    (void)state;
    for (size_t i = 0; i < LENGTH(patterns); i++) {
        struct qd_pattern_input input = input_of(subject, patterns[i]);
        uint64_t steps = QD_PATTERN_STEPS;
        struct qd_pattern_match m;
        const char *message = NULL;
        clock_t before = clock();

        if (i == 0)
            input.subject_size = 26;
        assert_int_equal(qd_pattern_match(&input, &steps, &m, &message), -E2BIG);
        assert_int_equal(steps, 0);
        assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 1.0);
        free(patterns[i]);
    }
    free(subject);
}

/* With any smaller number of steps the result is the same or -E2BIG; with all of them, exactly none is left.
 */
static void test_every_number_of_steps(void **state)
{
    static const char *const patterns[] = {"(a-)(b?)%1[^%s%d]+$", "%b()%f[%w]((.)%2)", "[]x-]*()%w-z",
                                           "(.-)%1z"};
    const char *subject = "aab(x(y))zzaabaab-]x z";

    (void)state;
    for (size_t i = 0; i < LENGTH(patterns); i++) {
        struct qd_pattern_input input = input_of(subject, patterns[i]);
        uint64_t steps = QD_PATTERN_STEPS, used;
        struct qd_pattern_match m;
        const char *message = NULL;
        int expected = qd_pattern_match(&input, &steps, &m, &message);

        used = QD_PATTERN_STEPS - steps;
        for (uint64_t limit = 0; limit <= used; limit++) {
            struct qd_pattern_match again;

            steps = limit;
            assert_int_equal(qd_pattern_match(&input, &steps, &again, &message),
                             limit < used ? -E2BIG : expected);
            assert_int_equal(steps, 0);
        }
    }
}

/* ---- the library ---- */

static uint64_t budget_left, budget_used;
static unsigned budget_calls;

static uint64_t finite_budget(lua_State *L, uint64_t used)
{
    (void)L;
    budget_calls++;
    budget_used += used;
    budget_left -= used < budget_left ? used : budget_left;
    return budget_left;
}

static uint64_t counting_budget(lua_State *L, uint64_t used)
{
    (void)L;
    budget_calls++;
    budget_used += used;
    return UINT64_MAX;
}

static int set_up(void **state)
{
    *state = pattern_compare_new();
    budget_left = budget_used = 0;
    budget_calls = 0;
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    qd_bind_string_set_budget(NULL);
    lua_close(*state);
    return 0;
}

/* Runs a chunk that asserts for itself. */
static void run(lua_State *L, const char *chunk)
{
    int top = lua_gettop(L);

    if (luaL_loadstring(L, chunk) != LUA_OK || lua_pcall(L, 0, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    assert_int_equal(lua_gettop(L), top);
}

static void test_functions(void **state)
{
    run(*state, "local names = {}\n"
                "for name in pairs(ours) do names[#names + 1] = name end\n"
                "table.sort(names)\n"
                "assert(table.concat(names, ' ') == 'byte char find format gmatch gsub len lower match rep "
                "reverse sub upper')");
}

static void test_methods_of_strings(void **state)
{
    run(*state,
        "assert(('').find == ours.find and ('').rep == ours.rep and ('').dump == nil and ('').pack == nil)\n"
        "assert(getmetatable('') == false)\n"
        "assert(not pcall(setmetatable, '', {}))\n"
        "assert(('x=1'):match('(%w)=(%d)') == 'x')\n"
        "assert('10' + 1 == 11)");
}

static void test_too_costly(void **state)
{
    run(*state,
        "local s, p = ('a'):rep(26), ('a?'):rep(26) .. ('a'):rep(26)\n"
        "for _, f in ipairs { s.find, s.match, s.gsub, function(...) return s.gmatch(...)() end } do\n"
        "  local ok, message = pcall(f, s, p, f == s.gsub and '' or 1)\n"
        "  assert(not ok and message:find('pattern is too costly', 1, true), message)\n"
        "end\n"
        "assert(s:find('a', 1, true) == 1 and s:find('a+$') == 1)");
}

/* The default is for a whole call: many cheap matches of one gsub add up. */
static void test_default_is_per_call(void **state)
{
    run(*state, "local s = ('ab'):rep(1000000)\n"
                "local ok, message = pcall(s.gsub, s, 'a', 'x')\n"
                "assert(not ok and message == 'pattern is too costly')\n"
                "s = s:sub(1, 60000)\n"
                "for _ = 1, 50 do assert(select(2, s:gsub('a', 'x')) == 30000) end\n"
                "local n = 0\n"
                "for _ in s:gmatch('[^b]+') do n = n + 1 end\n"
                "assert(n == 30000)");
}

static void test_budget_is_charged(void **state)
{
    qd_bind_string_set_budget(counting_budget);
    run(*state, "assert(('aaab'):find('a-b') == 1)");
    assert_int_equal(budget_calls, 2);
    assert_in_range(budget_used, 4, 40);
    run(*state, "('x'):rep(160000)");
    assert_in_range(budget_used, 10000, 10040);
    run(*state, "('x'):rep(160000):find('y', 1, true)");
    assert_in_range(budget_used, 30000, 30040);
}

static void test_budget_is_a_limit(void **state)
{
    qd_bind_string_set_budget(finite_budget);
    budget_left = 1000;
    run(*state, "local ok, message = pcall(ours.find, ('a'):rep(1000), '.-.-b')\n"
                "assert(not ok and message == 'pattern is too costly')");
    assert_int_equal(budget_left, 0);
    assert_int_equal(budget_used, 1000);
    run(*state, "assert(not pcall(ours.match, 'a', 'a'))");
    /* A limit beyond the default is one too. */
    budget_left = UINT64_C(20) * QD_PATTERN_STEPS;
    run(*state, "assert(select(2, ('ab'):rep(1000000):gsub('a', 'x')) == 1000000)");
}

/* What a replacement spends counts for the gsub that called it. */
static void test_budget_of_nested_calls(void **state)
{
    qd_bind_string_set_budget(finite_budget);
    budget_left = 2000;
    run(*state, "local calls = 0\n"
                "local s = ('a'):rep(60)\n"
                "local ok = pcall(s.gsub, s, 'a', function()\n"
                "  calls = calls + 1\n"
                "  pcall(s.find, s, '.-.-b')\n"
                "end)\n"
                "assert(not ok and calls == 1, calls)");
    assert_int_equal(budget_left, 0);
    assert_true(budget_used <= 2010);
}

static void test_sizes(void **state)
{
    run(*state, "local function refused(f, ...)\n"
                "  local ok, message = pcall(f, ...)\n"
                "  assert(not ok and message:find('too large', 1, true), message)\n"
                "end\n"
                "local max = 16 << 20\n"
                "local half = ('x'):rep(max // 2)\n"
                "assert(#('x'):rep(max) == max and #('x'):rep(max // 2, 'y') == max - 1)\n"
                "refused(half.rep, 'x', max + 1)\n"
                "refused(half.rep, 'x', max // 2 + 1, 'y')\n"
                "refused(half.rep, 'xy', math.maxinteger)\n"
                "refused(half.rep, '', math.maxinteger, 'y')\n"
                "refused(half.rep, half, 3)\n"
                "assert((''):rep(math.maxinteger) == '' and ('x'):rep(0) == '' and "
                "('x'):rep(math.mininteger) == '')\n"
                "refused(half.format, '%s%s', half, half)\n"
                "refused(half.format, '%q', half)\n"
                "refused(half.format, '%s%s%s', setmetatable({}, { __tostring = function() return half end "
                "}), half, 1)\n"
                "assert(#half:format() == #half and ('%.3s'):format(half) == 'xxx')\n"
                "refused(half.gsub, ('a'):rep(3), 'a', half)\n"
                "refused(half.gsub, ('a'):rep(3), 'a', function() return half end)\n"
                "refused(half.gsub, ('a'):rep(3), 'a', { a = half })\n"
                "assert(#ours.gsub('aa', 'a', half) == max)");
}

/* What is not the stock function itself, with arguments that are not strings: same results and same errors.
 */
static void test_arguments(void **state)
{
    run(*state,
        "local calls = {\n"
        "  function(l) return l.find() end, function(l) return l.find('a') end, function(l) return "
        "l.find(nil, 'a') end,\n"
        "  function(l) return l.find(121, 2) end, function(l) return l.find('a', 'a', 'x') end,\n"
        "  function(l) return l.find('a', 'a', 1.5) end, function(l) return l.find('abc', 'b', -1) end,\n"
        "  function(l) return l.find('abc', 'b', math.mininteger) end, function(l) return l.find('abc', '', "
        "4) end,\n"
        "  function(l) return l.find('abc', '', 5) end, function(l) return l.find('abc', '', "
        "math.maxinteger) end,\n"
        "  function(l) return l.find('abc', 'b', '2') end, function(l) return l.find('a.c', '.', 1, 0) end,\n"
        "  function(l) return l.match({}, 'a') end, function(l) return l.match(1234, '2(.)') end,\n"
        "  function(l) return l.gmatch('a') end, function(l) return l.gmatch(12, '.')() end,\n"
        "  function(l) return l.gmatch('abc', '', 4)() end, function(l) return l.gmatch('abc', '', 5)() "
        "end,\n"
        "  function(l) return l.gmatch('abc', '.', math.mininteger)() end, function(l) return l.gmatch('a', "
        "'a', {}) end,\n"
        "  function(l) return l.gsub('a', 'a') end, function(l) return l.gsub('a', 'a', true) end,\n"
        "  function(l) return l.gsub('a', 'a', nil, {}) end, function(l) return l.gsub('a', 'a', 5) end,\n"
        "  function(l) return l.gsub(1.5, '%d', 2) end, function(l) return l.gsub('aa', 'a', 'b', 1.0) end,\n"
        "  function(l) return l.gsub('aa', 'a', 'b', 0) end, function(l) return l.gsub('aa', 'a', 'b', -1) "
        "end,\n"
        "  function(l) return l.gsub('aa', '%', 'b', 0) end, function(l) return l.gsub('a', 'a', function() "
        "error('x') end) end,\n"
        "  function(l) return l.gsub('ab', '.', setmetatable({}, { __index = function(_, k) return k .. k "
        "end })) end,\n"
        "  function(l) return l.rep() end, function(l) return l.rep('x') end, function(l) return l.rep('x', "
        "3, ', ') end,\n"
        "  function(l) return l.rep(7, '2', 8) end, function(l) return l.rep('x', 1.5) end, function(l) "
        "return l.rep('x', 2, {}) end,\n"
        "  function(l) return l.format() end, function(l) return l.format('%d') end, function(l) return "
        "l.format('%d', 'x') end,\n"
        "  function(l) return l.format('%s %s', 1) end, function(l) return l.format('%s|%5s|%-5s|%.1s|%%', "
        "1, true, nil, 'xyz') end,\n"
        "  function(l) return l.format('%q %q %q', 'a\\0\\n\"', 1 / 3, math.mininteger) end, function(l) "
        "return l.format('%y', 1) end,\n"
        "  function(l) return l.format('%') end, function(l) return l.format('%5') end, function(l) return "
        "l.format('%123d', 1) end,\n"
        "  function(l) return l.format('%q', {}) end, function(l) return l.format('%99.99f', -1e308) end,\n"
        "  function(l) return l.format('%s', setmetatable({}, { __tostring = function() return 1 end })) "
        "end,\n"
        "  function(l) return l.format('%s', setmetatable({}, { __tostring = function() return 'shown' end "
        "})) end,\n"
        "  function(l) return l.format('%s', setmetatable({}, { __name = 'named' })):sub(1, 6) end,\n"
        "  function(l) return l.format('%c%5.2f%x%a%i%g', 65, 1.234, 255, 0.5, 3, 1e20) end,\n"
        "  function(l) return l.format('%5s', 'a\\0b') end, function(l) return l.format('\\0%s\\0', 'a\\0b') "
        "end,\n"
        "}\n"
        "for i, call in ipairs(calls) do\n"
        "  local a, b = table.pack(pcall(call, ours)), table.pack(pcall(call, string))\n"
        "  assert(a.n == b.n, i)\n"
        "  for j = 1, a.n do assert(a[j] == b[j] and math.type(a[j]) == math.type(b[j]), i .. tostring(a[j]) "
        ".. tostring(b[j])) end\n"
        "end");
}

/* A string that only the iterator holds survives a collection, and an iterator may be used after its end. */
static void test_gmatch_holds_its_strings(void **state)
{
    run(*state, "local next = ours.gmatch(table.concat { 'a', 1, 'b', 2 }, '%a' .. '%d')\n"
                "collectgarbage()\n"
                "assert(next() == 'a1' and next() == 'b2' and next() == nil and next() == nil)\n"
                "for a, b in ours.gmatch('x=1 y=2', '(%w)=(%w)') do\n"
                "  for c in ours.gmatch(a, '.') do collectgarbage() assert(c == a and b) end\n"
                "end");
}

/* ---- against the stock library ---- */

static uint64_t random_state;

static unsigned random_below(unsigned bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % bound;
}

struct text {
    char data[128];
    size_t size;
};

static void add(struct text *text, const char *data, size_t size)
{
    assert_true(text->size + size <= sizeof(text->data));
    memcpy(text->data + text->size, data, size);
    text->size += size;
}

static struct text random_text(const char *const *tokens, unsigned count, unsigned most)
{
    struct text text = {.size = 0};

    for (unsigned left = random_below(most + 1); left > 0; left--) {
        const char *token = tokens[random_below(count)];

        add(&text, token, *token ? strlen(token) : 1); /* "" stands for NUL */
    }
    return text;
}

static void random_bytes(struct text *text, unsigned most)
{
    text->size = random_below(most + 1);
    for (size_t i = 0; i < text->size; i++)
        text->data[i] = (char)random_below(256);
}

static unsigned long long compare(lua_State *L, const struct text *subject, const struct text *pattern,
                                  const struct text *replacement)
{
    unsigned long long costly;

    lua_pushvalue(L, 1);
    lua_pushlstring(L, subject->data, subject->size);
    lua_pushlstring(L, pattern->data, pattern->size);
    lua_pushlstring(L, replacement->data, replacement->size);
    lua_pushinteger(L, random_below(3) ? 1 : (lua_Integer)random_below(20) - 8);
    lua_pushinteger(L, random_below(3) ? 1000 : (lua_Integer)random_below(6) - 1);
    if (lua_pcall(L, 5, 2, 0) != LUA_OK || !lua_isnil(L, -2))
        fail_msg("%s", lua_tostring(L, lua_isnil(L, -2) ? -1 : -2));
    costly = (unsigned long long)lua_tointeger(L, -1);
    lua_settop(L, 2);
    return costly;
}

static void test_like_stock(void **state)
{
    static const char *const items[] = {
        "a",    "b",     "1",     " ",     "(",      ")",     "()",   "(a)",      "(.-)",        "%1",
        "%2",   "*",     "+",     "-",     "?",      "*",     "+",    "-",        "?",           "^",
        "$",    ".",     "%a",    "%A",    "%d",     "%s",    "%w",   "%p",       "%c",          "%x",
        "%u",   "%l",    "%g",    "%%",    "%",      "[",     "]",    "[ab]",     "[^a]",        "[a-c]",
        "[]a]", "[^]a]", "[%a_]", "[%]]",  "[a-]",   "[%w-]", "%b()", "%bab",     "%f[%w]",      "%f[^a%z]",
        "%f",   "%b",    "%0",    "%9",    "[+-%%]", "",      ".*",   "(a*(.)b)", "[\x80-\xff]", "\xc3",
        "%W",   "%S",    "%D",    "(%w+)", "%.",     "[^%s]",
    };
    static const char *const subjects[] = {"a",  "a", "b", "b", "1", " ", "(",  ")",    "()",
                                           "ab", "A", "-", "]", "%", "",  "\n", "\xc3", "^"};
    static const char *const replacements[] = {"x", "%0", "%1", "%2", "%%", "a", "%", "%9", "%1%0", ""};
    lua_State *L = *state;
    unsigned long long costly = 0, cases = 40000;

    random_state = UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned long long i = 0; i < cases; i++) {
        struct text subject = random_text(subjects, LENGTH(subjects), 24);
        struct text pattern = random_text(items, LENGTH(items), 8);
        struct text replacement = random_text(replacements, i % 2 ? 4 : LENGTH(replacements), 3);

        if (i % 16 == 0)
            random_bytes(&pattern, 12);
        if (i % 8 == 0)
            random_bytes(&subject, 60);
        costly += compare(L, &subject, &pattern, &replacement);
    }
    assert_true(costly < cases / 100); /* else it compares nothing */
}

/* Each class and set, over all bytes. */
static void test_classes_like_stock(void **state)
{
    run(*state, "local bytes = {}\n"
                "for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end\n"
                "local all = table.concat(bytes)\n"
                "for i = 0, 255 do\n"
                "  for _, p in ipairs { '%' .. string.char(i), '[' .. string.char(i) .. ']', '[^%' .. "
                "string.char(i) .. ']',\n"
                "      '[ -' .. string.char(i) .. ']', '[%' .. string.char(i) .. '-z]' } do\n"
                "    local ok1, a = pcall(ours.gsub, all, p, '')\n"
                "    local ok2, b = pcall(string.gsub, all, p, '')\n"
                "    assert(ok1 == ok2 and a == b, p)\n"
                "  end\n"
                "end");
}

/* The bound on nesting is the stock one, to the item. */
static void test_depth_like_stock(void **state)
{
    run(*state, "for _, unit in ipairs { 'a?', 'a*', 'a-', '()', '(a)', 'b?', '(a' } do\n"
                "  for n = 20, 210 do\n"
                "    local p, s = string.rep(unit, n), string.rep('a', 300)\n"
                "    local ok1, a = pcall(ours.find, s, p)\n"
                "    local ok2, b = pcall(string.find, s, p)\n"
                "    assert(ok1 == ok2 and a == b, unit .. n .. tostring(a) .. tostring(b))\n"
                "  end\n"
                "end");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captures),
        cmocka_unit_test(test_start_anchor_and_refused_end),
        cmocka_unit_test(test_empty_and_null),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_steps_bound_the_work),
        cmocka_unit_test(test_every_number_of_steps),
        cmocka_unit_test_setup_teardown(test_functions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_methods_of_strings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_costly, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_default_is_per_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_budget_is_charged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_budget_is_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_budget_of_nested_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gmatch_holds_its_strings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_like_stock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_classes_like_stock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_depth_like_stock, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
