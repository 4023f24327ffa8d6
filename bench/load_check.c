// SPDX-License-Identifier: GPL-2.0-or-later

// Judges answers as they arrive, without keeping them: a list of 10,000 qubes is compared where it lies.

#include "load.h"

#include <ctype.h>
#include <string.h>

void qd_load_answer_add(const struct qd_load_plan *plan, struct qd_load_answer *answer, const char *data,
                        size_t size)
{
    if (answer->size < sizeof answer->head) {
        size_t room = sizeof answer->head - answer->size;
        memcpy(answer->head + answer->size, data, size < room ? size : room);
    }
    if (plan->expect == QD_LOAD_EXPECT_EXACT && !answer->differs) {
        answer->differs = size > plan->expected_size - answer->size ||
                          memcmp(data, plan->expected + answer->size, size) != 0;
    }
    answer->size += size;
}

static bool begins_with(const struct qd_load_answer *answer, const char *bytes, size_t size)
{
    return size <= sizeof answer->head && answer->size >= size && memcmp(answer->head, bytes, size) == 0;
}

bool qd_load_answer_good(const struct qd_load_plan *plan, const struct qd_load_answer *answer)
{
    switch (plan->expect) {
    case QD_LOAD_EXPECT_OK:
        return begins_with(answer, "0", 2);
    case QD_LOAD_EXPECT_PREFIX:
        return begins_with(answer, plan->expected, plan->expected_size);
    case QD_LOAD_EXPECT_EXACT:
        return !answer->differs && answer->size == plan->expected_size;
    case QD_LOAD_EXPECT_LENGTH:
        return begins_with(answer, "0", 2) && answer->size == plan->expected_size;
    }
    return false;
}

void qd_load_answer_print(const struct qd_load_answer *answer, FILE *out)
{
    size_t size = answer->size < sizeof answer->head ? answer->size : sizeof answer->head;
    fprintf(out, "%zu bytes: ", answer->size);
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)answer->head[i];
        if (isprint(byte))
            fputc(byte, out);
        else
            fprintf(out, "\\x%02x", byte);
    }
    fputs(answer->size > size ? "…\n" : "\n", out);
}
