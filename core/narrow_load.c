/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Declaring narrow sets, and reading their files: by descriptors from the root of the path on, through no
 * symbolic link, and only what belongs to the directory's owner or to root and nobody else may write.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qd/generation.h"
#include "qd/log.h"
#include "qd/narrow.h"

#define PATH_BYTES_MAX 200
#define WRITABLE (S_IWGRP | S_IWOTH)

void qd_narrow_free(struct qd_narrow *narrow)
{
    qd_selector_free(&narrow->src);
    qd_selector_free(&narrow->tag);
    free(narrow->directory);
    free(narrow->shown);
    free(narrow->file);
    for (size_t i = 0; i < narrow->hook_count; i++)
        qd_hook_free(&narrow->hooks[i]);
    free(narrow->hooks);
    free(narrow->judges);
    free(narrow->problem);
}

/* ---- declaring ---- */

static const char *acl_dir_of(lua_State *L)
{
    const struct qd_load *load;

    lua_getfield(L, LUA_REGISTRYINDEX, QD_LOAD);
    load = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return qd_load_options_of(load)->acl_dir;
}

/* False: no memory. */
static bool fill(struct qd_narrow *narrow, const char *acl_dir, const char *path, const char *src,
                 const char *tag, const lua_Debug *place)
{
    bool from_root = path[0] == '/';

    if (asprintf(&narrow->directory, "%s%s%s", from_root ? "" : acl_dir, from_root ? "" : "/", path) < 0)
        narrow->directory = NULL;
    if (asprintf(&narrow->shown, "%s%s", from_root ? "" : "acl.d/", path) < 0)
        narrow->shown = NULL;
    narrow->file = strdup(place->short_src);
    narrow->line = place->currentline;
    return qd_selector_init(&narrow->src, src) == 0 && qd_selector_init(&narrow->tag, tag) == 0 &&
           narrow->directory && narrow->shown && narrow->file;
}

static const char *add(struct qd_generation *generation, struct qd_narrow *narrow, bool filled)
{
    struct qd_narrow *grown = NULL;
    bool room = generation->narrow_count < QD_NARROWS_MAX;

    if (filled && room)
        grown = realloc(generation->narrows, (generation->narrow_count + 1) * sizeof(*grown));
    if (grown) {
        generation->narrows = grown;
        grown[generation->narrow_count++] = *narrow;
        return NULL;
    }
    qd_narrow_free(narrow);
    return room ? "no memory" : "narrow: too many of them";
}

int qd_narrow_bind(lua_State *L)
{
    static const char *const names[] = {"tag", "src", NULL};
    struct qd_narrow narrow = {0};
    const char *path = luaL_checkstring(L, 1), *src, *tag, *problem;
    lua_Debug place;

    lua_settop(L, 2);
    lua_insert(L, 1); /* the table is what the fields are read from */
    qd_declare_check_fields(L, "narrow", names);
    if (path[0] == '\0' || strlen(path) > PATH_BYTES_MAX || strlen(path) != lua_rawlen(L, 2))
        return luaL_error(L, "narrow: the path has 1 to %d bytes, and no NUL", PATH_BYTES_MAX);
    tag = qd_declare_field_string(L, "narrow", "tag", true);
    tag = lua_pushfstring(L, "tag:%s", tag);
    qd_declare_check_selector(L, "narrow", "tag", tag);
    src = qd_declare_field_string(L, "narrow", "src", false);
    if (src)
        qd_declare_check_selector(L, "narrow", "src", src);
    qd_declare_place(L, &place);
    problem =
        add(qd_generation_of(L), &narrow, fill(&narrow, acl_dir_of(L), path, src ? src : "*", tag, &place));
    return problem ? luaL_error(L, "%s", problem) : 0;
}

/* ---- reading ---- */

/* What is read of one set. */
struct reading {
    struct qd_load *load;
    struct qd_narrow *narrow;
    int directory; /* descriptor, or -1 */
    uid_t owner;
    size_t bytes;
    bool placed; /* the problem names file and line */
    uint64_t until_ns;
};

static int fail(struct reading *reading, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct reading *reading, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&reading->narrow->problem, format, arguments) < 0)
        reading->narrow->problem = NULL; /* the caller sees to it */
    va_end(arguments);
    return -EINVAL;
}

/* Opens the next directory of a path, and closes the one before. */
static int step(int parent, const char *name, int flags)
{
    int next = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags), error = errno;

    if (parent >= 0)
        close(parent);
    errno = error;
    return next;
}

/* The set's directory. The acl directory itself may be reached by links; what comes after it may not. */
static int open_directory(struct reading *reading, const char *acl_dir)
{
    const char *path = reading->narrow->directory;
    bool below = strncmp(path, acl_dir, strlen(acl_dir)) == 0 && path[strlen(acl_dir)] == '/' &&
                 strncmp(reading->narrow->shown, "acl.d/", 6) == 0;
    char *copy = strdup(below ? path + strlen(acl_dir) : path), *rest = NULL;
    int fd = copy ? open(below ? acl_dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    for (char *name = copy ? strtok_r(copy, "/", &rest) : NULL; name && fd >= 0;
         name = strtok_r(NULL, "/", &rest)) {
        if (strcmp(name, "..") == 0) {
            close(fd);
            fd = -1;
            errno = EINVAL;
        } else {
            fd = step(fd, name, O_NOFOLLOW);
        }
    }
    free(copy);
    reading->directory = fd;
    return fd < 0 ? fail(reading, "%s: is no directory that can be read without following links: %s",
                         reading->narrow->shown, strerror(errno))
                  : 0;
}

static int check_directory(struct reading *reading)
{
    struct stat status;

    if (fstat(reading->directory, &status) < 0)
        return fail(reading, "%s: %s", reading->narrow->shown, strerror(errno));
    if (status.st_mode & WRITABLE)
        return fail(reading, "%s: others than its owner may write to it", reading->narrow->shown);
    reading->owner = status.st_uid;
    return 0;
}

/* Opens and checks; the size of the file is in `ret_size`. */
static int open_file(struct reading *reading, const char *name, const char *shown, int *ret_fd,
                     size_t *ret_size)
{
    struct stat status;
    int fd = openat(reading->directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), r = 0;

    if (fd < 0)
        return fail(reading, "%s: cannot be read, or is a link: %s", shown, strerror(errno));
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        r = fail(reading, "%s: is no regular file", shown);
    else if (status.st_uid != reading->owner && status.st_uid != 0)
        r = fail(reading, "%s: belongs neither to the directory's owner nor to root", shown);
    else if (status.st_mode & WRITABLE)
        r = fail(reading, "%s: others than its owner may write to it", shown);
    else if ((size_t)status.st_size > QD_NARROW_BYTES_MAX - reading->bytes)
        r = fail(reading, "%s: with it the files have more than %u bytes", shown, QD_NARROW_BYTES_MAX);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    *ret_size = (size_t)status.st_size;
    return 0;
}

/* As much as the file had when it was opened. */
static int read_text(struct reading *reading, int fd, const char *shown, char *text, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, text + done, size - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail(reading, "%s: cannot be read, or was cut short meanwhile", shown);
        done += (size_t)got;
    }
    reading->bytes += size;
    return 0;
}

static int load_file(struct reading *reading, const char *name)
{
    char shown[512], *text = NULL;
    size_t size = 0;
    int fd = -1, r;

    snprintf(shown, sizeof(shown), "%.250s/%.250s", reading->narrow->shown, name);
    r = open_file(reading, name, shown, &fd, &size);
    if (r < 0)
        return r;
    text = malloc(size + 1);
    r = text ? read_text(reading, fd, shown, text, size) : fail(reading, "no memory");
    close(fd);
    if (r == 0) {
        r = qd_load_narrow_rule(reading->load, shown, text, size, reading->until_ns);
        if (r < 0) {
            reading->narrow->problem = qd_load_take_message(reading->load);
            reading->placed = true;
        }
    }
    free(text);
    return r;
}

static int load_files(struct reading *reading)
{
    struct dirent **entries;
    int count = scandirat(reading->directory, ".", &entries, qd_load_is_lua, qd_load_in_byte_order), r = 0;

    if (count < 0)
        return fail(reading, "%s: cannot be read: %s", reading->narrow->shown, strerror(errno));
    if (count > QD_NARROW_FILES_MAX)
        r = fail(reading, "%s: more than %d files", reading->narrow->shown, QD_NARROW_FILES_MAX);
    for (int i = 0; i < count; i++) {
        if (r == 0)
            r = load_file(reading, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return r;
}

/* Where all mistakes are wanted. One of a directory is that of the line that names it. */
static void report(const struct reading *reading)
{
    const struct qd_load_options *options = qd_load_options_of(reading->load);
    const struct qd_narrow *narrow = reading->narrow;
    const char *problem = narrow->problem ? narrow->problem : "no memory";
    char message[512];

    if (!options->report)
        return;
    snprintf(message, sizeof(message), "%s:%d: %s", narrow->file, narrow->line, problem);
    options->report(options->report_context, true, reading->placed ? problem : message);
}

static void load_set(struct qd_load *load, struct qd_narrow *narrow)
{
    struct reading reading = {.load = load,
                              .narrow = narrow,
                              .until_ns = uv_hrtime() + QD_NARROW_LOAD_MILLISECONDS * UINT64_C(1000000)};
    int r = open_directory(&reading, qd_load_options_of(load)->acl_dir);

    if (r == 0)
        r = check_directory(&reading);
    if (r == 0)
        r = load_files(&reading);
    if (reading.directory >= 0)
        close(reading.directory);
    if (r == 0)
        return;
    narrow->refused = true;
    report(&reading);
    qd_log(QD_LOG_ERROR, "narrow rules do not load, so nobody but dom0 gets at qubes with %s: %s",
           narrow->tag.text, narrow->problem ? narrow->problem : "no memory");
    /* What did not load is part of what the digest stands for. */
    if (narrow->problem)
        qd_load_digest(load, narrow->shown, narrow->problem, strlen(narrow->problem));
}

void qd_narrow_load(struct qd_load *load, struct qd_generation *generation)
{
    for (size_t i = 0; i < generation->narrow_count; i++) {
        generation->narrowing = &generation->narrows[i];
        load_set(load, generation->narrowing);
    }
    generation->narrowing = NULL;
}
