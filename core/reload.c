/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "qd/acl_tests.h"
#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/generation.h"
#include "qd/grant.h"
#include "qd/limit.h"
#include "qd/log.h"
#include "qd/notify.h"
#include "qd/run.h"
#include "reload_private.h"

struct asker {
    struct asker *next;
    void (*done)(void *context, const char *error);
    void *context;
};

struct qd_reload {
    struct qd_daemon *daemon;
    struct qd_watches *watches;
    uv_timer_t back;
    struct asker *backers; /* who asked to go back */
    uv_work_t work;
    bool loading;
    struct asker *asked;        /* since the last load began */
    struct asker *served;       /* by the load that is under way */
    struct qd_acl_tests *tests; /* NULL: what loads is not tested */
    /* the work's results */
    struct qd_generation *generation;
    char *message;
    bool rules;
};

static struct qd_load_options options_of(const struct qd_daemon *daemon, bool first)
{
    return (struct qd_load_options){.scripts_dir = daemon->config.scripts_dir,
                                    .acl_dir = daemon->config.acl_dir,
                                    .ext_dir = daemon->config.ext_dir,
                                    .policy_dir = daemon->config.policy_dir,
                                    .coverage_file = daemon->config.acl_coverage,
                                    .acl_may_be_absent = first,
                                    .policy_may_fail = first,
                                    .ext_may_fail = first};
}

/* The global `app`: it can't be there earlier, since a generation loads without the model. Protected. */
static int set_app(lua_State *L)
{
    lua_pushglobaltable(L);
    lua_pushliteral(L, "app");
    qd_push_object(L, qd_model_app(qd_generation_of(L)->daemon->model));
    lua_rawset(L, -3);
    return 0;
}

/* From now on calls begin in this generation. The limits' buckets and the grants' clocks go on in it, also
 * when it has served before and others have served meanwhile. */
static void enter_service(struct qd_daemon *daemon, struct qd_generation *generation)
{
    qd_limit_adopt(generation, daemon->generation);
    qd_grant_adopt(generation);
    daemon->generation = generation;
}

static void adopt(struct qd_daemon *daemon, struct qd_generation *generation)
{
    generation->daemon = daemon;
    lua_pushcfunction(generation->L, set_app);
    if (qd_run_protected(generation->L, 0, 0) != LUA_OK)
        lua_pop(generation->L, 1);
    generation->number = ++daemon->generations_made;
    generation->since = (int64_t)time(NULL);
    enter_service(daemon, generation);
    qd_log(QD_LOG_NOTICE, "generation %u serves: %zu methods, %zu rules, digest %s", generation->number,
           generation->method_count, generation->hook_count, generation->digest);
}

/* The one that served until now is kept, to go back to: one, not more. One without rules, in which everything
 * is denied, is nothing to go back to. */
static void keep(struct qd_daemon *daemon, struct qd_generation *old)
{
    struct qd_generation *older = daemon->previous;

    daemon->previous = old->lock_reason ? NULL : old;
    if (old->lock_reason)
        qd_generation_unref(old);
    if (older)
        qd_generation_unref(older);
}

int qd_reload_first(struct qd_daemon *daemon)
{
    struct qd_load_options options = options_of(daemon, true);
    struct qd_generation *generation;
    char *message, *reason;
    bool rules;
    int r = qd_generation_load(&options, &generation, &message, &rules);

    if (r < 0 && rules) {
        qd_log(QD_LOG_ERROR, "the rules do not load, so every call is denied until they do: %s", message);
        reason = message;
        r = qd_generation_load_locked(&options, reason, &generation, &message);
        free(reason);
    }
    if (r < 0) {
        qd_log(QD_LOG_ERROR, "the scripts do not load: %s", message);
        free(message);
        return r;
    }
    adopt(daemon, generation);
    return 0;
}

static void load(uv_work_t *work)
{
    struct qd_reload *reload = work->data;
    struct qd_load_options options = options_of(reload->daemon, false);

    reload->generation = NULL;
    reload->message = NULL;
    if (qd_generation_load(&options, &reload->generation, &reload->message, &reload->rules) < 0)
        reload->generation = NULL;
}

static void begin(struct qd_reload *reload);

static void tell(struct asker *askers, const char *error)
{
    while (askers) {
        struct asker *asker = askers;

        askers = asker->next;
        if (asker->done)
            asker->done(asker->context, error);
        free(asker);
    }
}

/* What has loaded begins to serve. */
static void swap(struct qd_reload *reload)
{
    struct qd_daemon *daemon = reload->daemon;
    struct qd_generation *old = daemon->generation;

    adopt(daemon, reload->generation);
    reload->generation = NULL;
    qd_notify("READY=1\nSTATUS=Generation %u", daemon->generation->number);
    qd_watches_serve(reload->watches);
    qd_subscribers_ask_again(daemon);
    keep(daemon, old);
}

/* The end of a load: swaps it in, unless there is a problem. */
static void conclude(struct qd_reload *reload, const char *problem)
{
    struct qd_daemon *daemon = reload->daemon;
    struct asker *served = reload->served;

    reload->loading = false;
    reload->served = NULL;
    if (daemon->stopping) {
        problem = "the daemon stops";
    } else if (problem) {
        qd_log(QD_LOG_ERROR, "not reloaded, generation %u goes on: %s", daemon->generation->number, problem);
        qd_notify("READY=1\nSTATUS=Generation %u; the last reload failed: %s", daemon->generation->number,
                  problem);
    } else {
        swap(reload);
    }
    tell(served, problem);
    qd_generation_unref(reload->generation);
    reload->generation = NULL;
    free(reload->message);
    reload->message = NULL;
    if (reload->asked && !daemon->stopping)
        begin(reload);
}

static void tested(void *context, const char *problem)
{
    conclude(context, problem);
}

static void loaded(uv_work_t *work, int status)
{
    struct qd_reload *reload = work->data;
    int r = 0;

    (void)status;
    if (!reload->generation) {
        conclude(reload, reload->message ? reload->message : "no memory");
        return;
    }
    if (reload->tests && !reload->daemon->stopping) {
        r = qd_acl_tests_run(reload->tests, reload->generation, tested, reload);
        if (r == 0)
            return;
    }
    conclude(reload, r < 0 ? "the tests of the rules cannot be started" : NULL);
}

static void begin(struct qd_reload *reload)
{
    reload->served = reload->asked;
    reload->asked = NULL;
    reload->loading = true;
    reload->work.data = reload;
    qd_watches_renew(reload->watches); /* before the files are read, so that no change is missed */
    qd_notify("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(uv_hrtime() / 1000));
    if (uv_queue_work(&reload->daemon->loop, &reload->work, load, loaded) < 0) {
        reload->loading = false;
        tell(reload->served, "no worker for the load");
        reload->served = NULL;
    }
}

int qd_reload_request(struct qd_daemon *daemon, const char *why,
                      void (*done)(void *context, const char *error), void *context)
{
    struct qd_reload *reload = daemon->reload;
    struct asker *asker = calloc(1, sizeof(*asker));

    if (!asker)
        return -ENOMEM;
    qd_log(QD_LOG_INFO, "reload: %s", why);
    *asker = (struct asker){.next = reload->asked, .done = done, .context = context};
    reload->asked = asker;
    if (!reload->loading)
        begin(reload);
    return 0;
}

static void go_back(uv_timer_t *timer)
{
    struct qd_reload *reload = timer->data;
    struct qd_daemon *daemon = reload->daemon;
    struct qd_generation *old = daemon->generation;
    struct asker *backers = reload->backers;

    reload->backers = NULL;
    if (!daemon->previous) {
        tell(backers, "there is no generation before this one");
        return;
    }
    enter_service(daemon, daemon->previous);
    daemon->previous = old;
    qd_log(QD_LOG_NOTICE,
           "back to generation %u from %u, until files change or a reload is asked for: digest %s",
           daemon->generation->number, old->number, daemon->generation->digest);
    qd_notify("READY=1\nSTATUS=Generation %u", daemon->generation->number);
    qd_subscribers_ask_again(daemon);
    tell(backers, NULL);
}

int qd_reload_rollback(struct qd_daemon *daemon, void (*done)(void *context, const char *error),
                       void *context)
{
    struct qd_reload *reload = daemon->reload;
    struct asker *asker;

    if (reload->backers)
        return -EALREADY; /* two at once would cancel each other */
    asker = calloc(1, sizeof(*asker));
    if (!asker)
        return -ENOMEM;
    *asker = (struct asker){.done = done, .context = context};
    reload->backers = asker;
    return uv_timer_start(&reload->back, go_back, 0, 0);
}

/* At start a generation serves untested: somebody has to. */
static void first_tested(void *context, const char *problem)
{
    const struct qd_daemon *daemon = context;

    if (problem && !daemon->stopping)
        qd_log(QD_LOG_ERROR, "generation 1 serves, but %s", problem);
    else if (!problem)
        qd_log(QD_LOG_INFO, "the tests of the rules have passed");
}

static int start_tests(struct qd_reload *reload)
{
    struct qd_daemon *daemon = reload->daemon;
    int r = qd_acl_tests_new(daemon, &reload->tests);

    if (r == -EINVAL)
        qd_log(QD_LOG_ERROR, "acl-tests = %s: expected yes, no or a path from the root",
               daemon->config.acl_tests);
    if (r < 0 || !reload->tests || daemon->generation->lock_reason)
        return r;
    return qd_acl_tests_run(reload->tests, daemon->generation, first_tested, daemon);
}

int qd_reload_watch(struct qd_daemon *daemon)
{
    struct qd_reload *reload = calloc(1, sizeof(*reload));
    int r;

    if (!reload)
        return -ENOMEM;
    reload->daemon = daemon;
    uv_timer_init(&daemon->loop, &reload->back); /* can't fail: it only fills the handle */
    reload->back.data = reload;
    daemon->reload = reload;
    r = start_tests(reload);
    return r < 0 ? r : qd_watches_new(daemon, reload->tests != NULL, &reload->watches);
}

void qd_reload_close(struct qd_daemon *daemon)
{
    struct qd_reload *reload = daemon->reload;

    if (!reload)
        return;
    tell(reload->asked, "the daemon stops");
    tell(reload->backers, "the daemon stops");
    reload->asked = reload->backers = NULL;
    qd_watches_close(reload->watches);
    uv_close((uv_handle_t *)&reload->back, NULL);
}

void qd_reload_free(struct qd_daemon *daemon)
{
    if (!daemon->reload)
        return;
    qd_acl_tests_free(daemon->reload->tests);
    free(daemon->reload->watches);
    free(daemon->reload);
}
