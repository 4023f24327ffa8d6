/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/generation.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/coverage.h"

#include "qd/grant.h"
#include "qd/limit.h"
#include "qd/narrow.h"

struct qd_generation *qd_generation_ref(struct qd_generation *generation)
{
    generation->refs++;
    return generation;
}

void qd_generation_unref(struct qd_generation *generation)
{
    if (!generation || --generation->refs > 0)
        return;
    if (generation->L)
        lua_close(generation->L);
    qd_coverage_free(generation->coverage);
    for (size_t i = 0; i < generation->method_count; i++)
        qd_method_free(generation->methods[i]);
    free(generation->methods);
    for (size_t i = 0; i < generation->hook_count; i++)
        qd_hook_free(&generation->hooks[i]);
    free(generation->hooks);
    for (size_t i = 0; i < generation->limit_count; i++)
        qd_limit_free(&generation->limits[i]);
    free(generation->limits);
    for (size_t i = 0; i < generation->grant_count; i++)
        qd_grant_free(&generation->grants[i]);
    free(generation->grants);
    for (size_t i = 0; i < generation->narrow_count; i++)
        qd_narrow_free(&generation->narrows[i]);
    free(generation->narrows);
    free(generation->lock_reason);
    free(generation);
}

static struct qd_method *find(const struct qd_generation *generation, const char *name)
{
    size_t low = 0, high = generation->method_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int result = strcmp(name, generation->methods[middle]->name);

        if (result == 0)
            return generation->methods[middle];
        if (result < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct qd_method *qd_generation_method(const struct qd_generation *generation, enum qd_socket socket,
                                             const char *name, size_t size)
{
    const struct qd_method *method;
    char canonical[128];

    if (size >= sizeof(canonical) - 1 || memchr(name, '\0', size))
        return NULL;
    if (size > 5 && memcmp(name, "mgmt.", 5) == 0)
        snprintf(canonical, sizeof(canonical), "admin.%.*s", (int)(size - 5), name + 5);
    else
        snprintf(canonical, sizeof(canonical), "%.*s", (int)size, name);
    method = find(generation, canonical);
    return method && (method->socket == socket || socket == QD_SOCKET_CONSOLE) ? method : NULL;
}

bool qd_event_matches(const char *pattern, const char *name)
{
    const char *star = NULL, *resume = NULL;

    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            resume = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

size_t qd_event_spellings(const char *method, char ret_names[QD_SPELLINGS][256])
{
    static const char *const events[] = {"admin", "mgmt"};
    bool of_admin = strncmp(method, "admin.", 6) == 0;
    size_t count = 0;

    for (int event = 0; event < 2; event++) {
        snprintf(ret_names[count++], 256, "%s-permission:%s", events[event], method);
        if (of_admin)
            snprintf(ret_names[count++], 256, "%s-permission:mgmt.%s", events[event], method + 6);
    }
    return count;
}
