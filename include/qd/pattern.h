/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Patterns of Lua 5.4, matched within a bound. The stock matcher backtracks without end inside one C call,
 * where no count hook fires; this one counts its steps, so a rule can't stop the daemon with a pattern (law
 * 4).
 *
 * Pure: no I/O, no allocation, no Lua, no state between calls. Any thread. Nothing here raises.
 *
 * Words: a *subject* is searched; an *item* is a part of a pattern that matches one byte (`a`, `.`, `%d`,
 * `[^a-z]`). Classes are those of the C locale. As in stock Lua, a pattern is checked only as far as matching
 * gets, so a malformed one may also just not match; the errors are the same, with the same text.
 */
#ifndef QD_PATTERN_H
#define QD_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_PATTERN_STEPS 1000000    /* default of one call of a string function: ten milliseconds */
#define QD_PATTERN_CAPTURES_MAX 32  /* as in stock Lua */
#define QD_PATTERN_DEPTH_MAX 200    /* nested quantifiers and captures, as in stock Lua */
#define QD_PATTERN_BYTES_PER_STEP 8 /* of sets and back references: a longer one costs more */

#define QD_PATTERN_NO_END SIZE_MAX   /* for `refused_end` */
#define QD_PATTERN_POSITION SIZE_MAX /* size of a capture `()` */
#define QD_PATTERN_UNFINISHED                                                                                \
    (SIZE_MAX - 1) /* size of a capture without its `)`: an error once it is asked for */

struct qd_pattern_input {
    const char *subject; /* may hold NUL; NULL only with size 0 */
    size_t subject_size;
    const char *pattern; /* idem */
    size_t pattern_size;
    size_t start;       /* the first place tried; beyond the subject nothing matches */
    size_t refused_end; /* a match that ends here is none, the next place is tried: how gsub and gmatch move
                           on */
    bool caret_is_text; /* a leading '^' is no anchor: gmatch */
};

struct qd_pattern_capture {
    size_t start; /* offset in the subject */
    size_t size;  /* bytes, or one of the two marks above */
};

struct qd_pattern_match {
    size_t start, end; /* of the whole match, offsets in the subject */
    unsigned count;    /* captures, without the whole match */
    struct qd_pattern_capture captures[QD_PATTERN_CAPTURES_MAX];
};

/*
 * The first match at or after `start`; an anchored pattern is tried there only. `*steps_left` is lowered by
 * the steps taken, whatever the result. Returns 1        a match, in `ret_match`; 0        none; -E2BIG   out
 * of steps (`*steps_left` is 0); -EINVAL  a malformed or too complex pattern; `ret_message` is a static
 * string that says why. The outputs are untouched otherwise.
 */
int qd_pattern_match(const struct qd_pattern_input *input, uint64_t *steps_left,
                     struct qd_pattern_match *ret_match, const char **ret_message);

/* Whether the pattern is text only: nothing in it has a meaning of its own, and a plain search finds the
 * same. */
bool qd_pattern_is_text(const char *pattern, size_t size);

/* Whether it begins with an anchor: '^'. */
bool qd_pattern_is_anchored(const char *pattern, size_t size);

#endif
