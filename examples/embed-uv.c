/* embed-uv.c -- a milter host on a libuv loop.
 *
 *     cc embed-uv.c $(pkg-config --cflags --libs moonmilter libuv) -o embed-uv
 *     ./embed-uv inet:10025@127.0.0.1 script.lua
 */
#include <moonmilter.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <uv.h>

static struct mm_host *host;
static uv_prepare_t before_wait;
static uv_poll_t readable;
static uv_timer_t due;
static uv_signal_t terminate;

static void turn(void)
{
	mm_host_turn(host, 0);
	if (mm_host_is_stopped(host))
		uv_stop(uv_default_loop());
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)poll;
	(void)status;
	(void)events;
	turn();
}

static void on_due(uv_timer_t *timer)
{
	(void)timer;
	turn();
}

static void on_before_wait(uv_prepare_t *prepare)
{
	(void)prepare;
	uv_update_time(uv_default_loop());
	uv_timer_start(&due, on_due, (uint64_t)ceil(mm_host_timeout(host) * 1000), 0);
}

static void on_terminate(uv_signal_t *signal, int number)
{
	(void)signal;
	(void)number;
	mm_host_stop(host, MM_STOP_DRAIN);
	turn();
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: embed-uv SOCKET SCRIPT.lua\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct mm_error error;
	struct mm_host_options options = MM_HOST_OPTIONS;
	options.listen = (const char *[]){ argv[1], NULL };
	options.scripts = (const char *[]){ argv[2], NULL };
	host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "%s\n", error.text);
		mm_host_free(host);
		return 1;
	}
	uv_loop_t *loop = uv_default_loop();
	uv_prepare_init(loop, &before_wait);
	uv_prepare_start(&before_wait, on_before_wait);
	uv_timer_init(loop, &due);
	uv_poll_init(loop, &readable, mm_host_fd(host));
	uv_poll_start(&readable, UV_READABLE, on_readable);
	uv_signal_init(loop, &terminate);
	uv_signal_start(&terminate, on_terminate, SIGTERM);
	printf("serving\n");
	uv_run(loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&before_wait, NULL);
	uv_close((uv_handle_t *)&readable, NULL);
	uv_close((uv_handle_t *)&due, NULL);
	uv_close((uv_handle_t *)&terminate, NULL);
	uv_run(loop, UV_RUN_DEFAULT);
	uv_loop_close(loop);
	mm_host_free(host);
	printf("stopped\n");
	return 0;
}
