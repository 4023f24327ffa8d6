/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libvirt, without ever waiting for it (law 7).
 *
 * A *job* is one operation on one domain. It runs on a worker thread and has a deadline; whatever libvirt
 * does, the job's `done` is called once, on the loop's thread, at the deadline at the latest. A call that
 * never returns costs the worker it runs on: at the deadline the worker is written off and replaced, and when
 * jobs wait while all are inside calls that take long, more are started before. Past QD_VIRT_WORKERS_MAX in
 * all, jobs wait; when every worker is written off they fail at once until one comes back. One domain has one
 * job at a time: the next waits its turn; while a job of the domain is past its deadline and still inside
 * libvirt, further ones fail at once with -EBUSY.
 *
 * libvirt's own event loop is the daemon's libuv loop (virEventRegisterImpl, virt_loop.c), and lifecycle
 * events arrive there.
 */
#ifndef QD_VIRT_H
#define QD_VIRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define QD_VIRT_WORKERS 4        /* threads for libvirt calls */
#define QD_VIRT_WORKERS_MAX 32   /* with those that help out, and those that are written off */
#define QD_VIRT_PATIENCE_MS 2000 /* so long a job waits for the same calls to return; then there is help */
#define QD_VIRT_UUID_SIZE 37     /* text form, with its NUL */

enum qd_virt_op {
    QD_VIRT_DEFINE,     /* define (or redefine) from `argument`, domain XML; result: none */
    QD_VIRT_CREATE,     /* start the defined domain, `flags` as virDomainCreateWithFlags (e.g.
                         * VIR_DOMAIN_START_PAUSED, which the embedded driver     doesn't know: there it is
                         * started,     then suspended) */
    QD_VIRT_SUSPEND,    /* pause */
    QD_VIRT_RESUME,     /* unpause */
    QD_VIRT_SHUTDOWN,   /* ask the guest */
    QD_VIRT_DESTROY,    /* kill */
    QD_VIRT_PM_SUSPEND, /* suspend to memory */
    QD_VIRT_PM_WAKEUP,
    QD_VIRT_UNDEFINE, /* a domain that is not defined is no error */
    QD_VIRT_STATE,    /* result: number of the virDomainState, or -1 when the domain is not defined */
    QD_VIRT_XML,      /* result: the domain's XML */
};

/* Their names, by number; a NULL ends them. */
extern const char *const qd_virt_op_names[];

struct qd_virt_result {
    /* 0; -EIO: an error of libvirt; -ETIMEDOUT: the deadline; -EBUSY: an earlier job of the domain is still
     * inside libvirt, past its deadline; -EAGAIN: every worker is; -ENOTCONN: no connection stands;
     * -ECANCELED: virt closes */
    int error;
    int libvirt_code;    /* virErrorNumber, 0 when libvirt gave none */
    const char *message; /* for -EIO libvirt's own; never NULL when error is not 0 */
    int64_t number;
    const char *text;  /* NULL when the operation has none */
    int64_t domain_id; /* libvirt's ID of the running domain, -1 when it has none */
};

/* Called once, on the loop's thread; the strings live for the call. */
typedef void (*qd_virt_done_fn)(void *context, const struct qd_virt_result *result);

/* One line of qd_virt_get_stats / the list given to `connected`. */
struct qd_virt_domain {
    char uuid[QD_VIRT_UUID_SIZE];
    char *name;
    int state;            /* virDomainState */
    int64_t domain_id;    /* -1 when not active */
    uint64_t cpu_time_ns; /* since its start; 0 when not active */
    uint64_t memory_kib;  /* now; 0 when not active */
    uint64_t max_memory_kib;
    unsigned vcpus; /* online */
};

struct qd_virt_callbacks {
    /* A lifecycle event: virDomainEventType and its detail. Any thread's doing, always told on the loop's
     * thread. */
    void (*lifecycle)(void *context, const char *uuid, const char *name, int event, int detail,
                      int64_t domain_id);
    /* The connection stands (at first, or again): all domains that libvirt knows, so that nothing that was
     * missed meanwhile stays unknown. */
    void (*connected)(void *context, const struct qd_virt_domain *domains, size_t count);
    /* The connection died; it is tried again by itself, with growing pauses (QD_VIRT_RETRY_MS to
     * QD_VIRT_RETRY_MAX_MS). */
    void (*disconnected)(void *context, const char *reason);
    void *context;
};

#define QD_VIRT_RETRY_MS 200
#define QD_VIRT_RETRY_MAX_MS 10000

struct qd_virt_counters {
    uint64_t jobs;
    uint64_t timeouts;
    unsigned workers;      /* threads, now */
    unsigned lost_workers; /* inside libvirt past their deadline, now */
    bool connected;
};

struct qd_virt;

/* Registers libvirt's event loop on `loop` (once a process), starts the workers and connects to `uri` in the
 * background. */
int qd_virt_open(uv_loop_t *loop, const char *uri, const struct qd_virt_callbacks *callbacks,
                 struct qd_virt **ret_virt);

/* Queues an operation on the domain with this uuid (found by name when no domain has the uuid is NOT tried).
 * The strings are copied. `deadline_ms` counts from now, waiting included. 0, -ENOMEM, or -ECANCELED after
 * qd_virt_close(); on success `done` is called exactly once, never before this returns. Whether a lifecycle
 * event or the `done` of the job that caused it is told first, is open. The loop's thread, as for all
 * functions here. */
int qd_virt_submit(struct qd_virt *virt, enum qd_virt_op op, const char *uuid, const char *argument,
                   unsigned flags, unsigned deadline_ms, qd_virt_done_fn done, void *context);

/* All active domains with their use of CPU and memory (virConnectGetAllDomainStats or what the driver offers
 * in its place), one job under the same rules. `done` gets them on the loop's thread; they live for the call.
 */
typedef void (*qd_virt_stats_fn)(void *context, int error, const char *message,
                                 const struct qd_virt_domain *domains, size_t count);
int qd_virt_get_stats(struct qd_virt *virt, unsigned deadline_ms, qd_virt_stats_fn done, void *context);

/* What the host has, read when the connection was made: 0 until then. */
struct qd_virt_host {
    uint64_t memory_kib;
    unsigned cpus;
    char type[32]; /* virConnectGetType: "TEST", "QEMU", "Xen", "" */
    bool kvm;      /* libvirt's capabilities name it */
};
struct qd_virt_host qd_virt_host(struct qd_virt *virt);

struct qd_virt_counters qd_virt_counters(struct qd_virt *virt);

/* Stops: jobs that wait fail with -ECANCELED, running ones are waited for up to `grace_ms` and then left
 * behind; closes the connection when no worker is lost, and every libuv handle. `closed` is called on the
 * loop's thread with the callbacks' context; the virt is freed after it. After this call nothing is told but
 * the end of jobs. */
void qd_virt_close(struct qd_virt *virt, unsigned grace_ms, void (*closed)(void *context));

#endif
