/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "qd/acl_tests.h"
#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/generation.h"
#include "qd/grant.h"
#include "qd/limit.h"
#include "qd/log.h"
#include "qd/narrow.h"
#include "qd/notify.h"
#include "qd/run.h"

#define SETTLE_MS 100 /* after the last change of a burst */
#define SETTLE_MAX_MS 1000
#define SETTLE_NARROW_MS                                                                                     \
    1000 /* who writes narrow rules can't make the daemon reload more often than this                        \
          */
#define WATCHES_MAX 32
#define POLICIES_MAX 4
#define FOLDERS 2

struct asker {
    struct asker *next;
    void (*done)(void *context, const char *error);
    void *context;
};

/* A directory of the qrexec policy. It may come and go (and so may the one of its includes), so its parent is
 * watched too. */
struct policy {
    uv_fs_event_t parent, directory, includes;
    char path[512];
};

struct qd_reload {
    struct qd_daemon *daemon;
    struct policy policies[POLICIES_MAX];
    size_t policy_count;
    uv_fs_event_t watches[WATCHES_MAX];
    size_t watch_count;
    uv_fs_event_t folders[FOLDERS];
    uv_fs_event_t narrows[QD_NARROWS_MAX]; /* the directories of the serving generation's narrow sets */
    size_t narrow_count;                   /* of those that are initialised */
    uv_timer_t settle, back;
    struct asker *backers; /* who asked to go back */
    uint64_t first_change_ms;
    uv_work_t work;
    bool loading;
    struct asker *asked;        /* since the last load began */
    struct asker *served;       /* by the load that is under way */
    unsigned handles;           /* open */
    struct qd_acl_tests *tests; /* NULL: what loads is not tested */
    /* the work's results */
    struct qd_generation *generation;
    char *message;
    bool rules;
};

/* Folders beneath the rules. They may come and go, too. */
static const char *const folder_names[FOLDERS] = {"shadow", "spec"};

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
static void watch_narrows(struct qd_reload *reload, bool anew);
static void watch_policies(struct qd_reload *reload);
static void watch_folders(struct qd_reload *reload);

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
    watch_narrows(reload, false);
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
    watch_policies(reload); /* before the files are read, so that no change is missed */
    watch_folders(reload);
    watch_narrows(reload, true);
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

static void settled(uv_timer_t *timer)
{
    struct qd_reload *reload = timer->data;

    reload->first_change_ms = 0;
    if (!reload->daemon->stopping && qd_reload_request(reload->daemon, "files have changed", NULL, NULL) < 0)
        qd_log(QD_LOG_ERROR, "no memory for a reload");
}

/* A burst is one reload: it waits for a pause, but not for ever. */
static void settle(struct qd_reload *reload)
{
    uint64_t now = uv_now(&reload->daemon->loop), wait = SETTLE_MS;

    if (!reload->first_change_ms)
        reload->first_change_ms = now;
    if (now + wait > reload->first_change_ms + SETTLE_MAX_MS)
        wait =
            now < reload->first_change_ms + SETTLE_MAX_MS ? reload->first_change_ms + SETTLE_MAX_MS - now : 0;
    uv_timer_start(&reload->settle, settled, wait, 0);
}

static bool is_folder(const char *file)
{
    return strcmp(file, folder_names[0]) == 0 || strcmp(file, folder_names[1]) == 0;
}

static void changed(uv_fs_event_t *watch, const char *file, int events, int status)
{
    size_t size = file ? strlen(file) : 0;

    (void)events;
    if (status >= 0 && (size == 0 || (size >= 4 && strcmp(file + size - 4, ".lua") == 0) || is_folder(file)))
        settle(watch->data);
}

static void watch_folders(struct qd_reload *reload)
{
    for (size_t i = 0; i < FOLDERS; i++) {
        char path[4096];

        uv_fs_event_stop(&reload->folders[i]);
        if (strcmp(folder_names[i], "spec") == 0 && !reload->tests)
            continue;
        snprintf(path, sizeof(path), "%s/%s", reload->daemon->config.acl_dir, folder_names[i]);
        uv_fs_event_start(&reload->folders[i], changed, path, 0); /* fails when it isn't there */
    }
}

/* An included file may have any name. Names that begin with a dot are those of editors. */
static void policy_changed(uv_fs_event_t *watch, const char *file, int events, int status)
{
    (void)events;
    if (status >= 0 && !(file && file[0] == '.'))
        settle(watch->data);
}

static void policy_parent_changed(uv_fs_event_t *watch, const char *file, int events, int status)
{
    const struct policy *policy =
        (const struct policy *)((const char *)watch - offsetof(struct policy, parent));

    (void)events;
    if (status >= 0 && file && strcmp(file, strrchr(policy->path, '/') + 1) == 0)
        settle(watch->data);
}

/* Watches what is there now; what is not there is not watched. */
static void watch_policies(struct qd_reload *reload)
{
    for (size_t i = 0; i < reload->policy_count; i++) {
        struct policy *policy = &reload->policies[i];
        char path[520];

        uv_fs_event_stop(&policy->parent);
        uv_fs_event_stop(&policy->directory);
        uv_fs_event_stop(&policy->includes);
        snprintf(path, sizeof(path), "%.*s/", (int)(strrchr(policy->path, '/') - policy->path), policy->path);
        uv_fs_event_start(&policy->parent, policy_parent_changed, path, 0);
        uv_fs_event_start(&policy->directory, policy_changed, policy->path, 0);
        snprintf(path, sizeof(path), "%s/include", policy->path);
        uv_fs_event_start(&policy->includes, policy_changed, path, 0);
    }
}

static void narrow_changed(uv_fs_event_t *watch, const char *file, int events, int status)
{
    struct qd_reload *reload = watch->data;

    (void)file;
    (void)events;
    if (status >= 0 && !uv_is_active((uv_handle_t *)&reload->settle))
        uv_timer_start(&reload->settle, settled, SETTLE_NARROW_MS, 0);
}

static bool is_watched(uv_fs_event_t *watch, const char *path)
{
    char watched[4096];
    size_t size = sizeof(watched);

    return uv_fs_event_getpath(watch, watched, &size) == 0 && strcmp(watched, path) == 0;
}

static void init_narrow_watch(struct qd_reload *reload)
{
    uv_fs_event_t *watch = &reload->narrows[reload->narrow_count++];

    uv_fs_event_init(&reload->daemon->loop, watch); /* can't fail: it only fills the handle */
    watch->data = reload;
    reload->handles++;
}

/* Watches the directories of the generation that serves now. Before a load, anew: one may have been replaced
 * by another of its name. After it, those that are new; they may have changed since they were read, so they
 * are read again. */
static void watch_narrows(struct qd_reload *reload, bool anew)
{
    const struct qd_generation *generation = reload->daemon->generation;

    while (reload->narrow_count < generation->narrow_count)
        init_narrow_watch(reload);
    for (size_t i = 0; i < reload->narrow_count; i++) {
        uv_fs_event_t *watch = &reload->narrows[i];
        const char *path = i < generation->narrow_count ? generation->narrows[i].directory : NULL;

        if (path && !anew && is_watched(watch, path))
            continue;
        uv_fs_event_stop(watch);
        if (path && uv_fs_event_start(watch, narrow_changed, path, 0) == 0 && !anew)
            narrow_changed(watch, NULL, 0, 0);
    }
}

static void init_policy_watch(struct qd_reload *reload, uv_fs_event_t *handle)
{
    uv_fs_event_init(&reload->daemon->loop, handle); /* can't fail: it only fills the handle */
    handle->data = reload;
    reload->handles++;
}

/* The directories, with ':' between them. */
static void add_policies(struct qd_reload *reload, const char *directories)
{
    for (const char *rest = directories; *rest && reload->policy_count < POLICIES_MAX;) {
        struct policy *policy = &reload->policies[reload->policy_count];
        size_t size = strcspn(rest, ":");

        if (size && size < sizeof(policy->path) - 2) {
            snprintf(policy->path, sizeof(policy->path), "%s%.*s", memchr(rest, '/', size) ? "" : "./",
                     (int)size, rest);
            for (size_t end = strlen(policy->path); end > 1 && policy->path[end - 1] == '/';)
                policy->path[--end] = '\0';
            init_policy_watch(reload, &policy->parent);
            init_policy_watch(reload, &policy->directory);
            init_policy_watch(reload, &policy->includes);
            reload->policy_count++;
        }
        rest += size + (rest[size] == ':');
    }
    watch_policies(reload);
}

static void watch(struct qd_reload *reload, const char *path)
{
    uv_fs_event_t *handle = &reload->watches[reload->watch_count];
    int r;

    if (reload->watch_count == WATCHES_MAX || uv_fs_event_init(&reload->daemon->loop, handle) < 0)
        return;
    handle->data = reload;
    reload->watch_count++;
    reload->handles++;
    r = uv_fs_event_start(handle, changed, path, 0);
    if (r < 0)
        qd_log(QD_LOG_NOTICE, "%s is not watched for changes: %s", path, uv_strerror(r));
}

static void watch_tree(struct qd_reload *reload, const char *path, int depth)
{
    uv_fs_t request;
    uv_dirent_t entry;

    watch(reload, path);
    if (depth == 0)
        return;
    if (uv_fs_scandir(NULL, &request, path, 0, NULL) >= 0) {
        while (uv_fs_scandir_next(&request, &entry) == 0) {
            char below[4096];

            if (entry.type != UV_DIRENT_DIR || entry.name[0] == '.')
                continue;
            snprintf(below, sizeof(below), "%s/%s", path, entry.name);
            watch_tree(reload, below, depth - 1);
        }
    }
    uv_fs_req_cleanup(&request);
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
    uv_timer_init(&daemon->loop, &reload->settle); /* can't fail: they only fill the handles */
    uv_timer_init(&daemon->loop, &reload->back);
    reload->settle.data = reload->back.data = reload;
    reload->handles = 2;
    daemon->reload = reload;
    watch_tree(reload, daemon->config.scripts_dir, 4);
    watch(reload, daemon->config.acl_dir);
    if (access(daemon->config.ext_dir, F_OK) == 0) /* most sites have none */
        watch(reload, daemon->config.ext_dir);
    add_policies(reload, daemon->config.policy_dir);
    watch_narrows(reload, true);
    for (size_t i = 0; i < FOLDERS; i++) {
        uv_fs_event_init(&daemon->loop, &reload->folders[i]);
        reload->folders[i].data = reload;
    }
    reload->handles += FOLDERS;
    r = start_tests(reload);
    watch_folders(reload);
    return r;
}

static void handle_closed(uv_handle_t *handle)
{
    struct qd_reload *reload = handle->data;

    /* The struct itself goes with the daemon, since a load may still be under way. */
    reload->handles--;
}

void qd_reload_close(struct qd_daemon *daemon)
{
    struct qd_reload *reload = daemon->reload;

    if (!reload)
        return;
    tell(reload->asked, "the daemon stops");
    tell(reload->backers, "the daemon stops");
    reload->asked = reload->backers = NULL;
    for (size_t i = 0; i < reload->watch_count; i++)
        uv_close((uv_handle_t *)&reload->watches[i], handle_closed);
    for (size_t i = 0; i < reload->narrow_count; i++)
        uv_close((uv_handle_t *)&reload->narrows[i], handle_closed);
    for (size_t i = 0; i < reload->policy_count; i++) {
        uv_close((uv_handle_t *)&reload->policies[i].parent, handle_closed);
        uv_close((uv_handle_t *)&reload->policies[i].directory, handle_closed);
        uv_close((uv_handle_t *)&reload->policies[i].includes, handle_closed);
    }
    for (size_t i = 0; i < FOLDERS; i++)
        uv_close((uv_handle_t *)&reload->folders[i], handle_closed);
    uv_close((uv_handle_t *)&reload->settle, handle_closed);
    uv_close((uv_handle_t *)&reload->back, handle_closed);
}

void qd_reload_free(struct qd_daemon *daemon)
{
    if (daemon->reload)
        qd_acl_tests_free(daemon->reload->tests);
    free(daemon->reload);
}
