#include "base/network.h"

#include "base/quote.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped_head[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static unsigned width_of(const struct mm_network *n)
{
	return n->is_ipv6 ? 128 : 32;
}

static void clear_host_bits(struct mm_network *n)
{
	for (unsigned bit = n->prefix; bit < width_of(n); bit++)
		n->address[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
}

static void unmap(struct mm_network *n)
{
	if (!n->is_ipv6 || n->prefix < 96 || memcmp(n->address, mapped_head, sizeof mapped_head) != 0)
		return;
	n->is_ipv6 = false;
	n->prefix -= 96;
	memmove(n->address, n->address + 12, 4);
	memset(n->address + 4, 0, 12);
}

static bool parse_prefix(const char *text, unsigned width, unsigned *prefix)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 3 || text[digits] != '\0')
		return false;
	*prefix = (unsigned)strtoul(text, NULL, 10);
	return *prefix <= width;
}

bool mm_network_parse(const char *text, struct mm_network *out, struct mm_fault *why)
{
	struct mm_network n = { 0 };
	char address[INET6_ADDRSTRLEN];
	size_t size = strcspn(text, "/");
	bool fits = size < sizeof address;
	if (fits) {
		memcpy(address, text, size);
		address[size] = '\0';
		n.is_ipv6 = strchr(address, ':') != NULL;
	}
	if (!fits || inet_pton(n.is_ipv6 ? AF_INET6 : AF_INET, address, n.address) != 1)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s is not an address; write numbers such as \"192.0.2.7\", "
			"\"10.0.0.0/8\" or \"2001:db8::/32\" (names are not looked up)",
			mm_quote(text, strlen(text)).text);
	unsigned prefix = width_of(&n);
	if (text[size] == '/' && !parse_prefix(text + size + 1, width_of(&n), &prefix))
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: the prefix is a number of bits from 0 to %u",
			mm_quote(text, strlen(text)).text, width_of(&n));
	n.prefix = (uint8_t)prefix;

	struct mm_network whole = n;
	clear_host_bits(&whole);
	if (memcmp(whole.address, n.address, sizeof n.address) != 0) {
		char block[MM_NETWORK_TEXT_SIZE];
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s has bits set after its prefix; write \"%s\" for the "
			"block or \"%s\" for the one address", mm_quote(text, strlen(text)).text,
			mm_network_text(&whole, block, sizeof block), address);
	}
	unmap(&n);
	*out = n;
	return true;
}

bool mm_network_contains(const struct mm_network *n, const uint8_t *address, size_t size)
{
	if (size == 16 && memcmp(address, mapped_head, sizeof mapped_head) == 0) {
		address += 12;
		size = 4;
	}
	if (size != (n->is_ipv6 ? 16u : 4u))
		return false;
	unsigned whole = n->prefix / 8, rest = n->prefix % 8;
	if (memcmp(n->address, address, whole) != 0)
		return false;
	return rest == 0 || (n->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}

char *mm_network_text(const struct mm_network *n, char *to, size_t size)
{
	char address[INET6_ADDRSTRLEN];
	inet_ntop(n->is_ipv6 ? AF_INET6 : AF_INET, n->address, address, sizeof address);
	if (n->prefix == width_of(n))
		snprintf(to, size, "%s", address);
	else
		snprintf(to, size, "%s/%u", address, n->prefix);
	return to;
}

/* IANA's registries of special addresses (RFC 6890), without those for documentation, which lead nowhere. */
static const struct mm_network private_blocks[] = {
	{ false, { 0 }, 8 }, { false, { 10 }, 8 }, { false, { 100, 64 }, 10 }, { false, { 127 }, 8 },
	{ false, { 169, 254 }, 16 }, { false, { 172, 16 }, 12 }, { false, { 192, 0, 0 }, 24 },
	{ false, { 192, 168 }, 16 }, { false, { 198, 18 }, 15 }, { false, { 224 }, 4 }, { false, { 240 }, 4 },
	{ true, { 0 }, 8 },                                     /* ::1, ::, IPv4 inside: 64:ff9b::/96 apart */
	{ true, { 0x01, 0x00 }, 64 },                           /* discard */
	{ true, { 0x20, 0x01, 0, 0 }, 32 }, { true, { 0x20, 0x02 }, 16 },       /* Teredo, 6to4: tunnels to IPv4 */
	{ true, { 0xfc }, 7 }, { true, { 0xfe, 0x80 }, 10 }, { true, { 0xfe, 0xc0 }, 10 }, { true, { 0xff }, 8 },
};

bool mm_network_is_private(const struct sockaddr *name)
{
	static const struct mm_network nat64 = { true, { 0, 0x64, 0xff, 0x9b }, 96 };
	const uint8_t *address = (const void *)&((const struct sockaddr_in *)(const void *)name)->sin_addr;
	size_t size = 4;
	if (name->sa_family == AF_INET6) {
		address = (const void *)&((const struct sockaddr_in6 *)(const void *)name)->sin6_addr;
		size = 16;
	} else if (name->sa_family != AF_INET) {
		return true;
	}
	if (size == 16 && mm_network_contains(&nat64, address, size)) {
		address += 12;
		size = 4;
	}
	for (size_t i = 0; i < sizeof private_blocks / sizeof *private_blocks; i++)
		if (mm_network_contains(&private_blocks[i], address, size))
			return true;
	return false;
}
