/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qubesd-query: makes one call of qubesd from the command line. Words and standard input become a request,
 * the answer goes to standard output byte for byte. docs/man/qubesd-query.1 is the contract; options and exit
 * codes are the reference client's, since qrexec services and admins' scripts rely on them.
 */

#define _GNU_SOURCE 1

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    PAYLOAD_MAX = 65536,
    LINE_MAX_DEFAULT = 1024,
    ANSWER_CHUNK = 65536,
};

static const char default_socket[] = "/run/qubesd.sock";

struct options {
    const char *socket;
    bool empty;
    bool fail;
    bool single_line;
    bool null;
    size_t max_bytes; /* already resolved to the default of the mode */
    const char *src;
    const char *method;
    const char *dest;
    const char *arg;
};

/* ---- command line ---- */

static const char usage_text[] = "usage: qubesd-query [OPTION]... SRC METHOD DEST [ARG]\n";

static const char help_text[] =
    "\n"
    "Calls METHOD of qubesd on the qube DEST, in the name of the qube SRC. The payload is\n"
    "read from standard input; the answer is written to standard output as it is.\n"
    "\n"
    "  -c, --connect PATH   the daemon's socket, instead of /run/qubesd.sock\n"
    "  -e, --empty          no payload; leave standard input alone\n"
    "      --single-line    the payload is one line of printable ASCII; read no further\n"
    "      --max-bytes N    refuse a longer payload (N is at most 65536)\n"
    "      --null           end the output with one more NUL byte\n"
    "      --fail           let the kind of answer decide the exit status\n"
    "  -h, --help           show this text\n"
    "\n"
    "Exit status: 0 when the call was made, 1 when it could not be, 2 for a wrong command\n"
    "line or payload. With --fail: 0 OK, 1 events or no answer, 2 an error of the daemon.\n";

/* Both return what the process exits with, so that a caller can say `return usage_error(…)`. */
static int usage_error(void)
{
    (void)fputs(usage_text, stderr); /* nowhere left to report a failure */
    return EXIT_USAGE;
}

static int show_help(void)
{
    if (fputs(usage_text, stdout) < 0 || fputs(help_text, stdout) < 0 || fflush(stdout) < 0) {
        warn("standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int parse_max_bytes(const char *text, size_t *ret_bytes)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || (errno == 0 && value < 0)) {
        warnx("--max-bytes: '%s' is not a number of bytes", text);
        return -EINVAL;
    }
    if (errno != 0 || value > PAYLOAD_MAX) {
        warnx("--max-bytes: '%s' is more than %d", text, PAYLOAD_MAX);
        return -ERANGE;
    }
    *ret_bytes = (size_t)value;
    return 0;
}

static int assign_words(char *const words[], size_t count, struct options *opts)
{
    if (count < 3) {
        warnx("SRC, METHOD and DEST are needed");
        return -EINVAL;
    }
    if (count > 4) {
        warnx("too many words, from '%s' on", words[4]);
        return -EINVAL;
    }
    opts->src = words[0];
    opts->method = words[1];
    opts->dest = words[2];
    opts->arg = count == 4 ? words[3] : "";
    return 0;
}

/* Returns -1 when the call shall be made, else the exit status. */
static int parse_command_line(int argc, char *argv[], struct options *ret_opts)
{
    enum { OPT_FAIL = 256, OPT_MAX_BYTES, OPT_NULL, OPT_SINGLE_LINE };
    static const struct option long_options[] = {
        {"connect", required_argument, NULL, 'c'},
        {"empty", no_argument, NULL, 'e'},
        {"fail", no_argument, NULL, OPT_FAIL},
        {"help", no_argument, NULL, 'h'},
        {"max-bytes", required_argument, NULL, OPT_MAX_BYTES},
        {"null", no_argument, NULL, OPT_NULL},
        {"single-line", no_argument, NULL, OPT_SINGLE_LINE},
        {NULL, 0, NULL, 0},
    };
    struct options opts = {.socket = default_socket};
    const char *max_bytes = NULL;
    char *words[5] = {NULL}; /* one more than allowed, to name the first that is too many */
    size_t count = 0;
    int c;

    /* The leading '-' hands over words in order, so options may follow them whatever POSIXLY_CORRECT says. */
    while ((c = getopt_long(argc, argv, "-c:eh", long_options, NULL)) != -1) {
        switch (c) {
        case 1:
            if (count < 5)
                words[count++] = optarg;
            break;
        case 'c':
            opts.socket = optarg;
            break;
        case 'e':
            opts.empty = true;
            break;
        case OPT_FAIL:
            opts.fail = true;
            break;
        case OPT_MAX_BYTES:
            max_bytes = optarg;
            break;
        case OPT_NULL:
            opts.null = true;
            break;
        case OPT_SINGLE_LINE:
            opts.single_line = true;
            break;
        case 'h':
            return show_help();
        default:
            return usage_error();
        }
    }
    for (; optind < argc && count < 5; optind++)
        words[count++] = argv[optind];

    opts.max_bytes = opts.single_line ? LINE_MAX_DEFAULT : PAYLOAD_MAX;
    if (assign_words(words, count, &opts) < 0)
        return usage_error();
    if (max_bytes != NULL && parse_max_bytes(max_bytes, &opts.max_bytes) < 0)
        return usage_error();
    *ret_opts = opts;
    return -1;
}

/* ---- bytes in and out ---- */

static int wait_for(int fd, short events)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    while (poll(&pfd, 1, -1) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Whoever started us may have left its descriptors non-blocking, hence the waiting here and in write_all().
 */
static ssize_t read_some(int fd, char *buf, size_t size)
{
    for (;;) {
        ssize_t n = read(fd, buf, size);
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        int r = wait_for(fd, POLLIN);
        if (r < 0)
            return r;
    }
}

static int write_all(int fd, const char *buf, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, buf, size);
        if (n >= 0) {
            buf += n;
            size -= (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        int r = wait_for(fd, POLLOUT);
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_output(const char *buf, size_t size)
{
    int r = write_all(STDOUT_FILENO, buf, size);
    if (r < 0)
        warnx("standard output: %s", strerror(-r));
    return r;
}

/* ---- payload ---- */

/* The functions that read the payload say what is wrong with it themselves. -EINVAL: it is not acceptable;
 * any other error: it could not be read. buf has room for max + 1 bytes. */

static int read_line(char *buf, size_t max, size_t *ret_size)
{
    for (size_t size = 0; size < max; size++) {
        /* One byte at a time: what follows the line belongs to whoever reads standard input next. */
        ssize_t n = read_some(STDIN_FILENO, &buf[size], 1);
        if (n < 0) {
            warnx("standard input: %s", strerror((int)-n));
            return (int)n;
        }
        if (n == 0) {
            warnx("standard input ended before the line did");
            return -EINVAL;
        }
        if (buf[size] == '\n') {
            *ret_size = size;
            return 0;
        }
        if (buf[size] < 0x20 || buf[size] > 0x7e) {
            warnx("byte 0x%02x is not allowed in the line", (unsigned char)buf[size]);
            return -EINVAL;
        }
    }
    warnx("the line does not end within %zu bytes", max);
    return -EINVAL;
}

static int read_all(char *buf, size_t max, size_t *ret_size)
{
    size_t size = 0;
    while (size <= max) {
        ssize_t n = read_some(STDIN_FILENO, buf + size, max + 1 - size);
        if (n < 0) {
            warnx("standard input: %s", strerror((int)-n));
            return (int)n;
        }
        if (n == 0) {
            *ret_size = size;
            return 0;
        }
        size += (size_t)n;
    }
    warnx("the payload is longer than %zu bytes", max);
    return -EINVAL;
}

static int read_payload(const struct options *opts, char *buf, size_t *ret_size)
{
    if (opts->empty) {
        *ret_size = 0;
        return 0;
    }
    if (opts->single_line)
        return read_line(buf, opts->max_bytes, ret_size);
    return read_all(buf, opts->max_bytes, ret_size);
}

/* ---- request ---- */

/* A space would shift the fields of the request: a qube's name put into ARG must not become its source. */
static int check_word(const char *what, const char *word, bool spaces)
{
    for (const char *p = word; *p != '\0'; p++) {
        if ((unsigned char)*p > 0x7e || (*p == ' ' && !spaces)) {
            warnx("%s can't be sent: it holds %s", what, *p == ' ' ? "a space" : "a byte that is not ASCII");
            return -EINVAL;
        }
    }
    return 0;
}

/* The caller frees the request. */
static int build_request(const struct options *opts, const char *payload, size_t payload_size,
                         char **ret_request, size_t *ret_size)
{
    if (check_word("METHOD", opts->method, false) < 0 || check_word("ARG", opts->arg, false) < 0 ||
        check_word("SRC", opts->src, false) < 0 || check_word("DEST", opts->dest, true) < 0)
        return -EINVAL;

    char *header = NULL;
    int length = asprintf(&header, "%s+%s %s name %s", opts->method, opts->arg, opts->src, opts->dest);
    if (length < 0) {
        warnx("out of memory");
        return -ENOMEM;
    }
    /* The NUL that ends the string ends the header on the wire, too. */
    size_t header_size = (size_t)length + 1;
    char *request = realloc(header, header_size + payload_size);
    if (request == NULL) {
        free(header);
        warnx("out of memory");
        return -ENOMEM;
    }
    if (payload_size > 0)
        memcpy(request + header_size, payload, payload_size);
    *ret_request = request;
    *ret_size = header_size + payload_size;
    return 0;
}

/* ---- the call ---- */

static int connect_to(const char *path, int *ret_fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0)
        return -ENOENT; /* an empty sun_path would mean an abstract socket */
    if (length >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, length);

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    while (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
        int r = -errno;
        if (r == -EINTR)
            continue;
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static int send_request(int sock, const char *request, size_t size)
{
    int r = write_all(sock, request, size);
    if (r == 0 && shutdown(sock, SHUT_WR) < 0)
        r = -errno;
    return r;
}

/* Waits for the next event, but no longer than somebody reads our output: a stream whose reader has left
 * would else keep its connection until the next event, which may never come. */
static int wait_for_event(int sock)
{
    struct pollfd pfds[] = {
        {.fd = sock, .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = 0},
    };
    while (poll(pfds, 2, -1) < 0) {
        if (errno != EINTR) {
            warn("poll");
            return -errno;
        }
    }
    if (pfds[0].revents == 0 && pfds[1].revents != 0) {
        warnx("standard output: %s", strerror(EPIPE));
        return -EPIPE;
    }
    return 0;
}

/* The kind of an answer is the digit that it begins with, or says why there is none. */
enum {
    KIND_EVENTS = 1,
    KIND_NONE = -1,    /* there was no answer */
    KIND_FOREIGN = -2, /* it was not qubesd's */
};

/* Copies the answer to standard output, piece by piece as it arrives. Says itself what went wrong, unless
 * that is KIND_NONE. */
static int relay_answer(int sock, int *ret_kind)
{
    static char buf[ANSWER_CHUNK];
    int kind = KIND_NONE;
    for (;;) {
        int r;
        if (kind == KIND_EVENTS && (r = wait_for_event(sock)) < 0)
            return r;
        ssize_t n = read_some(sock, buf, sizeof(buf));
        if (n < 0) {
            warnx("reading the answer: %s", strerror((int)-n));
            return (int)n;
        }
        if (n == 0)
            break;
        if (kind == KIND_NONE) {
            if (buf[0] < '0' || buf[0] > '9') {
                warnx("this is not an answer of qubesd: it begins with byte 0x%02x", (unsigned char)buf[0]);
                *ret_kind = KIND_FOREIGN;
                return 0;
            }
            kind = buf[0] - '0';
        }
        if ((r = write_output(buf, (size_t)n)) < 0)
            return r;
    }
    *ret_kind = kind;
    return 0;
}

static int call(const char *path, const char *request, size_t size, int *ret_kind)
{
    int sock = -1;
    int r = connect_to(path, &sock);
    if (r < 0) {
        warnx("%s: %s", path, strerror(-r));
        return r;
    }
    /* A daemon that refuses the request before it is complete may have said why, so its answer is read
     * anyway. */
    int sent = send_request(sock, request, size);
    int kind = KIND_NONE;
    r = relay_answer(sock, &kind);
    close(sock);
    if (r < 0)
        return r;
    if (kind == KIND_NONE && sent < 0) {
        warnx("sending the request: %s", strerror(-sent));
        return sent;
    }
    if (kind == KIND_NONE)
        warnx("the daemon closed the connection without an answer");
    *ret_kind = kind;
    return 0;
}

/* ---- main ---- */

static void end_by_signal(int signo)
{
    (void)signo;
    static const char text[] = "qubesd-query: stopped by a signal\n";
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(EXIT_FAILURE);
    _exit(EXIT_FAILURE);
}

/* A call that is interrupted has failed, and says so with its exit status rather than by dying of the signal.
 * Signals that our starter had ignored (a background job of a script) stay ignored. */
static int catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction old;
        struct sigaction action = {.sa_handler = end_by_signal};
        if (sigaction(signals[i], NULL, &old) < 0)
            return -errno;
        if (old.sa_handler != SIG_IGN && sigaction(signals[i], &action, NULL) < 0)
            return -errno;
    }
    return 0;
}

static int prepare_process(void)
{
    /* No call is made whose answer would be lost, and no socket of ours shall become standard output. */
    if (fcntl(STDOUT_FILENO, F_GETFD) < 0) {
        warn("standard output");
        return -errno;
    }
    /* A reader that leaves is an error to report, not a death by SIGPIPE. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        warn("signal");
        return -errno;
    }
    return 0;
}

int main(int argc, char *argv[])
{
    static char payload[PAYLOAD_MAX + 1];
    struct options opts = {0};
    int status = parse_command_line(argc, argv, &opts);
    if (status >= 0)
        return status;
    if (prepare_process() < 0)
        return EXIT_FAILURE;

    size_t payload_size = 0;
    int r = read_payload(&opts, payload, &payload_size);
    if (r < 0)
        return r == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;

    char *request = NULL;
    size_t request_size = 0;
    if (build_request(&opts, payload, payload_size, &request, &request_size) < 0)
        return EXIT_FAILURE;

    r = catch_signals();
    if (r < 0) {
        warnx("sigaction: %s", strerror(-r));
        free(request);
        return EXIT_FAILURE;
    }
    int kind = KIND_NONE;
    r = call(opts.socket, request, request_size, &kind);
    free(request);
    if (r < 0)
        return EXIT_FAILURE;
    if (opts.fail)
        status = kind < 0 ? EXIT_FAILURE : kind;
    else
        status = opts.null && write_output("", 1) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (close(STDOUT_FILENO) < 0) {
        warn("standard output");
        status = EXIT_FAILURE;
    }
    return status;
}
