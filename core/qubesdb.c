/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The client of QubesDB's daemons. A qube has a *link* while something is to be told to its daemon, and a
 * little longer. A link does one *job* after the other: a request goes out when the one before is answered. A
 * link that breaks, or whose daemon does not answer in time, drops all its jobs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "qd/log.h"
#include "qd/qubesdb.h"

#define LINKS_MAX 1024
#define QUEUED_MAX (1u << 20) /* bytes of one link */
#define ANSWER_MS 5000        /* for one request, connecting included */
#define IDLE_MS 1000          /* until a link without a job is closed */
#define ENTRIES_MAX 1024      /* of one list */

/* A request; without one (SYNC) only its place in the queue counts. */
struct job {
    struct job *next;
    bool is_sync, is_list;
    qd_qubesdb_done_fn done;
    void *context;
    char prefix[QD_QUBESDB_PATH + 1];
    size_t size;
    char data[];
};

struct link {
    struct link *next;
    struct qd_qubesdb *qubesdb;
    char *qube;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    struct job *first, *last;
    size_t queued;    /* bytes of the jobs */
    unsigned handles; /* open */
    bool told, answered, connected, asked, writing, closing;
    struct qd_qubesdb_entry *entries; /* of the list that is coming in */
    size_t entry_count;
    size_t filled;
    char buffer[2 * (QD_QUBESDB_HEAD + QD_QUBESDB_VALUE)];
};

struct qd_qubesdb {
    uv_loop_t *loop;
    const char *directory;
    struct link *links; /* those that are closing too */
    size_t link_count;
    bool closed;
};

int qd_qubesdb_open(uv_loop_t *loop, const char *directory, struct qd_qubesdb **ret_qubesdb)
{
    struct qd_qubesdb *qubesdb = calloc(1, sizeof(*qubesdb));

    if (!qubesdb)
        return -ENOMEM;
    qubesdb->loop = loop;
    qubesdb->directory = directory;
    *ret_qubesdb = qubesdb;
    return 0;
}

void qd_qubesdb_free(struct qd_qubesdb *qubesdb)
{
    free(qubesdb);
}

static void drop_entries(struct link *link)
{
    for (size_t i = 0; i < link->entry_count; i++)
        free(link->entries[i].value);
    free(link->entries);
    link->entries = NULL;
    link->entry_count = 0;
}

static void link_free(struct link *link)
{
    struct link **place = &link->qubesdb->links;

    while (*place != link)
        place = &(*place)->next;
    *place = link->next;
    link->qubesdb->link_count--;
    free(link->qube);
    free(link);
}

static void handle_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;

    if (--link->handles == 0)
        link_free(link);
}

/* Takes the first job off the queue and tells whoever waits for it. */
static void end_job(struct link *link, int error)
{
    struct job *job = link->first;

    link->answered = true;
    link->first = job->next;
    if (!link->first)
        link->last = NULL;
    link->queued -= job->size;
    link->asked = false;
    if (job->done)
        job->done(job->context, error, error ? NULL : link->entries, error ? 0 : link->entry_count);
    drop_entries(link);
    free(job);
}

static void link_close(struct link *link, int error)
{
    if (link->closing)
        return;
    link->closing = true;
    while (link->first)
        end_job(link, error);
    uv_close((uv_handle_t *)&link->pipe, handle_closed);
    uv_close((uv_handle_t *)&link->timer, handle_closed);
}

static void link_break(struct link *link, int error, const char *what)
{
    if (!link->closing)
        qd_log(QD_LOG_WARNING, "QubesDB of %s: %s", link->qube, what);
    link_close(link, error);
}

static int link_new(struct qd_qubesdb *qubesdb, const char *qube, struct link **ret_link);

/* The daemon has gone. Perhaps it was started anew: what is left is told to that one, unless this one has
 * done nothing for us. A change that both are told is the same change. */
static void link_lost(struct link *link)
{
    struct link *next;

    if (link->closing)
        return;
    if (link->first && link->answered && link_new(link->qubesdb, link->qube, &next) == 0) {
        next->first = link->first;
        next->last = link->last;
        next->queued = link->queued;
        link->first = link->last = NULL;
        drop_entries(link);
    }
    if (link->first)
        link_break(link, -EPROTO, "its daemon has closed the connection");
    else
        link_close(link, -ECANCELED);
}

static void on_time(uv_timer_t *timer)
{
    struct link *link = timer->data;

    if (link->first)
        link_break(link, -ETIMEDOUT, "its daemon does not answer, and is told nothing more for now");
    else
        link_close(link, -ECANCELED);
}

static void advance(struct link *link);

/* ---- answers ---- */

static int keep_entry(struct link *link, const struct qd_qubesdb_frame *frame)
{
    struct qd_qubesdb_entry *grown, *entry;

    if (link->entry_count == ENTRIES_MAX)
        return -ENOBUFS;
    if (strncmp(frame->path, link->first->prefix, strlen(link->first->prefix)) != 0)
        return -EPROTO;
    grown = realloc(link->entries, (link->entry_count + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    link->entries = grown;
    entry = &grown[link->entry_count];
    memcpy(entry->path, frame->path, sizeof(entry->path));
    entry->size = frame->size;
    entry->value = malloc(frame->size + 1);
    if (!entry->value)
        return -ENOMEM;
    memcpy(entry->value, frame->value, frame->size);
    link->entry_count++;
    return 0;
}

/* One message. 0, or the error that ends the link. */
static int take_answer(struct link *link, const struct qd_qubesdb_frame *frame)
{
    if (!link->asked)
        return -EPROTO;
    if (link->first->is_list) {
        if (frame->type != QD_QUBESDB_IS_MULTIREAD)
            return -EPROTO;
        if (frame->path[0] != '\0')
            return keep_entry(link, frame);
        end_job(link, 0);
    } else {
        if (frame->type == QD_QUBESDB_ERROR)
            qd_log(QD_LOG_WARNING, "QubesDB of %s: its daemon refuses %s", link->qube, link->first->prefix);
        else if (frame->type != QD_QUBESDB_OK && frame->type != QD_QUBESDB_NO_ENTRY)
            return -EPROTO;
        end_job(link, 0);
    }
    advance(link);
    return 0;
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    struct link *link = handle->data;

    (void)suggested;
    *ret_buffer = uv_buf_init(link->buffer + link->filled, (unsigned)(sizeof(link->buffer) - link->filled));
}

/* Not while the request is still on its way out: an answer that comes that early waits. */
static void take_answers(struct link *link)
{
    struct qd_qubesdb_frame frame;
    size_t at = 0;
    int used = 0;

    while (!link->closing && !link->writing &&
           (used = qd_qubesdb_decode(link->buffer + at, link->filled - at, &frame)) > 0) {
        int r = take_answer(link, &frame);

        if (r < 0)
            link_break(link, r, r == -ENOBUFS ? "too many entries" : "an answer that nothing asked for");
        at += (size_t)used;
    }
    if (used < 0)
        link_break(link, -EPROTO, "malformed bytes from its daemon");
    link->filled -= at;
    memmove(link->buffer, link->buffer + at, link->filled);
}

static void on_bytes(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct link *link = stream->data;

    (void)buffer;
    if (size == 0 || link->closing)
        return;
    if (size < 0) {
        link_lost(link);
        return;
    }
    link->filled += (size_t)size;
    take_answers(link);
}

/* ---- requests ---- */

static void on_written(uv_write_t *write, int status)
{
    struct link *link = write->data;

    link->writing = false;
    if (status < 0)
        link_lost(link);
    else
        take_answers(link);
}

/* Sends the next request, or begins to idle. */
static void advance(struct link *link)
{
    uv_buf_t bytes;

    if (link->closing || !link->connected || link->asked)
        return;
    while (link->first && link->first->is_sync)
        end_job(link, 0);
    if (link->closing)
        return;
    uv_timer_start(&link->timer, on_time, link->first ? ANSWER_MS : IDLE_MS, 0);
    if (!link->first)
        return;
    link->asked = link->writing = true;
    bytes = uv_buf_init(link->first->data, (unsigned)link->first->size);
    if (uv_write(&link->write, (uv_stream_t *)&link->pipe, &bytes, 1, on_written) < 0)
        link_break(link, -ENOMEM, "nothing can be sent");
}

static void on_begin(uv_timer_t *timer)
{
    advance(timer->data);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct link *link = connect->data;

    if (link->closing)
        return;
    if (status == UV_ENOENT || status == UV_ECONNREFUSED || status == UV_ENOTDIR) {
        link_close(link, -ENOENT); /* no daemon, as for most */
        return;
    }
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&link->pipe, allocate, on_bytes);
    if (status < 0) {
        link_break(link, -EPROTO, uv_strerror(status));
        return;
    }
    link->connected = true;
    advance(link);
}

/* ---- links ---- */

static int link_new(struct qd_qubesdb *qubesdb, const char *qube, struct link **ret_link)
{
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    int size = snprintf(path, sizeof(path), "%s/qubesdb.%s.sock", qubesdb->directory, qube);
    struct link *link;

    if (size < 0 || (size_t)size >= sizeof(path))
        return -ENAMETOOLONG;
    if (qubesdb->link_count >= LINKS_MAX)
        return -ENOBUFS;
    link = calloc(1, sizeof(*link));
    if (!link || !(link->qube = strdup(qube))) {
        free(link);
        return -ENOMEM;
    }
    link->qubesdb = qubesdb;
    link->next = qubesdb->links;
    qubesdb->links = link;
    qubesdb->link_count++;
    uv_timer_init(qubesdb->loop, &link->timer); /* these two can't fail on Linux */
    uv_pipe_init(qubesdb->loop, &link->pipe, 0);
    link->handles = 2;
    link->timer.data = link->pipe.data = link->connect.data = link->write.data = link;
    uv_update_time(qubesdb->loop);
    uv_timer_start(&link->timer, on_time, ANSWER_MS, 0);
    uv_pipe_connect(&link->connect, &link->pipe, path, on_connected); /* errors too come from the loop */
    *ret_link = link;
    return 0;
}

static int link_of(struct qd_qubesdb *qubesdb, const char *qube, struct link **ret_link)
{
    struct link *link = qubesdb->links;

    if (qubesdb->closed)
        return -ECANCELED;
    while (link && (link->closing || strcmp(link->qube, qube) != 0))
        link = link->next;
    if (!link)
        return link_new(qubesdb, qube, ret_link);
    *ret_link = link;
    return 0;
}

static int too_slow(struct link *link)
{
    if (!link->told)
        qd_log(QD_LOG_WARNING, "QubesDB of %s: its daemon is too slow, and is not told everything",
               link->qube);
    link->told = true;
    return -ENOBUFS;
}

static int add(struct qd_qubesdb *qubesdb, const char *qube, struct job *job)
{
    struct link *link;
    int r = job ? link_of(qubesdb, qube, &link) : -ENOMEM;

    if (r == 0 && link->queued + job->size > QUEUED_MAX)
        r = too_slow(link);
    if (r < 0) {
        free(job);
        return r;
    }
    if (link->last)
        link->last->next = job;
    else
        link->first = job;
    link->last = job;
    link->queued += job->size;
    if (link->connected && !link->asked) {
        /* Not from here: whoever asks is told from the loop only. */
        if (job->done)
            uv_timer_start(&link->timer, on_begin, 0, 0);
        else
            advance(link);
    }
    return 0;
}

static struct job *job_new(enum qd_qubesdb_type type, const char *path, size_t path_size, const char *value,
                           size_t size)
{
    struct job *job = calloc(1, sizeof(*job) + QD_QUBESDB_HEAD + size);

    if (!job)
        return NULL;
    memcpy(job->prefix, path, path_size);
    job->size = qd_qubesdb_encode(type, job->prefix, value, size, job->data);
    return job;
}

int qd_qubesdb_write(struct qd_qubesdb *qubesdb, const char *qube, const char *path, size_t path_size,
                     const char *value, size_t size)
{
    if (!qd_qubesdb_is_path(path, path_size) || path[path_size - 1] == '/' || size > QD_QUBESDB_VALUE ||
        memchr(value, '\0', size))
        return -EINVAL;
    return add(qubesdb, qube, job_new(QD_QUBESDB_WRITE, path, path_size, value, size));
}

int qd_qubesdb_remove(struct qd_qubesdb *qubesdb, const char *qube, const char *path, size_t path_size)
{
    if (!qd_qubesdb_is_path(path, path_size))
        return -EINVAL;
    return add(qubesdb, qube, job_new(QD_QUBESDB_REMOVE, path, path_size, NULL, 0));
}

int qd_qubesdb_list(struct qd_qubesdb *qubesdb, const char *qube, const char *prefix, size_t prefix_size,
                    qd_qubesdb_done_fn done, void *context)
{
    struct job *job;

    if (!qd_qubesdb_is_path(prefix, prefix_size))
        return -EINVAL;
    job = job_new(QD_QUBESDB_MULTIREAD, prefix, prefix_size, NULL, 0);
    if (job) {
        job->is_list = true;
        job->done = done;
        job->context = context;
    }
    return add(qubesdb, qube, job);
}

int qd_qubesdb_sync(struct qd_qubesdb *qubesdb, const char *qube, qd_qubesdb_done_fn done, void *context)
{
    struct job *job = calloc(1, sizeof(*job));

    if (job) {
        job->is_sync = true;
        job->done = done;
        job->context = context;
    }
    return add(qubesdb, qube, job);
}

void qd_qubesdb_close(struct qd_qubesdb *qubesdb)
{
    if (!qubesdb)
        return;
    qubesdb->closed = true;
    for (struct link *link = qubesdb->links; link; link = link->next)
        link_close(link, -ECANCELED);
}
