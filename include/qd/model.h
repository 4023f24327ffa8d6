/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The model: the app object and the qubes, as they are now. It knows nothing of Lua, libvirt or files.
 *
 * Words: an *object* is the app or a qube. An *attribute* of an object is a value under a kind ("property",
 * "feature", "tag", "label", …) and a name; only what was set explicitly is there, defaults are the scripts'
 * business. A *journal* records the changes of one call: it is what the store gets, and what takes the
 * changes back when the call or its commit fails (laws 3 and 6).
 *
 * Everything here belongs to the loop's thread. Nothing raises a Lua error. Strings are counted and
 * immutable.
 */
#ifndef QD_MODEL_H
#define QD_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QD_UUID_SIZE 37        /* text form, with its NUL */
#define QD_APP_ID 0            /* the app's object id; qubes count from 1 and never use one again */
#define QD_ATTRIBUTES_MAX 8192 /* of one object, all kinds together */
#define QD_QUBES_MAX 65536

struct qd_str {
    unsigned refs;
    bool interned;
    uint32_t hash;
    size_t size;
    struct qd_str *next; /* in its bucket */
    char data[];         /* NUL-terminated */
};

enum qd_value_type { QD_VALUE_NONE, QD_VALUE_BOOL, QD_VALUE_INT, QD_VALUE_STR, QD_VALUE_QUBE };

/* QD_VALUE_NONE is an explicit "nothing" (a netvm set to none), not the absence of an attribute. */
struct qd_value {
    enum qd_value_type type;
    union {
        bool boolean;
        int64_t integer;
        struct qd_str *str;       /* QD_VALUE_STR */
        struct qd_object *object; /* QD_VALUE_QUBE; may be a removed one, see qd_object.removed */
    } u;
};

/* Source: the states of admin.vm.CurrentState. */
enum qd_power {
    QD_POWER_HALTED,
    QD_POWER_TRANSIENT,
    QD_POWER_RUNNING,
    QD_POWER_PAUSED,
    QD_POWER_SUSPENDED,
    QD_POWER_HALTING,
    QD_POWER_DYING,
    QD_POWER_CRASHED,
    QD_POWER_NA,
    QD_POWER_COUNT
};

struct qd_attribute {
    struct qd_str *kind; /* interned */
    struct qd_str *name; /* interned */
    struct qd_value value;
};

struct qd_object {
    unsigned refs;
    bool removed; /* a qube that is in the model no more, but still referred to */
    int64_t id;
    int64_t qid; /* -1 for the app */
    char uuid[QD_UUID_SIZE];
    struct qd_str *name;       /* NULL for the app */
    struct qd_str *class_name; /* NULL for the app */
    enum qd_power power;
    int64_t domain_id; /* libvirt's ID while running, else -1 */
    struct qd_attribute *attributes;
    size_t attribute_count;
    size_t attribute_space;
};

struct qd_change {
    enum { QD_CHANGE_ADD, QD_CHANGE_DELETE, QD_CHANGE_SET } op;
    struct qd_object *object;
    struct qd_str *kind;
    struct qd_str *name;
    bool had_old, has_new;
    struct qd_value old_value, new_value;
    size_t position; /* of the attribute among its object's, when had_old */
};

struct qd_journal {
    struct qd_change *changes;
    size_t count;
    size_t space;
};

struct qd_model;

struct qd_model *qd_model_new(void); /* NULL: no memory */
void qd_model_free(struct qd_model *model);

/* A number that grows with every change of any attribute, qube or power state: what is cached under it is
 * still true. */
uint64_t qd_model_version(const struct qd_model *model);
/* A number that grows with every change that is taken back, and whenever scripts say that subscribers have
 * been told of a change: what is remembered from before is no longer good enough to judge events by. */
uint64_t qd_model_epoch(const struct qd_model *model);
void qd_model_next_epoch(struct qd_model *model);

/* No new object gets an id below `next`: what the store says, which remembers also the ids of removed ones.
 */
void qd_model_reserve_ids(struct qd_model *model, int64_t next);

/* Strings. _intern and _str_new return a reference of the caller's, or NULL without memory; _find_interned
 * borrows, NULL when there is none. */
struct qd_str *qd_model_intern(struct qd_model *model, const char *data, size_t size);
struct qd_str *qd_model_find_interned(const struct qd_model *model, const char *data, size_t size);
struct qd_str *qd_str_new(const char *data, size_t size);
struct qd_str *qd_str_ref(struct qd_str *str);
void qd_str_unref(struct qd_model *model, struct qd_str *str);

void qd_value_ref(const struct qd_value *value);
void qd_value_unref(struct qd_model *model, struct qd_value *value);

/* Objects. All borrow. */
struct qd_object *qd_model_app(const struct qd_model *model);
struct qd_object *qd_model_qube_by_name(const struct qd_model *model, const char *name, size_t size);
struct qd_object *qd_model_qube_by_uuid(const struct qd_model *model, const char *uuid);
struct qd_object *qd_model_qube_by_qid(const struct qd_model *model, int64_t qid);
struct qd_object *qd_model_object_by_id(const struct qd_model *model, int64_t id);
size_t qd_model_qube_count(const struct qd_model *model);
/* The qubes, sorted by name (byte order). The array is the model's and changes with the next add or delete.
 */
struct qd_object *const *qd_model_qubes(const struct qd_model *model);
/* The lowest qid from 1 that no qube has. */
int64_t qd_model_free_qid(const struct qd_model *model);

struct qd_object *qd_object_ref(struct qd_object *object);
void qd_object_unref(struct qd_model *model, struct qd_object *object);

/* Adds a qube. `id` 0: a new one is taken. -EEXIST: the name, uuid or qid is taken; -ENOSPC: QD_QUBES_MAX;
 * -ENOMEM. Borrows to `ret_qube`. */
int qd_model_add_qube(struct qd_model *model, struct qd_journal *journal, int64_t id, int64_t qid,
                      const char *uuid, const char *name, const char *class_name,
                      struct qd_object **ret_qube);
/* Takes a qube out of the model. Attributes that refer to it stay, and read as QD_VALUE_QUBE with `removed`
 * set; but when the removal is for good (the journal is cleared, or there is none), those of removed qubes
 * become QD_VALUE_NONE. */
int qd_model_delete_qube(struct qd_model *model, struct qd_journal *journal, struct qd_object *qube);

/* NULL when it is not set explicitly. Borrows, until the object's next change. */
const struct qd_value *qd_object_get(const struct qd_model *model, const struct qd_object *object,
                                     const char *kind, size_t kind_size, const char *name, size_t name_size);
/* Sets; takes its own references. `journal` may be NULL where nothing is to be taken back or stored
 * (loading). -ENOSPC: QD_ATTRIBUTES_MAX. */
int qd_model_set(struct qd_model *model, struct qd_journal *journal, struct qd_object *object,
                 const char *kind, size_t kind_size, const char *name, size_t name_size,
                 const struct qd_value *value);
/* -ENOENT: it was not set. */
int qd_model_unset(struct qd_model *model, struct qd_journal *journal, struct qd_object *object,
                   const char *kind, size_t kind_size, const char *name, size_t name_size);
/* Power state: what libvirt says, so neither journal nor store. True when it changed. */
bool qd_model_set_power(struct qd_model *model, struct qd_object *qube, enum qd_power power,
                        int64_t domain_id);

const char *qd_power_name(enum qd_power power);

/* Journals. */
void qd_journal_undo_to(struct qd_model *model, struct qd_journal *journal,
                        size_t count); /* the same for what came after the first `count` changes */
void qd_journal_undo(struct qd_model *model,
                     struct qd_journal *journal); /* takes all back, newest first, and clears */
void qd_journal_clear(struct qd_model *model, struct qd_journal *journal); /* forgets, keeps the space */
void qd_journal_free(struct qd_model *model,
                     struct qd_journal *journal); /* clears, frees the space, not the struct */

#endif
