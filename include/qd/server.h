/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The listening sockets: made in the socket directory, or taken over from systemd. Loop's thread.
 */
#ifndef QD_SERVER_H
#define QD_SERVER_H

#include "qd/daemon.h"

/* Opens all sockets. A stale one is replaced; -EADDRINUSE: somebody answers on it. Logs what is wrong. */
int qd_server_open(struct qd_daemon *daemon);
/* Once a second: goes on with sockets on which a client could not be accepted. */
void qd_server_sweep(struct qd_daemon *daemon);
/* Stops listening and removes the sockets that were made here. */
void qd_server_close(struct qd_daemon *daemon);
void qd_server_free(struct qd_daemon *daemon);

#endif
