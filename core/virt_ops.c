/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * On a worker: may block, may never return.
 */
#include "virt_private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

const char *const qd_virt_op_names[] = {[QD_VIRT_DEFINE] = "define",
                                        [QD_VIRT_CREATE] = "create",
                                        [QD_VIRT_SUSPEND] = "suspend",
                                        [QD_VIRT_RESUME] = "resume",
                                        [QD_VIRT_SHUTDOWN] = "shutdown",
                                        [QD_VIRT_DESTROY] = "destroy",
                                        [QD_VIRT_PM_SUSPEND] = "pm_suspend",
                                        [QD_VIRT_PM_WAKEUP] = "pm_wakeup",
                                        [QD_VIRT_UNDEFINE] = "undefine",
                                        [QD_VIRT_STATE] = "state",
                                        [QD_VIRT_XML] = "xml",
                                        NULL};

int qd_virt_outcome_fail(struct qd_virt_outcome *outcome, virConnectPtr conn)
{
    virErrorPtr error = virGetLastError();

    outcome->error = -EIO;
    if (error) {
        outcome->libvirt_code = error->code;
        free(outcome->message);
        outcome->message = error->message ? strdup(error->message) : NULL;
    }
    /* Asks no server: whether the socket is open. */
    outcome->dead = conn && virConnectIsAlive(conn) == 0;
    virResetLastError();
    return -EIO;
}

void qd_virt_outcome_clear(struct qd_virt_outcome *outcome)
{
    free(outcome->message);
    free(outcome->text);
    outcome->message = outcome->text = NULL;
}

static int64_t id_of(virDomainPtr domain)
{
    unsigned id = virDomainGetID(domain);

    return id == (unsigned)-1 ? -1 : (int64_t)id;
}

/* libvirt's embedded driver knows no START_PAUSED: there the domain is paused as soon as it runs. */
static int create(virConnectPtr conn, virDomainPtr domain, unsigned flags)
{
    const char *type;

    if ((flags & VIR_DOMAIN_START_PAUSED) && (type = virConnectGetType(conn)) &&
        strcasecmp(type, "test") == 0) {
        if (virDomainCreateWithFlags(domain, flags & ~(unsigned)VIR_DOMAIN_START_PAUSED) < 0)
            return -1;
        return virDomainSuspend(domain);
    }
    return virDomainCreateWithFlags(domain, flags);
}

static int read_state(virDomainPtr domain, struct qd_virt_outcome *outcome)
{
    int state;

    if (virDomainGetState(domain, &state, NULL, 0) < 0)
        return -1;
    outcome->number = state;
    return 0;
}

static int read_xml(virDomainPtr domain, unsigned flags, struct qd_virt_outcome *outcome)
{
    outcome->text = virDomainGetXMLDesc(domain, flags);
    return outcome->text ? 0 : -1;
}

static int operate(virConnectPtr conn, virDomainPtr domain, enum qd_virt_op op, unsigned flags,
                   struct qd_virt_outcome *outcome)
{
    switch (op) {
    case QD_VIRT_DEFINE:
        return 0; /* is done: it made the domain */
    case QD_VIRT_CREATE:
        return create(conn, domain, flags);
    case QD_VIRT_SUSPEND:
        return virDomainSuspend(domain);
    case QD_VIRT_RESUME:
        return virDomainResume(domain);
    case QD_VIRT_SHUTDOWN:
        return virDomainShutdownFlags(domain, flags);
    case QD_VIRT_DESTROY:
        return virDomainDestroyFlags(domain, flags);
    case QD_VIRT_PM_SUSPEND:
        return virDomainPMSuspendForDuration(domain, VIR_NODE_SUSPEND_TARGET_MEM, 0, flags);
    case QD_VIRT_PM_WAKEUP:
        return virDomainPMWakeup(domain, flags);
    case QD_VIRT_UNDEFINE:
        return virDomainUndefineFlags(domain, flags);
    case QD_VIRT_STATE:
        return read_state(domain, outcome);
    case QD_VIRT_XML:
        return read_xml(domain, flags, outcome);
    }
    return 0;
}

/* That there is no such domain, when that is an answer. */
static bool may_be_absent(enum qd_virt_op op, struct qd_virt_outcome *outcome)
{
    if ((op != QD_VIRT_UNDEFINE && op != QD_VIRT_STATE) || virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
        return false;
    virResetLastError();
    outcome->number = op == QD_VIRT_STATE ? -1 : 0;
    return true;
}

void qd_virt_op_run(virConnectPtr conn, enum qd_virt_op op, const char *uuid, const char *argument,
                    unsigned flags, struct qd_virt_outcome *outcome)
{
    virDomainPtr domain;

    outcome->domain_id = -1;
    virResetLastError();
    domain = op == QD_VIRT_DEFINE ? virDomainDefineXMLFlags(conn, argument ? argument : "", flags)
                                  : virDomainLookupByUUIDString(conn, uuid);
    if (!domain || operate(conn, domain, op, flags, outcome) < 0) {
        if (!may_be_absent(op, outcome))
            qd_virt_outcome_fail(outcome, conn);
    }
    if (domain) {
        outcome->domain_id = op == QD_VIRT_DESTROY && outcome->error == 0 ? -1 : id_of(domain);
        virDomainFree(domain);
    }
}

/* ---- lists ---- */

static void read_stats(const virDomainStatsRecord *record, struct qd_virt_domain *domain, bool *ret_complete)
{
    virTypedParameterPtr params = record->params;
    int count = record->nparams;
    unsigned long long number;
    bool cpu, memory, vcpus;

    virTypedParamsGetInt(params, count, "state.state", &domain->state);
    cpu = virTypedParamsGetULLong(params, count, "cpu.time", &number) == 1;
    if (cpu)
        domain->cpu_time_ns = number;
    memory = virTypedParamsGetULLong(params, count, "balloon.current", &number) == 1;
    if (memory)
        domain->memory_kib = number;
    memory = virTypedParamsGetULLong(params, count, "balloon.maximum", &number) == 1 && memory;
    if (memory)
        domain->max_memory_kib = number;
    vcpus = virTypedParamsGetUInt(params, count, "vcpu.current", &domain->vcpus) == 1;
    *ret_complete = domain->domain_id < 0 || (cpu && memory && vcpus);
}

/* Leaves what can't be read as it is: a domain may be gone by now. */
static void read_info(virDomainPtr handle, struct qd_virt_domain *domain)
{
    virDomainInfo info;

    if (virDomainGetInfo(handle, &info) < 0)
        return;
    domain->state = info.state;
    domain->cpu_time_ns = info.cpuTime;
    domain->memory_kib = info.memory;
    domain->max_memory_kib = info.maxMem;
    domain->vcpus = info.nrVirtCpu;
}

static bool read_domain(virDomainPtr handle, const virDomainStatsRecord *record,
                        struct qd_virt_domain *domain)
{
    const char *name = virDomainGetName(handle);
    bool complete = false;

    domain->domain_id = id_of(handle);
    if (!name || virDomainGetUUIDString(handle, domain->uuid) < 0 || !(domain->name = strdup(name)))
        return false;
    if (record)
        read_stats(record, domain, &complete);
    if (!complete)
        read_info(handle, domain);
    if (domain->domain_id < 0)
        domain->cpu_time_ns = domain->memory_kib = 0;
    return true;
}

/* One call for all domains, and one that doesn't wait for a domain that is stuck. -1: the driver has none. */
static int read_all_stats(virConnectPtr conn, bool active_only, virDomainStatsRecordPtr **ret_records)
{
    unsigned stats = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON |
                     VIR_DOMAIN_STATS_VCPU;
    unsigned flags = active_only ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE : 0;
    int count = virConnectGetAllDomainStats(conn, stats, ret_records,
                                            flags | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);

    if (count < 0 && virGetLastErrorCode() == VIR_ERR_INVALID_ARG) /* a driver that doesn't know NOWAIT */
        count = virConnectGetAllDomainStats(conn, stats, ret_records, flags);
    return count;
}

bool qd_virt_list_read(virConnectPtr conn, bool active_only, struct qd_virt_list *ret_list,
                       struct qd_virt_outcome *outcome)
{
    struct qd_virt_list list = {0};
    virDomainStatsRecordPtr *records = NULL;
    virDomainPtr *handles = NULL;
    int count;

    virResetLastError();
    count = read_all_stats(conn, active_only, &records);
    if (count < 0)
        count = virConnectListAllDomains(conn, &handles, active_only ? VIR_CONNECT_LIST_DOMAINS_ACTIVE : 0);
    if (count < 0) {
        qd_virt_outcome_fail(outcome, conn);
        return false;
    }
    list.domains = calloc((size_t)count + 1, sizeof(*list.domains));
    if (!list.domains)
        outcome->error = -ENOMEM;
    for (int i = 0; i < count; i++) {
        virDomainPtr handle =
            records ? records[i]->dom
                    : handles[i]; // NOLINT(clang-analyzer-core.NullDereference): libvirt set one of the two
        struct qd_virt_domain *domain = &list.domains[list.count];

        if (outcome->error < 0)
            ; /* only to be freed */
        else if (!read_domain(handle, records ? records[i] : NULL, domain))
            outcome->error = -ENOMEM;
        else
            list.count++;
        if (handles)
            virDomainFree(handle);
    }
    if (records)
        virDomainStatsRecordListFree(records);
    free(handles);
    virResetLastError();
    if (outcome->error < 0) {
        qd_virt_list_clear(&list);
        return false;
    }
    *ret_list = list;
    return true;
}

void qd_virt_list_clear(struct qd_virt_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->domains[i].name);
    free(list->domains);
    *list = (struct qd_virt_list){0};
}
