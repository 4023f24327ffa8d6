/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/audit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct line {
    char *out;
    size_t used;
};

static void add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All that is added fits: QD_AUDIT_LINE_MAX is more than all fields at their longest. */
static void add(struct line *line, const char *format, ...)
{
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(line->out + line->used, QD_AUDIT_LINE_MAX - line->used, format, arguments);
    va_end(arguments);
    if (size > 0 && (size_t)size < QD_AUDIT_LINE_MAX - line->used)
        line->used += (size_t)size;
}

/* The size of the UTF-8 sequence at the beginning, 0 when there is none. */
static size_t sequence_size(const unsigned char *bytes, size_t size)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t wanted = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc2 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    unsigned point = wanted < 2 ? bytes[0] : bytes[0] & (0xffu >> (wanted + 1));

    if (wanted > size || bytes[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < wanted; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (bytes[i] & 0x3f);
    }
    if (wanted > 1 && (point < least[wanted] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)))
        return 0;
    return wanted;
}

static void add_string(struct line *line, const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    char *out = line->out;

    if (size > QD_AUDIT_VALUE_MAX)
        size = QD_AUDIT_VALUE_MAX;
    out[line->used++] = '"';
    for (size_t i = 0; i < size;) {
        size_t valid = sequence_size(bytes + i, size - i);

        if (valid == 0 || bytes[i] < 0x20 || bytes[i] == 0x7f) {
            line->used += (size_t)sprintf(out + line->used, "\\u%04x", bytes[i++]);
            continue;
        }
        if (bytes[i] == '"' || bytes[i] == '\\')
            out[line->used++] = '\\';
        memcpy(out + line->used, bytes + i, valid);
        line->used += valid;
        i += valid;
    }
    out[line->used++] = '"';
}

static void add_field(struct line *line, const char *name, struct qd_slice value)
{
    add(line, ",\"%s\":", name);
    add_string(line, value.data, value.size);
}

static void add_text(struct line *line, const char *name, const char *text)
{
    if (text && text[0])
        add_field(line, name, (struct qd_slice){text, strlen(text)});
}

static void add_time(struct line *line, const struct timespec *time)
{
    struct tm parts;
    char text[32];

    gmtime_r(&time->tv_sec, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    add(line, "{\"time\":\"%s.%06ldZ\"", text, time->tv_nsec / 1000);
}

static void add_shadow(struct line *line, const struct qd_audit_shadow *shadow)
{
    add(line, ",\"shadow\":{\"verdict\":\"%s\"",
        shadow->failed    ? "failed"
        : shadow->removed ? "filtered"
                          : "denied");
    if (shadow->removed)
        add(line, ",\"removed\":%zu", shadow->removed);
    add_text(line, "rule", shadow->rule);
    add_text(line, "reason", shadow->reason);
    add(line, "}");
}

size_t qd_audit_format(const struct qd_audit_entry *entry, char *out)
{
    struct line line = {.out = out};

    add_time(&line, &entry->time);
    add(&line, ",\"sequence\":%" PRIu64 ",\"generation\":%u,\"digest\":\"%s\"", entry->sequence,
        entry->generation, entry->digest);
    add_field(&line, "source", entry->source);
    add_field(&line, "method", entry->method);
    add_field(&line, "destination", entry->destination);
    add_field(&line, "argument", entry->argument);
    add(&line, ",\"verdict\":\"%s\"", entry->verdict);
    add_text(&line, "rule", entry->rule);
    add_text(&line, "reason", entry->reason);
    if (entry->expected)
        add(&line, ",\"expected\":true");
    if (entry->hidden)
        add(&line, ",\"hidden\":true");
    if (entry->shadow)
        add_shadow(&line, entry->shadow);
    add(&line, ",\"microseconds\":%" PRIu64 "}\n", (entry->asked_ns + 500) / 1000);
    return line.used;
}

size_t qd_audit_format_dropped(const struct timespec *time, uint64_t count, char *out)
{
    struct line line = {.out = out};

    add_time(&line, time);
    add(&line, ",\"dropped\":%" PRIu64 "}\n", count);
    return line.used;
}
