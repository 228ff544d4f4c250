/* bind/event.c -- core.event, on which moonmilter.event is built: events as JSON lines in a store (state/store.h) until
 * their receiver has them. Keys are KIND:ID: "q:" waits, "f:" was refused by the receiver and is set aside, and "error"
 * has what went wrong last. An id begins with the time of its event, so keys are in the order of the events.
 * Only append() waits. Failures of the world are nil, text, code. */
#include "bind/bind.h"

#include "async/append.h"
#include "base/figures.h"
#include "base/json.h"
#include "bind/handle.h"
#include "bind/packed.h"
#include "state/event_queue.h"
#include "state/stores.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define ID_MAX    64            /* bytes of an id */
#define DEPTH_MAX 8             /* tables within tables of an event */
#define TAKEN_MAX 10000         /* events of a batch; ORDER EVENT_BATCH: moonmilter/event.lua */

static struct mm_stores *stores_of(lua_State *L)
{
	return mm_generation_of(L)->settings.stores;
}

static struct mm_store *check_store(lua_State *L)
{
	struct mm_store *s = mm_stores_get(stores_of(L), luaL_checknumber(L, 1));
	if (s == NULL)
		luaL_error(L, "event: no such spool");
	return s;
}

/* "q:" and an id, in room of ID_MAX + 3 bytes. */
static struct mm_text key_of(const char *kind, struct mm_text id, char *to)
{
	return (struct mm_text){ to, (size_t)snprintf(to, ID_MAX + 3, "%s:%.*s", kind, (int)id.size, id.bytes) };
}

static struct mm_text check_id(lua_State *L, int at)
{
	struct mm_text id = mm_check_text(L, at);
	if (id.size == 0 || id.size > ID_MAX)
		luaL_error(L, "event: this is no id");
	return id;
}

/* ORDER STORE_RESULT */
static int fail(lua_State *L, const struct mm_store *s, enum mm_store_result r)
{
	static const char *const codes[] = {
		[MM_STORE_DONE] = "done", [MM_STORE_NONE] = "none", [MM_STORE_BUSY] = "busy",
		[MM_STORE_FULL] = "full", [MM_STORE_KEY] = "key", [MM_STORE_BROKEN] = "io",
	};
	return mm_push_failure(L, r == MM_STORE_FULL ? "the spool is full" : mm_store_result_text(s, r), codes[r]);
}

/* event.open(name, size_max, is_durable) -> number, is_shared | nil, text, code. Without sockets, in check, try and
 * tests, it is not shared, and nothing is to be sent. */
static int event_open(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	struct mm_store_options o = {
		.size_max = (uint64_t)luaL_checknumber(L, 2), .when_full = MM_FULL_REFUSE,
		.is_mirrored = lua_toboolean(L, 3),
	};
	struct mm_fault why = { .text = "this host keeps no stores" };
	const char *name = mm_check_cstring(L, 1, "event: name"), *directory = NULL;
	unsigned number = stores_of(L) == NULL ? 0
		: mm_stores_open(stores_of(L), g->settings.milter_name, name, &o, &why);
	if (number != 0)
		directory = mm_stores_directory(stores_of(L), &why);
	if (directory == NULL)
		return mm_push_failure(L, why.text, why.class == MM_FAULT_CONFIG ? "config" : "io");
	lua_pushnumber(L, number);
	lua_pushboolean(L, directory[0] != '\0');
	return 2;
}

/* ---- an event as a line ---- */

struct writing {
	struct mm_json json;
	size_t         size_max;
};

static void write_value(lua_State *L, struct writing *w, unsigned depth);

static void write_members(lua_State *L, struct writing *w, unsigned depth)
{
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING)
			mm_raise_at_script(L, "event: a field has a %s for a name; names are strings, and a list "
				"begins at 1 and has no gaps", luaL_typename(L, -2));
		size_t size;
		const char *name = lua_tolstring(L, -2, &size);
		mm_json_member(&w->json, (struct mm_text){ name, size });
		write_value(L, w, depth);
	}
}

static void write_table(lua_State *L, struct writing *w, unsigned depth)
{
	size_t count = lua_objlen(L, -1);
	if (depth == DEPTH_MAX || !lua_checkstack(L, 8))
		mm_raise_at_script(L, "event: tables are nested deeper than %d", DEPTH_MAX);
	mm_json_open(&w->json, count > 0 ? '[' : '{');
	for (size_t i = 1; i <= count && w->json.out->size <= w->size_max; i++) {
		lua_rawgeti(L, -1, (int)i);
		write_value(L, w, depth + 1);
		lua_pop(L, 1);
	}
	if (count == 0)
		write_members(L, w, depth + 1);
	mm_json_close(&w->json, count > 0 ? ']' : '}');
}

/* Writes the value on top of the stack. A line that is too large already gets no more. */
static void write_value(lua_State *L, struct writing *w, unsigned depth)
{
	struct mm_text text;
	if (w->json.out->size > w->size_max) {
		mm_json_text(&w->json, (struct mm_text){ NULL, 0 });
		return;
	}
	switch (lua_type(L, -1)) {
	case LUA_TSTRING:
		text.bytes = lua_tolstring(L, -1, &text.size);
		if (text.size > w->size_max)    /* it cannot fit, so it is not written at all */
			text.size = w->size_max + 1;
		mm_json_text(&w->json, text);
		return;
	case LUA_TNUMBER:
		mm_json_real(&w->json, lua_tonumber(L, -1));
		return;
	case LUA_TBOOLEAN:
		mm_json_boolean(&w->json, lua_toboolean(L, -1));
		return;
	case LUA_TNIL:
		mm_json_text(&w->json, (struct mm_text){ NULL, 0 });
		return;
	case LUA_TTABLE:
		write_table(L, w, depth);
		return;
	default:
		mm_raise_at_script(L, "event: a field is a %s; give strings, numbers, booleans, and tables of those",
			luaL_typename(L, -1));
	}
}

/* What the sink adds may not be among the script's own. */
static void check_names(lua_State *L, int at)
{
	static const char *const own[] = { "id", "time", "host", NULL };
	for (int i = 0; own[i] != NULL; i++) {
		lua_getfield(L, at, own[i]);
		if (!lua_isnil(L, -1))
			mm_raise_at_script(L, "event: the field \"%s\" is the sink's own; take another name", own[i]);
		lua_pop(L, 1);
	}
}

static const char *time_text(double now, char *to, size_t size)
{
	char day[32];
	struct tm utc;
	time_t seconds = (time_t)now;
	gmtime_r(&seconds, &utc);
	strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(to, size, "%s.%03dZ", day, (int)((now - (double)seconds) * 1e3));
	return to;
}

/* event.line(random, count, host, fields, size_max) -> id, line | nil, text, code. random and count make the id one of
 * its own: it is the time in microseconds and these, in hex. */
static int event_line(lua_State *L)
{
	char id[ID_MAX], at[48];
	double now = mm_clock_wall();
	struct mm_buffer *out = mm_stores_scratch(stores_of(L));
	struct writing w = { { out, false }, (size_t)luaL_checknumber(L, 5) };
	const char *host = mm_check_cstring(L, 3, "event: host");
	if (lua_type(L, 4) != LUA_TTABLE)
		return mm_raise_at_script(L, "event: put takes a table of fields, not a %s", luaL_typename(L, 4));
	lua_settop(L, 4);
	check_names(L, 4);
	const char *random = mm_check_cstring(L, 1, "event: random");
	snprintf(id, sizeof id, "%014llx-%s-%llx", (unsigned long long)(now * 1e6), random,
		(unsigned long long)luaL_checknumber(L, 2));
	mm_json_open(&w.json, '{');
	mm_json_key(&w.json, "id");
	mm_json_string(&w.json, id);
	mm_json_key(&w.json, "time");
	mm_json_string(&w.json, time_text(now, at, sizeof at));
	mm_json_key(&w.json, "host");
	mm_json_string(&w.json, host);
	write_members(L, &w, 1);
	mm_json_close(&w.json, '}');
	if (out->failed)
		return mm_push_failure(L, "out of memory", "memory");
	if (out->size > w.size_max)
		return mm_push_failure(L, "the event is too large", "size");
	lua_pushstring(L, id);
	lua_pushlstring(L, (const char *)out->bytes, out->size);
	return 2;
}

/* ---- the queue ---- */

static enum mm_change decide_put(void *self, const struct mm_record *old, struct mm_record *next)
{
	(void)old;
	*next = (struct mm_record){ *(struct mm_text *)self, 0 };
	return MM_CHANGE_PUT;
}

/* The value at an index under a key. */
static enum mm_store_result put_at(lua_State *L, struct mm_store *s, struct mm_text key, int at)
{
	struct mm_buffer *b = mm_stores_scratch(stores_of(L));
	mm_packed_write(L, at, b);
	if (b->failed)
		luaL_error(L, "event: out of memory");
	struct mm_text bytes = { (const char *)b->bytes, b->size };
	return mm_store_change(s, key, mm_clock_wall(), decide_put, &bytes);
}

/* Texts of the list at an index as packed values in a buffer, ids of the one before it as keys. */
static void gather(lua_State *L, int lines, unsigned count, struct mm_text *keys, struct mm_record *records, char *room)
{
	struct mm_buffer *b = mm_stores_scratch(stores_of(L));
	for (unsigned i = 0; i < count; i++, room += ID_MAX + 3) {
		size_t had = b->size;
		lua_rawgeti(L, lines - 1, (int)i + 1);
		keys[i] = key_of("q", check_id(L, -1), room);
		lua_rawgeti(L, lines, (int)i + 1);
		mm_packed_write(L, lua_gettop(L), b);
		records[i] = (struct mm_record){ { NULL, b->size - had }, 0 };
		lua_pop(L, 2);
	}
	if (b->failed)
		luaL_error(L, "event: out of memory");
	const char *at = (const char *)b->bytes;        /* the buffer moves no more */
	for (unsigned i = 0; i < count; at += records[i].bytes.size, i++)
		records[i].bytes.bytes = at;
}

/* event.put(number, ids, lines) -> true | nil, text, code: all of them or none */
static int event_put(lua_State *L)
{
	struct mm_store *s = check_store(L);
	size_t count = lua_objlen(L, 2);
	luaL_checktype(L, 2, LUA_TTABLE);
	luaL_checktype(L, 3, LUA_TTABLE);
	if (count > TAKEN_MAX)
		return luaL_error(L, "event: too many events");
	struct mm_text *keys = lua_newuserdata(L, (count + 1) * (sizeof *keys + sizeof(struct mm_record) + ID_MAX + 3));
	struct mm_record *records = (struct mm_record *)(keys + count + 1);
	gather(L, 3, (unsigned)count, keys, records, (char *)(records + count + 1));
	enum mm_store_result r = mm_store_put_each(s, keys, records, (unsigned)count, mm_clock_wall());
	if (r != MM_STORE_DONE)
		return fail(L, s, r);
	lua_pushboolean(L, 1);
	return 1;
}

/* [… ids lines] -> the same, with one more at n */
static void add_taken(lua_State *L, struct mm_text key, const struct mm_record *r, int n)
{
	lua_pushlstring(L, key.bytes + 2, key.size - 2);
	lua_rawseti(L, -3, n);
	mm_packed_push(L, r->bytes);
	if (lua_type(L, -1) != LUA_TSTRING) {   /* somebody has written to the store: a line that tells */
		lua_pop(L, 1);
		lua_pushliteral(L, "{}");
	}
	lua_rawseti(L, -2, n);
}

/* event.take(number, count, bytes) -> ids, lines of the first events that wait; they stay. nil, text, code */
static int event_take(lua_State *L)
{
	char at[MM_STORE_KEY_MAX];
	struct mm_store *s = check_store(L);
	struct mm_text key = { at, 0 }, prefix = mm_text_of("q:");
	struct mm_record record;
	int count = (int)luaL_checknumber(L, 2);
	double bytes = luaL_checknumber(L, 3), taken = 0, now = mm_clock_wall();
	lua_newtable(L);
	lua_newtable(L);
	for (int n = 1; n <= count && n <= TAKEN_MAX; n++) {
		enum mm_store_result r = mm_store_next(s, key, prefix, now, &key, &record);
		if (r == MM_STORE_NONE)
			break;
		if (r != MM_STORE_DONE)
			return fail(L, s, r);
		taken += (double)record.bytes.size;
		if (n > 1 && taken > bytes)
			break;
		memcpy(at, key.bytes, key.size);
		key.bytes = at;
		add_taken(L, key, &record, n);
	}
	return 2;
}

/* event.remove(number, ids) -> true | nil, text, code */
static int event_remove(lua_State *L)
{
	struct mm_store *s = check_store(L);
	luaL_checktype(L, 2, LUA_TTABLE);
	size_t count = lua_objlen(L, 2);
	if (count > TAKEN_MAX)
		return luaL_error(L, "event: too many ids");
	struct mm_text *keys = lua_newuserdata(L, (count + 1) * (sizeof *keys + ID_MAX + 3));
	char *room = (char *)(keys + count + 1);
	for (size_t i = 0; i < count; i++, room += ID_MAX + 3) {
		lua_rawgeti(L, 2, (int)i + 1);
		keys[i] = key_of("q", check_id(L, -1), room);
		lua_pop(L, 1);
	}
	enum mm_store_result r = mm_store_delete_each(s, keys, (unsigned)count);
	if (r != MM_STORE_DONE)
		return fail(L, s, r);
	lua_pushboolean(L, 1);
	return 1;
}

/* event.set_aside(number, id, line, most) -> true | nil, text, code: an event that its receiver does not take. Of more
 * than `most` the oldest goes. */
static int event_set_aside(lua_State *L)
{
	char waits[ID_MAX + 3], aside[ID_MAX + 3], at[MM_STORE_KEY_MAX];
	struct mm_store *s = check_store(L);
	struct mm_text id = check_id(L, 2), key = { at, 0 }, first = { NULL, 0 }, from = key_of("q", id, waits);
	struct mm_record record;
	double most = luaL_checknumber(L, 4);
	enum mm_store_result r = put_at(L, s, key_of("f", id, aside), 3);
	if (r != MM_STORE_DONE && r != MM_STORE_FULL)
		return fail(L, s, r);
	double now = mm_clock_wall();
	for (double n = 0; mm_store_next(s, key, mm_text_of("f:"), now, &key, &record) == MM_STORE_DONE; n++) {
		memcpy(at, key.bytes, key.size);
		key.bytes = at;
		if (n == 0) {
			memcpy(aside, key.bytes, key.size < sizeof aside ? key.size : sizeof aside);
			first = (struct mm_text){ aside, key.size < sizeof aside ? key.size : sizeof aside };
		}
		if (n == most) {
			mm_store_delete(s, first, mm_clock_wall());
			break;
		}
	}
	r = mm_store_delete_each(s, &from, 1);
	if (r != MM_STORE_DONE)
		return fail(L, s, r);
	lua_pushboolean(L, 1);
	return 1;
}

/* event.note(number, text or nil): what went wrong with the receiver, for whoever asks; nil: all is well. */
static int event_note(lua_State *L)
{
	struct mm_store *s = check_store(L);
	if (lua_isnoneornil(L, 2))
		mm_store_delete(s, mm_text_of("error"), mm_clock_wall());
	else
		put_at(L, s, mm_text_of("error"), 2);
	return 0;
}

/* event.state(number) -> events, bytes, seconds since 1970 of the oldest or nil, set aside, error or nil
 * | nil, text, code */
static int event_state(lua_State *L)
{
	struct mm_store *s = check_store(L);
	struct mm_event_queue q;
	enum mm_store_result r = mm_event_queue_read(s, mm_clock_wall(), &q);
	if (r != MM_STORE_DONE)
		return fail(L, s, r);
	lua_pushnumber(L, (double)q.waiting);
	lua_pushnumber(L, (double)q.bytes);
	if (q.waiting > 0)
		lua_pushnumber(L, q.oldest);
	else
		lua_pushnil(L);
	lua_pushnumber(L, (double)q.aside);
	if (q.error.size > 0)
		mm_packed_push(L, q.error);
	else
		lua_pushnil(L);
	return 5;
}

/* ---- who sends ---- */

struct place {
	int  fd;                        /* owned: whoever has its flock sends */
};

static void place_end(void *thing)
{
	struct place *p = thing;
	close(p->fd);
	free(p);
}

static const struct mm_handle_class place_class = { "a place is expected, not a %s", place_end, MM_HANDLE_PLACE };

/* event.place(number) -> handle | nil, text, code. It ends with the generation. */
static int event_place(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	struct mm_fault why;
	check_store(L);
	struct mm_handle *h = mm_handle_new(L, &place_class);
	struct place *p = malloc(sizeof *p);
	if (p == NULL)
		return luaL_error(L, "event: out of memory");
	p->fd = mm_stores_open_place(stores_of(L), lua_tonumber(L, 1), &why);
	if (p->fd >= 0) {
		mm_handle_open_in(h, p, &g->holder);
		return 1;
	}
	free(p);
	return mm_push_failure(L, why.text, "io");
}

/* event.leads(handle) -> boolean: of all generations of all workers it is this one that sends. The kernel gives the
 * place away when its process ends, however it ends. */
static int event_leads(lua_State *L)
{
	const struct place *p = mm_handle_check(L, &place_class);
	lua_pushboolean(L, p != NULL && flock(p->fd, LOCK_EX | LOCK_NB) == 0);
	return 1;
}

/* ---- files ---- */

struct appending {
	struct mm_append *append;       /* borrowed */
	struct mm_task   *task;         /* borrowed */
};

static void undo_append(struct mm_task *t)
{
	struct appending *a = t->waits_for;
	mm_append_leave(a->append);
	free(a);
}

static int push_appended(lua_State *L, void *text)
{
	if (text != NULL)
		return mm_push_failure(L, text, "io");
	lua_pushboolean(L, 1);
	return 1;
}

static void appended(void *self, const char *text)
{
	struct appending *a = self;
	struct mm_task *t = a->task;
	free(a);
	mm_task_ready(t, mm_task_push(t, push_appended, (void *)(uintptr_t)text));
}

/* event.append(path, bytes) waits -> true | nil, text, code */
static int event_append(lua_State *L)
{
	struct mm_fault why;
	const char *path = mm_check_cstring(L, 1, "event: path");
	struct mm_text bytes = mm_check_text(L, 2);
	struct mm_task *t = mm_task_may_wait(L, "file");
	if (t == NULL)
		return 2;
	struct appending *a = malloc(sizeof *a);
	if (a == NULL)
		return mm_push_failure(L, "out of memory", "memory");
	a->task = t;
	a->append = mm_append_start(t->generation->settings.clock, path, bytes, appended, a, &why);
	if (a->append != NULL)
		return mm_task_wait(L, t, "file", undo_append, a);
	free(a);
	return mm_push_failure(L, why.text, "io");
}

/* ---- figures ---- */

/* event.count(sink, result, number) */
static int event_count(lua_State *L)
{
	struct mm_figures *f = mm_generation_of(L)->settings.figures;
	if (f != NULL)
		mm_meter_number_add(mm_figures_series(f, MM_FIGURE_events, mm_check_cstring(L, 1, "event: name"),
			mm_check_cstring(L, 2, "event: result")), luaL_checknumber(L, 3));
	return 0;
}

/* event.counted(sink, result) -> number */
static int event_counted(lua_State *L)
{
	struct mm_figures *f = mm_generation_of(L)->settings.figures;
	lua_pushnumber(L, f != NULL ? mm_figures_read(f, MM_FIGURE_events, mm_check_cstring(L, 1, "event: name"),
		mm_check_cstring(L, 2, "event: result")) : 0);
	return 1;
}

/* event.show(sink, line, fields, id) -> id: in place of sending it, where nothing is sent */
static int event_show(lua_State *L)
{
	struct mm_log_line line;
	struct mm_generation *g = mm_generation_of(L);
	mm_log_begin(&line, g->settings.log, MM_LEVEL_INFO, "event");
	mm_log_text(&line, "sink", mm_check_text(L, 1));
	mm_log_text(&line, "event", mm_check_text(L, 2));
	mm_log_end(&line);
	lua_settop(L, 4);
	return 1;
}

void mm_bind_event(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "open", event_open }, { "line", event_line }, { "put", event_put }, { "take", event_take },
		{ "remove", event_remove }, { "set_aside", event_set_aside }, { "note", event_note },
		{ "state", event_state }, { "place", event_place }, { "leads", event_leads },
		{ "append", event_append }, { "count", event_count }, { "counted", event_counted },
		{ "show", event_show }, { NULL, NULL },
	};
	char host[256] = "localhost";
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	gethostname(host, sizeof host - 1);
	host[sizeof host - 1] = '\0';
	lua_pushstring(L, host);
	lua_setfield(L, -2, "host");
	mm_handle_push_class(L, &place_class);
	lua_pop(L, 1);
	lua_setfield(L, -2, "event");
}
