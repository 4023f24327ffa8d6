/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "pattern_private.h"

typedef unsigned char byte;

static bool is_in(byte c, byte first, byte last)
{
    return c >= first && c <= last;
}

static bool is_letter(byte c)
{
    return is_in(c | 0x20, 'a', 'z');
}

/* Whether `c` is of the class that `letter`, in lower case, names; one that names none stands for itself. */
static bool is_of_class(byte c, byte letter)
{
    switch (letter) {
    case 'a':
        return is_letter(c);
    case 'c':
        return c < 0x20 || c == 0x7f;
    case 'd':
        return is_in(c, '0', '9');
    case 'g':
        return is_in(c, 0x21, 0x7e);
    case 'l':
        return is_in(c, 'a', 'z');
    case 'p':
        return is_in(c, 0x21, 0x7e) && !is_letter(c) && !is_in(c, '0', '9');
    case 's':
        return c == ' ' || is_in(c, '\t', '\r');
    case 'u':
        return is_in(c, 'A', 'Z');
    case 'w':
        return is_letter(c) || is_in(c, '0', '9');
    case 'x':
        return is_in(c, '0', '9') || is_in(c | 0x20, 'a', 'f');
    case 'z': /* no longer in the manual, but in the library */
        return c == 0;
    default:
        return c == letter;
    }
}

bool qd_pattern_class_has(byte name, byte c)
{
    if (!is_letter(name))
        return c == name;
    if (is_in(name, 'a', 'z'))
        return is_of_class(c, name);
    /* A letter in upper case is the complement of its class, or itself where there is no such class. */
    return strchr("acdglpsuwxz", name | 0x20) ? !is_of_class(c, name | 0x20) : c == name;
}

bool qd_pattern_set_has(const byte *set, const byte *end, byte c)
{
    const byte *close = end - 1;
    bool found = true;

    set++;
    if (*set == '^') {
        found = false;
        set++;
    }
    /* A ']' that comes first is text, so it isn't `close`. A range may end with '%', as in `[+-%%]`. */
    while (set < close) {
        if (*set == '%') {
            if (qd_pattern_class_has(set[1], c))
                return found;
            set += 2;
        } else if (set[1] == '-' && set + 2 < close) {
            if (is_in(c, set[0], set[2]))
                return found;
            set += 3;
        } else if (*set++ == c) {
            return found;
        }
    }
    return !found;
}
