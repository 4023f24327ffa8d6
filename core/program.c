/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A program ends three times: its process, its output and its error output, in any order. When all have, or
 * when what is left of its outputs does not end soon after it, the handles are closed and `done` gets the
 * result.
 */
#include "qd/program.h"

#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAMS_MAX 32
#define LINGER_MS 500 /* for outputs that somebody still holds open when the program has ended */

enum { IN, OUT, ERR, PIPES };

struct qd_program {
    struct qd_program *next;
    struct qd_daemon *daemon;
    qd_program_done done;
    void *context;
    struct qd_program_result *result;
    uv_process_t process;
    uv_pipe_t pipes[PIPES];
    uv_timer_t timer;
    uv_write_t write;
    char *input;
    size_t output_max;
    unsigned handles, outputs; /* open */
    bool running, closing;
    char buffer[16384];
};

void qd_program_result_free(void *context)
{
    struct qd_program_result *result = context;

    if (!result)
        return;
    free(result->output.data);
    free(result->error_output.data);
    free(result);
}

static void program_free(struct qd_program *program)
{
    struct qd_program **link = &program->daemon->programs;

    while (*link && *link != program)
        link = &(*link)->next;
    if (*link)
        *link = program->next;
    program->daemon->program_count--;
    qd_program_result_free(program->result);
    free(program->input);
    free(program);
}

static void handle_closed(uv_handle_t *handle)
{
    struct qd_program *program = handle->data;

    if (--program->handles == 0)
        program_free(program);
}

static void close_handle(uv_handle_t *handle)
{
    if (handle->type != UV_UNKNOWN_HANDLE && !uv_is_closing(handle))
        uv_close(handle, handle_closed);
}

static void kill_group(struct qd_program *program)
{
    if (program->process.pid > 0)
        kill(-program->process.pid, SIGKILL);
}

/* The result goes to whoever waits; the memory goes when the handles have closed. */
static void finish(struct qd_program *program)
{
    struct qd_program_result *result = program->result;

    if (program->closing)
        return;
    program->closing = true;
    for (int i = 0; i < PIPES; i++)
        close_handle((uv_handle_t *)&program->pipes[i]);
    close_handle((uv_handle_t *)&program->timer);
    close_handle((uv_handle_t *)&program->process);
    program->result = NULL;
    program->done(program->context, result);
}

static void finish_if_over(struct qd_program *program)
{
    if (!program->running && program->outputs == 0)
        finish(program);
}

static void cut(struct qd_program *program, const char *why)
{
    if (!program->result)
        return;
    if (!program->result->error)
        program->result->error = why;
    if (program->running)
        kill_group(program); /* on_exit_of follows */
    else
        finish(program);
}

static void on_time(uv_timer_t *timer)
{
    struct qd_program *program = timer->data;

    if (program->running)
        cut(program, "it ran too long");
    else
        finish(program);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal_number)
{
    struct qd_program *program = process->data;

    program->running = false;
    if (program->closing)
        return;
    program->result->status = status;
    program->result->signal = signal_number;
    kill_group(program); /* what it has left behind */
    uv_timer_start(&program->timer, on_time, LINGER_MS, 0);
    finish_if_over(program);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    struct qd_program *program = handle->data;

    (void)suggested;
    *ret_buffer = uv_buf_init(program->buffer, sizeof(program->buffer));
}

static void on_output(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct qd_program *program = stream->data;
    struct qd_program_bytes *output;
    size_t fits;
    char *grown;

    if (size == 0 || program->closing)
        return;
    if (size < 0) {
        program->outputs--;
        uv_read_stop(stream);
        finish_if_over(program);
        return;
    }
    output = stream == (uv_stream_t *)&program->pipes[OUT] ? &program->result->output
                                                           : &program->result->error_output;
    fits = program->output_max - output->size;
    if (fits > (size_t)size)
        fits = (size_t)size;
    grown = fits > 0 ? realloc(output->data, output->size + fits) : NULL;
    if (grown) {
        memcpy(grown + output->size, buffer->base, fits);
        output->data = grown;
        output->size += fits;
    }
    if (!grown || fits < (size_t)size)
        cut(program, fits > 0 && !grown ? "no memory for its output" : "it wrote too much");
}

/* A program need not read its input. */
static void on_written(uv_write_t *write, int status)
{
    struct qd_program *program = write->data;

    (void)status;
    if (!program->closing)
        close_handle((uv_handle_t *)&program->pipes[IN]);
}

static void init_handle(struct qd_program *program, uv_handle_t *handle)
{
    handle->data = program;
    program->handles++;
}

/* 0, or an error of libuv; the handles that are initialised then have to be closed. */
static int spawn(struct qd_program *program, const struct qd_program_request *request)
{
    static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/", NULL};
    uv_loop_t *loop = &program->daemon->loop;
    uv_stdio_container_t stdio[PIPES];
    uv_process_options_t options = {.exit_cb = on_exit_of,
                                    .file = request->program,
                                    .args = (char **)request->arguments,
                                    .env = environment,
                                    .cwd = "/",
                                    .flags = UV_PROCESS_DETACHED, /* a process group of its own */
                                    .stdio_count = PIPES,
                                    .stdio = stdio};
    int r = uv_timer_init(loop, &program->timer);

    init_handle(program, (uv_handle_t *)&program->timer);
    for (int i = 0; i < PIPES; i++) {
        int one = uv_pipe_init(loop, &program->pipes[i], 0);

        r = r ? r : one;
        init_handle(program, (uv_handle_t *)&program->pipes[i]);
        stdio[i].flags = UV_CREATE_PIPE | (i == IN ? UV_READABLE_PIPE : UV_WRITABLE_PIPE);
        stdio[i].data.stream = (uv_stream_t *)&program->pipes[i];
    }
    if (r < 0)
        return r;
    /* Ours have it anyway; libraries, and whoever has started us, may have forgotten it. */
    close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    r = uv_spawn(loop, &program->process, &options);
    init_handle(program, (uv_handle_t *)&program->process);
    return r;
}

static void begin(struct qd_program *program, const struct qd_program_request *request)
{
    uv_buf_t input = uv_buf_init(program->input, (unsigned)request->input_size);

    program->running = true;
    program->outputs = 2;
    program->write.data = program;
    uv_update_time(&program->daemon->loop);
    uv_timer_start(&program->timer, on_time, (uint64_t)(request->seconds * 1000), 0);
    uv_read_start((uv_stream_t *)&program->pipes[OUT], allocate, on_output);
    uv_read_start((uv_stream_t *)&program->pipes[ERR], allocate, on_output);
    if (uv_write(&program->write, (uv_stream_t *)&program->pipes[IN], &input, 1, on_written) < 0)
        close_handle((uv_handle_t *)&program->pipes[IN]);
}

/* The result of one that could not be started comes as any other does, from the loop. */
static void on_not_started(uv_timer_t *timer)
{
    finish(timer->data);
}

static struct qd_program *program_new(struct qd_daemon *daemon, const struct qd_program_request *request)
{
    struct qd_program *program = calloc(1, sizeof(*program));

    if (!program)
        return NULL;
    program->daemon = daemon;
    program->output_max = request->output_max;
    program->result = calloc(1, sizeof(*program->result));
    program->input = malloc(request->input_size + 1);
    program->next = daemon->programs;
    daemon->programs = program;
    daemon->program_count++;
    if (!program->result || !program->input) {
        program_free(program);
        return NULL;
    }
    program->result->status = -1;
    if (request->input_size)
        memcpy(program->input, request->input, request->input_size);
    return program;
}

int qd_program_start(struct qd_daemon *daemon, const struct qd_program_request *request, qd_program_done done,
                     void *context)
{
    struct qd_program *program;
    int r;

    if (daemon->program_count >= PROGRAMS_MAX)
        return -EAGAIN;
    program = program_new(daemon, request);
    if (!program)
        return -ENOMEM;
    program->done = done;
    program->context = context;
    r = spawn(program, request);
    if (r == 0) {
        begin(program, request);
    } else {
        program->result->error = uv_strerror(r);
        uv_timer_start(&program->timer, on_not_started, 0, 0);
    }
    return 0;
}

void qd_programs_close(struct qd_daemon *daemon)
{
    for (struct qd_program *program = daemon->programs; program; program = program->next) {
        if (program->closing)
            continue;
        kill_group(program);
        finish(program);
    }
}
