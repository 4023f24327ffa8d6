/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * XML as a plain tree, read and written. It knows nothing of Lua or of what the elements mean; touches no
 * file and no network.
 *
 * Words: the *text* of an element stands before its first child, the *tail* of a child between its own end
 * and what follows. White space between elements that hold nothing but elements is layout and not kept;
 * comments and processing instructions are not kept either. Names are kept with their prefixes, and
 * declarations of namespaces as attributes.
 *
 * Reading takes no document type, so there are no entities but the predefined ones. All functions: any
 * thread, no locks.
 */
#ifndef QD_XML_H
#define QD_XML_H

#include <stddef.h>

#define QD_XML_SIZE_MAX (64u << 20)  /* bytes of a document */
#define QD_XML_DEPTH_MAX 64          /* of elements inside elements */
#define QD_XML_ELEMENTS_MAX 2000000u /* of a document */

struct qd_xml_attribute {
    struct qd_xml_attribute *next;
    char *name;
    char *value;
};

struct qd_xml_element {
    struct qd_xml_element *parent, *next;
    struct qd_xml_element *first_child, *last_child;
    struct qd_xml_attribute *first_attribute, *last_attribute;
    char *name;
    char *text; /* NULL: none */
    char *tail;
    size_t text_size, tail_size; /* while they grow */
    unsigned line;               /* 0: not read from a document */
};

struct qd_xml {
    struct qd_xml_element *root; /* NULL until the first element is added */
    size_t elements;
};

/* Reads a document. 0; -EBADMSG: it is not well-formed, or has what is not taken; -E2BIG: past a bound;
 * -ENOMEM. On failure `ret_message` (malloc, or NULL without memory) begins with the line and says what was
 * expected; else it is untouched. */
int qd_xml_parse(const char *text, size_t size, struct qd_xml **ret_xml, char **ret_message);

/* Building: a tree, and elements under `parent` (NULL: the root, once). NULL without memory or past a bound.
 * Strings are copied. */
struct qd_xml *qd_xml_new(void);
struct qd_xml_element *qd_xml_add(struct qd_xml *xml, struct qd_xml_element *parent, const char *name);
int qd_xml_set_attribute(struct qd_xml_element *element, const char *name, const char *value);
int qd_xml_append_text(struct qd_xml_element *element, const char *text, size_t size);
int qd_xml_append_tail(struct qd_xml_element *element, const char *text, size_t size);
/* NULL is allowed. */
void qd_xml_free(struct qd_xml *xml);

/* Writes the tree as a document in UTF-8, indented where that adds nothing to a text. Reading it gives an
 * equal tree. `ret_text` (malloc) ends with NUL. 0; -EILSEQ: a name or a text can't stand in XML; -EINVAL: an
 * empty tree; -ENOMEM. */
int qd_xml_format(const struct qd_xml *xml, char **ret_text, size_t *ret_size);

#endif
