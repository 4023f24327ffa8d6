/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Connections: one request each, then an answer or a stream of events, within bounds (law 11). Loop's thread;
 * nothing raises.
 */
#ifndef QD_CONNECTION_H
#define QD_CONNECTION_H

#include "qd/daemon.h"

struct qd_connection {
    uv_pipe_t pipe;
    struct qd_connection *next, *previous;
    struct qd_daemon *daemon;
    enum qd_socket socket;
    bool closing;
    bool finishing; /* to be closed when everything is written */
    bool reading;
    bool streaming;
    char *buffer;
    size_t size, space;
    uint64_t deadline_ms; /* of the loop's clock; 0: none */
    struct qd_call *call;
    struct qd_subscriber *subscriber;
};

/* Takes the connection that a listener has accepted. -ENOMEM: it could not, and the connection is still the
 * listener's. */
int qd_connection_accept(struct qd_daemon *daemon, uv_stream_t *listener, enum qd_socket socket);

/* Answers with up to two pieces and closes when the client has read them. Copies what can't be written at
 * once. */
void qd_connection_answer(struct qd_connection *connection, const char *head, size_t head_size,
                          const char *body, size_t body_size);
/* Part of a stream: written now or queued. */
void qd_connection_stream(struct qd_connection *connection, const char *data, size_t size);
/* Closes when everything is written. */
void qd_connection_finish(struct qd_connection *connection);
/* Closes now. */
void qd_connection_abort(struct qd_connection *connection);
/* Bytes that the client has not read yet, as far as they are here. */
size_t qd_connection_queued(const struct qd_connection *connection);

/* Once a second: drops those past their deadline, and notices clients that have left while their call or
 * stream goes on. */
void qd_connections_sweep(struct qd_daemon *daemon);
/* At the daemon's stop: closes all that wait for no answer; the others get a short time to read theirs. */
void qd_connections_close(struct qd_daemon *daemon);
/* Frees what is kept for the next connections. */
void qd_connections_free(struct qd_daemon *daemon);

#endif
