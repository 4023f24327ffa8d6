/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Compiled for tests only.
 */
#include "virt_private.h"

#ifdef QD_TESTING

#include <fnmatch.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char blocks[1024];
static pthread_mutex_t mutex =
    PTHREAD_MUTEX_INITIALIZER; /* a lost worker of an earlier virt may still look */

void qd_virt_block_read(void)
{
    const char *value = getenv("QD_TEST_VIRT_BLOCK");

    pthread_mutex_lock(&mutex);
    snprintf(blocks, sizeof(blocks), "%s", value ? value : "");
    pthread_mutex_unlock(&mutex);
}

/* The domain's name: of its XML, or else as libvirt knows it. */
static void find_name(virConnectPtr conn, const char *uuid, const char *xml, char name[256])
{
    const char *start = xml ? strstr(xml, "<name>") : NULL;
    virDomainPtr domain;

    if (start) {
        sscanf(start, "<name>%255[^<]", name);
    } else if (conn && uuid && (domain = virDomainLookupByUUIDString(conn, uuid))) {
        snprintf(name, 256, "%s", virDomainGetName(domain));
        virDomainFree(domain);
    }
    virResetLastError();
}

static void wait_for(double seconds)
{
    struct timespec rest = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)};

    while (nanosleep(&rest, &rest) < 0)
        ;
}

void qd_virt_block_wait(const char *op, virConnectPtr conn, const char *uuid, const char *xml)
{
    char copy[sizeof(blocks)], name[256] = "", *rest = NULL;

    pthread_mutex_lock(&mutex);
    memcpy(copy, blocks, sizeof(copy));
    pthread_mutex_unlock(&mutex);
    for (char *entry = strtok_r(copy, ",", &rest); entry; entry = strtok_r(NULL, ",", &rest)) {
        char entry_op[32], pattern[256];
        double seconds;

        if (sscanf(entry, "%31[^:]:%255[^:]:%lf", entry_op, pattern, &seconds) != 3 ||
            strcmp(entry_op, op) != 0)
            continue;
        if (!name[0])
            find_name(conn, uuid, xml, name);
        if (fnmatch(pattern, name, 0) == 0 || (uuid && strcasecmp(pattern, uuid) == 0)) {
            wait_for(seconds);
            return;
        }
    }
}

#endif
