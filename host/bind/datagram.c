/* bind/datagram.c -- core.datagram, on which lua/moonmilter/net/datagram.lua is built. The two parts of an operation
 * are as in bind/socket.c. */
#include "bind/bind.h"

#include "async/datagram.h"
#include "bind/handle.h"
#include "bind/socket_address.h"

#include <lauxlib.h>
#include <lua.h>

#include <errno.h>
#include <stdlib.h>

struct box {
	struct mm_datagram    *datagram;        /* owned */
	struct mm_task        *task;    /* borrowed: the one that receives; NULL: none */
	enum mm_datagram_end   end;
	double                 timeout; /* seconds; below 0: none */
};

static void box_end(void *thing)
{
	struct box *b = thing;
	if (b->task != NULL)
		mm_task_ready(b->task, 0);      /* from the loop: another task may be running now */
	mm_datagram_free(b->datagram);
	free(b);
}

static const struct mm_handle_class class = {
	"a UDP socket is expected before \":\", not a %s; write socket:method(...)", box_end, MM_HANDLE_DATAGRAM,
};

static struct box *check_box(lua_State *L)
{
	return mm_handle_check(L, &class);
}

static int fail(lua_State *L, int error)
{
	const char *code = error == ECONNREFUSED ? "refused" : error == ENETUNREACH || error == EHOSTUNREACH
		? "unreachable" : error == ETIMEDOUT ? "timeout" : error == EBADF ? "closed" : "io";
	const char *text = error == ECONNREFUSED ? "connection refused" : error == ETIMEDOUT ? "timeout"
		: error == EBADF ? "closed" : strerror(error);
	return mm_push_failure(L, text, code);
}

static int answer(lua_State *L, int error)
{
	if (error != 0)
		return fail(L, error);
	lua_pushnumber(L, 1);
	return 1;
}

static int datagram_new(lua_State *L)
{
	struct mm_generation *generation = mm_generation_of(L);
	struct mm_handle *h = mm_handle_new(L, &class);
	struct box *b = calloc(1, sizeof *b);
	struct mm_datagram *d = mm_datagram_new(generation->settings.clock);
	if (b == NULL || d == NULL) {
		free(b);
		mm_datagram_free(d);
		return luaL_error(L, "udp: out of memory");
	}
	b->datagram = d;
	b->timeout = -1;
	mm_handle_open(h, b, generation);
	return 1;
}

/* The address at index and index + 1. */
static void check_address(lua_State *L, int at, struct mm_socket_address *out)
{
	const char *ip = mm_check_cstring(L, at, "udp: the address");
	lua_Integer port = luaL_checkinteger(L, at + 1);
	if (port < 0 || port > 65535)
		luaL_error(L, "udp: port %d; give 0 to 65535", (int)port);
	if (!mm_socket_address_of_ip(ip, (unsigned)port, out))
		luaL_error(L, "udp: \"%s\" is not an IP address", ip);
}

/* datagram.connect(handle[, ip, port]); without ip: disconnects, for packets from and to any address */
static int datagram_connect(lua_State *L)
{
	struct mm_socket_address to = { .size = 0 };
	struct box *b = check_box(L);
	bool has_peer = !lua_isnoneornil(L, 2);
	if (has_peer)
		check_address(L, 2, &to);
	return answer(L, b == NULL ? EBADF : mm_datagram_connect(b->datagram, has_peer ? &to.any : NULL, to.size));
}

static int datagram_bind(lua_State *L)
{
	struct mm_socket_address own;
	struct box *b = check_box(L);
	check_address(L, 2, &own);
	return answer(L, b == NULL ? EBADF : mm_datagram_bind(b->datagram, &own.any, own.size));
}

/* datagram.send(handle, bytes[, ip, port]) */
static int datagram_send(lua_State *L)
{
	size_t size;
	struct mm_socket_address to = { .size = 0 };
	struct box *b = check_box(L);
	const char *bytes = luaL_checklstring(L, 2, &size);
	bool has_peer = !lua_isnoneornil(L, 3);
	if (has_peer)
		check_address(L, 3, &to);
	return answer(L, b == NULL ? EBADF
		: mm_datagram_send(b->datagram, bytes, size, has_peer ? &to.any : NULL, to.size));
}

static void receive_over(void *self, enum mm_datagram_end end)
{
	struct box *b = self;
	struct mm_task *t = b->task;
	b->end = end;
	b->task = NULL;
	mm_task_go_on(t, 0);
}

static void undo_receive(struct mm_task *t)
{
	struct box *b = t->waits_for;
	b->task = NULL;
	mm_datagram_stop(b->datagram);  /* packets are whole: nothing is half done */
}

/* datagram.receive(handle) ... datagram.received(handle) */
static int datagram_receive(lua_State *L)
{
	struct box *b = check_box(L);
	struct mm_task *t = mm_task_may_wait(L, "receive");
	if (t == NULL)
		return 2;
	if (b == NULL)
		return 0;
	if (mm_datagram_is_receiving(b->datagram)) {
		lua_pushboolean(L, 0);
		return 1;
	}
	b->end = mm_datagram_receive(b->datagram, b->timeout, receive_over, b);
	if (b->end != MM_DATAGRAM_WAITING)
		return 0;
	b->task = t;
	return mm_task_wait(L, t, "receive", undo_receive, b);
}

/* datagram.received(handle) -> bytes, ip, port | nil, text, code */
static int datagram_received(lua_State *L)
{
	struct box *b = check_box(L);
	if (b == NULL)
		return fail(L, EBADF);
	if (b->end != MM_DATAGRAM_DONE)
		return fail(L, b->end == MM_DATAGRAM_TIMEOUT ? ETIMEDOUT : mm_datagram_error(b->datagram));
	const struct sockaddr *from;
	size_t from_size;
	struct mm_text packet = mm_datagram_received(b->datagram, &from, &from_size);
	lua_pushlstring(L, packet.bytes, packet.size);
	return from_size > 0 ? 1 + mm_push_ip_and_port(L, from) : 1;
}

/* datagram.set_timeout(handle, seconds) */
static int datagram_set_timeout(lua_State *L)
{
	struct box *b = check_box(L);
	double timeout = luaL_checknumber(L, 2);
	if (b != NULL)
		b->timeout = timeout;
	return 0;
}

static int push_end_name(lua_State *L, int (*ask)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_storage name;
	socklen_t size = sizeof name;
	struct box *b = check_box(L);
	int fd = b != NULL ? mm_datagram_descriptor(b->datagram) : -1;
	if (fd < 0)
		return fail(L, EBADF);
	if (ask(fd, (struct sockaddr *)&name, &size) != 0)
		return fail(L, errno);
	return mm_push_ip_and_port(L, (struct sockaddr *)&name);
}

static int datagram_peer_name(lua_State *L)
{
	return push_end_name(L, getpeername);
}

static int datagram_own_name(lua_State *L)
{
	return push_end_name(L, getsockname);
}

void mm_bind_datagram(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "new", datagram_new }, { "connect", datagram_connect }, { "bind", datagram_bind },
		{ "send", datagram_send }, { "receive", datagram_receive }, { "received", datagram_received },
		{ "set_timeout", datagram_set_timeout }, { "peer_name", datagram_peer_name },
		{ "own_name", datagram_own_name }, { NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	mm_handle_push_class(L, &class);        /* datagram.class: Lua adds __index */
	lua_setfield(L, -2, "class");
	lua_setfield(L, -2, "datagram");
}
