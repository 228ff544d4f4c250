/* bind/socket.c -- core.socket, on which lua/moonmilter/socket.lua is built.
 * A script holds a handle. A cancelled wait closes it, because the connection is then in the middle of an operation.
 *
 * An operation is called in two parts: the first starts it and waits if necessary, the second fetches the result. So
 * nothing is pushed on a coroutine from outside, where a lack of memory could not be caught. The first part returns
 * nothing when there is a result to fetch, or false, text, code when nothing was started. */
#include "bind/bind.h"

#include "base/network.h"
#include "async/pool.h"
#include "async/stream.h"
#include "bind/handle.h"
#include "bind/socket_address.h"
#include "bind/tls_facts.h"

#include <lauxlib.h>
#include <lua.h>

#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdlib.h>

enum { READING, WRITING };      /* the two sides that may wait */

struct socket;

/* One side's operation. */
struct wait {
	struct socket     *socket;
	struct mm_task    *task;        /* borrowed; NULL: none waits */
	enum mm_stream_end end;         /* of the latest operation */
};

struct socket {
	struct mm_handle       *handle; /* borrowed: it owns the socket */
	struct mm_generation   *generation;     /* borrowed */
	struct mm_stream       *stream; /* owned */
	struct mm_pool_slot     slot;
	struct mm_timer         queue_timer;
	struct mm_stream_times  times;
	struct wait             waits[2];
	struct mm_account      *account;        /* borrowed: of what the connection holds */
	unsigned                uses;   /* times this connection was used before */
	bool                    no_delay, keep_alive;
	struct mm_socket_address from;  /* local address to connect from; size 0: any */
	double                  opened_at;
};

static void socket_end(void *thing)
{
	struct socket *s = thing;
	for (int side = READING; side <= WRITING; side++)
		if (s->waits[side].task != NULL)
			mm_task_ready(s->waits[side].task, 0);  /* from the loop: another task may be running now */
	mm_timer_stop(&s->queue_timer);
	mm_stream_free(s->stream);
	mm_pool_slot_leave(&s->slot);
	free(s);
}

static const struct mm_handle_class class = {
	"a socket is expected before \":\", not a %s; write socket:method(...)", socket_end, MM_HANDLE_SOCKET,
};

static struct socket *check_socket(lua_State *L)
{
	return mm_handle_check(L, &class);
}

static int refuse(lua_State *L, const char *text, const char *code)
{
	lua_pushboolean(L, 0);
	lua_pushstring(L, text);
	lua_pushstring(L, code);
	return 3;
}

static int refuse_closed(lua_State *L)
{
	return refuse(L, "closed", "closed");
}

static void queue_time_over(struct mm_timer *);
static void slot_granted(struct mm_pool_slot *, struct mm_stream *, unsigned);

/* socket.new() -> handle */
static int socket_new(lua_State *L)
{
	struct mm_generation *generation = mm_generation_of(L);
	struct mm_handle *h = mm_handle_new(L, &class);
	struct socket *s = calloc(1, sizeof *s);
	struct mm_stream *stream = mm_stream_new(generation->settings.clock);
	if (s == NULL || stream == NULL) {
		free(s);
		mm_stream_free(stream);
		return luaL_error(L, "socket: out of memory");
	}
	s->handle = h;
	s->generation = generation;
	s->stream = stream;
	s->account = mm_task_account(generation);
	mm_stream_charge(stream, s->account);
	s->times = (struct mm_stream_times){ -1, -1 };
	s->no_delay = true;
	s->opened_at = mm_clock_now();
	s->slot.granted = slot_granted;
	s->waits[READING].socket = s->waits[WRITING].socket = s;
	mm_timer_init(&s->queue_timer, generation->settings.clock, queue_time_over);
	mm_handle_open(h, s, generation);
	return 1;
}

/* ---- waiting ---- */

static void wait_over(void *self, enum mm_stream_end end)
{
	struct wait *w = self;
	struct mm_task *t = w->task;
	w->end = end;
	w->task = NULL;
	mm_task_go_on(t, 0);
}

static void undo_wait(struct mm_task *t)
{
	struct wait *w = t->waits_for;
	w->task = NULL;
	mm_handle_close(w->socket->handle);
}

/* Nothing was moved: the connection is unchanged. */
static void undo_await(struct mm_task *t)
{
	struct wait *w = t->waits_for;
	w->task = NULL;
	if (w == &w->socket->waits[READING])
		mm_stream_stop_reading(w->socket->stream);
	else
		mm_stream_stop_writing(w->socket->stream);
}

static int wait_or_go(lua_State *L, struct mm_task *t, struct wait *w, enum mm_stream_end end, const char *name)
{
	if (end == MM_STREAM_BUSY) {
		const char *code, *text = mm_stream_error(w->socket->stream, &code);
		return refuse(L, text, code);
	}
	w->end = end;
	if (end != MM_STREAM_WAITING)
		return 0;
	w->task = t;
	return mm_task_wait(L, t, name, strcmp(name, "select") == 0 ? undo_await : undo_wait, w);
}

/* Pushes nil, text, code of the latest operation. */
static int push_failure(lua_State *L, struct socket *s)
{
	const char *code, *text = mm_stream_error(s->stream, &code);
	return mm_push_failure(L, text, code);
}

/* ---- connecting ---- */

static void check_address(lua_State *L, int at, const char *what, struct mm_socket_address *out)
{
	const char *ip = mm_check_cstring(L, at, what);
	lua_Number port = luaL_checknumber(L, at + 1);
	if (!(port >= 0 && port <= 65535 && port == floor(port)))
		luaL_error(L, "%s: port %f; give 1 to 65535", what, port);
	if (!mm_socket_address_of_ip(ip, (unsigned)port, out))
		luaL_error(L, "%s: \"%s\" is not an IP address", what, ip);
}

static int start_connect(lua_State *L, struct socket *s, const struct mm_socket_address *to)
{
	struct mm_task *t = mm_task_may_wait(L, "connect");
	if (t == NULL)
		return 2;
	if (s == NULL)
		return refuse_closed(L);
	struct mm_stream_waiter waiter = { wait_over, &s->waits[WRITING] };
	enum mm_stream_end end = mm_stream_connect(s->stream, &to->any, to->size,
		s->from.size > 0 ? &s->from.any : NULL, s->from.size, s->times, waiter);
	return wait_or_go(L, t, &s->waits[WRITING], end, "connect");
}

/* socket.connect(handle, ip, port) ... socket.ended */
static int socket_connect(lua_State *L)
{
	struct mm_socket_address to;
	struct socket *s = check_socket(L);
	check_address(L, 2, "connect", &to);
	return start_connect(L, s, &to);
}

/* socket.connect_unix(handle, path) ... socket.ended */
static int socket_connect_unix(lua_State *L)
{
	size_t size;
	struct mm_socket_address to;
	struct socket *s = check_socket(L);
	const char *path = luaL_checklstring(L, 2, &size);
	if (!mm_socket_address_of_path(path, size, &to))
		return luaL_error(L, "connect: a unix socket's path has 1 to %d bytes and no NUL; this one has %d",
			(int)MM_UNIX_PATH_MAX, (int)size);
	return start_connect(L, s, &to);
}

/* socket.bind(handle, ip, port): the address to connect from. */
static int socket_bind(lua_State *L)
{
	struct mm_socket_address from;
	struct socket *s = check_socket(L);
	check_address(L, 2, "bind", &from);
	if (s == NULL)
		return mm_push_failure(L, "closed", "closed");
	s->from = from;
	lua_pushboolean(L, 1);
	return 1;
}

static void apply_options(struct socket *s)
{
	int fd = mm_stream_descriptor(s->stream), no_delay = s->no_delay, keep_alive = s->keep_alive;
	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);   /* a unix socket does not have it:
	                                                                         * harmless */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keep_alive, sizeof keep_alive);
}

/* socket.ended(handle) -> true | nil, text, code: of connect and secure. A failed connection is closed. */
static int socket_ended(lua_State *L)
{
	struct socket *s = check_socket(L);
	if (s == NULL)
		return mm_push_failure(L, "closed", "closed");
	if (s->waits[WRITING].end != MM_STREAM_DONE) {
		push_failure(L, s);
		mm_stream_disconnect(s->stream);
		return 3;
	}
	apply_options(s);
	lua_pushboolean(L, 1);
	return 1;
}

/* ---- TLS ---- */

/* socket.secure(handle, name, peer, verify, ca, certificate, key) ... socket.ended */
static int socket_secure(lua_State *L)
{
	struct mm_fault why;
	struct socket *s = check_socket(L);
	const char *name = mm_opt_cstring(L, 2, "starttls: name");
	const char *peer = mm_opt_cstring(L, 3, "starttls: peer");
	struct mm_tls_settings settings = {
		.no_verify = !lua_toboolean(L, 4), .ca = mm_opt_cstring(L, 5, "starttls: ca"),
		.certificate = mm_opt_cstring(L, 6, "starttls: certificate"),
		.key = mm_opt_cstring(L, 7, "starttls: key"),
	};
	struct mm_task *t = mm_task_may_wait(L, "starttls");
	if (t == NULL)
		return 2;
	if (s == NULL)
		return refuse_closed(L);
	if (s->generation->tls == NULL)
		s->generation->tls = mm_tls_cache_new();
	if (s->generation->tls == NULL)
		return refuse(L, "out of memory", "memory");
	struct mm_tls *tls = mm_tls_of(s->generation->tls, &settings, &why);
	if (tls == NULL)
		return refuse(L, why.text, "tls");
	struct mm_stream_waiter waiter = { wait_over, &s->waits[WRITING] };
	enum mm_stream_end end = mm_stream_secure(s->stream, tls, name, peer, s->times, waiter);
	return wait_or_go(L, t, &s->waits[WRITING], end, "starttls");
}

/* socket.tls_facts(handle) -> nil | { version, cipher, resumed } */
static int socket_tls_facts(lua_State *L)
{
	struct socket *s = check_socket(L);
	struct mm_tls_connection *link = s != NULL ? mm_stream_tls(s->stream) : NULL;
	if (link == NULL)
		return 0;
	lua_createtable(L, 0, 3);
	lua_pushstring(L, mm_tls_version(link));
	lua_setfield(L, -2, "version");
	lua_pushstring(L, mm_tls_cipher(link));
	lua_setfield(L, -2, "cipher");
	lua_pushboolean(L, mm_tls_was_resumed(link));
	lua_setfield(L, -2, "resumed");
	return 1;
}

/* socket.tls_fact(handle, name, …) -> as bind/tls_facts.h says, or nil, "closed" */
static int socket_tls_fact(lua_State *L)
{
	struct socket *s = check_socket(L);
	struct mm_tls_connection *link = s != NULL ? mm_stream_tls(s->stream) : NULL;
	if (link != NULL)
		return mm_push_tls_fact(L, link);
	lua_pushnil(L);
	lua_pushliteral(L, "closed");
	return 2;
}

/* ---- sending and receiving ---- */

/* socket.send(handle, bytes, first, last) ... socket.sent */
static int socket_send(lua_State *L)
{
	size_t size;
	struct socket *s = check_socket(L);
	const char *bytes = luaL_checklstring(L, 2, &size);
	size_t first = (size_t)luaL_checkinteger(L, 3), last = (size_t)luaL_checkinteger(L, 4);
	struct mm_task *t = mm_task_may_wait(L, "send");
	if (t == NULL)
		return 2;
	if (s == NULL)
		return refuse_closed(L);
	if (first < 1 || last > size || first > last + 1)
		return luaL_error(L, "send: bytes %d to %d of %d", (int)first, (int)last, (int)size);
	struct mm_stream_waiter waiter = { wait_over, &s->waits[WRITING] };
	enum mm_stream_end end = mm_stream_send(s->stream, bytes + first - 1, last + 1 - first, s->times, waiter);
	return wait_or_go(L, t, &s->waits[WRITING], end, "send");
}

/* socket.sent(handle) -> count | nil, text, count, code */
static int socket_sent(lua_State *L)
{
	struct socket *s = check_socket(L);
	size_t count = s != NULL ? mm_stream_sent(s->stream) : 0;
	if (s != NULL && s->waits[WRITING].end == MM_STREAM_DONE) {
		lua_pushnumber(L, (lua_Number)count);
		return 1;
	}
	if (s != NULL)
		push_failure(L, s);
	else
		mm_push_failure(L, "closed", "closed");
	lua_pushnumber(L, (lua_Number)count);
	lua_insert(L, -2);
	return 4;
}

/* socket.receive(handle, "line" | "all" | "any" | "exact", count) ... socket.received */
static int socket_receive(lua_State *L)
{
	static const char *const names[] = { "line", "all", "exact", "any", NULL };     /* ORDER STREAM_PATTERN */
	struct socket *s = check_socket(L);
	enum mm_stream_pattern pattern = (enum mm_stream_pattern)luaL_checkoption(L, 2, NULL, names);
	lua_Number count = luaL_optnumber(L, 3, 0);
	if (pattern >= MM_STREAM_EXACT && !(count >= 1 && count <= MM_STREAM_RECEIVE_MAX && count == floor(count)))
		return luaL_error(L, "receive: %f bytes; give 1 to %d", count, (int)MM_STREAM_RECEIVE_MAX);
	struct mm_task *t = mm_task_may_wait(L, "receive");
	if (t == NULL)
		return 2;
	if (s == NULL)
		return refuse_closed(L);
	struct mm_stream_waiter waiter = { wait_over, &s->waits[READING] };
	enum mm_stream_end end = mm_stream_receive(s->stream, pattern, (size_t)count, s->times, waiter);
	return wait_or_go(L, t, &s->waits[READING], end, "receive");
}

/* A line without its CRs, as LuaSocket gives it. */
static void push_line(lua_State *L, struct mm_text line)
{
	const char *cr = line.size > 0 ? memchr(line.bytes, '\r', line.size) : NULL;
	if (cr == NULL || cr == line.bytes + line.size - 1) {
		lua_pushlstring(L, line.bytes, cr == NULL ? line.size : line.size - 1);
		return;
	}
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	for (size_t i = 0; i < line.size; i++)
		if (line.bytes[i] != '\r')
			luaL_addchar(&b, line.bytes[i]);
	luaL_pushresult(&b);
}

/* socket.received(handle, is_line) -> string | nil, text, partial, code */
static int socket_received(lua_State *L)
{
	struct socket *s = check_socket(L);
	bool is_line = lua_toboolean(L, 2);
	if (s == NULL) {
		mm_push_failure(L, "closed", "closed");
		lua_pushliteral(L, "");
		lua_insert(L, -2);
		return 4;
	}
	struct mm_text got = mm_stream_received(s->stream);
	bool is_done = s->waits[READING].end == MM_STREAM_DONE;
	if (!is_done)
		push_failure(L, s);
	if (is_line)
		push_line(L, got);
	else
		lua_pushlstring(L, got.size > 0 ? got.bytes : "", got.size);
	if (is_done)
		return 1;
	lua_insert(L, -2);
	return 4;
}

/* socket.await(handle, "read" | "write", seconds; below 0: no limit) ... socket.awaited(handle, same) ->
 * true | nil, text, code */
static int socket_await(lua_State *L)
{
	static const char *const names[] = { "read", "write", NULL };   /* READING, WRITING */
	struct socket *s = check_socket(L);
	int side = luaL_checkoption(L, 2, NULL, names);
	struct mm_stream_times times = { -1, luaL_optnumber(L, 3, -1) };
	struct mm_task *t = mm_task_may_wait(L, "select");
	if (t == NULL)
		return 2;
	if (s == NULL)
		return refuse_closed(L);
	struct mm_stream_waiter waiter = { wait_over, &s->waits[side] };
	enum mm_stream_end end = side == READING ? mm_stream_await_readable(s->stream, times, waiter)
		: mm_stream_await_writable(s->stream, times, waiter);
	return wait_or_go(L, t, &s->waits[side], end, "select");
}

static int socket_awaited(lua_State *L)
{
	static const char *const names[] = { "read", "write", NULL };   /* READING, WRITING */
	struct socket *s = check_socket(L);
	int side = luaL_checkoption(L, 2, NULL, names);
	if (s == NULL)
		return mm_push_failure(L, "closed", "closed");
	if (s->waits[side].end != MM_STREAM_DONE)
		return push_failure(L, s);
	lua_pushboolean(L, 1);
	return 1;
}

/* ---- pools ---- */

/* The place in the queue has become a connection, or permission to open one. Another task runs now:
 * go on at the next turn. */
static void slot_granted(struct mm_pool_slot *slot, struct mm_stream *stream, unsigned uses)
{
	struct socket *s = MM_OWNER_OF(slot, struct socket, slot);
	struct wait *w = &s->waits[WRITING];
	if (stream != NULL) {
		mm_stream_free(s->stream);
		s->stream = stream;
		mm_stream_charge(stream, s->account);
	}
	s->uses = uses;
	w->end = MM_STREAM_DONE;
	mm_timer_start(&s->queue_timer, 0);
}

static void queue_time_over(struct mm_timer *timer)
{
	struct socket *s = MM_OWNER_OF(timer, struct socket, queue_timer);
	struct wait *w = &s->waits[WRITING];
	if (s->slot.is_queued) {
		mm_pool_slot_leave(&s->slot);
		w->end = MM_STREAM_TIMEOUT;
	}
	wait_over(w, w->end);
}

static struct mm_pools *pools_of(struct mm_generation *generation)
{
	if (generation->pools == NULL)
		generation->pools = mm_pools_new(generation->settings.clock);
	return generation->pools;
}

/* socket.take(handle, pool, limit, seconds to queue at most) ... socket.taken(handle) -> true: reused, false: open one
 * | nil, text, code */
static int socket_take(lua_State *L)
{
	struct mm_stream *stream;
	unsigned uses;
	struct socket *s = check_socket(L);
	const char *name = mm_check_cstring(L, 2, "connect: the name of the pool");
	lua_Integer limit = luaL_optinteger(L, 3, 0);
	lua_Number seconds = luaL_checknumber(L, 4);
	struct mm_task *t = mm_task_may_wait(L, "pool");
	if (t == NULL)
		return 2;
	if (s == NULL)
		return refuse_closed(L);
	if (s->slot.pool != NULL || mm_stream_is_connected(s->stream))
		return refuse(L, "the socket is already connected", "busy");
	if (pools_of(s->generation) == NULL)
		return refuse(L, "out of memory", "memory");
	struct wait *w = &s->waits[WRITING];
	w->end = MM_STREAM_DONE;
	s->uses = 0;
	switch (mm_pool_take(s->generation->pools, name, limit > 0 ? (unsigned)limit : 0, &s->slot, &stream, &uses)) {
	case MM_POOL_REUSED:
		mm_stream_free(s->stream);
		s->stream = stream;
		mm_stream_charge(stream, s->account);
		s->uses = uses;
		return 0;
	case MM_POOL_OPEN:
		return 0;
	case MM_POOL_NO_MEMORY:
		return refuse(L, "out of memory", "memory");
	default:
		w->task = t;
		if (seconds >= 0)
			mm_timer_start(&s->queue_timer, seconds);
		return mm_task_wait(L, t, "pool", undo_wait, w);
	}
}

static int socket_taken(lua_State *L)
{
	struct socket *s = check_socket(L);
	if (s == NULL)
		return mm_push_failure(L, "closed", "closed");
	if (s->waits[WRITING].end != MM_STREAM_DONE)
		return mm_push_failure(L, "all connections of the pool are in use", "busy");
	lua_pushboolean(L, s->uses > 0);
	return 1;
}

/* socket.give(handle, pool, idle seconds, keep) -> true | nil, text, code. The handle is closed either way. */
static int socket_give(lua_State *L)
{
	struct socket *s = check_socket(L);
	const char *name = mm_check_cstring(L, 2, "setkeepalive: the name of the pool");
	lua_Number seconds = luaL_checknumber(L, 3);
	lua_Integer keep = luaL_optinteger(L, 4, 0);
	if (s == NULL)
		return mm_push_failure(L, "closed", "closed");
	if (mm_stream_is_reading(s->stream) || mm_stream_is_writing(s->stream))
		return mm_push_failure(L, "busy: another task uses the connection", "busy");
	mm_stream_charge(s->stream, &s->generation->account);
	bool is_kept = pools_of(s->generation) != NULL
		&& mm_pool_give(s->generation->pools, name, &s->slot, s->stream, s->uses, seconds,
		keep > 0 ? (unsigned)keep : 0);
	bool has_unread = !is_kept && mm_stream_has_unread(s->stream);  /* the pool has checked for more */
	if (is_kept)
		s->stream = NULL;
	mm_handle_close(s->handle);
	if (!is_kept)
		return has_unread ? mm_push_failure(L, "unread data: the connection cannot be reused", "unread")
			: mm_push_failure(L, "the connection was closed, or the pool is full", "closed");
	lua_pushboolean(L, 1);
	return 1;
}

/* socket.uses(handle) -> how often the connection was used before, by all users */
static int socket_uses(lua_State *L)
{
	struct socket *s = check_socket(L);
	lua_pushnumber(L, s != NULL ? s->uses : 0);
	return 1;
}

/* ---- facts and settings ---- */

/* socket.set_times(handle, pause, total): seconds, below 0 for never. */
static int socket_set_times(lua_State *L)
{
	struct socket *s = check_socket(L);
	struct mm_stream_times times = { luaL_checknumber(L, 2), luaL_checknumber(L, 3) };
	if (s != NULL)
		s->times = times;
	return 0;
}

/* socket.set_option(handle, "tcp-nodelay" | "keepalive", boolean) -> known */
static int socket_set_option(lua_State *L)
{
	struct socket *s = check_socket(L);
	const char *name = mm_check_cstring(L, 2, "setoption: name");
	bool on = lua_toboolean(L, 3), is_known = true;
	if (s == NULL)
		return mm_push_failure(L, "closed", "closed");
	if (strcmp(name, "tcp-nodelay") == 0)
		s->no_delay = on;
	else if (strcmp(name, "keepalive") == 0)
		s->keep_alive = on;
	else
		is_known = false;
	apply_options(s);
	lua_pushboolean(L, is_known);
	return 1;
}

/* [] -> [ip port family] or [path] */
static int push_name(lua_State *L, const struct mm_socket_address *name)
{
	if (name->any.sa_family == AF_UNIX) {
		mm_push_text(L, mm_socket_address_path(name));
		return 1;
	}
	mm_push_ip_and_port(L, &name->any);
	lua_pushstring(L, name->any.sa_family == AF_INET6 ? "inet6" : "inet");
	return 3;
}

static int push_end_name(lua_State *L, int (*ask)(int, struct sockaddr *, socklen_t *))
{
	struct mm_socket_address name;
	socklen_t size = sizeof name.room;
	struct socket *s = check_socket(L);
	if (s == NULL || !mm_stream_is_connected(s->stream))
		return mm_push_failure(L, "closed", "closed");
	if (ask(mm_stream_descriptor(s->stream), &name.any, &size) != 0)
		return mm_push_failure(L, strerror(errno), "io");
	name.size = size;
	return push_name(L, &name);
}

/* socket.peer_name(handle) -> ip, port, family | path | nil, text, code */
static int socket_peer_name(lua_State *L)
{
	return push_end_name(L, getpeername);
}

static int socket_own_name(lua_State *L)
{
	return push_end_name(L, getsockname);
}

/* socket.shut_down(handle, reading, writing) -> true | nil, text, code */
static int socket_shut_down(lua_State *L)
{
	struct socket *s = check_socket(L);
	if (s == NULL || !mm_stream_shut_down(s->stream, lua_toboolean(L, 2), lua_toboolean(L, 3)))
		return mm_push_failure(L, "closed", "closed");
	lua_pushboolean(L, 1);
	return 1;
}

/* socket.facts(handle) -> descriptor, has unread bytes, received, sent, seconds since it was made */
static int socket_facts(lua_State *L)
{
	struct socket *s = check_socket(L);
	if (s == NULL)
		return 0;
	lua_pushinteger(L, mm_stream_descriptor(s->stream));
	lua_pushboolean(L, mm_stream_has_unread(s->stream));
	lua_pushnumber(L, (lua_Number)mm_stream_received_bytes(s->stream));
	lua_pushnumber(L, (lua_Number)mm_stream_sent_bytes(s->stream));
	lua_pushnumber(L, mm_clock_now() - s->opened_at);
	return 5;
}

/* socket.is_address(text) -> boolean */
static int socket_is_address(lua_State *L)
{
	struct mm_socket_address ignored;
	const char *text = mm_clean_cstring(L, 1);
	lua_pushboolean(L, text != NULL && mm_socket_address_of_ip(text, 0, &ignored));
	return 1;
}

/* socket.is_private(ip) -> boolean: not an address of the public internet */
static int socket_is_private(lua_State *L)
{
	struct mm_socket_address address;
	const char *text = mm_clean_cstring(L, 1);
	lua_pushboolean(L, text == NULL || !mm_socket_address_of_ip(text, 0, &address)
		|| mm_network_is_private(&address.any));
	return 1;
}

static int socket_text(lua_State *L)
{
	const struct socket *s = check_socket(L);
	lua_pushfstring(L, s != NULL ? "tcp{client}: %p" : "tcp{closed}: %p", lua_touserdata(L, 1));
	return 1;
}

void mm_bind_socket(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "new", socket_new }, { "connect", socket_connect },
		{ "connect_unix", socket_connect_unix }, { "bind", socket_bind }, { "ended", socket_ended },
		{ "secure", socket_secure }, { "tls_facts", socket_tls_facts },
		{ "tls_fact", socket_tls_fact }, { "send", socket_send },
		{ "sent", socket_sent },
		{ "receive", socket_receive }, { "received", socket_received }, { "await", socket_await },
		{ "awaited", socket_awaited }, { "take", socket_take }, { "taken", socket_taken },
		{ "give", socket_give },
		{ "uses", socket_uses }, { "set_times", socket_set_times }, { "set_option", socket_set_option },
		{ "peer_name", socket_peer_name }, { "own_name", socket_own_name }, { "shut_down", socket_shut_down },
		{ "facts", socket_facts }, { "is_address", socket_is_address },
		{ "is_private", socket_is_private }, { NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	mm_handle_push_class(L, &class);        /* socket.class: Lua adds __index */
	lua_pushcfunction(L, socket_text);
	lua_setfield(L, -2, "__tostring");
	lua_setfield(L, -2, "class");
	lua_setfield(L, -2, "socket");
}
