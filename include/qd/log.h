/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The log: lines on stderr, or records of the journal with their level and fields when started by systemd.
 * Any thread; never raises; bytes that are not printable ASCII are escaped, so that no caller can forge a
 * line.
 */
#ifndef QD_LOG_H
#define QD_LOG_H

#include <stdbool.h>

enum qd_log_level {
    QD_LOG_ERROR = 3,
    QD_LOG_WARNING = 4,
    QD_LOG_NOTICE = 5,
    QD_LOG_INFO = 6,
    QD_LOG_DEBUG = 7
}; /* syslog's numbers */

/* Chooses the journal when stderr is its stream (JOURNAL_STREAM); `debug` lets QD_LOG_DEBUG through. Before
 * any thread is started. */
void qd_log_open(int debug);

/* Whether the log is the journal's. */
bool qd_log_is_journal(void);

void qd_log(enum qd_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
