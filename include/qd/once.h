/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What qubesd does once, without a loop, instead of serving: --check-store, --copy-store, --check-acl. What
 * is found goes to standard output, what went wrong to standard error. 0 or negative errno.
 */
#ifndef QD_ONCE_H
#define QD_ONCE_H

#include "qd/daemon.h"

/* -EUCLEAN: there are defects. */
int qd_once_check_store(const struct qd_config *config);
int qd_once_copy_store(const struct qd_config *config);
/* Of the rules in the directory `config->file`. */
int qd_once_check_acl(const struct qd_config *config);

#endif
