/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The listening sockets when a client can't be accepted. The connections are this file's, and so is
 * accept4(), which libuv calls.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "qd/connection.h"
#include "qd/server.h"

#define ROUNDS 50

static struct {
    struct qd_daemon daemon;
    char directory[64];
    int kernel_error;  /* of accept4() */
    unsigned asked;    /* so many times */
    bool no_memory;    /* for a connection */
    unsigned accepted; /* connections */
    int clients[8];
    unsigned client_count;
} f;

struct taken {
    uv_pipe_t pipe;
};

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    f.asked++;
    if (f.kernel_error) {
        errno = f.kernel_error;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, address, size, flags);
}

static void free_taken(uv_handle_t *handle)
{
    free(handle);
}

int qd_connection_accept(struct qd_daemon *daemon, uv_stream_t *listener, enum qd_socket socket)
{
    struct taken *taken;

    assert_int_equal(socket, QD_SOCKET_MISC);
    if (f.no_memory)
        return -ENOMEM;
    taken = malloc(sizeof(*taken));
    assert_non_null(taken);
    assert_int_equal(uv_pipe_init(&daemon->loop, &taken->pipe, 0), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&taken->pipe), 0);
    uv_close((uv_handle_t *)&taken->pipe, free_taken);
    f.accepted++;
    return 0;
}

static void turn(unsigned rounds)
{
    while (rounds-- > 0)
        uv_run(&f.daemon.loop, UV_RUN_NOWAIT);
}

static void open_server(void)
{
    memset(&f, 0, sizeof(f));
    strcpy(f.directory, "/tmp/qubesd-server-XXXXXX");
    assert_non_null(mkdtemp(f.directory));
    f.daemon.config.socket_dir = f.directory;
    f.daemon.config.group_id = QD_NO_GROUP;
    assert_int_equal(uv_loop_init(&f.daemon.loop), 0);
    assert_int_equal(qd_server_open(&f.daemon), 0);
}

static void add_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/qubesd.misc.sock", f.directory);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    f.clients[f.client_count++] = fd;
}

static void close_server(void)
{
    qd_server_close(&f.daemon);
    turn(3);
    assert_int_equal(uv_loop_close(&f.daemon.loop), 0); /* no handle is left */
    qd_server_free(&f.daemon);
    while (f.client_count > 0)
        close(f.clients[--f.client_count]);
    assert_int_equal(rmdir(f.directory), 0); /* nor a socket */
}

/* The kernel can't: nobody asks it again until the sweep, and then all that waited are served. */
static void try_kernel_error(int error)
{
    open_server();
    add_client();
    turn(3);
    assert_int_equal(f.accepted, 1);

    f.kernel_error = error;
    f.asked = 0;
    add_client();
    add_client();
    turn(ROUNDS);
    assert_in_range(f.asked, 1, 3); /* libuv has a reserve for some of the errors, and tries twice */
    qd_server_sweep(&f.daemon);
    turn(ROUNDS);
    assert_int_equal(f.accepted, 1);
    f.kernel_error = 0;
    qd_server_sweep(&f.daemon);
    turn(ROUNDS);
    assert_int_equal(f.accepted, 3);
    add_client();
    turn(3);
    assert_int_equal(f.accepted, 4);
    close_server();
}

static void test_kernel_error(void **state)
{
    (void)state;
    try_kernel_error(ENOMEM);
    try_kernel_error(ENOBUFS);
    try_kernel_error(ENFILE);
    try_kernel_error(EMFILE);
}

/* The one that the kernel had handed over is closed; those behind it wait. */
static void test_no_memory(void **state)
{
    char byte;

    (void)state;
    open_server();
    f.no_memory = true;
    add_client();
    add_client();
    turn(ROUNDS);
    qd_server_sweep(&f.daemon);
    qd_server_sweep(&f.daemon);
    f.no_memory = false;
    turn(ROUNDS);
    qd_server_sweep(&f.daemon);
    add_client();
    turn(ROUNDS);
    assert_int_equal(f.accepted, 2);
    assert_int_equal(recv(f.clients[0], &byte, 1, 0), 0);
    close_server();
}

/* A stop while clients wait. */
static void test_close(void **state)
{
    (void)state;
    open_server();
    f.no_memory = true;
    add_client();
    turn(1);
    close_server();
    open_server();
    f.kernel_error = ENOMEM;
    add_client();
    turn(ROUNDS);
    close_server();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_error),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
