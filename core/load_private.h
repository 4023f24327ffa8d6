/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What loading consists of, between load.c, load_rules.c and load_ext.c. All functions give 0 or -EINVAL, and
 * then the load has a message.
 */
#ifndef QD_LOAD_PRIVATE_H
#define QD_LOAD_PRIVATE_H

#include <sha256.h>

#include "qd/generation.h"

#define QD_LOAD_FILES_MAX 4096

/* What a load carries along; the state finds it in the registry. */
struct qd_load {
    const struct qd_load_options *options;
    struct qd_generation *generation;
    SHA2_CTX digest, code_digest;
    unsigned files;
    char *message;
};

/* ---- load.c ---- */

/* Sets the message, unless there is one. */
int qd_load_fail(struct qd_load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Compiles a text, or a file that is read for it; leaves the chunk on the stack. */
int qd_load_compile_text(struct qd_load *load, const char *shown, const char *text, size_t size);
int qd_load_compile(struct qd_load *load, const char *path, const char *shown);
/* Runs the chunk on the stack's top; its first result is left on success. */
int qd_load_run(struct qd_load *load);
/* A hook of core_hooks with one string, see scripts/lib/site.lua; its first result is left on success. */
int qd_load_core_hook(struct qd_load *load, const char *name, const char *argument);
/* Loads all Lua files of a folder, and of the folders in it down to the depth, in byte order. */
typedef int (*qd_load_fn)(struct qd_load *load, const char *path, const char *shown);
int qd_load_folder(struct qd_load *load, const char *path, const char *shown, qd_load_fn load_one, int depth);

/* ---- load_rules.c ---- */

int qd_load_rules(struct qd_load *load);
/* After the methods are known. A rule that no method has an event for would never be asked, most likely
 * because of a misspelled name: what it was to refuse would be permitted. The scripts know which names are
 * all right in spite of it. */
int qd_load_check_rules(struct qd_load *load);

/* ---- load_ext.c ---- */

int qd_load_extensions(struct qd_load *load);

#endif
