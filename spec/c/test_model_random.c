/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The model against a naive one, by random calls that end well, fail, or fail together with all that came
 * after them, as commits do. QD_SEED chooses another run; the seed is printed when a check fails.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qd/model.h"

#define POOL 10 /* names, uuids, qids */
#define NAMES 5 /* of attributes, under each of the kinds */
#define KINDS 2
#define PENDING 6 /* commits on their way */
#define ROUNDS 20000

/* A value as a number: 0 none, 1 and 2 booleans, from 10 integers, from 100 strings, from 1000 qubes by id.
 */
struct naive_attribute {
    int kind, name;
    int64_t value;
};

struct naive_object {
    int64_t id, qid;
    int name, uuid;
    struct naive_attribute attributes[KINDS * NAMES];
    int attribute_count;
};

/* The app is the first. */
struct naive {
    struct naive_object objects[POOL + 1];
    int count;
};

static struct naive now;
static struct {
    struct naive before;
    struct qd_journal journal;
} pending[PENDING + 1];
static int pending_count;
static struct qd_model *model;
static int64_t highest_id;
static unsigned seed;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("QD_SEED=%u: %s", seed, #condition);                                                    \
    } while (0)

static int below(int limit)
{
    return rand() % limit; /* seeded: the run can be repeated */
}

static const char *text_of(const char *prefix, int number)
{
    static char texts[4][64];
    static int next;
    char *text = texts[next++ % 4];

    snprintf(text, sizeof(texts[0]), "%s%012d", prefix, number);
    return text;
}

#define NAME(number) text_of("qube", number)
#define UUID(number) text_of("00000000-0000-4000-8000-", number)
#define KIND(number) text_of("kind", number)
#define ATTRIBUTE(number) text_of("name", number)
#define STRING(number) text_of("a string ", number)

static struct qd_object *object_of(const struct naive_object *naive)
{
    struct qd_object *object = qd_model_object_by_id(model, naive->id);

    CHECK(object != NULL);
    return object;
}

/* ---- comparing ---- */

static void compare_value(const struct qd_value *value, int64_t naive)
{
    const char *text = STRING((int)naive);

    switch (value->type) {
    case QD_VALUE_NONE:
        CHECK(naive == 0);
        break;
    case QD_VALUE_BOOL:
        CHECK(naive == 1 + value->u.boolean);
        break;
    case QD_VALUE_INT:
        CHECK(naive == value->u.integer && naive >= 10 && naive < 100);
        break;
    case QD_VALUE_STR:
        CHECK(naive >= 100 && naive < 1000 && strcmp(value->u.str->data, text) == 0);
        break;
    case QD_VALUE_QUBE:
        CHECK(naive == 1000 + value->u.object->id);
        CHECK(value->u.object->removed == (qd_model_object_by_id(model, naive - 1000) == NULL));
        break;
    }
}

static void compare_object(const struct naive_object *naive)
{
    const struct qd_object *object = object_of(naive);

    CHECK(object->attribute_count == (size_t)naive->attribute_count);
    for (int i = 0; i < naive->attribute_count; i++) {
        const struct naive_attribute *attribute = &naive->attributes[i];
        const char *kind = KIND(attribute->kind), *name = ATTRIBUTE(attribute->name);

        CHECK(strcmp(object->attributes[i].kind->data, kind) == 0 &&
              strcmp(object->attributes[i].name->data, name) == 0);
        compare_value(&object->attributes[i].value, attribute->value);
        CHECK(qd_object_get(model, object, kind, strlen(kind), name, strlen(name)) ==
              &object->attributes[i].value);
    }
}

static void compare(void)
{
    struct qd_object *const *qubes = qd_model_qubes(model);
    int64_t free_qid = 1;

    CHECK(qd_model_qube_count(model) == (size_t)now.count - 1);
    for (int i = 0; i < now.count; i++)
        compare_object(&now.objects[i]);
    for (int i = 1; i < now.count; i++) {
        const struct naive_object *naive = &now.objects[i];
        struct qd_object *object = object_of(naive);
        const char *name = NAME(naive->name);

        CHECK(!object->removed && object->qid == naive->qid);
        CHECK(qd_model_qube_by_name(model, name, strlen(name)) == object);
        CHECK(qd_model_qube_by_uuid(model, UUID(naive->uuid)) == object);
        CHECK(qd_model_qube_by_qid(model, naive->qid) == object);
        CHECK(i == 1 || strcmp(qubes[i - 2]->name->data, qubes[i - 1]->name->data) < 0);
    }
    for (int i = 1; i < now.count; i++) {
        if (now.objects[i].qid == free_qid) {
            free_qid++;
            i = 0;
        }
    }
    CHECK(qd_model_free_qid(model) == free_qid);
}

/* ---- operations, on both ---- */

static bool is_taken(int name, int uuid, int64_t qid)
{
    for (int i = 1; i < now.count; i++) {
        if (now.objects[i].name == name || now.objects[i].uuid == uuid || now.objects[i].qid == qid)
            return true;
    }
    return false;
}

static void add(struct qd_journal *journal)
{
    int name = below(POOL), uuid = below(POOL);
    int64_t qid = 1 + below(POOL);
    bool taken = is_taken(name, uuid, qid);
    struct qd_object *qube;
    int r = qd_model_add_qube(model, journal, 0, qid, UUID(uuid), NAME(name), "AppVM", &qube);

    CHECK(r == (taken ? -EEXIST : 0));
    if (taken)
        return;
    CHECK(qube->id > highest_id);
    highest_id = qube->id;
    now.objects[now.count++] = (struct naive_object){.id = qube->id, .qid = qid, .name = name, .uuid = uuid};
}

static void delete (struct qd_journal *journal)
{
    int place = 1 + below(POOL);

    if (place >= now.count)
        return;
    CHECK(qd_model_delete_qube(model, journal, object_of(&now.objects[place])) == 0);
    now.objects[place] = now.objects[--now.count];
}

static int find(const struct naive_object *naive, int kind, int name)
{
    int place = 0;

    while (place < naive->attribute_count &&
           (naive->attributes[place].kind != kind || naive->attributes[place].name != name))
        place++;
    return place;
}

static struct qd_value random_value(int64_t *ret_naive)
{
    struct qd_value value = {.type = below(5)};
    const char *text;
    int place;

    switch (value.type) {
    case QD_VALUE_BOOL:
        value.u.boolean = below(2);
        *ret_naive = 1 + value.u.boolean;
        break;
    case QD_VALUE_INT:
        *ret_naive = value.u.integer = 10 + below(90);
        break;
    case QD_VALUE_STR:
        *ret_naive = 100 + below(900);
        text = STRING((int)*ret_naive);
        value.u.str = qd_str_new(text, strlen(text));
        break;
    case QD_VALUE_QUBE:
        place = below(now.count);
        if (place > 0) {
            value.u.object = qd_object_ref(object_of(&now.objects[place]));
            *ret_naive = 1000 + now.objects[place].id;
            break;
        }
        /* fall through */
    default:
        value.type = QD_VALUE_NONE;
        *ret_naive = 0;
    }
    return value;
}

static void set(struct qd_journal *journal)
{
    struct naive_object *naive = &now.objects[below(now.count)];
    int number = below(KINDS), attribute = below(NAMES), place = find(naive, number, attribute);
    const char *kind = KIND(number), *name = ATTRIBUTE(attribute);
    int64_t as_number;
    struct qd_value value = random_value(&as_number);

    CHECK(qd_model_set(model, journal, object_of(naive), kind, strlen(kind), name, strlen(name), &value) ==
          0);
    qd_value_unref(model, &value);
    naive->attributes[place] = (struct naive_attribute){number, attribute, as_number};
    if (place == naive->attribute_count)
        naive->attribute_count++;
}

static void unset(struct qd_journal *journal)
{
    struct naive_object *naive = &now.objects[below(now.count)];
    int number = below(KINDS), attribute = below(NAMES), place = find(naive, number, attribute);
    const char *kind = KIND(number), *name = ATTRIBUTE(attribute);
    int r = qd_model_unset(model, journal, object_of(naive), kind, strlen(kind), name, strlen(name));

    CHECK(r == (place == naive->attribute_count ? -ENOENT : 0));
    if (r < 0)
        return;
    naive->attribute_count--;
    memmove(&naive->attributes[place], &naive->attributes[place + 1],
            (size_t)(naive->attribute_count - place) * sizeof(naive->attributes[0]));
}

/* ---- calls and commits ---- */

static void one_call(void)
{
    static void (*const operations[])(struct qd_journal *) = {add, add, delete, set, set, set, unset, unset};
    struct qd_journal *journal = &pending[pending_count].journal;
    uint64_t version = qd_model_version(model);

    pending[pending_count].before = now;
    for (int i = below(12); i >= 0; i--)
        operations[below((int)(sizeof(operations) / sizeof(operations[0])))](journal);
    CHECK((qd_model_version(model) > version) == (journal->count > 0));
    if (below(4) > 0 && pending_count < PENDING) {
        pending_count++;
        return;
    }
    qd_journal_undo(model, journal);
    now = pending[pending_count].before;
}

static void oldest_is_on_disk(void)
{
    if (pending_count == 0)
        return;
    qd_journal_free(model, &pending[0].journal);
    memmove(&pending[0], &pending[1],
            (size_t)pending_count *
                sizeof(pending[0])); /* the one behind the last is empty, but may have space */
    pending[pending_count--].journal = (struct qd_journal){0};
}

static void all_fail(void)
{
    if (pending_count == 0)
        return;
    while (pending_count > 0)
        qd_journal_undo(model, &pending[--pending_count].journal);
    now = pending[0].before;
}

static void test_random_calls(void **state)
{
    const char *chosen = getenv("QD_SEED");

    (void)state;
    seed = chosen ? (unsigned)strtoul(chosen, NULL, 10) : 1;
    srand(seed);
    model = qd_model_new();
    assert_non_null(model);
    now.count = 1;
    for (int i = 0; i < ROUNDS; i++) {
        int what = below(10);

        if (what < 6)
            one_call();
        else if (what < 9)
            oldest_is_on_disk();
        else
            all_fail();
        compare();
    }
    all_fail();
    compare();
    for (int i = 0; i <= PENDING; i++)
        qd_journal_free(model, &pending[i].journal);
    qd_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_calls)};

    return cmocka_run_group_tests_name("model, random calls", tests, NULL, NULL);
}
