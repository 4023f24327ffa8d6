/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef QD_TESTING

static int64_t offset_s(void)
{
    const char *path = getenv("QD_TEST_CLOCK_OFFSET");
    FILE *file = path ? fopen(path, "re") : NULL;
    long long offset = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%lld", &offset) != 1)
        offset = 0;
    fclose(file);
    return offset;
}

#else

static int64_t offset_s(void)
{
    return 0;
}

#endif

int64_t qd_clock_wall_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec + offset_s();
}

uint64_t qd_clock_steady_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((int64_t)now.tv_sec + offset_s()) * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}
