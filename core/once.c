/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/once.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/check_acl.h"
#include "qd/config.h"
#include "qd/store.h"

int qd_once_check_store(const struct qd_config *config)
{
    char *path = qd_config_store_path(config);
    int r = path ? qd_store_check(path, stdout) : -ENOMEM;

    if (r < 0 && r != -EUCLEAN)
        fprintf(stderr, "qubesd: %s could not be checked: %s\n", path ? path : "the store", strerror(-r));
    free(path);
    return r;
}

int qd_once_copy_store(const struct qd_config *config)
{
    char *path = qd_config_store_path(config), *message = NULL;
    int r = path ? qd_store_copy(path, config->file, &message) : -ENOMEM;

    if (r < 0)
        fprintf(stderr, "qubesd: the store: %s\n", message ? message : strerror(-r));
    free(message);
    free(path);
    return r;
}

int qd_once_check_acl(const struct qd_config *config)
{
    char *message = NULL;
    int r = qd_check_acl(config, config->file, stdout, &message);

    if (r < 0)
        fprintf(stderr, "qubesd: not checked: %s\n", message ? message : strerror(-r));
    free(message);
    return r;
}
