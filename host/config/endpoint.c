#include "config/endpoint.h"

#include "base/quote.h"
#include "base/suggest.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define FORMS "write unix:PATH, inet:PORT, inet:PORT@HOST, inet6:PORT@HOST, fd:N or systemd"

struct family_row {
	const char *prefix;
	int         family;
	const char *loopback;
	const char *any;
};

static const struct family_row families[] = {   /* ORDER ENDPOINT_KIND, from MM_ENDPOINT_INET on */
	{ "inet",  AF_INET,  "127.0.0.1", "0.0.0.0" },
	{ "inet6", AF_INET6, "::1",       "::" },
};

static const struct family_row *family_of(enum mm_endpoint_kind kind)
{
	return &families[kind - MM_ENDPOINT_INET];
}

__attribute__((format(printf, 3, 4)))
static bool refuse(struct mm_fault *why, const char *text, const char *format, ...)
{
	char reason[512];
	va_list args;
	va_start(args, format);
	vsnprintf(reason, sizeof reason, format, args);
	va_end(args);
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", mm_quote(text, strlen(text)).text, reason);
}

/* Digits only, without sign and blanks, which strtol() would accept. -1: not a number, or over max. */
static long number_of(const char *text, size_t size, long max)
{
	long value = 0;
	if (size == 0)
		return -1;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
		if (value > max)
			return -1;
	}
	return value;
}

/* ---- unix ---- */

/* Characters that main.cf or sendmail.mc would not read as part of the path. */
static const char *unfit(const char *path)
{
	for (; *path != '\0'; path++)
		if ((unsigned char)*path <= ' ' || *path == 0x7f || strchr(",`'\"${}", *path) != NULL)
			return path;
	return NULL;
}

static bool parse_path(const char *text, const char *path, struct mm_endpoint *out, struct mm_fault *why)
{
	size_t size = strlen(path);
	if (size == 0)
		return refuse(why, text, "the path is missing; write unix:/run/moonmilter/milter.sock");
	if (size > MM_UNIX_PATH_MAX)
		return refuse(why, text, "the path has %zu bytes; a unix socket's has at most %u, choose a "
			"shorter one", size, MM_UNIX_PATH_MAX);
	if (path[size - 1] == '/')
		return refuse(why, text, "this names a directory; add the name of the socket: %.100smilter.sock", path);
	const char *bad = unfit(path);
	if (bad != NULL)
		return refuse(why, text, "the path holds %s, which cannot be written in main.cf or sendmail.mc; choose "
			"another path", mm_quote(bad, 1).text);
	out->kind = MM_ENDPOINT_UNIX;
	memcpy(out->path, path, size + 1);
	return true;
}

/* ---- inet, inet6 ---- */

static bool parse_port(const char *text, const char *port, size_t size, struct mm_endpoint *out,
	struct mm_fault *why)
{
	if (size == 0)
		return refuse(why, text, "the port is missing; write inet:10025");
	long value = number_of(port, size, 65535);
	if (value < 1)
		return refuse(why, text, "port %s is not a number from 1 to 65535", mm_quote(port, size).text);
	out->port = (uint16_t)value;
	return true;
}

/* The address as inet_ntop() writes it, and the family that it has. */
static bool parse_address(const char *host, struct mm_endpoint *out)
{
	unsigned char address[16];
	for (int kind = MM_ENDPOINT_INET; kind <= MM_ENDPOINT_INET6; kind++) {
		int family = family_of((enum mm_endpoint_kind)kind)->family;
		if (inet_pton(family, host, address) != 1)
			continue;
		out->kind = (enum mm_endpoint_kind)kind;
		return inet_ntop(family, address, out->host, sizeof out->host) != NULL;
	}
	return false;
}

static bool parse_host(const char *text, const char *host, size_t size, struct mm_endpoint *out,
	struct mm_fault *why)
{
	enum mm_endpoint_kind asked = out->kind;
	bool in_brackets = size >= 2 && host[0] == '[' && host[size - 1] == ']';
	struct mm_quoted shown = mm_quote(host, size);
	if (in_brackets) {
		host++;
		size -= 2;
	}
	if (size == 0)
		return refuse(why, text, "the host is missing; write @127.0.0.1, @[::1], or leave \"@\" out for this "
			"machine only");
	char name[MM_ENDPOINT_HOST_SIZE] = "";
	if (size < sizeof name)
		memcpy(name, host, size);
	if (!in_brackets && strcmp(name, "localhost") == 0)
		strcpy(name, family_of(asked)->loopback);
	if (!in_brackets && strcmp(name, "*") == 0)
		strcpy(name, family_of(asked)->any);
	if (!parse_address(name, out))
		return refuse(why, text, "host %s is not a numeric address; write one such as 127.0.0.1 or [::1], "
			"\"localhost\" or \"*\": other names are not looked up, because that could block", shown.text);
	if (asked == MM_ENDPOINT_INET6 && out->kind == MM_ENDPOINT_INET)
		return refuse(why, text, "%s is an IPv4 address; write inet:%u@%s", shown.text, out->port, out->host);
	return true;
}

/* HOST:PORT or [ADDR]:PORT, as Postfix writes it. After an IPv6 address without brackets the port
 * cannot be recognised. */
static bool parse_postfix_order(const char *text, const char *rest, struct mm_endpoint *out, struct mm_fault *why)
{
	const char *colon = strrchr(rest, ':');
	const char *bracket = strrchr(rest, ']');
	if (colon == NULL || (bracket != NULL && bracket > colon))
		return refuse(why, text, "the port is missing; write inet:[ADDR]:PORT");
	size_t host_size = (size_t)(colon - rest);
	if (rest[0] != '[' && memchr(rest, ':', host_size) != NULL)
		return refuse(why, text, "an IPv6 address before a port needs brackets; write inet:[::1]:10025 or "
			"inet6:10025@::1");
	if (number_of(rest, host_size, 65535) > 0)
		return refuse(why, text, "the port comes first only before \"@\"; write %.*s@%.60s",
			(int)(colon - text), text, colon + 1);
	return parse_port(text, colon + 1, strlen(colon + 1), out, why) && parse_host(text, rest, host_size, out, why);
}

static bool parse_inet(const char *text, const char *rest, enum mm_endpoint_kind kind, struct mm_endpoint *out,
	struct mm_fault *why)
{
	out->kind = kind;
	const char *at = strchr(rest, '@');
	if (at != NULL)
		return parse_port(text, rest, (size_t)(at - rest), out, why)
			&& parse_host(text, at + 1, strlen(at + 1), out, why);
	if (strchr(rest, ':') != NULL || rest[0] == '[')
		return parse_postfix_order(text, rest, out, why);
	strcpy(out->host, family_of(kind)->loopback);
	return parse_port(text, rest, strlen(rest), out, why);
}

static bool parse_inet4(const char *text, const char *rest, struct mm_endpoint *out, struct mm_fault *why)
{
	return parse_inet(text, rest, MM_ENDPOINT_INET, out, why);
}

static bool parse_inet6(const char *text, const char *rest, struct mm_endpoint *out, struct mm_fault *why)
{
	return parse_inet(text, rest, MM_ENDPOINT_INET6, out, why);
}

/* ---- handed over ---- */

static bool parse_fd(const char *text, const char *rest, struct mm_endpoint *out, struct mm_fault *why)
{
	long fd = number_of(rest, strlen(rest), 1 << 20);
	if (fd < 0 || fd == 1 || fd == 2)
		return refuse(why, text, "%s is not a descriptor to listen on; write fd:3 for the first one handed "
			"over (1 and 2 are for output)", mm_quote(rest, strlen(rest)).text);
	out->kind = MM_ENDPOINT_FD;
	out->fd = (int)fd;
	return true;
}

static bool parse_systemd(const char *text, const char *rest, struct mm_endpoint *out, struct mm_fault *why)
{
	size_t size = strlen(rest);
	if (size == 0)
		return refuse(why, text, "the name is missing; write systemd:NAME with the NAME of "
			"FileDescriptorName=, or systemd for all sockets of the unit");
	if (size >= sizeof out->name)
		return refuse(why, text, "the name has %zu bytes; systemd allows %zu", size, sizeof out->name - 1);
	for (const char *c = rest; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f || *c == ':')
			return refuse(why, text, "the name holds %s; systemd allows ASCII without control "
				"bytes and \":\"", mm_quote(c, 1).text);
	out->kind = MM_ENDPOINT_SYSTEMD;
	memcpy(out->name, rest, size + 1);
	return true;
}

/* ---- all forms ---- */

struct form_row {
	const char *prefix;
	bool      (*parse)(const char *text, const char *rest, struct mm_endpoint *out, struct mm_fault *why);
};

static const struct form_row forms[] = {
	{ "unix",    parse_path },
	{ "local",   parse_path },
	{ "inet",    parse_inet4 },
	{ "inet6",   parse_inet6 },
	{ "fd",      parse_fd },
	{ "systemd", parse_systemd },
};
#define FORM_COUNT (sizeof forms / sizeof *forms)

static bool refuse_form(const char *text, size_t prefix_size, bool has_colon, struct mm_fault *why)
{
	static const char *const prefixes[] = { "unix", "local", "inet", "inet6", "fd", "systemd", "tcp", NULL };
	char prefix[MM_SUGGEST_LENGTH_MAX + 1] = "";
	if (number_of(text, prefix_size, 65535) > 0)
		return refuse(why, text, "the kind of socket is missing; did you mean inet:%.60s?", text);
	unsigned char address[4];
	if (prefix_size < sizeof prefix)
		memcpy(prefix, text, prefix_size);
	if (has_colon && inet_pton(AF_INET, prefix, address) == 1)
		return refuse(why, text, "the kind of socket is missing; did you mean inet:%.60s?", text);
	if (!has_colon && strchr(text, '/') != NULL)
		return refuse(why, text, "a path that does not begin with \"/\" needs its kind; did you mean "
			"unix:%.100s?", text);
	const char *meant = mm_suggest(prefix, prefixes);
	if (meant != NULL && strcmp(meant, "tcp") == 0)
		meant = "inet";
	if (meant != NULL)
		return refuse(why, text, "unknown kind of socket %s; did you mean \"%s\"?",
			mm_quote(text, prefix_size).text, meant);
	return refuse(why, text, "unknown kind of socket %s; " FORMS, mm_quote(text, prefix_size).text);
}

bool mm_endpoint_parse(const char *text, struct mm_endpoint *out, struct mm_fault *why)
{
	*out = (struct mm_endpoint){ .fd = -1 };
	if (text[0] == '\0')
		return refuse(why, text, "there is nowhere to listen; " FORMS);
	if (text[0] == '/')
		return parse_path(text, text, out, why);
	size_t prefix_size = strcspn(text, ":");
	bool has_colon = text[prefix_size] == ':';
	if (strcmp(text, "systemd") == 0) {
		out->kind = MM_ENDPOINT_SYSTEMD;
		return true;
	}
	for (size_t i = 0; i < FORM_COUNT; i++) {
		const struct form_row *row = &forms[i];
		if (strlen(row->prefix) == prefix_size && memcmp(row->prefix, text, prefix_size) == 0)
			return row->parse(text, text + prefix_size + has_colon, out, why);
	}
	return refuse_form(text, prefix_size, has_colon, why);
}

/* ---- printing ---- */

static char *text_unix(const struct mm_endpoint *s, char *to, size_t size)
{
	snprintf(to, size, "unix:%s", s->path);
	return to;
}

static char *text_inet(const struct mm_endpoint *s, char *to, size_t size)
{
	bool is_ipv6 = s->kind == MM_ENDPOINT_INET6;
	snprintf(to, size, "%s:%u@%s%s%s", family_of(s->kind)->prefix, s->port, is_ipv6 ? "[" : "", s->host,
		is_ipv6 ? "]" : "");
	return to;
}

static char *text_fd(const struct mm_endpoint *s, char *to, size_t size)
{
	snprintf(to, size, "fd:%d", s->fd);
	return to;
}

static char *text_systemd(const struct mm_endpoint *s, char *to, size_t size)
{
	snprintf(to, size, "systemd%s%s", s->name[0] != '\0' ? ":" : "", s->name);
	return to;
}

char *mm_endpoint_text(const struct mm_endpoint *s, char *to, size_t size)
{
	static char *(*const writers[])(const struct mm_endpoint *, char *, size_t) = {      /* ORDER ENDPOINT_KIND */
		text_unix, text_inet, text_inet, text_fd, text_systemd,
	};
	return writers[s->kind](s, to, size);
}

bool mm_endpoint_has_address(const struct mm_endpoint *s)
{
	return s->kind <= MM_ENDPOINT_INET6;
}

size_t mm_endpoint_address(const struct mm_endpoint *s, struct sockaddr_storage *out)
{
	struct sockaddr_un *un = (struct sockaddr_un *)out;
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	memset(out, 0, sizeof *out);
	switch (s->kind) {
	case MM_ENDPOINT_UNIX:
		*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
		strcpy(un->sun_path, s->path);
		return sizeof *un;
	case MM_ENDPOINT_INET:
		*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(s->port) };
		return inet_pton(AF_INET, s->host, &in->sin_addr) == 1 ? sizeof *in : 0;
	case MM_ENDPOINT_INET6:
		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(s->port) };
		return inet_pton(AF_INET6, s->host, &in6->sin6_addr) == 1 ? sizeof *in6 : 0;
	case MM_ENDPOINT_FD:
	case MM_ENDPOINT_SYSTEMD:
		break;
	}
	return 0;
}

bool mm_endpoint_is_everywhere(const struct mm_endpoint *s)
{
	return (s->kind == MM_ENDPOINT_INET || s->kind == MM_ENDPOINT_INET6)
		&& strcmp(s->host, family_of(s->kind)->any) == 0;
}

struct mm_endpoint mm_endpoint_reachable(const struct mm_endpoint *s)
{
	struct mm_endpoint r = *s;
	if (mm_endpoint_is_everywhere(s))
		strcpy(r.host, family_of(s->kind)->loopback);
	return r;
}

static const char queue[] = "/var/spool/postfix/";

bool mm_endpoint_is_beyond_chroot(const struct mm_endpoint *s)
{
	return s->kind == MM_ENDPOINT_UNIX && strncmp(s->path, queue, sizeof queue - 1) != 0;
}

char *mm_endpoint_postfix(const struct mm_endpoint *s, char *to, size_t size)
{
	to[0] = '\0';
	if (!mm_endpoint_has_address(s))
		return to;
	struct mm_endpoint r = mm_endpoint_reachable(s);
	/* Below the queue directory a relative path is right for Postfix with and without chroot
	 * (Debian's master.cf). */
	if (r.kind == MM_ENDPOINT_UNIX && strncmp(r.path, queue, sizeof queue - 1) == 0) {
		snprintf(to, size, "unix:%s", r.path + sizeof queue - 1);
		return to;
	}
	if (r.kind == MM_ENDPOINT_UNIX)
		return text_unix(&r, to, size);
	bool is_ipv6 = r.kind == MM_ENDPOINT_INET6;       /* Postfix says inet for both */
	snprintf(to, size, "inet:%s%s%s:%u", is_ipv6 ? "[" : "", r.host, is_ipv6 ? "]" : "", r.port);
	return to;
}

char *mm_endpoint_sendmail(const struct mm_endpoint *s, const char *name, double stage_deadline,
	double eom_deadline, char *to, size_t size)
{
	to[0] = '\0';
	if (!mm_endpoint_has_address(s))
		return to;
	struct mm_endpoint r = mm_endpoint_reachable(s);
	char where[MM_ENDPOINT_TEXT_SIZE];
	unsigned reply_seconds = stage_deadline > 8 ? (unsigned)stage_deadline + 3 : 10;
	unsigned eom_minutes = eom_deadline > 240 ? ((unsigned)eom_deadline + 119) / 60 : 5;
	snprintf(to, size, "INPUT_MAIL_FILTER(`%s', `S=%s, F=T, T=C:1m;S:10s;R:%us;E:%um')dnl", name,
		mm_endpoint_text(&r, where, sizeof where), reply_seconds, eom_minutes);
	return to;
}
