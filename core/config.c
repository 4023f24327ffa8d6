/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_GROUP "qubes"

#ifndef QD_VERSION
#define QD_VERSION "0"
#endif

struct setting {
    const char *name;
    size_t offset;
    const char *built_in;
};

static const struct setting settings[] = {
    {"socket-dir", offsetof(struct qd_config, socket_dir), "/run"},
    {"state-dir", offsetof(struct qd_config, state_dir), "/var/lib/qubes"},
    {"scripts-dir", offsetof(struct qd_config, scripts_dir), "/usr/share/qubesd/scripts"},
    {"acl-dir", offsetof(struct qd_config, acl_dir), "/etc/qubes/acl.d"},
    {"ext-dir", offsetof(struct qd_config, ext_dir), "/etc/qubes/ext.d"},
    {"policy-dir", offsetof(struct qd_config, policy_dir), "/run/qubes/policy.d:/etc/qubes/policy.d"},
    {"qubesdb-dir", offsetof(struct qd_config, qubesdb_dir), "/var/run/qubes"},
    {"kernels-dir", offsetof(struct qd_config, kernels_dir), NULL},
    {"libvirt-uri", offsetof(struct qd_config, libvirt_uri), "test:///default"},
    {"acl-tests", offsetof(struct qd_config, acl_tests), "no"},
    {"acl-coverage", offsetof(struct qd_config, acl_coverage), NULL},
    {"group", offsetof(struct qd_config, group), NULL},
    {"audit-file", offsetof(struct qd_config, audit_file), ""},
    {"audit-dom0", offsetof(struct qd_config, audit_dom0), "no"},
};

#define SETTING_COUNT (sizeof(settings) / sizeof(settings[0]))

static char **field(struct qd_config *config, const struct setting *setting)
{
    return (char **)((char *)config + setting->offset);
}

static int set(struct qd_config *config, const char *name, const char *value)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (strcmp(settings[i].name, name) == 0) {
            char *copy = strdup(value);

            if (!copy)
                return -ENOMEM;
            free(*field(config, &settings[i]));
            *field(config, &settings[i]) = copy;
            return 0;
        }
    }
    return -ENOENT;
}

static char *trim(char *text)
{
    char *end;

    while (isspace((unsigned char)*text))
        text++;
    end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text;
}

static int read_line(struct qd_config *config, char *line)
{
    char *name = trim(line), *equals;

    if (*name == '\0' || *name == '#')
        return 0;
    equals = strchr(name, '=');
    if (!equals)
        return -EINVAL;
    *equals = '\0';
    return set(config, trim(name), trim(equals + 1));
}

static int read_file(struct qd_config *config, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t space = 0;
    int r = 0;

    if (!file)
        return errno == ENOENT ? 0 : -errno;
    for (unsigned number = 1; r == 0 && getline(&line, &space, file) >= 0; number++) {
        r = read_line(config, line);
        if (r < 0)
            fprintf(stderr,
                    "qubesd: %s:%u: expected 'name = value' with the name of an option without its dashes\n",
                    path, number);
    }
    free(line);
    fclose(file);
    return r;
}

static void help(void)
{
    printf("usage: qubesd [option]...\n"
           "Manages the qubes of this machine: serves the Admin API on UNIX sockets.\n\n"
           "  --socket-dir DIR    where the sockets are made (/run)\n"
           "  --state-dir DIR     where the store is (/var/lib/qubes)\n"
           "  --scripts-dir DIR   the API's scripts (/usr/share/qubesd/scripts)\n"
           "  --acl-dir DIR       the rules (/etc/qubes/acl.d)\n"
           "  --ext-dir DIR       the site's own extensions (/etc/qubes/ext.d)\n"
           "  --policy-dir DIRS   the qrexec policy (/run/qubes/policy.d:/etc/qubes/policy.d)\n"
           "  --qubesdb-dir DIR   sockets of QubesDB's daemons (/var/run/qubes)\n"
           "  --acl-tests yes     rules whose tests fail are not loaded (no)\n"
           "  --acl-coverage FILE which lines of rules have run, written at the end (for qubesd-acl test)\n"
           "  --kernels-dir DIR   kernels of qubes (vm-kernels in the state directory)\n"
           "  --libvirt-uri URI   the hypervisor (test:///default)\n"
           "  --group NAME        the sockets' group (qubes, if there is one)\n"
           "  --audit-file FILE   a line of JSON for each decision about a call (none)\n"
           "  --audit-dom0 yes    also for calls of dom0 itself (no)\n"
           "  --debug             log more, and show tracebacks to callers\n"
           "  --check-acl DIR     load these rules, say what is wrong with them, and exit (for qubesd-acl "
           "check)\n"
           "  --check-store       check the store, change nothing, and exit\n"
           "  --copy-store FILE   write the store as it is to a new file, and exit\n"
           "  --import-xml FILE   read a qubes.xml into the empty store, and exit\n"
           "  --export-xml FILE   write the store as a qubes.xml, and exit\n"
           "  --version, --help\n\n"
           "The same names, without dashes, can stand in " QD_CONFIG_FILE " as 'name = value'.\n");
}

static int read_options(int argc, char **argv, struct qd_config *config, enum qd_action *ret_action)
{
    enum { SETTING = 256, DEBUG, CHECK, COPY, CHECK_ACL, IMPORT, EXPORT, VERSION, HELP };
    struct option options[SETTING_COUNT + 9] = {0};
    int option, index;

    for (size_t i = 0; i < SETTING_COUNT; i++)
        options[i] = (struct option){settings[i].name, required_argument, NULL, SETTING};
    options[SETTING_COUNT] = (struct option){"debug", no_argument, NULL, DEBUG};
    options[SETTING_COUNT + 1] = (struct option){"check-store", no_argument, NULL, CHECK};
    options[SETTING_COUNT + 2] = (struct option){"version", no_argument, NULL, VERSION};
    options[SETTING_COUNT + 3] = (struct option){"help", no_argument, NULL, HELP};
    options[SETTING_COUNT + 4] = (struct option){"import-xml", required_argument, NULL, IMPORT};
    options[SETTING_COUNT + 5] = (struct option){"export-xml", required_argument, NULL, EXPORT};
    options[SETTING_COUNT + 6] = (struct option){"copy-store", required_argument, NULL, COPY};
    options[SETTING_COUNT + 7] = (struct option){"check-acl", required_argument, NULL, CHECK_ACL};
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        switch (option) {
        case SETTING:
            if (set(config, options[index].name, optarg) < 0)
                return -ENOMEM;
            break;
        case DEBUG:
            config->debug = true;
            break;
        case CHECK:
            *ret_action = QD_ACTION_CHECK_STORE;
            break;
        case IMPORT:
        case EXPORT:
        case COPY:
        case CHECK_ACL:
            free(config->file);
            config->file = strdup(optarg);
            if (!config->file)
                return -ENOMEM;
            *ret_action = option == IMPORT   ? QD_ACTION_IMPORT_XML
                          : option == EXPORT ? QD_ACTION_EXPORT_XML
                          : option == COPY   ? QD_ACTION_COPY_STORE
                                             : QD_ACTION_CHECK_ACL;
            break;
        case VERSION:
            printf("qubesd " QD_VERSION "\n");
            *ret_action = QD_ACTION_EXIT;
            return 0;
        case HELP:
            help();
            *ret_action = QD_ACTION_EXIT;
            return 0;
        default:
            fprintf(stderr, "qubesd: --help lists the options\n");
            return -EINVAL;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "qubesd: unexpected '%s'; --help lists the options\n", argv[optind]);
        return -EINVAL;
    }
    return 0;
}

/* A group that somebody asked for must be there; the usual one need not. */
static int find_group(struct qd_config *config)
{
    const char *name = config->group ? config->group : USUAL_GROUP;
    const struct group *group;

    config->group_id = QD_NO_GROUP;
    if (!*name)
        return 0;
    errno = 0;
    group = getgrnam(name);
    if (group) {
        config->group_id = group->gr_gid;
    } else if (config->group) {
        fprintf(stderr,
                "qubesd: --group %s: %s; expected the name of a group that exists, or an empty one for the "
                "daemon's own\n",
                name, errno && errno != ENOENT ? strerror(errno) : "there is no such group");
        return -EINVAL;
    }
    return 0;
}

int qd_config_read(int argc, char **argv, struct qd_config *config, enum qd_action *ret_action)
{
    int r = 0;

    *ret_action = QD_ACTION_RUN;
    for (size_t i = 0; r == 0 && i < SETTING_COUNT; i++) {
        if (settings[i].built_in)
            r = set(config, settings[i].name, settings[i].built_in);
    }
    if (r == 0)
        r = read_file(config, QD_CONFIG_FILE);
    if (r == 0)
        r = read_options(argc, argv, config, ret_action);
    if (r == 0 && !config->kernels_dir &&
        asprintf(&config->kernels_dir, "%s/vm-kernels", config->state_dir) < 0)
        r = -ENOMEM;
    if (r == 0 && *ret_action == QD_ACTION_RUN)
        r = find_group(config);
    return r;
}

void qd_config_free(struct qd_config *config)
{
    free(config->file);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        free(*field(config, &settings[i]));
}

char *qd_config_store_path(const struct qd_config *config)
{
    char *path;

    return asprintf(&path, "%s/qubesd.db", config->state_dir) < 0 ? NULL : path;
}
