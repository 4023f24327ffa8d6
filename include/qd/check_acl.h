/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * --check-acl: a directory of rules, loaded as the daemon would load it, to see what is wrong with it.
 */
#ifndef QD_CHECK_ACL_H
#define QD_CHECK_ACL_H

#include <stdio.h>

#include "qd/daemon.h"

/* Loads scripts, extensions and the rules in `directory`, and writes what scripts/lib/rule_findings.lua makes
 * of it: JSON, one object a line. No store, no libvirt, no policy. 0, whatever was found; negative errno when
 * the scripts or the directory can't be read, with `ret_message` (malloc) or NULL. Any thread; raises
 * nothing. */
int qd_check_acl(const struct qd_config *config, const char *directory, FILE *stream, char **ret_message);

#endif
