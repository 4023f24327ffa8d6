/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "qd/connection.h"
#include "qd/log.h"

#define BACKLOG 1024

/* libuv gets a duplicate of the descriptor. When a client can't be accepted for lack of memory or
 * descriptors, libuv would ask again at once, for ever, or never again; then the pipe is closed, and opened
 * anew by the sweep. Meanwhile clients wait in the socket's backlog. */
struct qd_listener {
    uv_pipe_t pipe;
    int fd; /* -1: closed */
    struct qd_daemon *daemon;
    enum qd_socket socket;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    bool made;   /* here, so removed here */
    bool active; /* the pipe is open, or not yet closed */
};

static const char *const file_names[QD_SOCKET_COUNT] = {
    [QD_SOCKET_ADMIN] = "qubesd.sock",
    [QD_SOCKET_INTERNAL] = "qubesd.internal.sock",
    [QD_SOCKET_MISC] = "qubesd.misc.sock",
    [QD_SOCKET_CONSOLE] = "qubesd.console.sock",
};

/* Removes a socket file that is left over. 0: there is none now; -EADDRINUSE: somebody listens; -ENOTSOCK: it
 * is no socket. */
static int clear_stale(const struct sockaddr_un *address)
{
    struct stat status;
    int fd, r;

    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -ENOTSOCK;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
    close(fd);
    if (r == 0 || r == EAGAIN)
        return -EADDRINUSE;
    if (r == ENOENT)
        return 0;
    if (r != ECONNREFUSED)
        return -r;
    return unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

/* The group of the sockets, and the mode: the console's is root's alone (law 5). */
static int set_access(const struct qd_daemon *daemon, const char *path, enum qd_socket socket)
{
    if (socket == QD_SOCKET_CONSOLE)
        return chmod(path, 0600) < 0 ? -errno : 0;
    if (daemon->config.group_id != QD_NO_GROUP && chown(path, (uid_t)-1, daemon->config.group_id) < 0)
        qd_log(QD_LOG_NOTICE, "%s: not given to its group: %s", path, strerror(errno));
    return chmod(path, 0660) < 0 ? -errno : 0;
}

static int bind_socket(struct qd_listener *listener, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t old;
    int r, fd;

    memcpy(address.sun_path, listener->path, sizeof(address.sun_path));
    r = clear_stale(&address);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* Closed to everybody from its first moment; opened by set_access. */
    old = umask(0177);
    r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(old);
    if (r == 0) {
        listener->made = true;
        r = set_access(listener->daemon, listener->path, listener->socket);
    }
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

/* A socket that systemd holds for us, told apart by its path. */
static int take_activated(const char *path)
{
    int count = sd_listen_fds(0);

    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; fd++) {
        if (sd_is_socket_unix(fd, SOCK_STREAM, 1, path, 0) > 0)
            return fd;
    }
    return -1;
}

static void on_pipe_closed(uv_handle_t *handle)
{
    struct qd_listener *listener = handle->data;

    listener->active = false;
}

static void close_pipe(struct qd_listener *listener)
{
    if (listener->active && !uv_is_closing((uv_handle_t *)&listener->pipe))
        uv_close((uv_handle_t *)&listener->pipe, on_pipe_closed);
}

static void accepted(uv_stream_t *stream, int status)
{
    struct qd_listener *listener = stream->data;

    if (status == 0)
        status = qd_connection_accept(listener->daemon, stream, listener->socket);
    if (status < 0) {
        qd_log(QD_LOG_WARNING, "%s: new clients have to wait: %s", listener->path, strerror(-status));
        close_pipe(listener);
    }
}

static int open_pipe(struct qd_listener *listener)
{
    int r, fd = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    r = uv_pipe_init(&listener->daemon->loop, &listener->pipe, 0);
    if (r < 0) {
        close(fd);
        return r;
    }
    listener->active = true;
    listener->pipe.data = listener;
    r = uv_pipe_open(&listener->pipe, fd);
    if (r < 0)
        close(fd);
    else
        r = uv_listen((uv_stream_t *)&listener->pipe, BACKLOG, accepted);
    if (r < 0)
        close_pipe(listener);
    return r;
}

static int open_one(struct qd_listener *listener)
{
    listener->fd = take_activated(listener->path);
    if (listener->fd < 0) {
        int r = bind_socket(listener, &listener->fd);

        if (r < 0)
            return r;
    }
    return open_pipe(listener);
}

int qd_server_open(struct qd_daemon *daemon)
{
    daemon->listeners = calloc(QD_SOCKET_COUNT, sizeof(*daemon->listeners));
    if (!daemon->listeners)
        return -ENOMEM;
    for (int i = 0; i < QD_SOCKET_COUNT; i++)
        daemon->listeners[i].fd = -1;
    for (int i = 0; i < QD_SOCKET_COUNT; i++) {
        struct qd_listener *listener = &daemon->listeners[i];
        int r;

        listener->daemon = daemon;
        listener->socket = i;
        r = snprintf(listener->path, sizeof(listener->path), "%s/%s", daemon->config.socket_dir,
                     file_names[i]) >= (int)sizeof(listener->path)
                ? -ENAMETOOLONG
                : open_one(listener);
        if (r < 0) {
            qd_log(QD_LOG_ERROR, "%s/%s: %s", daemon->config.socket_dir, file_names[i],
                   r == -EADDRINUSE ? "a daemon answers there already" : strerror(-r));
            return r;
        }
    }
    return 0;
}

void qd_server_sweep(struct qd_daemon *daemon)
{
    for (int i = 0; daemon->listeners && i < QD_SOCKET_COUNT; i++) {
        struct qd_listener *listener = &daemon->listeners[i];
        int r = listener->fd >= 0 && !listener->active ? open_pipe(listener) : 0;

        if (r < 0)
            qd_log(QD_LOG_WARNING, "%s: clients still have to wait: %s", listener->path, strerror(-r));
    }
}

void qd_server_close(struct qd_daemon *daemon)
{
    for (int i = 0; daemon->listeners && i < QD_SOCKET_COUNT; i++) {
        struct qd_listener *listener = &daemon->listeners[i];

        if (listener->made)
            unlink(listener->path);
        close_pipe(listener);
        if (listener->fd >= 0)
            close(listener->fd);
        listener->fd = -1;
        listener->made = false;
    }
}

void qd_server_free(struct qd_daemon *daemon)
{
    free(daemon->listeners);
    daemon->listeners = NULL;
}
