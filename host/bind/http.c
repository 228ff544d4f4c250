/* bind/http.c -- core.http, on which lua/moonmilter/http.lua is built. The two parts of an operation
 * are as in bind/socket.c. */
#include "bind/bind.h"

#include "async/http.h"
#include "bind/handle.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct box {
	struct mm_handle       *handle; /* borrowed: it owns the box */
	struct mm_http_request *request;        /* owned */
	struct mm_task         *task;   /* borrowed: the one that waits; NULL: none */
	bool                    is_done;
	char                    said[100];      /* "GET https://host/path", then "200", for the story of the message */
};

static void box_end(void *thing)
{
	struct box *b = thing;
	if (b->task != NULL)
		mm_task_ready(b->task, 0);      /* from the loop: another task may be running now */
	mm_http_request_free(b->request);
	free(b);
}

static const struct mm_handle_class class = { "a request is expected, not a %s", box_end, MM_HANDLE_HTTP };

static struct box *check_box(lua_State *L)
{
	return mm_handle_check(L, &class);
}

/* ---- making ---- */

/* The options table is at index 1 and keeps its strings alive for the call. */

static const char *string_field(lua_State *L, const char *name)
{
	lua_getfield(L, 1, name);
	const char *text = mm_opt_cstring(L, -1, name);
	lua_pop(L, 1);
	return text;
}

static double number_field(lua_State *L, const char *name)
{
	lua_getfield(L, 1, name);
	double number = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return number;
}

static struct mm_text body_field(lua_State *L)
{
	struct mm_text body;
	lua_getfield(L, 1, "body");
	body.bytes = lua_tolstring(L, -1, &body.size);
	lua_pop(L, 1);
	return body;
}

/* Returns them in an array that stays on the stack. */
static const char *const *fields_field(lua_State *L)
{
	lua_getfield(L, 1, "fields");
	luaL_checktype(L, -1, LUA_TTABLE);
	return mm_push_strings(L, lua_gettop(L), "http: a header");
}

static struct mm_http *engine_of(struct mm_generation *generation)
{
	if (generation->http == NULL)
		generation->http = mm_http_new(generation->settings.clock);
	return generation->http;
}

/* What a history may show of a request: no user, no query. */
static void describe(const struct mm_http_options *o, char *to, size_t size)
{
	const char *rest = strstr(o->url, "://"), *path = rest != NULL ? strchr(rest + 3, '/') : NULL;
	const char *user = rest != NULL ? strchr(rest, '@') : NULL;
	if (user != NULL && (path == NULL || user < path))
		snprintf(to, size, "%s %.*s...%.*s", o->method, (int)(rest + 3 - o->url), o->url,
			(int)strcspn(user, "?#"), user);
	else
		snprintf(to, size, "%s %.*s", o->method, (int)strcspn(o->url, "?#"), o->url);
}

/* http.new{ method, url, fields, resolve, unix_socket, body, verify, allow_private, ca, certificate, key, timeout,
 * connect_timeout, max_body } -> handle | nil, text, code. Checked by http.lua. */
static int http_new(lua_State *L)
{
	struct mm_fault why;
	struct mm_generation *generation = mm_generation_of(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_getfield(L, 1, "verify");
	lua_getfield(L, 1, "allow_private");
	struct mm_http_options o = {
		.account = mm_task_account(generation),
		.method = string_field(L, "method"), .url = string_field(L, "url"), .fields = fields_field(L),
		.resolve = string_field(L, "resolve"), .unix_socket = string_field(L, "unix_socket"),
		.body = body_field(L),
		.no_verify = lua_isboolean(L, 2) && !lua_toboolean(L, 2),
		.no_private = lua_isboolean(L, 3) && !lua_toboolean(L, 3), .ca = string_field(L, "ca"),
		.certificate = string_field(L, "certificate"), .key = string_field(L, "key"),
		.timeout = number_field(L, "timeout"),
		.connect_timeout = number_field(L, "connect_timeout"), .body_max = (size_t)number_field(L, "max_body"),
	};
	struct mm_handle *h = mm_handle_new(L, &class);
	struct box *b = calloc(1, sizeof *b);
	if (b == NULL || engine_of(generation) == NULL) {
		free(b);
		return mm_push_failure(L, "out of memory", "memory");
	}
	b->request = mm_http_request_new(generation->http, &o, &why);
	if (b->request == NULL) {
		free(b);
		return mm_push_failure(L, why.text, "memory");
	}
	describe(&o, b->said, sizeof b->said);
	b->handle = h;
	mm_handle_open(h, b, generation);
	return 1;
}

/* ---- waiting ---- */

static void request_done(void *self)
{
	struct box *b = self;
	struct mm_task *t = b->task;
	b->is_done = true;
	b->task = NULL;
	const char *code, *error = mm_http_error(b->request, &code);
	if (error != NULL)
		snprintf(b->said, sizeof b->said, "%s", error);
	else
		snprintf(b->said, sizeof b->said, "%d", mm_http_status(b->request));
	t->said = b->said;
	mm_task_go_on(t, 0);
}

static void undo_request(struct mm_task *t)
{
	struct box *b = t->waits_for;
	b->task = NULL;
	mm_handle_close(b->handle);
}

/* http.perform(handle) ... http.result */
static int http_perform(lua_State *L)
{
	struct box *b = check_box(L);
	struct mm_task *t = mm_task_may_wait(L, "http");
	if (t == NULL)
		return 2;
	if (b == NULL || b->is_done || b->task != NULL)
		return 0;
	b->task = t;
	t->said = b->said;
	mm_http_start(b->request, request_done, b);
	return mm_task_wait(L, t, "http", undo_request, b);
}

/* http.result(handle) -> status, header lines, body, trailer lines | nil, text, code */
static int http_result(lua_State *L)
{
	const char *code = "closed";
	struct box *b = check_box(L);
	const char *text = b == NULL || !b->is_done ? "closed" : mm_http_error(b->request, &code);
	if (text != NULL)
		return mm_push_failure(L, text, code);
	struct mm_text fields = mm_http_fields(b->request), body = mm_http_body(b->request),
		trailers = mm_http_trailers(b->request);
	lua_pushinteger(L, mm_http_status(b->request));
	lua_pushlstring(L, fields.size > 0 ? fields.bytes : "", fields.size);
	lua_pushlstring(L, body.size > 0 ? body.bytes : "", body.size);
	lua_pushlstring(L, trailers.size > 0 ? trailers.bytes : "", trailers.size);
	return 4;
}

static _Thread_local const struct mm_http_url *pushed;  /* borrowed: of the call to push_url that runs; NULL: none */

/* [] -> [whole scheme host port]. A call hook may hand it to a script. */
static int push_url(lua_State *L)
{
	const struct mm_http_url *url = pushed;
	if (url == NULL)
		return luaL_error(L, "only the host calls this");
	lua_pushstring(L, url->text);
	lua_pushstring(L, url->scheme);
	lua_pushstring(L, url->host);
	lua_pushinteger(L, (lua_Integer)url->port);
	return 4;
}

/* http.url(text[, base]) -> whole, scheme, host, port | nil, text, code */
static int http_url(lua_State *L)
{
	struct mm_fault why;
	struct mm_http_url url;
	const char *text = mm_clean_cstring(L, 1), *base = mm_opt_cstring(L, 2, "http: base");
	if (text == NULL)
		return mm_push_failure(L, "the URL has a NUL byte", "url");
	lua_pushcfunction(L, push_url);         /* protected: memory may run out while we own the parts */
	if (!mm_http_url(text, base, &url, &why))
		return mm_push_failure(L, why.text, "url");
	pushed = &url;
	int status = lua_pcall(L, 0, 4, 0);
	pushed = NULL;
	mm_http_url_free(&url);
	return status == 0 ? 4 : lua_error(L);
}

void mm_bind_http(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "new", http_new }, { "perform", http_perform }, { "result", http_result }, { "url", http_url },
		{ NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	mm_handle_push_class(L, &class);
	lua_pop(L, 1);                  /* scripts never see a handle */
	lua_setfield(L, -2, "http");
}
