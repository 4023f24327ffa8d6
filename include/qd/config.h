/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Settings: built-in paths, then /etc/qubes/qubesd.conf (`name = value`, `#` comments), then the command
 * line.
 */
#ifndef QD_CONFIG_H
#define QD_CONFIG_H

#include "qd/daemon.h"

#define QD_CONFIG_FILE "/etc/qubes/qubesd.conf"

enum qd_action {
    QD_ACTION_RUN,
    QD_ACTION_CHECK_STORE,
    QD_ACTION_COPY_STORE,
    QD_ACTION_CHECK_ACL,
    QD_ACTION_IMPORT_XML,
    QD_ACTION_EXPORT_XML,
    QD_ACTION_EXIT
};

/* Fills the settings. 0 and what is to be done; -EINVAL: a wrong option or line, which has been told on
 * stderr. */
int qd_config_read(int argc, char **argv, struct qd_config *config, enum qd_action *ret_action);
void qd_config_free(struct qd_config *config);

#endif
