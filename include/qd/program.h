/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Runs programs: no shell, no environment of ours, no descriptors but its pipes, a process group of its own,
 * which is killed at the deadline and at the program's end. Loop's thread; nothing raises.
 */
#ifndef QD_PROGRAM_H
#define QD_PROGRAM_H

#include "qd/daemon.h"

struct qd_program_bytes {
    char *data; /* malloc, no NUL at its end; NULL: none */
    size_t size;
};

struct qd_program_result {
    int64_t status; /* -1: it was not started */
    int signal;     /* 0: it was not killed */
    struct qd_program_bytes output, error_output;
    const char *error; /* NULL: it ended by itself; a literal, or of uv_strerror */
};

/* Copied, where it has to stay. */
struct qd_program_request {
    const char *program;          /* a path from the root */
    const char *const *arguments; /* the program's name first, NULL last */
    const char *input;
    size_t input_size;
    size_t output_max; /* bytes of each output; a program that writes more is killed */
    double seconds;    /* one that runs longer is killed */
};

/* Takes the result, which qd_program_result_free frees. */
typedef void (*qd_program_done)(void *context, struct qd_program_result *result);

/* Starts a program. `done` is called once, later, whatever becomes of it, unless this returns -EAGAIN (too
 * many run) or -ENOMEM. */
int qd_program_start(struct qd_daemon *daemon, const struct qd_program_request *request, qd_program_done done,
                     void *context);
void qd_program_result_free(void *result);
/* Kills all programs; those who wait for them are told at once. */
void qd_programs_close(struct qd_daemon *daemon);

#endif
