/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which events a subscriber sees, and as what (law 1): nothing in them tells of a qube that it may not know
 * of.
 */
#include <lauxlib.h>
#include <string.h>

#include "event_private.h"
#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/generation.h"
#include "qd/permission.h"

/* ---- frames ---- */

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

/* ---- who sees what ---- */

/* Whether the subscriber may know of the qube (law 1). */
static bool sees(lua_State *L, const struct qd_subscriber *subscriber, struct qd_object *object)
{
    return qd_permission_visible(L, subscriber->source, subscriber->bypass, object);
}

/* Whether there could be something that it may not know of. */
static bool is_restricted(lua_State *L, const struct qd_subscriber *subscriber)
{
    return subscriber->source->qid != 0 && qd_permission_may_hide(qd_generation_of(L), subscriber->bypass);
}

/* Whether all words of a text that name qubes name such as the source may see. A word that names no qube is
 * judged as a hidden one: otherwise its absence would tell them apart. */
static bool sees_names(lua_State *L, const struct qd_subscriber *subscriber, const char *text)
{
    struct qd_model *model = qd_generation_of(L)->daemon->model;

    while (*text) {
        size_t size = strcspn(text, " ");
        struct qd_object *qube = qd_model_qube_by_name(model, text, size);

        if (size && (!qube || !sees(L, subscriber, qube)))
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

    if (!about || !is_restricted(L, subscriber))
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

bool qd_news_wanted(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                    int info)
{
    struct qd_object *subject = news->subject;
    const char *event = news->event;
    bool keep;

    if (subscriber->cut || (subscriber->dest->qid != 0 && subscriber->dest != subject))
        return false;
    if (!sees(L, subscriber, subject) || (news->because && !sees(L, subscriber, news->because)))
        return false;
    /* An event of the app about a qube, as domain-add is, is about that qube. */
    if (info && lua_getfield(L, info, "vm") == LUA_TUSERDATA) {
        struct qd_object *about = qd_to_object(L, -1);

        if (about && !sees(L, subscriber, about)) {
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
static int shown_info(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                      int info)
{
    const char *about = strchr(news->event, ':');
    bool restricted = info && is_restricted(L, subscriber);
    bool netvm = restricted && about && strcmp(about, ":deferred-netvm-original") == 0;
    bool old = restricted && news->source && !sees(L, subscriber, news->source);

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

void qd_news_push_frame(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                        int info)
{
    qd_event_push_frame(L, news->subject, news->event, shown_info(L, subscriber, news, info),
                        subscriber->source, subscriber->bypass);
}
