/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reload_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qd/generation.h"
#include "qd/log.h"
#include "qd/narrow.h"
#include "qd/reload.h"

#define SETTLE_MS 100 /* after the last change of a burst */
#define SETTLE_MAX_MS 1000
#define SETTLE_NARROW_MS                                                                                     \
    1000 /* who writes narrow rules can't make the daemon reload more often than this                        \
          */
#define TREES_MAX 32
#define POLICIES_MAX 4
#define FOLDERS 2

/* A directory of the qrexec policy. It may come and go (and so may the one of its includes), so its parent is
 * watched too. */
struct policy {
    uv_fs_event_t parent, directory, includes;
    char path[512];
};

struct qd_watches {
    struct qd_daemon *daemon;
    bool specs;
    uv_fs_event_t trees[TREES_MAX]; /* directories of scripts, of rules, of extensions */
    size_t tree_count;
    uv_fs_event_t folders[FOLDERS];
    struct policy policies[POLICIES_MAX];
    size_t policy_count;
    uv_fs_event_t narrows[QD_NARROWS_MAX]; /* the directories of the serving generation's narrow sets */
    size_t narrow_count;                   /* of those that are initialised */
    uv_timer_t settle;
    uint64_t first_change_ms;
};

/* Folders beneath the rules. They may come and go, too. */
static const char *const folder_names[FOLDERS] = {"shadow", "spec"};

/* Can't fail: it only fills the handle. */
static void init(struct qd_watches *watches, uv_fs_event_t *handle)
{
    uv_fs_event_init(&watches->daemon->loop, handle);
    handle->data = watches;
}

/* ---- what has changed ---- */

static void settled(uv_timer_t *timer)
{
    struct qd_watches *watches = timer->data;

    watches->first_change_ms = 0;
    if (!watches->daemon->stopping &&
        qd_reload_request(watches->daemon, "files have changed", NULL, NULL) < 0)
        qd_log(QD_LOG_ERROR, "no memory for a reload");
}

/* A burst is one reload: it waits for a pause, but not for ever. */
static void settle(struct qd_watches *watches)
{
    uint64_t now = uv_now(&watches->daemon->loop), wait = SETTLE_MS;

    if (!watches->first_change_ms)
        watches->first_change_ms = now;
    if (now + wait > watches->first_change_ms + SETTLE_MAX_MS)
        wait = now < watches->first_change_ms + SETTLE_MAX_MS ? watches->first_change_ms + SETTLE_MAX_MS - now
                                                              : 0;
    uv_timer_start(&watches->settle, settled, wait, 0);
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

static void watch_folders(struct qd_watches *watches)
{
    for (size_t i = 0; i < FOLDERS; i++) {
        char path[4096];

        uv_fs_event_stop(&watches->folders[i]);
        if (strcmp(folder_names[i], "spec") == 0 && !watches->specs)
            continue;
        snprintf(path, sizeof(path), "%s/%s", watches->daemon->config.acl_dir, folder_names[i]);
        uv_fs_event_start(&watches->folders[i], changed, path, 0); /* fails when it isn't there */
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
static void watch_policies(struct qd_watches *watches)
{
    for (size_t i = 0; i < watches->policy_count; i++) {
        struct policy *policy = &watches->policies[i];
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
    struct qd_watches *watches = watch->data;

    (void)file;
    (void)events;
    if (status >= 0 && !uv_is_active((uv_handle_t *)&watches->settle))
        uv_timer_start(&watches->settle, settled, SETTLE_NARROW_MS, 0);
}

static bool is_watched(uv_fs_event_t *watch, const char *path)
{
    char watched[4096];
    size_t size = sizeof(watched);

    return uv_fs_event_getpath(watch, watched, &size) == 0 && strcmp(watched, path) == 0;
}

/* Watches the directories of the generation that serves now. Before a load, anew: one may have been replaced
 * by another of its name. After it, those that are new; they may have changed since they were read, so they
 * are read again. */
static void watch_narrows(struct qd_watches *watches, bool anew)
{
    const struct qd_generation *generation = watches->daemon->generation;

    while (watches->narrow_count < generation->narrow_count)
        init(watches, &watches->narrows[watches->narrow_count++]);
    for (size_t i = 0; i < watches->narrow_count; i++) {
        uv_fs_event_t *watch = &watches->narrows[i];
        const char *path = i < generation->narrow_count ? generation->narrows[i].directory : NULL;

        if (path && !anew && is_watched(watch, path))
            continue;
        uv_fs_event_stop(watch);
        if (path && uv_fs_event_start(watch, narrow_changed, path, 0) == 0 && !anew)
            narrow_changed(watch, NULL, 0, 0);
    }
}

/* The directories, with ':' between them. */
static void add_policies(struct qd_watches *watches, const char *directories)
{
    for (const char *rest = directories; *rest && watches->policy_count < POLICIES_MAX;) {
        struct policy *policy = &watches->policies[watches->policy_count];
        size_t size = strcspn(rest, ":");

        if (size && size < sizeof(policy->path) - 2) {
            snprintf(policy->path, sizeof(policy->path), "%s%.*s", memchr(rest, '/', size) ? "" : "./",
                     (int)size, rest);
            for (size_t end = strlen(policy->path); end > 1 && policy->path[end - 1] == '/';)
                policy->path[--end] = '\0';
            init(watches, &policy->parent);
            init(watches, &policy->directory);
            init(watches, &policy->includes);
            watches->policy_count++;
        }
        rest += size + (rest[size] == ':');
    }
}

static void watch(struct qd_watches *watches, const char *path)
{
    uv_fs_event_t *handle = &watches->trees[watches->tree_count];
    int r;

    if (watches->tree_count == TREES_MAX)
        return;
    init(watches, handle);
    watches->tree_count++;
    r = uv_fs_event_start(handle, changed, path, 0);
    if (r < 0)
        qd_log(QD_LOG_NOTICE, "%s is not watched for changes: %s", path, uv_strerror(r));
}

static void watch_tree(struct qd_watches *watches, const char *path, int depth)
{
    uv_fs_t request;
    uv_dirent_t entry;

    watch(watches, path);
    if (depth == 0)
        return;
    if (uv_fs_scandir(NULL, &request, path, 0, NULL) >= 0) {
        while (uv_fs_scandir_next(&request, &entry) == 0) {
            char below[4096];

            if (entry.type != UV_DIRENT_DIR || entry.name[0] == '.')
                continue;
            snprintf(below, sizeof(below), "%s/%s", path, entry.name);
            watch_tree(watches, below, depth - 1);
        }
    }
    uv_fs_req_cleanup(&request);
}

/* ---- what reload.c calls ---- */

int qd_watches_new(struct qd_daemon *daemon, bool specs, struct qd_watches **ret_watches)
{
    struct qd_watches *watches = calloc(1, sizeof(*watches));

    *ret_watches = watches;
    if (!watches)
        return -ENOMEM;
    watches->daemon = daemon;
    watches->specs = specs;
    uv_timer_init(&daemon->loop, &watches->settle); /* can't fail: it only fills the handle */
    watches->settle.data = watches;
    for (size_t i = 0; i < FOLDERS; i++)
        init(watches, &watches->folders[i]);
    watch_tree(watches, daemon->config.scripts_dir, 4);
    watch(watches, daemon->config.acl_dir);
    if (access(daemon->config.ext_dir, F_OK) == 0) /* most sites have none */
        watch(watches, daemon->config.ext_dir);
    add_policies(watches, daemon->config.policy_dir);
    qd_watches_renew(watches);
    return 0;
}

void qd_watches_renew(struct qd_watches *watches)
{
    watch_policies(watches);
    watch_folders(watches);
    watch_narrows(watches, true);
}

void qd_watches_serve(struct qd_watches *watches)
{
    watch_narrows(watches, false);
}

static void close_all(uv_fs_event_t *handles, size_t count)
{
    for (size_t i = 0; i < count; i++)
        uv_close((uv_handle_t *)&handles[i], NULL);
}

void qd_watches_close(struct qd_watches *watches)
{
    if (!watches)
        return;
    close_all(watches->trees, watches->tree_count);
    close_all(watches->folders, FOLDERS);
    close_all(watches->narrows, watches->narrow_count);
    for (size_t i = 0; i < watches->policy_count; i++) {
        close_all(&watches->policies[i].parent, 1);
        close_all(&watches->policies[i].directory, 1);
        close_all(&watches->policies[i].includes, 1);
    }
    uv_close((uv_handle_t *)&watches->settle, NULL);
}
