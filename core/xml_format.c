/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Writing XML.
 */
#include <errno.h>
#include <libxml/chvalid.h>
#include <libxml/tree.h>
#include <libxml/xmlstring.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "qd/xml.h"

struct writer {
    char *data;
    size_t size, space;
    int error;
};

static void put(struct writer *writer, const char *text, size_t size)
{
    if (writer->error)
        return;
    if (writer->size + size + 1 > writer->space) {
        size_t space = writer->space ? writer->space * 2 : 4096;
        char *grown;

        while (space < writer->size + size + 1)
            space *= 2;
        grown = realloc(writer->data, space);
        if (!grown) {
            writer->error = -ENOMEM;
            return;
        }
        writer->data = grown;
        writer->space = space;
    }
    memcpy(writer->data + writer->size, text, size);
    writer->size += size;
    writer->data[writer->size] = '\0';
}

static void puts_to(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

/* Whether all of it may stand in XML, as UTF-8. */
static bool is_writable(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    if (!xmlCheckUTF8(at))
        return false;
    while (*at) {
        int size = 4, code = xmlGetUTF8Char(at, &size);

        if (code < 0 || !xmlIsCharQ(code))
            return false;
        at += size;
    }
    return true;
}

/* What a reader would change is written as a reference: in attributes all white space but the space, in texts
 * the carriage return. */
static const char *reference(char byte, bool in_attribute)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '\r':
        return "&#13;";
    case '"':
        return in_attribute ? "&quot;" : NULL;
    case '\t':
        return in_attribute ? "&#9;" : NULL;
    case '\n':
        return in_attribute ? "&#10;" : NULL;
    default:
        return NULL;
    }
}

static void put_escaped(struct writer *writer, const char *text, bool in_attribute)
{
    if (!is_writable(text)) {
        writer->error = writer->error ? writer->error : -EILSEQ;
        return;
    }
    while (*text) {
        size_t plain = 0;

        while (text[plain] && !reference(text[plain], in_attribute))
            plain++;
        put(writer, text, plain);
        text += plain;
        if (*text)
            puts_to(writer, reference(*text++, in_attribute));
    }
}

/* The characters that a name may begin with, and those that it may go on with besides. Source: XML 1.0, 5th
 * edition, section 2.3. libxml2 reads such names, but its own check knows only those of the editions before.
 */
static bool is_name_start(int code)
{
    static const int ranges[][2] = {
        {':', ':'},       {'A', 'Z'},       {'_', '_'},       {'a', 'z'},
        {0xc0, 0xd6},     {0xd8, 0xf6},     {0xf8, 0x2ff},    {0x370, 0x37d},
        {0x37f, 0x1fff},  {0x200c, 0x200d}, {0x2070, 0x218f}, {0x2c00, 0x2fef},
        {0x3001, 0xd7ff}, {0xf900, 0xfdcf}, {0xfdf0, 0xfffd}, {0x10000, 0xeffff},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (code >= ranges[i][0] && code <= ranges[i][1])
            return true;
    }
    return false;
}

static bool is_name_part(int code)
{
    return is_name_start(code) || code == '-' || code == '.' || (code >= '0' && code <= '9') ||
           code == 0xb7 || (code >= 0x300 && code <= 0x36f) || code == 0x203f || code == 0x2040;
}

static bool is_name(const char *name)
{
    const unsigned char *at = (const unsigned char *)name;

    if (!*at || !is_writable(name))
        return false;
    while (*at) {
        int size = 4, code = xmlGetUTF8Char(at, &size);

        if (!(at == (const unsigned char *)name ? is_name_start(code) : is_name_part(code)))
            return false;
        at += size;
    }
    return true;
}

static void put_name(struct writer *writer, const char *name)
{
    if (!is_name(name))
        writer->error = writer->error ? writer->error : -EILSEQ;
    puts_to(writer, name);
}

static void put_start(struct writer *writer, const struct qd_xml_element *element, bool empty)
{
    puts_to(writer, "<");
    put_name(writer, element->name);
    for (const struct qd_xml_attribute *attribute = element->first_attribute; attribute;
         attribute = attribute->next) {
        puts_to(writer, " ");
        put_name(writer, attribute->name);
        puts_to(writer, "=\"");
        put_escaped(writer, attribute->value, true);
        puts_to(writer, "\"");
    }
    puts_to(writer, empty ? "/>" : ">");
}

/* Whether line breaks may be added inside it. */
static bool holds_only_elements(const struct qd_xml_element *element)
{
    if (element->text && *element->text)
        return false;
    for (const struct qd_xml_element *child = element->first_child; child; child = child->next) {
        if (child->tail && *child->tail)
            return false;
    }
    return element->first_child != NULL;
}

static void break_line(struct writer *writer, unsigned depth)
{
    puts_to(writer, "\n");
    for (unsigned i = 0; i < depth && !writer->error; i++)
        puts_to(writer, "  ");
}

/* The depth is bounded where trees are built from what others wrote, so that the recursion is too. */
static void put_element(struct writer *writer, const struct qd_xml_element *element, unsigned depth,
                        bool indent)
{
    bool inner = indent && holds_only_elements(element);
    bool empty = !element->first_child && (!element->text || !*element->text);

    if (depth >= QD_XML_DEPTH_MAX)
        writer->error = writer->error ? writer->error : -EILSEQ;
    if (writer->error)
        return;
    put_start(writer, element, empty);
    if (empty)
        return;
    if (element->text)
        put_escaped(writer, element->text, false);
    for (const struct qd_xml_element *child = element->first_child; child; child = child->next) {
        if (inner)
            break_line(writer, depth + 1);
        put_element(writer, child, depth + 1, inner);
        if (child->tail)
            put_escaped(writer, child->tail, false);
    }
    if (inner)
        break_line(writer, depth);
    puts_to(writer, "</");
    puts_to(writer, element->name);
    puts_to(writer, ">");
}

int qd_xml_format(const struct qd_xml *xml, char **ret_text, size_t *ret_size)
{
    struct writer writer = {0};

    if (!xml->root)
        return -EINVAL;
    put_element(&writer, xml->root, 0, true);
    puts_to(&writer, "\n");
    if (writer.error) {
        free(writer.data);
        return writer.error;
    }
    *ret_text = writer.data;
    *ret_size = writer.size;
    return 0;
}
