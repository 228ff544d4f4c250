/* face.c -- the public C API as an embedder sees it, one situation per run: face SITUATION DIRECTORY. Prints what
 * happened, one fact per line; embed_spec.lua has the expected lines. Uses only moonmilter.h. */
#include <moonmilter.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define TURNS 200                               /* of 10 ms: the limit for an expected event */

static const char OFFER[] = "\0\0\0\15O\0\0\0\6\0\0\1\377\0\37\377\377";
static const char MAIL[] = "\0\0\0\21M<a@example.org>\0";
static const char END[] = "\0\0\0\1E";
static const char QUIT[] = "\0\0\0\1Q";
#define BYTES(s) (s), sizeof(s) - 1

static const char *directory;

static const char *yes(bool claim)
{
	return claim ? "yes" : "no";
}

static const char *name_of(enum mm_error_code code)
{
	static const char *const names[] = { "NONE", "BUG", "CONFIG", "PEER", "SCRIPT", "RESOURCE" };
	return names[code];
}

/* Prints the scripts' log lines. */
static void print_texts(void *self, enum mm_level level, const char *line, size_t size)
{
	char copy[2048];
	(void)level;
	snprintf(copy, sizeof copy, "%.*s", (int)size, line);
	char *text = strstr(copy, "text=");
	if (text != NULL && strstr(copy, " script=") != NULL)
		printf("%slog %s\n", self != NULL ? (const char *)self : "", text);
}

static const char *path_of(const char *name)
{
	static char paths[4][256];
	static unsigned at;
	char *path = paths[at++ % 4];
	snprintf(path, sizeof paths[0], "%s/%s", directory, name);
	return path;
}

/* listen NULL: no sockets. */
static struct mm_host *start(const char *script, const char *listen, const char *log_name)
{
	const char *scripts[] = { path_of(script), NULL }, *listeners[] = { listen, NULL };
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_error error;
	options.scripts = scripts;
	options.listen = listen != NULL ? listeners : NULL;
	options.no_sockets = listen == NULL;
	options.log = print_texts;
	options.log_self = (void *)log_name;
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		printf("no start: %s\n", error.text);
		exit(1);
	}
	return host;
}

static void turn_until_stopped(struct mm_host *host)
{
	for (int i = 0; i < TURNS && !mm_host_is_stopped(host); i++)
		mm_host_turn(host, 0.01);
}

/* ---- a milter connection without a socket ---- */

static void print_replies(const unsigned char *bytes, size_t size)
{
	for (size_t at = 0; at + 4 < size;) {
		printf("reply %c\n", bytes[at + 4]);
		at += 4 + ((size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8
			| bytes[at + 3]);
	}
}

static void send_bytes(struct mm_host *host, struct mm_feed *feed, const char *bytes, size_t size)
{
	struct mm_error error;
	size_t n;
	if (!mm_feed_bytes(feed, bytes, size, &error))
		printf("error %s\n", name_of(error.code));
	while (host != NULL && mm_feed_is_waiting(feed))
		mm_host_turn(host, 0.1);
	const void *output = mm_feed_output(feed, &n);
	print_replies(output, n);
	mm_feed_consume(feed, n);
}

/* ---- a milter connection with one ---- */

static int open_socket(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct timeval limit = { 2, 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

static void exchange(struct mm_host *host, int fd, const char *bytes, size_t size)
{
	unsigned char answer[512];
	ssize_t n = 0;
	if (write(fd, bytes, size) != (ssize_t)size)
		printf("the socket is closed\n");
	for (int i = 0; i < TURNS && n <= 0; i++) {
		mm_host_turn(host, 0.01);
		n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
	}
	print_replies(answer, n > 0 ? (size_t)n : 0);
}

static void print_end(int fd)
{
	unsigned char answer[512];
	ssize_t n = recv(fd, answer, sizeof answer, 0);
	if (n > 0)
		print_replies(answer, (size_t)n);
	printf("closed: %s\n", yes(n == 0 || (n > 0 && recv(fd, answer, sizeof answer, 0) == 0)));
}

/* A host on a unix socket with one session that has negotiated. */
static struct mm_host *start_with_session(const char *script, int *fd)
{
	char listen[300];
	snprintf(listen, sizeof listen, "unix:%s", path_of("socket"));
	struct mm_host *host = start(script, listen, NULL);
	*fd = open_socket(path_of("socket"));
	exchange(host, *fd, BYTES(OFFER));
	return host;
}

/* ---- the situations ---- */

static void version(void)
{
	char parts[32];
	snprintf(parts, sizeof parts, "%d.%d.%d", MM_VERSION_MAJOR, MM_VERSION_MINOR, MM_VERSION_PATCH);
	printf("parts: %s\nlibrary: %s\n", yes(strcmp(parts, MM_VERSION) == 0),
		yes(strcmp(mm_version(), MM_VERSION) == 0));
}

static void options(void)
{
	struct mm_host_options o = MM_HOST_OPTIONS, none;
	memset(&none, 0, sizeof none);
	none.size = sizeof none;
	printf("size: %s\nabsent: %s\n", yes(o.size == sizeof o), yes(o.listen == NULL && o.scripts == NULL
		&& o.set == NULL && o.config_file == NULL && !o.no_sockets && !o.drop_rights && !o.handle_signals
		&& !o.guard_scripts && o.loop == NULL && o.modules == NULL && o.log == NULL));
}

static void errors(void)
{
	struct mm_error error;
	const char *set[] = { "drain_timeout=soon", NULL }, *scripts[] = { path_of("broken.lua"), NULL };
	struct mm_host_options o = MM_HOST_OPTIONS;
	o.no_sockets = true;
	o.log = print_texts;
	o.set = set;
	printf("bad option: %s", yes(mm_host_new(&o, &error) != NULL));
	printf(" %s %s %d %s\n", name_of(error.code), mm_error_word(error.reason), mm_error_status(&error), strstr(error.text, "drain_timeout") != NULL ? "drain_timeout" : error.text);
	printf("no place for the error: %s\n", yes(mm_host_new(&o, NULL) != NULL));
	o.set = NULL;
	o.scripts = scripts;
	struct mm_host *host = mm_host_new(&o, &error);
	printf("broken script: %s", yes(mm_host_start(host, &error)));
	printf(" %s %s\n", name_of(error.code), strstr(error.text, "broken.lua:1:") != NULL ? "line 1" : error.text);
	printf("too early: %s", yes(mm_feed_open(host, NULL, &error) != NULL));
	printf(" %s %s\n", name_of(error.code), mm_error_word(error.reason));
	mm_host_free(host);
	host = start("quiet.lua", NULL, NULL);
	printf("unknown milter: %s", yes(mm_feed_open(host, "nobody", &error) != NULL));
	printf(" %s\n", name_of(error.code));
	struct mm_feed *feed = mm_feed_open(host, NULL, &error);
	send_bytes(host, feed, BYTES("\0\0\0\0"));
	printf("finished: %s\n", yes(mm_feed_is_finished(feed)));
	mm_feed_close(feed);
	mm_host_free(host);
}

static struct mm_feed *feed_in_a_message(struct mm_host *host);

static void refuse(const char *what, struct mm_host_options *o)
{
	struct mm_error error = { MM_ERROR_NONE, MM_REASON_NONE, "" };
	printf("%s: %s", what, yes(mm_host_new(o, &error) != NULL));
	printf(" %s %d\n", mm_error_word(error.reason), mm_error_status(&error));
}

/* What keeps a host from starting, told apart. */
static void refusals(void)
{
	struct mm_host_options o = MM_HOST_OPTIONS;
	char socket[300], nowhere[300];
	snprintf(socket, sizeof socket, "unix:%s", path_of("socket"));
	snprintf(nowhere, sizeof nowhere, "unix:%s/none/socket", directory);
	const char *listen[] = { socket, NULL }, *scripts[] = { path_of("quiet.lua"), NULL };
	o.log = print_texts;
	o.listen = listen;
	o.scripts = scripts;
	struct mm_host *host = mm_host_new(&o, NULL);
	refuse("in use", &o);
	mm_host_free(host);
	listen[0] = nowhere;
	refuse("no directory", &o);
	listen[0] = socket;
	o.set = (const char *[]){ "socket_owner=nosuch", NULL };
	refuse("no user", &o);
	o.set = (const char *[]){ "workers=2", NULL };
	refuse("workers", &o);
	o.set = (const char *[]){ "control=/run/x", NULL };
	refuse("control", &o);
	o.set = (const char *[]){ "on_error=never", NULL };
	refuse("value", &o);
}

/* Keys of the program alone, one by one; "": it was taken. */
static void programs_keys(void)
{
	static const char *const keys[] = { "workers=1", "control=/run/x", "metrics=inet:1@127.0.0.1", "watch=true",
		"daemon=true", "pid_file=/run/x", "recycle_sessions=9", "hang_timeout=10", "poison_time=1", "history=5",
		"history_time=5", "history_redact=nothing", NULL };
	struct mm_host_options o = MM_HOST_OPTIONS;
	struct mm_error error = { .reason = MM_REASON_NONE };
	char socket[300];
	snprintf(socket, sizeof socket, "unix:%s", path_of("socket"));
	o.listen = (const char *[]){ socket, NULL };
	o.scripts = (const char *[]){ path_of("quiet.lua"), NULL };
	o.log = print_texts;
	for (const char *const *key = keys; *key != NULL; key++) {
		o.set = (const char *[]){ *key, NULL };
		struct mm_host *host = mm_host_new(&o, &error);
		printf("%s: %s %.*s\n", *key, host != NULL ? "taken" : mm_error_word(error.reason),
			(int)strcspn(error.text, ":"), error.text);
		mm_host_free(host);
	}
}

/* What one host of a process has, and the next one wants. */
static void one_of_a_process(void)
{
	struct mm_host_options o = MM_HOST_OPTIONS;
	o.scripts = (const char *[]){ path_of("quiet.lua"), NULL };
	o.no_sockets = true;
	o.log = print_texts;
	for (int i = 0; i < 2; i++) {
		o.handle_signals = i == 0;
		o.guard_scripts = i == 1;
		struct mm_host *first = mm_host_new(&o, NULL);
		refuse(i == 0 ? "signals" : "guards", &o);
		mm_host_free(first);
		first = mm_host_new(&o, NULL);
		printf("afterwards: %s\n", first != NULL ? "yes" : "no");
		mm_host_free(first);
	}
}

static void in_memory(void)
{
	struct mm_error error;
	char text[] = "settings = { word = \"first\" }";
	struct mm_source sources[] = {
		{ "a.lua", "local log = require 'moonmilter.log'\n"
			"function on_mail(ctx) log.info('a %s', ctx.host.settings.word) end", 0, NULL },
		{ "b.lua", "local log = require 'moonmilter.log'\nfunction on_mail(ctx) log.info 'b' end -- and nothing",
			78, "default" },
		{ NULL, NULL, 0, NULL },
	};
	struct mm_host_options o = MM_HOST_OPTIONS;
	o.config_text = text;
	o.sources = sources;
	o.no_sockets = true;
	o.log = print_texts;
	struct mm_host *host = mm_host_new(&o, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		printf("no start: %s\n", error.text);
		return;
	}
	struct mm_feed *feed = feed_in_a_message(host);
	memcpy(strstr(text, "first"), "other", 5);
	mm_host_reload(host, NULL, NULL);
	for (int i = 0; i < TURNS && mm_host_generation(host) == 1; i++)
		mm_host_turn(host, 0.01);
	feed_in_a_message(host);
	printf("sessions: %u\n", mm_host_session_count(host));
	mm_feed_hang_up(feed);
	printf("sessions: %u\n", mm_host_session_count(host));
	sources[0].text = "function on_mail( end";
	mm_host_free(host);
	host = mm_host_new(&o, &error);
	printf("starts: %s", yes(mm_host_start(host, &error)));
	printf(" %s %.8s\n", mm_error_word(error.reason), error.text);
	mm_host_free(host);
	sources[0].milter = "other";
	refuse("milter", &o);
}

static void on_reloaded(void *self, bool ok, const struct mm_error *error)
{
	(void)self;
	printf("reloaded: %s %s\n", yes(ok), name_of(error->code));
}

static void reload(void)
{
	struct mm_host *host = start("quiet.lua", NULL, NULL);
	mm_host_reload(host, on_reloaded, NULL);
	for (int i = 0; i < TURNS && mm_host_generation(host) == 1; i++)
		mm_host_turn(host, 0.01);
	printf("generation: %lu\n", mm_host_generation(host));
	FILE *f = fopen(path_of("quiet.lua"), "w");
	fprintf(f, "this is no Lua\n");
	fclose(f);
	mm_host_reload(host, on_reloaded, NULL);
	for (int i = 0; i < 20; i++)
		mm_host_turn(host, 0.01);
	printf("generation: %lu\n", mm_host_generation(host));
	mm_host_free(host);
}

static void ask_again(void *self, bool ok, const struct mm_error *error)
{
	struct mm_host *host = self;
	(void)error;
	printf("reloaded: %s, generation: %lu\n", yes(ok), mm_host_generation(host));
	if (mm_host_generation(host) < 4)
		mm_host_reload(host, ask_again, host);
}

static void reload_from_inside(void)
{
	struct mm_host *host = start("quiet.lua", NULL, NULL);
	mm_host_reload(host, ask_again, host);
	for (int i = 0; i < TURNS && mm_host_generation(host) < 4; i++)
		mm_host_turn(host, 0.01);
	mm_host_free(host);
}

static void drain(void)
{
	int fd;
	struct mm_host *host = start_with_session("quiet.lua", &fd);
	mm_host_stop(host, MM_STOP_DRAIN);
	mm_host_stop(host, MM_STOP_DRAIN);
	printf("accepts: %s\n", yes(open_socket(path_of("socket")) >= 0));
	exchange(host, fd, BYTES(MAIL));
	printf("sessions: %u, stopped: %s\n", mm_host_session_count(host), yes(mm_host_is_stopped(host)));
	if (write(fd, BYTES(QUIT)) < 0)
		printf("no quit\n");
	turn_until_stopped(host);
	mm_host_run(host);                      /* returns at once */
	printf("sessions: %u, stopped: %s\n", mm_host_session_count(host), yes(mm_host_is_stopped(host)));
	mm_host_free(host);
	close(fd);
}

static void now(void)
{
	int fd;
	struct mm_host *host = start_with_session("wait.lua", &fd);
	exchange(host, fd, BYTES(MAIL));
	if (write(fd, BYTES(END)) < 0)
		printf("no end\n");
	for (int i = 0; i < 20; i++)
		mm_host_turn(host, 0.01);
	mm_host_stop(host, MM_STOP_NOW);
	turn_until_stopped(host);
	printf("stopped: %s\n", yes(mm_host_is_stopped(host)));
	print_end(fd);
	mm_host_free(host);
	close(fd);
}

static void now_during_a_drain(void)
{
	int fd;
	struct mm_host *host = start_with_session("wait.lua", &fd);
	exchange(host, fd, BYTES(MAIL));
	mm_host_stop(host, MM_STOP_DRAIN);
	if (write(fd, BYTES(END)) < 0)
		printf("no end\n");
	for (int i = 0; i < 20; i++)
		mm_host_turn(host, 0.01);
	printf("stopped: %s\n", yes(mm_host_is_stopped(host)));
	mm_host_stop(host, MM_STOP_NOW);
	turn_until_stopped(host);
	printf("stopped: %s\n", yes(mm_host_is_stopped(host)));
	print_end(fd);
	mm_host_free(host);
	close(fd);
}

static struct mm_feed *feed_in_a_message(struct mm_host *host)
{
	struct mm_feed *feed = mm_feed_open(host, NULL, NULL);
	send_bytes(host, feed, BYTES(OFFER));
	send_bytes(host, feed, BYTES(MAIL));
	return feed;
}

static void hang_up(void)
{
	struct mm_host *host = start("ends.lua", NULL, NULL);
	struct mm_feed *feed = feed_in_a_message(host);
	struct mm_error error;
	mm_feed_hang_up(feed);
	printf("finished: %s\n", yes(mm_feed_is_finished(feed)));
	printf("more bytes: %s\n", yes(mm_feed_bytes(feed, BYTES(MAIL), &error)));
	size_t n;
	mm_feed_output(feed, &n);
	printf("output: %zu\n", n);
	mm_feed_hang_up(feed);
	printf("closing\n");
	mm_feed_close(feed);
	mm_host_free(host);
}

static void close_only(void)
{
	struct mm_host *host = start("ends.lua", NULL, NULL);
	struct mm_feed *feed = feed_in_a_message(host);
	printf("closing\n");
	mm_feed_close(feed);
	printf("freeing\n");
	feed_in_a_message(host);                /* the host closes what is left open */
	mm_host_free(host);
}

static void two_hosts(void)
{
	struct mm_host *first = start("quiet.lua", NULL, "first "), *second = start("ends.lua", NULL, "second ");
	struct mm_feed *a = feed_in_a_message(first), *b = feed_in_a_message(second);
	mm_host_stop(first, MM_STOP_NOW);
	turn_until_stopped(first);
	mm_feed_close(a);
	printf("stopped: %s %s\n", yes(mm_host_is_stopped(first)), yes(mm_host_is_stopped(second)));
	mm_host_free(first);
	send_bytes(second, b, BYTES(END));
	mm_feed_close(b);
	mm_host_free(second);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void      (*run)(void);
	} situations[] = {
		{ "version", version }, { "options", options }, { "errors", errors }, { "reload", reload },
		{ "reload_from_inside", reload_from_inside }, { "refusals", refusals },
		{ "programs_keys", programs_keys }, { "one_of_a_process", one_of_a_process }, { "in_memory", in_memory },
		{ "drain", drain }, { "now", now }, { "now_during_a_drain", now_during_a_drain },
		{ "hang_up", hang_up }, { "close", close_only }, { "two_hosts", two_hosts },
	};
	setvbuf(stdout, NULL, _IOLBF, 0);
	directory = argc > 2 ? argv[2] : ".";
	for (size_t i = 0; argc > 2 && i < sizeof situations / sizeof *situations; i++)
		if (strcmp(argv[1], situations[i].name) == 0) {
			situations[i].run();
			return 0;
		}
	fprintf(stderr, "usage: face SITUATION DIRECTORY\n");
	return 2;
}
