#include "async/child.h"

#include "base/bounds.h"
#include "base/list.h"
#include "base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE     2.0           /* seconds between SIGTERM and SIGKILL */
#define READ_SIZE 16384u

extern char **environ;

struct stream {
	struct mm_watch  watch;
	struct mm_child *child;         /* borrowed */
	int              fd;            /* owned; -1: closed */
};

struct mm_child {
	struct mm_children    *all;             /* borrowed */
	struct mm_child       *next, *previous;
	pid_t                  pid;
	int                    pidfd;           /* owned */
	struct mm_watch        exit_watch;
	struct mm_timer        timer;           /* time limit, then grace */
	struct stream          in, out, err;
	struct mm_buffer       input;           /* not written yet */
	size_t                 declared;        /* for the account */
	size_t                 output_max;
	bool                   has_exited;
	bool                   is_over;         /* done was called, or it was cancelled: only its exit is waited for */
	struct mm_child_result result;
	void                 (*done)(void *self, struct mm_child_result *);
	void                  *self;
};

/* ---- the end ---- */

static void close_stream(struct stream *s)
{
	if (s->fd < 0)
		return;
	mm_watch_stop(&s->watch);
	close(s->fd);
	s->fd = -1;
}

/* The pipes are closed and the process has exited. */
static void reap(struct mm_child *c)
{
	siginfo_t info = { .si_pid = 0 };
	if (waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
		c->result.end = MM_CHILD_LOST;
		return;
	}
	c->result.end = info.si_code == CLD_EXITED ? MM_CHILD_EXITED : MM_CHILD_KILLED;
	c->result.status = info.si_status;
}

static void child_free(struct mm_child *c)
{
	struct mm_children *all = c->all;
	close_stream(&c->in);
	close_stream(&c->out);
	close_stream(&c->err);
	mm_watch_stop(&c->exit_watch);
	mm_timer_stop(&c->timer);
	close(c->pidfd);
	MM_LIST_REMOVE(all->first, c);
	all->count--;
	mm_account_declare(&c->all->account, &c->declared, 0);
	mm_buffer_free(&c->input);
	mm_buffer_free(&c->result.output);
	mm_buffer_free(&c->result.error);
	free(c);
}

static void grace_is_over(struct mm_timer *timer)
{
	struct mm_child *c = MM_OWNER_OF(timer, struct mm_child, timer);
	kill(-c->pid, SIGKILL);
	if (c->has_exited) {            /* the leader had exited: nothing reports the end of the others */
		reap(c);
		child_free(c);
	}
}

/* No task waits for the result any more: ends the rest of the group. */
static void abandon(struct mm_child *c)
{
	c->is_over = true;
	close_stream(&c->in);
	close_stream(&c->out);
	close_stream(&c->err);
	kill(-c->pid, SIGTERM);
	c->timer.fire = grace_is_over;
	mm_timer_start(&c->timer, GRACE);
}

static void tell(struct mm_child *c, enum mm_child_end end)
{
	c->result.end = end;
	c->is_over = true;
	c->done(c->self, &c->result);
}

/* Exited, and nothing more to read: the usual end. The child may be freed afterwards. */
static void finish_if_complete(struct mm_child *c)
{
	if (c->is_over || !c->has_exited || c->out.fd >= 0 || c->err.fd >= 0)
		return;
	reap(c);
	tell(c, c->result.end);
	child_free(c);
}

static void exited(struct mm_watch *watch, int ready)
{
	struct mm_child *c = MM_OWNER_OF(watch, struct mm_child, exit_watch);
	(void)ready;
	mm_watch_stop(&c->exit_watch);
	c->has_exited = true;
	close_stream(&c->in);
	if (!c->is_over) {
		finish_if_complete(c);
		return;
	}
	kill(-c->pid, SIGKILL);         /* the group outlives its leader only by mistake */
	reap(c);
	child_free(c);
}

static void time_is_over(struct mm_timer *timer)
{
	struct mm_child *c = MM_OWNER_OF(timer, struct mm_child, timer);
	abandon(c);
	tell(c, MM_CHILD_TIMEOUT);
}

void mm_child_cancel(struct mm_child *c)
{
	abandon(c);
}

/* ---- pipes ---- */

static void declare(struct mm_child *c)
{
	mm_account_declare(&c->all->account, &c->declared, c->input.capacity + c->result.output.capacity
		+ c->result.error.capacity);
}

static void read_output(struct mm_watch *watch, int ready)
{
	struct stream *s = MM_OWNER_OF(watch, struct stream, watch);
	struct mm_child *c = s->child;
	struct mm_buffer *to = s == &c->out ? &c->result.output : &c->result.error;
	(void)ready;
	uint8_t *room = mm_account_allows(&c->all->account, READ_SIZE) ? mm_buffer_reserve(to, READ_SIZE) : NULL;
	declare(c);
	ssize_t n = room != NULL ? read(s->fd, room, READ_SIZE) : 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		to->size += (size_t)n;
	if (room == NULL || to->size > c->output_max) {
		abandon(c);
		tell(c, MM_CHILD_LIMIT);
	} else if (n <= 0) {
		close_stream(s);
		finish_if_complete(c);
	}
}

/* The embedding program may not ignore SIGPIPE, and this runs on its thread. */
static ssize_t write_quietly(int fd, const void *bytes, size_t size)
{
	sigset_t pipe_signal, before, pending;
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
	ssize_t n = write(fd, bytes, size);
	if (n < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE)) {
		const struct timespec at_once = { 0 };
		while (sigtimedwait(&pipe_signal, NULL, &at_once) < 0 && errno == EINTR)
			;
		errno = EPIPE;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

static void write_input(struct mm_watch *watch, int ready)
{
	struct stream *s = MM_OWNER_OF(watch, struct stream, watch);
	struct mm_child *c = s->child;
	(void)ready;
	ssize_t n = write_quietly(s->fd, c->input.bytes, c->input.size);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		mm_buffer_consume(&c->input, (size_t)n);
	if (n < 0 || c->input.size == 0)        /* the program need not read all of its input */
		close_stream(s);
}

/* ---- start ---- */

struct pipes {
	int in[2], out[2], err[2];
};

static void close_pair(int pair[2])
{
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
	pair[0] = pair[1] = -1;
}

static bool open_pipes(struct pipes *p)
{
	*p = (struct pipes){ { -1, -1 }, { -1, -1 }, { -1, -1 } };
	if (pipe2(p->in, O_CLOEXEC) == 0 && pipe2(p->out, O_CLOEXEC) == 0 && pipe2(p->err, O_CLOEXEC) == 0)
		return true;
	int error = errno;
	close_pair(p->in);
	close_pair(p->out);
	close_pair(p->err);
	errno = error;
	return false;
}

/* Returns 0 or an errno. Closes descriptors above 2 in the child: files opened by scripts have
 * no close-on-exec flag. */
static int spawn(const struct mm_child_order *o, const struct pipes *p, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	int error = posix_spawn_file_actions_adddup2(&files, p->in[0], 0);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&files, p->out[1], 1);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&files, p->err[1], 2);
	if (error == 0)
		error = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	if (error == 0 && o->directory != NULL)
		error = posix_spawn_file_actions_addchdir_np(&files, o->directory);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	if (error == 0)
		error = posix_spawnp(pid, o->argv[0], &files, &attributes, (char **)(uintptr_t)o->argv,
			o->env != NULL ? (char **)(uintptr_t)o->env : environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attributes);
	return error;
}

static void watch_stream(struct mm_child *c, struct stream *s, int fd, int readiness,
	void (*fire)(struct mm_watch *, int))
{
	s->child = c;
	s->fd = fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	mm_watch_init(&s->watch, c->all->clock, fire);
	mm_watch_start(&s->watch, fd, readiness);
}

static void watch_child(struct mm_child *c, const struct mm_child_order *o, struct pipes *p)
{
	watch_stream(c, &c->in, p->in[1], MM_WRITABLE, write_input);
	watch_stream(c, &c->out, p->out[0], MM_READABLE, read_output);
	watch_stream(c, &c->err, p->err[0], MM_READABLE, read_output);
	if (c->input.size == 0)
		close_stream(&c->in);
	mm_watch_init(&c->exit_watch, c->all->clock, exited);
	mm_watch_start(&c->exit_watch, c->pidfd, MM_READABLE);
	mm_timer_init(&c->timer, c->all->clock, time_is_over);
	mm_timer_start(&c->timer, o->timeout);
}

static bool say_no(struct mm_fault *why, const struct mm_child_order *o, int error)
{
	mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s", o->argv[0], strerror(error));
	errno = error;
	return false;
}

static bool start(struct mm_child *c, const struct mm_child_order *o, struct mm_fault *why)
{
	struct pipes p;
	if (!open_pipes(&p))
		return say_no(why, o, errno);
	int error = spawn(o, &p, &c->pid);
	close(p.in[0]);
	close(p.out[1]);
	close(p.err[1]);
	p.in[0] = p.out[1] = p.err[1] = -1;
	if (error == 0) {
		c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
		error = c->pidfd < 0 ? errno : 0;
		if (error != 0) {               /* nothing would report its end: do not let it run */
			kill(-c->pid, SIGKILL);
			waitpid(c->pid, NULL, 0);
		}
	}
	if (error == 0) {
		watch_child(c, o, &p);
		return true;
	}
	close_pair(p.in);
	close_pair(p.out);
	close_pair(p.err);
	return say_no(why, o, error);
}

struct mm_child *mm_child_start(struct mm_children *all, const struct mm_child_order *o,
	void (*done)(void *self, struct mm_child_result *), void *self, struct mm_fault *why)
{
	if (all->count >= MM_CHILDREN_MAX) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %u programs are already running", o->argv[0], all->count);
		errno = EAGAIN;
		return NULL;
	}
	struct mm_child *c = calloc(1, sizeof *c);
	if (c == NULL) {
		say_no(why, o, ENOMEM);
		return NULL;
	}
	c->all = all;
	c->done = done;
	c->self = self;
	c->output_max = o->output_max;
	mm_buffer_append(&c->input, o->input, o->input_size);
	if (c->input.failed || !start(c, o, why)) {
		int error = c->input.failed ? ENOMEM : errno;
		say_no(why, o, error);
		mm_buffer_free(&c->input);
		free(c);
		errno = error;
		return NULL;
	}
	MM_LIST_PUSH(all->first, c);
	all->count++;
	declare(c);
	return c;
}

void mm_children_init(struct mm_children *all, struct mm_clock *clock)
{
	*all = (struct mm_children){ .clock = clock };
}

void mm_children_end(struct mm_children *all)
{
	for (struct mm_child *c = all->first; c != NULL; c = c->next)
		kill(-c->pid, SIGKILL);
	while (all->first != NULL) {
		siginfo_t info;
		while (waitid((idtype_t)P_PIDFD, (id_t)all->first->pidfd, &info, WEXITED) != 0 && errno == EINTR)
			;
		child_free(all->first);
	}
}
