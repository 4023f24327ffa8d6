// SPDX-License-Identifier: GPL-2.0-or-later

// The command line of bench-load, and the requests that it asks for.

#define _GNU_SOURCE 1

#include "load.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { COUNTER_MAX = 20, CONNECTIONS_MAX = 1000 };

static const char help_text[] =
    "usage: bench-load --socket PATH --method METHOD [OPTION]...\n"
    "\n"
    "Makes calls of a daemon, one connection a call, checks every answer and prints a line of JSON.\n"
    "\n"
    "  --socket PATH             the server's socket\n"
    "  --method METHOD           the method to call\n"
    "  --arg ARG                 its argument\n"
    "  --src QUBE                the calling qube (dom0)\n"
    "  --dest QUBE               the called qube (dom0)\n"
    "  --dest-list FILE          the called qubes in turn, one a line\n"
    "  --payload TEXT            the payload; its first %d becomes a counter\n"
    "  --first N                 the counter's first value (0)\n"
    "  --connections N           calls under way at once (1)\n"
    "  --calls N                 how many calls to make, or\n"
    "  --seconds S               how long to go on (1)\n"
    "  --timeout S               give up when nothing happens for so long (30)\n"
    "  --expect TEXT             every answer must be OK with exactly this text\n"
    "  --expect-file FILE        every answer must be exactly this file's bytes, head included\n"
    "  --expect-length N         every answer must be OK and N bytes long, head included\n"
    "  --expect-exception CLASS  every answer must be an exception of this class\n"
    "  --expect-empty            every connection must be closed without an answer\n"
    "\n"
    "Without --expect…, every answer must be OK. Exit status: 0 when all answers were right, 1 when not, 2 "
    "for wrong usage.\n";

enum option_key {
    KEY_SOCKET = 1,
    KEY_METHOD,
    KEY_ARG,
    KEY_SRC,
    KEY_DEST,
    KEY_DEST_LIST,
    KEY_PAYLOAD,
    KEY_FIRST,
    KEY_CONNECTIONS,
    KEY_CALLS,
    KEY_SECONDS,
    KEY_TIMEOUT,
    KEY_EXPECT,
    KEY_EXPECT_FILE,
    KEY_EXPECT_LENGTH,
    KEY_EXPECT_EXCEPTION,
    KEY_EXPECT_EMPTY,
    KEY_HELP,
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, KEY_SOCKET},
    {"method", required_argument, NULL, KEY_METHOD},
    {"arg", required_argument, NULL, KEY_ARG},
    {"src", required_argument, NULL, KEY_SRC},
    {"dest", required_argument, NULL, KEY_DEST},
    {"dest-list", required_argument, NULL, KEY_DEST_LIST},
    {"payload", required_argument, NULL, KEY_PAYLOAD},
    {"first", required_argument, NULL, KEY_FIRST},
    {"connections", required_argument, NULL, KEY_CONNECTIONS},
    {"calls", required_argument, NULL, KEY_CALLS},
    {"seconds", required_argument, NULL, KEY_SECONDS},
    {"timeout", required_argument, NULL, KEY_TIMEOUT},
    {"expect", required_argument, NULL, KEY_EXPECT},
    {"expect-file", required_argument, NULL, KEY_EXPECT_FILE},
    {"expect-length", required_argument, NULL, KEY_EXPECT_LENGTH},
    {"expect-exception", required_argument, NULL, KEY_EXPECT_EXCEPTION},
    {"expect-empty", no_argument, NULL, KEY_EXPECT_EMPTY},
    {"help", no_argument, NULL, KEY_HELP},
    {0},
};

// What the options say before it is put together.
struct words {
    const char *method;
    const char *arg;
    const char *src;
    const char *dest;
    const char *dest_list;
    const char *payload;
};

static uint64_t parse_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value < min || value > max)
        errx(QD_LOAD_EXIT_USAGE, "--%s: a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, min, max,
             text);
    return value;
}

static uint64_t parse_seconds(const char *name, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value > 0 && value <= 86400))
        errx(QD_LOAD_EXIT_USAGE, "--%s: seconds above 0, not '%s'", name, text);
    return (uint64_t)(value * 1e9);
}

static char *read_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "re");
    char *data = NULL;
    size_t size = 0;
    size_t space = 0;
    if (!file)
        err(QD_LOAD_EXIT_USAGE, "%s", path);
    do {
        if (space - size < 4096) {
            space = space * 2 + 65536;
            data = realloc(data, space);
            if (!data)
                err(QD_LOAD_EXIT_FAILED, "%s", path);
        }
        size += fread(data + size, 1, space - size - 1, file);
    } while (!feof(file) && !ferror(file));
    if (ferror(file))
        err(QD_LOAD_EXIT_USAGE, "%s", path);
    fclose(file);
    data[size] = '\0';
    *ret_size = size;
    return data;
}

static void add_dest(struct qd_load_plan *plan, const char *name)
{
    struct qd_load_text *dests = reallocarray(plan->dests, plan->dest_count + 1, sizeof *dests);
    if (!dests)
        err(QD_LOAD_EXIT_FAILED, "destinations");
    dests[plan->dest_count++] = (struct qd_load_text){name, strlen(name)};
    plan->dests = dests;
}

static void add_dests(struct qd_load_plan *plan, const struct words *words)
{
    if (!words->dest_list) {
        add_dest(plan, words->dest);
        return;
    }
    size_t size;
    char *rest = read_file(words->dest_list, &size);
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (*line)
            add_dest(plan, line);
    }
    if (!plan->dest_count)
        errx(QD_LOAD_EXIT_USAGE, "%s: no destination", words->dest_list);
}

static void expect_bytes(struct qd_load_plan *plan, enum qd_load_expect expect, const char *head,
                         const char *text, const char *end, size_t end_size)
{
    size_t size = strlen(text);
    char *bytes = malloc(2 + size + end_size);
    if (!bytes)
        err(QD_LOAD_EXIT_FAILED, "expected answer");
    memcpy(bytes, head, 2);
    memcpy(bytes + 2, text, size); // NOLINT(bugprone-not-null-terminated-result): bytes with a length
    memcpy(bytes + 2 + size, end, end_size);
    plan->expect = expect;
    plan->expected = bytes;
    plan->expected_size = 2 + size + end_size;
}

static void split_payload(struct qd_load_plan *plan, const char *payload)
{
    const char *mark = strstr(payload, "%d");
    plan->payload_counted = mark != NULL;
    plan->payload_head = (struct qd_load_text){payload, mark ? (size_t)(mark - payload) : strlen(payload)};
    plan->payload_tail =
        mark ? (struct qd_load_text){mark + 2, strlen(mark + 2)} : (struct qd_load_text){"", 0};
}

static void put_together(struct qd_load_plan *plan, const struct words *words)
{
    char *prefix;
    if (!plan->socket || !words->method)
        errx(QD_LOAD_EXIT_USAGE, "--socket and --method are needed; see --help");
    int size = asprintf(&prefix, "%s%s%s %s name ", words->method, words->arg ? "+" : "",
                        words->arg ? words->arg : "", words->src);
    if (size < 0)
        err(QD_LOAD_EXIT_FAILED, "request");
    plan->prefix = (struct qd_load_text){prefix, (size_t)size};
    add_dests(plan, words);
    split_payload(plan, words->payload);
    size_t longest = 0;
    for (size_t i = 0; i < plan->dest_count; i++) {
        if (plan->dests[i].size > longest)
            longest = plan->dests[i].size;
    }
    if (plan->prefix.size + longest + 1 + strlen(words->payload) + COUNTER_MAX > QD_LOAD_REQUEST_MAX)
        errx(QD_LOAD_EXIT_USAGE, "the request is too long");
}

static void set_expectation(struct qd_load_plan *plan, enum option_key key, const char *value)
{
    if (plan->expected || plan->expect != QD_LOAD_EXPECT_OK)
        errx(QD_LOAD_EXIT_USAGE, "one --expect… is enough");
    switch (key) {
    case KEY_EXPECT:
        expect_bytes(plan, QD_LOAD_EXPECT_EXACT, "0", value, "", 0);
        break;
    case KEY_EXPECT_FILE:
        plan->expect = QD_LOAD_EXPECT_EXACT;
        plan->expected = read_file(value, &plan->expected_size);
        break;
    case KEY_EXPECT_LENGTH:
        plan->expect = QD_LOAD_EXPECT_LENGTH;
        plan->expected_size = parse_number("expect-length", value, 2, UINT32_MAX);
        break;
    case KEY_EXPECT_EXCEPTION:
        expect_bytes(plan, QD_LOAD_EXPECT_PREFIX, "2", value, "", 1);
        if (plan->expected_size > QD_LOAD_HEAD_MAX)
            errx(QD_LOAD_EXIT_USAGE, "--expect-exception: too long");
        break;
    default:
        plan->expect = QD_LOAD_EXPECT_EXACT;
        plan->expected = "";
        plan->expected_size = 0;
        break;
    }
}

static void set_option(struct qd_load_plan *plan, struct words *words, enum option_key key, const char *value)
{
    switch (key) {
    case KEY_SOCKET:
        plan->socket = value;
        break;
    case KEY_METHOD:
        words->method = value;
        break;
    case KEY_ARG:
        words->arg = value;
        break;
    case KEY_SRC:
        words->src = value;
        break;
    case KEY_DEST:
        words->dest = value;
        break;
    case KEY_DEST_LIST:
        words->dest_list = value;
        break;
    case KEY_PAYLOAD:
        words->payload = value;
        break;
    case KEY_FIRST:
        plan->first = parse_number("first", value, 0, UINT32_MAX);
        break;
    case KEY_CONNECTIONS:
        plan->connections = (unsigned)parse_number("connections", value, 1, CONNECTIONS_MAX);
        break;
    case KEY_CALLS:
        plan->calls = parse_number("calls", value, 1, UINT32_MAX);
        break;
    case KEY_SECONDS:
        plan->duration = parse_seconds("seconds", value);
        break;
    case KEY_TIMEOUT:
        plan->timeout = parse_seconds("timeout", value);
        break;
    case KEY_HELP:
        fputs(help_text, stdout);
        exit(0);
    default:
        set_expectation(plan, key, value);
        break;
    }
}

void qd_load_plan_parse(int argc, char **argv, struct qd_load_plan *ret_plan)
{
    struct words words = {.src = "dom0", .dest = "dom0", .payload = ""};
    struct qd_load_plan plan = {.connections = 1, .duration = 1000000000, .timeout = 30000000000};
    int key;
    while ((key = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (key == '?')
            exit(QD_LOAD_EXIT_USAGE);
        set_option(&plan, &words, (enum option_key)key, optarg);
    }
    if (optind < argc)
        errx(QD_LOAD_EXIT_USAGE, "unexpected '%s'; see --help", argv[optind]);
    put_together(&plan, &words);
    *ret_plan = plan;
}

static char *append(char *end, struct qd_load_text text)
{
    memcpy(end, text.data, text.size);
    return end + text.size;
}

size_t qd_load_plan_request(const struct qd_load_plan *plan, uint64_t index, char *buffer)
{
    char *end = append(buffer, plan->prefix);
    end = append(end, plan->dests[index % plan->dest_count]);
    *end++ = '\0';
    end = append(end, plan->payload_head);
    if (plan->payload_counted)
        end += snprintf(end, COUNTER_MAX + 1, "%" PRIu64, plan->first + index);
    end = append(end, plan->payload_tail);
    return (size_t)(end - buffer);
}
