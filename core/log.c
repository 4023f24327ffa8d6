/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 16384

static bool to_journal;
static int highest = QD_LOG_INFO;

/* Whether systemd made stderr a stream of its journal: it says so by the stream's device and inode. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

void qd_log_open(int debug)
{
    highest = debug ? QD_LOG_DEBUG : QD_LOG_INFO;
    to_journal = stderr_is_journal();
}

bool qd_log_is_journal(void)
{
    return to_journal;
}

/* Newlines stay, indented, for tracebacks; all else that isn't printable ASCII is written as \xNN. */
static size_t escape(const char *text, char *out, size_t space)
{
    size_t used = 0;

    for (; *text && used + 6 < space; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '\n')
            used += (size_t)snprintf(out + used, space - used, "\n    ");
        else if (byte == '\t' || (byte >= 0x20 && byte < 0x7f))
            out[used++] = (char)byte;
        else
            used += (size_t)snprintf(out + used, space - used, "\\x%02x", byte);
    }
    out[used] = '\0';
    return used;
}

void qd_log(enum qd_log_level level, const char *format, ...)
{
    static const char *const names[] = {[QD_LOG_ERROR] = "error",
                                        [QD_LOG_WARNING] = "warning",
                                        [QD_LOG_NOTICE] = "notice",
                                        [QD_LOG_INFO] = "info",
                                        [QD_LOG_DEBUG] = "debug"};
    char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    va_list arguments;

    if ((int)level > highest)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    escape(text, line, sizeof(line));
    if (to_journal)
        sd_journal_send("MESSAGE=%s", line, "PRIORITY=%d", (int)level, "SYSLOG_IDENTIFIER=qubesd", NULL);
    else
        fprintf(stderr, "qubesd: %s: %s\n", names[level], line);
}
