/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Lines of the audit: whatever bytes a request has, a line is one line of JSON that gives them back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qd/audit.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct qd_audit_entry entry_with(const char *data, size_t size)
{
    return (struct qd_audit_entry){.time = {.tv_sec = 1000000000, .tv_nsec = 1234000},
                                   .sequence = 7,
                                   .generation = 3,
                                   .digest = DIGEST,
                                   .source = {"work", 4},
                                   .method = {"admin.vm.Start", 14},
                                   .destination = {"vault", 5},
                                   .argument = {data, size},
                                   .verdict = "denied"};
}

/* The line's argument as it stands there, without its quotes; malloc'ed. */
static char *argument_of(const char *data, size_t size)
{
    static const char field[] = ",\"argument\":\"", after[] = "\",\"verdict\":\"denied\"";
    char *line = malloc(QD_AUDIT_LINE_MAX), *begin, *end, *argument;
    struct qd_audit_entry entry = entry_with(data, size);
    size_t used = qd_audit_format(&entry, line);

    assert_true(used < QD_AUDIT_LINE_MAX);
    assert_int_equal(line[used - 1], '\n');
    line[used] = '\0';
    begin = strstr(line, field);
    assert_non_null(begin);
    begin += sizeof(field) - 1;
    end = strstr(begin, after);
    assert_non_null(end);
    argument = strndup(begin, (size_t)(end - begin));
    free(line);
    return argument;
}

static void expect(const char *data, size_t size, const char *escaped)
{
    char *argument = argument_of(data, size);

    assert_string_equal(argument, escaped);
    free(argument);
}

#define EXPECT(bytes, escaped) expect((bytes), sizeof(bytes) - 1, (escaped))

static void test_whole_line(void **state)
{
    char line[QD_AUDIT_LINE_MAX];
    struct qd_audit_shadow shadow = {.verdict = "filtered", .removed = 2, .rule = "s.lua:1"};
    struct qd_audit_entry entry = entry_with("x", 1);
    size_t used;

    (void)state;
    entry.rule = "acl.d/a.lua:1";
    entry.reason = "say \"no\"";
    entry.expected = entry.hidden = entry.console = true;
    entry.asked_ns = 1500;
    entry.shadow = &shadow;
    used = qd_audit_format(&entry, line);
    line[used] = '\0';
    assert_string_equal(
        line,
        "{\"time\":\"2001-09-09T01:46:40.001234Z\",\"sequence\":7,\"generation\":3,\"digest\":\"" DIGEST
        "\",\"source\":\"work\",\"method\":\"admin.vm.Start\",\"destination\":\"vault\",\"argument\":\"x\","
        "\"verdict\":\"denied\",\"rule\":\"acl.d/a.lua:1\",\"reason\":\"say \\\"no\\\"\",\"expected\":true,"
        "\"console\":true,\"hidden\":true,\"shadow\":{\"verdict\":\"filtered\",\"removed\":2,\"rule\":\"s."
        "lua:1\"},\"microseconds\":2}\n");
    used = qd_audit_format_dropped(&entry.time, 12, line);
    line[used] = '\0';
    assert_string_equal(line, "{\"time\":\"2001-09-09T01:46:40.001234Z\",\"dropped\":12}\n");
}

static void test_escapes(void **state)
{
    (void)state;
    EXPECT("", "");
    EXPECT("a\"b\\c/d", "a\\\"b\\\\c/d");
    EXPECT("\n\r\t\b\x01\x1f\x7f ", "\\u000a\\u000d\\u0009\\u0008\\u0001\\u001f\\u007f ");
    expect("a\0b", 3, "a\\u0000b");
}

static void test_utf8(void **state)
{
    (void)state;
    /* The first and last of each length. */
    EXPECT("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf \xf0\x90\x80\x80 "
           "\xf4\x8f\xbf\xbf",
           "\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf \xf0\x90\x80\x80 "
           "\xf4\x8f\xbf\xbf");
    /* Longer than need be, surrogates, beyond the last. */
    EXPECT("\xc0\xaf", "\\u00c0\\u00af");
    EXPECT("\xe0\x9f\xbf", "\\u00e0\\u009f\\u00bf");
    EXPECT("\xf0\x8f\xbf\xbf", "\\u00f0\\u008f\\u00bf\\u00bf");
    EXPECT("\xed\xa0\x80", "\\u00ed\\u00a0\\u0080");
    EXPECT("\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080");
    EXPECT("\xff\xfe", "\\u00ff\\u00fe");
    /* Cut short, by the end or by another byte. */
    EXPECT("\xe2\x82", "\\u00e2\\u0082");
    EXPECT("\xc3\"", "\\u00c3\\\"");
    EXPECT("\x80", "\\u0080");
}

static void test_cut(void **state)
{
    char *data = malloc(2 * QD_AUDIT_VALUE_MAX), line[QD_AUDIT_LINE_MAX];
    struct qd_audit_shadow shadow = {.removed = SIZE_MAX};
    struct qd_audit_entry entry = entry_with(data, QD_AUDIT_VALUE_MAX);
    size_t used;

    (void)state;
    memset(data, 1, 2 * QD_AUDIT_VALUE_MAX);
    data[2 * QD_AUDIT_VALUE_MAX - 1] = '\0';
    line[qd_audit_format(&entry, line)] = '\0';
    assert_null(strstr(line, "\"cut\""));
    entry.argument.size++;
    /* All values at their longest still fit. */
    entry.source = entry.method = entry.destination = entry.argument;
    entry.digest = entry.verdict = entry.rule = entry.reason = data;
    shadow.verdict = shadow.rule = shadow.reason = data;
    entry.shadow = &shadow;
    entry.sequence = entry.asked_ns = UINT64_MAX - 500;
    entry.generation = UINT32_MAX;
    entry.expected = entry.hidden = entry.console = true;
    used = qd_audit_format(&entry, line);
    assert_in_range(used, 11 * 6 * QD_AUDIT_VALUE_MAX, QD_AUDIT_LINE_MAX - 1);
    line[used] = '\0';
    assert_non_null(strstr(line, ",\"cut\":true,\"microseconds\":18446744073709551}\n"));
    free(data);
}

/* Undoes the escapes, strictly: the code points, each as it would stand in the text. */
static size_t decode(const char *escaped, unsigned char *out)
{
    size_t used = 0;

    for (const char *at = escaped; *at; at++) {
        unsigned value;
        int size = 0;

        assert_true((unsigned char)*at >= 0x20 && *at != '"');
        if (*at != '\\') {
            out[used++] = (unsigned char)*at;
            continue;
        }
        at++;
        if (*at == '"' || *at == '\\') {
            out[used++] = (unsigned char)*at;
            continue;
        }
        assert_int_equal(sscanf(at, "u00%2x%n", &value, &size), 1);
        assert_int_equal(size, 5);
        out[used++] = (unsigned char)value;
        at += 4;
    }
    return used;
}

/* Any bytes come back, and nothing in between ends the string or the line. Many of them are of sequences that
 * are nearly right. */
static void test_random(void **state)
{
    static const unsigned char likely[] = {0x00, 0x0a, 0x1f, '"',  '\\', 0x7f, 0x80, 0xbf, 0xc2,
                                           0xc3, 0xe0, 0xa0, 0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f};
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        unsigned char back[6 * 64];
        size_t size = (size_t)(rand_r(&seed) % 64);
        char *data = malloc(size + 1), *escaped; /* on the heap, so that a sanitizer sees a byte too far */

        for (size_t i = 0; i < size; i++)
            data[i] = (char)(rand_r(&seed) % 2 ? likely[(size_t)rand_r(&seed) % sizeof(likely)]
                                               : (unsigned char)rand_r(&seed));
        data = realloc(data, size ? size : 1);
        assert_non_null(data);
        escaped = argument_of(data, size);
        assert_int_equal(decode(escaped, back), size);
        assert_memory_equal(back, data, size);
        free(escaped);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_line), cmocka_unit_test(test_escapes), cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_cut),        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
