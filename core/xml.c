/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reading XML. libxml2 calls back for each element and text, so there is no second tree and no limit on line
 * numbers.
 */
#include "qd/xml.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/validate.h"

/* ---- the tree ---- */

struct qd_xml *qd_xml_new(void)
{
    return calloc(1, sizeof(struct qd_xml));
}

struct qd_xml_element *qd_xml_add(struct qd_xml *xml, struct qd_xml_element *parent, const char *name)
{
    struct qd_xml_element *element;

    if (xml->elements >= QD_XML_ELEMENTS_MAX || (!parent && xml->root))
        return NULL;
    element = calloc(1, sizeof(*element));
    if (!element)
        return NULL;
    element->name = strdup(name);
    if (!element->name) {
        free(element);
        return NULL;
    }
    element->parent = parent;
    if (!parent)
        xml->root = element;
    else if (parent->last_child)
        parent->last_child->next = element;
    else
        parent->first_child = element;
    if (parent)
        parent->last_child = element;
    xml->elements++;
    return element;
}

int qd_xml_set_attribute(struct qd_xml_element *element, const char *name, const char *value)
{
    struct qd_xml_attribute *attribute = calloc(1, sizeof(*attribute));

    if (!attribute)
        return -ENOMEM;
    attribute->name = strdup(name);
    attribute->value = strdup(value);
    if (!attribute->name || !attribute->value) {
        free(attribute->name);
        free(attribute->value);
        free(attribute);
        return -ENOMEM;
    }
    if (element->last_attribute)
        element->last_attribute->next = attribute;
    else
        element->first_attribute = attribute;
    element->last_attribute = attribute;
    return 0;
}

/* The space doubles, since libxml2 gives long texts in small pieces: it is the next power of two. */
static int append(char **text, size_t *size, const char *more, size_t more_size)
{
    size_t space = 16, needed = *size + more_size + 1;
    char *grown = *text;

    while (space < *size + 1)
        space *= 2;
    if (!grown || needed > space) {
        while (space < needed)
            space *= 2;
        grown = realloc(*text, space);
        if (!grown)
            return -ENOMEM;
    }
    memcpy(grown + *size, more, more_size);
    *size += more_size;
    grown[*size] = '\0';
    *text = grown;
    return 0;
}

int qd_xml_append_text(struct qd_xml_element *element, const char *text, size_t size)
{
    return append(&element->text, &element->text_size, text, size);
}

int qd_xml_append_tail(struct qd_xml_element *element, const char *text, size_t size)
{
    return append(&element->tail, &element->tail_size, text, size);
}

static void free_element(struct qd_xml_element *element)
{
    while (element->first_attribute) {
        struct qd_xml_attribute *attribute = element->first_attribute;

        element->first_attribute = attribute->next;
        free(attribute->name);
        free(attribute->value);
        free(attribute);
    }
    free(element->name);
    free(element->text);
    free(element->tail);
    free(element);
}

/* Without recursion: takes the first child off until there is none. */
void qd_xml_free(struct qd_xml *xml)
{
    struct qd_xml_element *element = xml ? xml->root : NULL;

    while (element) {
        struct qd_xml_element *child = element->first_child, *parent = element->parent;

        if (child) {
            element->first_child = child->next;
            element = child;
        } else {
            free_element(element);
            element = parent;
        }
    }
    free(xml);
}

/* ---- reading ---- */

struct reader {
    xmlParserCtxtPtr parser;
    struct qd_xml *xml;
    struct qd_xml_element *open; /* the innermost one whose end has not come */
    unsigned depth;
    int error;
    char *message;
};

static unsigned line_of(const struct reader *reader)
{
    return reader->parser->input && reader->parser->input->line > 0 ? (unsigned)reader->parser->input->line
                                                                    : 1;
}

static void stop(struct reader *reader, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void stop(struct reader *reader, int error, const char *format, ...)
{
    va_list arguments;

    if (reader->error)
        return;
    reader->error = error;
    va_start(arguments, format);
    if (vasprintf(&reader->message, format, arguments) < 0)
        reader->message = NULL;
    va_end(arguments);
    if (reader->parser)
        xmlStopParser(reader->parser);
}

static void check(struct reader *reader, int r)
{
    if (r < 0)
        stop(reader, r, "line %u: no memory", line_of(reader));
}

/* Whether it is nothing but the layout between elements. */
static bool is_blank(const char *text)
{
    return !text || text[strspn(text, " \t\r\n")] == '\0';
}

static void add_attribute(struct reader *reader, struct qd_xml_element *element, const xmlChar *prefix,
                          const xmlChar *name, const char *value, size_t size)
{
    char *full, *copy = strndup(value, size);
    int r = copy ? 0 : -ENOMEM;

    if (r == 0 && asprintf(&full, "%s%s%s", prefix ? (const char *)prefix : "", prefix ? ":" : "",
                           (const char *)name) < 0)
        r = -ENOMEM;
    if (r == 0) {
        r = qd_xml_set_attribute(element, full, copy);
        free(full);
    }
    free(copy);
    check(reader, r);
}

static struct qd_xml_element *add_element(struct reader *reader, const xmlChar *prefix, const xmlChar *name)
{
    struct qd_xml_element *element = NULL;
    char *full;

    if (asprintf(&full, "%s%s%s", prefix ? (const char *)prefix : "", prefix ? ":" : "",
                 (const char *)name) >= 0) {
        element = qd_xml_add(reader->xml, reader->open, full);
        free(full);
    }
    check(reader, element ? 0 : -ENOMEM);
    return element;
}

static void on_start(void *context, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int namespace_count, const xmlChar **namespaces, int attribute_count, int default_count,
                     const xmlChar **attributes)
{
    struct reader *reader = context;
    struct qd_xml_element *element;

    (void)uri;
    (void)default_count; /* come from document types only */
    if (reader->error)
        return;
    if (reader->depth >= QD_XML_DEPTH_MAX) {
        stop(reader, -E2BIG, "line %u: elements may stand inside each other %u deep at most", line_of(reader),
             QD_XML_DEPTH_MAX);
        return;
    }
    if (reader->xml->elements >= QD_XML_ELEMENTS_MAX) {
        stop(reader, -E2BIG, "line %u: there may be %u elements at most", line_of(reader),
             QD_XML_ELEMENTS_MAX);
        return;
    }
    element = add_element(reader, prefix, name);
    if (!element)
        return;
    element->line = line_of(reader);
    for (int i = 0; i < namespace_count; i++) {
        const xmlChar *declared = namespaces[2 * i], *address = namespaces[2 * i + 1];
        const char *value = address ? (const char *)address : "";

        add_attribute(reader, element, declared ? (const xmlChar *)"xmlns" : NULL,
                      declared ? declared : (const xmlChar *)"xmlns", value, strlen(value));
    }
    for (int i = 0; i < attribute_count; i++) {
        const xmlChar **attribute =
            &attributes[5 * i]; /* name, prefix, address, begin and end of the value */

        add_attribute(reader, element, attribute[1], attribute[0], (const char *)attribute[3],
                      (size_t)(attribute[4] - attribute[3]));
    }
    reader->open = element;
    reader->depth++;
}

/* An element that is complete: if it holds elements, and no text but layout, the layout goes. */
static void drop_layout(struct qd_xml_element *element)
{
    if (!element->first_child || !is_blank(element->text))
        return;
    for (struct qd_xml_element *child = element->first_child; child; child = child->next) {
        if (!is_blank(child->tail))
            return;
    }
    free(element->text);
    element->text = NULL;
    element->text_size = 0;
    for (struct qd_xml_element *child = element->first_child; child; child = child->next) {
        free(child->tail);
        child->tail = NULL;
        child->tail_size = 0;
    }
}

static void on_end(void *context, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct reader *reader = context;

    (void)name;
    (void)prefix;
    (void)uri;
    if (reader->error || !reader->open)
        return;
    drop_layout(reader->open);
    reader->open = reader->open->parent;
    reader->depth--;
}

static void on_text(void *context, const xmlChar *text, int size)
{
    struct reader *reader = context;

    if (reader->error || !reader->open)
        return;
    if (reader->open->last_child)
        check(reader, qd_xml_append_tail(reader->open->last_child, (const char *)text, (size_t)size));
    else
        check(reader, qd_xml_append_text(reader->open, (const char *)text, (size_t)size));
}

static void on_document_type(void *context, const xmlChar *name, const xmlChar *public_id,
                             const xmlChar *system_id)
{
    struct reader *reader = context;

    (void)name;
    (void)public_id;
    (void)system_id;
    stop(reader, -EBADMSG, "line %u: a document type is not allowed here: an element was expected",
         line_of(reader));
}

static void on_error(void *context, xmlErrorPtr error)
{
    struct reader *reader = context;
    size_t size = error->message ? strlen(error->message) : 0;

    if (error->level < XML_ERR_FATAL || reader->error)
        return; /* a prefix without its namespace is none of our business */
    while (size > 0 && strchr(" \n", error->message[size - 1]))
        size--;
    if (error->code == XML_ERR_NO_MEMORY)
        stop(reader, -ENOMEM, "line %d: no memory", error->line);
    else if (reader->open)
        stop(reader, -EBADMSG, "line %d: %.*s; expected what may stand in <%s> (of line %u), and then </%s>",
             error->line, (int)size, error->message ? error->message : "", reader->open->name,
             reader->open->line, reader->open->name);
    else
        stop(reader, -EBADMSG, "line %d: %.*s; expected %s", error->line, (int)size,
             error->message ? error->message : "", reader->xml->root ? "the end of the file" : "an element");
}

/* Other encodings than UTF-8 are refused, whatever the document says of itself, so that libxml2 never
 * converts anything. */
static int check_encoding(struct reader *reader, const char *text, size_t size)
{
    unsigned line = 1;

    for (const char *at = text, *end = text + size; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *reason;
        size_t length = newline ? (size_t)(newline - at) : (size_t)(end - at);

        if (qd_validate_utf8((const unsigned char *)at, length, &reason) < 0) {
            stop(reader, -EBADMSG, "line %u: %s", line, reason);
            return -EBADMSG;
        }
        at += length + 1;
    }
    return 0;
}

static int run(struct reader *reader, const char *text, size_t size)
{
    static const xmlSAXHandler handlers = {
        .internalSubset = on_document_type,
        .characters = on_text,
        .ignorableWhitespace = on_text,
        .cdataBlock = on_text,
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = on_start,
        .endElementNs = on_end,
        .serror = on_error,
    };

    if (size > QD_XML_SIZE_MAX) {
        stop(reader, -E2BIG, "line 1: the document may have %u bytes at most", QD_XML_SIZE_MAX);
        return -E2BIG;
    }
    if (check_encoding(reader, text, size) < 0)
        return reader->error;
    reader->parser = xmlCreateMemoryParserCtxt(size > 0 ? text : " ", size > 0 ? (int)size : 1);
    if (!reader->parser)
        return -ENOMEM;
    *reader->parser->sax = handlers;
    reader->parser->userData = reader;
    xmlCtxtUseOptions(reader->parser, XML_PARSE_NONET | XML_PARSE_IGNORE_ENC);
    xmlParseDocument(reader->parser);
    if (!reader->error && (!reader->parser->wellFormed || !reader->xml->root))
        stop(reader, -EBADMSG, "line %u: not XML; expected an element", line_of(reader));
    if (reader->parser->myDoc)
        xmlFreeDoc(reader->parser->myDoc);
    reader->parser->myDoc = NULL;
    xmlFreeParserCtxt(reader->parser);
    return reader->error;
}

int qd_xml_parse(const char *text, size_t size, struct qd_xml **ret_xml, char **ret_message)
{
    struct reader reader = {.xml = qd_xml_new()};
    int r = reader.xml ? run(&reader, text, size) : -ENOMEM;

    if (r < 0) {
        qd_xml_free(reader.xml);
        *ret_message = reader.message;
        return r;
    }
    *ret_xml = reader.xml;
    return 0;
}
