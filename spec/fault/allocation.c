/* allocation.c -- one whole session after another, in each of which the n-th allocation fails, n from 1 on.
 * Usage: allocation host|lua SCRIPT EDITS. host: an allocation of the host's C; linked with --wrap, so that only its
 * calls come here. lua: one of the Lua state, whose allocator is taken over when the state is made. EDITS are the
 * letters of the replies to an end of message that was let through: fewer would be half an edit. Prints one line:
 * sessions played, violations of the rule, and whether the host serves as before afterwards. */
#include "moonmilter_testing.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long countdown = -1;     /* calls until one fails; negative: none does */
static bool has_failed;
static bool fails_in_lua;

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_reallocarray(void *, size_t, size_t);
char *__wrap_strdup(const char *);
char *__wrap_strndup(const char *, size_t);

static bool is_due(void)
{
	if (countdown < 0 || countdown-- > 0)
		return false;
	has_failed = true;
	return true;
}

static bool fails(void) { return !fails_in_lua && is_due(); }

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t m) { return fails() ? NULL : __real_calloc(n, m); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
void *__wrap_reallocarray(void *p, size_t n, size_t m) { return fails() ? NULL : __real_realloc(p, n * m); }

char *__wrap_strndup(const char *s, size_t n)
{
	size_t size = strnlen(s, n);
	char *copy = fails() ? NULL : __real_malloc(size + 1);
	if (copy != NULL) {
		memcpy(copy, s, size);
		copy[size] = '\0';
	}
	return copy;
}

char *__wrap_strdup(const char *s) { return __wrap_strndup(s, strlen(s)); }

/* ---- Lua's own ---- */

lua_State *__real_luaL_newstate(void);
lua_State *__wrap_luaL_newstate(void);
lua_State *__real_lua_newstate(lua_Alloc, void *);
lua_State *__wrap_lua_newstate(lua_Alloc, void *);

static struct {
	lua_Alloc allocate;
	void     *self;
} inner;

/* Shrinking and freeing always work, as Lua's manual requires. */
static void *allocate_or_fail(void *self, void *block, size_t old_size, size_t new_size)
{
	(void)self;
	if (new_size > old_size && fails_in_lua && is_due())
		return NULL;
	return inner.allocate(inner.self, block, old_size, new_size);
}

static lua_State *take_over(lua_State *L)
{
	inner.allocate = lua_getallocf(L, &inner.self);
	lua_setallocf(L, allocate_or_fail, NULL);
	return L;
}

lua_State *__wrap_luaL_newstate(void) { return take_over(__real_luaL_newstate()); }
lua_State *__wrap_lua_newstate(lua_Alloc f, void *self) { return take_over(__real_lua_newstate(f, self)); }

static unsigned sessions, refused, closed, wrong;

static void quiet(void *self, enum mm_level level, const char *line, size_t size)
{
	(void)self, (void)level;
	if (getenv("FAULT_LOG") != NULL)
		fprintf(stderr, "%.*s\n", (int)size, line);
}

struct heard {
	char letters[64];       /* of the packets since the last command */
	size_t count;
};

static void hear(struct mm_feed *s, struct heard *h)
{
	size_t size;
	const unsigned char *bytes = mm_feed_output(s, &size);
	h->count = 0;
	for (size_t at = 0; at + 5 <= size;) {
		size_t n = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | bytes[at + 3];
		if (h->count < sizeof h->letters - 1)
			h->letters[h->count++] = (char)bytes[at + 4];
		at += 4 + n;
	}
	h->letters[h->count] = '\0';
	mm_feed_consume(s, size);
}

static struct mm_host *host;
static const char *edits;

static bool say(struct mm_feed *s, char letter, const void *data, size_t n, struct heard *h)
{
	unsigned char head[5] = { (n + 1) >> 24 & 255, (n + 1) >> 16 & 255, (n + 1) >> 8 & 255, (n + 1) & 255, (unsigned char)letter };
	struct mm_error error;
	bool ok = mm_feed_bytes(s, head, 5, &error) && (n == 0 || mm_feed_bytes(s, data, n, &error));
	for (int turn = 0; ok && turn < 1000 && mm_feed_is_waiting(s); turn++)
		mm_host_turn(host, 1);
	hear(s, h);
	return ok && !mm_feed_is_finished(s);
}

#define SAY(letter, text) say(s, letter, text, sizeof text - 1, &h)

static void judge(const struct heard *h, bool is_open)
{
	const char *letters = h->letters + strspn(h->letters, "p");      /* progress */
	char final = h->count > 0 ? h->letters[h->count - 1] : '\0';
	if (!is_open && final == '\0')
		closed++;
	else if (strchr("tyr", final) != NULL && letters[1] == '\0')
		refused++;
	else if (strchr("ca", final) == NULL)
		wrong++;
}

static void play(void)
{
	static char body[70000];
	struct mm_error error;
	struct heard h;
	struct mm_feed *s = mm_feed_open(host, NULL, &error);
	sessions++;
	if (s == NULL) {
		closed++;
		return;
	}
	memset(body, 'x', sizeof body);
	bool ok = SAY('O', "\0\0\0\6\0\0\1\377\0\37\377\377") && SAY('D', "Cj\0mx.example\0v\0Postfix 3.7.11\0")
		&& SAY('C', "client.example\0" "4\060\071" "192.0.2.1\0") && SAY('H', "client.example\0");
	for (int i = 0; ok && i < 2; i++) {
		bool goes_on = true;
		const struct { char letter; const char *text; size_t size; } commands[] = {
			{ 'D', "Mi\0QID\0", 7 }, { 'M', "<a@example.org>\0SIZE=1\0", 23 }, { 'R', "<b@example.com>\0", 16 },
			{ 'R', "<c@example.com>\0", 16 }, { 'T', "", 0 }, { 'L', "Subject\0 hello\0", 15 }, { 'L', "From\0 <a@example.org>\0", 22 },
			{ 'N', "", 0 }, { 'B', body, 65535 },
		};
		for (size_t c = 0; ok && goes_on && c < sizeof commands / sizeof *commands; c++) {
			ok = say(s, commands[c].letter, commands[c].text, commands[c].size, &h);
			char final = h.count > 0 ? h.letters[h.count - 1] : 'c';
			goes_on = final == 'c' || final == 's' || commands[c].letter == 'R';
			if (!goes_on)
				judge(&h, ok);
		}
		if (!ok) {
			judge(&h, false);
			break;
		}
		if (!goes_on)
			continue;
		ok = say(s, 'E', "", 0, &h);
		/* let through: then with every edit that the script has requested */
		if (h.count > 0 && strchr("ca", h.letters[h.count - 1]) != NULL && strcmp(h.letters + strspn(h.letters, "p"), edits) != 0) {
			printf("let through with \"%s\"\n", h.letters);
			wrong++;
		} else {
			judge(&h, ok);
		}
	}
	mm_feed_hang_up(s);
	mm_feed_close(s);
}

int main(int argc, char **argv)
{
	struct mm_error error;
	struct mm_host_options o = { .size = sizeof o, .no_sockets = true, .log = quiet };
	if (argc != 4)
		return 2;
	fails_in_lua = strcmp(argv[1], "lua") == 0;
	o.scripts = (const char *[]){ argv[2], NULL };
	edits = argv[3];
	host = mm_testing_host_new(&o, 1e9, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		printf("%s\n", error.text);
		return 2;
	}
	play();                 /* like a host that has served before: pools are filled */
	unsigned before = wrong + refused + closed;
	long n = 0;
	for (; n < 100000; n++) {
		has_failed = false;
		countdown = n;
		play();
		countdown = -1;
		if (!has_failed)
			break;
	}
	unsigned during = wrong, said = refused + closed;
	refused = closed = 0;
	play();                 /* it serves afterwards */
	printf("%ld sessions with a failure each, %u refusals, %u wrong, before %u and afterwards %u refused\n", n, said, during,
		before, refused + closed);
	mm_host_free(host);
	return during > 0 || before > 0 || refused + closed > 0;
}
