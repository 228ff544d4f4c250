/* base/network.h -- an IP address or a block of addresses ("192.0.2.7", "10.0.0.0/8", "2001:db8::/32"), and which
 * addresses are in it. Numbers only; knows no names and no sockets. IPv4 mapped into IPv6 (::ffff:192.0.2.7) counts as
 * IPv4, in blocks and in addresses, because a listener on [::] sees IPv4 clients that way. */
#ifndef MM_BASE_NETWORK_H
#define MM_BASE_NETWORK_H

#include "base/fault.h"

#include <stdint.h>
#include <sys/socket.h>

#define MM_NETWORK_TEXT_SIZE 52         /* bytes of a block as text, NUL included */

struct mm_network {
	bool    is_ipv6;
	uint8_t address[16];            /* network order; the first 4 for IPv4 */
	uint8_t prefix;                 /* bits, 0..32 or 0..128 */
};

/* False: not an address, a prefix out of range, or bits set after the prefix. */
bool mm_network_parse(const char *text, struct mm_network *out, struct mm_fault *why);
/* Is the address (4 or 16 bytes in network order) inside? */
bool mm_network_contains(const struct mm_network *, const uint8_t *address, size_t size);
/* Not an address of the public internet: loopback, private, shared, link-local, multicast and reserved blocks, and IPv6
 * addresses with such an IPv4 address inside. Any other family counts as private. */
bool mm_network_is_private(const struct sockaddr *);
/* "10.0.0.0/8"; a single address without its prefix. Returns to. */
char *mm_network_text(const struct mm_network *, char *to, size_t size);

#endif
