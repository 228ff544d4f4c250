/* bind/socket_address.h -- socket addresses as scripts pass and receive them: an IP address with a port, or the path of
 * a unix socket. Numbers only; knows no host names. */
#ifndef MM_BIND_SOCKET_ADDRESS_H
#define MM_BIND_SOCKET_ADDRESS_H

#include "base/text.h"

#include <netinet/in.h>
#include <sys/un.h>

struct lua_State;

struct mm_socket_address {
	union {
		struct sockaddr     any;
		struct sockaddr_in  inet;
		struct sockaddr_in6 inet6;
		struct sockaddr_un  local;
		struct sockaddr_storage room;
	};
	size_t size;            /* of the used part; 0: no address */
};

/* False: not an IPv4 or IPv6 address. */
bool mm_socket_address_of_ip(const char *ip, unsigned port, struct mm_socket_address *out);
/* False: empty, or over MM_UNIX_PATH_MAX bytes. A leading "@" is written for the NUL of Linux's abstract names. */
bool mm_socket_address_of_path(const char *path, size_t size, struct mm_socket_address *out);
/* The path of a unix socket; an abstract name with its NUL; "" when the socket has none. BORROWED from the address. */
struct mm_text mm_socket_address_path(const struct mm_socket_address *);
/* Pushes IP address and port of an IPv4 or IPv6 address. Returns 2. */
int mm_push_ip_and_port(struct lua_State *, const struct sockaddr *);

#endif
