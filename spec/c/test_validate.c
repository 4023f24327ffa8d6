/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The validators: what each takes, what it refuses, and that outputs are touched only as promised.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qd/validate.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Bytes of a literal that may hold NUL. */
struct bytes {
    const char *data;
    size_t size;
};
#define BYTES(literal)                                                                                       \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }

typedef int (*text_fn)(const unsigned char *data, size_t size, const char **ret_reason);

static const char *const untouched = "untouched";

static void check_reason(int r, const char *reason)
{
    if (r == 0) {
        assert_ptr_equal(reason, untouched);
        return;
    }
    assert_true(r == -EINVAL || r == -ERANGE || r == -ENAMETOOLONG);
    assert_ptr_not_equal(reason, untouched);
    assert_non_null(strstr(reason, "expected"));
}

/* In a block of exactly its size, so that a sanitizer sees every step too far. */
static int judge(text_fn validate, struct bytes bytes)
{
    unsigned char *block = malloc(bytes.size ? bytes.size : 1);
    const char *reason = untouched;
    int r;

    assert_non_null(block);
    memcpy(block, bytes.data, bytes.size);
    r = validate(block, bytes.size, &reason);
    check_reason(r, reason);
    assert_int_equal(validate(block, bytes.size, NULL), r);
    free(block);
    return r;
}

static void all_give(text_fn validate, const struct bytes *cases, size_t count, int expected)
{
    for (size_t i = 0; i < count; i++) {
        int r = judge(validate, cases[i]);

        if (r != expected)
            fail_msg("\"%.*s\": %d, expected %d", (int)cases[i].size, cases[i].data, r, expected);
    }
}

#define TAKES(validate, ...)                                                                                 \
    do {                                                                                                     \
        const struct bytes cases_[] = {__VA_ARGS__};                                                         \
        all_give(validate, cases_, LENGTH(cases_), 0);                                                       \
    } while (0)

#define REFUSES(validate, ...)                                                                               \
    do {                                                                                                     \
        const struct bytes cases_[] = {__VA_ARGS__};                                                         \
        all_give(validate, cases_, LENGTH(cases_), -EINVAL);                                                 \
    } while (0)

/* Which single bytes, after `before`, a validator takes. */
static void takes_bytes(text_fn validate, const char *before, const char *expected, size_t expected_size)
{
    char text[64];
    size_t size = strlen(before);

    memcpy(text, before, size);
    for (int c = 0; c < 256; c++) {
        int r;

        text[size] = (char)c;
        r = judge(validate, (struct bytes){text, size + 1});
        if ((r == 0) != (memchr(expected, c, expected_size) != NULL))
            fail_msg("byte %d after \"%s\": %d", c, before, r);
    }
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define PUNCTUATION "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

static void test_text(void **state)
{
    static const char printable[] = LETTERS DIGITS PUNCTUATION " \t\n\r\v\f";
    char ascii[128];

    (void)state;
    for (size_t i = 0; i < sizeof(ascii); i++)
        ascii[i] = (char)i;
    takes_bytes(qd_validate_ascii, "", ascii, sizeof(ascii));
    takes_bytes(qd_validate_printable_ascii, "a ", printable, sizeof(printable) - 1);
    takes_bytes(qd_validate_feature_value, "a ", LETTERS DIGITS PUNCTUATION " ", 95);
    TAKES(qd_validate_ascii, BYTES(""), BYTES("a\0b\x7f"));
    TAKES(qd_validate_printable_ascii, BYTES(""), BYTES("a b\nc\t"));
    TAKES(qd_validate_feature_value, BYTES(""), BYTES("a = b"));
    REFUSES(qd_validate_ascii, BYTES("caf\xc3\xa9"));
    REFUSES(qd_validate_printable_ascii, BYTES("a\0"), BYTES("\x1c"));
    REFUSES(qd_validate_feature_value, BYTES("a\n"));
}

static void test_nothing_may_be_null(void **state)
{
    static const text_fn take[] = {qd_validate_ascii, qd_validate_printable_ascii, qd_validate_feature_value,
                                   qd_validate_argument};
    static const text_fn refuse[] = {qd_validate_qube_name,      qd_validate_uuid, qd_validate_label_name,
                                     qd_validate_new_label_name, qd_validate_tag,  qd_validate_label_value,
                                     qd_validate_feature_name};
    int64_t number;
    bool value;

    (void)state;
    for (size_t i = 0; i < LENGTH(take); i++)
        assert_int_equal(take[i](NULL, 0, NULL), 0);
    for (size_t i = 0; i < LENGTH(refuse); i++)
        assert_int_equal(refuse[i](NULL, 0, NULL), -EINVAL);
    assert_int_equal(qd_validate_number(NULL, 0, true, &number, NULL), -EINVAL);
    assert_int_equal(qd_validate_size(NULL, 0, &number, NULL), -EINVAL);
    assert_int_equal(qd_validate_python_int(NULL, 0, &number, NULL), -EINVAL);
    assert_int_equal(qd_validate_boolean(NULL, 0, &value, NULL), -EINVAL);
}

/* ---- numbers ---- */

enum number_kind { UNSIGNED, SIGNED, SIZE, PYTHON };

struct number_case {
    struct bytes text;
    int error;
    int64_t number;
};

static int judge_number(enum number_kind kind, const unsigned char *data, size_t size, int64_t *ret_number,
                        const char **ret_reason)
{
    switch (kind) {
    case SIZE:
        return qd_validate_size(data, size, ret_number, ret_reason);
    case PYTHON:
        return qd_validate_python_int(data, size, ret_number, ret_reason);
    default:
        return qd_validate_number(data, size, kind == SIGNED, ret_number, ret_reason);
    }
}

static void numbers_give(enum number_kind kind, const struct number_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *reason = untouched;
        int64_t number = 4711;
        unsigned char *block = malloc(cases[i].text.size ? cases[i].text.size : 1);
        int r;

        assert_non_null(block);
        memcpy(block, cases[i].text.data, cases[i].text.size);
        r = judge_number(kind, block, cases[i].text.size, &number, &reason);
        if (r != cases[i].error || number != (r == 0 ? cases[i].number : 4711))
            fail_msg("\"%s\": %d, %lld", cases[i].text.data, r, (long long)number);
        check_reason(r, reason);
        free(block);
    }
}

static void test_number(void **state)
{
    static const struct number_case both[] = {
        {BYTES("0"), 0, 0},
        {BYTES("7"), 0, 7},
        {BYTES("1073741824"), 0, 1073741824},
        {BYTES("9223372036854775807"), 0, INT64_MAX},
        {BYTES("9223372036854775808"), -ERANGE, 0},
        {BYTES("9999999999999999999"), -ERANGE, 0},
        {BYTES("10000000000000000000"), -EINVAL, 0},
        {BYTES("00000000000000000000"), -EINVAL, 0},
        {BYTES(""), -EINVAL, 0},
        {BYTES("00"), -EINVAL, 0},
        {BYTES("01"), -EINVAL, 0},
        {BYTES("+1"), -EINVAL, 0},
        {BYTES(" 1"), -EINVAL, 0},
        {BYTES("1\n"), -EINVAL, 0},
        {BYTES("1_0"), -EINVAL, 0},
        {BYTES("1.0"), -EINVAL, 0},
        {BYTES("0x10"), -EINVAL, 0},
        {BYTES("1\0"), -EINVAL, 0},
        {BYTES("\xd9\xa1"), -EINVAL, 0},
    };
    static const struct number_case only_signed[] = {
        {BYTES("-1"), 0, -1},
        {BYTES("-0"), 0, 0},
        {BYTES("-9223372036854775807"), 0, -INT64_MAX},
        {BYTES("-9223372036854775808"), 0, INT64_MIN},
        {BYTES("-9223372036854775809"), -ERANGE, 0},
        {BYTES("-"), -EINVAL, 0},
        {BYTES("--1"), -EINVAL, 0},
        {BYTES("-01"), -EINVAL, 0},
        {BYTES("-10000000000000000000"), -EINVAL, 0},
    };
    static const struct number_case only_unsigned[] = {{BYTES("-1"), -EINVAL, 0}, {BYTES("-0"), -EINVAL, 0}};

    (void)state;
    numbers_give(UNSIGNED, both, LENGTH(both));
    numbers_give(SIGNED, both, LENGTH(both));
    numbers_give(SIGNED, only_signed, LENGTH(only_signed));
    numbers_give(UNSIGNED, only_unsigned, LENGTH(only_unsigned));
}

static void test_size(void **state)
{
    static const struct number_case cases[] = {
        {BYTES("2147483648"), 0, INT64_C(2147483648)},
        {BYTES(" \t\r\n\v\f5 \t\r\n\v\f"), 0, 5},
        {BYTES("9223372036854775807\n"), 0, INT64_MAX},
        {BYTES("9223372036854775808"), -ERANGE, 0},
        {BYTES("-1"), -EINVAL, 0},
        {BYTES("1 0"), -EINVAL, 0},
        {BYTES("\x1c"
               "5"),
         -EINVAL, 0},
        {BYTES("5M"), -EINVAL, 0},
        {BYTES("  "), -EINVAL, 0},
    };

    (void)state;
    numbers_give(SIZE, cases, LENGTH(cases));
}

static void test_python_int(void **state)
{
    static const struct number_case cases[] = {
        {BYTES("0"), 0, 0},
        {BYTES("-0"), 0, 0},
        {BYTES("007"), 0, 7},
        {BYTES(" \n\t\v\f\r+12 \n"), 0, 12},
        {BYTES("1_000"), 0, 1000},
        {BYTES("-1_2_3"), 0, -123},
        {BYTES("0_1"), 0, 1},
        {BYTES("00000000000000000000000000000000000001"), 0, 1},
        {BYTES("9223372036854775807"), 0, INT64_MAX},
        {BYTES("-9223372036854775808"), 0, INT64_MIN},
        {BYTES("9223372036854775808"), -ERANGE, 0},
        {BYTES("-9223372036854775809"), -ERANGE, 0},
        {BYTES("100000000000000000000000000000000"), -ERANGE, 0},
        {BYTES("100000000000000000000000000000000x"), -EINVAL, 0},
        {BYTES(""), -EINVAL, 0},
        {BYTES(" "), -EINVAL, 0},
        {BYTES("+"), -EINVAL, 0},
        {BYTES("-"), -EINVAL, 0},
        {BYTES("_1"), -EINVAL, 0},
        {BYTES("1_"), -EINVAL, 0},
        {BYTES("1__0"), -EINVAL, 0},
        {BYTES("+_1"), -EINVAL, 0},
        {BYTES("+ 1"), -EINVAL, 0},
        {BYTES("+-1"), -EINVAL, 0},
        {BYTES("1 0"), -EINVAL, 0},
        {BYTES("1.0"), -EINVAL, 0},
        {BYTES("1e3"), -EINVAL, 0},
        {BYTES("0x1"), -EINVAL, 0},
        {BYTES("1\0"), -EINVAL, 0},
        {BYTES("\0"
               "1"),
         -EINVAL, 0},
        {BYTES("1\x1f"), -EINVAL, 0},
        {BYTES("\xc2\xa0"
               "1"),
         -EINVAL, 0},
    };
    char zeros[QD_PYTHON_DIGITS_MAX + 1];
    int64_t number;

    (void)state;
    numbers_give(PYTHON, cases, LENGTH(cases));
    memset(zeros, '0', sizeof(zeros));
    assert_int_equal(qd_validate_python_int((unsigned char *)zeros, sizeof(zeros) - 1, &number, NULL), 0);
    assert_int_equal(qd_validate_python_int((unsigned char *)zeros, sizeof(zeros), &number, NULL), -ERANGE);
}

static void test_boolean(void **state)
{
    static const struct {
        struct bytes text;
        int error;
        bool value;
    } cases[] = {
        {BYTES("0"), 0, false},           {BYTES("no"), 0, false},         {BYTES("False"), 0, false},
        {BYTES("OFF"), 0, false},         {BYTES("1"), 0, true},           {BYTES("yEs"), 0, true},
        {BYTES("TRUE"), 0, true},         {BYTES("on"), 0, true},          {BYTES(""), -EINVAL, false},
        {BYTES(" 1"), -EINVAL, false},    {BYTES("1\n"), -EINVAL, false},  {BYTES("2"), -EINVAL, false},
        {BYTES("y"), -EINVAL, false},     {BYTES("on\0"), -EINVAL, false}, {BYTES("\x10"), -EINVAL, false},
        {BYTES("n\x0f"), -EINVAL, false}, {BYTES("o\x4e"), 0, true},       {BYTES("o\x0e"), -EINVAL, false},
        {BYTES("none"), -EINVAL, false},  {BYTES("01"), -EINVAL, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        for (int before = 0; before < 2; before++) {
            const char *reason = untouched;
            bool value = before;
            int r = qd_validate_boolean((const unsigned char *)cases[i].text.data, cases[i].text.size, &value,
                                        &reason);

            assert_int_equal(r, cases[i].error);
            assert_int_equal(value, r == 0 ? cases[i].value : before);
            check_reason(r, reason);
        }
    }
}

/* ---- names ---- */

static void test_qube_name(void **state)
{
    (void)state;
    TAKES(qd_validate_qube_name, BYTES("dom0"), BYTES("a"), BYTES("work-web_2.old"), BYTES("Domain-1"),
          BYTES("domain-0"), BYTES("None"), BYTES("none1"), BYTES("Default"), BYTES("sys-dma"), BYTES("a-DM"),
          BYTES("dm"), BYTES("abcdefghijklmnopqrstuvwxyz12345"));
    REFUSES(qd_validate_qube_name, BYTES(""), BYTES("1a"), BYTES("-a"), BYTES("_a"), BYTES(".a"),
            BYTES("a b"), BYTES("a+b"), BYTES("a/b"), BYTES("a\n"), BYTES("a\0"), BYTES("\xc3\xa9"),
            BYTES("Domain-0"), BYTES("none"), BYTES("default"), BYTES("a-dm"), BYTES("sys-net-dm"),
            BYTES("-dm"), BYTES("$adminvm"), BYTES("@default"));
    assert_int_equal(judge(qd_validate_qube_name, (struct bytes)BYTES("abcdefghijklmnopqrstuvwxyz123456")),
                     -ENAMETOOLONG);
    takes_bytes(qd_validate_qube_name, "a", LETTERS DIGITS "_.-", 65);
    takes_bytes(qd_validate_qube_name, "", LETTERS, 52);
}

static void test_uuid(void **state)
{
    static const char text[] = "01234567-89ab-cdef-0123-456789abcdef";
    static const uint8_t expected[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                         0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    uint8_t uuid[16] = {0xaa}, before[16];

    (void)state;
    assert_int_equal(qd_validate_uuid_bytes((const unsigned char *)text, 36, uuid, NULL), 0);
    assert_memory_equal(uuid, expected, 16);
    TAKES(qd_validate_uuid, BYTES("00000000-0000-0000-0000-000000000000"),
          BYTES("ffffffff-ffff-ffff-ffff-ffffffffffff"));
    REFUSES(qd_validate_uuid, BYTES(""), BYTES("01234567-89ab-cdef-0123-456789abcde"),
            BYTES("01234567-89ab-cdef-0123-456789abcdef0"), BYTES("0123456789abcdef0123456789abcdef"),
            BYTES("uuid:01234567-89ab-cdef-0123-456789abcdef"));
    memcpy(before, uuid, 16);
    /* No byte anywhere may be another kind of byte. */
    for (size_t i = 0; i < 36; i++) {
        for (int c = 0; c < 256; c++) {
            char changed[36];
            bool dash = text[i] == '-', fits = c == '-' ? dash : !dash && c && strchr("0123456789abcdef", c);

            memcpy(changed, text, 36);
            changed[i] = (char)c;
            assert_int_equal(judge(qd_validate_uuid, (struct bytes){changed, 36}), fits ? 0 : -EINVAL);
            if (!fits)
                assert_int_equal(qd_validate_uuid_bytes((unsigned char *)changed, 36, uuid, NULL), -EINVAL);
        }
    }
    assert_memory_equal(uuid, before, 16);
}

static void test_label(void **state)
{
    char color[QD_LABEL_VALUE_SIZE + 1] = "before";

    (void)state;
    takes_bytes(qd_validate_label_name, "", LETTERS DIGITS "-_.", 65);
    takes_bytes(qd_validate_new_label_name, "", LETTERS "-_.", 55);
    TAKES(qd_validate_new_label_name, BYTES("red"), BYTES("1a"), BYTES("1.2"), BYTES("label-1"));
    REFUSES(qd_validate_new_label_name, BYTES(""), BYTES("123"), BYTES("a b"));
    REFUSES(qd_validate_label_name, BYTES(""), BYTES("a b"), BYTES("a\0"), BYTES("a/b"));
    TAKES(qd_validate_label_name, BYTES("123"));
    TAKES(qd_validate_label_value, BYTES("0xff0000"), BYTES("0xABCDEF"), BYTES(" 0x123456\n"),
          BYTES("\x1c\x1f"
                "0x123456\t"));
    REFUSES(qd_validate_label_value, BYTES(""), BYTES("0xff000"), BYTES("0xff00000"), BYTES("0Xff0000"),
            BYTES("1xff0000"), BYTES("0xgg0000"), BYTES("0xff 000"), BYTES("0xff000\0"), BYTES("0xff0000\0"),
            BYTES("\xc2\xa0"
                  "0xff0000"),
            BYTES("0xff_000"), BYTES("        "),
            BYTES("0x\x10"
                  "0000\x19"));
    assert_int_equal(qd_validate_label_color((const unsigned char *)"0x12345", 7, color, NULL), -EINVAL);
    assert_string_equal(color, "before");
    assert_int_equal(qd_validate_label_color((const unsigned char *)" 0xaBcDeF\n", 10, color, NULL), 0);
    assert_string_equal(color, "0xaBcDeF");
}

static void test_tag_feature_argument(void **state)
{
    (void)state;
    takes_bytes(qd_validate_tag, "", LETTERS DIGITS "-_", 64);
    takes_bytes(qd_validate_feature_name, "", LETTERS DIGITS "-_.", 65);
    takes_bytes(qd_validate_argument, "", LETTERS DIGITS "+-_.", 66);
    TAKES(qd_validate_tag, BYTES("created-by-dom0"), BYTES("-"), BYTES("1"));
    TAKES(qd_validate_feature_name, BYTES("service.clocksync"), BYTES("gui-default-allow-fullscreen"));
    TAKES(qd_validate_argument, BYTES(""), BYTES("force+wait"));
    REFUSES(qd_validate_tag, BYTES(""), BYTES("a.b"), BYTES("a b"), BYTES("a\0"));
    REFUSES(qd_validate_feature_name, BYTES(""), BYTES("a+b"), BYTES("a/b"), BYTES("a\n"), BYTES("a\0"));
    REFUSES(qd_validate_argument, BYTES("a/b"), BYTES("a b"), BYTES("a:b"), BYTES("a\0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),       cmocka_unit_test(test_nothing_may_be_null),
        cmocka_unit_test(test_number),     cmocka_unit_test(test_size),
        cmocka_unit_test(test_python_int), cmocka_unit_test(test_boolean),
        cmocka_unit_test(test_qube_name),  cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_label),      cmocka_unit_test(test_tag_feature_argument),
    };

    return cmocka_run_group_tests_name("validate", tests, NULL, NULL);
}
