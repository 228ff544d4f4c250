#include "mta/mta.h"

#include "base/bounds.h"

#include <stdio.h>
#include <strings.h>

static const struct mm_reply_row rows[] = {
#define X(letter, name, is_final, carries) { letter, #name, is_final, carries },
	MM_REPLIES(X)
#undef X
};

const struct mm_reply_row *mm_reply_row(uint8_t letter)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].letter == letter)
			return &rows[i];
	return NULL;
}

uint32_t mm_mta_action_of(uint8_t letter)
{
	switch (letter) {                       /* protocol 4.2 */
	case SMFIR_ADDHEADER:
	case SMFIR_INSHEADER:   return SMFIF_ADDHDRS;
	case SMFIR_REPLBODY:    return SMFIF_CHGBODY;
	case SMFIR_ADDRCPT:     return SMFIF_ADDRCPT;
	case SMFIR_DELRCPT:     return SMFIF_DELRCPT;
	case SMFIR_CHGHEADER:   return SMFIF_CHGHDRS;
	case SMFIR_QUARANTINE:  return SMFIF_QUARANTINE;
	case SMFIR_CHGFROM:     return SMFIF_CHGFROM;
	case SMFIR_ADDRCPT_PAR: return SMFIF_ADDRCPT_PAR;
	default:                return 0;
	}
}

void mm_mta_init(struct mm_mta *m, const struct mm_offer *offer)
{
	*m = (struct mm_mta){ .offer = *offer };
}

void mm_mta_free(struct mm_mta *m)
{
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		mm_buffer_free(&m->lists[set]);
}

/* ---- sending ---- */

/* Starts a packet whose length end() fills in; when memory runs out on the way, out is left unchanged. */
static size_t begin(struct mm_buffer *out, uint8_t letter)
{
	size_t start = out->size;
	mm_buffer_append_u32(out, 0);
	mm_buffer_append_u8(out, letter);
	return start;
}

static void end(struct mm_buffer *out, size_t start)
{
	if (out->failed) {
		out->size = start;
		return;
	}
	uint32_t length = (uint32_t)(out->size - start - 4);
	for (int i = 0; i < 4; i++)
		out->bytes[start + i] = (uint8_t)(length >> (24 - 8 * i));
}

void mm_mta_write_offer(struct mm_buffer *out, const struct mm_offer *offer)
{
	size_t start = begin(out, SMFIC_OPTNEG);
	mm_buffer_append_u32(out, offer->version);
	mm_buffer_append_u32(out, offer->actions);
	mm_buffer_append_u32(out, offer->steps);
	end(out, start);
}

void mm_mta_write_macros(struct mm_buffer *out, uint8_t letter, const struct mm_text *pairs, size_t count)
{
	size_t start = begin(out, SMFIC_MACRO);
	mm_buffer_append_u8(out, letter);
	for (size_t i = 0; i < count; i++)
		mm_buffer_append_text(out, pairs[i].bytes, pairs[i].size);
	end(out, start);
}

void mm_mta_write_connect(struct mm_buffer *out, struct mm_text host, enum mm_family family, uint16_t port,
	struct mm_text address)
{
	static const uint8_t letters[] = {      /* ORDER FAMILY */
#define X(name, letter, word) [MM_FAMILY_##name] = letter,
		MM_FAMILIES(X)
#undef X
	};
	size_t start = begin(out, SMFIC_CONNECT);
	mm_buffer_append_text(out, host.bytes, host.size);
	mm_buffer_append_u8(out, letters[family]);
	if (family != MM_FAMILY_UNKNOWN) {
		mm_buffer_append_u8(out, (uint8_t)(port >> 8));
		mm_buffer_append_u8(out, (uint8_t)port);
		mm_buffer_append_text(out, address.bytes, address.size);
	}
	end(out, start);
}

void mm_mta_write_text(struct mm_buffer *out, uint8_t letter, struct mm_text text)
{
	size_t start = begin(out, letter);
	mm_buffer_append_text(out, text.bytes, text.size);
	end(out, start);
}

void mm_mta_write_address(struct mm_buffer *out, uint8_t letter, struct mm_text address, struct mm_text strings)
{
	size_t start = begin(out, letter);
	mm_buffer_append_text(out, address.bytes, address.size);
	mm_buffer_append(out, strings.bytes, strings.size);
	end(out, start);
}

void mm_mta_write_field(const struct mm_mta *m, struct mm_buffer *out, struct mm_text name, struct mm_text value)
{
	if (!(m->agreed.steps & SMFIP_HDR_LEADSPC) && value.size > 0 && value.bytes[0] == ' ') {
		value.bytes++;
		value.size--;
	}
	size_t start = begin(out, SMFIC_HEADER);
	mm_buffer_append_text(out, name.bytes, name.size);
	mm_buffer_append_text(out, value.bytes, value.size);
	end(out, start);
}

void mm_mta_write_bytes(struct mm_buffer *out, uint8_t letter, const void *bytes, size_t n)
{
	mm_frame_write(out, letter, bytes, n);
}

/* ---- negotiation ---- */

static int set_of_number(uint32_t number)
{
	static const uint32_t numbers[] = {     /* ORDER MACRO_SET */
#define X(name, letter, number) number,
		MM_MACRO_SETS(X)
#undef X
	};
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		if (numbers[set] == number)
			return set;
	return -1;
}

static uint32_t count_names(struct mm_text list)
{
	uint32_t count = 0;
	for (size_t i = 0; i < list.size; i++)
		count += list.bytes[i] != ' ' && (i == 0 || list.bytes[i - 1] == ' ');
	return count;
}

static bool agree_on_lists(struct mm_mta *m, struct mm_text lists, struct mm_fault *why)
{
	struct mm_cursor c = mm_cursor_over(lists.bytes, lists.size);
	while (c.left > 0) {
		uint32_t number = mm_cursor_u32(&c);
		struct mm_text names = mm_cursor_text(&c);
		if (c.failed)
			return mm_fault_set(why, MM_FAULT_PEER, "OPTNEG: a macro list is cut short; Postfix closes "
				"the connection");
		int set = set_of_number(number);
		if (set < 0)
			return mm_fault_set(why, MM_FAULT_PEER, "OPTNEG: macro list for stage %u; stages "
				"are 0 to 6", number);
		if (count_names(names) > MM_MACRO_LIST_MAX)
			return mm_fault_set(why, MM_FAULT_PEER, "OPTNEG: %u macros for stage %u; Sendmail takes %u",
				count_names(names), number, MM_MACRO_LIST_MAX);
		m->has_list[set] = true;
		mm_buffer_clear(&m->lists[set]);
		mm_buffer_append(&m->lists[set], names.bytes, names.size);
		if (m->lists[set].failed)
			return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a macro list");
	}
	return true;
}

bool mm_mta_agree(struct mm_mta *m, const struct mm_mta_reply *r, struct mm_fault *why)
{
	const struct mm_offer *o = &r->offer;
	if (r->row->letter != SMFIR_OPTNEG)
		return mm_fault_set(why, MM_FAULT_PEER, "%s: an offer is answered with OPTNEG", r->row->name);
	if (o->version < MM_PROTOCOL_MIN || o->version > m->offer.version)
		return mm_fault_set(why, MM_FAULT_PEER, "OPTNEG: the answer is version %u; it must be "
			"%u to %u", o->version, MM_PROTOCOL_MIN, m->offer.version);
	if (o->actions & ~m->offer.actions)
		return mm_fault_set(why, MM_FAULT_PEER, "OPTNEG: actions 0x%x were not offered; Postfix and "
			"Sendmail close", o->actions & ~m->offer.actions);
	if (o->steps & ~m->offer.steps)
		return mm_fault_set(why, MM_FAULT_PEER, "OPTNEG: steps 0x%x were not offered; Sendmail closes",
			o->steps & ~m->offer.steps);
	m->agreed = *o;
	m->is_negotiated = true;
	return agree_on_lists(m, r->lists, why);
}

bool mm_mta_sends(const struct mm_mta *m, uint8_t letter)
{
	const struct mm_command_row *row = mm_command_row(letter);
	if (row == NULL || row->no_step & m->agreed.steps)
		return false;
	switch (letter) {                       /* protocol 2.1 "since" */
	case SMFIC_UNKNOWN: return m->agreed.version >= 3;
	case SMFIC_DATA: return m->agreed.version >= 4;
	case SMFIC_QUIT_NC: return m->agreed.version >= 6;
	default:  return true;
	}
}

bool mm_mta_waits(const struct mm_mta *m, uint8_t letter)
{
	const struct mm_command_row *row = mm_command_row(letter);
	return row != NULL && row->is_answered && !(row->no_reply & m->agreed.steps);
}

/* ---- decoding ---- */

static bool bad(struct mm_fault *why, const struct mm_mta_reply *r, const char *what)
{
	return mm_fault_set(why, MM_FAULT_PEER, "%s: %s", r->row->name, what);
}

static bool decode_bare(struct mm_cursor *c, struct mm_mta_reply *r, struct mm_fault *why)
{
	(void)c, (void)r, (void)why;
	return true;
}

static bool decode_one(struct mm_cursor *c, struct mm_mta_reply *r, struct mm_fault *why)
{
	(void)why;
	r->first = mm_cursor_text(c);
	return true;
}

static bool decode_with_parameters(struct mm_cursor *c, struct mm_mta_reply *r, struct mm_fault *why)
{
	(void)why;
	r->first = mm_cursor_text(c);
	if (!c->failed && c->left > 0)
		r->second = mm_cursor_text(c);
	return true;
}

static bool decode_field(struct mm_cursor *c, struct mm_mta_reply *r, struct mm_fault *why)
{
	(void)why;
	r->first = mm_cursor_text(c);
	r->second = mm_cursor_text(c);
	return true;
}

static bool decode_indexed(struct mm_cursor *c, struct mm_mta_reply *r, struct mm_fault *why)
{
	r->index = mm_cursor_u32(c);
	return decode_field(c, r, why);
}

static bool decode_chunk(struct mm_cursor *c, struct mm_mta_reply *r, struct mm_fault *why)
{
	r->first = mm_cursor_rest(c);
	if (r->first.size > MM_CHUNK_SIZE)
		return mm_fault_set(why, MM_FAULT_PEER, "%s: %zu bytes; a body packet holds at most %u", r->row->name,
			r->first.size, MM_CHUNK_SIZE);
	return true;
}

static bool decode_offer(struct mm_cursor *c, struct mm_mta_reply *r, struct mm_fault *why)
{
	(void)why;
	r->offer.version = mm_cursor_u32(c);
	r->offer.actions = mm_cursor_u32(c);
	r->offer.steps = mm_cursor_u32(c);
	r->lists = mm_cursor_rest(c);
	return true;
}

/* Keyed by the contents of a reply according to the table in reply.h, so that there is no second list of letters. */
static const struct {
	const char *carries;
	bool      (*decode)(struct mm_cursor *, struct mm_mta_reply *, struct mm_fault *);
} decoders[] = {
	{ "",                    decode_bare },
	{ "address",             decode_one },
	{ "reason",              decode_one },
	{ "text",                decode_one },
	{ "address, parameters", decode_with_parameters },
	{ "name, value",         decode_field },
	{ "index, name, value",  decode_indexed },
	{ "chunk",               decode_chunk },
	{ "offer",               decode_offer },
};

bool mm_mta_decode(const struct mm_packet *p, struct mm_mta_reply *out, struct mm_fault *why)
{
	*out = (struct mm_mta_reply){ .row = mm_reply_row(p->letter) };
	if (out->row == NULL)
		return mm_fault_set(why, MM_FAULT_PEER, p->letter > ' ' && p->letter < 0x7f
			? "reply '%c': no filter may send this letter" : "reply 0x%02x: no filter may send "
			"this letter", p->letter);
	struct mm_cursor c = mm_cursor_over(p->data, p->size);
	for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
		if (strcmp(decoders[i].carries, out->row->carries) != 0)
			continue;
		if (!decoders[i].decode(&c, out, why))
			return false;
		if (c.failed)
			return mm_fault_set(why, MM_FAULT_PEER, "%s: %zu bytes are too few or lack a NUL; it "
				"carries %s", out->row->name, p->size, out->row->carries);
		if (c.left > 0)
			return mm_fault_set(why, MM_FAULT_PEER, "%s: %zu bytes after what it carries%s%s",
				out->row->name, c.left, out->row->carries[0] != '\0' ? ": " : "", out->row->carries);
		return true;
	}
	return mm_fault_set(why, MM_FAULT_BUG, "%s: nothing decodes \"%s\"", out->row->name, out->row->carries);
}

bool mm_mta_reply_is_field(const struct mm_mta_reply *r)
{
	uint8_t letter = r->row->letter;
	return letter == SMFIR_ADDHEADER || letter == SMFIR_INSHEADER || letter == SMFIR_CHGHEADER;
}

const char *mm_mta_reply_word(const struct mm_mta_reply *r)
{
	switch (r->row->letter) {
	case SMFIR_ADDHEADER:   return "add_header";
	case SMFIR_INSHEADER:   return "insert_header";
	case SMFIR_CHGHEADER:   return r->second.size > 0 ? "change_header" : "delete_header";
	case SMFIR_ADDRCPT:
	case SMFIR_ADDRCPT_PAR: return "add_recipient";
	case SMFIR_DELRCPT:     return "delete_recipient";
	case SMFIR_CHGFROM:     return "change_from";
	case SMFIR_REPLBODY:    return "replace_body";
	case SMFIR_QUARANTINE:  return "quarantine";
	case SMFIR_PROGRESS:    return "progress";
	case SMFIR_ACCEPT:      return "accept";
	case SMFIR_CONTINUE:    return "continue";
	case SMFIR_DISCARD:     return "discard";
	case SMFIR_REJECT:      return "reject";
	case SMFIR_TEMPFAIL:    return "tempfail";
	case SMFIR_SKIP:        return "skip";
	case SMFIR_REPLYCODE:   return r->first.size > 0 && r->first.bytes[0] == '4' ? "tempfail" : "reject";
	default:                return "negotiate";
	}
}

/* ---- judging ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* One line, without its CRLF. code: the three digits that all lines share. */
static bool line_is_good(struct mm_text line, const char *code, bool is_last, struct mm_fault *why)
{
	if (line.size < 4 || (line.bytes[0] != '4' && line.bytes[0] != '5') || !is_digit(line.bytes[1])
	    || !is_digit(line.bytes[2]))
		return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: a line is \"4dd text\" or \"5dd text\", "
		"not \"%.*s\"",
			(int)(line.size < 40 ? line.size : 40), line.bytes);
	if (memcmp(line.bytes, code, 3) != 0)
		return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: code %.3s on one line and %.3s on another; Postfix "
			"refuses that", code, line.bytes);
	if (line.bytes[3] != (is_last ? ' ' : '-'))
		return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: \"%c\" after the code of %s line; the SMTP "
			"client would %s", line.bytes[3], is_last ? "the last" : "a middle", is_last ? "wait for more"
			: "take it for the last");
	if (line.size > 4 && is_digit(line.bytes[4]) && line.bytes[4] != line.bytes[0])
		return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: \"%.*s\": Postfix takes a digit after the code for "
			"an enhanced status, which must be of the same class",
			(int)(line.size < 40 ? line.size : 40), line.bytes);
	size_t size = line.size;
	for (size_t i = 0; i < line.size; i++) {
		if (line.bytes[i] == '\r' || line.bytes[i] == '\n')
			return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: a bare %s; lines end with CRLF",
				line.bytes[i] == '\r' ? "CR" : "LF");
		if (line.bytes[i] != '%')
			continue;
		if (i + 1 == line.size || line.bytes[i + 1] != '%')
			return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: a single %%; Sendmail drops all of the "
				"text, Postfix the %%; double it");
		i++;
		size--;
	}
	/* code, blank, "5.123.123" and a blank may precede the text */
	if (size > MM_REPLY_LINE_MAX + 14)
		return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: a line of %zu bytes; libmilter takes %u of text",
			size, MM_REPLY_LINE_MAX);
	return true;
}

bool mm_mta_code_is_good(struct mm_text text, struct mm_fault *why)
{
	const char *code = text.bytes;
	if (text.size < 4)
		return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: %zu bytes; Sendmail reads the fourth "
			"without asking", text.size);
	for (uint32_t lines = 1;; lines++) {
		const char *end = memmem(text.bytes, text.size, "\r\n", 2);
		struct mm_text line = { text.bytes, end != NULL ? (size_t)(end - text.bytes) : text.size };
		if (lines > MM_REPLY_LINES_MAX)
			return mm_fault_set(why, MM_FAULT_PEER, "REPLYCODE: more than %u lines", MM_REPLY_LINES_MAX);
		if (!line_is_good(line, code, end == NULL, why))
			return false;
		if (end == NULL)
			return true;
		text.bytes += line.size + 2;
		text.size -= line.size + 2;
	}
}

static bool name_is_good(const struct mm_mta_reply *r, struct mm_fault *why)
{
	if (r->first.size == 0)
		return bad(why, r, "the name is empty: Sendmail ignores it, Postfix writes \": value\" or "
			"stops the filter");
	for (size_t i = 0; i < r->first.size; i++) {
		unsigned char c = (unsigned char)r->first.bytes[i];
		if (c < 33 || c > 126 || c == ':')
			return mm_fault_set(why, MM_FAULT_PEER, "%s: byte 0x%02x in the name; no MTA checks it, the "
				"message would be broken (RFC 5322 2.2)", r->row->name, c);
	}
	return true;
}

static bool value_is_good(const struct mm_mta_reply *r, struct mm_fault *why)
{
	struct mm_text v = r->second;
	for (size_t i = 0; i < v.size; i++) {
		if (v.bytes[i] == '\r')
			return bad(why, r, "CR in the value: Sendmail writes CR CR LF");
		if (v.bytes[i] == '\n' && (i + 1 == v.size || (v.bytes[i + 1] != ' ' && v.bytes[i + 1] != '\t')))
			return bad(why, r, "LF in the value without a blank after it: Postfix and Sendmail repair it "
				"differently");
	}
	return true;
}

static bool field_is_good(const struct mm_mta_reply *r, struct mm_fault *why)
{
	if (r->index > 0x7fffffff)
		return bad(why, r, "the index is over 2147483647: negative to Sendmail, the end to Postfix");
	if (r->row->letter == SMFIR_CHGHEADER && r->index == 0)
		return bad(why, r, "index 0: Postfix stops the filter; fields count from 1");
	return name_is_good(r, why) && value_is_good(r, why);
}

static bool one_address(const struct mm_mta_reply *r, struct mm_fault *why)
{
	struct mm_text a = r->first;
	bool quoted = false;
	if (a.size == 0)
		return bad(why, r, "the address is empty: the MTAs differ; the null sender is <>");
	if (a.bytes[0] == '<' && a.bytes[a.size - 1] == '>' && a.size >= 2) {
		a.bytes++;
		a.size -= 2;
	}
	if (a.size == 0 && r->row->letter != SMFIR_CHGFROM)
		return bad(why, r, "a null recipient: Sendmail bounces the message to its sender");
	for (size_t i = 0; i < a.size; i++) {
		unsigned char c = (unsigned char)a.bytes[i];
		if (c < ' ' || c == 0x7f)
			return mm_fault_set(why, MM_FAULT_PEER, "%s: byte 0x%02x in the address", r->row->name, c);
		if (c == '\\' && quoted)
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && memchr(" <>,;()", c, 7) != NULL)
			return mm_fault_set(why, MM_FAULT_PEER, "%s: \"%c\" in \"%.*s\": Sendmail would see more than "
				"one address or a comment", r->row->name, c, (int)(a.size < 80 ? a.size : 80), a.bytes);
	}
	return !quoted || bad(why, r, "an open quote in the address");
}

static bool parameter_is_known(uint8_t letter, struct mm_text p)
{
	static const char *const of_rcpt[] = { "NOTIFY=", "ORCPT=", NULL };
	static const char *const of_mail[] = { "RET=", "ENVID=", "AUTH=", "SIZE=", "BODY=", "SMTPUTF8", NULL };
	for (const char *const *key = letter == SMFIR_CHGFROM ? of_mail : of_rcpt; *key != NULL; key++)
		if (p.size >= strlen(*key) && strncasecmp(p.bytes, *key, strlen(*key)) == 0)
			return true;
	return false;
}

static bool parameters_are_good(const struct mm_mta_reply *r, struct mm_fault *why)
{
	struct mm_text left = r->second;
	while (left.size > 0) {
		const char *space = memchr(left.bytes, ' ', left.size);
		struct mm_text p = { left.bytes, space != NULL ? (size_t)(space - left.bytes) : left.size };
		if (p.size > 0 && !parameter_is_known(r->row->letter, p))
			return mm_fault_set(why, MM_FAULT_PEER, "%s: parameter \"%.*s\": Postfix ignores it, Sendmail "
				"writes debug text to its SMTP client", r->row->name,
				(int)(p.size < 80 ? p.size : 80), p.bytes);
		for (size_t i = 0; i < p.size; i++)
			if (p.bytes[i] < '!' || p.bytes[i] > '~')
				return bad(why, r, "a parameter holds a byte that is not printable ASCII");
		left.bytes += p.size + (space != NULL);
		left.size -= p.size + (space != NULL);
	}
	return true;
}

static bool reason_is_good(const struct mm_mta_reply *r, struct mm_fault *why)
{
	if (r->first.size == 0)
		return bad(why, r, "the reason is empty");
	for (size_t i = 0; i < r->first.size; i++)
		if ((unsigned char)r->first.bytes[i] < ' ' || r->first.bytes[i] == 0x7f)
			return bad(why, r, "a control byte in the reason, which is a line of Sendmail's queue file");
	return true;
}

static bool edit_is_good(struct mm_mta *m, const struct mm_mta_reply *r, struct mm_fault *why)
{
	uint8_t letter = r->row->letter;
	if (letter == SMFIR_REPLBODY) {
		if (m->body_is_whole)
			return bad(why, r, "body packets with another request between them: Postfix stops the filter");
		m->replaces_body = true;
		return true;
	}
	if (m->replaces_body)
		m->body_is_whole = true;
	switch (letter) {
	case SMFIR_ADDHEADER:
	case SMFIR_INSHEADER:
	case SMFIR_CHGHEADER:   return field_is_good(r, why);
	case SMFIR_QUARANTINE:  return reason_is_good(r, why);
	default:                return one_address(r, why) && parameters_are_good(r, why);
	}
}

/* Stages at which a final reply has its meaning on both MTAs (protocol 3.3). ORDER COMMAND LETTERS */
static const char *commands_for(uint8_t letter)
{
	switch (letter) {
	case SMFIR_CONTINUE:  return "CHMRTLNBEU";
	case SMFIR_ACCEPT:    return "CHMRTLNBE";
	case SMFIR_DISCARD:   return "MRTLNBE";
	case SMFIR_SKIP:      return "B";
	case SMFIR_PROGRESS:  return "E";
	case SMFIR_OPTNEG:    return "O";
	default:              return mm_mta_action_of(letter) != 0 ? "E" : "CHMRTLNBEU";
	}
}

bool mm_mta_accepts(struct mm_mta *m, uint8_t command, const struct mm_mta_reply *r, struct mm_fault *why)
{
	const struct mm_command_row *row = mm_command_row(command);
	if (row == NULL || strchr(commands_for(r->row->letter), command) == NULL || command == '\0')
		return mm_fault_set(why, MM_FAULT_PEER, "%s: may not answer %s", r->row->name, row != NULL
			? row->name : "nothing");
	uint32_t action = mm_mta_action_of(r->row->letter);
	char word[64];
	if (action & ~m->agreed.actions) {
		/* Postfix honours it all the same, Sendmail only logs that it did; for a body it answers 451
		 * (protocol 3.10, 3.14) */
		snprintf(word, sizeof word, "action 0x%x was not negotiated", action);
		return bad(why, r, word);
	}
	if (r->row->letter == SMFIR_SKIP && !(m->agreed.steps & SMFIP_SKIP))
		return bad(why, r, "skip was not negotiated");
	if (action != 0)
		return edit_is_good(m, r, why);
	if (r->row->is_final)
		m->replaces_body = m->body_is_whole = false;
	if (r->row->letter == SMFIR_REPLYCODE)
		return mm_mta_code_is_good(r->first, why);
	return true;
}

/* ---- what is no milter ---- */

const char *mm_mta_other_service(const void *bytes, size_t n)
{
	static const struct {
		const char *greeting, *service;
	} rows[] = {
		{ "220 ", "an SMTP server" }, { "220-", "an SMTP server" },
		{ "554 ", "an SMTP server that refuses us" },
		{ "421 ", "an SMTP server that is busy" }, { "500 ", "a server with replies as SMTP has them" },
		{ "502 ", "a server with replies as SMTP has them" }, { "* OK", "an IMAP server" },
		{ "+OK", "a POP3 server" }, { "HTTP/", "a web server" }, { "SSH-", "an SSH server" },
		{ "-ERR", "a Redis or POP3 server" }, { "-NOAUTH", "a Redis server" },
		{ "action=", "a policy service" },
		{ "\x15\x03", "a TLS server" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (n >= strlen(rows[i].greeting) && memcmp(bytes, rows[i].greeting, strlen(rows[i].greeting)) == 0)
			return rows[i].service;
	return NULL;
}
