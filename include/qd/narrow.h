/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Narrow rules: those of a less trusted admin, in a directory of their own, which can only take away, for the
 * qubes with one tag. A *set* is one such directory. Its hooks are asked after the main rules have permitted,
 * each set under a budget of its own, and only
 *
 *   - for calls whose destination has the tag, with all that they may do there;
 *   - for lists of qubes (of dom0) and streams of events: what its filters say counts for qubes with the tag,
 * and for events about them; a denial or a failure removes those, and nothing else;
 *   - for what a source may know of: a qube with the tag.
 *
 * A set that does not load takes away everything that it could have. So does one that has used up its share
 * of the loop's time, until it has earned some again. dom0 is never held to a set, as source or as
 * destination.
 */
#ifndef QD_NARROW_H
#define QD_NARROW_H

#include "qd/daemon.h"
#include "qd/declare.h"
#include "qd/permission.h"

#define QD_NARROWS_MAX 32                           /* sets of a generation */
#define QD_NARROW_HOOKS_MAX 256                     /* of a set */
#define QD_NARROW_FILES_MAX 64                      /* of a set */
#define QD_NARROW_BYTES_MAX (1u << 20)              /* of all its files */
#define QD_NARROW_LOAD_MILLISECONDS 500             /* for all its files */
#define QD_NARROW_MILLISECONDS 50                   /* of one question, within those of any question */
#define QD_NARROW_MEMORY (4u << 20)                 /* that one question may allocate */
#define QD_NARROW_SHARE 4                           /* a set gets at most one part in so many of the time */
#define QD_NARROW_SAVED_NS (INT64_C(500) * 1000000) /* of its share, that it may use at once */
#define QD_NARROW_PAUSE_NS (INT64_C(250) * 1000000) /* of its share, when it is used up: 1 s */
#define QD_NARROW_PENALTY_NS                                                                                 \
    (INT64_C(2500) * 1000000)                    /* of its share, for a question that was killed: 10 s */
#define QD_NARROW_KEPT_BYTES ((size_t)128 << 20) /* that the generation may grow by */

struct qd_narrow {
    struct qd_selector src, tag; /* whose calls; which qubes */
    char *directory;             /* a path */
    char *shown;                 /* as it is named in messages */
    char *file;
    int line;
    struct qd_hook *hooks;
    size_t hook_count;
    bool *judges;       /* whether a hook judges a method: [method's number * hook_count + hook's number] */
    bool hides;         /* there is a hook on admin.vm.List, or the set is refused */
    bool refused;       /* takes away all that it is about */
    char *problem;      /* then: why. NULL: there was no memory for it */
    int64_t saved_ns;   /* of its share */
    uint64_t earned_ns; /* when that was right, of the steady clock */
    size_t grown; /* bytes by which its questions have made the generation grow since garbage was collected */
};

/* narrow(DIRECTORY, { tag = … }) of rule files. May raise. */
int qd_narrow_bind(lua_State *L);
void qd_narrow_free(struct qd_narrow *narrow);

struct qd_load;
/* narrow_load.c: reads the files of all sets, after the main rules. What is wrong with a set is noted on it
 * and logged; it keeps nothing else from loading. */
void qd_narrow_load(struct qd_load *load, struct qd_generation *generation);
/* After the methods are known: what the sets could hide. */
void qd_narrow_resolve(struct qd_generation *generation);

/* For permission.c, which asks the sets after the main rules. */

/* The answer of the main rules is on the stack's top: a list (`with_list`), or the filters or nil. Leaves it
 * as the sets leave it; or -EACCES, the question says why, and it is popped. */
int qd_narrow_ask(lua_State *L, struct qd_question *question, int info, bool with_list);
/* Whether the sets let a qube be known; the question is that of the main rules. */
bool qd_narrow_visible(lua_State *L, const struct qd_question *question, struct qd_object *object);
/* Whether the sets let an event of a stream pass; `filters` is what qd_narrow_ask has left for it. */
bool qd_narrow_filter_event(lua_State *L, struct qd_generation *generation, int filters,
                            struct qd_object *subject, const char *event, int info);
/* Whether the set is about this qube. */
bool qd_narrow_concerns(const struct qd_narrow *narrow, const struct qd_model *model,
                        const struct qd_object *object);
/* The set's hook number `i`, when it is one on this method; else NULL. */
struct qd_hook *qd_narrow_hook(const struct qd_narrow *narrow, const struct qd_method *method, size_t i);
/* Around a question: makes the budget the set's, and charges it. */
void qd_narrow_begin(struct qd_narrow *narrow, struct qd_budget *budget);
void qd_narrow_end(struct qd_narrow *narrow, struct qd_generation *generation, const struct qd_budget *budget,
                   size_t memory_before, uint64_t began_ns);

#endif
