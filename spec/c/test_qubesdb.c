/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The bytes of QubesDB's messages.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qd/qubesdb.h"

static bool is_path(const char *path)
{
    return qd_qubesdb_is_path(path, strlen(path));
}

static void test_paths(void **state)
{
    char longest[QD_QUBESDB_PATH + 2];

    (void)state;
    assert_true(is_path("/"));
    assert_true(is_path("/a-b_c/d.e:f@g/"));
    assert_false(is_path(""));
    assert_false(is_path("a/b"));
    assert_false(is_path("/a b"));
    assert_false(is_path("/\xc3\xa4"));
    assert_false(qd_qubesdb_is_path("/a\0b", 4));
    memset(longest, '/', sizeof(longest));
    assert_true(qd_qubesdb_is_path(longest, QD_QUBESDB_PATH));
    assert_false(qd_qubesdb_is_path(longest, QD_QUBESDB_PATH + 1));
}

static void test_layout(void **state)
{
    unsigned char bytes[QD_QUBESDB_HEAD + 2];
    uint32_t size;

    (void)state;
    assert_int_equal(qd_qubesdb_encode(QD_QUBESDB_WRITE, "/name", "ab", 2, bytes), sizeof(bytes));
    assert_int_equal(bytes[0], 1);
    assert_string_equal(bytes + 1, "/name");
    memcpy(&size, bytes + 68, 4);
    assert_int_equal(size, 2);
    assert_memory_equal(bytes + 72, "ab", 2);
}

static void test_there_and_back(void **state)
{
    char bytes[QD_QUBESDB_HEAD + QD_QUBESDB_VALUE], value[QD_QUBESDB_VALUE];
    struct qd_qubesdb_frame frame;

    (void)state;
    memset(value, 'v', sizeof(value));
    for (size_t size = 0; size <= sizeof(value); size += 1 + size / 2) {
        int used = (int)qd_qubesdb_encode(QD_QUBESDB_IS_MULTIREAD, "/a", value, size, bytes);

        for (int part = 0; part < used; part += 1 + part / 4)
            assert_int_equal(qd_qubesdb_decode(bytes, (size_t)part, &frame), 0);
        assert_int_equal(qd_qubesdb_decode(bytes, (size_t)used, &frame), used);
        assert_int_equal(frame.type, QD_QUBESDB_IS_MULTIREAD);
        assert_string_equal(frame.path, "/a");
        assert_int_equal(frame.size, size);
        assert_memory_equal(frame.value, value, size);
    }
}

static void refuse(int at, unsigned char byte)
{
    unsigned char bytes[QD_QUBESDB_HEAD];
    struct qd_qubesdb_frame frame;

    qd_qubesdb_encode(QD_QUBESDB_OK, "/a", NULL, 0, bytes);
    bytes[at] = byte;
    assert_int_equal(qd_qubesdb_decode(bytes, sizeof(bytes), &frame), -EBADMSG);
}

static void test_refused(void **state)
{
    unsigned char bytes[QD_QUBESDB_HEAD];
    struct qd_qubesdb_frame frame;

    (void)state;
    refuse(0, QD_QUBESDB_TYPES);
    refuse(0, 255);
    refuse(1, 'a');
    refuse(2, ' ');
    refuse(69, 0x0c); /* 3072 bytes */
    refuse(71, 0xff);
    memset(bytes, '/', sizeof(bytes)); /* a path without an end */
    bytes[0] = QD_QUBESDB_OK;
    memset(bytes + 68, 0, 4);
    assert_int_equal(qd_qubesdb_decode(bytes, sizeof(bytes), &frame), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths), cmocka_unit_test(test_layout),
                                       cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
