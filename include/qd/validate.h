/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What untrusted bytes must look like before they become plain values (law 2). Each function judges the whole
 * of `data`; a NUL has no meaning of its own, and `data` may be NULL when `size` is 0.
 *
 * Pure: no I/O, no allocation, no Lua, no locale, no state. Any thread. Nothing here raises. All return 0 or
 *   -EINVAL        not of this form;
 *   -ERANGE        a number of this form, but beyond an int64_t;
 *   -ENAMETOOLONG  the name of a qube is too long.
 * On failure `ret_reason` is a static text for the user that says what was expected and holds nothing of
 * `data`, and the other outputs are untouched; on success `ret_reason` is untouched. It may be NULL.
 *
 * "Mirrors" names the behaviour of the reference (qubes-core-admin) that a function has; differences are
 * said.
 */
#ifndef QD_VALIDATE_H
#define QD_VALIDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_QUBE_NAME_MAX 31       /* bytes */
#define QD_UUID_TEXT_SIZE 36      /* bytes, without the prefix `uuid:` and without a NUL */
#define QD_LABEL_VALUE_SIZE 8     /* bytes: 0xRRGGBB */
#define QD_NUMBER_DIGITS_MAX 19   /* of qd_validate_number */
#define QD_PYTHON_DIGITS_MAX 4300 /* of qd_validate_python_int, leading zeros included */

/* ---- text ---- */

/* Bytes below 0x80, none included. Mirrors decoding as strict ASCII. */
int qd_validate_ascii(const unsigned char *data, size_t size, const char **ret_reason);

/* 0x20 to 0x7e, tab, line feed, vertical tab, form feed, carriage return. Mirrors properties that are text
 * (sanitize of qubes.property). */
int qd_validate_printable_ascii(const unsigned char *data, size_t size, const char **ret_reason);

/* ---- numbers ---- */

/* Digits, at most 19, without leading zeros; a `-` in front where `negative`, also of 0. Mirrors
 * validate_number of qubes.api, which knows no -ERANGE: it takes all numbers of 19 digits. */
int qd_validate_number(const unsigned char *data, size_t size, bool negative, int64_t *ret_number,
                       const char **ret_reason);

/* A size in bytes: as qd_validate_number, not negative, with white space around it. Mirrors
 * admin.vm.volume.Resize. */
int qd_validate_size(const unsigned char *data, size_t size, int64_t *ret_bytes, const char **ret_reason);

/* White space, a sign, digits with single underscores between them, white space. Mirrors int() of Python 3
 * for ASCII, and so properties of that type; its limit of digits included. */
int qd_validate_python_int(const unsigned char *data, size_t size, int64_t *ret_number,
                           const char **ret_reason);

/* 0, no, false, off or 1, yes, true, on, in any case, and no white space. Mirrors properties of type bool. */
int qd_validate_boolean(const unsigned char *data, size_t size, bool *ret_value, const char **ret_reason);

/* ---- names ---- */

/* The name of a qube, of 1 to 31 bytes: a letter, then letters, digits, `_`, `.`, `-`; not one of the
 * reserved names (Domain-0, none, default), and without -dm at the end. Mirrors validate_name of qubes.vm. */
int qd_validate_qube_name(const unsigned char *data, size_t size, const char **ret_reason);

/* A UUID as 8-4-4-4-12 digits of lower-case hexadecimal; any variant and version, also all zeros (dom0's).
 * Mirrors what follows `uuid:` in the name of a source or destination (decode_vm of qubes.api), which by an
 * oversight also takes upper case in the last group: refused here. */
int qd_validate_uuid(const unsigned char *data, size_t size, const char **ret_reason);

/* The same, and its 16 bytes in the order of the digits. */
int qd_validate_uuid_bytes(const unsigned char *data, size_t size, uint8_t ret_uuid[16],
                           const char **ret_reason);

/* The name of a label: letters, digits, `-`, `_`, `.`, not empty. Mirrors validate_label_name of qubes.utils.
 */
int qd_validate_label_name(const unsigned char *data, size_t size, const char **ret_reason);

/* The same for a label to be made, or for the one of a qube to be made: and not digits only, which would read
 * as an index. Mirrors it with `creation`. */
int qd_validate_new_label_name(const unsigned char *data, size_t size, const char **ret_reason);

/* The colour of a label: `0x` and six hexadecimal digits of any case, with white space around it. Mirrors
 * validate_label_value of qubes.utils. The reference then stores the white space too: see
 * qd_validate_label_color. */
int qd_validate_label_value(const unsigned char *data, size_t size, const char **ret_reason);

/* The same, and the value without white space, as a string. */
int qd_validate_label_color(const unsigned char *data, size_t size, char ret_color[QD_LABEL_VALUE_SIZE + 1],
                            const char **ret_reason);

/* A tag: letters, digits, `-`, `_`, not empty. Mirrors validate_tag of qubes.vm.Tags. */
int qd_validate_tag(const unsigned char *data, size_t size, const char **ret_reason);

/* The name of a feature that is to be set: letters, digits, `_`, `.`, `-`, not empty. Mirrors
 * admin.vm.feature.Set. To ask for a feature the reference takes any argument and then finds no such feature:
 * qd_validate_argument. */
int qd_validate_feature_name(const unsigned char *data, size_t size, const char **ret_reason);

/* The value of a feature: 0x20 to 0x7e, or empty. Mirrors admin.vm.feature.Set. */
int qd_validate_feature_value(const unsigned char *data, size_t size, const char **ret_reason);

/* What qrexec lets through as an argument of a call: letters, digits, `+`, `-`, `.`, `_`, or empty. Mirrors
 * qrexec's set of characters for names of calls. */
int qd_validate_argument(const unsigned char *data, size_t size, const char **ret_reason);

/* Well-formed UTF-8 without a NUL. Source: the notes of a qube. */
int qd_validate_utf8(const unsigned char *data, size_t size, const char **ret_reason);

#endif
