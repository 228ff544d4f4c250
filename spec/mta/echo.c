/*
 * A filter on libmilter that changes nothing and records all that it receives; echo.lua is the same filter for
 * moonmilter. One line per event: "ECHO SESSION EVENT TEXT...", bytes that are not printable ASCII as \xHH.
 *
 *   echo inet:PORT@127.0.0.1
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <libmilter/mfapi.h>

static const char *const macros[] = {
	"j", "_", "i", "v", "{daemon_name}", "{daemon_addr}", "{if_name}", "{if_addr}", "{mail_addr}", "{mail_host}",
	"{mail_mailer}", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}", "{auth_type}", "{auth_authen}", "{auth_author}",
	"{auth_ssf}", "{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}", "{msg_id}", NULL
};

/* A line under construction. */
struct line {
	char  *text;
	size_t size, capacity;
};

static void put(struct line *l, const char *bytes, size_t n)
{
	if (l->size + n + 1 > l->capacity) {
		l->capacity = (l->size + n + 1) * 2;
		l->text = realloc(l->text, l->capacity);
		if (l->text == NULL)
			abort();
	}
	memcpy(l->text + l->size, bytes, n);
	l->size += n;
}

static void put_escaped(struct line *l, const char *text)
{
	char code[8];

	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c > ' ' && *c < 0x7f && *c != '\\')
			put(l, (const char *)c, 1);
		else
			put(l, code, (size_t)sprintf(code, "\\x%02X", *c));
	}
}

static void put_macros(struct line *l, SMFICTX *ctx)
{
	for (int n = 0; macros[n]; n++) {
		const char *value = smfi_getsymval(ctx, (char *)macros[n]);
		if (!value)
			continue;
		put(l, " ", 1);
		put(l, macros[n], strlen(macros[n]));
		put(l, "=", 1);
		put_escaped(l, value);
	}
}

/* One event: the texts up to NULL, then the macros. */
static void note(SMFICTX *ctx, const char *event, int with_macros, ...)
{
	struct line l = { NULL, 0, 0 };
	char head[64];
	va_list texts;

	put(&l, "ECHO ", 5);
	put(&l, head, (size_t)snprintf(head, sizeof head, "%p %s", smfi_getpriv(ctx), event));
	va_start(texts, with_macros);
	for (const char *text; (text = va_arg(texts, const char *)) != NULL;) {
		put(&l, " ", 1);
		put_escaped(&l, text);
	}
	va_end(texts);
	if (with_macros) {
		put(&l, " |", 2);
		put_macros(&l, ctx);
	}
	put(&l, "\n", 1);
	flockfile(stdout);
	fwrite(l.text, 1, l.size, stdout);
	fflush(stdout);
	funlockfile(stdout);
	free(l.text);
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
	unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
	/* what moonmilter asks for when a script names all of them */
	smfi_setsymlist(ctx, SMFIM_CONNECT, "j _ {daemon_name} {if_name} {if_addr} {daemon_addr} v");
	smfi_setsymlist(ctx, SMFIM_ENVFROM, "i {auth_type} {auth_authen} {auth_ssf} {auth_author} {mail_mailer} {mail_host} "
		"{mail_addr}");
	smfi_setsymlist(ctx, SMFIM_EOH, "i");
	smfi_setsymlist(ctx, SMFIM_EOM, "{msg_id} i");
	(void)f0, (void)f1, (void)f2, (void)f3, (void)pf0, (void)pf1, (void)pf2, (void)pf3;
	return SMFIS_ALL_OPTS;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	static unsigned long sessions;
	char text[128] = "-";
	const char *family = "unknown", *port = "-";

	smfi_setpriv(ctx, (void *)__atomic_add_fetch(&sessions, 1, __ATOMIC_RELAXED));
	if (address && address->sa_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)address;
		family = "inet";
		port = in->sin_port ? "port" : "0";
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
	} else if (address && address->sa_family == AF_INET6) {
		struct sockaddr_in6 *in = (struct sockaddr_in6 *)address;
		family = "inet6";
		port = in->sin6_port ? "port" : "0";
		inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
	}
	note(ctx, "connect", 1, host, family, text, port, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	note(ctx, "helo", 1, name, NULL);
	return SMFIS_CONTINUE;
}

/* Address and parameters in one text; a dozen at most. */
static const char *joined(char **argv, char *into, size_t size)
{
	into[0] = 0;
	for (; *argv; argv++)
		snprintf(into + strlen(into), size - strlen(into), "%s\n", *argv);
	return into;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
	char text[8192];

	note(ctx, "mail", 1, joined(argv, text, sizeof text), NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
	char text[8192];

	note(ctx, "rcpt", 1, joined(argv, text, sizeof text), NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
	note(ctx, "data", 1, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	note(ctx, "header", 0, name, value, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_eoh(SMFICTX *ctx)
{
	note(ctx, "eoh", 1, NULL);
	return SMFIS_CONTINUE;
}

/* FNV-1a, 32 bits. */
static sfsistat on_body(SMFICTX *ctx, unsigned char *bytes, size_t n)
{
	unsigned hash = 2166136261u;
	char text[64];

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	snprintf(text, sizeof text, "%zu %08x", n, hash);
	note(ctx, "body", 0, text, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_eom(SMFICTX *ctx)
{
	note(ctx, "eom", 1, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_abort(SMFICTX *ctx)
{
	note(ctx, "abort", 0, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_unknown(SMFICTX *ctx, const char *command)
{
	note(ctx, "unknown", 0, command, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	if (smfi_getpriv(ctx) != NULL)
		note(ctx, "close", 0, NULL);
	smfi_setpriv(ctx, NULL);
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	static struct smfiDesc filter = {
		.xxfi_name = "echo", .xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY,
		.xxfi_connect = on_connect, .xxfi_helo = on_helo, .xxfi_envfrom = on_mail, .xxfi_envrcpt = on_rcpt,
		.xxfi_header = on_header, .xxfi_eoh = on_eoh, .xxfi_body = on_body, .xxfi_eom = on_eom, .xxfi_abort = on_abort,
		.xxfi_close = on_close, .xxfi_unknown = on_unknown, .xxfi_data = on_data, .xxfi_negotiate = on_negotiate,
	};

	if (argc != 2 || smfi_setconn(argv[1]) == MI_FAILURE || smfi_register(filter) == MI_FAILURE) {
		fprintf(stderr, "usage: echo SOCKET\n");
		return 64;
	}
	if (smfi_opensocket(1) == MI_FAILURE)
		return 71;
	printf("listening on %s\n", argv[1]);
	fflush(stdout);
	return smfi_main() == MI_SUCCESS ? 0 : 70;
}
