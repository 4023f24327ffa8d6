/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Events to the subscribers of admin.Events. A subscriber gets an event that it may see (event_seen.c) when
 * the changes that the event tells of are on disk.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "event_private.h"
#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/connection.h"
#include "qd/generation.h"
#include "qd/log.h"
#include "qd/permission.h"
#include "qd/run.h"

/* Events between the daemon's own parts, which no subscriber gets. Source: the reference's dispatcher of
 * admin.Events. */
static bool is_internal(const char *event)
{
    static const char *const prefixes[] = {
        "admin-permission:", "device-get:", "device-list:", "device-list-attached:"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(event, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return strcmp(event, "domain-is-fully-usable") == 0;
}

static struct qd_subscriber *find_subscriber(struct qd_daemon *daemon, uint64_t id)
{
    struct qd_subscriber *subscriber = daemon->subscribers;

    while (subscriber && subscriber->id != id)
        subscriber = subscriber->next;
    return subscriber;
}

/* Gives one event, or cuts the subscriber off when it lags too far behind (law 11). */
static void deliver(struct qd_subscriber *subscriber, const struct qd_letter *letter)
{
    static const char last[] = QD_FRAME_EVENT "\0" QD_EVENT_TOO_SLOW "\0";

    if (subscriber->cut)
        return;
    if (qd_connection_queued(subscriber->connection) + letter->size <= QD_EVENTS_QUEUED_MAX) {
        qd_connection_stream(subscriber->connection, letter->data, letter->size);
        return;
    }
    subscriber->cut = true;
    qd_log(QD_LOG_WARNING, "a subscriber (%s) lags more than %u bytes behind: cut off",
           subscriber->source->name->data, QD_EVENTS_QUEUED_MAX);
    qd_connection_stream(subscriber->connection, last, sizeof(last));
    qd_connection_finish(subscriber->connection);
}

void qd_outbox_deliver(struct qd_daemon *daemon, struct qd_outbox *outbox)
{
    for (struct qd_letter *letter = outbox->first; letter; letter = letter->next) {
        struct qd_subscriber *subscriber = find_subscriber(daemon, letter->subscriber);

        if (subscriber)
            deliver(subscriber, letter);
    }
    qd_outbox_drop(outbox);
}

/* An event that a call of one generation fires, for a subscriber whose filters are functions of another. */
struct foreign {
    lua_State *from;
    struct qd_news_tables tables;
    const struct qd_subscriber *subscriber;
    const struct qd_news *news;
};

/* Copies a plain value to another state; what is not plain becomes its text. */
static void copy_value(lua_State *from, int index, lua_State *to)
{
    struct qd_object *object = qd_to_object(from, index);

    if (object)
        qd_push_object(to, object);
    else if (lua_isboolean(from, index))
        lua_pushboolean(to, lua_toboolean(from, index));
    else if (lua_isinteger(from, index))
        lua_pushinteger(to, lua_tointeger(from, index));
    else if (lua_type(from, index) == LUA_TSTRING)
        lua_pushstring(to, lua_tostring(from, index));
    else
        lua_pushlightuserdata(to, QD_NONE_POINTER);
}

/* The same for a table of these, an empty one for none. */
static void copy_table(lua_State *from, int index, lua_State *to)
{
    lua_newtable(to);
    if (!index)
        return;
    for (lua_pushnil(from); lua_next(from, index); lua_pop(from, 1)) {
        copy_value(from, lua_gettop(from) - 1, to);
        copy_value(from, lua_gettop(from), to);
        lua_rawset(to, -3);
    }
}

/* (foreign): the frame for the subscriber, or nil. Protected, on the subscriber's state. */
static int foreign_body(lua_State *L)
{
    struct foreign *foreign = lua_touserdata(L, 1);
    struct qd_news_tables tables = {2, 3};

    lua_settop(L, 1);
    copy_table(foreign->from, foreign->tables.info, L);
    copy_table(foreign->from, foreign->tables.changes, L);
    if (qd_news_wanted(L, foreign->subscriber, foreign->news, tables))
        qd_news_push_frame(L, foreign->subscriber, foreign->news, 2);
    else
        lua_pushnil(L);
    return 1;
}

static int post(struct qd_daemon *daemon, const struct qd_subscriber *subscriber, bool announcement,
                lua_State *L)
{
    size_t size;
    const char *frame = lua_tolstring(L, -1, &size);

    return qd_outbox_add(&daemon->running->outbox, subscriber->id, announcement, frame, size);
}

static int publish_foreign(lua_State *L, struct qd_daemon *daemon, const struct qd_subscriber *subscriber,
                           const struct qd_news *news, struct qd_news_tables tables)
{
    struct foreign foreign = {L, tables, subscriber, news};
    lua_State *other = subscriber->generation->L;
    int top = lua_gettop(L), r = 0;

    lua_pushcfunction(other, foreign_body);
    lua_pushlightuserdata(other, &foreign);
    if (qd_run_protected(other, 1, 1) == LUA_OK && lua_type(other, -1) == LUA_TSTRING)
        r = post(daemon, subscriber, news->announcement, other);
    lua_pop(other, 1);
    lua_settop(L, top);
    return r;
}

int qd_bind_publish(lua_State *L)
{
    struct qd_daemon *daemon = qd_check_daemon(L);
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_news news = {.subject = qd_check_object(L, 1), .event = luaL_checkstring(L, 2)};
    struct qd_news_tables tables = {lua_istable(L, 3) ? 3 : 0, lua_istable(L, 5) ? 5 : 0};
    bool framed = false;
    int r = 0;

    if (generation->budget)
        return luaL_error(L, "a rule can only look: it may change nothing");
    if (daemon->running && daemon->running->method && daemon->running->state != QD_CALL_PERMITTED)
        return luaL_error(L, "%s: no event before permission", daemon->running->method->name);
    if (!daemon->running || daemon->running->dry || !daemon->subscribers || is_internal(news.event))
        return 0;
    luaL_checkstack(L, 20, "publish");
    lua_settop(L, 5);
    news.announcement = lua_toboolean(L, 4) || strstr(news.event, "-pre-");
    for (struct qd_subscriber *subscriber = daemon->subscribers; subscriber && r == 0;
         subscriber = subscriber->next) {
        if (subscriber->generation != generation) {
            r = publish_foreign(L, daemon, subscriber, &news, tables);
            continue;
        }
        if (!qd_news_wanted(L, subscriber, &news, tables))
            continue;
        if (!framed || qd_permission_may_hide(generation, subscriber->bypass)) {
            lua_settop(L, 5);
            qd_news_push_frame(L, subscriber, &news, tables.info);
            framed = !qd_permission_may_hide(generation, subscriber->bypass);
        }
        r = post(daemon, subscriber, news.announcement, L);
    }
    return r < 0 ? luaL_error(L, "no memory") : 0;
}

void qd_subscriber_free(struct qd_daemon *daemon, struct qd_subscriber *subscriber)
{
    struct qd_subscriber **link = &daemon->subscribers;

    while (*link && *link != subscriber)
        link = &(*link)->next;
    if (*link)
        *link = subscriber->next;
    if (subscriber->filters != LUA_NOREF)
        luaL_unref(subscriber->generation->L, LUA_REGISTRYINDEX, subscriber->filters);
    qd_object_unref(daemon->model, subscriber->source);
    qd_object_unref(daemon->model, subscriber->dest);
    qd_generation_unref(subscriber->generation);
    free(subscriber);
}

void qd_subscribers_ask_again(struct qd_daemon *daemon)
{
    size_t count = 0, taken = 0;
    uint64_t *ids;

    for (struct qd_subscriber *subscriber = daemon->subscribers; subscriber; subscriber = subscriber->next)
        count++;
    if (!count)
        return;
    ids = malloc(count * sizeof(*ids));
    if (!ids) {
        /* Fails closed: no stream goes on unasked. */
        while (daemon->subscribers)
            qd_connection_abort(daemon->subscribers->connection);
        return;
    }
    for (struct qd_subscriber *subscriber = daemon->subscribers; subscriber; subscriber = subscriber->next)
        ids[taken++] = subscriber->id;
    for (size_t i = 0; i < taken; i++) {
        struct qd_subscriber *subscriber = find_subscriber(daemon, ids[i]);

        if (subscriber)
            qd_dispatch_again(subscriber);
    }
    free(ids);
}
