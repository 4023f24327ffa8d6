/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * core.format: a line for each qube of a list.
 */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "qd/bind_core.h"

/* A template of core.format, cut into literals and fields. */
enum field { FIELD_LITERAL, FIELD_NAME, FIELD_CLASS, FIELD_STATE, FIELD_UUID, FIELD_QID };

#define PIECES_MAX 32

struct piece {
    enum field field;
    const char *literal;
    size_t size;
};

static enum field field_named(lua_State *L, const char *name, size_t size)
{
    static const char *const names[] = {[FIELD_NAME] = "name",
                                        [FIELD_CLASS] = "class",
                                        [FIELD_STATE] = "state",
                                        [FIELD_UUID] = "uuid",
                                        [FIELD_QID] = "qid"};

    for (enum field field = FIELD_NAME; field <= FIELD_QID; field++) {
        if (strlen(names[field]) == size && memcmp(names[field], name, size) == 0)
            return field;
    }
    return luaL_error(L, "core.format knows {name}, {class}, {state}, {uuid} and {qid}");
}

static size_t cut_template(lua_State *L, const char *template, struct piece *ret_pieces)
{
    size_t count = 0;

    while (*template) {
        size_t size = strcspn(template, "{");

        if (count + 2 > PIECES_MAX)
            luaL_error(L, "core.format: more than %d fields and texts between them", PIECES_MAX);
        if (size)
            ret_pieces[count++] = (struct piece){FIELD_LITERAL, template, size};
        template += size;
        if (*template) {
            size = strcspn(template, "}");
            ret_pieces[count++] = (struct piece){field_named(L, template + 1, size - 1), "", 0};
            template += size + (template[size] != '\0');
        }
    }
    return count;
}

static char *append(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return out + size;
}

/* One line into the buffer; no field but the name and the class is longer than 40 bytes. */
static void format_line(luaL_Buffer *buffer, const struct piece *pieces, size_t count,
                        const struct qd_object *object)
{
    size_t space = object->name->size + object->class_name->size;
    char *start, *out;

    for (size_t i = 0; i < count; i++)
        space += pieces[i].size + 40 + (pieces[i].field == FIELD_NAME ? object->name->size : 0) +
                 (pieces[i].field == FIELD_CLASS ? object->class_name->size : 0);
    out = start = luaL_prepbuffsize(buffer, space);
    for (size_t i = 0; i < count; i++) {
        switch (pieces[i].field) {
        case FIELD_LITERAL:
            out = append(out, pieces[i].literal, pieces[i].size);
            break;
        case FIELD_NAME:
            out = append(out, object->name->data, object->name->size);
            break;
        case FIELD_CLASS:
            out = append(out, object->class_name->data, object->class_name->size);
            break;
        case FIELD_STATE:
            out = append(out, qd_power_name(object->power), strlen(qd_power_name(object->power)));
            break;
        case FIELD_UUID:
            out = append(out, object->uuid, QD_UUID_SIZE - 1);
            break;
        case FIELD_QID:
            out += snprintf(out, 24, "%lld", (long long)object->qid);
            break;
        }
    }
    luaL_addsize(buffer, (size_t)(out - start));
}

/* core.format(qubes, template): qubes is an array, or core.all_qubes(), whose text is kept until the model
 * changes. */
int qd_bind_format(lua_State *L)
{
    struct qd_model *model = qd_check_daemon(L)->model;
    const char *template = luaL_checkstring(L, 2);
    bool all = lua_islightuserdata(L, 1) && lua_touserdata(L, 1) == qd_model_app(model);
    size_t count = all ? qd_model_qube_count(model) : (luaL_checktype(L, 1, LUA_TTABLE), lua_rawlen(L, 1)),
           piece_count;
    struct piece pieces[PIECES_MAX];
    luaL_Buffer buffer;

    lua_settop(L, 2);
    if (all && qd_cached_push(L, template, qd_model_version(model)))
        return 1;
    if (!all) {
        for (size_t i = 1; i <= count; i++) {
            lua_rawgeti(L, 1, (lua_Integer)i);
            qd_check_qube(L, -1);
            lua_pop(L, 1);
        }
    }
    piece_count = cut_template(L, template, pieces);
    luaL_buffinitsize(L, &buffer, count * 96 + 512);
    for (size_t i = 0; i < count; i++) {
        struct qd_object *object;

        if (all) {
            object = qd_model_qubes(model)[i];
        } else {
            /* The buffer may use the stack's top, so the item is read and forgotten first; the table keeps it
             * alive. */
            lua_rawgeti(L, 1, (lua_Integer)i + 1);
            object = qd_to_object(L, -1);
            lua_pop(L, 1);
        }
        format_line(&buffer, pieces, piece_count, object);
    }
    luaL_pushresult(&buffer);
    if (all)
        qd_cached_keep(L, template, qd_model_version(model));
    return 1;
}
