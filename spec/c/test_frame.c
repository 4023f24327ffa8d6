/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qd/frame.h"

#define LITERAL(text) (text), sizeof(text) - 1

/* Of exactly its size on the heap, so that a sanitizer sees a byte too far. */
static int parse(const char *data, size_t size, struct qd_request *ret_request, char **ret_copy)
{
    char *copy = malloc(size);

    assert_true(copy || size == 0);
    if (size > 0)
        memcpy(copy, data, size);
    *ret_copy = copy;
    return qd_frame_parse(copy, size, ret_request);
}

static void expect_slice(struct qd_slice slice, const char *text, size_t size)
{
    assert_int_equal(slice.size, size);
    assert_memory_equal(slice.data, text, size);
}

struct expected {
    const char *method, *arg, *source, *dest;
};

static void expect(const char *data, size_t size, struct expected expected, const char *payload,
                   size_t payload_size)
{
    struct qd_request request;
    char *copy;

    assert_int_equal(parse(data, size, &request, &copy), 0);
    expect_slice(request.method, expected.method, strlen(expected.method));
    expect_slice(request.arg, expected.arg, strlen(expected.arg));
    expect_slice(request.source, expected.source, strlen(expected.source));
    expect_slice(request.dest, expected.dest, strlen(expected.dest));
    expect_slice(request.payload, payload, payload_size);
    free(copy);
}

static void refuse(const char *data, size_t size)
{
    struct qd_request request, before;
    char *copy;

    memset(&request, 0x5a, sizeof(request));
    before = request;
    assert_int_equal(parse(data, size, &request, &copy), -EBADMSG);
    assert_memory_equal(&request, &before, sizeof(request));
    free(copy);
}

static void test_requests(void **state)
{
    (void)state;
    expect(LITERAL("admin.vm.List dom0 name dom0\0"), (struct expected){"admin.vm.List", "", "dom0", "dom0"},
           "", 0);
    expect(LITERAL("a.B+arg src name dst\0payload"), (struct expected){"a.B", "arg", "src", "dst"}, "payload",
           7);
    expect(LITERAL("a.B+ src name dst\0"), (struct expected){"a.B", "", "src", "dst"}, "", 0);
    expect(LITERAL("a.B+x+y+ src name dst\0"), (struct expected){"a.B", "x+y+", "src", "dst"}, "", 0);
    expect(LITERAL("a.B uuid:1 name uuid:2\0"), (struct expected){"a.B", "", "uuid:1", "uuid:2"}, "", 0);
}

static void test_keywords(void **state)
{
    (void)state;
    expect(LITERAL("a.B src keyword adminvm\0p"), (struct expected){"a.B", "", "src", "dom0"}, "p", 1);
    expect(LITERAL("a.B src name adminvm\0"), (struct expected){"a.B", "", "src", "adminvm"}, "", 0);
    refuse(LITERAL("a.B src keyword dom0\0"));
    refuse(LITERAL("a.B src keyword \0"));
    refuse(LITERAL("a.B src keyword adminvm \0"));
    refuse(LITERAL("a.B src keyword adminvmx\0"));
    refuse(LITERAL("a.B src keyword adminv\0"));
    refuse(LITERAL("a.B src Keyword adminvm\0"));
    refuse(LITERAL("a.B src names dst\0"));
    refuse(LITERAL("a.B src nam dst\0"));
    refuse(LITERAL("a.B src  dst\0"));
}

static void test_bytes_are_kept(void **state)
{
    (void)state;
    expect(LITERAL("a.B src name dst\0\0\0x\0"), (struct expected){"a.B", "", "src", "dst"}, "\0\0x\0", 4);
    expect(LITERAL("\xff\n+\xfe\t \x01 name a b\0\xff"), (struct expected){"\xff\n", "\xfe\t", "\x01", "a b"},
           "\xff", 1);
    /* Empty parts are cut apart too; that they mean nothing is the dispatcher's to say. */
    expect(LITERAL("  name \0"), (struct expected){"", "", "", ""}, "", 0);
    expect(LITERAL("+  name \0"), (struct expected){"", "", "", ""}, "", 0);
}

static void test_no_requests(void **state)
{
    static const char whole[] = "a.B+arg src name dst";

    (void)state;
    refuse(NULL, 0);
    refuse(LITERAL("\0"));
    refuse(LITERAL("\0a.B src name dst\0"));
    refuse(LITERAL("a.B\0src name dst"));
    refuse(LITERAL("a.B src\0name dst"));
    refuse(LITERAL("a.B src name\0dst"));
    for (size_t size = 1; size < sizeof(whole); size++) /* no end of the head */
        refuse(whole, size);
    for (size_t size = 1; size < sizeof(whole) - 4;
         size++) { /* an early one; from "name " on, the name is only shorter */
        char copy[sizeof(whole)];

        memcpy(copy, whole, sizeof(copy));
        copy[size] = '\0';
        refuse(copy, sizeof(copy) - 1);
    }
}

static void test_size(void **state)
{
    static const char head[] = "a.B src name dst";
    char *data = calloc(1, QD_REQUEST_MAX + 1);
    struct qd_request request;
    char *copy;

    (void)state;
    assert_non_null(data);
    memcpy(data, head, sizeof(head));
    assert_int_equal(parse(data, QD_REQUEST_MAX, &request, &copy), 0);
    assert_int_equal(request.payload.size, QD_REQUEST_MAX - sizeof(head));
    assert_ptr_equal(request.payload.data, copy + sizeof(head));
    free(copy);
    refuse(data, QD_REQUEST_MAX + 1);
    free(data);
}

static void test_heads(void **state)
{
    (void)state;
    assert_memory_equal(QD_FRAME_OK, "0\0", QD_FRAME_HEAD_SIZE);
    assert_memory_equal(QD_FRAME_EVENT, "1\0", QD_FRAME_HEAD_SIZE);
    assert_memory_equal(QD_FRAME_EXCEPTION, "2\0", QD_FRAME_HEAD_SIZE);
    assert_int_equal(QD_REQUEST_MAX, 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),       cmocka_unit_test(test_keywords),
        cmocka_unit_test(test_bytes_are_kept), cmocka_unit_test(test_no_requests),
        cmocka_unit_test(test_size),           cmocka_unit_test(test_heads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
