/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Telling systemd how the daemon is (sd_notify); nothing happens when it isn't systemd's.
 */
#ifndef QD_NOTIFY_H
#define QD_NOTIFY_H

void qd_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
