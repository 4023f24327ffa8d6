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

/* Whether a word names a qube that the subscriber sees. One that names none is judged as a hidden one:
 * otherwise its absence would tell them apart. */
static bool sees_name(lua_State *L, const struct qd_subscriber *subscriber, const char *name, size_t size)
{
    struct qd_object *qube = qd_model_qube_by_name(qd_generation_of(L)->daemon->model, name, size);

    return qube && sees(L, subscriber, qube);
}

/* What the event is about, behind its colon, if it is of this family; else NULL. */
static const char *about(const char *event, const char *family)
{
    const char *colon = strchr(event, ':');

    return colon && strncmp(event, family, strlen(family)) == 0 ? colon + 1 : NULL;
}

static bool is_of_feature(const char *event, const char *name)
{
    const char *feature = about(event, "domain-feature-");

    return feature && strcmp(feature, name) == 0;
}

/* Whether the event is about the feature whose words are names of qubes (scripts/lib/api/hidden.lua). */
static bool is_of_names(const char *event)
{
    return is_of_feature(event, "preload-dispvm");
}

/* A tag that ends in the name of a qube (scripts/lib/api/hidden.lua). */
static bool sees_tag(lua_State *L, const struct qd_subscriber *subscriber, const char *event)
{
    static const char *const prefixes[] = {"created-by-", "disp-created-by-", "guivm-", "audiovm-",
                                           "relayvm-"};
    const char *tag = about(event, "domain-tag-");

    for (size_t i = 0; tag && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t size = strlen(prefixes[i]);

        if (strncmp(tag, prefixes[i], size) == 0)
            return sees_name(L, subscriber, tag + size, strlen(tag + size));
    }
    return true;
}

/* Replaces the field, if it is a text, by the same without the names that the subscriber can't see. */
static void cut_names(lua_State *L, const struct qd_subscriber *subscriber, int info, const char *field)
{
    const char *text;
    luaL_Buffer buffer;
    bool any = false;

    if (lua_getfield(L, info, field) != LUA_TSTRING) {
        lua_pop(L, 1);
        return;
    }
    text = lua_tostring(L, -1); /* info has it too, and keeps it */
    lua_pop(L, 1);
    luaL_buffinit(L, &buffer);
    while (*text) {
        size_t size = strcspn(text, " ");

        if (size && sees_name(L, subscriber, text, size)) {
            luaL_addlstring(&buffer, " ", any ? 1 : 0);
            luaL_addlstring(&buffer, text, size);
            any = true;
        }
        text += size + (text[size] == ' ');
    }
    luaL_pushresult(&buffer);
    lua_setfield(L, info, field);
}

/* Pushes a copy of info as the subscriber may see it. Fields that begin with "_" are no subscriber's;
 * `_inherited` says that oldvalue was a default, which may come from another qube. */
static void push_shown(lua_State *L, const struct qd_subscriber *subscriber, const char *event, int info)
{
    int shown = lua_gettop(L) + 1;

    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, info); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING && lua_tostring(L, -2)[0] == '_')
            continue;
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, shown);
    }
    if (!is_restricted(L, subscriber))
        return;
    if (lua_getfield(L, info, "_inherited") != LUA_TNIL &&
        qd_permission_restricted(L, subscriber->source, subscriber->bypass)) {
        lua_pushnil(L);
        lua_setfield(L, shown, "oldvalue");
    }
    lua_settop(L, shown);
    if (is_of_names(event)) {
        cut_names(L, subscriber, shown, "value");
        cut_names(L, subscriber, shown, "oldvalue");
    }
}

/* A list of names that changed only in hidden ones has not changed. */
static bool sees_names(lua_State *L, const struct qd_subscriber *subscriber, const char *event, int info)
{
    int top = lua_gettop(L);
    bool sees = true;

    if (is_of_names(event) && lua_getfield(L, info, "value") == LUA_TSTRING &&
        lua_getfield(L, info, "oldvalue") == LUA_TSTRING && !lua_rawequal(L, -1, -2)) {
        push_shown(L, subscriber, event, info);
        lua_getfield(L, top + 3, "value");
        lua_getfield(L, top + 3, "oldvalue");
        sees = !lua_rawequal(L, -1, -2);
    }
    lua_settop(L, top);
    return sees;
}

/* An event with a qube in its info, as domain-add, is about that qube too. Values of a property are not: they
 * are shown as none. */
static bool sees_objects(lua_State *L, const struct qd_subscriber *subscriber, int info)
{
    bool all = true;

    for (lua_pushnil(L); lua_next(L, info); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        struct qd_object *object = qd_to_object(L, -1);

        if (object && strcmp(key, "newvalue") != 0 && strcmp(key, "oldvalue") != 0)
            all = all && sees(L, subscriber, object);
    }
    return all;
}

static bool sees_info(lua_State *L, const struct qd_subscriber *subscriber, const char *event, int info)
{
    if (!sees_objects(L, subscriber, info))
        return false;
    if (!is_restricted(L, subscriber))
        return true;
    /* That a change of the netvm is put off tells of the old one. */
    if (is_of_feature(event, "deferred-netvm-original"))
        return !qd_permission_restricted(L, subscriber->source, subscriber->bypass);
    return sees_tag(L, subscriber, event) && sees_names(L, subscriber, event, info);
}

/* Pushes number `i` of the changes; a qube that the subscriber can't see is none. */
static void push_side(lua_State *L, const struct qd_subscriber *subscriber, int changes, lua_Integer i)
{
    struct qd_object *object;

    lua_rawgeti(L, changes, i);
    object = qd_to_object(L, -1);
    if (object && !sees(L, subscriber, object)) {
        lua_pop(L, 1);
        lua_pushlightuserdata(L, QD_NONE_POINTER);
    }
}

/* Whether what the event follows from are changes to this subscriber too. */
static bool sees_changes(lua_State *L, const struct qd_subscriber *subscriber, int changes)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, changes);
    bool all = true;

    if (count == 0 || !qd_permission_restricted(L, subscriber->source, subscriber->bypass))
        return true;
    for (lua_Integer i = 1; i < count && all; i += 2) {
        push_side(L, subscriber, changes, i);
        push_side(L, subscriber, changes, i + 1);
        all = !lua_compare(L, -1, -2, LUA_OPEQ);
        lua_pop(L, 2);
    }
    return all;
}

bool qd_news_wanted(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                    struct qd_news_tables tables)
{
    struct qd_object *subject = news->subject;
    bool keep;

    if (subscriber->cut || (subscriber->dest->qid != 0 && subscriber->dest != subject))
        return false;
    if (!sees(L, subscriber, subject))
        return false;
    if (tables.info && !sees_info(L, subscriber, news->event, tables.info))
        return false;
    if (tables.changes && !sees_changes(L, subscriber, tables.changes))
        return false;
    if (subscriber->filters == LUA_NOREF)
        return true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, subscriber->filters);
    keep = qd_permission_filter_event(L, subscriber->generation, lua_gettop(L), subject, news->event,
                                      tables.info);
    lua_pop(L, 1);
    return keep;
}

void qd_news_push_frame(lua_State *L, const struct qd_subscriber *subscriber, const struct qd_news *news,
                        int info)
{
    if (info) {
        push_shown(L, subscriber, news->event, info);
        info = lua_gettop(L);
    }
    qd_event_push_frame(L, news->subject, news->event, info, subscriber->source, subscriber->bypass);
}
