/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which bytes a class or a set of a pattern stands for: pattern_class.c, for pattern.c. Pure; nothing here
 * raises.
 */
#ifndef QD_PATTERN_PRIVATE_H
#define QD_PATTERN_PRIVATE_H

#include <stdbool.h>

/* Whether `c` is one of `%name`; a `name` that is no class stands for itself. */
bool qd_pattern_class_has(unsigned char name, unsigned char c);

/* Whether `c` is one of the set. `set` is its '[', `end` one past its ']'. */
bool qd_pattern_set_has(const unsigned char *set, const unsigned char *end, unsigned char c);

#endif
