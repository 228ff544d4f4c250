/* forks.c -- a program that forks while its host serves: forks own|handed DIRECTORY. own: the host's loop is its own.
 * Prints what parent, MTA and child see. */
#include "raw_mta.h"

#include <moonmilter.h>

#include <dirent.h>
#include <ev.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>

static char path[200];
static struct mm_host *host;
static struct ev_loop *loop;
static atomic_int lines;
static const char *const who[] = { "parent", "child" };
static int here;

static void count_line(void *self, enum mm_level level, const char *line, size_t size)
{
	(void)self;
	(void)level;
	(void)line;
	(void)size;
	lines++;
}

static int open_files(void)
{
	int count = 0;
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		count += e->d_name[0] != '.';
	closedir(d);
	return count - 1;       /* d itself */
}

static void say(const char *text, int value)
{
	printf("%s: %s %d\n", who[here], text, value);
	fflush(stdout);
}

/* ---- the MTA: a thread, so that the host can turn in ours ---- */

struct talk {
	int         fd;
	int         value;
	int       (*run)(int fd);
	atomic_bool is_over;
};

static void *run_talk(void *self)
{
	struct talk *t = self;
	t->value = t->run(t->fd);
	t->is_over = true;
	return NULL;
}

static int talk(int fd, int (*run)(int fd))
{
	struct talk t = { .fd = fd, .run = run };
	pthread_t thread;
	pthread_create(&thread, NULL, run_talk, &t);
	while (!t.is_over) {
		if (loop != NULL)
			ev_run(loop, EVRUN_NOWAIT);
		else
			mm_host_turn(host, 0.005);
		usleep(500);
	}
	pthread_join(thread, NULL);
	return t.value;
}

static int begin(int fd)
{
	return raw_begin(fd) && raw_message(fd);
}

static int end(int fd)
{
	return raw_end(fd);
}

static int quit(int fd)
{
	return raw_send(fd, 'Q', "", 0) && raw_hear(fd) == 0;   /* the host hangs up, and nobody else holds it open */
}

static int whole(int fd)
{
	return raw_begin(fd) && raw_message(fd) && raw_end(fd) == 1 && quit(fd);
}

/* ---- the child ---- */

static void be_child(int before, int own, int go)
{
	char byte;
	here = 1;
	lines = 0;
	mm_host_after_fork(host);
	say("descriptors more than before the host:", open_files() - before - own);
	if (read(go, &byte, 1) < 0)
		say("no word from the parent", 0);
	/* it may have a host of its own, with signals and another socket */
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_error error;
	char listen[256];
	snprintf(listen, sizeof listen, "unix:%s.child", path);
	options.listen = (const char *[]){ listen, NULL };
	options.sources = (const struct mm_source[]){ { .name = "a.lua", .text = "function on_eom(ctx) "
		"ctx:add_header('X', '1') end" }, { .name = NULL } };
	options.handle_signals = true;
	options.log = count_line;
	loop = NULL;
	say("lines logged:", lines);
	host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		printf("%s\n", error.text);
		exit(1);
	}
	snprintf(path + strlen(path), sizeof path - strlen(path), ".child");
	int fd = raw_dial(path);
	say("a host of its own serves:", talk(fd, whole));
	close(fd);
	mm_host_free(host);
	exit(0);                /* with all that a library does at the end of a process */
}

static struct mm_host *serve(bool is_handed)
{
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_error error;
	static char listen[256];
	static const struct mm_source scripts[] = { { .name = "a.lua", .text =
		"local milter, log = require 'moonmilter', require 'moonmilter.log'\n"
		"function on_eom(ctx) milter.sleep(0.01) ctx:add_header('X', '1') end\n"
		"function on_abort() log.warn 'abort' end function on_close() log.warn 'close' end\n"
		"function on_unload() log.warn 'unload' end" }, { .name = NULL } };
	snprintf(listen, sizeof listen, "unix:%s", path);
	options.listen = (const char *[]){ listen, NULL };
	options.sources = scripts;
	options.handle_signals = true;
	options.guard_scripts = !is_handed;
	options.log = count_line;
	options.loop = is_handed ? loop : NULL;
	struct mm_host *h = mm_host_new(&options, &error);
	if (h != NULL && mm_host_start(h, &error))
		return h;
	printf("no start: %s\n", error.text);
	exit(1);
}

int main(int argc, char **argv)
{
	int go[2], status;
	bool is_handed = argc > 2 && strcmp(argv[1], "handed") == 0;
	snprintf(path, sizeof path, "%s/parent.sock", argv[argc - 1]);
	if (pipe(go) != 0)
		return 71;
	loop = is_handed ? ev_loop_new(0) : NULL;
	int before = open_files();
	host = serve(is_handed);
	int fd = raw_dial(path);
	say("message begun:", talk(fd, begin));
	pid_t child = fork();
	if (child == 0)         /* its own: the MTA's end */
		be_child(before, 1, go[0]);
	usleep(100000);
	say("message goes on:", talk(fd, end));
	say("the host hangs up:", talk(fd, quit));
	close(fd);
	fd = raw_dial(path);
	say("the next connection:", talk(fd, whole));
	close(fd);
	if (write(go[1], "", 1) != 1)
		return 71;
	waitpid(child, &status, 0);
	say("the child has ended with", status);
	fd = raw_dial(path);
	say("after it, the next connection:", talk(fd, whole));
	close(fd);
	mm_host_free(host);
	say("the socket's file is there:", access(path, F_OK) == 0);
	return 0;
}
