/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The wire format of all sockets: `METHOD[+ARG] SOURCE name|keyword DEST\0PAYLOAD`, ended by the end of
 * input, and the three kinds of answers. Pure functions over bytes: no I/O, no allocation, no state. Source:
 * qrexec's admin calls as the reference's daemon reads and answers them.
 */
#ifndef QD_FRAME_H
#define QD_FRAME_H

#include <stddef.h>

#define QD_REQUEST_MAX 65536 /* bytes of a whole request, payload included */

struct qd_slice {
    const char *data;
    size_t size;
};

/* Slices of the request's own bytes; untrusted, only cut apart. */
struct qd_request {
    struct qd_slice method;
    struct qd_slice arg; /* empty when there is no '+' */
    struct qd_slice source;
    struct qd_slice dest; /* "dom0" for `keyword adminvm` */
    struct qd_slice payload;
};

/* -EBADMSG for anything that isn't a request; `ret_request` is then untouched. */
int qd_frame_parse(const char *data, size_t size, struct qd_request *ret_request);

/* Heads of answers, with their NUL. */
#define QD_FRAME_OK "0\0"
#define QD_FRAME_EVENT "1\0"
#define QD_FRAME_EXCEPTION "2\0"
#define QD_FRAME_HEAD_SIZE 2

#endif
