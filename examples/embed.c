/* embed.c -- a milter host inside your program: two hosts in one process, a C module for scripts, bytes without a
 * socket. It needs only moonmilter.h, and lua.h for its module. The program turns the loop of each host itself; a
 * program that has a libev loop sets options.loop instead, and turns that loop.
 *
 *     cc embed.c $(pkg-config --cflags --libs moonmilter luajit) -o embed && ./embed script.lua
 *
 * With the static library: --static, and -l:libmoonmilter.a in place of -lmoonmilter.
 */
#include <moonmilter.h>

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* require "rating": rating.of(text) -> number */
static int rating_of(lua_State *L)
{
	size_t size;
	const char *text = luaL_checklstring(L, 1, &size);
	lua_pushnumber(L, strstr(text, "lottery") != NULL ? 10.0 : (double)size / 100);
	return 1;
}

static int open_rating(lua_State *L)
{
	static const luaL_Reg functions[] = { { "of", rating_of }, { NULL, NULL } };
	luaL_newlib(L, functions);
	return 1;
}

static void say(void *self, const char *line)
{
	printf("%s: %s\n", (const char *)self, line);
}

static void no_log(void *self, enum mm_level level, const char *line, size_t size)
{
	(void)self;
	if (level >= MM_LEVEL_WARN)
		printf("log: %.*s\n", (int)size, line);
}

static struct mm_host *start(const char *name, const char *script)
{
	static const struct mm_module modules[] = { { "rating", open_rating, NULL }, { NULL, NULL, NULL } };
	const char *scripts[] = { script, NULL };
	struct mm_host_options options = MM_HOST_OPTIONS;
	options.scripts = scripts;
	options.modules = modules;
	options.no_sockets = true;
	options.log = no_log;
	struct mm_error error;
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "%s\n", error.text);
		exit(1);
	}
	mm_host_describe(host, say, (void *)name);
	return host;
}

/* One command as an MTA sends it; prints the letters of the answers. */
static void tell(struct mm_host *host, struct mm_feed *session, char letter, const void *data, size_t size)
{
	unsigned char packet[256] = { 0, 0, 0, (unsigned char)(size + 1), (unsigned char)letter };
	struct mm_error error;
	memcpy(packet + 5, data, size);
	if (!mm_feed_bytes(session, packet, size + 5, &error))
		printf("fault: %s\n", error.text);
	while (mm_feed_is_waiting(session))
		mm_host_turn(host, 1.0);
	size_t n;
	const unsigned char *out = mm_feed_output(session, &n);
	for (size_t at = 0; at + 4 < n;) {
		size_t length = (size_t)out[at] << 24 | (size_t)out[at + 1] << 16 | (size_t)out[at + 2] << 8 | out[at + 3];
		printf("%c -> %c", letter, out[at + 4]);
		if (out[at + 4] != 'O' && length > 1)
			printf(" %.*s", (int)length - 1, (const char *)out + at + 5);
		printf("\n");
		at += 4 + length;
	}
	mm_feed_consume(session, n);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: embed SCRIPT.lua\n");
		return 2;
	}
	struct mm_host *first = start("first", argv[1]), *second = start("second", argv[1]);
	struct mm_feed *session = mm_feed_open(second, NULL, NULL);
	tell(second, session, 'O', "\0\0\0\6\0\0\1\377\0\37\377\377", 12);
	tell(second, session, 'M', "<a@example.org>", 16);
	tell(second, session, 'E', "", 0);
	tell(second, session, 'M', "<lottery@example.org>", 22);
	tell(second, session, 'Q', "", 0);
	printf("finished: %s\n", mm_feed_is_finished(session) ? "yes" : "no");
	mm_feed_close(session);
	mm_host_free(first);
	mm_host_free(second);
	return 0;
}
