#include "story/words.h"

#include <stdarg.h>
#include <stdio.h>

#define HIDDEN "*"

void mm_words_begin(struct mm_words *w, enum mm_story_redact redact)
{
	w->redact = redact;
	w->is_cut = false;
	w->size = 0;
}

void mm_words_add(struct mm_words *w, struct mm_text text)
{
	size_t room = sizeof w->bytes - w->size;
	if (room < 2) {
		w->is_cut = true;
		return;
	}
	size_t n = text.size < room - 1 ? text.size : room - 1;
	w->is_cut |= n < text.size;
	for (size_t i = 0; i < n; i++)
		w->bytes[w->size + i] = text.bytes[i] != '\0' ? text.bytes[i] : ' ';
	w->size += n;
	w->bytes[w->size++] = '\0';
}

void mm_words_addf(struct mm_words *w, const char *format, ...)
{
	char text[128];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	mm_words_add(w, mm_text_of(text));
}

/* ---- what is personal ---- */

static bool hides(const struct mm_words *w)
{
	return w->redact >= MM_STORY_REDACT_ADDRESSES;
}

/* "<ann@example.org>" -> "<*@example.org>" */
static void add_address(struct mm_words *w, struct mm_text address)
{
	const char *at = address.size > 0 ? memrchr(address.bytes, '@', address.size) : NULL;
	if (!hides(w) || address.size <= 2)
		mm_words_add(w, address);
	else if (at != NULL)
		mm_words_addf(w, "<*%.*s", (int)(address.size - (size_t)(at - address.bytes)), at);
	else
		mm_words_add(w, mm_text_of("<*>"));
}

static bool is_word(struct mm_text text, const char *word)
{
	return mm_text_equal_blind(text, mm_text_of(word));
}

static void add_value(struct mm_words *w, struct mm_text name, struct mm_text value)
{
	bool is_hidden = hides(w) || (w->redact >= MM_STORY_REDACT_SUBJECT && is_word(name, "subject"));
	mm_words_add(w, is_hidden ? mm_text_of(HIDDEN) : value);
}

/* Macros that name a person, or may. */
static bool is_personal(struct mm_text name)
{
	static const char *const names[] = { "{mail_addr}", "{rcpt_addr}", "{auth_authen}", "{auth_author}",
		"{cert_subject}", "f", "u", "{rcpt_host}", "{mail_host}" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (is_word(name, names[i]))
			return true;
	return false;
}

/* The text up to the next NUL, which is skipped. False: there is none left. */
static bool next_string(struct mm_text *rest, struct mm_text *out)
{
	if (rest->size == 0)
		return false;
	size_t size = strnlen(rest->bytes, rest->size), skip = size + (size < rest->size);
	*out = (struct mm_text){ rest->bytes, size };
	*rest = (struct mm_text){ rest->bytes + skip, rest->size - skip };
	return true;
}

/* ---- what an MTA sends ---- */

static void add_offer(struct mm_words *w, const struct mm_offer *o)
{
	mm_words_addf(w, "version=%u", o->version);
	mm_words_addf(w, "actions=0x%x", o->actions);
	mm_words_addf(w, "steps=0x%x", o->steps);
}

static void add_macros(struct mm_words *w, const struct mm_command *c)
{
	char pair[400];
	const struct mm_command_row *of = mm_command_row(c->macros_of);
	struct mm_text rest = c->strings, name, value;
	mm_words_addf(w, "for=%s", of != NULL ? of->name : "?");
	while (next_string(&rest, &name) && next_string(&rest, &value)) {
		if (hides(w) && is_personal(name))
			value = mm_text_of(HIDDEN);
		snprintf(pair, sizeof pair, "%.*s=%.*s", (int)name.size, name.bytes, (int)value.size, value.bytes);
		mm_words_add(w, mm_text_of(pair));
	}
}

static void add_client(struct mm_words *w, const struct mm_command *c)
{
	mm_words_add(w, c->text);
	if (c->value.bytes != NULL && c->value.size > 0)
		mm_words_add(w, c->value);
	mm_words_addf(w, "family=%s", mm_family_name(c->family));
	if (c->port != 0)
		mm_words_addf(w, "port=%u", c->port);
}

static void add_path(struct mm_words *w, const struct mm_command *c)
{
	struct mm_text rest = c->strings, parameter;
	add_address(w, c->text);
	while (next_string(&rest, &parameter)) {
		const char *equals = memchr(parameter.bytes, '=', parameter.size);
		struct mm_text name = { parameter.bytes, equals != NULL ? (size_t)(equals - parameter.bytes)
			: parameter.size };
		bool is_plain = equals == NULL || is_word(name, "SIZE") || is_word(name, "BODY");
		if (hides(w) && !is_plain)
			mm_words_addf(w, "%.*s=" HIDDEN, (int)(name.size < 60 ? name.size : 60), name.bytes);
		else
			mm_words_add(w, parameter);
	}
}

void mm_words_of_command(struct mm_words *w, const struct mm_command *c)
{
	switch (c->row->layout) {
	case MM_LAYOUT_NONE:
	case MM_LAYOUT_BYTES:
		return;
	case MM_LAYOUT_TEXT:
		if (c->row->letter == SMFIC_UNKNOWN && hides(w))        /* it may be any address or password */
			mm_words_add(w, mm_text_of(HIDDEN));
		else
			mm_words_add(w, c->text);
		return;
	case MM_LAYOUT_ADDRESS:
		add_path(w, c);
		return;
	case MM_LAYOUT_FIELD:
		mm_words_add(w, c->text);
		add_value(w, c->text, c->value);
		return;
	case MM_LAYOUT_CONNECT:
		add_client(w, c);
		return;
	case MM_LAYOUT_MACROS:
		add_macros(w, c);
		return;
	case MM_LAYOUT_OFFER:
		add_offer(w, &c->offer);
	}
}

/* ---- what we answer ---- */

struct mm_text mm_words_reply_text(enum mm_story_redact redact, struct mm_text reply)
{
	size_t n = 0;
	if (redact < MM_STORY_REDACT_ADDRESSES)
		return reply;
	while (n < reply.size && strchr("0123456789. ", reply.bytes[n]) != NULL && reply.bytes[n] != '\0')
		n++;
	return (struct mm_text){ reply.bytes, n };
}

static bool is_path(uint8_t letter)
{
	return letter == SMFIR_ADDRCPT || letter == SMFIR_DELRCPT || letter == SMFIR_ADDRCPT_PAR
		|| letter == SMFIR_CHGFROM;
}

void mm_words_of_reply(struct mm_words *w, const struct mm_mta_reply *r)
{
	uint8_t letter = r->row->letter;
	if (letter == SMFIR_OPTNEG)
		add_offer(w, &r->offer);
	if (letter == SMFIR_OPTNEG || letter == SMFIR_REPLBODY || r->first.bytes == NULL)
		return;
	if (letter == SMFIR_INSHEADER || letter == SMFIR_CHGHEADER)
		mm_words_addf(w, "%u", r->index);
	if (is_path(letter))
		add_address(w, r->first);
	else if (letter == SMFIR_REPLYCODE)
		mm_words_add(w, mm_words_reply_text(w->redact, r->first));
	else if (letter == SMFIR_QUARANTINE && hides(w))
		mm_words_add(w, mm_text_of(HIDDEN));
	else
		mm_words_add(w, r->first);
	if (r->second.bytes == NULL)
		return;
	bool has_space = r->second.size > 0 && r->second.bytes[0] == ' ';       /* HDR_LEADSPC: not of the value */
	if (mm_mta_reply_is_field(r))
		add_value(w, r->first, (struct mm_text){ r->second.bytes + has_space, r->second.size - has_space });
	else
		mm_words_add(w, hides(w) ? mm_text_of(HIDDEN) : r->second);
}
