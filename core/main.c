/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Starting and stopping. include/qd/daemon.h is the place to begin reading.
 */
#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "qd/audit.h"
#include "qd/bind_core.h"
#include "qd/bind_string.h"
#include "qd/call.h"
#include "qd/config.h"
#include "qd/connection.h"
#include "qd/generation.h"
#include "qd/grant.h"
#include "qd/limit.h"
#include "qd/log.h"
#include "qd/notify.h"
#include "qd/once.h"
#include "qd/program.h"
#include "qd/qubesdb.h"
#include "qd/reload.h"
#include "qd/run.h"
#include "qd/server.h"
#include "qd/transfer.h"

#define SWEEP_MS 1000
#define VIRT_FIRST_MS 5000 /* that a start waits for libvirt's first answer */
#define VIRT_GRACE_MS 2000 /* that a stop waits for it */

static struct qd_daemon daemon_state;
static uv_signal_t signals[3];
static bool virt_answered, virt_closed, store_stopped;

/* ---- libvirt's news, as tasks ---- */

struct lifecycle {
    const char *uuid;
    int event, detail;
    int64_t domain_id;
};

static int push_lifecycle(lua_State *L, void *context)
{
    struct lifecycle *lifecycle = context;

    qd_push_object(L, qd_model_qube_by_uuid(daemon_state.model, lifecycle->uuid));
    lua_pushinteger(L, lifecycle->event);
    lua_pushinteger(L, lifecycle->detail);
    lua_pushinteger(L, lifecycle->domain_id);
    return 4;
}

static void on_lifecycle(void *context, const char *uuid, const char *name, int event, int detail,
                         int64_t domain_id)
{
    struct qd_daemon *daemon = context;
    struct lifecycle lifecycle = {uuid, event, detail, domain_id};

    (void)name;
    if (!daemon->stopping && qd_model_qube_by_uuid(daemon->model, uuid))
        qd_task_start(daemon, "lifecycle", push_lifecycle, &lifecycle);
}

struct domains {
    const struct qd_virt_domain *domains;
    size_t count;
};

static int push_domains(lua_State *L, void *context)
{
    struct domains *list = context;

    lua_createtable(L, (int)list->count, 0);
    for (size_t i = 0; i < list->count; i++) {
        lua_createtable(L, 0, 4);
        lua_pushstring(L, list->domains[i].uuid);
        lua_setfield(L, -2, "uuid");
        lua_pushstring(L, list->domains[i].name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, list->domains[i].state);
        lua_setfield(L, -2, "state");
        lua_pushinteger(L, list->domains[i].domain_id);
        lua_setfield(L, -2, "domain_id");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static void on_connected(void *context, const struct qd_virt_domain *domains, size_t count)
{
    struct qd_daemon *daemon = context;
    struct domains list = {domains, count};

    virt_answered = true;
    qd_log(QD_LOG_INFO, "libvirt: connected to %s, %zu domains", daemon->config.libvirt_uri, count);
    if (!daemon->stopping && qd_model_qube_count(daemon->model) > 0)
        qd_task_start(daemon, "connected", push_domains, &list);
}

static void on_disconnected(void *context, const char *reason)
{
    (void)context;
    virt_answered = true;
    qd_log(QD_LOG_WARNING, "libvirt: no connection: %s", reason);
}

/* ---- stopping ---- */

static void close_timers_when_done(struct qd_daemon *daemon)
{
    if (!virt_closed || !store_stopped || daemon->connections || uv_is_closing((uv_handle_t *)&daemon->sweep))
        return;
    uv_close((uv_handle_t *)&daemon->sweep, NULL);
    uv_close((uv_handle_t *)&daemon->ready, NULL);
}

static void on_virt_closed(void *context)
{
    virt_closed = true;
    close_timers_when_done(context);
}

static void on_transfer_stopped(void *context)
{
    (void)context;
}

static void on_store_stopped(void *context)
{
    store_stopped = true;
    close_timers_when_done(context);
}

static void stop(struct qd_daemon *daemon)
{
    if (daemon->stopping)
        return;
    daemon->stopping = true;
    qd_notify("STOPPING=1");
    qd_log(QD_LOG_INFO, "stopping");
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
    qd_server_close(daemon);
    qd_connections_close(daemon);
    qd_call_abandon_all(daemon);
    qd_programs_close(daemon);
    qd_qubesdb_close(daemon->qubesdb);
    qd_reload_close(daemon);
    qd_audit_close(daemon);
    qd_virt_close(daemon->virt, VIRT_GRACE_MS, on_virt_closed);
    qd_store_stop(daemon->store, on_store_stopped);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct qd_daemon *daemon = handle->data;

    if (number != SIGHUP)
        stop(daemon);
    else if (qd_reload_request(daemon, "SIGHUP", NULL, NULL) < 0)
        qd_log(QD_LOG_ERROR, "no memory for a reload");
}

static void sweep(uv_timer_t *timer)
{
    struct qd_daemon *daemon = timer->data;
    uint64_t limit_us;

    qd_connections_sweep(daemon);
    qd_server_sweep(daemon);
    qd_limit_sweep(daemon);
    if (!daemon->stopping)
        qd_grant_tick(daemon);
    if (sd_watchdog_enabled(0, &limit_us) > 0)
        qd_notify("WATCHDOG=1");
    if (daemon->stopping)
        close_timers_when_done(daemon);
}

/* ---- starting ---- */

static int start_signals(struct qd_daemon *daemon)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        int r = uv_signal_init(&daemon->loop, &signals[i]);

        signals[i].data = daemon;
        if (r == 0)
            r = uv_signal_start(&signals[i], on_signal, numbers[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Often enough for systemd, which wants to hear of us twice in each interval of its watchdog. */
static uint64_t sweep_interval_ms(void)
{
    uint64_t limit_us;

    if (sd_watchdog_enabled(0, &limit_us) <= 0 || limit_us / 2000 >= SWEEP_MS)
        return SWEEP_MS;
    return limit_us >= 2000 ? limit_us / 2000 : 1;
}

static int start_timers(struct qd_daemon *daemon)
{
    int r = uv_timer_init(&daemon->loop, &daemon->sweep);
    uint64_t interval = sweep_interval_ms();

    if (r == 0)
        r = uv_timer_init(&daemon->loop, &daemon->ready);
    if (r == 0)
        r = uv_timer_start(&daemon->sweep, sweep, interval, interval);
    daemon->sweep.data = daemon->ready.data = daemon;
    return r;
}

static int start_store(struct qd_daemon *daemon)
{
    struct qd_store_callbacks callbacks = {
        .committed = qd_commit_done, .failed = qd_commit_failed, .context = daemon};
    char *path = qd_config_store_path(&daemon->config), *message = NULL;
    int r = path ? qd_store_open(path, &daemon->store, &message) : -ENOMEM;

    if (r == 0) {
        r = qd_commit_load(daemon, &message);
        if (r == 0)
            r = qd_store_start(daemon->store, &daemon->loop, &callbacks);
        if (r < 0)
            qd_store_close(daemon->store);
    }
    if (r < 0)
        qd_log(QD_LOG_ERROR, "the store: %s", message ? message : strerror(-r));
    free(message);
    free(path);
    return r;
}

static int start_virt(struct qd_daemon *daemon)
{
    struct qd_virt_callbacks callbacks = {.lifecycle = on_lifecycle,
                                          .connected = on_connected,
                                          .disconnected = on_disconnected,
                                          .context = daemon};

    return qd_virt_open(&daemon->loop, daemon->config.libvirt_uri, &callbacks, &daemon->virt);
}

/* Runs the loop until libvirt has said yes or no, and what that started is over. A hypervisor that hangs does
 * not keep the daemon from serving. */
static void settle(struct qd_daemon *daemon)
{
    uint64_t end = uv_hrtime() + VIRT_FIRST_MS * UINT64_C(1000000);

    while ((!virt_answered || daemon->calls) && uv_hrtime() < end && !daemon->stopping)
        uv_run(&daemon->loop, UV_RUN_ONCE);
}

/* What must be in the model before anybody asks: dom0, the labels; see core_hooks.load. */
static void load_model(struct qd_daemon *daemon)
{
    qd_task_start(daemon, "load", NULL, NULL);
    while (daemon->calls && !daemon->stopping)
        uv_run(&daemon->loop, UV_RUN_ONCE);
}

static int serve(struct qd_daemon *daemon)
{
    int r;

    settle(daemon);
    if (!daemon->stopping)
        load_model(daemon);
    if (!daemon->stopping && !qd_model_qube_by_qid(daemon->model, 0)) {
        qd_log(QD_LOG_ERROR, "the model has no dom0: the scripts' core_hooks.load failed");
        stop(daemon);
        uv_run(&daemon->loop, UV_RUN_DEFAULT);
        return -EUCLEAN;
    }
    r = daemon->stopping ? 0 : qd_server_open(daemon);
    if (r < 0)
        stop(daemon);
    if (!daemon->stopping) {
        qd_log(QD_LOG_NOTICE, "ready: %zu qubes, sockets in %s", qd_model_qube_count(daemon->model),
               daemon->config.socket_dir);
        qd_notify("READY=1\nSTATUS=Generation %u", daemon->generation->number);
    }
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    return r;
}

static int start(struct qd_daemon *daemon)
{
    int r = uv_loop_init(&daemon->loop);

    if (r < 0)
        return r;
    daemon->model = qd_model_new();
    if (!daemon->model)
        return -ENOMEM;
    r = start_store(daemon);
    if (r == 0)
        r = qd_audit_open(daemon);
    if (r == 0)
        r = qd_reload_first(daemon);
    if (r == 0)
        r = qd_transfer_first(daemon);
    if (r == 0)
        r = start_timers(daemon);
    if (r == 0)
        r = start_signals(daemon);
    if (r == 0)
        r = qd_qubesdb_open(&daemon->loop, daemon->config.qubesdb_dir, &daemon->qubesdb);
    if (r == 0)
        r = start_virt(daemon);
    if (r == 0)
        r = qd_reload_watch(daemon);
    return r;
}

/* After the loop has ended. A handle that is still open is a mistake of ours, and the exit status says so. */
static int finish(struct qd_daemon *daemon, int r)
{
    if (r == 0 && daemon->virt)
        r = qd_transfer_last(daemon);
    qd_generation_unref(daemon->previous);
    qd_generation_unref(daemon->generation);
    qd_connections_free(daemon);
    qd_server_free(daemon);
    qd_qubesdb_free(daemon->qubesdb);
    qd_reload_free(daemon);
    qd_store_close(daemon->store);
    qd_model_free(daemon->model);
    if (uv_loop_close(&daemon->loop) < 0) {
        qd_log(QD_LOG_ERROR, "libuv handles are still open:");
        uv_print_all_handles(&daemon->loop, stderr);
        r = -EBUSY;
    }
    qd_config_free(&daemon->config);
    return r;
}

/* --import-xml and --export-xml: the store and the scripts, without sockets and libvirt. */
static int transfer(struct qd_daemon *daemon, enum qd_action action)
{
    const char *path = daemon->config.file;
    int r = uv_loop_init(&daemon->loop);

    daemon->model = qd_model_new();
    if (r == 0)
        r = daemon->model ? start_store(daemon) : -ENOMEM;
    if (r < 0)
        return r;
    r = qd_reload_first(daemon);
    if (r == 0)
        r = action == QD_ACTION_IMPORT_XML ? qd_transfer_import(daemon, path)
                                           : qd_transfer_export(daemon, path);
    qd_store_stop(daemon->store, on_transfer_stopped);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    if (!daemon->generation) {
        qd_store_close(daemon->store);
        return r;
    }
    return finish(daemon, r);
}

/* The exit status, after what is done once and without a daemon. */
static int end_once(struct qd_daemon *daemon, int r)
{
    qd_config_free(&daemon->config);
    return r < 0 ? 1 : 0;
}

/* As many descriptors as we may have: the usual 1,024 are fewer than QD_CONNECTIONS_MAX. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct qd_daemon *daemon = &daemon_state;
    enum qd_action action;
    int r = qd_config_read(argc, argv, &daemon->config, &action);

    if (r < 0 || action == QD_ACTION_EXIT) {
        qd_config_free(&daemon->config);
        return r < 0 ? 2 : 0;
    }
    if (action == QD_ACTION_CHECK_STORE)
        return end_once(daemon, qd_once_check_store(&daemon->config));
    if (action == QD_ACTION_COPY_STORE)
        return end_once(daemon, qd_once_copy_store(&daemon->config));
    qd_log_open(daemon->config.debug);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    qd_bind_string_set_budget(qd_budget_charge);
    if (action == QD_ACTION_CHECK_ACL)
        return end_once(daemon, qd_once_check_acl(&daemon->config));
    r = qd_run_start_alarm();
    if (r == 0 && action != QD_ACTION_RUN)
        return transfer(daemon, action) < 0 ? 1 : 0;
    if (r == 0)
        r = start(daemon);
    if (r < 0) {
        /* Nothing was served or promised yet, and what was opened ends with the process. */
        qd_log(QD_LOG_ERROR, "not started: %s", strerror(-r));
        return 1;
    }
    r = serve(daemon);
    return finish(daemon, r) < 0 ? 1 : 0;
}
