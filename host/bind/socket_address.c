#include "bind/socket_address.h"

#include "base/bounds.h"

#include <arpa/inet.h>
#include <lua.h>

bool mm_socket_address_of_ip(const char *ip, unsigned port, struct mm_socket_address *out)
{
	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, ip, &out->inet.sin_addr) == 1) {
		out->inet.sin_family = AF_INET;
		out->inet.sin_port = htons((uint16_t)port);
		out->size = sizeof out->inet;
		return true;
	}
	if (inet_pton(AF_INET6, ip, &out->inet6.sin6_addr) == 1) {
		out->inet6.sin6_family = AF_INET6;
		out->inet6.sin6_port = htons((uint16_t)port);
		out->size = sizeof out->inet6;
		return true;
	}
	return false;
}

bool mm_socket_address_of_path(const char *path, size_t size, struct mm_socket_address *out)
{
	memset(out, 0, sizeof *out);
	bool is_cut = size > 0 && path[0] != '@' && memchr(path, '\0', size) != NULL;
	if (size == 0 || size > MM_UNIX_PATH_MAX || is_cut)
		return false;
	out->local.sun_family = AF_UNIX;
	memcpy(out->local.sun_path, path, size);
	if (path[0] == '@')
		out->local.sun_path[0] = '\0';
	out->size = offsetof(struct sockaddr_un, sun_path) + size + (path[0] != '@');
	return true;
}

struct mm_text mm_socket_address_path(const struct mm_socket_address *a)
{
	size_t before = offsetof(struct sockaddr_un, sun_path), length = a->size > before ? a->size - before : 0;
	bool is_abstract = length > 0 && a->local.sun_path[0] == '\0';
	return (struct mm_text){ a->local.sun_path, is_abstract ? length : strnlen(a->local.sun_path, length) };
}

int mm_push_ip_and_port(lua_State *L, const struct sockaddr *name)
{
	char text[INET6_ADDRSTRLEN];
	const struct sockaddr_in *inet = (const struct sockaddr_in *)name;
	const struct sockaddr_in6 *inet6 = (const struct sockaddr_in6 *)name;
	bool is_inet6 = name->sa_family == AF_INET6;
	lua_pushstring(L, is_inet6 ? inet_ntop(AF_INET6, &inet6->sin6_addr, text, sizeof text)
		: inet_ntop(AF_INET, &inet->sin_addr, text, sizeof text));
	lua_pushnumber(L, ntohs(is_inet6 ? inet6->sin6_port : inet->sin_port));
	return 2;
}
