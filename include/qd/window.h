/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Windows of time: from when, until when, at which hours of which days. Pure but for the time zone; any
 * thread; nothing raises. The parsers return NULL, or a sentence that says what the form is.
 */
#ifndef QD_WINDOW_H
#define QD_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct qd_window {
    int64_t from_s, expires_s; /* since 1970; the first second in it, the first one after it */
    bool has_hours, has_days;
    int begin,
        end; /* minutes of the local day: from `begin` until before `end`, over midnight when `end` is less */
    unsigned days; /* bits, Sunday 1; past midnight the day is the one on which the hours began */
};

/* A window that is always open. */
void qd_window_init(struct qd_window *window);
/* "2026-12-31T23:59:59Z", or with "+01:00" for the Z. */
const char *qd_window_parse_time(const char *text, int64_t *ret_s);
/* "09:00-17:30", "22:00-06:00"; "24:00" is the end of the day. */
const char *qd_window_parse_hours(const char *text, struct qd_window *window);
/* "mon-fri", "sat-mon", "tue,thu,sat-sun". */
const char *qd_window_parse_days(const char *text, struct qd_window *window);
/* Whether it is open at this second, by the local time. */
bool qd_window_is_open(const struct qd_window *window, int64_t now_s);

#endif
