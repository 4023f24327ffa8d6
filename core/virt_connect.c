/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The hub, the callbacks that libvirt is given, and what a connect job does on its worker: it takes leave of
 * the connection before, if there was one, opens the new one, registers for its events, then reads what there
 * is: the host, the list of domains.
 */
#include "virt_private.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/log.h"

/* A server that says nothing for KEEPALIVE_S * (KEEPALIVE_COUNT + 1) seconds is dead. */
#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 3

/* ---- any thread ---- */

struct qd_virt_hub *qd_virt_hub_ref(struct qd_virt_hub *hub)
{
    atomic_fetch_add(&hub->references, 1);
    return hub;
}

void qd_virt_hub_unref(struct qd_virt_hub *hub)
{
    if (atomic_fetch_sub(&hub->references, 1) > 1)
        return;
    uv_mutex_destroy(&hub->mutex);
    free(hub);
}

static void unref_hub(void *hub)
{
    qd_virt_hub_unref(hub);
}

virConnectPtr qd_virt_hub_use(struct qd_virt_hub *hub, uint64_t *ret_generation)
{
    virConnectPtr conn = NULL;

    uv_mutex_lock(&hub->mutex);
    if (hub->ready && virConnectRef(hub->line.conn) == 0) {
        conn = hub->line.conn;
        *ret_generation = hub->generation;
    }
    uv_mutex_unlock(&hub->mutex);
    return conn;
}

/* libvirt's close callback; it holds locks of its own, so nothing of libvirt is called here. */
static void on_conn_closed(virConnectPtr conn, int reason, void *opaque)
{
    struct qd_virt_hub *hub = opaque;

    uv_mutex_lock(&hub->mutex);
    if (conn == hub->line.conn) {
        hub->dead = true;
        hub->close_reason = reason;
        if (hub->async)
            uv_async_send(hub->async);
    }
    uv_mutex_unlock(&hub->mutex);
}

/* ---- the loop's thread: events ---- */

static void queue_event(struct qd_virt *virt, virDomainPtr domain, const char *uuid, int event, int detail,
                        int64_t domain_id)
{
    const char *name = virDomainGetName(domain);
    size_t size = strlen(name) + 1;
    struct qd_virt_event *entry = calloc(1, sizeof(*entry) + size);

    if (!entry) {
        qd_log(QD_LOG_ERROR, "libvirt: no memory for an event of %s", name);
        return;
    }
    entry->event = event;
    entry->detail = detail;
    entry->domain_id = domain_id;
    memcpy(entry->uuid, uuid, sizeof(entry->uuid));
    memcpy(entry->name, name, size);
    *virt->events_end = entry;
    virt->events_end = &entry->next;
}

void qd_virt_connect_flush(struct qd_virt *virt, bool tell)
{
    struct qd_virt_event *entry, *next;

    entry = virt->events;
    virt->events = NULL;
    virt->events_end = &virt->events;
    for (; entry; entry = next) {
        next = entry->next;
        if (tell && !virt->closing)
            virt->callbacks.lifecycle(virt->callbacks.context, entry->uuid, entry->name, entry->event,
                                      entry->detail, entry->domain_id);
        free(entry);
    }
}

/* libvirt dispatches events by a timer of its event loop, so this is the loop's thread. */
static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *opaque)
{
    struct qd_virt_hub *hub = opaque;
    struct qd_virt *virt = hub->virt;
    char uuid[VIR_UUID_STRING_BUFLEN];
    bool counts;

    uv_mutex_lock(&hub->mutex);
    counts = conn == hub->line.conn;
    uv_mutex_unlock(&hub->mutex);
    if (counts && virt && !virt->closing && virDomainGetUUIDString(domain, uuid) == 0) {
        unsigned id = virDomainGetID(domain);
        int64_t domain_id = id == (unsigned)-1 ? -1 : (int64_t)id;

        if (virt->counters.connected)
            virt->callbacks.lifecycle(virt->callbacks.context, uuid, virDomainGetName(domain), event, detail,
                                      domain_id);
        else
            queue_event(virt, domain, uuid, event, detail, domain_id);
    }
    return 0;
}

/* ---- on a worker ---- */

/* After it no callback of the connection comes any more. */
static void leave(struct qd_virt_hub *hub, struct qd_virt_line *line)
{
    if (line->has_close_callback) {
        virConnectUnregisterCloseCallback(line->conn, on_conn_closed);
        qd_virt_hub_unref(hub);
    }
    if (line->has_events)
        virConnectDomainEventDeregisterAny(line->conn, line->event_id); /* gives back its own reference */
    if (line->conn)
        virConnectClose(line->conn);
    virResetLastError();
    *line = (struct qd_virt_line){0};
}

void qd_virt_hub_tidy(struct qd_virt_hub *hub)
{
    struct qd_virt_line line = {0}, old = {0};

    uv_mutex_lock(&hub->mutex);
    if (!hub->async) {
        line = hub->line;
        old = hub->old;
        hub->line = hub->old = (struct qd_virt_line){0};
    }
    uv_mutex_unlock(&hub->mutex);
    leave(hub, &line);
    leave(hub, &old);
}

/* Makes the job's connection the one whose callbacks count, or none of it. False: the attempt was given up.
 */
static bool present(struct qd_virt_connect_job *job, struct qd_virt_line line)
{
    struct qd_virt_hub *hub = job->hub;
    bool counts;

    uv_mutex_lock(&hub->mutex);
    counts = hub->generation == job->generation;
    if (counts) {
        hub->line = line;
        hub->dead = false;
    }
    uv_mutex_unlock(&hub->mutex);
    return counts;
}

/* Events first, then the list: what happens in between is told after the list. */
static bool register_callbacks(struct qd_virt_connect_job *job)
{
    struct qd_virt_line *line = &job->line;

    virConnectSetKeepAlive(line->conn, KEEPALIVE_S, KEEPALIVE_COUNT); /* only a remote connection has it */
    qd_virt_hub_ref(job->hub);
    if (virConnectRegisterCloseCallback(line->conn, on_conn_closed, job->hub, NULL) < 0) {
        qd_virt_hub_unref(job->hub);
        return false;
    }
    line->has_close_callback = true;
    qd_virt_hub_ref(job->hub);
    line->event_id =
        virConnectDomainEventRegisterAny(line->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), job->hub, unref_hub);
    if (line->event_id < 0) {
        qd_virt_hub_unref(job->hub);
        return false;
    }
    line->has_events = true;
    return true;
}

/* Whether libvirt can run guests on KVM: it may have rights that we have not, or be elsewhere. A driver that
 * tells of no capabilities has none. */
static bool has_kvm(virConnectPtr conn)
{
    char *capabilities = virConnectGetCapabilities(conn);
    bool found = capabilities && strstr(capabilities, "<domain type='kvm'");

    free(capabilities);
    return found;
}

static bool read_host(virConnectPtr conn, struct qd_virt_host *ret_host)
{
    const char *type = virConnectGetType(conn);
    virNodeInfo info;

    if (!type || virNodeGetInfo(conn, &info) < 0)
        return false;
    ret_host->memory_kib = info.memory;
    ret_host->cpus = info.cpus;
    snprintf(ret_host->type, sizeof(ret_host->type), "%s", type);
    ret_host->kvm = has_kvm(conn);
    return true;
}

void qd_virt_connect_run(void *context)
{
    struct qd_virt_connect_job *job = context;
    struct qd_virt_hub *hub = job->hub;
    struct qd_virt_line old, line = {0};

    uv_mutex_lock(&hub->mutex);
    old = hub->old;
    hub->old = line;
    if (!job->uri) {
        line = hub->line;
        hub->line = (struct qd_virt_line){0};
        hub->ready = false;
    }
    uv_mutex_unlock(&hub->mutex);
    leave(hub, &old);
    leave(hub, &line);
    if (!job->uri)
        return;

    qd_virt_block_wait("connect", NULL, NULL, NULL);
    job->line.conn = virConnectOpen(job->uri);
    if (job->line.conn && present(job, job->line) && register_callbacks(job) &&
        read_host(job->line.conn, &job->host) &&
        qd_virt_list_read(job->line.conn, false, &job->list, &job->outcome))
        return;
    if (job->outcome.error == 0)
        qd_virt_outcome_fail(&job->outcome, NULL);
    present(job, (struct qd_virt_line){0});
    leave(hub, &job->line);
}

/* A connection that nobody took over is one of an attempt that came too late, so this is its worker. */
void qd_virt_connect_release(void *context)
{
    struct qd_virt_connect_job *job = context;

    leave(job->hub, &job->line);
    qd_virt_hub_tidy(job->hub);
    qd_virt_list_clear(&job->list);
    qd_virt_outcome_clear(&job->outcome);
    qd_virt_hub_unref(job->hub);
    free(job->uri);
    free(job);
}
