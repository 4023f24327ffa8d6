/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The clocks that limits and grants go by. Any thread; nothing raises. In a testing build both are shifted by
 * the seconds that the file named by QD_TEST_CLOCK_OFFSET holds, read at each look.
 */
#ifndef QD_CLOCK_H
#define QD_CLOCK_H

#include <stdint.h>

/* Seconds since 1970, of the wall clock. */
int64_t qd_clock_wall_s(void);
/* Nanoseconds of a clock that nobody sets. */
uint64_t qd_clock_steady_ns(void);

#endif
