/* embed-poll.c -- a milter host in a program that waits with poll(2), or in the same way with select(2), kqueue or a
 * loop of its own: one descriptor, one time-out, one call. Another thread hands work over with mm_host_wake().
 *
 *     cc embed-poll.c $(pkg-config --cflags --libs moonmilter) -pthread -o embed-poll
 *     ./embed-poll inet:10025@127.0.0.1 script.lua
 */
#include <moonmilter.h>

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static struct mm_host *host;
static volatile sig_atomic_t is_asked_to_stop;

/* Any thread and any signal handler may wake a host; everything else is done in woken(). */
static void on_signal(int number)
{
	(void)number;
	is_asked_to_stop = 1;
	mm_host_wake(host);
}

static void *work(void *self)
{
	(void)self;
	mm_host_wake(host);
	return NULL;
}

static void woken(void *self)
{
	(void)self;
	if (is_asked_to_stop)
		mm_host_stop(host, MM_STOP_DRAIN);
	else
		printf("the thread has finished\n");
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: embed-poll SOCKET SCRIPT.lua\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct mm_error error;
	struct mm_host_options options = MM_HOST_OPTIONS;
	options.listen = (const char *[]){ argv[1], NULL };
	options.scripts = (const char *[]){ argv[2], NULL };
	options.woken = woken;
	host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "%s\n", error.text);
		mm_host_free(host);
		return 1;
	}
	signal(SIGTERM, on_signal);
	pthread_t thread;
	if (pthread_create(&thread, NULL, work, NULL) != 0)
		return 1;
	printf("serving\n");
	while (!mm_host_is_stopped(host)) {
		struct pollfd its = { .fd = mm_host_fd(host), .events = POLLIN };
		poll(&its, 1, (int)ceil(mm_host_timeout(host) * 1000));
		mm_host_turn(host, 0);
	}
	pthread_join(thread, NULL);
	mm_host_free(host);
	printf("stopped\n");
	return 0;
}
