/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The audit: each decision about a call is one line of JSON, in the journal when systemd runs the daemon, and
 * in a file when one is configured. A thread of its own writes; no call waits for it. What does not fit into
 * its queue, or can't be written, is counted, and a later line tells how many there were.
 */
#ifndef QD_AUDIT_H
#define QD_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "qd/frame.h"

struct qd_audit;
struct qd_daemon;

#define QD_AUDIT_QUEUE_MAX (4u << 20) /* bytes that wait to be written */
#define QD_AUDIT_VALUE_MAX 1024       /* bytes of a value; a longer one is cut, and the line says so */
#define QD_AUDIT_LINE_MAX 81920       /* more than all values at their longest, with six bytes for each */

/* What shadow rules said of a call that the rules permitted. */
struct qd_audit_shadow {
    const char *verdict; /* denied, failed, hidden (its destination), filtered */
    size_t removed;      /* items of a list that they would remove */
    const char *rule;    /* file:line */
    const char *reason;  /* NULL: none */
};

/* One decision. All strings are borrowed; NULL: the line has no such field. */
struct qd_audit_entry {
    struct timespec time; /* CLOCK_REALTIME */
    uint64_t sequence;    /* from 1; no two lines of a daemon's run have the same */
    unsigned generation;
    const char *digest;
    struct qd_slice source, method, destination, argument; /* as the request has them: any bytes */
    /* permitted, denied, failed (a rule went wrong), refused (by the core, after the rules had permitted it),
     * unknown-destination */
    const char *verdict;
    const char *rule; /* file:line of the rule that decided */
    const char *reason;
    bool expected;     /* a denial that the rule said is nothing special */
    bool hidden;       /* of unknown-destination: the qube exists, and rules hide it */
    bool console;      /* a call of the console, about which rules are not asked */
    uint64_t asked_ns; /* how long the rules took */
    const struct qd_audit_shadow *shadow;
};

/* ---- audit_line.c: bytes only, any thread ---- */

/* Writes the line, with its newline, into `out` of QD_AUDIT_LINE_MAX bytes; its size. Bytes that JSON can't
 * have in a string (control characters, what is no UTF-8) are written as \u00XX. */
size_t qd_audit_format(const struct qd_audit_entry *entry, char *out);
/* The line about lines that were not written. */
size_t qd_audit_format_dropped(const struct timespec *time, uint64_t count, char *out);

/* ---- audit.c: loop's thread ---- */

/* Begins, as the configuration says. When there is nowhere to write to, there is no audit, which costs
 * nothing: daemon->audit stays NULL. -EINVAL: the configuration is wrong, and the log has why. */
int qd_audit_open(struct qd_daemon *daemon);
/* Whether a call of this source is written down. */
bool qd_audit_wants(const struct qd_daemon *daemon, int64_t source_qid);
/* Queues a line. Time and sequence are filled in. */
void qd_audit_record(struct qd_daemon *daemon, struct qd_audit_entry *entry);
/* Writes what is queued, for two seconds at most, and ends the thread. Without an audit it does nothing. */
void qd_audit_close(struct qd_daemon *daemon);

#endif
