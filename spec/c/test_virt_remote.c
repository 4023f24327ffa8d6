/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * virt on a real libvirtd: the remote protocol, its events, a connection that dies, a server that hangs; with
 * a diskless guest of QEMU (TCG, so nothing of the machine is needed).
 *
 * A private libvirtd: all its files are below one directory $D, owned by the user it runs as; it can't be
 * root's, which would use /run, /etc and /var; $D/config/libvirt/qemu.conf says `stdio_handler = "file"`, to
 * do without virtlogd. HOME=$D XDG_CONFIG_HOME=$D/config XDG_CACHE_HOME=$D/cache XDG_RUNTIME_DIR=$D/run
 *     setpriv --reuid=65534 --regid=65534 --clear-groups libvirtd          (without setpriv when not started
 * by root) qemu+unix:///session?socket=$D/run/libvirt/libvirt-sock
 */
#include "virt_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 65534
#define UUID "00000000-0000-4000-8000-000000000001"
#define OTHER "00000000-0000-4000-8000-000000000002"

static struct {
    char dir[64];
    char uri[160];
    const char *program; /* NULL: not installed */
    pid_t pid;
} server;

/* ---- the server ---- */

static const char *find_program(const char *const *paths)
{
    for (; *paths; paths++) {
        if (access(*paths, X_OK) == 0)
            return *paths;
    }
    return NULL;
}

static void start_server(void)
{
    char variables[5][128], log[96];
    char *environment[] = {variables[0], variables[1], variables[2], variables[3], variables[4], NULL};
    char *with_setpriv[] = {
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", (char *)server.program, NULL};
    char **arguments = geteuid() == 0 ? with_setpriv : &with_setpriv[5];
    posix_spawn_file_actions_t files;

    snprintf(variables[0], sizeof(variables[0]), "HOME=%s", server.dir);
    snprintf(variables[1], sizeof(variables[1]), "XDG_CONFIG_HOME=%s/config", server.dir);
    snprintf(variables[2], sizeof(variables[2]), "XDG_CACHE_HOME=%s/cache", server.dir);
    snprintf(variables[3], sizeof(variables[3]), "XDG_RUNTIME_DIR=%s/run", server.dir);
    snprintf(variables[4], sizeof(variables[4]), "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
    snprintf(log, sizeof(log), "%s/log", server.dir);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    assert_int_equal(posix_spawnp(&server.pid, arguments[0], &files, NULL, arguments, environment), 0);
    posix_spawn_file_actions_destroy(&files);
}

static void signal_server(int number)
{
    assert_int_equal(kill(server.pid, number), 0);
}

static void kill_server(void)
{
    if (server.pid <= 0)
        return;
    signal_server(SIGKILL);
    waitpid(server.pid, NULL, 0);
    server.pid = 0;
}

static void make_dir(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", server.dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(path, NOBODY, NOBODY), 0);
}

static int set_up(void **state)
{
    static const char *const programs[] = {"/usr/sbin/libvirtd", "/usr/bin/libvirtd", NULL};
    static const char *const emulators[] = {"/usr/bin/qemu-system-x86_64", NULL};
    char path[128];
    FILE *file;

    (void)state;
    server.program = find_program(programs);
    if (!server.program || !find_program(emulators)) {
        server.program = NULL;
        return 0;
    }
    snprintf(server.dir, sizeof(server.dir), "/tmp/qubesd-libvirtd-XXXXXX"); /* short: a socket's path */
    assert_non_null(mkdtemp(server.dir));
    if (geteuid() == 0)
        assert_int_equal(chown(server.dir, NOBODY, NOBODY), 0);
    make_dir("config");
    make_dir("config/libvirt");
    make_dir("cache");
    make_dir("run");
    snprintf(path, sizeof(path), "%s/config/libvirt/qemu.conf", server.dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("stdio_handler = \"file\"\n", file);
    fclose(file);
    snprintf(server.uri, sizeof(server.uri), "qemu+unix:///session?socket=%s/run/libvirt/libvirt-sock",
             server.dir);
    start_server();
    return 0;
}

/* The emulator's process, of the file that libvirtd wrote; 0: none. */
static pid_t guest_pid(const char *name)
{
    char path[192];
    FILE *file;
    int pid = 0;

    snprintf(path, sizeof(path), "%s/run/libvirt/qemu/run/%s.pid", server.dir, name);
    file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%d", &pid) != 1)
        pid = 0;
    fclose(file);
    return pid;
}

static int remove_file(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    if (!server.program)
        return 0;
    for (const char *name = "one\0two\0"; *name; name += strlen(name) + 1) {
        pid_t pid = guest_pid(name); /* after a test that failed */

        if (pid > 0)
            kill(pid, SIGKILL);
    }
    kill_server();
    nftw(server.dir, remove_file, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static void need_server(void)
{
    if (server.program)
        return;
    print_message(
        "skipped: no libvirtd here (libvirt-daemon, libvirt-daemon-driver-qemu, qemu-system-x86)\n");
    skip();
}

/* ---- the tests ---- */

static void define(struct fixture *f, const char *name, const char *uuid)
{
    char xml[512];

    snprintf(xml, sizeof(xml),
             "<domain type='qemu'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
             "<os><type arch='x86_64'>hvm</type></os>"
             "<devices><controller type='usb' model='none'/></devices></domain>",
             name, uuid);
    must(f, QD_VIRT_DEFINE, uuid, xml, 0);
}

static bool wait_for_event(struct fixture *f, const char *event)
{
    uint64_t end = uv_hrtime() / 1000000 + LONG_MS;

    while (!strstr(f->events, event) && uv_hrtime() / 1000000 < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    return strstr(f->events, event) != NULL;
}

static void on_stats(void *context, int error, const char *message, const struct qd_virt_domain *domains,
                     size_t count)
{
    bool *done = context;

    if (error < 0)
        fail_msg("stats: %s", message);
    assert_int_equal(count, 1);
    assert_string_equal(domains[0].name, "one");
    assert_string_equal(domains[0].uuid, UUID);
    assert_int_equal(domains[0].state, VIR_DOMAIN_RUNNING);
    assert_int_equal(domains[0].memory_kib, 32 * 1024);
    assert_int_equal(domains[0].max_memory_kib, 32 * 1024);
    assert_int_equal(domains[0].vcpus, 1);
    assert_true(domains[0].cpu_time_ns > 0);
    assert_true(domains[0].domain_id > 0);
    *done = true;
}

static void test_guest(void **state)
{
    struct fixture f;
    struct answer answer;
    bool done = false;

    (void)state;
    need_server();
    open_virt(&f, server.uri, NULL); /* finds the server as soon as it listens */
    assert_string_equal(f.listed, "");
    assert_string_equal(qd_virt_host(f.virt).type, "QEMU");
    define(&f, "one", UUID);
    answer = must(&f, QD_VIRT_CREATE, UUID, NULL, VIR_DOMAIN_START_PAUSED);
    assert_true(answer.id > 0);
    assert_int_equal(must(&f, QD_VIRT_STATE, UUID, NULL, 0).number, VIR_DOMAIN_PAUSED);
    must(&f, QD_VIRT_RESUME, UUID, NULL, 0);
    assert_int_equal(must(&f, QD_VIRT_STATE, UUID, NULL, 0).number, VIR_DOMAIN_RUNNING);
    must(&f, QD_VIRT_SUSPEND, UUID, NULL, 0);
    assert_int_equal(must(&f, QD_VIRT_STATE, UUID, NULL, 0).number, VIR_DOMAIN_PAUSED);
    must(&f, QD_VIRT_RESUME, UUID, NULL, 0);
    must(&f, QD_VIRT_SHUTDOWN, UUID, NULL, 0); /* nobody there to hear it */
    assert_int_equal(qd_virt_get_stats(f.virt, LONG_MS, on_stats, &done), 0);
    turn(&f, &done, LONG_MS);
    answer = must(&f, QD_VIRT_DESTROY, UUID, NULL, 0);
    assert_int_equal(answer.id, -1);
    assert_int_equal(ask(&f, QD_VIRT_CREATE, OTHER, NULL, 0).code, VIR_ERR_NO_DOMAIN);
    must(&f, QD_VIRT_UNDEFINE, UUID, NULL, 0);
    must(&f, QD_VIRT_UNDEFINE, UUID, NULL, 0);

    assert_true(wait_for_event(&f, "one:1 "));
    /* Defined, started, suspended, resumed, suspended, resumed, stopped, undefined. QEMU may find the time to
     * say that it shuts down (6) when it is killed. */
    if (strcmp(f.events, "one:0 one:2 one:3 one:4 one:3 one:4 one:6 one:5 one:1 ") != 0)
        assert_string_equal(f.events, "one:0 one:2 one:3 one:4 one:3 one:4 one:5 one:1 ");
    assert_int_equal(f.disconnected, 0);
    close_virt(&f, 5000);
}

/* What nobody here asked for is told, too. */
static void test_guest_dies(void **state)
{
    struct fixture f;

    (void)state;
    need_server();
    open_virt(&f, server.uri, NULL);
    define(&f, "one", UUID);
    must(&f, QD_VIRT_CREATE, UUID, NULL, 0);
    assert_true(guest_pid("one") > 0);
    kill(guest_pid("one"), SIGKILL);
    assert_true(wait_for_event(&f, "one:5 "));
    assert_int_equal(must(&f, QD_VIRT_STATE, UUID, NULL, 0).number, VIR_DOMAIN_SHUTOFF);
    must(&f, QD_VIRT_UNDEFINE, UUID, NULL, 0);
    close_virt(&f, 5000);
}

static void test_server_dies(void **state)
{
    struct answer answer;
    struct fixture f;

    (void)state;
    need_server();
    open_virt(&f, server.uri, NULL);
    define(&f, "one", UUID);
    define(&f, "two", OTHER);
    must(&f, QD_VIRT_CREATE, UUID, NULL, 0);
    for (unsigned round = 1; round <= 2; round++) {
        kill_server();
        turn_until(&f, &f.disconnected, round);
        assert_true(f.reason[0] != '\0');
        assert_false(qd_virt_counters(f.virt).connected);
        answer = ask(&f, QD_VIRT_STATE, UUID, NULL, 0);
        assert_int_equal(answer.error, -ENOTCONN);
        turn(&f, NULL, 500); /* attempts that fail */
        assert_int_equal(f.connected, round);
        start_server();
        turn_until(&f, &f.connected, round + 1);
        assert_true(strcmp(f.listed, "one:1 two:5 ") == 0 || strcmp(f.listed, "two:5 one:1 ") == 0);
    }
    assert_null(strstr(f.events, "one:5 "));
    must(&f, QD_VIRT_DESTROY, UUID, NULL, 0);
    assert_true(wait_for_event(&f, "one:5 ")); /* the new connection tells of events */
    must(&f, QD_VIRT_UNDEFINE, UUID, NULL, 0);
    must(&f, QD_VIRT_UNDEFINE, OTHER, NULL, 0);
    assert_int_equal(f.disconnected, 2);
    close_virt(&f, 5000);
}

/* A job is inside libvirt when the server dies: it fails, nothing hangs, and the death is noticed. */
static void test_server_dies_under_job(void **state)
{
    struct answer answer = {0};
    struct fixture f;

    (void)state;
    need_server();
    open_virt(&f, server.uri, NULL);
    define(&f, "one", UUID);
    signal_server(SIGSTOP);
    submit(&f, QD_VIRT_STATE, UUID, NULL, 0, LONG_MS, &answer);
    turn(&f, NULL, 100);
    assert_false(answer.done);
    kill_server();
    turn(&f, &answer.done, LONG_MS);
    assert_int_equal(answer.error, -EIO);
    turn_until(&f, &f.disconnected, 1);
    start_server();
    turn_until(&f, &f.connected, 2);
    assert_string_equal(f.listed, "one:5 ");
    must(&f, QD_VIRT_UNDEFINE, UUID, NULL, 0);
    close_virt(&f, 5000);
}

static void test_server_hangs(void **state)
{
    struct answer first = {0}, second = {0};
    struct fixture f;

    (void)state;
    need_server();
    open_virt(&f, server.uri, NULL);
    define(&f, "one", UUID);
    signal_server(SIGSTOP);
    submit(&f, QD_VIRT_STATE, UUID, NULL, 0, 200, &first);
    submit(&f, QD_VIRT_STATE, OTHER, NULL, 0, 200, &second);
    turn(&f, &first.done, 2000);
    turn(&f, &second.done, 2000);
    assert_int_equal(first.error, -ETIMEDOUT);
    assert_int_equal(second.error, -ETIMEDOUT);
    assert_int_equal(qd_virt_counters(f.virt).lost_workers, 2);
    assert_int_equal(ask(&f, QD_VIRT_STATE, UUID, NULL, 0).error, -EBUSY);
    signal_server(SIGCONT);
    for (unsigned i = 0; i < 1000 && qd_virt_counters(f.virt).lost_workers > 0; i++)
        turn(&f, NULL, 10);
    must(&f, QD_VIRT_UNDEFINE, UUID, NULL, 0);
    assert_int_equal(f.disconnected, 0);

    signal_server(SIGSTOP);
    submit(&f, QD_VIRT_STATE, UUID, NULL, 0, 100, &first);
    turn(&f, &first.done, 2000);
    close_virt(&f, 200); /* every handle of the loop is closed, with a worker inside libvirt */
    signal_server(SIGCONT);
    uv_sleep(500); /* it returns, and closes the connection */

    open_virt(&f, server.uri, NULL);
    signal_server(SIGSTOP); /* now the server hangs in the close itself */
    close_virt(&f, 200);
    signal_server(SIGCONT);
    uv_sleep(500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest),        cmocka_unit_test(test_guest_dies),
        cmocka_unit_test(test_server_dies),  cmocka_unit_test(test_server_dies_under_job),
        cmocka_unit_test(test_server_hangs),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
