/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The queue, and the thread that empties it. The file is opened anew when it was moved or removed, so that
 * logrotate has nothing to tell us. A line that could not be written whole is taken back.
 */
#include "qd/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "qd/daemon.h"
#include "qd/log.h"

#define STOP_NS UINT64_C(2000000000)
#define RETRY_NS UINT64_C(1000000000) /* between two tries to open or write a file that fails */

struct line {
    struct line *next;
    size_t size;
    char text[];
};

struct qd_audit {
    uv_mutex_t mutex; /* of what follows, up to the next comment */
    uv_cond_t queued, ended;
    struct line *first, *last;
    size_t bytes;
    uint64_t dropped; /* and not told of yet */
    bool stopping, over;
    /* the thread's */
    uv_thread_t thread;
    char *path; /* NULL: no file */
    int descriptor;
    bool to_journal, failing;
    uint64_t failed_ns, unwritten;
    /* the loop's */
    uint64_t sequence;
    bool with_dom0;
};

/* ---- the thread ---- */

/* The first failure of many is told, and the end of them. */
static void note_failure(struct qd_audit *audit, const char *what, int error)
{
    if (!audit->failing)
        qd_log(QD_LOG_ERROR, "audit: %s: %s: %s; lines are dropped until this works", audit->path, what,
               strerror(error));
    audit->failing = true;
    audit->failed_ns = uv_hrtime();
}

static void close_file(struct qd_audit *audit)
{
    if (audit->descriptor >= 0)
        close(audit->descriptor);
    audit->descriptor = -1;
}

/* Whether the file is open and still stands under its name. */
static bool is_in_place(const struct qd_audit *audit)
{
    struct stat named, open_one;

    return audit->descriptor >= 0 && stat(audit->path, &named) == 0 &&
           fstat(audit->descriptor, &open_one) == 0 && named.st_dev == open_one.st_dev &&
           named.st_ino == open_one.st_ino;
}

static bool open_file(struct qd_audit *audit)
{
    if (is_in_place(audit))
        return true;
    close_file(audit);
    audit->descriptor =
        open(audit->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (audit->descriptor < 0)
        note_failure(audit, "cannot be opened", errno);
    return audit->descriptor >= 0;
}

/* Whole or not at all. */
static bool write_bytes(struct qd_audit *audit, const char *text, size_t size)
{
    struct stat status;
    bool is_file = fstat(audit->descriptor, &status) == 0 && S_ISREG(status.st_mode);
    size_t done = 0;

    while (done < size) {
        ssize_t written = write(audit->descriptor, text + done, size - done);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            note_failure(audit, "cannot be written", written < 0 ? errno : EIO);
            if (done > 0 && is_file && ftruncate(audit->descriptor, status.st_size) < 0)
                note_failure(audit, "half a line stays", errno);
            return false;
        }
        done += (size_t)written;
    }
    return true;
}

static bool tell_dropped(struct qd_audit *audit)
{
    char text[128];
    struct timespec now;

    if (audit->unwritten == 0)
        return true;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!write_bytes(audit, text, qd_audit_format_dropped(&now, audit->unwritten, text)))
        return false;
    audit->unwritten = 0;
    return true;
}

/* One line to the file. After a failure nothing is tried for a while. */
static void write_line(struct qd_audit *audit, const struct line *line)
{
    bool rest = audit->failing && uv_hrtime() - audit->failed_ns < RETRY_NS;

    if (rest || !open_file(audit) || !tell_dropped(audit) || !write_bytes(audit, line->text, line->size)) {
        audit->unwritten++;
        return;
    }
    if (audit->failing)
        qd_log(QD_LOG_NOTICE, "audit: %s is written again", audit->path);
    audit->failing = false;
}

static void write_all(struct qd_audit *audit, struct line *line, uint64_t dropped)
{
    audit->unwritten += dropped;
    while (line) {
        struct line *next = line->next;

        if (audit->to_journal)
            sd_journal_send("MESSAGE=%.*s", (int)line->size - 1, line->text, "PRIORITY=6",
                            "SYSLOG_IDENTIFIER=qubesd-audit", NULL);
        if (audit->path)
            write_line(audit, line);
        free(line);
        line = next;
    }
}

static void run(void *context)
{
    struct qd_audit *audit = context;
    bool stopping = false;

    while (!stopping) {
        struct line *lines;
        uint64_t dropped;

        uv_mutex_lock(&audit->mutex);
        while (!audit->first && !audit->stopping)
            uv_cond_wait(&audit->queued, &audit->mutex);
        lines = audit->first;
        dropped = audit->dropped;
        stopping = audit->stopping;
        audit->first = audit->last = NULL;
        audit->bytes = 0;
        audit->dropped = 0;
        uv_mutex_unlock(&audit->mutex);
        write_all(audit, lines, dropped);
    }
    if (audit->path && audit->unwritten > 0 && open_file(audit))
        tell_dropped(audit);
    close_file(audit);
    uv_mutex_lock(&audit->mutex);
    audit->over = true;
    uv_cond_signal(&audit->ended);
    uv_mutex_unlock(&audit->mutex);
}

/* ---- the loop ---- */

static int read_yes(const char *text, bool *ret_yes)
{
    *ret_yes = strcmp(text, "yes") == 0;
    if (*ret_yes || strcmp(text, "no") == 0)
        return 0;
    qd_log(QD_LOG_ERROR, "audit-dom0 has to be 'yes' or 'no', not '%s'", text);
    return -EINVAL;
}

static void audit_free(struct qd_audit *audit)
{
    uv_cond_destroy(&audit->queued);
    uv_cond_destroy(&audit->ended);
    uv_mutex_destroy(&audit->mutex);
    free(audit->path);
    free(audit);
}

static struct qd_audit *audit_new(const char *path)
{
    struct qd_audit *audit = calloc(1, sizeof(*audit));

    if (!audit)
        return NULL;
    if (path[0])
        audit->path = strdup(path);
    if ((path[0] && !audit->path) || uv_mutex_init(&audit->mutex) < 0) {
        free(audit->path);
        free(audit);
        return NULL;
    }
    uv_cond_init(&audit->queued);
    uv_cond_init(&audit->ended);
    audit->descriptor = -1;
    return audit;
}

int qd_audit_open(struct qd_daemon *daemon)
{
    struct qd_audit *audit;
    bool with_dom0;
    int r = read_yes(daemon->config.audit_dom0, &with_dom0);

    if (r < 0 || (!daemon->config.audit_file[0] && !qd_log_is_journal()))
        return r;
    audit = audit_new(daemon->config.audit_file);
    if (!audit)
        return -ENOMEM;
    audit->to_journal = qd_log_is_journal();
    audit->with_dom0 = with_dom0;
    r = uv_thread_create(&audit->thread, run, audit);
    if (r < 0) {
        audit_free(audit);
        return r;
    }
    daemon->audit = audit;
    return 0;
}

bool qd_audit_wants(const struct qd_daemon *daemon, int64_t source_qid)
{
    return daemon->audit && (source_qid != 0 || daemon->audit->with_dom0);
}

void qd_audit_record(struct qd_daemon *daemon, struct qd_audit_entry *entry)
{
    struct qd_audit *audit = daemon->audit;
    char text[QD_AUDIT_LINE_MAX];
    struct line *line;
    size_t size;

    clock_gettime(CLOCK_REALTIME, &entry->time);
    entry->sequence = ++audit->sequence;
    size = qd_audit_format(entry, text);
    line = malloc(sizeof(*line) + size);
    uv_mutex_lock(&audit->mutex);
    if (!line || audit->bytes + size > QD_AUDIT_QUEUE_MAX) {
        audit->dropped++;
        uv_mutex_unlock(&audit->mutex);
        free(line);
        return;
    }
    *line = (struct line){.size = size};
    memcpy(line->text, text, size);
    if (audit->last)
        audit->last->next = line;
    else
        audit->first = line;
    audit->last = line;
    audit->bytes += size;
    uv_cond_signal(&audit->queued);
    uv_mutex_unlock(&audit->mutex);
}

void qd_audit_close(struct qd_daemon *daemon)
{
    struct qd_audit *audit = daemon->audit;
    uint64_t end = uv_hrtime() + STOP_NS, now;
    bool over;

    if (!audit)
        return;
    daemon->audit = NULL;
    uv_mutex_lock(&audit->mutex);
    audit->stopping = true;
    uv_cond_signal(&audit->queued);
    while (!audit->over && (now = uv_hrtime()) < end)
        uv_cond_timedwait(&audit->ended, &audit->mutex, end - now);
    over = audit->over;
    uv_mutex_unlock(&audit->mutex);
    if (!over) {
        /* The disk hangs. The thread keeps what it has; the process ends anyway. */
        qd_log(QD_LOG_ERROR, "audit: %s cannot be written in time, lines are lost", audit->path);
        return;
    }
    uv_thread_join(&audit->thread);
    audit_free(audit);
}
