/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The framing: what was cut apart lies inside the bytes that came, and put together again it is those bytes.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qd/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static bool has(struct qd_slice slice, char byte)
{
    return slice.size > 0 && memchr(slice.data, byte, slice.size);
}

static bool is_inside(struct qd_slice slice, const char *data, size_t size)
{
    return slice.data >= data && slice.data + slice.size <= data + size;
}

static void add(char **end, struct qd_slice slice)
{
    memcpy(*end, slice.data, slice.size);
    *end += slice.size;
}

/* Written from the parts, with `arg` by a '+' or not at all, and dom0 by its name or by the keyword. */
static size_t write_again(const struct qd_request *request, bool plus, bool keyword, char *ret_text)
{
    static const struct qd_slice kinds[] = {{" name ", 6}, {" keyword adminvm", 16}};
    char *end = ret_text;

    add(&end, request->method);
    if (plus)
        *end++ = '+';
    add(&end, request->arg);
    *end++ = ' ';
    add(&end, request->source);
    add(&end, kinds[keyword]);
    if (!keyword)
        add(&end, request->dest);
    *end++ = '\0';
    add(&end, request->payload);
    return (size_t)(end - ret_text);
}

static void check_parts(const struct qd_request *request, const char *data, size_t size)
{
    bool keyword = !is_inside(request->dest, data, size);
    bool plus = is_inside(request->arg, data, size); /* else it is the empty one of the parser's own */
    char *text = malloc(size + 32);

    if (!text)
        fail("no memory");
    if (!is_inside(request->method, data, size) || !is_inside(request->source, data, size) ||
        !is_inside(request->payload, data, size))
        fail("a part lies outside of the request");
    if (has(request->method, '+') || has(request->method, ' ') || has(request->arg, ' ') ||
        has(request->source, ' '))
        fail("a part has a separator in it");
    if (has(request->method, '\0') || has(request->arg, '\0') || has(request->source, '\0') ||
        has(request->dest, '\0'))
        fail("a part of the head has a NUL in it");
    if (!plus && request->arg.size > 0)
        fail("an argument from nowhere");
    if (keyword && (request->dest.size != 4 || memcmp(request->dest.data, "dom0", 4) != 0))
        fail("a destination from nowhere");
    if (write_again(request, plus, keyword, text) != size || memcmp(text, data, size) != 0)
        fail("a request does not survive");
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qd_request request, before;
    char *block = malloc(size); /* of exactly its size */
    int r;

    if (size > 0) {
        if (!block)
            fail("no memory");
        memcpy(block, data, size);
    }
    memset(&request, 0x5a, sizeof(request));
    before = request;
    r = qd_frame_parse(block, size, &request);
    if (r == 0)
        check_parts(&request, block, size);
    else if (r != -EBADMSG || memcmp(&request, &before, sizeof(request)) != 0)
        fail("a refusal broke its promise");
    free(block);
    return 0;
}
