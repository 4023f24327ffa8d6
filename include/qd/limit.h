/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Limits: how often a qube may call. A limit has a bucket of tokens for each caller; a call takes one of each
 * limit that it falls under, and is refused when one is empty, before rules are asked and before anything
 * depends on its destination. Nobody waits. dom0 and the console are never limited (law 5).
 *
 * The buckets belong to the generation that serves. One that follows takes over those of each limit that it
 * has unchanged, so a reload hands out no fresh burst.
 */
#ifndef QD_LIMIT_H
#define QD_LIMIT_H

#include "qd/daemon.h"
#include "qd/declare.h"

#define QD_LIMITS_MAX 64 /* of a generation */
#define QD_LIMIT_BUCKETS_MAX                                                                                 \
    8192                         /* of a limit: callers that are short of tokens; further ones are refused   \
                                  */
#define QD_LIMIT_RATE_MIN 0.0001 /* calls a second */
#define QD_LIMIT_NUMBER_MAX 1000000 /* of rate and burst */

struct qd_limit {
    struct qd_selector src;
    char *method; /* a pattern */
    double rate;  /* tokens a second */
    double burst; /* tokens that a full bucket has */
    char *reason; /* NULL: none is given */
    char *file;
    int line;
    struct qd_limit_book *book; /* the callers' buckets; NULL: another generation has taken them over */
};

/* limit{…} of rule files. May raise. */
int qd_limit_bind(lua_State *L);
void qd_limit_free(struct qd_limit *limit);

/* Takes the tokens for a call of the serving generation; `method` is as the request spells it. NULL: it keeps
 * within its limits; otherwise the one that it is over, counted and logged. A dry call takes nothing and
 * counts nothing. */
const struct qd_limit *qd_limit_take(struct qd_daemon *daemon, const struct qd_object *source,
                                     struct qd_slice method, bool dry);
/* What a caller over the limit is told. */
void qd_limit_describe(const struct qd_limit *limit, char ret_message[static 256]);
/* `generation` serves now, after `before` (or NULL): what both limit in the same way goes on. */
void qd_limit_adopt(struct qd_generation *generation, struct qd_generation *before);
/* Once a second: logs what was refused since, and forgets the buckets that are full or whose qube is gone. */
void qd_limit_sweep(struct qd_daemon *daemon);
/* Pushes an array of the serving generation's limits: { at = 'file:line', limited = calls refused }. May
 * raise. */
void qd_limit_push_status(lua_State *L, const struct qd_daemon *daemon);

#endif
