/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/grant.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "qd/bind_core.h"
#include "qd/call.h"
#include "qd/clock.h"
#include "qd/generation.h"
#include "qd/log.h"
#include "qd/trace.h"

#define EVENT "admin-permission:"

void qd_grant_free(struct qd_grant *grant)
{
    qd_selector_free(&grant->src);
    qd_selector_free(&grant->dest);
    free(grant->method);
    free(grant->arg);
    free(grant->reason);
    free(grant->file);
}

/* ---- judging ---- */

struct case_at_hand {
    const struct qd_model *model;
    const struct qd_object *source, *dest;
    const char *method, *arg;
    int64_t now_s;
};

/* Whether the grant is one of this source's for this method. */
static bool is_about(const struct qd_grant *grant, const struct case_at_hand *at_hand)
{
    return at_hand->source->qid != 0 && qd_selector_matches(&grant->src, at_hand->model, at_hand->source) &&
           qd_method_matches(grant->method, at_hand->method);
}

static bool fits(const struct qd_grant *grant, const struct case_at_hand *at_hand)
{
    return qd_selector_matches(&grant->dest, at_hand->model, at_hand->dest) &&
           (!grant->arg || qd_event_matches(grant->arg, at_hand->arg));
}

/* The grant that the refusal is put down to: the first that fits but is not in force, else the first of them.
 * NULL: there is one that permits. */
static const struct qd_grant *find_refusing(const struct qd_generation *generation,
                                            const struct case_at_hand *at_hand, bool *ret_fits)
{
    const struct qd_grant *first = NULL, *closed = NULL;

    for (size_t i = 0; i < generation->grant_count; i++) {
        const struct qd_grant *grant = &generation->grants[i];

        if (!is_about(grant, at_hand))
            continue;
        if (!first)
            first = grant;
        if (!fits(grant, at_hand))
            continue;
        if (qd_window_is_open(&grant->window, at_hand->now_s))
            return NULL;
        if (!closed)
            closed = grant;
    }
    *ret_fits = closed != NULL;
    return closed ? closed : first;
}

/* (src, event, info), a hook with the grant's index as upvalue. All grants of a source and method are asked;
 * the one that the refusal is put down to refuses for all. */
static int judge(lua_State *L)
{
    const struct qd_generation *generation = qd_generation_of(L);
    const struct qd_grant *grant = &generation->grants[lua_tointeger(L, lua_upvalueindex(1))], *refusing;
    struct case_at_hand at_hand = {.model = generation->daemon->model,
                                   .source = qd_check_object(L, 1),
                                   .method = luaL_checkstring(L, 2) + strlen(EVENT)};
    bool fitting = false;

    if (!is_about(grant, &at_hand))
        return 0;
    lua_getfield(L, 3, "dest");
    at_hand.dest = qd_check_object(L, -1);
    lua_getfield(L, 3, "arg");
    at_hand.arg = luaL_checkstring(L, -1);
    at_hand.now_s = qd_trace_wall_s(generation);
    refusing = find_refusing(generation, &at_hand, &fitting);
    if (refusing != grant)
        return 0;
    lua_settop(L, 0);
    if (fitting)
        lua_pushfstring(L, "no grant is in force now%s%s", grant->reason ? ": " : "",
                        grant->reason ? grant->reason : "");
    else
        lua_pushliteral(L, "no grant permits this call");
    return qd_bind_rules_deny(L);
}

/* ---- declaring ---- */

/* Of the argument, checked; the strings are Lua's. */
struct fields {
    const char *src, *dest, *method, *arg, *reason;
    struct qd_window window;
};

static void check_parsed(lua_State *L, const char *name, const char *problem)
{
    if (problem)
        luaL_error(L, "grant: '%s': %s", name, problem);
}

static void read_window(lua_State *L, struct qd_window *window)
{
    const char *text;

    qd_window_init(window);
    text = qd_declare_field_string(L, "grant", "from", false);
    check_parsed(L, "from", text ? qd_window_parse_time(text, &window->from_s) : NULL);
    text = qd_declare_field_string(L, "grant", "expires", false);
    check_parsed(L, "expires", text ? qd_window_parse_time(text, &window->expires_s) : NULL);
    if (window->expires_s <= window->from_s)
        luaL_error(L, "grant: it expires before it begins");
    text = qd_declare_field_string(L, "grant", "hours", false);
    check_parsed(L, "hours", text ? qd_window_parse_hours(text, window) : NULL);
    text = qd_declare_field_string(L, "grant", "days", false);
    check_parsed(L, "days", text ? qd_window_parse_days(text, window) : NULL);
}

static void read_fields(lua_State *L, struct fields *fields)
{
    static const char *const names[] = {"src",     "method", "dest", "arg",    "from",
                                        "expires", "hours",  "days", "reason", NULL};

    qd_declare_check_fields(L, "grant", names);
    fields->src = qd_declare_field_string(L, "grant", "src", true);
    qd_declare_check_selector(L, "grant", "src", fields->src);
    if (strcmp(fields->src, "dom0") == 0)
        luaL_error(L, "grant: dom0 needs none, and is never held to any");
    fields->method = qd_declare_field_string(L, "grant", "method", true);
    qd_declare_check_method(L, "grant", fields->method);
    fields->dest = qd_declare_field_string(L, "grant", "dest", false);
    if (fields->dest)
        qd_declare_check_selector(L, "grant", "dest", fields->dest);
    fields->arg = qd_declare_field_string(L, "grant", "arg", false);
    fields->reason = qd_declare_field_string(L, "grant", "reason", false);
    read_window(L, &fields->window);
}

/* False: no memory. */
static bool fill(struct qd_grant *grant, const struct fields *fields, const lua_Debug *place)
{
    *grant = (struct qd_grant){.method = strdup(fields->method),
                               .arg = fields->arg ? strdup(fields->arg) : NULL,
                               .reason = fields->reason ? strdup(fields->reason) : NULL,
                               .file = strdup(place->short_src),
                               .line = place->currentline,
                               .window = fields->window};
    return qd_selector_init(&grant->src, fields->src) == 0 &&
           qd_selector_init(&grant->dest, fields->dest ? fields->dest : "*") == 0 && grant->method &&
           (grant->arg || !fields->arg) && (grant->reason || !fields->reason) && grant->file;
}

static const char *add(struct qd_generation *generation, const struct fields *fields, const lua_Debug *place)
{
    struct qd_grant *grown;

    if (generation->grant_count >= QD_GRANTS_MAX)
        return "grant: too many of them";
    grown = realloc(generation->grants, (generation->grant_count + 1) * sizeof(*grown));
    if (!grown)
        return "no memory";
    generation->grants = grown;
    if (!fill(&grown[generation->grant_count], fields, place)) {
        qd_grant_free(&grown[generation->grant_count]);
        return "no memory";
    }
    generation->grant_count++;
    return NULL;
}

int qd_grant_bind(lua_State *L)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct fields fields;
    const char *problem;
    lua_Debug place;

    read_fields(L, &fields);
    qd_declare_place(L, &place);
    problem = add(generation, &fields, &place);
    if (problem)
        return luaL_error(L, "%s", problem);
    lua_pushfstring(L, EVENT "%s", fields.method);
    lua_pushinteger(L, (lua_Integer)generation->grant_count - 1);
    lua_pushcclosure(L, judge, 1);
    qd_bind_rules_add_hook(L, lua_tostring(L, -2), true);
    return 0;
}

/* ---- time ---- */

void qd_grant_adopt(struct qd_generation *generation)
{
    int64_t now_s = qd_clock_wall_s();

    tzset();
    for (size_t i = 0; i < generation->grant_count; i++) {
        struct qd_grant *grant = &generation->grants[i];

        grant->open = qd_window_is_open(&grant->window, now_s);
        if (grant->window.expires_s <= now_s)
            qd_log(QD_LOG_NOTICE, "%s:%d: the grant of %s for %s has ended for good, and can be deleted",
                   grant->file, grant->line, grant->src.text, grant->method);
    }
}

void qd_grant_tick(struct qd_daemon *daemon)
{
    struct qd_generation *generation = daemon->generation;
    int64_t now_s = qd_clock_wall_s();
    bool changed = false;

    if (generation->grant_count > 0)
        tzset(); /* who travels sets another zone */
    for (size_t i = 0; i < generation->grant_count; i++) {
        struct qd_grant *grant = &generation->grants[i];
        bool open = qd_window_is_open(&grant->window, now_s);

        if (open == grant->open)
            continue;
        grant->open = open;
        changed = true;
        qd_log(QD_LOG_INFO, "%s:%d: the grant of %s for %s %s", grant->file, grant->line, grant->src.text,
               grant->method, open ? "is in force" : "has ended");
    }
    if (changed)
        qd_subscribers_ask_again(daemon);
}
