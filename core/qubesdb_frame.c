/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "qd/qubesdb.h"

#define PATH_AT 1
#define SIZE_AT 68

bool qd_qubesdb_is_path(const char *path, size_t size)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/.:@";

    if (size == 0 || size > QD_QUBESDB_PATH || path[0] != '/')
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!memchr(allowed, path[i], sizeof(allowed) - 1))
            return false;
    }
    return true;
}

size_t qd_qubesdb_encode(enum qd_qubesdb_type type, const char *path, const char *value, size_t size,
                         void *out)
{
    unsigned char *bytes = out;
    uint32_t value_size = (uint32_t)size;

    memset(bytes, 0, QD_QUBESDB_HEAD);
    bytes[0] = (unsigned char)type;
    memcpy(bytes + PATH_AT, path, strnlen(path, QD_QUBESDB_PATH));
    memcpy(bytes + SIZE_AT, &value_size, sizeof(value_size));
    if (size > 0)
        memcpy(bytes + QD_QUBESDB_HEAD, value, size);
    return QD_QUBESDB_HEAD + size;
}

int qd_qubesdb_decode(const void *data, size_t size, struct qd_qubesdb_frame *ret_frame)
{
    const char *untrusted = data;
    uint32_t untrusted_size;
    size_t path_size;

    if (size < QD_QUBESDB_HEAD)
        return 0;
    memcpy(&untrusted_size, untrusted + SIZE_AT, sizeof(untrusted_size));
    path_size = strnlen(untrusted + PATH_AT, QD_QUBESDB_PATH + 1);
    if ((unsigned char)untrusted[0] >= QD_QUBESDB_TYPES || untrusted_size > QD_QUBESDB_VALUE ||
        (path_size > 0 && !qd_qubesdb_is_path(untrusted + PATH_AT, path_size)))
        return -EBADMSG;
    /* The head is in order from here on. */
    if (size < QD_QUBESDB_HEAD + untrusted_size)
        return 0;
    *ret_frame = (struct qd_qubesdb_frame){.type = (enum qd_qubesdb_type)untrusted[0],
                                           .value = untrusted + QD_QUBESDB_HEAD,
                                           .size = untrusted_size};
    memcpy(ret_frame->path, untrusted + PATH_AT, path_size);
    return (int)(QD_QUBESDB_HEAD + untrusted_size);
}
