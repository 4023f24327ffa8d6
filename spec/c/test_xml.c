/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * XML: what survives reading and writing, and what is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qd/xml.h"

static struct qd_xml *read_good(const char *text)
{
    struct qd_xml *xml = NULL;
    char *message = NULL;

    if (qd_xml_parse(text, strlen(text), &xml, &message) < 0)
        fail_msg("%s", message);
    return xml;
}

static void expect_text(const char *text, const char *written)
{
    struct qd_xml *xml = read_good(text);
    char *out;
    size_t size;

    assert_int_equal(qd_xml_format(xml, &out, &size), 0);
    assert_string_equal(out, written);
    assert_int_equal(size, strlen(written));
    free(out);
    qd_xml_free(xml);
}

static void expect_refusal(const char *text, size_t size, int error, const char *begin)
{
    struct qd_xml *xml = NULL;
    char *message = NULL;

    assert_int_equal(qd_xml_parse(text, size, &xml, &message), error);
    assert_null(xml);
    assert_non_null(message);
    if (strncmp(message, begin, strlen(begin)) != 0)
        fail_msg("'%s' does not begin with '%s'", message, begin);
    free(message);
}

static void test_layout(void **state)
{
    (void)state;
    expect_text("<a>\n<b/>   <c> </c></a>", "<a>\n  <b/>\n  <c> </c>\n</a>\n");
    expect_text("<a>x<b>\n<c/>\n</b> </a>", "<a>x<b><c/></b> </a>\n");
    expect_text("<?xml version=\"1.0\" encoding=\"utf-8\"?><!-- c --><a><!-- d -->x<?p?>y</a>",
                "<a>xy</a>\n");
}

static void test_characters(void **state)
{
    (void)state;
    expect_text("<a b='&quot;&lt;&#10;&#9; \xc3\xbc'>&amp;&gt;&#13;'\"</a>",
                "<a b=\"&quot;&lt;&#10;&#9; \xc3\xbc\">&amp;&gt;&#13;'\"</a>\n");
    expect_text("<a><![CDATA[<b>]]></a>", "<a>&lt;b&gt;</a>\n");
}

static void test_namespaces(void **state)
{
    (void)state;
    expect_text("<p:a xmlns:p='u' xmlns='v' p:b='1'><c/></p:a>",
                "<p:a xmlns:p=\"u\" xmlns=\"v\" p:b=\"1\">\n  <c/>\n</p:a>\n");
    expect_text("<p:a p:b='1'/>", "<p:a p:b=\"1\"/>\n"); /* nobody declared it, and nobody has to */
}

static void test_refusals(void **state)
{
    (void)state;
    expect_refusal("", 0, -EBADMSG, "line 1: ");
    expect_refusal("<a>\n<b>\n</a>", 12, -EBADMSG, "line 3: ");
    expect_refusal("<a/>\n<b/>", 9, -EBADMSG, "line 2: ");
    expect_refusal("\n<!DOCTYPE a><a/>", 17, -EBADMSG, "line 2: a document type");
    expect_refusal("<a>\n&b;</a>", 11, -EBADMSG, "line 2: ");
    expect_refusal("<a>\0</a>", 8, -EBADMSG, "line 1: ");
    expect_refusal("<a>\n\xff</a>", 9, -EBADMSG, "line 2: expected UTF-8");
    expect_refusal("<a>&#1;</a>", 11, -EBADMSG, "line 1: ");
}

static void test_bounds(void **state)
{
    char *deep = calloc(1, 3 * (QD_XML_DEPTH_MAX + 1) + 1), *big = malloc(QD_XML_SIZE_MAX + 1u);

    (void)state;
    assert_non_null(deep);
    assert_non_null(big);
    for (int i = 0; i <= QD_XML_DEPTH_MAX; i++)
        strcat(deep, "<a>");
    expect_refusal(deep, strlen(deep), -E2BIG, "line 1: elements may stand inside each other");
    memset(big, ' ', QD_XML_SIZE_MAX + 1u);
    expect_refusal(big, QD_XML_SIZE_MAX + 1u, -E2BIG, "line 1: the document may have");
    free(deep);
    free(big);
}

static void test_lines_past_65535(void **state)
{
    const size_t count = 70000;
    char *text = malloc(count + 16);
    struct qd_xml *xml;

    (void)state;
    assert_non_null(text);
    memcpy(text, "<a>", 3);
    memset(text + 3, '\n', count);
    strcpy(text + 3 + count, "<b/></a>");
    xml = read_good(text);
    assert_int_equal(xml->root->first_child->line, count + 1);
    qd_xml_free(xml);
    free(text);
}

static void test_what_cannot_be_written(void **state)
{
    static const char *const names[] = {"", "1a", "a b", "a>", "a\"", "\xff", "-a"};
    struct qd_xml *xml;
    char *text;
    size_t size;

    (void)state;
    xml = qd_xml_new();
    assert_int_equal(qd_xml_format(xml, &text, &size), -EINVAL);
    qd_xml_free(xml);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        xml = qd_xml_new();
        assert_non_null(qd_xml_add(xml, NULL, names[i]));
        assert_null(qd_xml_add(xml, NULL, "second"));
        assert_int_equal(qd_xml_format(xml, &text, &size), -EILSEQ);
        qd_xml_free(xml);
    }
    xml = qd_xml_new();
    assert_int_equal(qd_xml_append_text(qd_xml_add(xml, NULL, "a"), "\x01", 1), 0);
    assert_int_equal(qd_xml_format(xml, &text, &size), -EILSEQ);
    qd_xml_free(xml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_lines_past_65535),
        cmocka_unit_test(test_what_cannot_be_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
