/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qd/run.h"

#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "qd/call.h"
#include "qd/coverage.h"

#define HOOK_STEP                                                                                            \
    100 /* instructions between two looks at the budget; one may be a C function that takes milliseconds */
#define CLOCK_STEPS 256         /* of a pattern or of bytes made, from which on the clock is looked at too */
#define LOAD_STEP 100000        /* and at the clock of a load */
#define STEPS_PER_INSTRUCTION 4 /* of the pattern matcher */
#define GUARDED_MAX 8           /* hooks of sites, one inside the other */
#define ALARM_SECONDS 1         /* between two looks at the clock of a script that runs */

/* The coroutine that runs a script now, for the alarm. A count hook would watch a script as well, but makes
 * every instruction of every call pay. */
static lua_State *volatile running;

static void watch(lua_State *L, lua_Debug *activation);

/* From the kill on, every instruction raises: a pcall can catch one, and the next raises again. Raises
 * nothing itself. */
static void condemn(struct qd_budget *budget, const char *why)
{
    if (!budget->killed)
        budget->killed = why;
    lua_sethook(budget->thread, watch, LUA_MASKCOUNT | LUA_MASKLINE, 1);
}

static void kill_hook(lua_State *L, struct qd_budget *budget, const char *why)
{
    condemn(budget, why);
    luaL_error(L, "%s", budget->killed);
}

static void watch(lua_State *L, lua_Debug *activation)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_budget *budget = generation->budget;

    if (!budget) {
        if (generation->script_deadline_ns && uv_hrtime() > generation->script_deadline_ns)
            luaL_error(L, "the script ran too long without waiting");
        return;
    }
    if (budget->killed)
        kill_hook(L, budget, budget->killed);
    if (activation->event == LUA_HOOKLINE) {
        qd_coverage_note(generation->coverage, L, activation);
        return;
    }
    if (budget->counts_each && ++budget->counted % HOOK_STEP != 0)
        return;
    budget->instructions -= HOOK_STEP;
    if (budget->instructions < 0)
        kill_hook(L, budget, "too many instructions");
    if (uv_hrtime() > budget->deadline_ns)
        kill_hook(L, budget, "too much time");
}

void qd_run_watch(lua_State *L)
{
    lua_sethook(L, watch, LUA_MASKCOUNT, LOAD_STEP);
}

/* Interrupts the loop's thread between any two instructions; lua_sethook is made for that. From then on every
 * instruction of the script raises. */
static void on_alarm(int signal_number)
{
    lua_State *thread = running;
    struct timespec now;

    (void)signal_number;
    if (!thread)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec >
        qd_generation_of(thread)->script_deadline_ns)
        lua_sethook(thread, watch, LUA_MASKCOUNT, 1);
}

int qd_run_start_alarm(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
    struct itimerspec every = {.it_interval = {.tv_sec = ALARM_SECONDS},
                               .it_value = {.tv_sec = ALARM_SECONDS}};
    timer_t timer;

    event._sigev_un._tid = gettid();
    if (sigaction(SIGALRM, &action, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
        timer_settime(timer, 0, &every, NULL) < 0)
        return -errno;
    return 0;
}

void *qd_run_allocate(void *context, void *block, size_t old_size, size_t new_size)
{
    struct qd_generation *generation = context;
    struct qd_budget *budget = generation->budget;
    size_t old = block ? old_size : 0; /* for a new object old_size is its type */
    bool grows = new_size > old;
    void *result;

    if (new_size == 0) {
        free(block);
        generation->memory -= old;
        return NULL;
    }
    if (grows) {
        size_t limit = budget ? budget->memory : QD_GENERATION_MEMORY;

        if (generation->memory + (new_size - old) > limit) {
            /* Lua collects all garbage and asks once more. A second refusal in a row is final, whatever a
             * pcall makes of it. */
            if (budget && ++budget->failed_allocations > 1)
                condemn(budget, "too much memory");
            return NULL;
        }
    }
    result = realloc(block, new_size);
    if (!result)
        return NULL;
    generation->memory += new_size - old; /* may wrap on purpose: it shrinks */
    if (budget && grows)
        budget->failed_allocations = 0;
    return result;
}

/* Exceptions (tables made by raise) pass as they are; everything else becomes text with a traceback. Never
 * runs a metamethod. */
static int describe(lua_State *L)
{
    const char *text;

    if (lua_type(L, 1) == LUA_TTABLE)
        return 1;
    text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1)
                                         : lua_pushfstring(L, "(an error object: a %s)", luaL_typename(L, 1));
    luaL_traceback(L, L, text, 1);
    return 1;
}

int qd_run_protected(lua_State *L, int arguments, int results)
{
    int handler = lua_gettop(L) - arguments;
    int status;

    lua_pushcfunction(L, describe);
    lua_insert(L, handler);
    status = lua_pcall(L, arguments, results, handler);
    lua_remove(L, handler);
    return status;
}

int qd_run_resume(struct qd_generation *generation, lua_State *thread, int arguments, int *ret_results)
{
    lua_State *outer = running;
    int status;

    generation->script_deadline_ns =
        generation->unhurried ? UINT64_MAX : uv_hrtime() + QD_SCRIPT_MILLISECONDS * UINT64_C(1000000);
    running = thread;
    status = lua_resume(thread, NULL, arguments, ret_results);
    running = outer;
    if (lua_gethookmask(thread))
        lua_sethook(thread, NULL, 0, 0);
    return status;
}

void qd_budget_begin(struct qd_generation *generation, lua_State *L, struct qd_budget *budget, size_t items)
{
    *budget = (struct qd_budget){
        .thread = L,
        .instructions = QD_HOOK_INSTRUCTIONS + (int64_t)items * QD_HOOK_ITEM_INSTRUCTIONS,
        .deadline_ns = uv_hrtime() + QD_HOOK_MILLISECONDS * UINT64_C(1000000),
        .memory = generation->memory + QD_HOOK_MEMORY,
        .counts_each = generation->trace != NULL,
    };
    generation->budget = budget;
    lua_sethook(L, watch, generation->coverage ? LUA_MASKCOUNT | LUA_MASKLINE : LUA_MASKCOUNT,
                budget->counts_each ? 1 : HOOK_STEP);
}

int64_t qd_budget_left(const struct qd_budget *budget)
{
    return budget->instructions - (int64_t)(budget->counted % HOOK_STEP);
}

void qd_budget_end(struct qd_generation *generation, lua_State *L)
{
    generation->budget = NULL;
    lua_sethook(L, NULL, 0, 0);
}

int qd_run_hook(struct qd_generation *generation, lua_State *L, int arguments, int results)
{
    struct qd_budget *budget = generation->budget;
    int base = lua_gettop(L) - arguments - 1;
    int status = lua_pcall(L, arguments, results, 0);

    if (status == LUA_OK && !budget->killed && !budget->denied)
        return 0;
    /* Only a plain string is shown: an error object could have a __tostring of its own. */
    if (!budget->killed && !budget->denied) {
        const char *text =
            lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no string";

        strncpy(budget->reason, text, sizeof(budget->reason) - 1);
    }
    lua_settop(L, base);
    return -EACCES;
}

uint64_t qd_budget_charge(lua_State *L, uint64_t used)
{
    struct qd_budget *budget = qd_generation_of(L)->budget;

    if (!budget)
        return UINT64_MAX;
    budget->instructions -= (int64_t)((used + STEPS_PER_INSTRUCTION - 1) / STEPS_PER_INSTRUCTION);
    if (budget->instructions <= 0)
        condemn(budget, "too many instructions"); /* a pcall around the pattern changes nothing */
    else if (used >= CLOCK_STEPS && uv_hrtime() > budget->deadline_ns)
        condemn(budget, "too much time");
    return budget->killed ? 0 : (uint64_t)budget->instructions * STEPS_PER_INSTRUCTION;
}

/* Where the error comes from, as far as a file of ext.d is concerned. Metamethods of the error are not asked.
 */
static int describe_place(lua_State *L)
{
    lua_Debug frame;

    memset(&frame, 0, sizeof(frame));
    lua_settop(L, 1);
    lua_createtable(L, 2, 0);
    lua_insert(L, 1);
    lua_rawseti(L, 1, 1);
    for (int level = 0; lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "Sl", &frame);
        if (strncmp(frame.source, "@ext.d/", 7) == 0) {
            lua_pushfstring(L, "%s:%d", frame.source + 1, frame.currentline);
            lua_rawseti(L, 1, 2);
            break;
        }
    }
    return 1;
}

/* After the hook, also when it has waited in between. `deadline` was that of whoever called, 0: the hook has
 * waited, so that one begins anew. */
static int end_guarded(lua_State *L, int status, uint64_t deadline)
{
    struct qd_generation *generation = qd_generation_of(L);

    generation->script_deadline_ns = deadline ? deadline
                                     : generation->unhurried
                                         ? UINT64_MAX
                                         : uv_hrtime() + QD_SCRIPT_MILLISECONDS * UINT64_C(1000000);
    lua_sethook(L, NULL, 0, 0); /* the alarm's */
    if (status == LUA_OK || status == LUA_YIELD) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    if (lua_type(L, -2) != LUA_TTABLE) { /* no memory for a description */
        lua_pushvalue(L, -2);
        return 2;
    }
    lua_rawgeti(L, -2, 1);
    lua_rawgeti(L, -3, 2);
    return 3;
}

static int continue_guarded(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    return end_guarded(L, status, 0);
}

int qd_run_guarded(lua_State *L)
{
    struct qd_generation *generation = qd_generation_of(L);
    struct qd_call *call = generation->daemon ? generation->daemon->running : NULL;
    bool may_wait = lua_toboolean(L, 1);
    uint64_t deadline = generation->script_deadline_ns, begin = uv_hrtime(), passed;
    struct qd_savepoint savepoint;
    int status;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (generation->budget)
        return luaL_error(L, "a rule fires no events"); /* and its watch must stay */
    if (!call)
        return luaL_error(L, "no call runs");
    if (!may_wait && generation->guarded >= GUARDED_MAX) {
        lua_pushboolean(L, 0);
        lua_pushfstring(L, "hooks cause each other, more than %d deep", GUARDED_MAX);
        return 2;
    }
    lua_pushcfunction(L, describe_place);
    lua_replace(L, 1);
    if (may_wait) {
        status = lua_pcallk(L, lua_gettop(L) - 2, 0, 1, 0, continue_guarded);
        return end_guarded(L, status, 0);
    }
    if (begin + QD_SITE_MILLISECONDS * UINT64_C(1000000) < deadline)
        generation->script_deadline_ns = begin + QD_SITE_MILLISECONDS * UINT64_C(1000000);
    qd_savepoint_begin(call, &savepoint);
    generation->guarded++;
    status = lua_pcall(L, lua_gettop(L) - 2, 0, 1);
    generation->guarded--;
    qd_savepoint_end(call, &savepoint, status == LUA_OK);
    passed = uv_hrtime() - begin;
    return end_guarded(L, status, deadline < UINT64_MAX - passed ? deadline + passed : deadline);
}

int qd_run_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 1);
    lua_copy(L, 2, 1);
    lua_replace(L, 2); /* handler, function, arguments */
    if (lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0) == LUA_OK) {
        lua_pushboolean(L, 1);
        lua_replace(L, 1);
        return lua_gettop(L);
    }
    lua_pcall(L, 1, 1, 0);
    lua_pushboolean(L, 0);
    lua_insert(L, 1);
    return 2;
}
