/* embed-glib.c -- a milter host as a GSource of a GLib main loop, as for GTK, GIO or D-Bus.
 *
 *     cc embed-glib.c $(pkg-config --cflags --libs moonmilter glib-2.0) -o embed-glib
 *     ./embed-glib inet:10025@127.0.0.1 script.lua
 */
#include <moonmilter.h>

#include <glib-unix.h>
#include <glib.h>
#include <math.h>
#include <stdio.h>

struct milter_source {
	GSource         source;
	struct mm_host *host;
	gpointer        tag;
};

/* GLib asks this before each wait. */
static gboolean prepare(GSource *source, gint *timeout_ms)
{
	struct mm_host *host = ((struct milter_source *)source)->host;
	*timeout_ms = (gint)ceil(mm_host_timeout(host) * 1000);
	return *timeout_ms == 0;
}

static gboolean check(GSource *source)
{
	struct milter_source *its = (struct milter_source *)source;
	return g_source_query_unix_fd(source, its->tag) != 0 || mm_host_timeout(its->host) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer loop)
{
	struct mm_host *host = ((struct milter_source *)source)->host;
	(void)callback;
	mm_host_turn(host, 0);
	if (mm_host_is_stopped(host))
		g_main_loop_quit(loop);
	return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer host)
{
	mm_host_stop(host, MM_STOP_DRAIN);
	return G_SOURCE_CONTINUE;
}

static gboolean never(gpointer self)
{
	(void)self;
	return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: embed-glib SOCKET SCRIPT.lua\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct mm_error error;
	struct mm_host_options options = MM_HOST_OPTIONS;
	options.listen = (const char *[]){ argv[1], NULL };
	options.scripts = (const char *[]){ argv[2], NULL };
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "%s\n", error.text);
		mm_host_free(host);
		return 1;
	}
	static GSourceFuncs functions = { .prepare = prepare, .check = check, .dispatch = dispatch };
	GMainLoop *loop = g_main_loop_new(NULL, FALSE);
	GSource *source = g_source_new(&functions, sizeof(struct milter_source));
	((struct milter_source *)source)->host = host;
	((struct milter_source *)source)->tag = g_source_add_unix_fd(source, mm_host_fd(host), G_IO_IN);
	g_source_set_callback(source, never, loop, NULL);       /* dispatch gets the loop */
	g_source_attach(source, NULL);
	g_unix_signal_add(SIGTERM, on_terminate, host);
	printf("serving\n");
	g_main_loop_run(loop);
	g_source_destroy(source);
	g_source_unref(source);
	g_main_loop_unref(loop);
	mm_host_free(host);
	printf("stopped\n");
	return 0;
}
