/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/validate.h"

#include <errno.h>
#include <string.h>

struct bytes {
    const unsigned char *data;
    size_t size;
};

static int refuse(int error, const char *reason, const char **ret_reason)
{
    if (ret_reason)
        *ret_reason = reason;
    return error;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_printable(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e;
}

/* What Python strips from bytes, and skips around a number. */
static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What Python strips from text: the four separators of ASCII too. */
static bool is_text_space(unsigned char c)
{
    return is_space(c) || (c >= 0x1c && c <= 0x1f);
}

static int hex_digit(unsigned char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static struct bytes strip(struct bytes bytes, bool (*is_blank)(unsigned char))
{
    while (bytes.size > 0 && is_blank(bytes.data[0])) {
        bytes.data++;
        bytes.size--;
    }
    while (bytes.size > 0 && is_blank(bytes.data[bytes.size - 1]))
        bytes.size--;
    return bytes;
}

static bool equals(struct bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && (bytes.size == 0 || memcmp(bytes.data, text, bytes.size) == 0);
}

/* The same in any case; `text` is in lower case. */
static bool equals_caseless(struct bytes bytes, const char *text)
{
    if (bytes.size != strlen(text))
        return false;
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char c = bytes.data[i];

        if ((is_letter(c) ? c | 0x20 : c) != (unsigned char)text[i])
            return false;
    }
    return true;
}

/* Whether there are only letters, digits and what `others` has. */
static bool is_word(struct bytes bytes, const char *others)
{
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char c = bytes.data[i];

        if (!is_letter(c) && !is_digit(c) && (c == '\0' || !strchr(others, c)))
            return false;
    }
    return true;
}

static bool all_are(struct bytes bytes, bool (*is_one)(unsigned char))
{
    for (size_t i = 0; i < bytes.size; i++)
        if (!is_one(bytes.data[i]))
            return false;
    return true;
}

static bool is_ascii(unsigned char c)
{
    return c < 0x80;
}

int qd_validate_ascii(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (!all_are((struct bytes){data, size}, is_ascii))
        return refuse(-EINVAL, "ASCII is expected", ret_reason);
    return 0;
}

static bool is_printable_or_space(unsigned char c)
{
    return is_printable(c) || is_space(c);
}

int qd_validate_printable_ascii(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (!all_are((struct bytes){data, size}, is_printable_or_space))
        return refuse(-EINVAL, "printable ASCII is expected", ret_reason);
    return 0;
}

/* Appends a digit to a number that is kept negative, so that the least one fits; false when it doesn't. */
static bool append_digit(int64_t *number, unsigned char digit)
{
    return !__builtin_mul_overflow(*number, 10, number) &&
           !__builtin_sub_overflow(*number, digit - '0', number);
}

static bool give_sign(int64_t number, bool negative, int64_t *ret_number)
{
    if (negative) {
        *ret_number = number;
        return true;
    }
    if (number == INT64_MIN)
        return false;
    *ret_number = -number;
    return true;
}

int qd_validate_number(const unsigned char *data, size_t size, bool negative, int64_t *ret_number,
                       const char **ret_reason)
{
    struct bytes digits = {data, size};
    bool minus = negative && size > 0 && data[0] == '-', fits = true;
    int64_t number = 0;

    if (minus)
        digits = (struct bytes){data + 1, size - 1};
    if (digits.size == 0 || !all_are(digits, is_digit))
        return refuse(-EINVAL,
                      negative ? "a whole number in decimal digits is expected"
                               : "a whole number in decimal digits, without a sign, is expected",
                      ret_reason);
    if (digits.size > QD_NUMBER_DIGITS_MAX)
        return refuse(-EINVAL, "19 decimal digits at most are expected", ret_reason);
    if (digits.data[0] == '0' && digits.size > 1)
        return refuse(-EINVAL, "a number without zeros in front is expected", ret_reason);
    for (size_t i = 0; fits && i < digits.size; i++)
        fits = append_digit(&number, digits.data[i]);
    if (!fits || !give_sign(number, minus, ret_number))
        return refuse(-ERANGE, "a number that fits in 64 bits is expected", ret_reason);
    return 0;
}

int qd_validate_size(const unsigned char *data, size_t size, int64_t *ret_bytes, const char **ret_reason)
{
    struct bytes text = strip((struct bytes){data, size}, is_space);

    return qd_validate_number(text.data, text.size, false, ret_bytes, ret_reason);
}

int qd_validate_python_int(const unsigned char *data, size_t size, int64_t *ret_number,
                           const char **ret_reason)
{
    static const char malformed[] = "a whole number in decimal digits is expected";
    struct bytes text = strip((struct bytes){data, size}, is_space);
    bool minus = text.size > 0 && text.data[0] == '-', fits = true;
    bool after_digit = false;
    size_t digits = 0;
    int64_t number = 0;

    for (size_t i = minus || (text.size > 0 && text.data[0] == '+'); i < text.size; i++) {
        unsigned char c = text.data[i];

        if (is_digit(c)) {
            digits++;
            fits = fits && append_digit(&number, c);
        } else if (c != '_' || !after_digit) {
            return refuse(-EINVAL, malformed, ret_reason);
        }
        after_digit = c != '_';
    }
    if (!after_digit) /* nothing, or an underscore at the end */
        return refuse(-EINVAL, malformed, ret_reason);
    if (digits > QD_PYTHON_DIGITS_MAX || !fits || !give_sign(number, minus, ret_number))
        return refuse(-ERANGE, "a number that fits in 64 bits is expected", ret_reason);
    return 0;
}

int qd_validate_boolean(const unsigned char *data, size_t size, bool *ret_value, const char **ret_reason)
{
    static const char *const words[][2] = {{"0", "1"}, {"no", "yes"}, {"false", "true"}, {"off", "on"}};
    struct bytes text = {data, size};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (int value = 0; value < 2; value++) {
            if (equals_caseless(text, words[i][value])) {
                *ret_value = value;
                return 0;
            }
        }
    }
    return refuse(-EINVAL, "one of 1, yes, true, on, 0, no, false, off is expected", ret_reason);
}

int qd_validate_qube_name(const unsigned char *data, size_t size, const char **ret_reason)
{
    struct bytes name = {data, size};

    if (size > QD_QUBE_NAME_MAX)
        return refuse(-ENAMETOOLONG, "31 characters at most are expected", ret_reason);
    if (size == 0 || !is_letter(data[0]))
        return refuse(-EINVAL, "a letter at the beginning is expected", ret_reason);
    if (!is_word(name, "_.-"))
        return refuse(-EINVAL, "only letters, digits, '_', '.' and '-' are expected", ret_reason);
    if (equals(name, "Domain-0") || equals(name, "none") || equals(name, "default"))
        return refuse(-EINVAL, "a name other than the reserved Domain-0, none and default is expected",
                      ret_reason);
    if (size >= 3 && memcmp(data + size - 3, "-dm", 3) == 0)
        return refuse(-EINVAL, "a name that does not end in -dm is expected", ret_reason);
    return 0;
}

static int refuse_uuid(const char **ret_reason)
{
    return refuse(-EINVAL, "a UUID of 8-4-4-4-12 hexadecimal digits in lower case is expected", ret_reason);
}

int qd_validate_uuid_bytes(const unsigned char *data, size_t size, uint8_t ret_uuid[16],
                           const char **ret_reason)
{
    uint8_t uuid[16];
    size_t filled = 0;

    if (size != QD_UUID_TEXT_SIZE)
        return refuse_uuid(ret_reason);
    for (size_t i = 0; i < size;) {
        int high, low;

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (data[i++] != '-')
                return refuse_uuid(ret_reason);
            continue;
        }
        high = hex_digit(data[i]);
        low = hex_digit(data[i + 1]);
        if (high < 0 || low < 0)
            return refuse_uuid(ret_reason);
        uuid[filled++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    memcpy(ret_uuid, uuid, sizeof(uuid));
    return 0;
}

int qd_validate_uuid(const unsigned char *data, size_t size, const char **ret_reason)
{
    uint8_t unused[16];

    return qd_validate_uuid_bytes(data, size, unused, ret_reason);
}

int qd_validate_label_name(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (size == 0 || !is_word((struct bytes){data, size}, "-_."))
        return refuse(-EINVAL, "one or more letters, digits, '-', '_' and '.' are expected", ret_reason);
    return 0;
}

int qd_validate_new_label_name(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (size > 0 && all_are((struct bytes){data, size}, is_digit))
        return refuse(-EINVAL, "a name that is not a number is expected", ret_reason);
    return qd_validate_label_name(data, size, ret_reason);
}

int qd_validate_label_color(const unsigned char *data, size_t size, char ret_color[QD_LABEL_VALUE_SIZE + 1],
                            const char **ret_reason)
{
    struct bytes text = strip((struct bytes){data, size}, is_text_space);
    bool correct = text.size == QD_LABEL_VALUE_SIZE && text.data[0] == '0' && text.data[1] == 'x';

    for (size_t i = 2; correct && i < text.size; i++)
        correct = hex_digit(is_letter(text.data[i]) ? text.data[i] | 0x20 : text.data[i]) >= 0;
    if (!correct)
        return refuse(-EINVAL, "0x and six hexadecimal digits are expected", ret_reason);
    memcpy(ret_color, text.data, QD_LABEL_VALUE_SIZE);
    ret_color[QD_LABEL_VALUE_SIZE] = '\0';
    return 0;
}

int qd_validate_label_value(const unsigned char *data, size_t size, const char **ret_reason)
{
    char unused[QD_LABEL_VALUE_SIZE + 1];

    return qd_validate_label_color(data, size, unused, ret_reason);
}

int qd_validate_tag(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (size == 0 || !is_word((struct bytes){data, size}, "-_"))
        return refuse(-EINVAL, "one or more letters, digits, '-' and '_' are expected", ret_reason);
    return 0;
}

int qd_validate_feature_name(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (size == 0 || !is_word((struct bytes){data, size}, "_.-"))
        return refuse(-EINVAL, "one or more letters, digits, '_', '.' and '-' are expected", ret_reason);
    return 0;
}

int qd_validate_feature_value(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (!all_are((struct bytes){data, size}, is_printable))
        return refuse(-EINVAL, "printable ASCII in one line is expected", ret_reason);
    return 0;
}

int qd_validate_argument(const unsigned char *data, size_t size, const char **ret_reason)
{
    if (!is_word((struct bytes){data, size}, "+-._"))
        return refuse(-EINVAL, "only letters, digits, '+', '-', '.' and '_' are expected", ret_reason);
    return 0;
}

/* Bytes of the sequence that begins here; 0: not one of UTF-8 (RFC 3629: no surrogates, no overlong forms,
 * nothing above U+10FFFF). */
static size_t utf8_sequence(const unsigned char *data, size_t size)
{
    unsigned char first = data[0], least = 0x80, most = 0xbf;
    size_t length = first < 0x80                     ? 1
                    : first >= 0xc2 && first <= 0xdf ? 2
                    : (first & 0xf0) == 0xe0         ? 3
                    : first >= 0xf0 && first <= 0xf4 ? 4
                                                     : 0;

    if (length == 0 || length > size)
        return 0;
    if (first == 0xe0)
        least = 0xa0;
    else if (first == 0xed)
        most = 0x9f;
    else if (first == 0xf0)
        least = 0x90;
    else if (first == 0xf4)
        most = 0x8f;
    for (size_t i = 1; i < length; i++) {
        if (data[i] < least || data[i] > most)
            return 0;
        least = 0x80;
        most = 0xbf;
    }
    return length;
}

int qd_validate_utf8(const unsigned char *data, size_t size, const char **ret_reason)
{
    for (size_t i = 0; i < size;) {
        size_t length = data[i] ? utf8_sequence(data + i, size - i) : 0;

        if (length == 0) {
            *ret_reason = "expected UTF-8 without a NUL";
            return -EINVAL;
        }
        i += length;
    }
    return 0;
}
