/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tables and types that scripts have of the core (docs/scripting.md). Functions named …_push… and
 * …_check… may raise a Lua error; the others not.
 */
#ifndef QD_BIND_CORE_H
#define QD_BIND_CORE_H

#include "qd/daemon.h"

struct qd_call;
struct qd_question;

/* `none`, as a light userdata. */
#define QD_NONE_POINTER NULL

/* The global tables `core` and `none` of scripts; calls the …_open functions below. May raise. */
void qd_bind_core_open(lua_State *L);
void qd_bind_model_open(lua_State *L);      /* bind_model.c: into the table on the top */
int qd_bind_format(lua_State *L);           /* bind_format.c: core.format */
void qd_bind_wait_open(lua_State *L);       /* bind_wait.c */
void qd_bind_object_open(lua_State *L);     /* bind_object.c */
void qd_bind_view_open(lua_State *L);       /* bind_view.c */
void qd_bind_xml_open(lua_State *L);        /* bind_xml.c */
void qd_bind_run_open(lua_State *L);        /* bind_run.c */
void qd_bind_file_open(lua_State *L);       /* bind_file.c */
void qd_bind_qubesdb_open(lua_State *L);    /* bind_qubesdb.c */
void qd_bind_generation_open(lua_State *L); /* bind_generation.c */
void qd_bind_caller_open(lua_State *L);     /* bind_caller.c */
void qd_bind_untrusted_open(lua_State *L);  /* bind_untrusted.c */
void qd_bind_call_open(lua_State *L);       /* bind_call.c: metatables */

/* The daemon, or a Lua error while the generation loads. */
struct qd_daemon *qd_check_daemon(lua_State *L);
/* The running call, which may change the model now (law 3), or a Lua error that says why not. */
struct qd_call *qd_check_writer(lua_State *L);

/* bind_object.c: references to the app and to qubes, userdata that keep them alive. */
struct qd_reference {
    struct qd_object *object; /* NULL when Lua has collected the reference */
};
void qd_push_object(lua_State *L, struct qd_object *object); /* nil for NULL */
struct qd_object *qd_to_object(lua_State *L, int index);     /* NULL when it is none */
struct qd_object *qd_check_object(lua_State *L, int index);
struct qd_object *qd_check_qube(lua_State *L, int index); /* one that is still in the model */

/* bind_model.c: the value as scripts have it; a qube that was removed is nil. */
void qd_push_value(lua_State *L, const struct qd_value *value);

/* bind_call.c: tells of the refusal and raises it. The caller is told the reason that a rule chose to give,
 * and nothing of a rule that failed. */
int qd_refuse_call(lua_State *L, struct qd_call *call, const struct qd_question *question, uint64_t asked_ns);

/* Exceptions of the Admin API. */
int qd_raise(lua_State *L, const char *class_name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Whether the value is an exception; its parts are then pushed: class, message. */
bool qd_exception_push_parts(lua_State *L, int index);

/* bind_untrusted.c: a payload as an opaque value (law 2), valid until the call ends. */
struct qd_untrusted {
    const char *data;
    size_t size;
    struct qd_call *call; /* NULL when it has ended */
    uint64_t serial;      /* instead of `call`: whose it is, when the bytes are in the userdata itself */
};
/* A copy of bytes that came from elsewhere than the payload, for the call of this serial number. */
void qd_push_untrusted_bytes(lua_State *L, uint64_t serial, const void *data, size_t size);
struct qd_untrusted *qd_push_untrusted(lua_State *L, struct qd_call *call);
bool qd_is_untrusted(lua_State *L, int index);

/* bind_core.c: fields of the table on the top. No text (NULL): no field. May raise. */
void qd_set_text(lua_State *L, const char *name, const char *text);
void qd_set_integer(lua_State *L, const char *name, int64_t value);

/* bind_core.c: answers kept for a version of the model. Pushes the one of this key and version, or nothing
 * and returns false; keeps the string on the top. */
bool qd_cached_push(lua_State *L, const char *key, uint64_t version);
void qd_cached_keep(lua_State *L, const char *key, uint64_t version);

/* bind_call.c */
struct qd_call_handle {
    struct qd_call *call; /* NULL when it has ended */
};
void qd_push_call(lua_State *L, struct qd_call *call);

#endif
