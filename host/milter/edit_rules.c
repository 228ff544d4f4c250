#include "milter/edit_rules.h"

#include "base/bounds.h"
#include "base/quote.h"
#include "base/text.h"

bool mm_edit_is_granted(const struct mm_grants *g, uint32_t action, const struct mm_message *m, struct mm_fault *why)
{
	char word[64];
	if (!(g->actions & action)) {
		bool offered = g->offer.actions & action;
		return mm_fault_because(why, MM_REASON_IS_NOT_GRANTED, "not negotiated: %s %s",
			mm_actions_text(action, word, sizeof word), offered ? "was not asked for" : "was not offered "
			"by this MTA");
	}
	if (m->edits.count >= MM_EDITS_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE,
			"more than %u edits for one message", MM_EDITS_MAX);
	return true;
}

bool mm_edit_name_is_good(struct mm_text name, struct mm_fault *why)
{
	if (name.size == 0)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the header name is empty");
	if (name.size > MM_HEADER_NAME_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE,
			"the header name has %zu bytes; at most %u", name.size,
			MM_HEADER_NAME_MAX);
	for (size_t i = 0; i < name.size; i++) {
		unsigned char c = (unsigned char)name.bytes[i];
		if (c < 33 || c > 126 || c == ':')
			return mm_fault_set(why, MM_FAULT_SCRIPT, "header name %s has byte 0x%02x at %zu; use "
				"printable ASCII without space or \":\" (RFC 5322 2.2)",
				mm_quote(name.bytes, name.size).text, c, i + 1);
	}
	return true;
}

bool mm_edit_value_is_good(struct mm_text name, struct mm_text value, struct mm_fault *why)
{
	if (value.size > MM_HEADER_VALUE_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE, "the value of %.*s has %zu bytes; at most %u, or "
			"Postfix cuts it", (int)name.size, name.bytes, value.size, MM_HEADER_VALUE_MAX);
	size_t line = name.size + 2;
	for (size_t i = 0; i < value.size; i++, line++) {
		char c = value.bytes[i];
		if (c == '\0' || c == '\r')
			return mm_fault_set(why, MM_FAULT_SCRIPT, "the value of %.*s holds %s at byte %zu%s",
				(int)name.size, name.bytes, c == '\r' ? "CR" : "NUL", i + 1,
				c == '\r' ? "; fold with LF and a space" : "");
		if (c == '\n') {
			bool folds = i + 1 < value.size && (value.bytes[i + 1] == ' ' || value.bytes[i + 1] == '\t');
			size_t next = i + 1;
			while (next < value.size && (value.bytes[next] == ' ' || value.bytes[next] == '\t'))
				next++;
			if (!folds || next == value.size || value.bytes[next] == '\n')
				return mm_fault_set(why, MM_FAULT_SCRIPT, "the value of %.*s holds LF at byte %zu; a "
					"fold is LF, then space or tab, then text (RFC 5322 2.2.3)", (int)name.size,
					name.bytes, i + 1);
			line = 0;
		}
		if (line > MM_HEADER_LINE_MAX)
			return mm_fault_because(why, MM_REASON_IS_TOO_LARGE,
				"a line of %.*s is longer than %u bytes; fold it "
				"with LF and a space", (int)name.size, name.bytes, MM_HEADER_LINE_MAX);
	}
	return true;
}

/* Exactly one address: MTAs differ in how they read a second one. */
bool mm_edit_address_is_good(struct mm_text a, struct mm_fault *why)
{
	if (a.size > MM_ADDRESS_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE, "the address has %zu bytes; at most %u", a.size,
			MM_ADDRESS_MAX);
	bool quoted = false;
	for (size_t i = 0; i < a.size; i++) {
		unsigned char c = (unsigned char)a.bytes[i];
		if (c < ' ' || c == 0x7f)
			return mm_fault_set(why, MM_FAULT_SCRIPT, "the address holds byte 0x%02x at %zu; no control "
				"bytes in an address (RFC 5321 4.1.2)", c, i + 1);
		if (c == '\\' && quoted) {
			i++;
			if (i < a.size && ((unsigned char)a.bytes[i] < ' ' || a.bytes[i] == 0x7f))
				return mm_fault_set(why, MM_FAULT_SCRIPT, "the address holds a control byte at %zu "
					"(RFC 5321 4.1.2)", i + 1);
			continue;
		}
		if (c == '"')
			quoted = !quoted;
		else if (!quoted && strchr(" <>,;()", c) != NULL)
			return mm_fault_set(why, MM_FAULT_SCRIPT, "address \"%.*s\" has \"%c\" outside quotes; give "
				"one address as it stands in the envelope (RFC 5321 4.1.2)",
				(int)(a.size < 80 ? a.size : 80), a.bytes, c);
	}
	if (quoted)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "address \"%.*s\" has an open quote",
			(int)(a.size < 80 ? a.size : 80), a.bytes);
	return true;
}

enum param_value { VALUE_NONE, VALUE_XTEXT, VALUE_NOTIFY, VALUE_ORCPT, VALUE_RET, VALUE_BODY, VALUE_NUMBER };

struct param_row {
	const char          *key;
	enum param_value     value;
	enum mm_reply_letter letter;    /* the edit that may carry it */
};

/* Parameters that the MTAs honour. At a parameter that it cannot read, Sendmail 8.17 drops the recipient and writes
 * debug text into the SMTP dialogue (protocol 3.11), so we send no others. */
static const struct param_row params_known[] = {
	{ "NOTIFY",   VALUE_NOTIFY, SMFIR_ADDRCPT_PAR },    /* RFC 3461 4.1 */
	{ "ORCPT",    VALUE_ORCPT,  SMFIR_ADDRCPT_PAR },    /* RFC 3461 4.2 */
	{ "RET",      VALUE_RET,    SMFIR_CHGFROM     },    /* RFC 3461 4.3 */
	{ "ENVID",    VALUE_XTEXT,  SMFIR_CHGFROM     },    /* RFC 3461 4.4 */
	{ "AUTH",     VALUE_XTEXT,  SMFIR_CHGFROM     },    /* RFC 4954 5 */
	{ "SIZE",     VALUE_NUMBER, SMFIR_CHGFROM     },    /* RFC 1870 */
	{ "BODY",     VALUE_BODY,   SMFIR_CHGFROM     },    /* RFC 6152 */
	{ "SMTPUTF8", VALUE_NONE,   SMFIR_CHGFROM     },    /* RFC 6531 */
};

static bool is_word_of(struct mm_text value, const char *const *words)
{
	for (; *words != NULL; words++)
		if (mm_text_equal_blind(value, (struct mm_text){ *words, strlen(*words) }))
			return true;
	return false;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

static bool is_xtext(struct mm_text t)
{
	for (size_t i = 0; i < t.size; i++) {
		unsigned char c = (unsigned char)t.bytes[i];
		if (c < '!' || c > '~' || c == '=')
			return false;
		if (c == '+' && !(i + 2 < t.size && is_hex(t.bytes[i + 1]) && is_hex(t.bytes[i + 2])))
			return false;
	}
	return t.size > 0;
}

static bool is_notify(struct mm_text t)
{
	static const char *const never[] = { "NEVER", NULL }, *const when[] = { "SUCCESS", "FAILURE", "DELAY", NULL };
	if (is_word_of(t, never))
		return true;
	while (t.size > 0) {
		const char *comma = memchr(t.bytes, ',', t.size);
		size_t size = comma != NULL ? (size_t)(comma - t.bytes) : t.size;
		if (!is_word_of((struct mm_text){ t.bytes, size }, when))
			return false;
		if (comma == NULL)
			return true;
		t.bytes += size + 1;
		t.size -= size + 1;
	}
	return false;
}

static bool param_value_is_good(enum param_value kind, struct mm_text t)
{
	static const char *const ret[] = { "FULL", "HDRS", NULL },
		*const body[] = { "7BIT", "8BITMIME", "BINARYMIME", NULL };
	const char *semicolon;
	switch (kind) {
	case VALUE_NONE:   return t.bytes == NULL;
	case VALUE_XTEXT:  return is_xtext(t);
	case VALUE_NOTIFY: return is_notify(t);
	case VALUE_RET:    return is_word_of(t, ret);
	case VALUE_BODY:   return is_word_of(t, body);
	case VALUE_NUMBER: return t.size > 0 && t.size < 20 && strspn(t.bytes, "0123456789") >= t.size;
	case VALUE_ORCPT:
		semicolon = t.size > 0 ? memchr(t.bytes, ';', t.size) : NULL;
		return semicolon != NULL && semicolon > t.bytes
			&& is_xtext((struct mm_text){ t.bytes, (size_t)(semicolon - t.bytes) })
			&& is_xtext((struct mm_text){ semicolon + 1, t.size - (size_t)(semicolon + 1 - t.bytes) });
	}
	return false;
}

static bool param_is_good(enum mm_reply_letter letter, struct mm_text param, struct mm_fault *why)
{
	const char *equals = memchr(param.bytes, '=', param.size);
	struct mm_text key = { param.bytes, equals != NULL ? (size_t)(equals - param.bytes) : param.size };
	struct mm_text value = { NULL, 0 };
	if (equals != NULL)
		value = (struct mm_text){ equals + 1, param.size - key.size - 1 };
	for (size_t i = 0; i < sizeof params_known / sizeof *params_known; i++) {
		const struct param_row *row = &params_known[i];
		if (row->letter != letter || !mm_text_equal_blind(key, (struct mm_text){ row->key, strlen(row->key) }))
			continue;
		if (param_value_is_good(row->value, value))
			return true;
		return mm_fault_set(why, MM_FAULT_SCRIPT, "parameter \"%.*s\" has a value that no MTA "
			"accepts (RFC 3461)", (int)(param.size < 80 ? param.size : 80), param.bytes);
	}
	return mm_fault_set(why, MM_FAULT_SCRIPT, "parameter \"%.*s\" is not one of %s",
		(int)(param.size < 80 ? param.size : 80), param.bytes, letter == SMFIR_ADDRCPT_PAR ? "NOTIFY= ORCPT="
		: "RET= ENVID= AUTH= SIZE= BODY= SMTPUTF8");
}

bool mm_edit_params_are_good(enum mm_reply_letter letter, struct mm_text params, struct mm_fault *why)
{
	if (params.size > MM_PARAMS_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE, "%zu bytes of parameters; at most %u", params.size,
			MM_PARAMS_MAX);
	while (params.size > 0) {
		const char *space = memchr(params.bytes, ' ', params.size);
		size_t size = space != NULL ? (size_t)(space - params.bytes) : params.size;
		if (size > 0 && !param_is_good(letter, (struct mm_text){ params.bytes, size }, why))
			return false;
		size += space != NULL;
		params.bytes += size;
		params.size -= size;
	}
	return true;
}

bool mm_edit_recipient_is_good(struct mm_text bare, struct mm_fault *why)
{
	/* Sendmail accepts a null recipient and then bounces the message to its sender (protocol 3.11). */
	if (bare.size == 0)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the recipient is empty");
	return mm_edit_address_is_good(bare, why);
}

bool mm_edit_reason_is_good(struct mm_text reason, struct mm_fault *why)
{
	if (reason.size == 0 || reason.size > MM_QUARANTINE_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE,
			"the reason has %zu bytes; give 1 to %u", reason.size,
			MM_QUARANTINE_MAX);
	for (size_t i = 0; i < reason.size; i++)
		if ((unsigned char)reason.bytes[i] < ' ' || reason.bytes[i] == 0x7f)
			return mm_fault_set(why, MM_FAULT_SCRIPT, "the reason holds a control byte at %zu", i + 1);
	return true;
}
