/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Private to the files of virt:
 *
 *   virt.c          what qd/virt.h declares: jobs, stats, opening and closing
 *   virt_conn.c     the connection's life on the loop: told of to the user, made again when it died
 *   virt_connect.c  how it is made, on a worker, and what libvirt calls back
 *   virt_ops.c      what a job does inside libvirt; blocking, without state, and no libuv
 *   virt_block.c    a test build's way to make an operation hang (QD_TEST_VIRT_BLOCK)
 *   virt_loop.c     libvirt's event loop
 *   worker*.c       the pool
 *
 * What workers touch is the *hub*, or their own job: never struct qd_virt, which may be gone when a lost one
 * returns.
 */
#ifndef QD_VIRT_PRIVATE_H
#define QD_VIRT_PRIVATE_H

#include <libvirt/libvirt.h>
#include <stdatomic.h>

#include "qd/virt.h"
#include "qd/worker.h"

/* ---- virt_ops.c ---- */

/* How a job ended. The strings are its own. */
struct qd_virt_outcome {
    int error;
    int libvirt_code;
    char *message;
    int64_t number;
    char *text;
    int64_t domain_id;
    bool dead; /* the connection was */
};

struct qd_virt_list {
    struct qd_virt_domain *domains;
    size_t count;
};

/* Fills the outcome with libvirt's last error of this thread. Returns -EIO. */
int qd_virt_outcome_fail(struct qd_virt_outcome *outcome, virConnectPtr conn);
void qd_virt_outcome_clear(struct qd_virt_outcome *outcome);

void qd_virt_op_run(virConnectPtr conn, enum qd_virt_op op, const char *uuid, const char *argument,
                    unsigned flags, struct qd_virt_outcome *outcome);

/* All domains, or the active ones; false: the outcome says why. */
bool qd_virt_list_read(virConnectPtr conn, bool active_only, struct qd_virt_list *ret_list,
                       struct qd_virt_outcome *outcome);
void qd_virt_list_clear(struct qd_virt_list *list);

/* ---- virt_block.c ---- */

#ifdef QD_TESTING
/* Reads QD_TEST_VIRT_BLOCK: "OP:NAME_OR_UUID:SECONDS", several with a comma between. OP is a name of enum
 * qd_virt_op in lower case without its prefix, or "connect" or "stats" (of no domain: NAME is then "*"); the
 * name may be a pattern as of the shell. */
void qd_virt_block_read(void);
/* Blocks this thread when the operation is one of them. `conn` and the strings may be NULL. */
void qd_virt_block_wait(const char *op, virConnectPtr conn, const char *uuid, const char *xml);
#else
#define qd_virt_block_read() ((void)0)
#define qd_virt_block_wait(op, conn, uuid, xml) ((void)0)
#endif

/* ---- virt_connect.c ---- */

struct qd_virt;

/* A connection, and its registration for events. */
struct qd_virt_line {
    virConnectPtr conn;
    int event_id;
    bool has_close_callback; /* each holds a reference to the hub */
    bool has_events;
};

struct qd_virt_hub {
    atomic_uint references;
    struct qd_virt *virt; /* the loop's thread; NULL: closed */

    uv_mutex_t mutex;         /* all below */
    uv_async_t *async;        /* NULL: closed */
    struct qd_virt_line line; /* the present one, from before its events are registered */
    bool ready;               /* jobs may use it */
    bool dead;                /* the close callback was called for it */
    int close_reason;
    struct qd_virt_line old; /* to be closed by the next connect job */
    uint64_t generation;     /* of the attempts; a late one sees that it isn't the present one */
};

struct qd_virt_connect_job {
    struct qd_virt_hub *hub;
    struct qd_virt *virt; /* the loop's thread; `done` only */
    char *uri;            /* NULL: only disconnect */
    uint64_t generation;
    void (*disconnected)(struct qd_virt *virt);
    struct qd_virt_line line;
    struct qd_virt_host host;
    struct qd_virt_list list;
    struct qd_virt_outcome outcome;
};

/* A reference to the connection, to be given back with virConnectClose() on a worker. NULL when none stands.
 * Any thread. */
virConnectPtr qd_virt_hub_use(struct qd_virt_hub *hub, uint64_t *ret_generation);
struct qd_virt_hub *qd_virt_hub_ref(struct qd_virt_hub *hub);
void qd_virt_hub_unref(struct qd_virt_hub *hub);
/* On a lost worker that has returned: closes the connection when virt was closed without it. Else does
 * nothing. */
void qd_virt_hub_tidy(struct qd_virt_hub *hub);

/* The functions of the connect job as a task of the pool. */
void qd_virt_connect_run(void *job);
void qd_virt_connect_release(void *job);
/* Tells the events that waited for the list, or drops them. */
void qd_virt_connect_flush(struct qd_virt *virt, bool tell);

/* A lifecycle event that waits until `connected` has told the list that it comes after. */
struct qd_virt_event {
    struct qd_virt_event *next;
    int event, detail;
    int64_t domain_id;
    char uuid[QD_VIRT_UUID_SIZE];
    char name[];
};

struct qd_virt {
    uv_loop_t *loop;
    char *uri;
    struct qd_virt_callbacks callbacks;
    struct qd_worker_pool *pool;
    struct qd_virt_counters counters;
    struct qd_virt_host host;

    struct qd_virt_hub *hub;
    uv_async_t async; /* a thread found the connection dead */
    uv_timer_t retry;
    unsigned pause_ms;
    uint64_t connected_at; /* uv_now */
    bool complained;       /* that it can't be reached: once */
    unsigned handles;      /* the two, not yet closed */
    void (*handles_closed)(struct qd_virt *virt);
    struct qd_virt_event *events, **events_end;

    bool closing;
    uint64_t close_by; /* uv_now; when the grace ends */
    void (*closed)(void *context);
};

/* ---- virt_conn.c ---- */

/* Sets up the hub, the async and the timer, and begins to connect. */
int qd_virt_conn_open(struct qd_virt *virt);
/* A job found the connection of this generation dead. */
void qd_virt_conn_lost(struct qd_virt *virt, uint64_t generation, const char *reason);
/* No more callbacks, no more attempts. */
void qd_virt_conn_stop(struct qd_virt *virt);
/* Closes the connection on a worker; then, or at the deadline, `done`. Negative: it won't be called. */
int qd_virt_conn_disconnect(struct qd_virt *virt, unsigned deadline_ms, void (*done)(struct qd_virt *virt));
/* Closes the handles, then `done`; no worker is left but lost ones. */
void qd_virt_conn_close(struct qd_virt *virt, void (*done)(struct qd_virt *virt));

#endif
