/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From a request to a call: the source, the destination, the method, and what its declaration demands (law
 * 9). The order of the checks is the reference's, since it decides which exception a caller gets.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/connection.h"
#include "qd/decision.h"
#include "qd/generation.h"
#include "qd/limit.h"
#include "qd/log.h"
#include "qd/permission.h"
#include "qd/validate.h"

#define SHOWN_MAX 80

void qd_answer_exception(struct qd_daemon *daemon, struct qd_connection *connection, const char *class_name,
                         const char *traceback, const char *message)
{
    const char *trace = daemon->config.debug && traceback ? traceback : "";
    size_t class_size = strlen(class_name) + 1, trace_size = strlen(trace) + 1,
           message_size = strlen(message) + 1, used = class_size + trace_size;
    char *body = malloc(used + 2 * message_size);

    if (!body) {
        qd_connection_abort(connection);
        return;
    }
    memcpy(body, class_name, class_size);
    memcpy(body + class_size, trace, trace_size);
    /* Clients take the message as a format string: a percent sign is written twice. Source: the Admin API's
     * format of exceptions. */
    for (const char *from = message; *from; from++) {
        if (*from == '%')
            body[used++] = '%';
        body[used++] = *from;
    }
    body[used++] = '\0';
    qd_connection_answer(connection, QD_FRAME_EXCEPTION, QD_FRAME_HEAD_SIZE, body, used);
    free(body);
}

/* What of the request may be shown in a message or in the log: printable, and not long. */
static void show(struct qd_slice slice, char ret_shown[static SHOWN_MAX])
{
    size_t used = 0;

    for (size_t i = 0; i < slice.size && used < SHOWN_MAX - 4; i++)
        ret_shown[used++] = isprint((unsigned char)slice.data[i]) ? slice.data[i] : '?';
    if (used < slice.size)
        ret_shown[used++] = '~';
    ret_shown[used] = '\0';
}

static void refuse(struct qd_refusal *refusal, const char *class_name, const char *text,
                   struct qd_slice about)
{
    char shown[SHOWN_MAX];

    show(about, shown);
    refusal->class_name = class_name;
    snprintf(refusal->message, sizeof(refusal->message), "%s: '%s'", text, shown);
}

/* A qube by name or `uuid:…`. Source: the reference's decoding of both ends of a call. */
static struct qd_object *find_qube(struct qd_daemon *daemon, struct qd_slice text, struct qd_refusal *refusal)
{
    struct qd_object *found;
    const char *reason = "";

    if (text.size >= 5 && memcmp(text.data, "uuid:", 5) == 0) {
        char uuid[QD_UUID_SIZE];

        if (text.size != 5 + QD_UUID_SIZE - 1 ||
            qd_validate_uuid((const unsigned char *)text.data + 5, text.size - 5, &reason) < 0) {
            refuse(refusal, "QubesVMInvalidUUIDError", "not a uuid",
                   (struct qd_slice){text.data + 5, text.size - 5});
            return NULL;
        }
        memcpy(uuid, text.data + 5, QD_UUID_SIZE - 1);
        uuid[QD_UUID_SIZE - 1] = '\0';
        found = qd_model_qube_by_uuid(daemon->model, uuid);
    } else {
        if (qd_validate_qube_name((const unsigned char *)text.data, text.size, &reason) < 0) {
            refuse(refusal, "QubesValueError", reason, text);
            return NULL;
        }
        found = qd_model_qube_by_name(daemon->model, text.data, text.size);
    }
    if (!found)
        refuse(refusal, "QubesVMNotFoundError", "no such qube", text);
    return found;
}

static bool need_is_met(enum qd_need need, size_t size, const char *what, struct qd_refusal *refusal)
{
    if (need == QD_NEED_REQUIRED && size == 0) {
        refusal->class_name = "ProtocolError";
        snprintf(refusal->message, sizeof(refusal->message), "this method needs %s", what);
        return false;
    }
    if (need == QD_NEED_NONE && size > 0) {
        refusal->class_name = "ProtocolError";
        snprintf(refusal->message, sizeof(refusal->message), "this method takes no %s", what);
        return false;
    }
    return true;
}

static bool dest_is_met(enum qd_dest wanted, const struct qd_object *dest, struct qd_refusal *refusal)
{
    bool is_dom0 = dest->qid == 0;

    if (wanted == QD_DEST_ANY || (wanted == QD_DEST_ADMINVM) == is_dom0)
        return true;
    refusal->class_name = "ProtocolError";
    snprintf(refusal->message, sizeof(refusal->message),
             wanted == QD_DEST_ADMINVM ? "the destination must be dom0" : "the destination must not be dom0");
    return false;
}

static bool is_ascii(struct qd_slice slice)
{
    for (size_t i = 0; i < slice.size; i++) {
        if ((unsigned char)slice.data[i] >= 0x80)
            return false;
    }
    return true;
}

/* Whether the source keeps within its limits. Asked before anything is looked up that depends on the
 * destination, so that a refusal tells nothing of it. The class is one that clients neither take for a lack
 * of permission, which they pass over as if there were no value, nor let through their tools as a traceback,
 * which PermissionDenied does. */
static bool is_within_limits(struct qd_daemon *daemon, const struct qd_object *source, struct qd_slice method,
                             enum qd_asked asked, struct qd_refusal *refusal)
{
    if (asked == QD_ASKED_BY_CONSOLE)
        return true;
    refusal->limit = qd_limit_take(daemon, source, method, asked == QD_ASKED_DRY);
    if (!refusal->limit)
        return true;
    qd_limit_describe(refusal->limit, refusal->message);
    refusal->class_name = "QubesException";
    return false;
}

static void note_unknown(struct qd_daemon *daemon, const struct qd_request *request,
                         const struct qd_object *source, enum qd_asked asked, bool hidden)
{
    if (asked != QD_ASKED_DRY)
        qd_decision_unknown(daemon, request, source, hidden);
}

/* Fills the call's ends. A destination that the source may not know of is none (law 1). */
static bool find_ends(struct qd_daemon *daemon, const struct qd_request *request, enum qd_asked asked,
                      struct qd_ends *ret_ends, struct qd_refusal *refusal)
{
    struct qd_object *source = find_qube(daemon, request->source, refusal), *dest;

    if (!source || !is_within_limits(daemon, source, request->method, asked, refusal))
        return false;
    dest = find_qube(daemon, request->dest, refusal);
    if (!dest) {
        note_unknown(daemon, request, source, asked, false);
        return false;
    }
    if (!qd_permission_visible(daemon->generation->L, source, asked == QD_ASKED_BY_CONSOLE, dest)) {
        note_unknown(daemon, request, source, asked, true);
        refuse(refusal, "QubesVMNotFoundError", "no such qube", request->dest);
        return false;
    }
    ret_ends->source = source;
    ret_ends->dest = dest;
    return true;
}

bool qd_dispatch_check(struct qd_daemon *daemon, enum qd_socket socket, enum qd_asked asked,
                       const struct qd_request *request, struct qd_ends *ret_ends,
                       struct qd_refusal *ret_refusal)
{
    struct qd_ends ends;

    ret_refusal->limit = NULL;
    if (!find_ends(daemon, request, asked, &ends, ret_refusal))
        return false;
    ends.method =
        qd_generation_method(daemon->generation, socket, request->method.data, request->method.size);
    if (!ends.method || !is_ascii(request->arg)) {
        refuse(ret_refusal, "ProtocolError", ends.method ? "the argument must be ASCII" : "no such method",
               ends.method ? request->arg : request->method);
        return false;
    }
    *ret_ends = ends;
    return need_is_met(ends.method->payload, request->payload.size, "payload", ret_refusal) &&
           need_is_met(ends.method->arg, request->arg.size, "argument", ret_refusal) &&
           dest_is_met(ends.method->dest, ends.dest, ret_refusal);
}

void qd_dispatch(struct qd_connection *connection, char *request_bytes, size_t size)
{
    struct qd_daemon *daemon = connection->daemon;
    struct qd_refusal refusal;
    struct qd_request request;
    struct qd_ends ends;
    struct qd_call *call;
    enum qd_asked asked = connection->socket == QD_SOCKET_CONSOLE ? QD_ASKED_BY_CONSOLE : QD_ASKED_BY_CLIENT;

    if (!request_bytes || qd_frame_parse(request_bytes, size, &request) < 0) {
        if (size > 0)
            qd_log(QD_LOG_WARNING, "a request of %zu bytes that is none: connection closed", size);
        free(request_bytes);
        qd_connection_abort(connection);
        return;
    }
    if (!qd_dispatch_check(daemon, connection->socket, asked, &request, &ends, &refusal)) {
        qd_log(QD_LOG_DEBUG, "refused: %s: %s", refusal.class_name, refusal.message);
        qd_answer_exception(daemon, connection, refusal.class_name, NULL, refusal.message);
        free(request_bytes);
        return;
    }
    call = qd_call_new(daemon, daemon->generation, ends.method);
    if (!call) {
        free(request_bytes);
        qd_connection_abort(connection);
        return;
    }
    call->connection = connection;
    connection->call = call;
    call->source = qd_object_ref(ends.source);
    call->dest = qd_object_ref(ends.dest);
    call->arg = request.arg;
    call->payload = request.payload;
    call->request = request_bytes;
    call->bypass = connection->socket == QD_SOCKET_CONSOLE;
    qd_log(QD_LOG_DEBUG, "%s+%.*s (%s -> %s), %zu bytes of payload", ends.method->name, (int)call->arg.size,
           call->arg.data, ends.source->name->data, ends.dest->name->data, call->payload.size);
    qd_call_start(call);
}

void qd_dispatch_again(struct qd_subscriber *subscriber)
{
    struct qd_connection *connection = subscriber->connection;
    struct qd_daemon *daemon = connection->daemon;
    const struct qd_method *method = qd_generation_method(
        daemon->generation, QD_SOCKET_CONSOLE, subscriber->method->name, strlen(subscriber->method->name));
    bool gone = subscriber->source->removed || subscriber->dest->removed;
    struct qd_call *call;

    if (!method || gone ||
        !qd_permission_visible(daemon->generation->L, subscriber->source, subscriber->bypass,
                               subscriber->dest)) {
        qd_connection_finish(connection);
        return;
    }
    call = qd_call_new(daemon, daemon->generation, method);
    if (!call) {
        qd_connection_abort(connection);
        return;
    }
    call->resubscribing = true;
    call->connection = connection;
    connection->call = call;
    call->source = qd_object_ref(subscriber->source);
    call->dest = qd_object_ref(subscriber->dest);
    call->bypass = subscriber->bypass;
    call->arg = (struct qd_slice){"", 0};
    call->payload = (struct qd_slice){"", 0};
    qd_call_start(call);
}
