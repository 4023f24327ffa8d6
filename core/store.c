/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The thread and its hand-overs. What is submitted during one turn of the loop is `gathered` without waking
 * the thread, and handed over to `waiting` at the turn's end: a turn that serves many callers gives one
 * group, and costs a single one nothing. The commit in progress is the other window: what is handed over
 * meanwhile is the next batch. The thread answers in `done` and `failed`, and sends an async. The mutex is
 * never held across I/O.
 *
 * After a failed batch the thread stops taking (`broken`) until the loop has collected the failed batch and
 * all that waits behind it; so nothing is committed that may rest on what failed, and what is submitted
 * afterwards is tried afresh.
 */
#include "store_sql.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* So many operations end a batch: some 10 ms of SQLite's work, and a bounded log. One transaction is never
 * split. */
#define BATCH_OPS 4096

struct list {
    struct qd_store_txn *first;
    struct qd_store_txn *last;
    size_t count;
};

/* Apart from the store, so that a start that fails can close them behind its back. */
struct handles {
    uv_async_t async; /* the thread's: there is an answer, or the thread has ended */
    uv_idle_t turn;   /* active: something is gathered; and so the loop does not block */
    int open;
    struct qd_store *store; /* NULL: of a start that failed */
};

struct qd_store {
    struct qd_store_sql sql; /* the thread's, while there is one */
    uv_thread_t thread;
    struct handles *handles; /* NULL: not started, or stopped */
    struct list gathered;
    struct qd_store_callbacks callbacks;
    void (*stopped)(void *context);

    uv_mutex_t mutex; /* all below */
    uv_cond_t wake;   /* the thread's */
    struct list waiting;
    struct list done;
    struct list failed;
    int error;         /* of `failed` */
    char *message;     /* of `failed` */
    size_t unanswered; /* submitted, and its callback has not returned */
    bool broken;
    bool stopping;
    bool finished; /* the thread does nothing any more */
    struct qd_store_counters counters;
};

static void append(struct list *list, struct list *tail)
{
    if (!tail->first)
        return;
    if (list->first)
        list->last->next = tail->first;
    else
        list->first = tail->first;
    list->last = tail->last;
    list->count += tail->count;
    *tail = (struct list){0};
}

static struct list take(struct list *list)
{
    struct list taken = *list;

    *list = (struct list){0};
    return taken;
}

/* The next batch: from the front of the list, at least one transaction. */
static struct list take_batch(struct list *list)
{
    struct list batch = {.first = list->first, .last = list->first, .count = 1};
    size_t ops = list->first->op_count;

    while (batch.last->next && ops + batch.last->next->op_count <= BATCH_OPS) {
        batch.last = batch.last->next;
        batch.count++;
        ops += batch.last->op_count;
    }
    list->first = batch.last->next;
    list->count -= batch.count;
    if (!list->first)
        list->last = NULL;
    batch.last->next = NULL;
    return batch;
}

static void run(void *argument)
{
    struct qd_store *store = argument;

    uv_mutex_lock(&store->mutex);
    for (;;) {
        struct list batch;
        char *message = NULL;
        int error;

        while ((store->broken || !store->waiting.first) && !(store->stopping && store->unanswered == 0))
            uv_cond_wait(&store->wake, &store->mutex);
        if (!store->waiting.first)
            break;
        batch = take_batch(&store->waiting);
        uv_mutex_unlock(&store->mutex);

        error = qd_store_sql_batch(&store->sql, batch.first, batch.count, &message);

        uv_mutex_lock(&store->mutex);
        if (error < 0) {
            store->counters.failures++;
            store->broken = true;
            store->error = error;
            store->message = message;
            store->failed = batch;
        } else {
            store->counters.commits++;
            store->counters.transactions += batch.count;
            append(&store->done, &batch);
        }
        uv_mutex_unlock(&store->mutex);
        uv_async_send(&store->handles->async);
        if (error == 0)
            qd_store_sql_checkpoint(&store->sql); /* after the answers are on their way */
        uv_mutex_lock(&store->mutex);
    }
    store->finished = true;
    uv_mutex_unlock(&store->mutex);
    uv_async_send(&store->handles->async);
}

static void answered(struct qd_store *store, size_t count)
{
    uv_mutex_lock(&store->mutex);
    store->unanswered -= count;
    if (store->stopping)
        uv_cond_signal(&store->wake);
    uv_mutex_unlock(&store->mutex);
}

static void tell_committed(struct qd_store *store)
{
    struct list list;

    uv_mutex_lock(&store->mutex);
    list = take(&store->done);
    uv_mutex_unlock(&store->mutex);
    if (!list.first)
        return;
    store->callbacks.committed(store->callbacks.context, list.first);
    answered(store, list.count);
}

static void tell_failed(struct qd_store *store)
{
    struct list list = {0};
    char *message = NULL;
    int error = 0;

    uv_mutex_lock(&store->mutex);
    /* With batches committed in the meantime, the async has been sent again: those first. */
    if (store->broken && !store->done.first) {
        list = take(&store->failed);
        append(&list, &store->waiting);
        append(&list, &store->gathered);
        error = store->error;
        message = store->message;
        store->message = NULL;
        store->broken = false;
    }
    uv_mutex_unlock(&store->mutex);
    if (!list.first)
        return;
    store->callbacks.failed(store->callbacks.context, list.first, error,
                            message ? message : "the change cannot be stored: no memory");
    free(message);
    answered(store, list.count);
}

/* Also answers what was submitted when the thread had ended already. */
static void on_closed(uv_handle_t *handle)
{
    struct handles *handles = handle->data;
    struct qd_store *store = handles->store;
    struct list late;

    if (--handles->open > 0)
        return;
    free(handles);
    if (!store)
        return;
    store->handles = NULL;
    uv_mutex_lock(&store->mutex);
    late = take(&store->waiting);
    append(&late, &store->gathered);
    store->unanswered = 0;
    uv_mutex_unlock(&store->mutex);
    if (late.first)
        store->callbacks.failed(store->callbacks.context, late.first, -ESHUTDOWN,
                                "the change cannot be stored: the store has been stopped");
    store->stopped(store->callbacks.context);
}

static void close_handles(struct handles *handles)
{
    uv_close((uv_handle_t *)&handles->async, on_closed);
    uv_close((uv_handle_t *)&handles->turn, on_closed);
}

static void on_async(uv_async_t *async)
{
    struct handles *handles = async->data;
    struct qd_store *store = handles->store;
    bool finished;

    tell_committed(store);
    tell_failed(store);

    uv_mutex_lock(&store->mutex);
    finished = store->finished;
    uv_mutex_unlock(&store->mutex);
    if (finished && !uv_is_closing((uv_handle_t *)async)) {
        uv_thread_join(&store->thread); /* all that it may still do is to return from uv_async_send */
        close_handles(handles);
    }
}

/* The first callback of the loop's next turn. */
static void on_turn(uv_idle_t *turn)
{
    struct handles *handles = turn->data;
    struct qd_store *store = handles->store;

    uv_idle_stop(turn);
    uv_mutex_lock(&store->mutex);
    append(&store->waiting, &store->gathered);
    uv_cond_signal(&store->wake);
    uv_mutex_unlock(&store->mutex);
}

int qd_store_open(const char *path, struct qd_store **ret_store, char **ret_message)
{
    struct qd_store *store = calloc(1, sizeof *store);
    char *message = NULL;
    int error;

    if (!store) {
        error = -ENOMEM;
        goto failed;
    }
    error = qd_store_sql_open(&store->sql, path, &message);
    if (error < 0)
        goto failed;
    error = uv_mutex_init(&store->mutex);
    if (error < 0)
        goto failed_mutex;
    error = uv_cond_init(&store->wake);
    if (error < 0)
        goto failed_cond;
    *ret_store = store;
    *ret_message = NULL;
    return 0;

failed_cond:
    uv_mutex_destroy(&store->mutex);
failed_mutex:
    qd_store_sql_close(&store->sql);
failed:
    free(store);
    *ret_message = message;
    return error;
}

int qd_store_load(struct qd_store *store, const struct qd_store_visitor *visitor, char **ret_message)
{
    *ret_message = NULL;
    return qd_store_sql_load(&store->sql, visitor, ret_message);
}

int qd_store_next_object(struct qd_store *store, int64_t *ret_object)
{
    int64_t highest = 0;
    int code =
        qd_store_sql_number(store->sql.db, "SELECT seq FROM sqlite_sequence WHERE name = 'object'", &highest);

    if (code != SQLITE_OK)
        return qd_store_sql_errno(store->sql.db, code);
    *ret_object = highest + 1;
    return 0;
}

int qd_store_apply(struct qd_store *store, const struct qd_store_txn *txn, char **ret_message)
{
    int error;

    *ret_message = NULL;
    error = qd_store_sql_batch(&store->sql, txn, 1, ret_message);
    if (error == 0)
        qd_store_sql_checkpoint(&store->sql);
    return error;
}

#ifdef QD_TESTING
static unsigned long test_number(const char *name)
{
    const char *text = getenv(name);

    return text ? strtoul(text, NULL, 10) : 0;
}
#endif

int qd_store_start(struct qd_store *store, uv_loop_t *loop, const struct qd_store_callbacks *callbacks)
{
    struct handles *handles = calloc(1, sizeof *handles);
    int error;

    if (!handles)
        return -ENOMEM;
    error = uv_async_init(loop, &handles->async, on_async);
    if (error < 0) {
        free(handles);
        return error;
    }
    uv_idle_init(loop, &handles->turn); /* can't fail */
    handles->async.data = handles;
    handles->turn.data = handles;
    handles->open = 2;
    handles->store = store;
#ifdef QD_TESTING
    store->sql.test_fail = test_number("QD_TEST_STORE_FAIL");
    store->sql.test_delay_ms = test_number("QD_TEST_STORE_DELAY_MS");
#endif
    store->handles = handles;
    store->callbacks = *callbacks;
    store->stopping = false;
    store->finished = false;
    error = uv_thread_create(&store->thread, run, store);
    if (error < 0) {
        store->handles = NULL;
        handles->store = NULL;
        close_handles(handles);
    }
    return error;
}

void qd_store_submit(struct qd_store *store, struct qd_store_txn *txn)
{
    struct list one = {.first = txn, .last = txn, .count = 1};

    assert(store->handles); /* started, and `stopped` was not called yet: else nobody would ever answer */
    txn->next = NULL;
    append(&store->gathered, &one);
    if (!uv_is_closing((uv_handle_t *)&store->handles->turn))
        uv_idle_start(&store->handles->turn, on_turn);
    uv_mutex_lock(&store->mutex);
    store->unanswered++; /* now, since a thread that is to stop looks at it */
    uv_mutex_unlock(&store->mutex);
}

struct qd_store_counters qd_store_counters(struct qd_store *store)
{
    struct qd_store_counters counters;

    uv_mutex_lock(&store->mutex);
    counters = store->counters;
    uv_mutex_unlock(&store->mutex);
    return counters;
}

void qd_store_stop(struct qd_store *store, void (*stopped)(void *context))
{
    uv_mutex_lock(&store->mutex);
    store->stopped = stopped;
    store->stopping = true;
    uv_cond_signal(&store->wake);
    uv_mutex_unlock(&store->mutex);
}

void qd_store_close(struct qd_store *store)
{
    if (!store)
        return;
    assert(!store->handles);
    qd_store_sql_close(&store->sql);
    uv_cond_destroy(&store->wake);
    uv_mutex_destroy(&store->mutex);
    free(store);
}
