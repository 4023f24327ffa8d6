/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "qd/call.h"
#include "qd/log.h"

#define FIRST_SPACE 2048
#define SPARE_MAX 64
#define STOP_SECONDS 2 /* that a stop leaves a client to read its answer */

struct write {
    uv_write_t request;
    char data[];
};

static void unlink_connection(struct qd_connection *connection)
{
    struct qd_daemon *daemon = connection->daemon;

    if (connection->previous)
        connection->previous->next = connection->next;
    else
        daemon->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    daemon->status.connections--;
}

static void closed(uv_handle_t *handle)
{
    struct qd_connection *connection = handle->data;
    struct qd_daemon *daemon = connection->daemon;

    free(connection->buffer);
    if (daemon->spare_count >= SPARE_MAX || daemon->stopping) {
        free(connection);
        return;
    }
    connection->next = daemon->spare_connections;
    daemon->spare_connections = connection;
    daemon->spare_count++;
}

void qd_connection_abort(struct qd_connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    if (connection->subscriber) {
        qd_subscriber_free(connection->daemon, connection->subscriber);
        connection->subscriber = NULL;
    }
    if (connection->call) {
        struct qd_call *call = connection->call;

        connection->call = NULL;
        qd_call_client_left(call);
    }
    unlink_connection(connection);
    uv_close((uv_handle_t *)&connection->pipe, closed);
}

static void set_deadline(struct qd_connection *connection, unsigned seconds)
{
    if (connection->daemon->stopping && seconds > QD_STOP_SECONDS)
        seconds = QD_STOP_SECONDS;
    connection->deadline_ms = seconds ? uv_now(&connection->daemon->loop) + seconds * UINT64_C(1000) : 0;
}

static void written(uv_write_t *request, int status)
{
    struct qd_connection *connection = request->handle->data;

    free(request->data);
    if (connection->closing)
        return;
    if (status < 0) {
        qd_connection_abort(connection);
        return;
    }
    if (qd_connection_queued(connection) > 0 && !connection->daemon->stopping)
        set_deadline(connection, QD_ANSWER_SECONDS);
    else if (connection->finishing)
        qd_connection_abort(connection);
    else
        set_deadline(connection, 0);
}

size_t qd_connection_queued(const struct qd_connection *connection)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&connection->pipe);
}

/* Queues a copy of the two pieces but for the first `skip` bytes. */
static int queue(struct qd_connection *connection, const uv_buf_t pieces[2], size_t skip)
{
    size_t size = pieces[0].len + pieces[1].len - skip,
           first = skip < pieces[0].len ? pieces[0].len - skip : 0;
    struct write *write = malloc(sizeof(*write) + size);
    uv_buf_t buffer;
    int r;

    if (!write)
        return -ENOMEM;
    memcpy(write->data, pieces[0].base + (pieces[0].len - first), first);
    memcpy(write->data + first, pieces[1].base + (pieces[1].len - (size - first)), size - first);
    write->request.data = write;
    buffer = uv_buf_init(write->data, (unsigned)size);
    r = uv_write(&write->request, (uv_stream_t *)&connection->pipe, &buffer, 1, written);
    if (r < 0) {
        free(write);
        return r;
    }
    if (!connection->deadline_ms)
        set_deadline(connection, QD_ANSWER_SECONDS);
    return 0;
}

/* Writes what goes at once, queues the rest. False: the connection is gone. */
static bool send_pieces(struct qd_connection *connection, const uv_buf_t pieces[2])
{
    size_t size = pieces[0].len + pieces[1].len;
    int sent = uv_try_write((uv_stream_t *)&connection->pipe, pieces, 2);

    if (sent < 0 && sent != UV_EAGAIN) {
        qd_connection_abort(connection);
        return false;
    }
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < size && queue(connection, pieces, (size_t)sent) < 0) {
        qd_connection_abort(connection);
        return false;
    }
    return true;
}

void qd_connection_finish(struct qd_connection *connection)
{
    connection->call = NULL;
    if (connection->closing)
        return;
    connection->finishing = true;
    if (qd_connection_queued(connection) == 0)
        qd_connection_abort(connection);
}

void qd_connection_answer(struct qd_connection *connection, const char *head, size_t head_size,
                          const char *body, size_t body_size)
{
    uv_buf_t pieces[2] = {uv_buf_init((char *)head, (unsigned)head_size),
                          uv_buf_init((char *)body, (unsigned)body_size)};

    connection->call = NULL;
    if (!connection->closing && send_pieces(connection, pieces))
        qd_connection_finish(connection);
}

void qd_connection_stream(struct qd_connection *connection, const char *data, size_t size)
{
    uv_buf_t pieces[2] = {uv_buf_init((char *)data, (unsigned)size), uv_buf_init((char *)data, 0)};

    connection->streaming = true;
    if (!connection->closing && !connection->finishing)
        send_pieces(connection, pieces);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    struct qd_connection *connection = handle->data;
    size_t space = connection->space ? connection->space * 2 : FIRST_SPACE;

    (void)suggested;
    *ret_buffer = uv_buf_init(NULL, 0);
    if (connection->size == connection->space) {
        char *grown = realloc(connection->buffer, space);

        if (!grown)
            return;
        connection->buffer = grown;
        connection->space = space;
    }
    *ret_buffer =
        uv_buf_init(connection->buffer + connection->size, (unsigned)(connection->space - connection->size));
}

/* Some bytes have come. False: the connection is gone. */
static bool count_bytes(struct qd_connection *connection, size_t size)
{
    connection->size += size;
    if (connection->size <= QD_REQUEST_MAX)
        return true;
    qd_log(QD_LOG_WARNING, "a request of more than %d bytes: connection closed", QD_REQUEST_MAX);
    qd_connection_abort(connection);
    return false;
}

/* The request is complete. */
static void complete(struct qd_connection *connection)
{
    char *request = connection->buffer;

    connection->reading = false;
    set_deadline(connection, 0);
    connection->buffer = NULL;
    connection->space = 0;
    qd_dispatch(connection, request, connection->size);
}

static void got(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct qd_connection *connection = stream->data;

    (void)buffer;
    if (size >= 0) {
        count_bytes(connection, (size_t)size);
    } else if (size != UV_EOF) {
        qd_connection_abort(connection);
    } else {
        uv_read_stop(stream);
        complete(connection);
    }
}

/* Most clients have sent everything before they are accepted: then the request is read here, and the loop
 * need not watch the descriptor at all. True: it is complete, or the connection is gone. */
static bool read_at_once(struct qd_connection *connection)
{
    uv_os_fd_t fd;
    uv_buf_t buffer;
    ssize_t size;

    if (uv_fileno((const uv_handle_t *)&connection->pipe, &fd) < 0)
        return false;
    for (;;) {
        allocate((uv_handle_t *)&connection->pipe, 0, &buffer);
        if (!buffer.base)
            return false;
        size = recv(fd, buffer.base, buffer.len, MSG_DONTWAIT);
        if (size < 0)
            return false; /* not there yet, or an error that libuv will tell of */
        if (size == 0) {
            complete(connection);
            return true;
        }
        if (!count_bytes(connection, (size_t)size))
            return true;
    }
}

static struct qd_connection *take_spare(struct qd_daemon *daemon)
{
    struct qd_connection *connection = daemon->spare_connections;

    if (!connection)
        return malloc(sizeof(*connection));
    daemon->spare_connections = connection->next;
    daemon->spare_count--;
    return connection;
}

static void link_connection(struct qd_daemon *daemon, struct qd_connection *connection)
{
    connection->next = daemon->connections;
    if (connection->next)
        connection->next->previous = connection;
    daemon->connections = connection;
    daemon->status.connections++;
}

int qd_connection_accept(struct qd_daemon *daemon, uv_stream_t *listener, enum qd_socket socket)
{
    struct qd_connection *connection = take_spare(daemon);

    if (!connection)
        return -ENOMEM;
    memset(connection, 0, sizeof(*connection));
    connection->daemon = daemon;
    connection->socket = socket;
    if (uv_pipe_init(&daemon->loop, &connection->pipe, 0) < 0) {
        free(connection);
        return -ENOMEM;
    }
    connection->pipe.data = connection;
    link_connection(daemon, connection);
    if (uv_accept(listener, (uv_stream_t *)&connection->pipe) < 0 ||
        daemon->status.connections > QD_CONNECTIONS_MAX) {
        qd_connection_abort(connection);
        return 0;
    }
    connection->reading = true;
    set_deadline(connection, QD_REQUEST_SECONDS);
    if (!read_at_once(connection) && uv_read_start((uv_stream_t *)&connection->pipe, allocate, got) < 0)
        qd_connection_abort(connection);
    return 0;
}

/* A peer that has closed both directions hangs up; one that only ended its input, as every client does,
 * doesn't. */
static bool has_left(const struct qd_connection *connection)
{
    struct pollfd descriptor = {.events = 0};

    if (connection->reading || uv_fileno((const uv_handle_t *)&connection->pipe, &descriptor.fd) < 0)
        return false;
    return poll(&descriptor, 1, 0) == 1 && (descriptor.revents & (POLLHUP | POLLERR));
}

void qd_connections_sweep(struct qd_daemon *daemon)
{
    uint64_t now = uv_now(&daemon->loop);
    struct qd_connection *next;

    for (struct qd_connection *connection = daemon->connections; connection; connection = next) {
        next = connection->next;
        if ((connection->deadline_ms && now > connection->deadline_ms) || has_left(connection))
            qd_connection_abort(connection);
    }
}

void qd_connections_close(struct qd_daemon *daemon)
{
    struct qd_connection *next;

    for (struct qd_connection *connection = daemon->connections; connection; connection = next) {
        next = connection->next;
        if (connection->subscriber || connection->reading)
            qd_connection_abort(connection);
        else if (connection->deadline_ms)
            set_deadline(connection, QD_STOP_SECONDS);
        else
            set_deadline(connection, STOP_SECONDS);
    }
}

void qd_connections_free(struct qd_daemon *daemon)
{
    while (daemon->spare_connections) {
        struct qd_connection *connection = daemon->spare_connections;

        daemon->spare_connections = connection->next;
        free(connection);
    }
}
