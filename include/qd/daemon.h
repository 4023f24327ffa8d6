/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Start here: the daemon's parts, and how a request passes through them.
 *
 *   connection.c            reads a request to its end
 *   frame.c                 cuts it apart
 *   dispatch.c              finds method, source, destination
 *   call.c                  runs the handler as a coroutine, to its answer
 *   permission.c            asks the rules (laws 1, 3, 4)
 *   commit.c                hands the changes to the store (law 6)
 *   event.c                 gives events to subscribers
 *   generation.c, load.c, run.c  the Lua side (laws 4, 8)
 *
 * Glossary. *Generation*: one loaded set of scripts and rules, a lua_State. *Call*: a request that runs, or a
 * task, which is a call without a client (a lifecycle event, something spawned). *Wait*: what a call that has
 * yielded is waiting for. *Commit*: the changes of a call, or of a part of it up to a wait, on their way to
 * the disk. *Outbox*: events that subscribers get when the commit is on disk.
 *
 * Everything here is the loop's thread's, except a generation that is being loaded, which belongs to one
 * worker until it is handed over.
 */
#ifndef QD_DAEMON_H
#define QD_DAEMON_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "qd/frame.h"
#include "qd/model.h"
#include "qd/store.h"
#include "qd/virt.h"

#define QD_CONNECTIONS_MAX 2048           /* all sockets together; one more is closed at once */
#define QD_REQUEST_SECONDS 30             /* from connecting to the end of the request */
#define QD_ANSWER_SECONDS 30              /* for the client to read an answer, or the next queued event */
#define QD_STOP_SECONDS 2                 /* the same while the daemon stops */
#define QD_EVENTS_QUEUED_MAX (1u << 20)   /* bytes a subscriber may lag behind */
#define QD_GENERATION_MEMORY (512u << 20) /* bytes of one lua_State */
#define QD_HOOK_MEMORY (16u << 20)        /* bytes one hook may allocate */
#define QD_HOOK_INSTRUCTIONS 1000000      /* VM instructions of all hooks of one question */
#define QD_HOOK_ITEM_INSTRUCTIONS 10000   /* and more for each item that filters judge */
#define QD_HOOK_MILLISECONDS 500          /* of one question */
#define QD_SCRIPT_MILLISECONDS 5000       /* between two waits of a handler */
#define QD_LOAD_MILLISECONDS 10000        /* for loading a generation */
#define QD_SITE_MILLISECONDS 1000         /* for a hook of a site's extension, and for loading one */

#define QD_NO_GROUP ((gid_t)-1)

enum qd_socket { QD_SOCKET_ADMIN, QD_SOCKET_INTERNAL, QD_SOCKET_MISC, QD_SOCKET_CONSOLE, QD_SOCKET_COUNT };

struct qd_config {
    char *socket_dir;
    char *state_dir;
    char *scripts_dir;
    char *acl_dir;
    char *ext_dir;
    char *policy_dir;  /* directories of the qrexec policy, with ':' between them */
    char *qubesdb_dir; /* where the sockets of QubesDB's daemons are */
    char *kernels_dir;
    char *libvirt_uri;
    char *acl_tests;    /* "no", "yes", or the path of what is to be run instead of qubesd-acl */
    char *acl_coverage; /* where the lines of rules that have run are written; NULL: nowhere */
    char *audit_file;   /* empty: none */
    char *audit_dom0;   /* yes or no */
    char *group;        /* of the sockets; empty: the process's own; NULL: the usual one, if it exists */
    gid_t group_id;     /* the same, or QD_NO_GROUP */
    char *file;         /* of --import-xml, --export-xml, --copy-store, --check-acl */
    bool debug;
};

enum qd_need { QD_NEED_NONE, QD_NEED_REQUIRED, QD_NEED_OPTIONAL };
enum qd_dest { QD_DEST_ANY, QD_DEST_ADMINVM, QD_DEST_QUBE };

/* A declared method (law 9). Owned by its generation. */
struct qd_method {
    char *name;
    char *event;   /* "admin-permission:" and the name */
    char *filters; /* what its filters judge, NULL: it takes none */
    enum qd_socket socket;
    enum qd_need arg, payload;
    enum qd_dest dest;
    bool cancellable;
    bool read_only; /* declared to read, and nothing else */
    size_t number;  /* its place among the generation's */
    int handler;    /* reference in the registry */
    size_t *hooks;  /* indexes into the generation's */
    size_t hook_count;
    size_t *shadow_hooks; /* likewise, of shadow rules */
    size_t shadow_count;
};

/* What became of a hook's questions since its generation was loaded. Explanations (explain.h) don't count. */
struct qd_hook_counters {
    uint64_t calls, denials, failures;
    uint64_t filtered; /* items and events that its filters removed */
    uint64_t ns;       /* spent in it and in its filters */
    uint64_t asked_ns; /* when it was asked last, uv_hrtime's clock; 0: never */
};

#define QD_SHADOW_TOLD_MAX 16 /* differences of one shadow rule that are logged in a minute */

/* Which difference was logged last, and when. */
struct qd_shadow_told {
    uint64_t ns; /* 0: none */
    size_t method;
    int64_t source;
};

/* A hook on permission events. */
struct qd_hook {
    struct qd_hook_counters counters;
    char *pattern;
    char *file;
    int line;
    int function;                /* reference in the registry */
    bool shadow;                 /* of acl.d/shadow: judged beside the others, changes nothing */
    bool disabled;               /* a shadow rule that used up its budget: not asked any more */
    struct qd_shadow_told *told; /* of a shadow rule, QD_SHADOW_TOLD_MAX of them; NULL before the first */
    bool matched;                /* some method has its event */
    bool list_only;              /* its filters decide what lists show, not what a source may know of */
};

/* What a question to the rules may use up. While one is set on the generation, the model is read-only and
 * nothing may wait. */
struct qd_budget {
    lua_State *thread; /* that the hooks run on */
    int64_t instructions;
    uint64_t deadline_ns; /* uv_hrtime's clock */
    size_t memory;        /* the generation's use may not pass this */
    unsigned failed_allocations;
    const char *killed;    /* why; a pcall can't unset it */
    bool denied, expected; /* by deny(), which may say that it is nothing special */
    char reason[256];
    char place[160];  /* file:line of the hook that decided */
    bool counts_each; /* for a trace: every single instruction is counted, though judged as ever */
    uint64_t counted;
};

struct qd_generation {
    lua_State *L;
    struct qd_daemon *daemon; /* NULL while it loads */
    unsigned refs;
    unsigned number;
    int64_t since; /* when it served first, in seconds since 1970 */
    char digest[65];
    char code_digest[65];         /* without the qrexec policy */
    struct qd_coverage *coverage; /* NULL: not wanted */
    size_t memory;
    struct qd_budget *budget;
    struct qd_trace *trace; /* what questions are written down in while a call is explained, else NULL */
    uint64_t script_deadline_ns;
    unsigned guarded; /* hooks of sites that run, one inside the other */
    bool loading;
    bool loading_shadow;
    bool has_shadow;            /* there are shadow rules */
    bool unhurried;             /* nobody is served yet, so scripts may take their time */
    char *lock_reason;          /* the rules did not load at start: everything that asks is denied */
    struct qd_method **methods; /* sorted by name */
    size_t method_count;
    struct qd_method *list_method; /* admin.vm.List, which decides what a source may see */
    bool may_hide;                 /* there is a hook that could hide something */
    struct qd_hook *hooks;
    size_t hook_count;
    struct qd_limit *limits; /* limit.c */
    size_t limit_count;
    struct qd_grant *grants; /* grant.c */
    size_t grant_count;
    struct qd_narrow *narrows; /* narrow.c */
    size_t narrow_count;
    struct qd_narrow *narrowing;                        /* whose files load now */
    size_t memory_loaded;                               /* `memory` when it had loaded */
    int object_metatable, proxies, core_hooks, threads; /* references in the registry */
    const void *object_type, *call_type; /* the metatables, to tell such values apart by one comparison */
    size_t thread_count;
};

/* Bytes for one subscriber. */
struct qd_letter {
    struct qd_letter *next;
    uint64_t subscriber;
    bool announcement; /* of a "-pre-" event: it tells of the attempt, so it is given also when the call fails
                        */
    size_t size;
    char data[];
};

struct qd_outbox {
    struct qd_letter *first, *last;
};

enum qd_call_state { QD_CALL_CHECKED, QD_CALL_PERMITTED, QD_CALL_ANSWERED };

struct qd_call {
    struct qd_call *next, *previous;
    struct qd_daemon *daemon;
    struct qd_generation *generation;
    struct qd_connection *connection; /* NULL: a task, or the client has left */
    const struct qd_method *method;   /* NULL: a task */
    struct qd_object *source, *dest;
    struct qd_slice arg; /* inside `request` */
    struct qd_slice payload;
    char *request; /* the request's bytes */
    enum qd_call_state state;
    bool denied; /* by the rules, once and for all */
    bool bypass; /* the console's: outside the rules (law 5) */
    bool resubscribing;
    bool streaming; /* has sent events */
    lua_State *thread;
    int thread_ref;
    struct qd_call_handle *handle; /* the userdata that scripts have */
    struct qd_untrusted *untrusted;
    struct qd_wait *wait;
    struct qd_journal journal;
    struct qd_outbox outbox;
    unsigned commits; /* on their way */
    int commit_error;
    char *commit_message;
    bool finished; /* the handler has ended; the answer waits for the commits */
    char *answer;  /* then */
    size_t answer_size;
    int *spawned; /* references: arrays of a function and its arguments */
    size_t spawned_count;
    struct qd_dry *dry;   /* it is only explained (explain.h), else NULL */
    struct qd_told *told; /* who waits for the end of a task, see qd_task_run */
    uint64_t started_ns;
    uint64_t serial; /* from 1; no two calls of a daemon have the same */
};

struct qd_subscriber {
    struct qd_subscriber *next;
    uint64_t id;
    struct qd_connection *connection;
    struct qd_generation *generation;
    const struct qd_method *method;
    struct qd_object *source, *dest;
    bool bypass;
    int filters; /* reference to an array of functions; LUA_NOREF: none */
    bool cut;    /* its last event is queued */
};

struct qd_status {
    uint64_t calls, denied, denied_expected, shadow_differences, limited, failed;
    unsigned connections;
};

struct qd_daemon {
    uv_loop_t loop;
    struct qd_config config;
    struct qd_model *model;
    struct qd_store *store;
    struct qd_virt *virt;
    struct qd_generation *generation; /* the one that serves */
    struct qd_generation *previous;   /* the one before, to go back to; NULL: there is none */
    struct qd_call *running;          /* whose coroutine runs now */
    struct qd_call *calls;
    struct qd_connection *connections, *spare_connections;
    size_t spare_count;
    struct qd_subscriber *subscribers;
    uint64_t next_subscriber;
    struct qd_commit *first_commit, *last_commit;
    struct qd_wait *power_waits, *ready_waits;
    struct qd_lock *locks;
    struct qd_listener *listeners;
    struct qd_reload *reload;
    struct qd_audit *audit;      /* NULL: there is none */
    struct qd_program *programs; /* program.c */
    unsigned program_count;
    struct qd_qubesdb *qubesdb;
    uv_timer_t sweep, ready;
    struct qd_status status;
    uint64_t calls_made;
    unsigned generations_made;
    bool stopping;
};

/* The generation and the daemon of a state. The daemon is NULL while the generation loads. */
static inline struct qd_generation *qd_generation_of(lua_State *L)
{
    return *(struct qd_generation **)lua_getextraspace(L);
}

#endif
