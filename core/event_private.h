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
    bool change;               /* told only to those who see that oldvalue and newvalue differ */
    struct qd_object *because; /* and only to those who may know of this qube; or NULL */
    struct qd_object *source;  /* of oldvalue, which is none for those who may not know of it; or NULL */
};

/* Whether this subscriber's connection is to see the event. Leaves the stack as it was. May raise. */
bool qd_news_wanted(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                    int info);
/* Pushes the frame as the subscriber may see it, perhaps over a changed copy of info. May raise. */
void qd_news_push_frame(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                        int info);

#endif
