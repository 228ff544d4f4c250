/* bind/database.c -- core.database: questions to databases and directories. lua/moonmilter/maps/ is built on it. */
#include "bind/bind.h"

#include "async/ldap.h"
#include "async/mysql.h"
#include "async/pgsql.h"
#include "async/sqlite.h"
#include "bind/handle.h"

#include <lauxlib.h>
#include <lua.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PARTS_MAX = 200,                /* of a question */
	PARAMETERS_MAX = 64 << 10,      /* bytes of a file of parameters */
};

static const struct mm_database_driver *const drivers[] = { &mm_pgsql_driver, &mm_mysql_driver, &mm_ldap_driver,
	&mm_sqlite_driver };

static void box_end(void *thing)
{
	mm_database_free(thing);
}

static const struct mm_handle_class class = { "a database is expected, not a %s", box_end, MM_HANDLE_DATABASE };

/* ---- opening ---- */

static const struct mm_database_driver *check_driver(lua_State *L, int at)
{
	const char *name = mm_check_cstring(L, at, "database: driver");
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	luaL_error(L, "database: no driver \"%s\"", name);
	return NULL;
}

/* The list { name, value, … } at an index. The result is a userdata on the stack. */
static struct mm_database_setting *push_settings(lua_State *L, int at, unsigned *count)
{
	luaL_checktype(L, at, LUA_TTABLE);
	const char *const *words = mm_push_strings(L, at, "database: settings");
	*count = (unsigned)lua_objlen(L, at) / 2;
	struct mm_database_setting *list = lua_newuserdata(L, (*count + 1) * sizeof *list);
	for (unsigned i = 0; i < *count; i++)
		list[i] = (struct mm_database_setting){ words[2 * i], words[2 * i + 1] };
	return list;
}

/* Fills tables of functions that all threads of the process share. */
static bool load(const struct mm_database_driver *driver, struct mm_fault *why)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&mutex);
	bool is_loaded = driver->load(why);
	pthread_mutex_unlock(&mutex);
	return is_loaded;
}

/* database.open(driver, settings, connections, connect_timeout, idle) -> handle | nil, text, code */
static int database_open(lua_State *L)
{
	struct mm_fault why;
	struct mm_generation *generation = mm_generation_of(L);
	struct mm_database_options o = { .driver = check_driver(L, 1), .connections = (unsigned)luaL_checkinteger(L, 3),
		.connect_timeout = luaL_checknumber(L, 4), .idle = luaL_checknumber(L, 5) };
	o.settings = push_settings(L, 2, &o.setting_count);
	if (!load(o.driver, &why))
		return mm_push_failure(L, why.text, "missing");
	struct mm_handle *h = mm_handle_new(L, &class);
	struct mm_database *d = mm_database_new(generation->settings.clock, &o);
	if (d == NULL)
		return mm_push_failure(L, "out of memory", "memory");
	mm_handle_open_in(h, d, &generation->holder);
	return 1;
}

/* database.servers(handle, { address, name, port, … }): the port as a string. -> true | nil, text, code */
static int database_servers(lua_State *L)
{
	struct mm_database *d = mm_handle_check(L, &class);
	luaL_checktype(L, 2, LUA_TTABLE);
	const char *const *words = mm_push_strings(L, 2, "database: servers");
	unsigned count = (unsigned)lua_objlen(L, 2) / 3;
	struct mm_database_server *servers = lua_newuserdata(L, (count + 1) * sizeof *servers);
	for (unsigned i = 0; i < count; i++)
		servers[i] = (struct mm_database_server){ words[3 * i], words[3 * i + 1],
			(unsigned)strtoul(words[3 * i + 2], NULL, 10) };
	if (d == NULL)
		return mm_push_failure(L, "closed", "down");
	if (!mm_database_set_servers(d, servers, count))
		return mm_push_failure(L, "out of memory", "memory");
	lua_pushboolean(L, 1);
	return 1;
}

/* ---- asking ---- */

struct asking {
	struct mm_question *question;   /* borrowed */
	struct mm_task     *task;       /* borrowed */
};

struct result {
	enum mm_question_end    end;
	const struct mm_answer *answer;
};

static void push_row(lua_State *L, struct mm_cursor *c)
{
	uint32_t values = mm_cursor_u32(c);
	lua_createtable(L, (int)values, 0);
	for (uint32_t i = 0; i < values && !c->failed; i++) {
		uint32_t size = mm_cursor_u32(c);
		if (size == MM_NO_VALUE) {
			lua_pushboolean(L, 0);
		} else {
			c->failed = c->failed || size > c->left;
			lua_pushlstring(L, (const char *)c->at, c->failed ? 0 : size);
			c->at += c->failed ? 0 : size;
			c->left -= c->failed ? 0 : size;
		}
		lua_rawseti(L, -2, (int)i + 1);
	}
}

/* [] -> [rows] or [nil text code] */
static int push_result(lua_State *L, void *arg)
{
	const struct result *r = arg;
	switch (r->end) {
	case MM_QUESTION_REFUSED:
		return mm_push_failure(L, r->answer->why.text, "bad_answer");
	case MM_QUESTION_TOO_LARGE:
		return mm_push_failure(L, "the answer is larger than 1 MiB", "bad_answer");
	case MM_QUESTION_TIMEOUT:
		return mm_push_failure(L, "no answer in time", "timeout");
	case MM_QUESTION_DOWN:
		return mm_push_failure(L, r->answer->why.text, "down");
	default:
		break;
	}
	struct mm_cursor c = mm_cursor_over(r->answer->packed.bytes, r->answer->packed.size);
	lua_createtable(L, (int)r->answer->rows, 0);
	for (unsigned i = 0; i < r->answer->rows && !c.failed; i++) {
		push_row(L, &c);
		lua_rawseti(L, -2, (int)i + 1);
	}
	return 1;
}

static void answered(void *self, enum mm_question_end end, const struct mm_answer *answer)
{
	struct asking *a = self;
	struct mm_task *t = a->task;
	struct result result = { end, answer };
	free(a);
	/* closed: perhaps by a finalizer or at the end of the Lua state, where no Lua may run */
	mm_task_ready(t, end == MM_QUESTION_CLOSED ? 0 : mm_task_push(t, push_result, &result));
}

static void undo_ask(struct mm_task *t)
{
	struct asking *a = t->waits_for;
	mm_question_cancel(a->question);
	free(a);
}

/* database.ask(handle, parts, seconds) -> rows, each a list of strings and false | nil, text, code | nothing: closed */
static int database_ask(lua_State *L)
{
	struct mm_text parts[PARTS_MAX];
	struct mm_question_parts q = { parts, 0 };
	struct mm_database *d = mm_handle_check(L, &class);
	luaL_checktype(L, 2, LUA_TTABLE);
	double seconds = luaL_checknumber(L, 3);
	size_t count = lua_objlen(L, 2);
	if (count > PARTS_MAX)
		return luaL_error(L, "database: a question of %d parts", (int)count);
	for (; q.count < count; q.count++) {
		lua_rawgeti(L, 2, (int)q.count + 1);
		parts[q.count] = mm_check_text(L, -1);
		lua_pop(L, 1);          /* the list keeps it */
	}
	struct mm_task *t = mm_task_may_wait(L, "database");
	if (t == NULL)
		return 2;
	struct asking *a = d != NULL ? calloc(1, sizeof *a) : NULL;
	if (a == NULL)
		return mm_push_failure(L, d == NULL ? "closed" : "out of memory", "down");
	a->task = t;
	a->question = mm_database_ask(d, &q, seconds, answered, a);
	if (a->question != NULL)
		return mm_task_wait(L, t, "database", undo_ask, a);
	free(a);
	return mm_push_failure(L, "out of memory", "down");
}

/* database.state(handle) -> { connections, idle, waiting, servers, servers_down, error } | nil */
static int database_state(lua_State *L)
{
	struct mm_database_state s;
	struct mm_database *d = mm_handle_check(L, &class);
	if (d == NULL)
		return 0;
	mm_database_look(d, &s);
	const struct { const char *name; unsigned value; } fields[] = {
		{ "connections", s.connections }, { "idle", s.idle }, { "waiting", s.waiting },
		{ "servers", s.servers }, { "servers_down", s.servers_down },
	};
	lua_createtable(L, 0, 6);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		lua_pushinteger(L, (lua_Integer)fields[i].value);
		lua_setfield(L, -2, fields[i].name);
	}
	if (s.why != NULL) {
		lua_pushstring(L, s.why);
		lua_setfield(L, -2, "error");
	}
	return 1;
}

/* ---- files of parameters ---- */

/* [] -> [text], [text doubt] or [nil why]; closes fd */
static int read_parameters(lua_State *L, const char *path, int fd)
{
	char bytes[PARAMETERS_MAX];
	struct stat s = { .st_mode = 0 };
	size_t size = 0;
	ssize_t n = 1;
	const char *fault = fstat(fd, &s) != 0 ? strerror(errno) : S_ISREG(s.st_mode) ? NULL : "is not a file";
	while (fault == NULL && size < sizeof bytes && (n = read(fd, bytes + size, sizeof bytes - size)) > 0)
		size += (size_t)n;
	if (n < 0)
		fault = strerror(errno);
	else if (fault == NULL && size == sizeof bytes)
		fault = "is too large";
	close(fd);
	if (fault != NULL) {
		lua_pushnil(L);
		lua_pushfstring(L, "%s: %s", path, fault);
		return 2;
	}
	lua_pushlstring(L, bytes, size);
	explicit_bzero(bytes, size);
	if ((s.st_mode & (S_IROTH | S_IWOTH)) == 0)
		return 1;
	lua_pushliteral(L, "everybody may read or change it: chmod o-rw");
	return 2;
}

/* database.read(path) -> text | text, what is wrong with its rights | nil, why */
static int database_read(lua_State *L)
{
	const char *path = mm_check_cstring(L, 1, "map: path");
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		return read_parameters(L, path, fd);
	lua_pushnil(L);
	lua_pushfstring(L, "%s: %s", path, strerror(errno));
	return 2;
}

void mm_bind_database(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "open", database_open }, { "servers", database_servers }, { "ask", database_ask },
		{ "state", database_state }, { "read", database_read }, { NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	mm_handle_push_class(L, &class);
	lua_pop(L, 1);                  /* scripts never see a handle */
	lua_setfield(L, -2, "database");
}
