/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Loading the extensions of a site.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "load_private.h"
#include "qd/log.h"
#include "qd/run.h"

static int load_extension_file(struct qd_load *load, const char *path, const char *shown)
{
    lua_State *L = load->generation->L;
    int r = qd_load_compile(load, path, shown);

    if (r < 0)
        return r;
    r = qd_load_core_hook(load, "site_begin", shown);
    if (r < 0)
        return r;
    lua_setupvalue(L, -2, 1);
    r = qd_load_run(load);
    if (r == 0)
        r = qd_load_core_hook(load, "site_end", shown);
    return r;
}

/* A message that has no place of its own gets the file's name. */
static void name_file(struct qd_load *load, const char *shown)
{
    char *message = load->message;

    if (!message || strncmp(message, "ext.d/", 6) == 0)
        return;
    if (asprintf(&load->message, "%s: %s", shown, message) < 0)
        load->message = NULL;
    free(message);
}

/* An extension of the site: its own environment, its own time. What it registers counts when the file has run
 * to its end. */
static int load_extension(struct qd_load *load, const char *path, const char *shown)
{
    struct qd_generation *generation = load->generation;
    uint64_t deadline = generation->script_deadline_ns, begin = uv_hrtime();
    int top = lua_gettop(generation->L), r;

    generation->script_deadline_ns = begin + QD_SITE_MILLISECONDS * UINT64_C(1000000);
    r = load_extension_file(load, path, shown);
    if (r < 0)
        name_file(load, shown);
    lua_settop(generation->L, top);
    generation->script_deadline_ns = deadline + (uv_hrtime() - begin);
    if (r == 0 || !load->options->ext_may_fail)
        return r;
    qd_log(QD_LOG_ERROR, "an extension does not load, and is left out: %s",
           load->message ? load->message : "no memory");
    free(load->message);
    load->message = NULL;
    return 0;
}

int qd_load_extensions(struct qd_load *load)
{
    struct stat status;

    if (!load->options->ext_dir || (stat(load->options->ext_dir, &status) < 0 && errno == ENOENT))
        return 0;
    return qd_load_folder(load, load->options->ext_dir, "ext.d", load_extension, 0);
}
