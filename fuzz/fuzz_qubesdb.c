/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QubesDB's messages: what was decoded lies inside the bytes that came, and encoded again it is those bytes
 * but for the padding and what stands behind the path's NUL.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/qubesdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void check_frame(const struct qd_qubesdb_frame *frame, const char *data, size_t used)
{
    char again[QD_QUBESDB_HEAD + QD_QUBESDB_VALUE];
    struct qd_qubesdb_frame second;

    check(used == QD_QUBESDB_HEAD + frame->size && frame->size <= QD_QUBESDB_VALUE, "a wrong size");
    check(frame->value == data + QD_QUBESDB_HEAD, "a value from elsewhere");
    check(frame->path[0] == '\0' || qd_qubesdb_is_path(frame->path, strlen(frame->path)), "no path");
    check(qd_qubesdb_encode(frame->type, frame->path, frame->value, frame->size, again) == used,
          "another size");
    check(qd_qubesdb_decode(again, used, &second) == (int)used, "not readable again");
    check(second.type == frame->type && strcmp(second.path, frame->path) == 0 && second.size == frame->size &&
              memcmp(second.value, frame->value, frame->size) == 0,
          "a message does not survive");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *block = malloc(size ? size : 1); /* of exactly its size */
    size_t at = 0;

    check(block != NULL, "no memory");
    if (size > 0)
        memcpy(block, data, size);
    while (at < size) {
        struct qd_qubesdb_frame frame;
        int used = qd_qubesdb_decode(block + at, size - at, &frame);

        if (used <= 0) {
            check(used == 0 || used == -EBADMSG, "another error");
            break;
        }
        check_frame(&frame, block + at, (size_t)used);
        at += (size_t)used;
    }
    free(block);
    return 0;
}
