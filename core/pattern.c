/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/pattern.h"

#include <errno.h>
#include <string.h>

#include "pattern_private.h"

typedef unsigned char byte;

/* What to do when everything after it has failed. */
enum retry {
    RETRY_NOTHING_OPENED, /* take an opened capture back */
    RETRY_NOTHING_CLOSED, /* open a closed capture again */
    RETRY_WITHOUT,        /* `?`: leave the item out */
    RETRY_FEWER,          /* `*` and `+`: one byte less */
    RETRY_MORE,           /* `-`: one byte more */
};

struct frame {
    enum retry retry;
    const byte *at;   /* in the subject */
    const byte *item; /* RETRY_MORE: the item to repeat */
    const byte *next; /* in the pattern, after item and quantifier */
    size_t count;     /* RETRY_FEWER: bytes still taken after `at`; RETRY_NOTHING_CLOSED: the capture */
};

struct matcher {
    const byte *subject, *subject_end, *pattern_end;
    uint64_t steps;
    const char *message;
    unsigned captures_count, frames_count;
    struct qd_pattern_capture captures[QD_PATTERN_CAPTURES_MAX];
    struct frame frames[QD_PATTERN_DEPTH_MAX - 1];
};

/* Where matching stands. */
struct place {
    const byte *at;   /* in the subject */
    const byte *item; /* in the pattern */
};

/* Results of the functions below besides negative errors. */
enum { FAILED = 0, GO_ON = 1, MATCHED = 2 };

static int malformed(struct matcher *matcher, const char *message)
{
    matcher->message = message;
    return -EINVAL;
}

static int spend(struct matcher *matcher, uint64_t steps)
{
    if (matcher->steps < steps) {
        matcher->steps = 0;
        return -E2BIG;
    }
    matcher->steps -= steps;
    return 0;
}

/* The pattern's byte there, 0 at its end. */
static byte peek(const struct matcher *matcher, const byte *item)
{
    return item < matcher->pattern_end ? *item : 0;
}

/* One past the item that begins at `item`, which is not the pattern's end. */
static int item_end(struct matcher *matcher, const byte *item, const byte **ret_end)
{
    const byte *end = item + 1;

    if (*item == '%') {
        if (end == matcher->pattern_end)
            return malformed(matcher, "malformed pattern (ends with '%')");
        end++;
    } else if (*item == '[') {
        if (peek(matcher, end) == '^')
            end++;
        do {
            if (end == matcher->pattern_end)
                return malformed(matcher, "malformed pattern (missing ']')");
            if (*end++ == '%' && end < matcher->pattern_end)
                end++;
        } while (peek(matcher, end) != ']');
        end++;
    }
    *ret_end = end;
    return spend(matcher, (uint64_t)(end - item) / QD_PATTERN_BYTES_PER_STEP);
}

/* Whether the byte at `at` is there and is one of the item: GO_ON or FAILED. */
static int matches_item(struct matcher *matcher, const byte *at, const byte *item, const byte *end)
{
    if (at == matcher->subject_end)
        return FAILED;
    if (spend(matcher, 1 + (uint64_t)(end - item) / QD_PATTERN_BYTES_PER_STEP) < 0)
        return -E2BIG;
    switch (*item) {
    case '.':
        return GO_ON;
    case '%':
        return qd_pattern_class_has(item[1], *at);
    case '[':
        return qd_pattern_set_has(item, end, *at);
    default:
        return *at == *item;
    }
}

static int push(struct matcher *matcher, struct frame frame)
{
    if (matcher->frames_count == sizeof(matcher->frames) / sizeof(matcher->frames[0]))
        return malformed(matcher, "pattern too complex");
    matcher->frames[matcher->frames_count++] = frame;
    return GO_ON;
}

static int open_capture(struct matcher *matcher, struct place *place)
{
    bool position = peek(matcher, place->item + 1) == ')';

    if (matcher->captures_count == QD_PATTERN_CAPTURES_MAX)
        return malformed(matcher, "too many captures");
    matcher->captures[matcher->captures_count++] = (struct qd_pattern_capture){
        .start = (size_t)(place->at - matcher->subject),
        .size = position ? QD_PATTERN_POSITION : QD_PATTERN_UNFINISHED,
    };
    place->item += position ? 2 : 1;
    return push(matcher, (struct frame){.retry = RETRY_NOTHING_OPENED});
}

static int close_capture(struct matcher *matcher, struct place *place)
{
    unsigned i = matcher->captures_count;

    while (i > 0 && matcher->captures[i - 1].size != QD_PATTERN_UNFINISHED)
        i--;
    if (i == 0)
        return malformed(matcher, "invalid pattern capture");
    i--;
    matcher->captures[i].size = (size_t)(place->at - matcher->subject) - matcher->captures[i].start;
    place->item++;
    return push(matcher, (struct frame){.retry = RETRY_NOTHING_CLOSED, .count = i});
}

/* `%1`: what a capture holds, once more. */
static int match_again(struct matcher *matcher, struct place *place)
{
    static const char *const messages[] = {
        "invalid capture index %0", "invalid capture index %1", "invalid capture index %2",
        "invalid capture index %3", "invalid capture index %4", "invalid capture index %5",
        "invalid capture index %6", "invalid capture index %7", "invalid capture index %8",
        "invalid capture index %9",
    };
    unsigned digit = place->item[1] - '0';
    const struct qd_pattern_capture *capture = &matcher->captures[digit ? digit - 1 : 0];

    if (digit == 0 || digit > matcher->captures_count || capture->size == QD_PATTERN_UNFINISHED)
        return malformed(matcher, messages[digit]);
    if (capture->size == QD_PATTERN_POSITION || capture->size > (size_t)(matcher->subject_end - place->at))
        return FAILED;
    if (spend(matcher, capture->size / QD_PATTERN_BYTES_PER_STEP) < 0)
        return -E2BIG;
    if (memcmp(matcher->subject + capture->start, place->at, capture->size) != 0)
        return FAILED;
    place->at += capture->size;
    place->item += 2;
    return GO_ON;
}

/* `%bxy` */
static int match_balance(struct matcher *matcher, struct place *place)
{
    const byte *item = place->item + 2, *at = place->at;
    size_t depth = 1;

    if (matcher->pattern_end - item < 2)
        return malformed(matcher, "malformed pattern (missing arguments to '%b')");
    if (at == matcher->subject_end || *at != item[0])
        return FAILED;
    while (++at < matcher->subject_end) {
        if (spend(matcher, 1) < 0)
            return -E2BIG;
        if (*at == item[1]) {
            if (--depth == 0) {
                *place = (struct place){at + 1, item + 2};
                return GO_ON;
            }
        } else if (*at == item[0]) {
            depth++;
        }
    }
    return FAILED;
}

/* `%f[set]` */
static int match_frontier(struct matcher *matcher, struct place *place)
{
    const byte *set = place->item + 2, *end;
    byte before = place->at > matcher->subject ? place->at[-1] : 0;
    byte after = place->at < matcher->subject_end ? *place->at : 0;
    int r;

    if (peek(matcher, set) != '[')
        return malformed(matcher, "missing '[' after '%f' in pattern");
    r = item_end(matcher, set, &end);
    if (r == 0)
        r = spend(matcher, (uint64_t)(end - set) / QD_PATTERN_BYTES_PER_STEP);
    if (r < 0)
        return r;
    if (qd_pattern_set_has(set, end, before) || !qd_pattern_set_has(set, end, after))
        return FAILED;
    place->item = end;
    return GO_ON;
}

/* `*` and `+`: as many bytes as there are. */
static int take_all(struct matcher *matcher, struct place *place, const byte *item, const byte *end)
{
    const byte *at = place->at;
    int r;

    while ((r = matches_item(matcher, at, item, end)) == GO_ON)
        at++;
    if (r < 0)
        return r;
    r = push(matcher, (struct frame){
                          .retry = RETRY_FEWER,
                          .at = place->at,
                          .next = end + 1,
                          .count = (size_t)(at - place->at),
                      });
    *place = (struct place){at, end + 1};
    return r;
}

static int match_item(struct matcher *matcher, struct place *place)
{
    const byte *item = place->item, *end;
    byte quantifier;
    int r = item_end(matcher, item, &end);

    if (r < 0)
        return r;
    quantifier = peek(matcher, end);
    r = matches_item(matcher, place->at, item, end);
    if (r < 0)
        return r;
    if (r == FAILED) {
        if (quantifier != '*' && quantifier != '?' && quantifier != '-')
            return FAILED;
        place->item = end + 1;
        return GO_ON;
    }
    switch (quantifier) {
    case '?':
        r = push(matcher, (struct frame){.retry = RETRY_WITHOUT, .at = place->at, .next = end + 1});
        *place = (struct place){place->at + 1, end + 1};
        return r;
    case '+':
        place->at++;
        return take_all(matcher, place, item, end);
    case '*':
        return take_all(matcher, place, item, end);
    case '-':
        r = push(matcher,
                 (struct frame){.retry = RETRY_MORE, .at = place->at, .item = item, .next = end + 1});
        place->item = end + 1;
        return r;
    default:
        *place = (struct place){place->at + 1, end};
        return GO_ON;
    }
}

/* Matches what the pattern has next. */
static int advance(struct matcher *matcher, struct place *place)
{
    byte second;

    if (spend(matcher, 1) < 0)
        return -E2BIG;
    if (place->item == matcher->pattern_end)
        return MATCHED;
    second = peek(matcher, place->item + 1);
    switch (*place->item) {
    case '(':
        return open_capture(matcher, place);
    case ')':
        return close_capture(matcher, place);
    case '$':
        if (place->item + 1 != matcher->pattern_end)
            return match_item(matcher, place);
        place->item++;
        return place->at == matcher->subject_end ? GO_ON : FAILED;
    case '%':
        if (second == 'b')
            return match_balance(matcher, place);
        if (second == 'f')
            return match_frontier(matcher, place);
        if (second >= '0' && second <= '9')
            return match_again(matcher, place);
        return match_item(matcher, place);
    default:
        return match_item(matcher, place);
    }
}

/* Goes back to the last place where something else can be tried; FAILED when there is none. */
static int retreat(struct matcher *matcher, struct place *place)
{
    while (matcher->frames_count > 0) {
        struct frame *frame = &matcher->frames[matcher->frames_count - 1];
        int r;

        if (spend(matcher, 1) < 0)
            return -E2BIG;
        switch (frame->retry) {
        case RETRY_NOTHING_OPENED:
            matcher->captures_count--;
            break;
        case RETRY_NOTHING_CLOSED:
            matcher->captures[frame->count].size = QD_PATTERN_UNFINISHED;
            break;
        case RETRY_WITHOUT:
            *place = (struct place){frame->at, frame->next};
            matcher->frames_count--;
            return GO_ON;
        case RETRY_FEWER:
            if (frame->count == 0)
                break;
            frame->count--;
            *place = (struct place){frame->at + frame->count, frame->next};
            return GO_ON;
        case RETRY_MORE:
            r = matches_item(matcher, frame->at, frame->item, frame->next - 1);
            if (r == FAILED)
                break;
            frame->at++;
            *place = (struct place){frame->at, frame->next};
            return r;
        }
        matcher->frames_count--;
    }
    return FAILED;
}

/* Matches at one place: MATCHED or FAILED. */
static int match_here(struct matcher *matcher, struct place *place)
{
    int r;

    matcher->captures_count = 0;
    matcher->frames_count = 0;
    do {
        r = advance(matcher, place);
        if (r == FAILED)
            r = retreat(matcher, place);
    } while (r == GO_ON);
    return r;
}

static void copy_match(const struct matcher *matcher, const byte *start, const byte *end,
                       struct qd_pattern_match *ret_match)
{
    ret_match->start = (size_t)(start - matcher->subject);
    ret_match->end = (size_t)(end - matcher->subject);
    ret_match->count = matcher->captures_count;
    if (ret_match->count > 0)
        memcpy(ret_match->captures, matcher->captures, ret_match->count * sizeof(ret_match->captures[0]));
}

int qd_pattern_match(const struct qd_pattern_input *input, uint64_t *steps_left,
                     struct qd_pattern_match *ret_match, const char **ret_message)
{
    const byte *pattern = (const byte *)(input->pattern ? input->pattern : "");
    const byte *subject = (const byte *)(input->subject ? input->subject : "");
    bool anchored = !input->caret_is_text && qd_pattern_is_anchored(input->pattern, input->pattern_size);
    struct matcher matcher; /* too large to clear for each match */
    int r = FAILED;

    matcher.subject = subject;
    matcher.subject_end = subject + input->subject_size;
    matcher.pattern_end = pattern + input->pattern_size;
    matcher.steps = *steps_left;
    matcher.message = NULL;
    if (anchored)
        pattern++;
    for (size_t start = input->start; start <= input->subject_size; start++) {
        struct place place = {subject + start, pattern};

        r = match_here(&matcher, &place);
        if (r == MATCHED && (size_t)(place.at - subject) == input->refused_end)
            r = FAILED;
        if (r == MATCHED)
            copy_match(&matcher, subject + start, place.at, ret_match);
        if (r != FAILED || anchored)
            break;
    }
    *steps_left = matcher.steps;
    if (r == -EINVAL)
        *ret_message = matcher.message;
    return r == MATCHED ? 1 : r;
}

bool qd_pattern_is_text(const char *pattern, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (pattern[i] && strchr("^$*+?.([%-", pattern[i]))
            return false;
    return true;
}

bool qd_pattern_is_anchored(const char *pattern, size_t size)
{
    return size > 0 && pattern && pattern[0] == '^';
}
