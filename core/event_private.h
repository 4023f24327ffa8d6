/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Between event.c, which publishes and delivers, and event_seen.c, which knows who sees what.
 */
#ifndef QD_EVENT_PRIVATE_H
#define QD_EVENT_PRIVATE_H

#include "qd/daemon.h"

/* What is published. */
struct qd_news {
    struct qd_object *subject;
    const char *event;
    bool announcement;
};

/* Where, on the stack of a state, the tables of an event are; 0: there is none. */
struct qd_news_tables {
    int info;
    int changes; /* what it follows from: an array of values, before and after, before and after */
};

/* Whether this subscriber's connection is to see the event. Leaves the stack as it was. May raise. */
bool qd_news_wanted(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                    struct qd_news_tables tables);
/* Pushes the frame as the subscriber may see it, perhaps over a changed copy of info. May raise. */
void qd_news_push_frame(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                        int info);

#endif
