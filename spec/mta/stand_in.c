/*
 * A filter on libmilter that follows orders in a message: the known quantity that proves the harness for real MTAs, and
 * the reference for moonmilter's outcomes. stand_in.lua is the same filter for moonmilter.
 *
 *   stand_in inet:PORT@127.0.0.1
 *
 * The places of the orders:
 *   connect   client address 127.0.0.2 reject, .3 tempfail, .4 accept, .5 reply 550, .6 reply 451, .7 reply 421
 *   helo      name        "helo.VERDICT.anything"
 *   mail      sender      "mail.VERDICT@anything"
 *   rcpt      recipient   "rcpt.VERDICT@anything"; "data.VERDICT@anything" is carried out at DATA
 *   header, eoh, body, eom   header fields "X-Do: STAGE ORDER [ARGUMENT...]", in order
 *
 * VERDICT: continue reject tempfail discard accept skip reply550 reply451 reply421 lines (three lines of 550)
 * ORDER is a VERDICT, or "reply CODE XCODE LINE|LINE...", or an edit (eom only):
 *   add NAME VALUE   insert INDEX NAME VALUE   change N NAME VALUE   delete N NAME   from ADDRESS [ARGUMENTS]
 *   addrcpt ADDRESS [ARGUMENTS]   delrcpt ADDRESS   body TEXT   bigbody BYTES   quarantine REASON   progress
 *   sleep SECONDS   facts (adds X-Facts-* fields that show what the filter saw)
 * In VALUE and TEXT "\n" means LF, or CRLF in a body.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#define ORDERS 64
#define TEXT 4096

/* The state of one SMTP session; the message's part is cleared at MAIL. */
struct session {
	char client[TEXT];
	char helo[TEXT];
	char sender[TEXT];
	char recipients[TEXT];
	char data_verdict[TEXT];
	char *orders[ORDERS];
	int order_count;
	int header_count;
	long body_size;
};

static void note(SMFICTX *ctx, const char *event, const char *detail)
{
	printf("%p %s%s%s\n", (void *)ctx, event, *detail ? " " : "", detail);
}

static void put(char into[TEXT], const char *text)
{
	snprintf(into, TEXT, "%s", text ? text : "");
}

static void append(char into[TEXT], const char *text)
{
	size_t used = strlen(into);

	snprintf(into + used, TEXT - used, "%s%s", used ? " " : "", text);
}

static void clear_message(struct session *s)
{
	for (int i = 0; i < s->order_count; i++)
		free(s->orders[i]);
	s->order_count = 0;
	s->header_count = 0;
	s->body_size = 0;
	s->recipients[0] = s->sender[0] = s->data_verdict[0] = 0;
}

/* Replaces "\n" by a line end. */
static void unescape(char *into, const char *text, const char *line_end)
{
	while (*text) {
		if (text[0] == '\\' && text[1] == 'n') {
			into += sprintf(into, "%s", line_end);
			text += 2;
		} else {
			*into++ = *text++;
		}
	}
	*into = 0;
}

/* Takes the next word off *text. */
static char *word(char **text)
{
	return strsep(text, " ");
}

/* "CODE XCODE LINE|LINE..." */
static sfsistat custom_reply(SMFICTX *ctx, char *arguments)
{
	char *code = word(&arguments), *xcode = word(&arguments);
	char *line[4] = { NULL, NULL, NULL, NULL };
	int count = 0;

	while (count < 4 && arguments)
		line[count++] = strsep(&arguments, "|");
	if (count < 2)
		smfi_setreply(ctx, code, xcode, line[0]);
	else
		smfi_setmlreply(ctx, code, xcode, line[0], line[1], line[2], line[3], NULL);
	return *code == '4' ? SMFIS_TEMPFAIL : SMFIS_REJECT;
}

static int verdict_of(SMFICTX *ctx, const char *name, sfsistat *verdict)
{
	static const struct { const char *name; sfsistat verdict; const char *reply; } table[] = {
		{ "continue", SMFIS_CONTINUE, NULL },
		{ "reject", SMFIS_REJECT, NULL },
		{ "tempfail", SMFIS_TEMPFAIL, NULL },
		{ "discard", SMFIS_DISCARD, NULL },
		{ "accept", SMFIS_ACCEPT, NULL },
		{ "skip", SMFIS_SKIP, NULL },
		{ "reply550", SMFIS_REJECT, "550 5.7.1 not wanted here" },
		{ "reply451", SMFIS_TEMPFAIL, "451 4.7.1 come back later" },
		{ "reply421", SMFIS_TEMPFAIL, "421 4.7.1 going away" },
		{ "lines", SMFIS_REJECT, "550 5.7.1 first line|second line|third line" },
	};
	char arguments[TEXT];

	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (strcmp(name, table[i].name) != 0)
			continue;
		*verdict = table[i].verdict;
		if (table[i].reply) {
			put(arguments, table[i].reply);
			custom_reply(ctx, arguments);
		}
		return 1;
	}
	return 0;
}

/* The verdict in "<stage.VERDICT@...>" or "stage.VERDICT.example"; none is "continue". */
static sfsistat verdict_in(SMFICTX *ctx, const char *text, const char *stage)
{
	sfsistat verdict = SMFIS_CONTINUE;
	char name[TEXT];
	size_t length = strlen(stage);

	text += *text == '<';
	if (strncmp(text, stage, length) == 0 && text[length] == '.') {
		put(name, text + length + 1);
		name[strcspn(name, "@.>")] = 0;
		verdict_of(ctx, name, &verdict);
	}
	return verdict;
}

static void add_fact(SMFICTX *ctx, const char *name, const char *value)
{
	char field[TEXT];

	snprintf(field, sizeof field, "X-Facts-%s", name);
	smfi_addheader(ctx, field, (char *)(value && *value ? value : "-"));
}

static void add_facts(SMFICTX *ctx, struct session *s)
{
	char number[64];

	add_fact(ctx, "Client", s->client);
	add_fact(ctx, "Helo", s->helo);
	add_fact(ctx, "Sender", s->sender);
	add_fact(ctx, "Recipients", s->recipients);
	snprintf(number, sizeof number, "%d", s->header_count);
	add_fact(ctx, "Headers", number);
	snprintf(number, sizeof number, "%ld", s->body_size);
	add_fact(ctx, "Body", number);
	add_fact(ctx, "Queue-Id", smfi_getsymval(ctx, "i"));
}

static int replace_by_size(SMFICTX *ctx, long size)
{
	static const char line[] = "0123456789012345678901234567890123456789012345678901234567890123456789012345678\r\n";
	size_t width = sizeof line - 1;
	char *body = malloc(size + width);
	int status;

	for (long i = 0; i < size; i += width)
		memcpy(body + i, line, width);
	size -= size % width;
	status = smfi_replacebody(ctx, (unsigned char *)body, size);
	free(body);
	return status;
}

static int edit(SMFICTX *ctx, struct session *s, const char *order, char *arguments)
{
	char value[2 * TEXT], *first, *second;

	if (strcmp(order, "add") == 0) {
		first = word(&arguments);
		unescape(value, arguments ? arguments : "", "\n");
		return smfi_addheader(ctx, first, value);
	}
	if (strcmp(order, "insert") == 0 || strcmp(order, "change") == 0) {
		first = word(&arguments);
		second = word(&arguments);
		unescape(value, arguments ? arguments : "", "\n");
		return *order == 'i' ? smfi_insheader(ctx, atoi(first), second, value) :
			smfi_chgheader(ctx, second, atoi(first), value);
	}
	if (strcmp(order, "delete") == 0) {
		first = word(&arguments);
		return smfi_chgheader(ctx, arguments, atoi(first), NULL);
	}
	if (strcmp(order, "from") == 0) {
		first = word(&arguments);
		return smfi_chgfrom(ctx, first, arguments);
	}
	if (strcmp(order, "addrcpt") == 0) {
		first = word(&arguments);
		return arguments ? smfi_addrcpt_par(ctx, first, arguments) : smfi_addrcpt(ctx, first);
	}
	if (strcmp(order, "delrcpt") == 0)
		return smfi_delrcpt(ctx, arguments);
	if (strcmp(order, "body") == 0) {
		unescape(value, arguments ? arguments : "", "\r\n");
		return smfi_replacebody(ctx, (unsigned char *)value, strlen(value));
	}
	if (strcmp(order, "bigbody") == 0)
		return replace_by_size(ctx, atol(arguments));
	if (strcmp(order, "quarantine") == 0)
		return smfi_quarantine(ctx, arguments);
	if (strcmp(order, "progress") == 0)
		return smfi_progress(ctx);
	if (strcmp(order, "sleep") == 0)
		return usleep((useconds_t)(atof(arguments) * 1e6)) ? MI_FAILURE : MI_SUCCESS;
	if (strcmp(order, "facts") == 0) {
		add_facts(ctx, s);
		return MI_SUCCESS;
	}
	return MI_FAILURE;
}

/* Carries out one "STAGE ORDER ..." if it is for this stage; 1 when it is a verdict. */
static int carry_out(SMFICTX *ctx, struct session *s, const char *text, const char *stage, sfsistat *verdict)
{
	char copy[TEXT], *rest = copy, *order;

	put(copy, text);
	if (strcmp(word(&rest), stage) != 0)
		return 0;
	order = word(&rest);
	if (strcmp(order, "reply") == 0) {
		*verdict = custom_reply(ctx, rest);
		return 1;
	}
	if (verdict_of(ctx, order, verdict))
		return 1;
	if (edit(ctx, s, order, rest) != MI_SUCCESS)
		note(ctx, "failed", text);
	return 0;
}

static sfsistat carry_out_all(SMFICTX *ctx, const char *stage)
{
	struct session *s = smfi_getpriv(ctx);
	sfsistat verdict = SMFIS_CONTINUE;

	note(ctx, stage, "");
	for (int i = 0; i < s->order_count; i++)
		if (carry_out(ctx, s, s->orders[i], stage, &verdict))
			break;
	return verdict;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	static const char *by_last_byte[] = { "", "", "reject", "tempfail", "accept", "reply550", "reply451", "reply421" };
	struct session *s = calloc(1, sizeof *s);
	sfsistat verdict = SMFIS_CONTINUE;
	char text[INET6_ADDRSTRLEN] = "unknown";

	smfi_setpriv(ctx, s);
	if (address && address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;
		unsigned last = ntohl(in->sin_addr.s_addr) & 0xff;

		inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
		if (last < sizeof by_last_byte / sizeof *by_last_byte)
			verdict_of(ctx, by_last_byte[last], &verdict);
	}
	snprintf(s->client, sizeof s->client, "%s %s", host, text);
	note(ctx, "connect", s->client);
	return verdict;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	struct session *s = smfi_getpriv(ctx);

	note(ctx, "helo", name);
	put(s->helo, name);
	return verdict_in(ctx, name, "helo");
}

static sfsistat on_mail(SMFICTX *ctx, char **arguments)
{
	struct session *s = smfi_getpriv(ctx);

	note(ctx, "mail", arguments[0]);
	clear_message(s);
	for (int i = 0; arguments[i]; i++)
		append(s->sender, arguments[i]);
	return verdict_in(ctx, arguments[0], "mail");
}

static sfsistat on_rcpt(SMFICTX *ctx, char **arguments)
{
	struct session *s = smfi_getpriv(ctx);

	note(ctx, "rcpt", arguments[0]);
	for (int i = 0; arguments[i]; i++)
		append(s->recipients, arguments[i]);
	if (strncmp(arguments[0], "<data.", 6) == 0)
		put(s->data_verdict, arguments[0]);
	return verdict_in(ctx, arguments[0], "rcpt");
}

static sfsistat on_data(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	note(ctx, "data", "");
	return verdict_in(ctx, s->data_verdict, "data");
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	struct session *s = smfi_getpriv(ctx);
	sfsistat verdict = SMFIS_CONTINUE;

	note(ctx, "header", name);
	s->header_count++;
	if (strcasecmp(name, "X-Do") == 0 && s->order_count < ORDERS) {
		s->orders[s->order_count++] = strdup(value);
		carry_out(ctx, s, value, "header", &verdict);
	}
	return verdict;
}

static sfsistat on_eoh(SMFICTX *ctx)
{
	return carry_out_all(ctx, "eoh");
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t size)
{
	struct session *s = smfi_getpriv(ctx);

	(void)chunk;
	s->body_size += size;
	return carry_out_all(ctx, "body");
}

static sfsistat on_eom(SMFICTX *ctx)
{
	return carry_out_all(ctx, "eom");
}

static sfsistat on_unknown(SMFICTX *ctx, const char *command)
{
	note(ctx, "unknown", command);
	return strncmp(command, "XREJECT", 7) == 0 ? SMFIS_REJECT : SMFIS_CONTINUE;
}

static sfsistat on_abort(SMFICTX *ctx)
{
	note(ctx, "abort", "");
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	note(ctx, "close", "");
	if (s) {
		clear_message(s);
		free(s);
		smfi_setpriv(ctx, NULL);
	}
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc filter = {
		.xxfi_name = "stand_in",
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR |
			SMFIF_DELRCPT | SMFIF_CHGFROM | SMFIF_QUARANTINE,
		.xxfi_connect = on_connect,
		.xxfi_helo = on_helo,
		.xxfi_envfrom = on_mail,
		.xxfi_envrcpt = on_rcpt,
		.xxfi_data = on_data,
		.xxfi_header = on_header,
		.xxfi_eoh = on_eoh,
		.xxfi_body = on_body,
		.xxfi_eom = on_eom,
		.xxfi_unknown = on_unknown,
		.xxfi_abort = on_abort,
		.xxfi_close = on_close,
	};

	if (argc != 2) {
		fprintf(stderr, "usage: stand_in SOCKET\n");
		return 64;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (smfi_register(filter) != MI_SUCCESS || smfi_setconn(argv[1]) != MI_SUCCESS ||
	    smfi_opensocket(1) != MI_SUCCESS) {
		fprintf(stderr, "stand_in: cannot listen on %s\n", argv[1]);
		return 69;
	}
	printf("listening on %s\n", argv[1]);
	return smfi_main() == MI_SUCCESS ? 0 : 70;
}
