/*
 * A sample filter on libmilter, of the usual kind: one struct for the connection, a temporary file for the message, a
 * reply for some recipients, fields at the end. examples/embed-sample.c does the same on moonmilter.h.
 *
 *   sample inet:PORT@127.0.0.1
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include <libmilter/mfapi.h>

struct state {
	FILE    *file;
	unsigned recipients;
	int      is_refused;
};

static void forget(struct state *s)
{
	if (s->file != NULL)
		fclose(s->file);
	memset(s, 0, sizeof *s);
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	char text[INET6_ADDRSTRLEN] = "-";
	if (address != NULL && address->sa_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)address)->sin_addr, text, sizeof text);
	else if (address != NULL && address->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
	printf("connect %s %s\n", host, text);
	smfi_setpriv(ctx, calloc(1, sizeof(struct state)));
	return SMFIS_CONTINUE;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	(void)ctx;
	printf("helo %s\n", name);
	return SMFIS_CONTINUE;
}

/* "<ann@one.example>" -> "ann@one.example" */
static const char *bare(char *address)
{
	size_t size = strlen(address);
	if (size >= 2 && address[0] == '<' && address[size - 1] == '>') {
		address[size - 1] = '\0';
		return address + 1;
	}
	return address;
}

static sfsistat on_mail(SMFICTX *ctx, char **words)
{
	struct state *s = smfi_getpriv(ctx);
	forget(s);
	s->file = tmpfile();
	printf("mail %s\n", bare(words[0]));
	return s->file != NULL ? SMFIS_CONTINUE : SMFIS_TEMPFAIL;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **words)
{
	struct state *s = smfi_getpriv(ctx);
	const char *recipient = bare(words[0]);
	printf("rcpt %s\n", recipient);
	if (strncmp(recipient, "nobody@", 7) == 0) {
		smfi_setreply(ctx, "550", "5.1.1", "There is no such user here");
		return SMFIS_REJECT;
	}
	s->recipients++;
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	struct state *s = smfi_getpriv(ctx);
	fprintf(s->file, "%s: %s\r\n", name, value);
	printf("header %s\n", name);
	s->is_refused |= strcasecmp(name, "Subject") == 0 && strstr(value, "make money fast") != NULL;
	return SMFIS_CONTINUE;
}

static sfsistat on_eoh(SMFICTX *ctx)
{
	struct state *s = smfi_getpriv(ctx);
	fputs("\r\n", s->file);
	printf("end of header\n");
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *bytes, size_t size)
{
	struct state *s = smfi_getpriv(ctx);
	fwrite(bytes, 1, size, s->file);
	return SMFIS_CONTINUE;
}

static sfsistat on_eom(SMFICTX *ctx)
{
	struct state *s = smfi_getpriv(ctx);
	char text[64];
	long size = ftell(s->file);
	printf("end of message: %ld bytes for %u\n", size, s->recipients);
	if (s->is_refused) {
		smfi_setmlreply(ctx, "554", "5.7.1", "We do not want this,", "100 %% sure", NULL);
		forget(s);
		return SMFIS_REJECT;
	}
	snprintf(text, sizeof text, "%ld bytes", size);
	smfi_addheader(ctx, "X-Sample-Size", text);
	smfi_chgheader(ctx, "X-Sample-Remove", 1, NULL);
	smfi_insheader(ctx, 0, "X-Sample", "seen");
	forget(s);
	return SMFIS_CONTINUE;
}

/* Called after a final reply, too, when the MTA says that the message is over. */
static sfsistat on_abort(SMFICTX *ctx)
{
	struct state *s = smfi_getpriv(ctx);
	if (s == NULL || s->file == NULL)
		return SMFIS_CONTINUE;
	printf("abort\n");
	forget(s);
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	struct state *s = smfi_getpriv(ctx);
	if (s == NULL)                  /* there was no connect */
		return SMFIS_CONTINUE;
	printf("close\n");
	forget(s);
	free(s);
	smfi_setpriv(ctx, NULL);
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc description = {
		.xxfi_name = "sample", .xxfi_version = SMFI_VERSION, .xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS,
		.xxfi_connect = on_connect, .xxfi_helo = on_helo, .xxfi_envfrom = on_mail, .xxfi_envrcpt = on_rcpt,
		.xxfi_header = on_header, .xxfi_eoh = on_eoh, .xxfi_body = on_body, .xxfi_eom = on_eom,
		.xxfi_abort = on_abort, .xxfi_close = on_close,
	};
	if (argc != 2 || smfi_setconn(argv[1]) == MI_FAILURE || smfi_register(description) == MI_FAILURE
	    || smfi_opensocket(1) == MI_FAILURE)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("listening on %s\n", argv[1]);
	return smfi_main() == MI_SUCCESS ? 0 : 1;
}
