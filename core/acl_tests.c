/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/acl_tests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qd/program.h"

#define TOOL "/usr/bin/qubesd-acl"
#define OUTPUT_MAX (1u << 20)
#define PROBLEM_MAX 1024
#define TOOL_SECONDS "50" /* so that it ends by itself, and cleans up, before it is killed */

struct qd_acl_tests {
    struct qd_daemon *daemon;
    /* Paths from the root, since a program begins there. */
    char *tool, *qubesd, *scripts_dir, *ext_dir, *acl_dir;
};

struct run {
    void (*done)(void *context, const char *problem);
    void *context;
};

static char *absolute(const char *path)
{
    char *directory = path[0] == '/' ? NULL : getcwd(NULL, 0), *full = NULL;

    if (path[0] == '/')
        return strdup(path);
    if (directory && asprintf(&full, "%s/%s", directory, path) < 0)
        full = NULL;
    free(directory);
    return full;
}

static char *own_path(void)
{
    char path[4096];
    size_t size = sizeof(path);

    return uv_exepath(path, &size) == 0 ? strdup(path) : NULL;
}

int qd_acl_tests_new(struct qd_daemon *daemon, struct qd_acl_tests **ret_tests)
{
    const struct qd_config *config = &daemon->config;
    struct qd_acl_tests *tests;

    *ret_tests = NULL;
    if (strcmp(config->acl_tests, "no") == 0)
        return 0;
    if (strcmp(config->acl_tests, "yes") != 0 && config->acl_tests[0] != '/')
        return -EINVAL;
    tests = calloc(1, sizeof(*tests));
    if (!tests)
        return -ENOMEM;
    tests->daemon = daemon;
    tests->tool = strdup(config->acl_tests[0] == '/' ? config->acl_tests : TOOL);
    tests->qubesd = own_path();
    tests->scripts_dir = absolute(config->scripts_dir);
    tests->ext_dir = absolute(config->ext_dir);
    tests->acl_dir = absolute(config->acl_dir);
    if (!tests->tool || !tests->qubesd || !tests->scripts_dir || !tests->ext_dir || !tests->acl_dir) {
        qd_acl_tests_free(tests);
        return -ENOMEM;
    }
    *ret_tests = tests;
    return 0;
}

void qd_acl_tests_free(struct qd_acl_tests *tests)
{
    if (!tests)
        return;
    free(tests->tool);
    free(tests->qubesd);
    free(tests->scripts_dir);
    free(tests->ext_dir);
    free(tests->acl_dir);
    free(tests);
}

/* Appends a piece of text, as far as there is room. */
static void append(char problem[static PROBLEM_MAX], const char *between, const char *text, size_t size)
{
    size_t used = strlen(problem);

    snprintf(problem + used, PROBLEM_MAX - used, "%s%.*s", between, (int)size, text);
}

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');

    return end ? end + 1 : NULL;
}

/* The first test that has failed, with what is said of it: lines that begin with "# ". False: there is none.
 */
static bool find_failure(const char *output, char problem[static PROBLEM_MAX])
{
    const char *line = output;

    while (line && strncmp(line, "not ok ", 7) != 0)
        line = next_line(line);
    if (!line)
        return false;
    snprintf(problem, PROBLEM_MAX, "a test fails: ");
    line = strstr(line, " - ") ? strstr(line, " - ") + 3 : line;
    append(problem, "", line, strcspn(line, "\n"));
    while ((line = next_line(line)) && line[0] == '#') {
        line += 1 + strspn(line + 1, " ");
        append(problem, "; ", line, strcspn(line, "\n"));
    }
    return true;
}

/* The last line that is not empty. */
static void last_line(const char *text, char problem[static PROBLEM_MAX])
{
    const char *last = "";

    for (const char *line = text; line; line = next_line(line)) {
        if (line[0] && line[0] != '\n')
            last = line;
    }
    snprintf(problem, PROBLEM_MAX, "the tests of the rules: ");
    append(problem, "", last, strcspn(last, "\n"));
}

/* A copy with a NUL at its end, or NULL. */
static char *text_of(const struct qd_program_bytes *bytes)
{
    return strndup(bytes->data ? bytes->data : "", bytes->size);
}

static void judge(const struct qd_program_result *result, char problem[static PROBLEM_MAX])
{
    char *output = text_of(&result->output), *error = text_of(&result->error_output);

    if (!output || !error)
        snprintf(problem, PROBLEM_MAX, "the tests of the rules: no memory");
    else if (result->error)
        snprintf(problem, PROBLEM_MAX, "the tests of the rules: %s", result->error);
    else if (!find_failure(output, problem))
        last_line(error, problem);
    free(output);
    free(error);
}

static void on_done(void *context, struct qd_program_result *result)
{
    struct run *run = context;
    char problem[PROBLEM_MAX];
    bool passed = !result->error && !result->signal && result->status == 0;

    if (!passed)
        judge(result, problem);
    run->done(run->context, passed ? NULL : problem);
    qd_program_result_free(result);
    free(run);
}

int qd_acl_tests_run(struct qd_acl_tests *tests, const struct qd_generation *generation,
                     void (*done)(void *context, const char *problem), void *context)
{
    const char *const arguments[] = {tests->tool,
                                     "test",
                                     "--tap",
                                     "--seconds",
                                     TOOL_SECONDS,
                                     "--digest",
                                     generation->code_digest,
                                     "--qubesd",
                                     tests->qubesd,
                                     "--scripts",
                                     tests->scripts_dir,
                                     "--ext",
                                     tests->ext_dir,
                                     tests->acl_dir,
                                     NULL};
    struct qd_program_request request = {.program = tests->tool,
                                         .arguments = arguments,
                                         .output_max = OUTPUT_MAX,
                                         .seconds = QD_ACL_TESTS_SECONDS};
    struct run *run = malloc(sizeof(*run));
    int r;

    if (!run)
        return -ENOMEM;
    *run = (struct run){.done = done, .context = context};
    r = qd_program_start(tests->daemon, &request, on_done, run);
    if (r < 0)
        free(run);
    return r;
}
