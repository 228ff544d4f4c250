#include "program/key_record.h"

#include "base/buffer.h"
#include "codec/encode.h"
#include "codec/idna.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRING_MAX = 255, TXT = 16, RESPONSE_MAX = 65535 };

/* ---- name and text ---- */

static bool is_label_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
		|| c == '-' || c == '_' || c == '.';
}

bool mm_key_name(const char *domain, const char *selector, char out[MM_KEY_NAME_SIZE], struct mm_fault *why)
{
	char ascii[MM_IDNA_BYTES];
	size_t made;
	const char *text = mm_idna_to_ascii(domain, strlen(domain), ascii, &made);
	if (text != NULL || memchr(ascii, '.', made) == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s is no domain name%s%s", domain,
			text != NULL ? ": " : "", text != NULL ? text : "");
	if (*selector == '\0' || strlen(selector) > 253)
		return mm_fault_set(why, MM_FAULT_CONFIG, "the selector is empty or too long");
	for (const char *c = selector; *c != '\0'; c++) {
		if (!is_label_byte(*c))
			return mm_fault_set(why, MM_FAULT_CONFIG,
				"%s is no selector; use letters, digits, \"-\" and \".\"", selector);
	}
	snprintf(out, MM_KEY_NAME_SIZE, "%s._domainkey.%.*s", selector, (int)made, ascii);
	return true;
}

/* -> bytes written, with a NUL after them */
static size_t base64(const unsigned char *in, size_t n, char *out)
{
	struct mm_encoder e;
	mm_encode_begin(&e, MM_BASE64, 0);
	size_t made = mm_encode_feed(&e, in, n, (unsigned char *)out);
	made += mm_encode_finish(&e, (unsigned char *)out + made);
	out[made] = '\0';
	return made;
}

static const char *kind_name(const struct mm_keypair *key)
{
	return mm_keypair_kind(key) == MM_KEY_ED25519 ? "ed25519" : "rsa";
}

static size_t public_text(const struct mm_keypair *key, char out[MM_KEY_RECORD_SIZE])
{
	unsigned char bytes[640];
	size_t n = mm_keypair_export(key, bytes, sizeof bytes);
	return n > 0 ? base64(bytes, n, out) : 0;
}

bool mm_key_record(const struct mm_keypair *key, char out[MM_KEY_RECORD_SIZE])
{
	char text[MM_KEY_RECORD_SIZE];
	if (public_text(key, text) == 0)
		return false;
	return snprintf(out, MM_KEY_RECORD_SIZE, "v=DKIM1; k=%s; p=%s", kind_name(key), text) < MM_KEY_RECORD_SIZE;
}

char *mm_key_zone_line(const char *name, const char *record)
{
	size_t n = strlen(record), room = strlen(name) + 2 * n + 64;
	char *line = malloc(room);
	if (line == NULL)
		return NULL;
	size_t made = (size_t)snprintf(line, room, "%s. IN TXT (", name);
	for (size_t at = 0; at < n; at += STRING_MAX)
		made += (size_t)snprintf(line + made, room - made, " \"%.*s\"", STRING_MAX, record + at);
	snprintf(line + made, room - made, " )\n");
	return line;
}

/* Copies the value of a tag without blanks. False: there is none. */
static bool tag_value(const char *record, size_t n, char tag, char *out, size_t room)
{
	const char *end = record + n;
	for (const char *p = record; p < end;) {
		const char *stop = memchr(p, ';', (size_t)(end - p));
		stop = stop == NULL ? end : stop;
		p += strspn(p, " \t\r\n");
		const char *equals = p < stop ? p + 1 + strspn(p + 1, " \t\r\n") : stop;
		if (p < stop && *p == tag && equals < stop && *equals == '=') {
			size_t made = 0;
			for (p = equals + 1; p < stop && made + 1 < room; p++) {
				if (strchr(" \t\r\n", *p) == NULL)
					out[made++] = *p;
			}
			out[made] = '\0';
			return true;
		}
		p = stop + 1;
	}
	return false;
}

bool mm_key_is_published(const char *record, size_t n, const struct mm_keypair *key)
{
	char copy[2 * MM_KEY_RECORD_SIZE], value[2 * MM_KEY_RECORD_SIZE], wanted[MM_KEY_RECORD_SIZE];
	if (n >= sizeof copy || public_text(key, wanted) == 0)
		return false;
	memcpy(copy, record, n);
	copy[n] = '\0';
	if (tag_value(copy, n, 'k', value, sizeof value) ? strcmp(value, kind_name(key)) != 0
		: mm_keypair_kind(key) != MM_KEY_RSA)
		return false;
	return tag_value(copy, n, 'p', value, sizeof value) && strcmp(value, wanted) == 0;
}

/* ---- DNS ---- */

static bool set_server(struct __res_state *state, const char *server, struct mm_fault *why)
{
	char host[64];
	const char *colon = strchr(server, ':');
	long port = colon != NULL ? strtol(colon + 1, NULL, 10) : 53;
	snprintf(host, sizeof host, "%.*s", (int)(colon != NULL ? colon - server : (long)strlen(server)), server);
	struct sockaddr_in *address = &state->nsaddr_list[0];
	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	if (port < 1 || port > 65535 || inet_pton(AF_INET, host, &address->sin_addr) != 1)
		return mm_fault_set(why, MM_FAULT_CONFIG,
			"%s is no name server; write 192.0.2.53 or 192.0.2.53:5353", server);
	state->nscount = 1;
	return true;
}

bool mm_key_look_up(const char *name, const char *server, struct mm_dns_answer *answer, struct mm_fault *why)
{
	static unsigned char bytes[RESPONSE_MAX];
	struct __res_state state = { 0 };
	*answer = (struct mm_dns_answer){ .code = MM_DNS_servfail };
	bool is_ready = res_ninit(&state) == 0;
	if (is_ready && server != NULL && !set_server(&state, server, why)) {
		res_nclose(&state);
		return false;
	}
	int n = is_ready ? res_nquery(&state, name, ns_c_in, TXT, bytes, sizeof bytes) : -1;
	if (n > 0)
		mm_dns_answer_read(answer, bytes, (size_t)n, TXT);
	else if (state.res_h_errno == HOST_NOT_FOUND)
		answer->code = MM_DNS_nxdomain;
	else if (state.res_h_errno == NO_DATA)
		answer->code = MM_DNS_nodata;
	res_nclose(&state);
	return true;
}
