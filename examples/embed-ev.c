/* embed-ev.c -- a milter host on the libev loop of your program: its sockets and timers become watchers of that loop.
 *
 *     cc embed-ev.c $(pkg-config --cflags --libs moonmilter) -lev -o embed-ev
 *     ./embed-ev inet:10025@127.0.0.1 script.lua
 */
#include <moonmilter.h>

#include <ev.h>
#include <stdio.h>

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)timer;
	(void)events;
	printf("a timer of the program\n");
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: embed-ev SOCKET SCRIPT.lua\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct mm_error error;
	struct mm_host_options options = MM_HOST_OPTIONS;
	options.listen = (const char *[]){ argv[1], NULL };
	options.scripts = (const char *[]){ argv[2], NULL };
	options.loop = ev_default_loop(0);
	options.handle_signals = true;
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "%s\n", error.text);
		mm_host_free(host);
		return 1;
	}
	ev_timer tick;
	ev_timer_init(&tick, on_tick, 0.1, 0.);
	ev_timer_start(options.loop, &tick);
	printf("serving\n");
	while (!mm_host_is_stopped(host))
		ev_run(options.loop, EVRUN_ONCE);
	mm_host_free(host);
	printf("stopped\n");
	return 0;
}
