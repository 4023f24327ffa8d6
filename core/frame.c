/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/frame.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool slice_is(struct qd_slice slice, const char *text)
{
    return slice.size == strlen(text) && memcmp(slice.data, text, slice.size) == 0;
}

/* Cuts the text up to `separator` off the front of `rest`. */
static bool cut(struct qd_slice *rest, char separator, struct qd_slice *ret_front)
{
    const char *found = rest->size ? memchr(rest->data, separator, rest->size) : NULL;

    if (!found)
        return false;
    *ret_front = (struct qd_slice){rest->data, (size_t)(found - rest->data)};
    rest->size -= ret_front->size + 1;
    rest->data = found + 1;
    return true;
}

int qd_frame_parse(const char *data, size_t size, struct qd_request *ret_request)
{
    struct qd_slice payload = {data, size}, head, method, arg, source, kind;
    struct qd_request request;

    if (size > QD_REQUEST_MAX || !cut(&payload, '\0', &head))
        return -EBADMSG;
    if (!cut(&head, ' ', &arg) || !cut(&head, ' ', &source) || !cut(&head, ' ', &kind))
        return -EBADMSG;
    if (slice_is(kind, "keyword") && slice_is(head, "adminvm"))
        head = (struct qd_slice){"dom0", 4};
    else if (!slice_is(kind, "name"))
        return -EBADMSG;
    if (!cut(&arg, '+', &method)) {
        method = arg;
        arg = (struct qd_slice){"", 0};
    }
    request =
        (struct qd_request){.method = method, .arg = arg, .source = source, .dest = head, .payload = payload};
    *ret_request = request;
    return 0;
}
