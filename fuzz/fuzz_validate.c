/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All validators over the same bytes: what they promise of their outputs, and what must hold between them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef int (*text_fn)(const unsigned char *data, size_t size, const char **ret_reason);

static const char *const untouched = "untouched";

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static bool is_consistent(int r, const char *reason)
{
    if (r == 0)
        return reason == untouched;
    return (r == -EINVAL || r == -ERANGE || r == -ENAMETOOLONG) && reason != untouched && strlen(reason) > 10;
}

static bool takes(text_fn validate, const uint8_t *data, size_t size)
{
    const char *reason = untouched;
    int r = validate(data, size, &reason);

    if (!is_consistent(r, reason) || r == -ERANGE)
        fail("a validator of text broke its promise");
    return r == 0;
}

static void check_text(const uint8_t *data, size_t size)
{
    bool ascii = takes(qd_validate_ascii, data, size);
    bool printable = takes(qd_validate_printable_ascii, data, size);
    bool value = takes(qd_validate_feature_value, data, size);
    bool argument = takes(qd_validate_argument, data, size);
    bool label = takes(qd_validate_label_name, data, size);
    bool feature = takes(qd_validate_feature_name, data, size);
    bool tag = takes(qd_validate_tag, data, size);
    bool qube = takes(qd_validate_qube_name, data, size);

    if ((printable && !ascii) || (value && !printable) || (argument && !value) || (feature && !argument))
        fail("a narrower set of characters is not in the wider one");
    if (label != feature || (tag && !feature) || (qube && !feature))
        fail("names differ in their characters");
    if (takes(qd_validate_new_label_name, data, size) && !label)
        fail("a new label could not be asked for");
    if (qube && (size == 0 || size > QD_QUBE_NAME_MAX))
        fail("the name of a qube has a bad size");
}

static void check_uuid(const uint8_t *data, size_t size)
{
    uint8_t uuid[16];
    char text[QD_UUID_TEXT_SIZE + 1], *end = text;
    bool taken = takes(qd_validate_uuid, data, size);

    if ((qd_validate_uuid_bytes(data, size, uuid, NULL) == 0) != taken)
        fail("the validators of a uuid disagree");
    if (!taken)
        return;
    for (int i = 0; i < 16; i++)
        end += snprintf(end, 4, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
    if (size != QD_UUID_TEXT_SIZE || memcmp(data, text, size) != 0)
        fail("a uuid does not survive");
}

static void check_label_value(const uint8_t *data, size_t size)
{
    char color[QD_LABEL_VALUE_SIZE + 1];
    bool taken = takes(qd_validate_label_value, data, size);

    if ((qd_validate_label_color(data, size, color, NULL) == 0) != taken)
        fail("the validators of a colour disagree");
    if (taken && !takes(qd_validate_label_value, (const uint8_t *)color, strlen(color)))
        fail("a stripped colour is none");
}

/* A number that was taken is printed as it came. */
static void check_number(const uint8_t *data, size_t size, bool negative)
{
    const char *reason = untouched;
    char text[32];
    int64_t number = 4711, as_size, as_int;
    int r = qd_validate_number(data, size, negative, &number, &reason);

    if (!is_consistent(r, reason) || (r != 0 && number != 4711))
        fail("a number broke its promise");
    if (r != 0)
        return;
    snprintf(text, sizeof(text), "%s%" PRId64, number == 0 && data[0] == '-' ? "-" : "", number);
    if (strlen(text) != size || memcmp(text, data, size) != 0)
        fail("a number does not survive");
    if (qd_validate_python_int(data, size, &as_int, NULL) != 0 || as_int != number)
        fail("a number is not one to Python");
    if (!negative && (number < 0 || qd_validate_size(data, size, &as_size, NULL) != 0 || as_size != number))
        fail("a number is not a size");
}

static void check_loose_numbers(const uint8_t *data, size_t size)
{
    const char *reason = untouched;
    int64_t number = 4711;
    bool value = false;
    int r = qd_validate_python_int(data, size, &number, &reason);

    if (!is_consistent(r, reason) || (r != 0 && number != 4711))
        fail("a whole number broke its promise");
    number = 4711;
    reason = untouched;
    r = qd_validate_size(data, size, &number, &reason);
    if (!is_consistent(r, reason) || (r != 0 && number != 4711) || number < 0)
        fail("a size broke its promise");
    reason = untouched;
    r = qd_validate_boolean(data, size, &value, &reason);
    if (!is_consistent(r, reason) || (r == 0 && (size < 1 || size > 5)))
        fail("a truth value broke its promise");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *block = malloc(size); /* of exactly its size */

    if (size > 0) {
        if (!block)
            fail("no memory");
        memcpy(block, data, size);
    }
    check_text(block, size);
    check_uuid(block, size);
    check_label_value(block, size);
    check_number(block, size, false);
    check_number(block, size, true);
    check_loose_numbers(block, size);
    free(block);
    return 0;
}
