/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/window.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#define DAY_MINUTES (24 * 60)

void qd_window_init(struct qd_window *window)
{
    *window = (struct qd_window){.from_s = INT64_MIN, .expires_s = INT64_MAX};
}

/* `digits` digits; -1: there are others. */
static int number(const char *text, int digits)
{
    int value = 0;

    for (int i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = 10 * value + text[i] - '0';
    }
    return value;
}

/* Days since 1970 of a date of the Gregorian calendar, or -1 when there is no such day. */
static int64_t days_of(int year, int month, int day)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int64_t days = 0, before = year - 1;

    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1] + (leap && month == 2))
        return -1;
    for (int i = 1; i < month; i++)
        days += lengths[i - 1] + (leap && i == 2);
    days += 365 * (int64_t)(year - 1970) + day - 1;
    return days + (before / 4 - 1969 / 4) - (before / 100 - 1969 / 100) + (before / 400 - 1969 / 400);
}

/* Seconds that "Z" or "+hh:mm" is ahead of UTC. */
static bool parse_zone(const char *text, int64_t *ret_s)
{
    int hours, minutes;

    *ret_s = 0;
    if (strcmp(text, "Z") == 0)
        return true;
    if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':')
        return false;
    hours = number(text + 1, 2);
    minutes = number(text + 4, 2);
    *ret_s = (text[0] == '-' ? -60 : 60) * (int64_t)(60 * hours + minutes);
    return hours >= 0 && hours <= 14 && minutes >= 0 && minutes < 60;
}

const char *qd_window_parse_time(const char *text, int64_t *ret_s)
{
    static const char form[] = "a time is written like 2026-12-31T23:59:59Z or 2026-12-31T23:59:59+01:00";
    int hours, minutes, seconds;
    int64_t days, zone;

    if (strlen(text) < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
        text[16] != ':' || !parse_zone(text + 19, &zone))
        return form;
    days = days_of(number(text, 4), number(text + 5, 2), number(text + 8, 2));
    hours = number(text + 11, 2);
    minutes = number(text + 14, 2);
    seconds = number(text + 17, 2);
    if (hours < 0 || minutes < 0 || seconds < 0)
        return form;
    if (days < 0 || hours > 23 || minutes > 59 || seconds > 59)
        return "there is no such time";
    *ret_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds - zone;
    return NULL;
}

/* A minute of the day, or -1. */
static int parse_minute(const char *text)
{
    int hours = number(text, 2), minutes = text[2] == ':' ? number(text + 3, 2) : -1;

    if (hours < 0 || minutes < 0 || minutes > 59 || hours * 60 + minutes > DAY_MINUTES)
        return -1;
    return hours * 60 + minutes;
}

const char *qd_window_parse_hours(const char *text, struct qd_window *window)
{
    if (strlen(text) != 11 || text[5] != '-' || (window->begin = parse_minute(text)) < 0 ||
        (window->end = parse_minute(text + 6)) < 0)
        return "hours are written like 09:00-17:30";
    if (window->begin == window->end || window->begin == DAY_MINUTES)
        return "these hours are none";
    window->has_hours = true;
    return NULL;
}

/* The number of the day whose name begins here, Sunday 0, or -1. */
static int parse_day(const char *text)
{
    static const char names[] = "sunmontuewedthufrisat";

    for (int i = 0; i < 7; i++) {
        if (strncmp(text, names + 3 * i, 3) == 0)
            return i;
    }
    return -1;
}

const char *qd_window_parse_days(const char *text, struct qd_window *window)
{
    static const char form[] = "days are written like mon-fri or tue,thu,sat-sun";

    for (;;) {
        int first = parse_day(text), last = first;

        if (first < 0)
            return form;
        text += 3;
        if (*text == '-') {
            last = parse_day(text + 1);
            if (last < 0)
                return form;
            text += 4;
        }
        for (int day = first; day != last; day = (day + 1) % 7)
            window->days |= 1u << day;
        window->days |= 1u << last;
        if (*text == '\0')
            break;
        if (*text++ != ',')
            return form;
    }
    window->has_days = true;
    return NULL;
}

bool qd_window_is_open(const struct qd_window *window, int64_t now_s)
{
    time_t now = (time_t)now_s;
    struct tm local;
    int minute, day;

    if (now_s < window->from_s || now_s >= window->expires_s)
        return false;
    if (!window->has_hours && !window->has_days)
        return true;
    if (!localtime_r(&now, &local))
        return false;
    minute = local.tm_hour * 60 + local.tm_min;
    day = local.tm_wday;
    if (window->has_hours && window->begin < window->end) {
        if (minute < window->begin || minute >= window->end)
            return false;
    } else if (window->has_hours && minute < window->begin) {
        if (minute >= window->end)
            return false;
        day = (day + 6) % 7; /* these hours began yesterday */
    }
    return !window->has_days || (window->days >> day & 1);
}
