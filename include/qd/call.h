/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Calls: from a request, or as a task, to their answer; what they wait for; what they change.
 */
#ifndef QD_CALL_H
#define QD_CALL_H

#include "qd/daemon.h"
#include "qd/permission.h"

struct qd_connection;

/* ---- dispatch.c ---- */

/* Runs the request, whose bytes (malloc) it takes over. The answer goes to the connection, at once or later.
 */
void qd_dispatch(struct qd_connection *connection, char *request, size_t size);
/* Asks again, in the serving generation, for a stream that began in an older one (law 8). */
void qd_dispatch_again(struct qd_subscriber *subscriber);
/* An exception that the core gives by itself. */
struct qd_refusal {
    const char *class_name;
    char message[256];
    const struct qd_limit
        *limit; /* that the source is over, or NULL. Borrowed: good until the loop goes on */
};
/* Who wants to know: a client, the console, which is outside rules and limits (law 5), or an explanation,
 * which uses nothing up. */
enum qd_asked { QD_ASKED_BY_CLIENT, QD_ASKED_BY_CONSOLE, QD_ASKED_DRY };
/* What a request names. Borrowed: good until the loop goes on. */
struct qd_ends {
    const struct qd_method *method;
    struct qd_object *source, *dest;
};
/* Looks up what the request names, and checks what the method's declaration demands, in the serving
 * generation. False: `ret_refusal` is the answer. */
bool qd_dispatch_check(struct qd_daemon *daemon, enum qd_socket socket, enum qd_asked asked,
                       const struct qd_request *request, struct qd_ends *ret_ends,
                       struct qd_refusal *ret_refusal);
/* Answers with an exception. `traceback` may be NULL; it is shown only with --debug. */
void qd_answer_exception(struct qd_daemon *daemon, struct qd_connection *connection, const char *class_name,
                         const char *traceback, const char *message);

/* ---- call.c ---- */

/* What is asked of the rules of a method for this call. */
struct qd_question qd_call_question(const struct qd_call *call, const struct qd_method *method);

/* A call with its references taken, without a thread yet. NULL: no memory. */
struct qd_call *qd_call_new(struct qd_daemon *daemon, struct qd_generation *generation,
                            const struct qd_method *method);
/* Starts the method's handler. */
void qd_call_start(struct qd_call *call);
/* Runs core_hooks.NAME in the serving generation as a task; `push` puts its arguments on the stack and
 * returns their number. A hook that does not exist is no error. */
void qd_task_start(struct qd_daemon *daemon, const char *name, int (*push)(lua_State *L, void *context),
                   void *context);
/* The same, and runs the loop until the task has ended and its changes are on disk; before anybody is served.
 * 0; -ECANCELED: it failed, and changed nothing (or nothing after it last waited): `ret_message` (malloc, or
 * NULL without memory) says why. */
int qd_task_run(struct qd_daemon *daemon, const char *name, int (*push)(lua_State *L, void *context),
                void *context, char **ret_message);
/* A place in a call to which it can be taken back: for a hook that fails and stops nobody else. The call may
 * not wait in between. Savepoints nest; each is ended, with whether what came after it stays. */
struct qd_savepoint {
    size_t changes, spawned;
    struct qd_outbox outbox;
};
void qd_savepoint_begin(struct qd_call *call, struct qd_savepoint *ret_savepoint);
void qd_savepoint_end(struct qd_call *call, struct qd_savepoint *savepoint, bool stays);
/* Resumes a call that waited, with `arguments` values on its thread. */
void qd_call_resume(struct qd_call *call, int arguments);
/* The client has left. Cancels the call if it is declared cancellable; otherwise it goes on without a client.
 */
void qd_call_client_left(struct qd_call *call);
/* Ends all calls, without an answer. At the daemon's stop. */
void qd_call_abandon_all(struct qd_daemon *daemon);
/* A commit of the call is done: 0, or an error and its message. */
void qd_call_committed(struct qd_call *call, int error, const char *message);

/* ---- commit.c ---- */

/* Hands what the call has changed since the last time to the store, and its events after it. -ENOMEM:
 * everything is taken back. */
int qd_commit_seal(struct qd_call *call);
/* Gives the call's events out when no commit is on its way, else behind the last one. For events of what
 * changed nothing. */
void qd_commit_flush(struct qd_call *call);
/* The store's callbacks. */
void qd_commit_done(void *context, struct qd_store_txn *list);
void qd_commit_failed(void *context, struct qd_store_txn *list, int error, const char *message);
/* Reads the store into the model. At start. */
int qd_commit_load(struct qd_daemon *daemon, char **ret_message);

/* ---- event.c ---- */

#define QD_EVENT_TOO_SLOW                                                                                    \
    "subscriber-too-slow" /* the last event of a subscriber that lags too far behind                         \
                           */

/* core.publish. May raise. */
int qd_bind_publish(lua_State *L);
/* Frames one event into a string, pushed. `info` is the index of a table or 0; references to qubes that the
 * source may not see read as none. May raise. */
void qd_event_push_frame(lua_State *L, struct qd_object *subject, const char *event, int info,
                         struct qd_object *source, bool bypass);
int qd_outbox_add(struct qd_outbox *outbox, uint64_t subscriber, bool announcement, const char *data,
                  size_t size);
/* Of a call that fails: drops all but what announced an attempt. */
void qd_outbox_keep_announcements(struct qd_outbox *outbox);
void qd_outbox_deliver(struct qd_daemon *daemon, struct qd_outbox *outbox);
void qd_outbox_drop(struct qd_outbox *outbox);
void qd_outbox_append(struct qd_outbox *to, struct qd_outbox *from);
void qd_subscriber_free(struct qd_daemon *daemon, struct qd_subscriber *subscriber);
/* After a reload: every stream's permission and filters are asked again. */
void qd_subscribers_ask_again(struct qd_daemon *daemon);

/* ---- wait.c, bind_wait.c, bind_lock.c ---- */

/* Forgets what the call waits for; a result that arrives later is dropped. */
void qd_wait_detach(struct qd_call *call);
/* Wakes the calls that wait for the power state of this qube. */
void qd_wait_power_changed(struct qd_daemon *daemon, struct qd_object *qube);
/* Releases the locks of a call that ends. */
void qd_locks_release(struct qd_call *call);
/* The commits of a call that waits for them are done. */
void qd_wait_committed(struct qd_call *call);
/* The timer's callback: resumes calls whose wait has ended. */
void qd_wait_run_ready(uv_timer_t *timer);

#endif
