// SPDX-License-Identifier: GPL-2.0-or-later

// Samples of latency, and the line of JSON that bench/run.lua reads.

#define _GNU_SOURCE 1

#include "load.h"

#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { SAMPLES_FIRST = 1 << 16 };

void qd_load_samples_add(struct qd_load_samples *samples, uint64_t ns)
{
    if (samples->count == samples->space) {
        size_t space = samples->space ? samples->space * 2 : SAMPLES_FIRST;
        uint32_t *values = reallocarray(samples->values, space, sizeof *values);
        if (!values)
            err(QD_LOAD_EXIT_FAILED, "samples");
        samples->values = values;
        samples->space = space;
    }
    uint64_t tenths = ns / 100;
    samples->values[samples->count++] = tenths < UINT32_MAX ? (uint32_t)tenths : UINT32_MAX;
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

// The smallest sample that `share` of all samples don't exceed (the nearest-rank definition).
static double percentile(const struct qd_load_samples *samples, double share)
{
    if (!samples->count)
        return 0;
    double rank = share * (double)samples->count;
    size_t index = (size_t)rank;
    if ((double)index == rank && index > 0)
        index--;
    if (index >= samples->count)
        index = samples->count - 1;
    return samples->values[index] / 10.0;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) < 0)
        return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void qd_load_report(struct qd_load_samples *samples, const struct qd_load_totals *totals, FILE *out)
{
    double cpu = cpu_seconds(); // before the sorting, which is not load
    double seconds = (double)totals->elapsed / 1e9;
    if (samples->count)
        qsort(samples->values, samples->count, sizeof *samples->values, compare);
    fprintf(out, "{\"calls\":%zu,\"errors\":%" PRIu64 ",\"seconds\":%.6f,\"rate\":%.1f,", samples->count,
            totals->errors, seconds, seconds > 0 ? (double)samples->count / seconds : 0);
    fprintf(out, "\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,", percentile(samples, 0.5),
            percentile(samples, 0.9), percentile(samples, 0.99), percentile(samples, 1));
    fprintf(out, "\"bytes\":%" PRIu64 ",\"retries\":%" PRIu64 ",\"cpu_seconds\":%.3f}\n", totals->bytes,
            totals->retries, cpu);
}
