/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384

enum index_order { BY_NAME, BY_UUID, BY_QID, BY_ID, INDEX_COUNT };

struct qd_model {
    struct qd_str *buckets[BUCKETS];
    struct qd_object *app;
    struct qd_object **index[INDEX_COUNT]; /* each sorted, all of the same length */
    size_t qube_count;
    size_t qube_space;
    int64_t next_id;
    uint64_t version;
    uint64_t epoch;
};

/* What a binary search looks for. */
struct key {
    const char *text;
    size_t size;
    int64_t number;
};

static uint32_t hash_bytes(const char *data, size_t size)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)data[i]) * 16777619u;
    return hash;
}

struct qd_str *qd_str_new(const char *data, size_t size)
{
    struct qd_str *str = malloc(sizeof(*str) + size + 1);

    if (!str)
        return NULL;
    *str = (struct qd_str){.refs = 1, .size = size};
    memcpy(str->data, data, size);
    str->data[size] = '\0';
    return str;
}

static struct qd_str *find_hashed(const struct qd_model *model, const char *data, size_t size, uint32_t hash)
{
    for (struct qd_str *str = model->buckets[hash % BUCKETS]; str; str = str->next) {
        if (str->hash == hash && str->size == size && memcmp(str->data, data, size) == 0)
            return str;
    }
    return NULL;
}

struct qd_str *qd_model_find_interned(const struct qd_model *model, const char *data, size_t size)
{
    return find_hashed(model, data, size, hash_bytes(data, size));
}

struct qd_str *qd_model_intern(struct qd_model *model, const char *data, size_t size)
{
    uint32_t hash = hash_bytes(data, size);
    struct qd_str *str = find_hashed(model, data, size, hash);

    if (str)
        return qd_str_ref(str);
    str = qd_str_new(data, size);
    if (!str)
        return NULL;
    str->interned = true;
    str->hash = hash;
    str->next = model->buckets[hash % BUCKETS];
    model->buckets[hash % BUCKETS] = str;
    return str;
}

struct qd_str *qd_str_ref(struct qd_str *str)
{
    str->refs++;
    return str;
}

void qd_str_unref(struct qd_model *model, struct qd_str *str)
{
    if (!str || --str->refs > 0)
        return;
    if (str->interned) {
        struct qd_str **link = &model->buckets[str->hash % BUCKETS];

        while (*link != str)
            link = &(*link)->next;
        *link = str->next;
    }
    free(str);
}

void qd_value_ref(const struct qd_value *value)
{
    if (value->type == QD_VALUE_STR)
        qd_str_ref(value->u.str);
    else if (value->type == QD_VALUE_QUBE)
        qd_object_ref(value->u.object);
}

void qd_value_unref(struct qd_model *model, struct qd_value *value)
{
    if (value->type == QD_VALUE_STR)
        qd_str_unref(model, value->u.str);
    else if (value->type == QD_VALUE_QUBE)
        qd_object_unref(model, value->u.object);
    *value = (struct qd_value){.type = QD_VALUE_NONE};
}

struct qd_object *qd_object_ref(struct qd_object *object)
{
    object->refs++;
    return object;
}

static void drop_attributes(struct qd_model *model, struct qd_object *object)
{
    struct qd_attribute *attributes = object->attributes;
    size_t count = object->attribute_count;

    /* Detached first: dropping a value may drop the last reference to another object. */
    object->attributes = NULL;
    object->attribute_count = object->attribute_space = 0;
    for (size_t i = 0; i < count; i++) {
        qd_str_unref(model, attributes[i].kind);
        qd_str_unref(model, attributes[i].name);
        qd_value_unref(model, &attributes[i].value);
    }
    free(attributes);
}

void qd_object_unref(struct qd_model *model, struct qd_object *object)
{
    if (!object || --object->refs > 0)
        return;
    drop_attributes(model, object);
    qd_str_unref(model, object->name);
    qd_str_unref(model, object->class_name);
    free(object);
}

static struct qd_object *object_new(void)
{
    struct qd_object *object = calloc(1, sizeof(*object));

    if (object) {
        object->refs = 1;
        object->qid = -1;
        object->domain_id = -1;
    }
    return object;
}

struct qd_model *qd_model_new(void)
{
    struct qd_model *model = calloc(1, sizeof(*model));

    if (!model)
        return NULL;
    model->app = object_new();
    if (!model->app) {
        free(model);
        return NULL;
    }
    model->next_id = QD_APP_ID + 1;
    return model;
}

void qd_model_free(struct qd_model *model)
{
    if (!model)
        return;
    /* Attributes first, since qubes refer to each other in circles. */
    for (size_t i = 0; i < model->qube_count; i++)
        drop_attributes(model, model->index[BY_NAME][i]);
    drop_attributes(model, model->app);
    for (size_t i = 0; i < model->qube_count; i++)
        qd_object_unref(model, model->index[BY_NAME][i]);
    qd_object_unref(model, model->app);
    for (int order = 0; order < INDEX_COUNT; order++)
        free(model->index[order]);
    free(model);
}

uint64_t qd_model_version(const struct qd_model *model)
{
    return model->version;
}

uint64_t qd_model_epoch(const struct qd_model *model)
{
    return model->epoch;
}

void qd_model_next_epoch(struct qd_model *model)
{
    model->epoch++;
}

void qd_model_reserve_ids(struct qd_model *model, int64_t next)
{
    if (next > model->next_id)
        model->next_id = next;
}

struct qd_object *qd_model_app(const struct qd_model *model)
{
    return model->app;
}

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_key(enum index_order order, const struct key *key, const struct qd_object *object)
{
    size_t shorter;
    int result;

    switch (order) {
    case BY_NAME:
        shorter = key->size < object->name->size ? key->size : object->name->size;
        result = memcmp(key->text, object->name->data, shorter);
        return result ? result : compare_numbers((int64_t)key->size, (int64_t)object->name->size);
    case BY_UUID:
        return strcmp(key->text, object->uuid);
    case BY_QID:
        return compare_numbers(key->number, object->qid);
    default:
        return compare_numbers(key->number, object->id);
    }
}

/* The place of the key, or the place where it would be. */
static bool locate(const struct qd_model *model, enum index_order order, const struct key *key,
                   size_t *ret_place)
{
    size_t low = 0, high = model->qube_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int result = compare_key(order, key, model->index[order][middle]);

        if (result == 0) {
            *ret_place = middle;
            return true;
        }
        if (result < 0)
            high = middle;
        else
            low = middle + 1;
    }
    *ret_place = low;
    return false;
}

static struct qd_object *find(const struct qd_model *model, enum index_order order, const struct key *key)
{
    size_t place;

    return locate(model, order, key, &place) ? model->index[order][place] : NULL;
}

struct qd_object *qd_model_qube_by_name(const struct qd_model *model, const char *name, size_t size)
{
    return find(model, BY_NAME, &(struct key){.text = name, .size = size});
}

struct qd_object *qd_model_qube_by_uuid(const struct qd_model *model, const char *uuid)
{
    return find(model, BY_UUID, &(struct key){.text = uuid});
}

struct qd_object *qd_model_qube_by_qid(const struct qd_model *model, int64_t qid)
{
    return find(model, BY_QID, &(struct key){.number = qid});
}

struct qd_object *qd_model_object_by_id(const struct qd_model *model, int64_t id)
{
    return id == QD_APP_ID ? model->app : find(model, BY_ID, &(struct key){.number = id});
}

size_t qd_model_qube_count(const struct qd_model *model)
{
    return model->qube_count;
}

struct qd_object *const *qd_model_qubes(const struct qd_model *model)
{
    return model->index[BY_NAME];
}

int64_t qd_model_free_qid(const struct qd_model *model)
{
    int64_t qid = 1;

    for (size_t i = 0; i < model->qube_count; i++) {
        int64_t taken = model->index[BY_QID][i]->qid;

        if (taken > qid)
            break;
        if (taken == qid)
            qid++;
    }
    return qid;
}

static struct key key_of(enum index_order order, const struct qd_object *object)
{
    switch (order) {
    case BY_NAME:
        return (struct key){.text = object->name->data, .size = object->name->size};
    case BY_UUID:
        return (struct key){.text = object->uuid};
    case BY_QID:
        return (struct key){.number = object->qid};
    default:
        return (struct key){.number = object->id};
    }
}

static int grow_indexes(struct qd_model *model)
{
    size_t space = model->qube_space ? model->qube_space * 2 : 64;

    if (model->qube_count < model->qube_space)
        return 0;
    for (int order = 0; order < INDEX_COUNT; order++) {
        struct qd_object **grown = realloc(model->index[order], space * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        model->index[order] = grown;
    }
    model->qube_space = space;
    return 0;
}

/* The caller's reference becomes the index's. The keys must be free and there must be space. */
static void index_insert(struct qd_model *model, struct qd_object *qube)
{
    for (int order = 0; order < INDEX_COUNT; order++) {
        struct key key = key_of(order, qube);
        size_t place;

        locate(model, order, &key, &place);
        memmove(&model->index[order][place + 1], &model->index[order][place],
                (model->qube_count - place) * sizeof(qube));
        model->index[order][place] = qube;
    }
    model->qube_count++;
    qube->removed = false;
    model->version++;
}

static void index_remove(struct qd_model *model, struct qd_object *qube)
{
    for (int order = 0; order < INDEX_COUNT; order++) {
        struct key key = key_of(order, qube);
        size_t place;

        locate(model, order, &key, &place);
        memmove(&model->index[order][place], &model->index[order][place + 1],
                (model->qube_count - place - 1) * sizeof(qube));
    }
    model->qube_count--;
    qube->removed = true;
    model->version++;
}

static struct qd_change *journal_reserve(struct qd_journal *journal)
{
    if (journal->count == journal->space) {
        size_t space = journal->space ? journal->space * 2 : 8;
        struct qd_change *grown = realloc(journal->changes, space * sizeof(*grown));

        if (!grown)
            return NULL;
        journal->changes = grown;
        journal->space = space;
    }
    return &journal->changes[journal->count];
}

static void journal_object(struct qd_journal *journal, int op, struct qd_object *object)
{
    struct qd_change *change = &journal->changes[journal->count++];

    *change = (struct qd_change){.op = op, .object = qd_object_ref(object)};
}

int qd_model_add_qube(struct qd_model *model, struct qd_journal *journal, int64_t id, int64_t qid,
                      const char *uuid, const char *name, const char *class_name, struct qd_object **ret_qube)
{
    struct qd_object *qube;
    size_t place;

    if (model->qube_count >= QD_QUBES_MAX)
        return -ENOSPC;
    if (grow_indexes(model) < 0 || (journal && !journal_reserve(journal)))
        return -ENOMEM;
    qube = object_new();
    if (!qube)
        return -ENOMEM;
    qube->id = id ? id : model->next_id;
    qube->qid = qid;
    strncpy(qube->uuid, uuid, sizeof(qube->uuid) - 1);
    qube->name = qd_model_intern(model, name, strlen(name));
    qube->class_name = qd_model_intern(model, class_name, strlen(class_name));
    if (!qube->name || !qube->class_name) {
        qd_object_unref(model, qube);
        return -ENOMEM;
    }
    for (int order = 0; order < INDEX_COUNT; order++) {
        struct key key = key_of(order, qube);

        if (locate(model, order, &key, &place)) {
            qd_object_unref(model, qube);
            return -EEXIST;
        }
    }
    index_insert(model, qube);
    if (qube->id >= model->next_id)
        model->next_id = qube->id + 1;
    if (journal)
        journal_object(journal, QD_CHANGE_ADD, qube);
    *ret_qube = qube;
    return 0;
}

/* Of a qube that is removed for good: removed qubes that refer to each other, or to themselves, would never
 * be freed. */
static void forget_removed(struct qd_model *model, struct qd_object *qube)
{
    for (size_t i = 0; i < qube->attribute_count; i++) {
        struct qd_value *value = &qube->attributes[i].value, old_value = *value;

        if (value->type == QD_VALUE_QUBE && value->u.object->removed) {
            *value = (struct qd_value){.type = QD_VALUE_NONE};
            qd_value_unref(model, &old_value);
        }
    }
}

int qd_model_delete_qube(struct qd_model *model, struct qd_journal *journal, struct qd_object *qube)
{
    if (qube->removed || qube == model->app)
        return -ENOENT;
    if (journal && !journal_reserve(journal))
        return -ENOMEM;
    if (journal)
        journal_object(journal, QD_CHANGE_DELETE, qube);
    index_remove(model, qube);
    if (!journal)
        forget_removed(model, qube);
    qd_object_unref(model, qube);
    return 0;
}

static bool find_attribute(const struct qd_object *object, const struct qd_str *kind,
                           const struct qd_str *name, size_t *ret_place)
{
    for (size_t i = 0; i < object->attribute_count; i++) {
        if (object->attributes[i].name == name && object->attributes[i].kind == kind) {
            *ret_place = i;
            return true;
        }
    }
    return false;
}

const struct qd_value *qd_object_get(const struct qd_model *model, const struct qd_object *object,
                                     const char *kind, size_t kind_size, const char *name, size_t name_size)
{
    const struct qd_str *kind_str = qd_model_find_interned(model, kind, kind_size);
    const struct qd_str *name_str = qd_model_find_interned(model, name, name_size);
    size_t place;

    if (!kind_str || !name_str || !find_attribute(object, kind_str, name_str, &place))
        return NULL;
    return &object->attributes[place].value;
}

static int reserve_attribute(struct qd_object *object)
{
    size_t space = object->attribute_space ? object->attribute_space * 2 : 4;
    struct qd_attribute *grown;

    if (object->attribute_count < object->attribute_space)
        return 0;
    if (object->attribute_count >= QD_ATTRIBUTES_MAX)
        return -ENOSPC;
    grown = realloc(object->attributes, space * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    object->attributes = grown;
    object->attribute_space = space;
    return 0;
}

static void journal_set(struct qd_journal *journal, struct qd_object *object, struct qd_str *kind,
                        struct qd_str *name, const struct qd_value *old_value,
                        const struct qd_value *new_value, size_t position)
{
    struct qd_change *change = &journal->changes[journal->count++];

    *change = (struct qd_change){.op = QD_CHANGE_SET,
                                 .object = qd_object_ref(object),
                                 .kind = qd_str_ref(kind),
                                 .name = qd_str_ref(name),
                                 .had_old = old_value != NULL,
                                 .has_new = new_value != NULL,
                                 .position = position};
    if (old_value) {
        change->old_value = *old_value;
        qd_value_ref(old_value);
    }
    if (new_value) {
        change->new_value = *new_value;
        qd_value_ref(new_value);
    }
}

/* Puts an attribute at a place; takes over the caller's references. There must be space. */
static void attribute_insert(struct qd_object *object, size_t place, struct qd_attribute attribute)
{
    memmove(&object->attributes[place + 1], &object->attributes[place],
            (object->attribute_count - place) * sizeof(attribute));
    object->attributes[place] = attribute;
    object->attribute_count++;
}

static void attribute_remove(struct qd_model *model, struct qd_object *object, size_t place)
{
    struct qd_attribute attribute = object->attributes[place];

    object->attribute_count--;
    memmove(&object->attributes[place], &object->attributes[place + 1],
            (object->attribute_count - place) * sizeof(attribute));
    qd_str_unref(model, attribute.kind);
    qd_str_unref(model, attribute.name);
    qd_value_unref(model, &attribute.value);
}

int qd_model_set(struct qd_model *model, struct qd_journal *journal, struct qd_object *object,
                 const char *kind, size_t kind_size, const char *name, size_t name_size,
                 const struct qd_value *value)
{
    struct qd_str *kind_str = qd_model_intern(model, kind, kind_size);
    struct qd_str *name_str = qd_model_intern(model, name, name_size);
    struct qd_value old_value;
    size_t place;
    int r = -ENOMEM;

    if (!kind_str || !name_str || (journal && !journal_reserve(journal)))
        goto out;
    qd_value_ref(value);
    if (find_attribute(object, kind_str, name_str, &place)) {
        old_value = object->attributes[place].value;
        if (journal)
            journal_set(journal, object, kind_str, name_str, &old_value, value, place);
        object->attributes[place].value = *value;
        qd_value_unref(model, &old_value);
    } else {
        r = reserve_attribute(object);
        if (r < 0) {
            old_value = *value;
            qd_value_unref(model, &old_value);
            goto out;
        }
        place = object->attribute_count;
        if (journal)
            journal_set(journal, object, kind_str, name_str, NULL, value, place);
        attribute_insert(object, place,
                         (struct qd_attribute){
                             .kind = qd_str_ref(kind_str), .name = qd_str_ref(name_str), .value = *value});
    }
    model->version++;
    r = 0;
out:
    qd_str_unref(model, kind_str);
    qd_str_unref(model, name_str);
    return r;
}

int qd_model_unset(struct qd_model *model, struct qd_journal *journal, struct qd_object *object,
                   const char *kind, size_t kind_size, const char *name, size_t name_size)
{
    struct qd_str *kind_str = qd_model_find_interned(model, kind, kind_size);
    struct qd_str *name_str = qd_model_find_interned(model, name, name_size);
    size_t place;

    if (!kind_str || !name_str || !find_attribute(object, kind_str, name_str, &place))
        return -ENOENT;
    if (journal && !journal_reserve(journal))
        return -ENOMEM;
    if (journal)
        journal_set(journal, object, kind_str, name_str, &object->attributes[place].value, NULL, place);
    attribute_remove(model, object, place);
    model->version++;
    return 0;
}

bool qd_model_set_power(struct qd_model *model, struct qd_object *qube, enum qd_power power,
                        int64_t domain_id)
{
    bool changed = qube->power != power;

    if (changed || qube->domain_id != domain_id)
        model->version++;
    qube->power = power;
    qube->domain_id = domain_id;
    return changed;
}

const char *qd_power_name(enum qd_power power)
{
    static const char *const names[QD_POWER_COUNT] = {
        "Halted", "Transient", "Running", "Paused", "Suspended", "Halting", "Dying", "Crashed", "NA"};

    return power < QD_POWER_COUNT ? names[power] : "NA";
}

static void change_release(struct qd_model *model, struct qd_change *change)
{
    qd_str_unref(model, change->kind);
    qd_str_unref(model, change->name);
    if (change->had_old)
        qd_value_unref(model, &change->old_value);
    if (change->has_new)
        qd_value_unref(model, &change->new_value);
    qd_object_unref(model, change->object);
}

/* Takes a change of an attribute back. Needs no memory: what a removed attribute had is still reserved. */
static void undo_set(struct qd_model *model, struct qd_change *change)
{
    struct qd_object *object = change->object;
    size_t place;

    if (change->has_new && find_attribute(object, change->kind, change->name, &place)) {
        if (!change->had_old) {
            attribute_remove(model, object, place);
            return;
        }
        qd_value_unref(model, &object->attributes[place].value);
    } else {
        place = change->position;
        attribute_insert(
            object, place,
            (struct qd_attribute){.kind = qd_str_ref(change->kind), .name = qd_str_ref(change->name)});
    }
    object->attributes[place].value = change->old_value;
    qd_value_ref(&change->old_value);
}

void qd_journal_undo_to(struct qd_model *model, struct qd_journal *journal, size_t count)
{
    for (size_t i = journal->count; i-- > count;) {
        struct qd_change *change = &journal->changes[i];

        if (change->op == QD_CHANGE_ADD) {
            index_remove(model, change->object);
            qd_object_unref(model, change->object);
        } else if (change->op == QD_CHANGE_DELETE) {
            index_insert(model, qd_object_ref(change->object));
        } else {
            undo_set(model, change);
        }
        change_release(model, change);
        model->version++;
        model->epoch++;
    }
    journal->count = count;
}

void qd_journal_undo(struct qd_model *model, struct qd_journal *journal)
{
    qd_journal_undo_to(model, journal, 0);
}

void qd_journal_clear(struct qd_model *model, struct qd_journal *journal)
{
    for (size_t i = 0; i < journal->count; i++) {
        struct qd_change *change = &journal->changes[i];

        if (change->op == QD_CHANGE_DELETE)
            forget_removed(model, change->object);
        change_release(model, change);
    }
    journal->count = 0;
}

void qd_journal_free(struct qd_model *model, struct qd_journal *journal)
{
    qd_journal_clear(model, journal);
    free(journal->changes);
    *journal = (struct qd_journal){0};
}
