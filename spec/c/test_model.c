/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The model: each operation and its undo, one by one; random calls against a naive model are in
 * test_model_random.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "qd/model.h"

static struct qd_model *model;
static struct qd_journal journal;

static int set_up(void **state)
{
    (void)state;
    model = qd_model_new();
    return model ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    qd_journal_free(model, &journal);
    qd_model_free(model);
    return 0;
}

static struct qd_object *add(struct qd_journal *to, int64_t qid, const char *name)
{
    struct qd_object *qube = NULL;
    char uuid[QD_UUID_SIZE];

    snprintf(uuid, sizeof(uuid), "00000000-0000-4000-8000-%012d", (int)qid);
    assert_int_equal(qd_model_add_qube(model, to, 0, qid, uuid, name, "AppVM", &qube), 0);
    assert_non_null(qube);
    return qube;
}

static struct qd_value integer(int64_t number)
{
    return (struct qd_value){.type = QD_VALUE_INT, .u.integer = number};
}

static struct qd_value reference(struct qd_object *qube)
{
    return (struct qd_value){.type = QD_VALUE_QUBE, .u.object = qube};
}

static int set(struct qd_journal *to, struct qd_object *object, const char *name, struct qd_value value)
{
    return qd_model_set(model, to, object, "property", 8, name, strlen(name), &value);
}

static int unset(struct qd_journal *to, struct qd_object *object, const char *name)
{
    return qd_model_unset(model, to, object, "property", 8, name, strlen(name));
}

static const struct qd_value *get(struct qd_object *object, const char *name)
{
    return qd_object_get(model, object, "property", 8, name, strlen(name));
}

/* The names in their order, and their numbers: "a=1 b=2 ". */
static const char *shown(const struct qd_object *object)
{
    static char text[512];
    int used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < object->attribute_count; i++)
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s=%d ", object->attributes[i].name->data,
                         (int)object->attributes[i].value.u.integer);
    return text;
}

static void test_lookups(void **state)
{
    struct qd_object *two = add(NULL, 2, "two"), *one = add(NULL, 5, "one"), *found;

    (void)state;
    assert_ptr_equal(qd_model_qube_by_name(model, "two", 3), two);
    assert_null(qd_model_qube_by_name(model, "two", 2));
    assert_null(qd_model_qube_by_name(model, "two\0", 4));
    assert_ptr_equal(qd_model_qube_by_uuid(model, one->uuid), one);
    assert_null(qd_model_qube_by_uuid(model, "00000000-0000-4000-8000-000000000009"));
    assert_ptr_equal(qd_model_qube_by_qid(model, 2), two);
    assert_ptr_equal(qd_model_object_by_id(model, one->id), one);
    assert_ptr_equal(qd_model_object_by_id(model, QD_APP_ID), qd_model_app(model));
    assert_ptr_equal(qd_model_qubes(model)[0], one);
    assert_ptr_equal(qd_model_qubes(model)[1], two);
    assert_int_equal(qd_model_free_qid(model), 1);
    add(NULL, 1, "three");
    assert_int_equal(qd_model_free_qid(model), 3);
    found = one;
    assert_int_equal(qd_model_add_qube(model, NULL, 0, 9, "u-9", "one", "AppVM", &found), -EEXIST);
    assert_int_equal(qd_model_add_qube(model, NULL, 0, 5, "u-9", "nine", "AppVM", &found), -EEXIST);
    assert_int_equal(qd_model_add_qube(model, NULL, 0, 9, two->uuid, "nine", "AppVM", &found), -EEXIST);
    assert_int_equal(qd_model_add_qube(model, NULL, two->id, 9, "u-9", "nine", "AppVM", &found), -EEXIST);
    assert_ptr_equal(found, one);
    assert_int_equal(qd_model_qube_count(model), 3);
}

static void test_ids_are_not_used_again(void **state)
{
    int64_t first, second;

    (void)state;
    first = add(&journal, 1, "one")->id;
    qd_journal_undo(model, &journal);
    assert_int_equal(qd_model_qube_count(model), 0);
    second = add(&journal, 1, "one")->id;
    assert_true(second > first);
    assert_int_equal(qd_model_delete_qube(model, NULL, qd_model_qube_by_qid(model, 1)), 0);
    qd_journal_clear(model, &journal);
    qd_model_reserve_ids(model, 1000);
    qd_model_reserve_ids(model, 10);
    assert_int_equal(add(NULL, 1, "one")->id, 1000);
    assert_int_equal(add(NULL, 2, "two")->id, 1001);
}

static void test_undo_of_each(void **state)
{
    struct qd_object *qube = add(NULL, 1, "one"), *app = qd_model_app(model);

    (void)state;
    set(NULL, app, "a", integer(1));
    set(NULL, app, "b", integer(2));
    set(NULL, app, "c", integer(3));

    set(&journal, app, "d", integer(4)); /* a new one */
    assert_string_equal(shown(app), "a=1 b=2 c=3 d=4 ");
    qd_journal_undo(model, &journal);
    assert_string_equal(shown(app), "a=1 b=2 c=3 ");

    set(&journal, app, "a", integer(7)); /* another value */
    assert_string_equal(shown(app), "a=7 b=2 c=3 ");
    qd_journal_undo(model, &journal);
    assert_string_equal(shown(app), "a=1 b=2 c=3 ");

    assert_int_equal(unset(&journal, app, "b"), 0); /* none: back at its place */
    assert_string_equal(shown(app), "a=1 c=3 ");
    qd_journal_undo(model, &journal);
    assert_string_equal(shown(app), "a=1 b=2 c=3 ");

    unset(&journal, app, "a");
    set(&journal, app, "e", integer(5));
    set(&journal, app, "a", integer(9)); /* at the end now */
    unset(&journal, app, "c");
    set(&journal, app, "b", integer(8));
    unset(&journal, app, "e");
    assert_string_equal(shown(app), "b=8 a=9 ");
    assert_int_equal(journal.count, 6);
    qd_journal_undo(model, &journal);
    assert_int_equal(journal.count, 0);
    assert_string_equal(shown(app), "a=1 b=2 c=3 ");
    assert_int_equal(unset(&journal, app, "z"), -ENOENT);
    assert_int_equal(journal.count, 0);

    assert_int_equal(qd_model_delete_qube(model, &journal, qube), 0); /* a qube, back with what it had */
    assert_true(qube->removed);
    assert_null(qd_model_qube_by_name(model, "one", 3));
    assert_int_equal(qd_model_delete_qube(model, &journal, qube), -ENOENT);
    qd_journal_undo(model, &journal);
    assert_false(qube->removed);
    assert_ptr_equal(qd_model_qube_by_name(model, "one", 3), qube);
    assert_int_equal(qd_model_delete_qube(model, &journal, app), -ENOENT);
}

/* The whole life of a qube in one journal, and the same name again. */
static void test_undo_of_a_life(void **state)
{
    struct qd_object *old = add(NULL, 1, "one"), *new;

    (void)state;
    set(NULL, old, "a", integer(1));
    assert_int_equal(qd_model_delete_qube(model, &journal, old), 0);
    new = add(&journal, 1, "one");
    set(&journal, new, "a", integer(2));
    set(&journal, new, "self", reference(new));
    set(&journal, qd_model_app(model), "default", reference(new));
    assert_int_equal(qd_model_delete_qube(model, &journal, new), 0);
    add(&journal, 1, "one");
    qd_journal_undo(model, &journal);
    assert_ptr_equal(qd_model_qube_by_name(model, "one", 3), old);
    assert_int_equal(qd_model_qube_count(model), 1);
    assert_string_equal(shown(old), "a=1 ");
    assert_null(get(qd_model_app(model), "default"));
}

static void test_version(void **state)
{
    struct qd_object *app = qd_model_app(model), *qube;
    uint64_t version = qd_model_version(model);

    (void)state;
#define GREW (qd_model_version(model) > version ? (version = qd_model_version(model), true) : false)
    qube = add(&journal, 1, "one");
    assert_true(GREW);
    set(&journal, app, "a", integer(1));
    assert_true(GREW);
    assert_true(qd_model_set_power(model, qube, QD_POWER_RUNNING, 3));
    assert_true(GREW);
    assert_false(qd_model_set_power(model, qube, QD_POWER_RUNNING, 4)); /* another domain */
    assert_true(GREW);
    assert_false(qd_model_set_power(model, qube, QD_POWER_RUNNING, 4));
    assert_false(GREW);
    unset(&journal, app, "a");
    assert_true(GREW);
    assert_int_equal(unset(&journal, app, "a"), -ENOENT);
    assert_false(GREW);
    qd_journal_undo(model, &journal);
    assert_true(GREW);
    qube = add(NULL, 1, "one");
    assert_true(GREW);
    qd_model_delete_qube(model, NULL, qube);
    assert_true(GREW);
#undef GREW
}

/* A removed qube reads as one while somebody refers to it, and is freed with the last reference, also when it
 * refers to itself. */
static void test_removed_qubes(void **state)
{
    struct qd_object *one = add(NULL, 1, "one"), *two = add(NULL, 2, "two"), *app = qd_model_app(model);

    (void)state;
    qd_object_ref(one);
    qd_object_ref(two);
    set(NULL, one, "self", reference(one));
    set(NULL, one, "other", reference(two));
    set(NULL, two, "other", reference(one));
    set(NULL, app, "default", reference(one));
    assert_int_equal(qd_model_delete_qube(model, &journal, one), 0);
    assert_true(get(app, "default")->u.object->removed);
    assert_ptr_equal(get(two, "other")->u.object, one);
    qd_journal_clear(model, &journal);
    assert_int_equal(qd_model_delete_qube(model, &journal, two), 0);
    qd_journal_clear(model, &journal);
    assert_string_equal(one->name->data, "one");
    assert_int_equal(unset(NULL, app, "default"), 0);
    assert_int_equal(one->refs, 1);
    assert_int_equal(two->refs, 2); /* the first one's, and ours */
    qd_object_unref(model, one);
    assert_int_equal(two->refs, 1);
    qd_object_unref(model, two);
}

static void test_limits(void **state)
{
    struct qd_object *app = qd_model_app(model);
    struct qd_value value = integer(1);
    char name[16];

    (void)state;
    for (int i = 0; i < QD_ATTRIBUTES_MAX; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(set(NULL, app, name, value), 0);
    }
    assert_int_equal(set(&journal, app, "more", value), -ENOSPC);
    assert_int_equal(journal.count, 0);
    assert_null(qd_model_find_interned(model, "more", 4));
    assert_int_equal(set(&journal, app, "n0", value), 0); /* one that is there */
    assert_int_equal(unset(&journal, app, "n1"), 0);
    qd_journal_undo(model, &journal);
    assert_int_equal(app->attribute_count, QD_ATTRIBUTES_MAX);
}

static void test_strings(void **state)
{
    struct qd_str *one = qd_model_intern(model, "a\0b", 3), *two = qd_model_intern(model, "a\0b", 3),
                  *copy = qd_str_new("a\0b", 3);

    (void)state;
    assert_ptr_equal(one, two);
    assert_ptr_not_equal(one, copy);
    assert_null(qd_model_find_interned(model, "a", 1));
    qd_str_unref(model, two);
    assert_ptr_equal(qd_model_find_interned(model, "a\0b", 3), one);
    qd_str_unref(model, one);
    assert_null(qd_model_find_interned(model, "a\0b", 3));
    assert_memory_equal(copy->data, "a\0b", 4);
    qd_str_unref(model, copy);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_lookups),      TEST(test_ids_are_not_used_again),
        TEST(test_undo_of_each), TEST(test_undo_of_a_life),
        TEST(test_version),      TEST(test_removed_qubes),
        TEST(test_limits),       TEST(test_strings),
    };

    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
