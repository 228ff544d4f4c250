#include "embed/inherited.h"

#include "config/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define FIRST_FD        3               /* after the standard descriptors; systemd's first, too */
#define KEPT_MAX        256

/* ---- signals, timers, umask ---- */

/* An ignored SIGCHLD would hide the end of workers, a blocked SIGTERM our own. Handlers that are already there belong
 * to this program (a sanitizer's). Reading from a terminal or writing to one in the background would stop us, and a log
 * at its size limit or without a reader would end us. */
void mm_inherited_reset(void)
{
	static const int ignored[] = { SIGTTIN, SIGTTOU, SIGXFSZ, SIGPIPE };
	static const struct itimerval none = { .it_value = { 0 } };
	sigset_t empty;
	struct sigaction was;
	for (int number = 1; number <= SIGRTMAX; number++)
		if (sigaction(number, NULL, &was) == 0 && was.sa_handler == SIG_IGN)
			signal(number, SIG_DFL);
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	setitimer(ITIMER_REAL, &none, NULL);
	setitimer(ITIMER_VIRTUAL, &none, NULL);
	setitimer(ITIMER_PROF, &none, NULL);
	umask(umask(077) | 022);
}

/* ---- descriptors ---- */

struct kept {
	int      fds[KEPT_MAX];
	unsigned count;
};

static void keep(struct kept *k, int fd)
{
	if (k->count < KEPT_MAX)
		k->fds[k->count++] = fd;
}

/* The sockets of systemd, if they are for this process (sd_listen_fds(3)). */
static void keep_activated(struct kept *k)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != (long)getpid())
		return;
	for (long i = 0; i < strtol(count, NULL, 10) && i < KEPT_MAX; i++)
		keep(k, FIRST_FD + (int)i);
}

static void keep_listeners(struct kept *k, const struct mm_config_milter *m)
{
	for (size_t i = 0; i < m->listen.count; i++) {
		struct mm_endpoint spec;
		struct mm_fault ignored;
		if (!mm_endpoint_parse(m->listen.items[i], &spec, &ignored))
			continue;
		if (spec.kind == MM_ENDPOINT_FD)
			keep(k, spec.fd);
		else if (spec.kind == MM_ENDPOINT_SYSTEMD)
			keep_activated(k);
	}
}

static int by_number(const void *a, const void *b)
{
	const int *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void close_between(unsigned first, unsigned last)
{
	if (first <= last)
		syscall(SYS_close_range, first, last, 0);       /* the kernel may be older than 5.9: then they stay */
}

void mm_inherited_close_files(const struct mm_config *c)
{
	struct kept k = { .count = 0 };
	bool is_input_kept = false;
	for (size_t i = 0; i < c->milter_count; i++)
		keep_listeners(&k, &c->milters[i]);
	qsort(k.fds, k.count, sizeof *k.fds, by_number);
	unsigned next = FIRST_FD;
	for (unsigned i = 0; i < k.count; i++) {
		is_input_kept |= k.fds[i] == STDIN_FILENO;
		if (k.fds[i] < FIRST_FD || (unsigned)k.fds[i] < next)
			continue;
		close_between(next, (unsigned)k.fds[i] - 1);
		next = (unsigned)k.fds[i] + 1;
	}
	close_between(next, ~0u);
	int null = is_input_kept ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		close(null);
	}
}

/* ---- capabilities ---- */

void mm_inherited_bound_capabilities(void)
{
	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);    /* without CAP_SETPCAP it stays; no_new_privs keeps
		                                                 * it from having an effect */
}

/* False: they cannot be read. */
static bool holds_capabilities(bool *holds, struct mm_fault *why)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	if (syscall(SYS_capget, &header, sets) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "capabilities cannot be read: %s", strerror(errno));
	*holds = false;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		*holds |= (sets[i].effective | sets[i].permitted | sets[i].inheritable) != 0;
	return true;
}

/* Changing the user drops them only if no "securebits" of our parent forbid it, and never the inheritable ones; a
 * parent may also give a plain user some (AmbientCapabilities=). Without any there is nothing to do, and the unit's
 * filter of system calls would refuse it (capset is in @privileged of systemd 252). */
bool mm_inherited_drop_capabilities(struct mm_fault *why)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	bool holds;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (!holds_capabilities(&holds, why))
		return false;
	if (!holds)
		return true;
	if (syscall(SYS_capset, &header, none) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "capabilities cannot be dropped: %s", strerror(errno));
	if (!holds_capabilities(&holds, why))
		return false;
	return !holds || mm_fault_set(why, MM_FAULT_BUG, "some capabilities came back after they were dropped");
}

/* ---- the service manager ---- */

void mm_inherited_forget_manager(void)
{
	static const char *const names[] = { "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
		"WATCHDOG_PID", "WATCHDOG_USEC" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unsetenv(names[i]);
}
