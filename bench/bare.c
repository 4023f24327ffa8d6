// SPDX-License-Identifier: GPL-2.0-or-later

// bench-bare: what libuv alone makes of the daemon's socket dance, as the limit for `./dev bench`. Accepts,
// reads to the end of the request, sends the same answer to everyone and closes. No Lua, no parsing, no
// permission, no log.

#define _GNU_SOURCE 1

#include <err.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    EXIT_USAGE = 2,
    REQUEST_MAX = 65536, // as the daemon's
    BACKLOG = 1024,
    ANSWER_MAX = 1 << 26,
};

struct server {
    uv_pipe_t listener;
    uv_signal_t signals[2];
    uv_buf_t answer;
    char input[REQUEST_MAX]; // of whichever connection is being read; nobody looks at it
};

struct connection {
    uv_pipe_t pipe;
    uv_write_t write;
    size_t received;
};

static const char help_text[] = "usage: bench-bare --socket PATH [--bytes N | --file FILE]\n"
                                "\n"
                                "Answers every request on the socket with N bytes (2), which begin as an OK "
                                "answer does, or with FILE's bytes.\n"
                                "Says `ready` on stderr; ends on SIGTERM and SIGINT.\n";

static void check(int result, const char *what)
{
    if (result < 0)
        errx(1, "%s: %s", what, uv_strerror(result));
}

// --- connections ---

static void connection_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void connection_close(struct connection *connection)
{
    if (!uv_is_closing((uv_handle_t *)&connection->pipe))
        uv_close((uv_handle_t *)&connection->pipe, connection_closed);
}

static void connection_written(uv_write_t *write, int status)
{
    (void)status; // a client that left needs no answer
    connection_close(write->data);
}

static void connection_answer(struct connection *connection)
{
    struct server *server = connection->pipe.loop->data;
    uv_stream_t *stream = (uv_stream_t *)&connection->pipe;
    int sent = uv_try_write(stream, &server->answer, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0 || (size_t)sent == server->answer.len) {
        connection_close(connection);
        return;
    }
    uv_buf_t rest = uv_buf_init(server->answer.base + sent, (unsigned)(server->answer.len - (size_t)sent));
    uv_read_stop(stream);
    connection->write.data = connection;
    if (uv_write(&connection->write, stream, &rest, 1, connection_written) < 0)
        connection_close(connection);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    (void)suggested;
    struct server *server = handle->loop->data;
    *ret_buffer = uv_buf_init(server->input, sizeof server->input);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)buffer;
    struct connection *connection = stream->data;
    if (size == UV_EOF) {
        connection_answer(connection);
        return;
    }
    if (size > 0)
        connection->received += (size_t)size;
    if (size < 0 || connection->received > REQUEST_MAX)
        connection_close(connection);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status < 0) {
        warnx("accept: %s", uv_strerror(status));
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        err(1, "connection");
    check(uv_pipe_init(listener->loop, &connection->pipe, 0), "uv_pipe_init");
    connection->pipe.data = connection;
    uv_stream_t *stream = (uv_stream_t *)&connection->pipe;
    if (uv_accept(listener, stream) < 0 || uv_read_start(stream, on_alloc, on_read) < 0)
        connection_close(connection);
}

// --- start and stop ---

static void close_any(uv_handle_t *handle, void *context)
{
    struct server *server = context;
    if (handle->type == UV_NAMED_PIPE && handle != (uv_handle_t *)&server->listener)
        connection_close(handle->data);
    else if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    uv_walk(signal->loop, close_any, signal->loop->data);
}

static void server_start(struct server *server, uv_loop_t *loop, const char *path)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    loop->data = server;
    for (int i = 0; i < 2; i++) {
        check(uv_signal_init(loop, &server->signals[i]), "uv_signal_init");
        check(uv_signal_start(&server->signals[i], on_signal, numbers[i]), "uv_signal_start");
    }
    check(uv_pipe_init(loop, &server->listener, 0), "uv_pipe_init");
    check(uv_pipe_bind(&server->listener, path), path);
    check(uv_listen((uv_stream_t *)&server->listener, BACKLOG, on_connection), path);
}

static uv_buf_t answer_of_size(const char *text)
{
    char *end;
    unsigned long size = strtoul(text, &end, 10);
    if (*end || end == text || size < 2 || size > ANSWER_MAX)
        errx(EXIT_USAGE, "--bytes: a number from 2 to %d, not '%s'", ANSWER_MAX, text);
    char *base = malloc(size);
    if (!base)
        err(1, "answer");
    memset(base, 'x', size);
    memcpy(base, "0", 2);
    return (uv_buf_t){.base = base, .len = (size_t)size};
}

static uv_buf_t answer_of_file(const char *path)
{
    FILE *file = fopen(path, "re");
    long size = -1;
    if (!file || fseek(file, 0, SEEK_END) < 0 || (size = ftell(file)) < 0)
        err(EXIT_USAGE, "%s", path);
    if (size > ANSWER_MAX)
        errx(EXIT_USAGE, "%s: too long", path);
    rewind(file);
    char *base = malloc((size_t)size + 1);
    if (!base || fread(base, 1, (size_t)size, file) != (size_t)size)
        err(1, "%s", path);
    fclose(file);
    return (uv_buf_t){.base = base, .len = (size_t)size};
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"bytes", required_argument, NULL, 'b'},
        {"file", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    static struct server server;
    const char *path = NULL;
    for (int key; (key = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (key) {
        case 's':
            path = optarg;
            break;
        case 'b':
        case 'f':
            free(server.answer.base);
            server.answer = key == 'b' ? answer_of_size(optarg) : answer_of_file(optarg);
            break;
        case 'h':
            fputs(help_text, stdout);
            return 0;
        default:
            return EXIT_USAGE;
        }
    }
    if (!path || optind < argc)
        errx(EXIT_USAGE, "--socket is needed and nothing more; see --help");
    if (!server.answer.base)
        server.answer = answer_of_size("2");

    uv_loop_t loop;
    check(uv_loop_init(&loop), "uv_loop_init");
    server_start(&server, &loop, path);
    fputs("ready\n", stderr);
    uv_run(&loop, UV_RUN_DEFAULT);
    check(uv_loop_close(&loop), "uv_loop_close");
    free(server.answer.base);
    return 0;
}
