/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Grants: permissions that end. Whoever has a grant for a method has, for this method, what its grants give
 * and no more: a call is refused unless one of the grants of its source and method fits its destination and
 * argument and is in force now. Sources and methods that no grant is about are not touched, and dom0 is not
 * either. A grant is a hook on the method's permission event like a rule, so it is counted, logged and
 * explained as one; it hides nothing.
 */
#ifndef QD_GRANT_H
#define QD_GRANT_H

#include "qd/daemon.h"
#include "qd/declare.h"
#include "qd/window.h"

#define QD_GRANTS_MAX 1024 /* of a generation */

struct qd_grant {
    struct qd_selector src, dest;
    char *method; /* a pattern */
    char *arg;    /* a pattern; NULL: any */
    char *reason; /* NULL: none is given */
    char *file;
    int line;
    struct qd_window window;
    bool open; /* as it was when we last looked */
};

/* grant{…} of rule files. May raise. */
int qd_grant_bind(lua_State *L);
void qd_grant_free(struct qd_grant *grant);

/* The generation begins to serve: notes which grants are in force, and logs those that have ended for good.
 */
void qd_grant_adopt(struct qd_generation *generation);
/* Once a second: when a grant has begun or ended since, streams of events are asked for again, as after a
 * reload. */
void qd_grant_tick(struct qd_daemon *daemon);

#endif
