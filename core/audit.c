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
#define GATHER_NS UINT64_C(5000000)   /* for which a batch grows, once it has a line */

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
    size_t batched;
    char batch[QD_AUDIT_LINE_MAX]; /* lines on their way to the file, always whole ones */
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

/* Appends the text, which is whole lines, and gives back how many bytes of it are in the file: all, or after
 * a failure those up to the end of a line. What was written of the next one is taken back. */
static size_t write_text(struct qd_audit *audit, const char *text, size_t size)
{
    struct stat status;
    bool is_file = fstat(audit->descriptor, &status) == 0 && S_ISREG(status.st_mode);
    size_t done = 0, whole;

    while (done < size) {
        ssize_t written = write(audit->descriptor, text + done, size - done);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            note_failure(audit, "cannot be written", written < 0 ? errno : EIO);
            break;
        }
        done += (size_t)written;
    }
    for (whole = done; whole > 0 && text[whole - 1] != '\n';)
        whole--;
    if (whole < done && is_file && ftruncate(audit->descriptor, status.st_size + (off_t)whole) < 0)
        note_failure(audit, "half a line stays", errno);
    return whole;
}

static bool tell_dropped(struct qd_audit *audit)
{
    char text[128];
    struct timespec now;
    size_t size;

    if (audit->unwritten == 0)
        return true;
    clock_gettime(CLOCK_REALTIME, &now);
    size = qd_audit_format_dropped(&now, audit->unwritten, text);
    if (write_text(audit, text, size) < size)
        return false;
    audit->unwritten = 0;
    return true;
}

static uint64_t count_lines(const char *text, size_t size)
{
    uint64_t count = 0;

    for (size_t i = 0; i < size; i++)
        count += text[i] == '\n';
    return count;
}

/* The batch to the file. After a failure nothing is tried for a while. */
static void write_batch(struct qd_audit *audit)
{
    bool rest = audit->failing && uv_hrtime() - audit->failed_ns < RETRY_NS;
    size_t size = audit->batched, written = 0;

    audit->batched = 0;
    if (size == 0)
        return;
    if (!rest && open_file(audit) && tell_dropped(audit))
        written = write_text(audit, audit->batch, size);
    audit->unwritten += count_lines(audit->batch + written, size - written);
    if (written < size)
        return;
    if (audit->failing)
        qd_log(QD_LOG_NOTICE, "audit: %s is written again", audit->path);
    audit->failing = false;
}

static void send_to_journal(const char *text, size_t size)
{
    sd_journal_send("MESSAGE=%.*s", (int)size - 1, text, "PRIORITY=6", "SYSLOG_IDENTIFIER=qubesd-audit",
                    NULL);
}

static void write_line(struct qd_audit *audit, const char *text, size_t size)
{
    if (audit->to_journal)
        send_to_journal(text, size);
    if (!audit->path)
        return;
    if (audit->batched + size > sizeof(audit->batch))
        write_batch(audit);
    memcpy(audit->batch + audit->batched, text, size);
    audit->batched += size;
}

/* Of lines that found no room in the queue. */
static void write_dropped(struct qd_audit *audit, uint64_t dropped)
{
    char text[128];
    struct timespec now;

    qd_log(QD_LOG_WARNING, "audit: %llu lines are dropped: they came faster than they could be written",
           (unsigned long long)dropped);
    clock_gettime(CLOCK_REALTIME, &now);
    if (audit->to_journal)
        send_to_journal(text, qd_audit_format_dropped(&now, dropped, text));
    audit->unwritten += dropped;
    if (audit->path && !audit->failing && open_file(audit))
        tell_dropped(audit);
}

static void write_all(struct qd_audit *audit, struct line *line, uint64_t dropped)
{
    while (line) {
        struct line *next = line->next;

        write_line(audit, line->text, line->size);
        free(line);
        line = next;
    }
    write_batch(audit);
    if (dropped > 0)
        write_dropped(audit, dropped);
}

#ifdef QD_TESTING
/* A disk that hangs as long as the file named by QD_TEST_AUDIT_STALL exists. */
static void stall(void)
{
    const char *path = getenv("QD_TEST_AUDIT_STALL");

    while (path && access(path, F_OK) == 0)
        usleep(1000);
}
#else
static void stall(void)
{
}
#endif

/* Waits for lines, and then a moment for more, since waking this thread for each would cost calls more than
 * the lines do. Takes all; whether the daemon goes on. */
static bool take_lines(struct qd_audit *audit, struct line **ret_lines, uint64_t *ret_dropped)
{
    bool stopping;

    uv_mutex_lock(&audit->mutex);
    while (!audit->first && !audit->stopping)
        uv_cond_wait(&audit->queued, &audit->mutex);
    if (!audit->stopping)
        uv_cond_timedwait(&audit->queued, &audit->mutex, GATHER_NS);
    *ret_lines = audit->first;
    *ret_dropped = audit->dropped;
    stopping = audit->stopping;
    audit->first = audit->last = NULL;
    audit->bytes = 0;
    audit->dropped = 0;
    uv_mutex_unlock(&audit->mutex);
    return !stopping;
}

static void run(void *context)
{
    struct qd_audit *audit = context;
    struct line *lines;
    uint64_t dropped;
    bool goes_on;

    do {
        goes_on = take_lines(audit, &lines, &dropped);
        stall();
        write_all(audit, lines, dropped);
    } while (goes_on);
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
    if (audit->last) {
        audit->last->next = line;
    } else {
        audit->first = line;
        uv_cond_signal(&audit->queued);
    }
    audit->last = line;
    audit->bytes += size;
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
        qd_log(QD_LOG_ERROR, "audit: %s cannot be written in time, lines are lost",
               audit->path ? audit->path : "the journal");
        return;
    }
    uv_thread_join(&audit->thread);
    audit_free(audit);
}
