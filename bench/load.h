/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * bench-load, the load generator. Start with load.c (the connections); load_plan.c reads the command line and
 * makes requests, load_check.c judges answers, load_report.c turns samples into the line of JSON. One thread.
 */
#ifndef QD_BENCH_LOAD_H
#define QD_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    QD_LOAD_REQUEST_MAX = 65536,
    QD_LOAD_HEAD_MAX = 256,  /* bytes of an answer that are kept, for the check and for the message */
    QD_LOAD_EXIT_FAILED = 1, /* a wrong answer, or none */
    QD_LOAD_EXIT_USAGE = 2,
};

enum qd_load_expect {
    QD_LOAD_EXPECT_OK,     /* begins with "0\0" */
    QD_LOAD_EXPECT_PREFIX, /* begins with `expected` */
    QD_LOAD_EXPECT_EXACT,  /* is `expected` */
    QD_LOAD_EXPECT_LENGTH, /* begins with "0\0" and has `expected_size` bytes */
};

struct qd_load_text {
    const char *data;
    size_t size;
};

/* What to do: made once by qd_load_plan_parse, then read only. Lives as long as the program. */
struct qd_load_plan {
    const char *socket;
    unsigned connections;
    uint64_t calls;             /* 0: as many as `seconds` allow */
    uint64_t duration;          /* ns */
    uint64_t timeout;           /* ns without any progress after which the run is given up */
    uint64_t first;             /* the counter's value in the first call */
    struct qd_load_text prefix; /* "METHOD+ARG SRC name " */
    struct qd_load_text *dests;
    size_t dest_count;
    struct qd_load_text payload_head; /* up to the "%d" */
    struct qd_load_text payload_tail;
    bool payload_counted; /* there is a "%d" */
    enum qd_load_expect expect;
    const char *expected;
    size_t expected_size;
};

/* Ends the program with a message when the command line is wrong. */
void qd_load_plan_parse(int argc, char **argv, struct qd_load_plan *ret_plan);

/* Writes the request of call number `index` into `buffer` (QD_LOAD_REQUEST_MAX bytes); returns its size. */
size_t qd_load_plan_request(const struct qd_load_plan *plan, uint64_t index, char *buffer);

/* An answer so far: its beginning and what must be known of the rest. */
struct qd_load_answer {
    size_t size;
    bool differs; /* from what was expected exactly */
    char head[QD_LOAD_HEAD_MAX];
};

void qd_load_answer_add(const struct qd_load_plan *plan, struct qd_load_answer *answer, const char *data,
                        size_t size);
bool qd_load_answer_good(const struct qd_load_plan *plan, const struct qd_load_answer *answer);
/* One line, for a human. */
void qd_load_answer_print(const struct qd_load_answer *answer, FILE *out);

struct qd_load_samples {
    uint32_t *values; /* microseconds × 10 */
    size_t count;
    size_t space;
};

struct qd_load_totals {
    uint64_t errors;
    uint64_t retries; /* connects that found the server's backlog full */
    uint64_t bytes;   /* of good answers */
    uint64_t elapsed; /* ns, from the first connect to the last end of an answer */
};

/* Ends the program when there is no memory. */
void qd_load_samples_add(struct qd_load_samples *samples, uint64_t ns);
/* Prints the line of JSON; sorts the samples. */
void qd_load_report(struct qd_load_samples *samples, const struct qd_load_totals *totals, FILE *out);

#endif
