/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/notify.h"

#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "qd/log.h"

void qd_notify(const char *format, ...)
{
    char text[1024];
    va_list arguments;
    int r;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    r = sd_notify(0, text);
    if (r < 0)
        qd_log(QD_LOG_NOTICE, "systemd could not be told how the daemon is (error %d)", -r);
}
