/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The directories whose changes lead to a reload: scripts, rules with the folders beneath them, extensions,
 * the qrexec policy, and those of narrow sets. Private to reload.c. Loop's thread.
 */
#ifndef QD_RELOAD_PRIVATE_H
#define QD_RELOAD_PRIVATE_H

#include "qd/daemon.h"

struct qd_watches;

/* Begins to watch; a burst of changes asks for one reload (qd_reload_request). `specs`: tests of the rules
 * count, too. -ENOMEM. */
int qd_watches_new(struct qd_daemon *daemon, bool specs, struct qd_watches **ret_watches);
/* Before a load: what has been replaced by another of its name, or was not there, is watched. */
void qd_watches_renew(struct qd_watches *watches);
/* After a load: the directories of the new generation's narrow sets. */
void qd_watches_serve(struct qd_watches *watches);
/* Closes the handles; the memory is to be freed when the loop has ended. */
void qd_watches_close(struct qd_watches *watches);

#endif
