/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QubesDB: small entries, path and value, that a qube and dom0 share. Each running qube has a daemon for its
 * entries in dom0, with a UNIX socket; this is a client of those.
 *
 * A message is a head of 72 bytes (a byte of type, 64 of path, NUL-terminated, three of padding, and the size
 * of the value in the machine's order) and the value. Each request is answered, in order. The answers come
 * from dom0, but paths and values are the qube's, so nothing in them is trusted.
 */
#ifndef QD_QUBESDB_H
#define QD_QUBESDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* ---- qubesdb_frame.c: bytes only, any thread ---- */

#define QD_QUBESDB_HEAD 72
#define QD_QUBESDB_PATH 63    /* bytes of a path, at most */
#define QD_QUBESDB_VALUE 3071 /* bytes of a value: what the daemons take */

enum qd_qubesdb_type {
    QD_QUBESDB_READ,
    QD_QUBESDB_WRITE,
    QD_QUBESDB_MULTIREAD, /* all entries whose paths begin so */
    QD_QUBESDB_LIST,
    QD_QUBESDB_REMOVE, /* a path that ends in a slash: all below it */
    QD_QUBESDB_WATCH,
    QD_QUBESDB_UNWATCH,
    QD_QUBESDB_OK,
    QD_QUBESDB_NO_ENTRY,
    QD_QUBESDB_ERROR,
    QD_QUBESDB_IS_READ,
    QD_QUBESDB_IS_MULTIREAD, /* one entry; with an empty path: no more */
    QD_QUBESDB_IS_LIST,
    QD_QUBESDB_CHANGED,
    QD_QUBESDB_TYPES
};

struct qd_qubesdb_frame {
    enum qd_qubesdb_type type;
    char path[QD_QUBESDB_PATH + 1]; /* checked; empty in some answers */
    const char *value;              /* in the bytes that were decoded */
    size_t size;
};

/* Whether it is a path: a slash, then letters, digits and - _ / . : @, and not too long. */
bool qd_qubesdb_is_path(const char *path, size_t size);
/* Writes a message into `out`, of QD_QUBESDB_HEAD bytes and the value's; its size. The path and the size of
 * the value are right. */
size_t qd_qubesdb_encode(enum qd_qubesdb_type type, const char *path, const char *value, size_t size,
                         void *out);
/* Reads the first message. Its size; 0: more bytes are needed; -EBADMSG: it is none, and what follows can't
 * be read either. */
int qd_qubesdb_decode(const void *data, size_t size, struct qd_qubesdb_frame *ret_frame);

/* ---- qubesdb.c: the client. Loop's thread; raises nothing ---- */

struct qd_qubesdb;

/* All of it is for one loop; `directory` (borrowed) has the sockets. */
int qd_qubesdb_open(uv_loop_t *loop, const char *directory, struct qd_qubesdb **ret_qubesdb);
/* Drops what is queued; those who wait are told. NULL is fine. */
void qd_qubesdb_close(struct qd_qubesdb *qubesdb);
/* After the loop has ended. NULL is fine. */
void qd_qubesdb_free(struct qd_qubesdb *qubesdb);

/* Queues a change of the qube's entries; changes of one qube arrive in their order. Where there is no daemon
 * it is nothing. -EINVAL: no path or too long a value; -ENOBUFS: the daemon is too slow; -ENOMEM. */
int qd_qubesdb_write(struct qd_qubesdb *qubesdb, const char *qube, const char *path, size_t path_size,
                     const char *value, size_t size);
int qd_qubesdb_remove(struct qd_qubesdb *qubesdb, const char *qube, const char *path, size_t path_size);

struct qd_qubesdb_entry {
    char path[QD_QUBESDB_PATH + 1];
    char *value;
    size_t size;
};

/* An answer: `error` is 0, -ENOENT (no daemon), -ETIMEDOUT, -EPROTO, -ENOBUFS, -ECANCELED. The entries are
 * the client's, and gone afterwards. Never called from inside qd_qubesdb_list. */
typedef void (*qd_qubesdb_done_fn)(void *context, int error, const struct qd_qubesdb_entry *entries,
                                   size_t count);

/* All entries whose paths begin with the prefix, once everything queued before has arrived. */
int qd_qubesdb_list(struct qd_qubesdb *qubesdb, const char *qube, const char *prefix, size_t prefix_size,
                    qd_qubesdb_done_fn done, void *context);
/* Only waits until then. */
int qd_qubesdb_sync(struct qd_qubesdb *qubesdb, const char *qube, qd_qubesdb_done_fn done, void *context);

#endif
