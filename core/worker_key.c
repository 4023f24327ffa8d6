/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker_private.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct qd_worker_key **qd_worker_key_find(struct qd_worker_pool *pool, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    struct qd_worker_key **key;

    for (const char *byte = name; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * 16777619u;
    for (key = &pool->keys[hash % QD_WORKER_KEY_BUCKETS]; *key && strcmp((*key)->name, name) != 0;
         key = &(*key)->next)
        ;
    return key;
}

struct qd_worker_key *qd_worker_key_add(struct qd_worker_key **place, const char *name)
{
    size_t size = strlen(name) + 1;
    struct qd_worker_key *key = calloc(1, sizeof(*key) + size);

    if (!key)
        return NULL;
    memcpy(key->name, name, size);
    TAILQ_INIT(&key->waiting);
    *place = key;
    return key;
}

void qd_worker_key_pass(struct qd_worker_pool *pool, struct qd_worker_key *key)
{
    struct qd_worker_job *next = TAILQ_FIRST(&key->waiting);
    struct qd_worker_key **place;

    key->overdue = false;
    if (next) {
        TAILQ_REMOVE(&key->waiting, next, link);
        qd_worker_job_queue(pool, next);
        return;
    }
    place = qd_worker_key_find(pool, key->name);
    *place = key->next;
    free(key);
}

void qd_worker_key_free_all(struct qd_worker_pool *pool)
{
    struct qd_worker_key *next;

    for (size_t bucket = 0; bucket < QD_WORKER_KEY_BUCKETS; bucket++) {
        for (struct qd_worker_key *key = pool->keys[bucket]; key; key = next) {
            next = key->next; /* a lost job's */
            free(key);
        }
    }
}
