/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/coverage.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/log.h"

#define PREFIX "@acl.d/"
#define LINES_MAX (1 << 20) /* a file has no more bytes */

struct lines {
    char *file;
    bool *ran; /* by line */
    size_t size;
};

struct qd_coverage {
    const char *path;
    struct lines *files;
    size_t count, last; /* that which was noted last */
};

struct qd_coverage *qd_coverage_new(const char *path)
{
    struct qd_coverage *coverage = calloc(1, sizeof(*coverage));

    if (coverage)
        coverage->path = path;
    return coverage;
}

static struct lines *find(struct qd_coverage *coverage, const char *file)
{
    struct lines *grown;

    if (coverage->count && strcmp(coverage->files[coverage->last].file, file) == 0)
        return &coverage->files[coverage->last];
    for (size_t i = 0; i < coverage->count; i++) {
        if (strcmp(coverage->files[i].file, file) == 0) {
            coverage->last = i;
            return &coverage->files[i];
        }
    }
    grown = realloc(coverage->files, (coverage->count + 1) * sizeof(*grown));
    if (!grown)
        return NULL;
    coverage->files = grown;
    grown[coverage->count] = (struct lines){.file = strdup(file)};
    if (!grown[coverage->count].file)
        return NULL;
    coverage->last = coverage->count++;
    return &grown[coverage->last];
}

void qd_coverage_note(struct qd_coverage *coverage, lua_State *L, lua_Debug *activation)
{
    size_t line = activation->currentline > 0 ? (size_t)activation->currentline : 0;
    struct lines *lines;
    bool *grown;

    lua_getinfo(L, "S", activation);
    if (strncmp(activation->source, PREFIX, strlen(PREFIX)) != 0 || line > LINES_MAX)
        return;
    lines = find(coverage, activation->source + 1);
    if (!lines)
        return;
    if (line >= lines->size) {
        grown = realloc(lines->ran, (line + 64) * sizeof(*grown));
        if (!grown)
            return;
        memset(grown + lines->size, 0, (line + 64 - lines->size) * sizeof(*grown));
        lines->ran = grown;
        lines->size = line + 64;
    }
    lines->ran[line] = true;
}

static void write_lines(const struct qd_coverage *coverage, FILE *stream)
{
    for (size_t i = 0; i < coverage->count; i++) {
        for (size_t line = 1; line < coverage->files[i].size; line++) {
            if (coverage->files[i].ran[line])
                fprintf(stream, "%s:%zu\n", coverage->files[i].file, line);
        }
    }
}

void qd_coverage_free(struct qd_coverage *coverage)
{
    FILE *stream;
    bool written = false;

    if (!coverage)
        return;
    stream = fopen(coverage->path, "ae");
    if (stream) {
        write_lines(coverage, stream);
        written = !ferror(stream);
        written = fclose(stream) == 0 && written;
    }
    if (!written)
        qd_log(QD_LOG_ERROR, "%s: not written: %s", coverage->path, strerror(errno));
    for (size_t i = 0; i < coverage->count; i++) {
        free(coverage->files[i].file);
        free(coverage->files[i].ran);
    }
    free(coverage->files);
    free(coverage);
}
