/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/limit.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/clock.h"
#include "qd/log.h"

#define HEADS 256
#define LOG_NS UINT64_C(1000000000) /* between two lines about one bucket */

struct bucket {
    struct bucket *next;
    int64_t qube; /* the caller's id, which no other qube ever gets */
    double tokens;
    uint64_t filled_ns; /* when `tokens` was right */
    uint64_t logged_ns;
    uint64_t untold; /* refusals that no line of the log has told of */
};

struct qd_limit_book {
    struct bucket *heads[HEADS];
    size_t count;
    uint64_t refused;
};

static void book_free(struct qd_limit_book *book)
{
    for (size_t i = 0; book && i < HEADS; i++) {
        while (book->heads[i]) {
            struct bucket *bucket = book->heads[i];

            book->heads[i] = bucket->next;
            free(bucket);
        }
    }
    free(book);
}

void qd_limit_free(struct qd_limit *limit)
{
    qd_selector_free(&limit->src);
    free(limit->method);
    free(limit->reason);
    free(limit->file);
    book_free(limit->book);
}

/* ---- declaring ---- */

static bool is_same(const struct qd_limit *a, const struct qd_limit *b)
{
    return strcmp(a->src.text, b->src.text) == 0 && strcmp(a->method, b->method) == 0 && a->rate == b->rate &&
           a->burst == b->burst;
}

/* Fills from checked texts. False: no memory. */
static bool fill(struct qd_limit *limit, const char *src, const char *method, const char *reason,
                 const lua_Debug *place)
{
    limit->method = strdup(method);
    limit->reason = reason ? strdup(reason) : NULL;
    limit->file = strdup(place->short_src);
    limit->line = place->currentline;
    limit->book = calloc(1, sizeof(*limit->book));
    return qd_selector_init(&limit->src, src) == 0 && limit->method && (limit->reason || !reason) &&
           limit->file && limit->book;
}

/* Adds to the generation what `fill` has made, or frees it and says why not. */
static const char *add(struct qd_generation *generation, struct qd_limit *limit, bool filled)
{
    struct qd_limit *grown;
    const char *problem = filled ? NULL : "no memory";

    if (generation->limit_count >= QD_LIMITS_MAX)
        problem = "limit: too many of them";
    for (size_t i = 0; !problem && i < generation->limit_count; i++) {
        if (is_same(&generation->limits[i], limit))
            problem = "limit: the same one stands elsewhere already";
    }
    grown = problem ? NULL : realloc(generation->limits, (generation->limit_count + 1) * sizeof(*grown));
    if (grown) {
        generation->limits = grown;
        grown[generation->limit_count++] = *limit;
        return NULL;
    }
    qd_limit_free(limit);
    return problem ? problem : "no memory";
}

int qd_limit_bind(lua_State *L)
{
    static const char *const names[] = {"src", "method", "rate", "burst", "reason", NULL};
    struct qd_limit limit = {0};
    const char *src, *method, *reason, *problem;
    lua_Debug place;

    qd_declare_check_fields(L, "limit", names);
    src = qd_declare_field_string(L, "limit", "src", true);
    qd_declare_check_selector(L, "limit", "src", src);
    if (strcmp(src, "dom0") == 0)
        return luaL_error(L, "limit: dom0 is never limited");
    method = qd_declare_field_string(L, "limit", "method", true);
    qd_declare_check_method(L, "limit", method);
    reason = qd_declare_field_string(L, "limit", "reason", false);
    limit.rate = qd_declare_field_number(L, "limit", "rate", QD_LIMIT_RATE_MIN, QD_LIMIT_NUMBER_MAX, 0, true);
    limit.burst = qd_declare_field_number(L, "limit", "burst", 1, QD_LIMIT_NUMBER_MAX,
                                          limit.rate > 1 ? ceil(limit.rate) : 1, false);
    qd_declare_place(L, &place);
    problem = add(qd_generation_of(L), &limit, fill(&limit, src, method, reason, &place));
    return problem ? luaL_error(L, "%s", problem) : 0;
}

/* ---- judging ---- */

static void fill_up(const struct qd_limit *limit, struct bucket *bucket, uint64_t now_ns)
{
    if (now_ns > bucket->filled_ns)
        bucket->tokens += (double)(now_ns - bucket->filled_ns) / 1e9 * limit->rate;
    if (bucket->tokens > limit->burst)
        bucket->tokens = limit->burst;
    bucket->filled_ns = now_ns;
}

static void tell(const struct qd_limit *limit, const struct qd_object *source, struct bucket *bucket,
                 uint64_t now_ns)
{
    qd_log(QD_LOG_WARNING,
           "limited: %s is over %.14g calls a second (burst %.14g) of %s; refused: %llu, by %s:%d",
           source->name->data, limit->rate, limit->burst, limit->method, (unsigned long long)bucket->untold,
           limit->file, limit->line);
    bucket->untold = 0;
    bucket->logged_ns = now_ns;
}

/* Fills the buckets up, tells what is left to tell, and drops those that are as good as none. */
static void sweep_book(const struct qd_limit *limit, struct qd_model *model, uint64_t now_ns)
{
    for (size_t i = 0; limit->book->count > 0 && i < HEADS; i++) {
        struct bucket **link = &limit->book->heads[i];

        while (*link) {
            struct bucket *bucket = *link;
            struct qd_object *source = qd_model_object_by_id(model, bucket->qube);

            fill_up(limit, bucket, now_ns);
            if (source && bucket->untold > 0 && now_ns - bucket->logged_ns >= LOG_NS)
                tell(limit, source, bucket, now_ns);
            if (source && (bucket->untold > 0 || bucket->tokens < limit->burst)) {
                link = &bucket->next;
                continue;
            }
            *link = bucket->next;
            limit->book->count--;
            free(bucket);
        }
    }
}

/* The caller's bucket, a full one when it has none yet. NULL: there are too many, or there is no memory. */
static struct bucket *find(const struct qd_limit *limit, struct qd_model *model, int64_t qube,
                           uint64_t now_ns)
{
    struct bucket **head = &limit->book->heads[(uint64_t)qube % HEADS], *bucket = *head;

    while (bucket && bucket->qube != qube)
        bucket = bucket->next;
    if (bucket) {
        fill_up(limit, bucket, now_ns);
        return bucket;
    }
    if (limit->book->count >= QD_LIMIT_BUCKETS_MAX)
        sweep_book(limit, model, now_ns);
    bucket = limit->book->count < QD_LIMIT_BUCKETS_MAX ? malloc(sizeof(*bucket)) : NULL;
    if (!bucket)
        return NULL;
    *bucket = (struct bucket){.next = *head, .qube = qube, .tokens = limit->burst, .filled_ns = now_ns};
    *head = bucket;
    limit->book->count++;
    return bucket;
}

static void count_refusal(struct qd_daemon *daemon, const struct qd_limit *limit,
                          const struct qd_object *source, struct bucket *bucket, uint64_t now_ns)
{
    daemon->status.limited++;
    limit->book->refused++;
    if (bucket) {
        bucket->untold++;
        if (!bucket->logged_ns || now_ns - bucket->logged_ns >= LOG_NS)
            tell(limit, source, bucket, now_ns);
    }
}

void qd_limit_describe(const struct qd_limit *limit, char ret_message[static 256])
{
    snprintf(ret_message, 256, "over the limit of %.14g calls a second%s%s", limit->rate,
             limit->reason ? ": " : "", limit->reason ? limit->reason : "");
}

/* The name of today; empty: it is none of a method. */
static void canonical(struct qd_slice method, char ret_name[static 128])
{
    bool old = method.size > 5 && memcmp(method.data, "mgmt.", 5) == 0;
    size_t skip = old ? 5 : 0;

    if (method.size > 120)
        ret_name[0] = '\0';
    else
        snprintf(ret_name, 128, "%s%.*s", old ? "admin." : "", (int)(method.size - skip), method.data + skip);
}

static bool applies(const struct qd_limit *limit, const struct qd_model *model,
                    const struct qd_object *source, const char *name)
{
    return qd_selector_matches(&limit->src, model, source) && qd_method_matches(limit->method, name);
}

/* First whether all buckets have a token, then one of each: a call that one limit refuses costs nothing of
 * another. */
const struct qd_limit *qd_limit_take(struct qd_daemon *daemon, const struct qd_object *source,
                                     struct qd_slice method, bool dry)
{
    const struct qd_generation *generation = daemon->generation;
    struct bucket *taken[QD_LIMITS_MAX];
    size_t count = 0;
    uint64_t now_ns;
    char name[128];

    if (source->qid == 0 || generation->limit_count == 0)
        return NULL;
    canonical(method, name);
    now_ns = qd_clock_steady_ns();
    for (size_t i = 0; i < generation->limit_count; i++) {
        const struct qd_limit *limit = &generation->limits[i];

        if (!applies(limit, daemon->model, source, name))
            continue;
        taken[count] = find(limit, daemon->model, source->id, now_ns);
        if (!taken[count] || taken[count]->tokens < 1) {
            if (!dry)
                count_refusal(daemon, limit, source, taken[count], now_ns);
            return limit;
        }
        count++;
    }
    for (size_t i = 0; i < count && !dry; i++)
        taken[i]->tokens -= 1;
    return NULL;
}

void qd_limit_adopt(struct qd_generation *generation, struct qd_generation *before)
{
    for (size_t i = 0; before && i < generation->limit_count; i++) {
        struct qd_limit *limit = &generation->limits[i];

        for (size_t k = 0; k < before->limit_count; k++) {
            if (!before->limits[k].book || !is_same(limit, &before->limits[k]))
                continue;
            book_free(limit->book);
            limit->book = before->limits[k].book;
            before->limits[k].book = NULL;
        }
    }
}

void qd_limit_sweep(struct qd_daemon *daemon)
{
    uint64_t now_ns = qd_clock_steady_ns();

    for (size_t i = 0; i < daemon->generation->limit_count; i++)
        sweep_book(&daemon->generation->limits[i], daemon->model, now_ns);
}

void qd_limit_push_status(lua_State *L, const struct qd_daemon *daemon)
{
    const struct qd_generation *generation = daemon->generation;

    lua_createtable(L, (int)generation->limit_count, 0);
    for (size_t i = 0; i < generation->limit_count; i++) {
        lua_createtable(L, 0, 2);
        lua_pushfstring(L, "%s:%d", generation->limits[i].file, generation->limits[i].line);
        lua_setfield(L, -2, "at");
        lua_pushinteger(L, (lua_Integer)generation->limits[i].book->refused);
        lua_setfield(L, -2, "limited");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}
