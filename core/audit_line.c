/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/audit.h"

#include <string.h>

#define VALUES 11 /* that a line can have */

_Static_assert(QD_AUDIT_LINE_MAX > VALUES * (6 * QD_AUDIT_VALUE_MAX + 2) + 1024, "the longest line fits");

struct line {
    char *out;
    size_t used;
    bool cut; /* a value was longer than it may be */
};

/* No printf here: a line is made for each call. All that is added fits (see above). */
static void add(struct line *line, const char *text)
{
    size_t size = strlen(text);

    memcpy(line->out + line->used, text, size);
    line->used += size;
}

/* With zeros before it, up to the width. */
static void add_number(struct line *line, uint64_t number, size_t width)
{
    char digits[24];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0 || sizeof(digits) - at < width);
    memcpy(line->out + line->used, digits + at, sizeof(digits) - at);
    line->used += sizeof(digits) - at;
}

static void add_escape(struct line *line, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";

    add(line, "\\u00");
    line->out[line->used++] = hex[byte >> 4];
    line->out[line->used++] = hex[byte & 0xf];
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

    if (size > QD_AUDIT_VALUE_MAX) {
        size = QD_AUDIT_VALUE_MAX;
        line->cut = true;
    }
    out[line->used++] = '"';
    for (size_t i = 0; i < size;) {
        size_t valid = sequence_size(bytes + i, size - i);

        if (valid == 0 || bytes[i] < 0x20 || bytes[i] == 0x7f) {
            add_escape(line, bytes[i++]);
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

static void add_field(struct line *line, const char *key, struct qd_slice value)
{
    add(line, key);
    add_string(line, value.data, value.size);
}

static void add_text(struct line *line, const char *key, const char *text)
{
    if (text && text[0])
        add_field(line, key, (struct qd_slice){text, strlen(text)});
}

static void add_time(struct line *line, const struct timespec *time)
{
    struct tm parts;

    gmtime_r(&time->tv_sec, &parts);
    add(line, "{\"time\":\"");
    add_number(line, (uint64_t)parts.tm_year + 1900, 4);
    add(line, "-");
    add_number(line, (uint64_t)parts.tm_mon + 1, 2);
    add(line, "-");
    add_number(line, (uint64_t)parts.tm_mday, 2);
    add(line, "T");
    add_number(line, (uint64_t)parts.tm_hour, 2);
    add(line, ":");
    add_number(line, (uint64_t)parts.tm_min, 2);
    add(line, ":");
    add_number(line, (uint64_t)parts.tm_sec, 2);
    add(line, ".");
    add_number(line, (uint64_t)time->tv_nsec / 1000, 6);
    add(line, "Z\"");
}

static void add_shadow(struct line *line, const struct qd_audit_shadow *shadow)
{
    add_text(line, ",\"shadow\":{\"verdict\":", shadow->verdict);
    if (shadow->removed) {
        add(line, ",\"removed\":");
        add_number(line, shadow->removed, 1);
    }
    add_text(line, ",\"rule\":", shadow->rule);
    add_text(line, ",\"reason\":", shadow->reason);
    add(line, "}");
}

size_t qd_audit_format(const struct qd_audit_entry *entry, char *out)
{
    struct line line = {.out = out};

    add_time(&line, &entry->time);
    add(&line, ",\"sequence\":");
    add_number(&line, entry->sequence, 1);
    add(&line, ",\"generation\":");
    add_number(&line, entry->generation, 1);
    add_text(&line, ",\"digest\":", entry->digest);
    add_field(&line, ",\"source\":", entry->source);
    add_field(&line, ",\"method\":", entry->method);
    add_field(&line, ",\"destination\":", entry->destination);
    add_field(&line, ",\"argument\":", entry->argument);
    add_text(&line, ",\"verdict\":", entry->verdict);
    add_text(&line, ",\"rule\":", entry->rule);
    add_text(&line, ",\"reason\":", entry->reason);
    if (entry->expected)
        add(&line, ",\"expected\":true");
    if (entry->console)
        add(&line, ",\"console\":true");
    if (entry->hidden)
        add(&line, ",\"hidden\":true");
    if (entry->shadow)
        add_shadow(&line, entry->shadow);
    if (line.cut)
        add(&line, ",\"cut\":true");
    add(&line, ",\"microseconds\":");
    add_number(&line, (entry->asked_ns + 500) / 1000, 1);
    add(&line, "}\n");
    return line.used;
}

size_t qd_audit_format_dropped(const struct timespec *time, uint64_t count, char *out)
{
    struct line line = {.out = out};

    add_time(&line, time);
    add(&line, ",\"dropped\":");
    add_number(&line, count, 1);
    add(&line, "}\n");
    return line.used;
}
