/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Events to the subscribers of admin.Events. A subscriber sees an event when it may see its subject (law 1)
 * and its filters agree; it gets it when the changes that the event tells of are on disk.
 */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

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

/* Pushes the text of a value. Truth values and nothing are written as the reference's language writes them,
 * all else up to its first NUL. */
static void push_text(lua_State *L, int value, struct qd_object *source, bool bypass)
{
    struct qd_object *object = qd_to_object(L, value);
    const char *text;

    if (lua_isboolean(L, value)) {
        lua_pushstring(L, lua_toboolean(L, value) ? "True" : "False");
    } else if (lua_isnil(L, value) || lua_islightuserdata(L, value)) {
        lua_pushliteral(L, "None");
    } else if (object && object->name) {
        lua_pushstring(L, qd_permission_visible(L, source, bypass, object) ? object->name->data : "None");
    } else if (lua_istable(L, value) && luaL_getmetafield(L, value, "__tostring") == LUA_TNIL) {
        lua_pushliteral(L, ""); /* a table for the daemon's own hooks: there is no form of it on the wire */
    } else {
        if (lua_istable(L, value))
            lua_pop(L, 1);
        text = luaL_tolstring(L, value, NULL);
        lua_pushstring(L, text);
        lua_remove(L, -2);
    }
}

/* The keys of info, sorted, as an array on the top: an event looks the same each time. */
static void push_keys(lua_State *L, int info)
{
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, info); lua_pop(L, 1)) {
        luaL_argcheck(L,
                      lua_type(L, -2) == LUA_TSTRING && !memchr(lua_tostring(L, -2), '\0', lua_rawlen(L, -2)),
                      1, "the keys of info are strings without a NUL");
        lua_pushvalue(L, -2);
        lua_rawseti(L, -4, (lua_Integer)lua_rawlen(L, -4) + 1);
    }
    for (lua_Integer i = 2; i <= (lua_Integer)lua_rawlen(L, -1); i++) {
        for (lua_Integer k = i; k > 1; k--) {
            lua_rawgeti(L, -1, k - 1);
            lua_rawgeti(L, -2, k);
            if (strcmp(lua_tostring(L, -2), lua_tostring(L, -1)) <= 0) {
                lua_pop(L, 2);
                break;
            }
            lua_rawseti(L, -3, k - 1);
            lua_rawseti(L, -2, k);
        }
    }
}

void qd_event_push_frame(lua_State *L, struct qd_object *subject, const char *event, int info,
                         struct qd_object *source, bool bypass)
{
    int keys = lua_gettop(L) + 1, count = 0;

    lua_newtable(L);
    if (info) {
        push_keys(L, info);
        lua_replace(L, keys);
        count = (int)lua_rawlen(L, keys);
    }
    luaL_checkstack(L, 4 * count + 12, "info");
    lua_pushlstring(L, QD_FRAME_EVENT, QD_FRAME_HEAD_SIZE);
    lua_pushlstring(L, subject->name ? subject->name->data : "",
                    (subject->name ? subject->name->size : 0) + 1);
    lua_pushlstring(L, event, strlen(event) + 1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, keys, i);
        lua_pushlstring(L, "", 1);
        lua_pushvalue(L, -2);
        lua_rawget(L, info);
        push_text(L, lua_gettop(L), source, bypass);
        lua_remove(L, -2);
        lua_pushlstring(L, "", 1);
    }
    lua_pushlstring(L, "", 1);
    lua_concat(L, lua_gettop(L) - keys);
    lua_remove(L, keys);
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

/* Whether all words of a text that name qubes name such as the source may see. A word that names no qube is
 * judged as a hidden one: otherwise its absence would tell them apart. */
static bool sees_names(lua_State *L, const struct qd_subscriber *subscriber, const char *text)
{
    struct qd_model *model = qd_generation_of(L)->daemon->model;

    while (*text) {
        size_t size = strcspn(text, " ");
        struct qd_object *qube = qd_model_qube_by_name(model, text, size);

        if (size && (!qube || !qd_permission_visible(L, subscriber->source, subscriber->bypass, qube)))
            return false;
        text += size + (text[size] == ' ');
    }
    return true;
}

/* Whether a field of info, which holds names of qubes after the prefix, hides nothing from the source. */
static bool sees_field(lua_State *L, const struct qd_subscriber *subscriber, int info, const char *field,
                       size_t skip)
{
    bool sees = true;

    if (lua_getfield(L, info, field) == LUA_TSTRING && lua_rawlen(L, -1) > skip)
        sees = sees_names(L, subscriber, lua_tostring(L, -1) + skip);
    lua_pop(L, 1);
    return sees;
}

/* Tags and features can name qubes as well (scripts/lib/api/hidden.lua does the same for calls). */
static bool sees_info(lua_State *L, const struct qd_subscriber *subscriber, const char *event, int info)
{
    static const char *const tags[] = {"created-by-", "disp-created-by-", "guivm-", "audiovm-", "relayvm-"};
    const char *about = strchr(event, ':');

    if (!about || subscriber->source->qid == 0 ||
        !qd_permission_may_hide(qd_generation_of(L), subscriber->bypass))
        return true;
    about++;
    for (size_t i = 0; strncmp(event, "domain-tag-", 11) == 0 && i < sizeof(tags) / sizeof(tags[0]); i++) {
        if (strncmp(about, tags[i], strlen(tags[i])) == 0)
            return sees_field(L, subscriber, info, "tag", strlen(tags[i]));
    }
    if (strncmp(event, "domain-feature-", 15) == 0 && strcmp(about, "preload-dispvm") == 0)
        return sees_field(L, subscriber, info, "value", 0) && sees_field(L, subscriber, info, "oldvalue", 0);
    return true;
}

/* Whether the two values of a change look different to the source. */
static bool sees_change(lua_State *L, const struct qd_subscriber *subscriber, int info)
{
    int top = lua_gettop(L);
    bool differ;

    lua_getfield(L, info, "newvalue");
    push_text(L, top + 1, subscriber->source, subscriber->bypass);
    lua_getfield(L, info, "oldvalue");
    push_text(L, top + 3, subscriber->source, subscriber->bypass);
    differ = !lua_rawequal(L, top + 2, top + 4);
    lua_settop(L, top);
    return differ;
}

/* What is published. */
struct news {
    struct qd_object *subject;
    const char *event;
    bool announcement;
    bool change;               /* told only to those who see that oldvalue and newvalue differ */
    struct qd_object *because; /* and only to those who may know of this qube; or NULL */
    struct qd_object *source;  /* of oldvalue, which is none for those who may not know of it; or NULL */
};

/* Whether this subscriber's connection is to see the event. Leaves the stack as it was. */
static bool wants(lua_State *L, const struct qd_subscriber *subscriber, const struct news *news, int info)
{
    struct qd_object *subject = news->subject;
    const char *event = news->event;
    bool keep;

    if (subscriber->cut || (subscriber->dest->qid != 0 && subscriber->dest != subject))
        return false;
    if (!qd_permission_visible(L, subscriber->source, subscriber->bypass, subject) ||
        (news->because && !qd_permission_visible(L, subscriber->source, subscriber->bypass, news->because)))
        return false;
    /* An event of the app about a qube, as domain-add is, is about that qube. */
    if (info && lua_getfield(L, info, "vm") == LUA_TUSERDATA) {
        struct qd_object *about = qd_to_object(L, -1);

        if (about && !qd_permission_visible(L, subscriber->source, subscriber->bypass, about)) {
            lua_pop(L, 1);
            return false;
        }
    }
    if (info)
        lua_pop(L, 1);
    if (info &&
        (!sees_info(L, subscriber, event, info) || (news->change && !sees_change(L, subscriber, info))))
        return false;
    if (subscriber->filters == LUA_NOREF)
        return true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, subscriber->filters);
    keep = qd_permission_filter_event(L, subscriber->generation, lua_gettop(L), subject, event, info);
    lua_pop(L, 1);
    return keep;
}

/* A feature that names a former netvm, and says "" where there was none: as that it is told where the netvm
 * is hidden. */
static void blank_netvm(lua_State *L, const struct qd_subscriber *subscriber, int info)
{
    static const char *const fields[] = {"value", "oldvalue"};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (!sees_field(L, subscriber, info, fields[i], 0))
            qd_set_text(L, fields[i], "");
    }
}

/* The index of info as the subscriber may see it: perhaps a changed copy, on the stack's top. */
static int shown_info(lua_State *L, const struct qd_subscriber *subscriber, const struct news *news, int info)
{
    const char *about = strchr(news->event, ':');
    bool restricted = info && subscriber->source->qid != 0 &&
                      qd_permission_may_hide(qd_generation_of(L), subscriber->bypass);
    bool netvm = restricted && about && strcmp(about, ":deferred-netvm-original") == 0;
    bool old = restricted && news->source &&
               !qd_permission_visible(L, subscriber->source, subscriber->bypass, news->source);

    if (!netvm && !old)
        return info;
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, info); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5);
    }
    if (netvm)
        blank_netvm(L, subscriber, lua_gettop(L));
    if (old) {
        lua_pushlightuserdata(L, QD_NONE_POINTER);
        lua_setfield(L, -2, "oldvalue");
    }
    return lua_gettop(L);
}

/* An event that a call of one generation fires, for a subscriber whose filters are functions of another. */
struct foreign {
    lua_State *from;
    int info;
    const struct qd_subscriber *subscriber;
    const struct news *news;
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

/* (foreign): the frame for the subscriber, or nil. Protected, on the subscriber's state. */
static int foreign_body(lua_State *L)
{
    struct foreign *foreign = lua_touserdata(L, 1);

    lua_settop(L, 1);
    lua_newtable(L);
    if (foreign->info) {
        for (lua_pushnil(foreign->from); lua_next(foreign->from, foreign->info); lua_pop(foreign->from, 1)) {
            copy_value(foreign->from, lua_gettop(foreign->from), L);
            lua_setfield(L, 2, lua_tostring(foreign->from, -2));
        }
    }
    if (wants(L, foreign->subscriber, foreign->news, 2))
        qd_event_push_frame(L, foreign->news->subject, foreign->news->event,
                            shown_info(L, foreign->subscriber, foreign->news, 2), foreign->subscriber->source,
                            foreign->subscriber->bypass);
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
                           const struct news *news, int info)
{
    struct foreign foreign = {L, info, subscriber, news};
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
    struct news news = {.subject = qd_check_object(L, 1), .event = luaL_checkstring(L, 2)};
    int info = lua_istable(L, 3) ? 3 : 0, r = 0;
    bool framed = false;

    if (generation->budget)
        return luaL_error(L, "a rule can only look: it may change nothing");
    if (daemon->running && daemon->running->method && daemon->running->state != QD_CALL_PERMITTED)
        return luaL_error(L, "%s: no event before permission", daemon->running->method->name);
    if (!daemon->running || daemon->running->dry || !daemon->subscribers || is_internal(news.event))
        return 0;
    luaL_checkstack(L, 20, "publish");
    lua_settop(L, 5);
    news.announcement = lua_toboolean(L, 4) || strstr(news.event, "-pre-");
    if (lua_istable(L, 5)) {
        lua_getfield(L, 5, "change");
        lua_getfield(L, 5, "because");
        lua_getfield(L, 5, "source");
        news.change = lua_toboolean(L, -3);
        news.because = qd_to_object(L, -2);
        news.source = qd_to_object(L, -1);
        lua_settop(L, 5); /* the table keeps its qubes */
    }
    for (struct qd_subscriber *subscriber = daemon->subscribers; subscriber && r == 0;
         subscriber = subscriber->next) {
        if (subscriber->generation != generation) {
            r = publish_foreign(L, daemon, subscriber, &news, info);
            continue;
        }
        if (!wants(L, subscriber, &news, info))
            continue;
        if (!framed || qd_permission_may_hide(generation, subscriber->bypass)) {
            lua_settop(L, 5);
            qd_event_push_frame(L, news.subject, news.event, shown_info(L, subscriber, &news, info),
                                subscriber->source, subscriber->bypass);
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
