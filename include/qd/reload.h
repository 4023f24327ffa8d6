/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reloading: a new generation is loaded on a worker, then swapped in by one pointer (law 8). Asked for by
 * SIGHUP, by a change in the watched directories (a burst of changes is one reload) or by a call. Loop's
 * thread.
 */
#ifndef QD_RELOAD_H
#define QD_RELOAD_H

#include "qd/daemon.h"

/* Loads the first generation, blocking. With broken rules the daemon starts locked: only the console is
 * served (laws 4 and 5). */
int qd_reload_first(struct qd_daemon *daemon);
/* Watches the directories. */
int qd_reload_watch(struct qd_daemon *daemon);
/* Reloads, once for all who ask before it begins. `done` may be NULL; its `error` is NULL when the new
 * generation serves. */
int qd_reload_request(struct qd_daemon *daemon, const char *why,
                      void (*done)(void *context, const char *error), void *context);
/* Goes back to the generation before the one that serves, which stays as the one before: a second time leads
 * forward again. Not at once, but from the loop; `done` as above. A later reload goes on from the files. */
int qd_reload_rollback(struct qd_daemon *daemon, void (*done)(void *context, const char *error),
                       void *context);
/* Closes the handles; a load that is under way is dropped when it ends. */
void qd_reload_close(struct qd_daemon *daemon);

/* When the loop has ended. */
void qd_reload_free(struct qd_daemon *daemon);

#endif
