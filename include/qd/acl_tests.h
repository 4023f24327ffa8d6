/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The setting acl-tests: what has loaded is tested before it serves. `qubesd-acl test` runs as a program of
 * its own, with qubesds of its own; it reads the files a second time, so it gets the digest of what was
 * loaded, and ends with an error when it reads anything else. Loop's thread.
 */
#ifndef QD_ACL_TESTS_H
#define QD_ACL_TESTS_H

#include "qd/daemon.h"

#define QD_ACL_TESTS_SECONDS 60 /* then they have failed */

struct qd_acl_tests;

/* At start. NULL in `ret_tests`: the configuration wants none. -ENOMEM; -EINVAL: the setting is neither yes
 * nor no nor a path from the root. */
int qd_acl_tests_new(struct qd_daemon *daemon, struct qd_acl_tests **ret_tests);
void qd_acl_tests_free(struct qd_acl_tests *tests);
/* Begins to test the files that this generation was made of. `done` is called once, later, with what is
 * wrong, or with NULL when all tests have passed; also when the daemon stops meanwhile. -EAGAIN, -ENOMEM: not
 * begun. */
int qd_acl_tests_run(struct qd_acl_tests *tests, const struct qd_generation *generation,
                     void (*done)(void *context, const char *problem), void *context);

#endif
