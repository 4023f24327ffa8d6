/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * XML: what was read and is written again reads as the same tree, and is then written as the same bytes.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_attributes(const struct qd_xml_attribute *a, const struct qd_xml_attribute *b)
{
    for (; a && b; a = a->next, b = b->next) {
        if (!same(a->name, b->name) || !same(a->value, b->value))
            return false;
    }
    return !a && !b;
}

/* The depth is bounded by the reader. */
static bool same_elements(const struct qd_xml_element *a, const struct qd_xml_element *b)
{
    const struct qd_xml_element *x = a->first_child, *y = b->first_child;

    if (!same(a->name, b->name) || !same(a->text, b->text) || !same(a->tail, b->tail) ||
        !same_attributes(a->first_attribute, b->first_attribute))
        return false;
    for (; x && y; x = x->next, y = y->next) {
        if (!same_elements(x, y))
            return false;
    }
    return !x && !y;
}

static void check_again(const struct qd_xml *xml)
{
    struct qd_xml *again;
    char *text, *text_again, *message;
    size_t size, size_again;

    if (qd_xml_format(xml, &text, &size) < 0)
        fail("what was read can't be written");
    if (qd_xml_parse(text, size, &again, &message) < 0)
        fail("what was written can't be read");
    if (!same_elements(xml->root, again->root))
        fail("a tree does not survive");
    if (qd_xml_format(again, &text_again, &size_again) < 0 || size != size_again ||
        memcmp(text, text_again, size) != 0)
        fail("a text does not survive");
    free(text);
    free(text_again);
    qd_xml_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_xml *xml = NULL;
    char *message = NULL;
    int r = qd_xml_parse((const char *)data, size, &xml, &message);

    if (r == 0)
        check_again(xml);
    else if (!message || strncmp(message, "line ", 5) != 0 || xml)
        fail("a refusal broke its promise");
    free(message);
    qd_xml_free(xml);
    return 0;
}
