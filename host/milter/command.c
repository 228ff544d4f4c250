#include "milter/command.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

static const struct mm_command_row rows[] = {
#define X(letter_, wire, name_, stage_, layout_, answered, content, when_, off, quiet, ends) \
	{ .name = #name_, .letter = SMFIC_##wire, .stage = MM_STAGE_##stage_, .layout = MM_LAYOUT_##layout_, \
	  .when = when_, .is_answered = answered, .is_content = content, .no_step = off, .no_reply = quiet },
	MM_COMMANDS(X)
#undef X
};

enum row_index {
#define X(letter, wire, name, stage, layout, answered, content, when, off, quiet, ends) ROW_##wire,
	MM_COMMANDS(X)
#undef X
};

/* One more than the index into rows[], so that letters without a command are 0. */
static const uint8_t row_of_letter[256] = {
#define X(letter, wire, name, stage, layout, answered, content, when, off, quiet, ends) [SMFIC_##wire] = ROW_##wire + 1,
	MM_COMMANDS(X)
#undef X
};

uint32_t mm_commands_ending_wait(enum mm_stage at)
{
	uint32_t letters = 0;
#define X(letter, wire, name, stage, layout, answered, content, when, off, quiet, ends) \
	letters |= (ends) & 1u << at ? MM_LETTER_BIT(SMFIC_##wire) : 0;
	MM_COMMANDS(X)
#undef X
	return letters;
}

const struct mm_command_row *mm_command_row(uint8_t letter)
{
	uint8_t at = row_of_letter[letter];
	return at > 0 ? &rows[at - 1] : NULL;
}

const char *mm_family_name(enum mm_family family)
{
	static const char *const names[] = {
#define X(name, letter, word) word,
		MM_FAMILIES(X)
#undef X
	};
	return names[family];
}

/* Every error of form ends here, so that all of them say the same: the command, what was expected, what came. */
static bool bad(struct mm_fault *why, const struct mm_packet *p, const char *name, const char *expected)
{
	char shown[3 * 16 + 4] = "";
	size_t at = 0;
	for (size_t i = 0; i < p->size && i < 16; i++)
		at += (size_t)snprintf(shown + at, sizeof shown - at, " %02x", p->data[i]);
	return mm_fault_set(why, MM_FAULT_PEER, "%s: %s; %zu bytes of data%s%s%s", name, expected, p->size,
		p->size > 0 ? ":" : "", shown, p->size > 16 ? " ..." : "");
}

static bool decode_none(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	if (p->size > 0)
		return bad(why, p, c->row->name, "carries no data");
	return true;
}

static bool decode_text(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	struct mm_cursor cursor = mm_cursor_over(p->data, p->size);
	c->text = mm_cursor_text(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "the string has no NUL at its end");
	if (cursor.left > 0)
		return bad(why, p, c->row->name, "bytes after its one string");
	return true;
}

static bool decode_address(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	struct mm_cursor cursor = mm_cursor_over(p->data, p->size);
	c->text = mm_cursor_text(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "the address has no NUL at its end");
	c->strings = mm_cursor_rest(&cursor);
	if (c->strings.size > 0 && c->strings.bytes[c->strings.size - 1] != '\0')
		return bad(why, p, c->row->name, "the last parameter has no NUL at its end");
	return true;
}

static inline bool decode_field(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	struct mm_cursor cursor = mm_cursor_over(p->data, p->size);
	c->text = mm_cursor_text(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "the name has no NUL at its end");
	if (c->text.size == 0)
		return bad(why, p, c->row->name, "the name is empty");
	c->value = mm_cursor_text(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "the value is missing or has no NUL at its end");
	if (cursor.left > 0)
		return bad(why, p, c->row->name, "bytes after name and value");
	if (!c->has_space && c->value.size > 0 && c->value.bytes[0] == ' ') {
		c->has_space = true;
		c->value.bytes++;
		c->value.size--;
	}
	return true;
}

static bool decode_bytes(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	c->text = (struct mm_text){ (const char *)p->data, p->size };
	if (p->size == 0 && c->row->letter == SMFIC_BODY)
		return bad(why, p, c->row->name, "an empty chunk");
	return true;
}

static bool address_is_good(enum mm_family family, const char *text)
{
	unsigned char address[sizeof(struct in6_addr)];
	if (family == MM_FAMILY_UNIX)
		return true;
	return inet_pton(family == MM_FAMILY_INET ? AF_INET : AF_INET6, text, address) == 1;
}

static bool decode_connect(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	struct mm_cursor cursor = mm_cursor_over(p->data, p->size);
	c->text = mm_cursor_text(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "the host name has no NUL at its end");
	uint8_t family = mm_cursor_u8(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "need 1 more byte for the family, have 0");
	switch (family) {
	case SMFIA_UNKNOWN:
		c->family = MM_FAMILY_UNKNOWN;
		c->bytes_beyond = cursor.left;
		return true;
	case SMFIA_UNIX:  c->family = MM_FAMILY_UNIX; break;
	case SMFIA_INET:  c->family = MM_FAMILY_INET; break;
	case SMFIA_INET6: c->family = MM_FAMILY_INET6; break;
	default:
		return bad(why, p, c->row->name, "the family is not one of U L 4 6");
	}
	c->port = mm_cursor_u16(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "need 2 bytes for the port");
	c->value = mm_cursor_text(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "the address is missing or has no NUL at its end");
	c->bytes_beyond = cursor.left;          /* libmilter passes over them, too */
	/* Sendmail writes "IPv6:" before the address, Postfix does not (protocol 2.3). */
	if (c->family == MM_FAMILY_INET6 && strncasecmp(c->value.bytes, "IPv6:", 5) == 0) {
		c->value.bytes += 5;
		c->value.size -= 5;
	}
	if (!address_is_good(c->family, c->value.bytes))
		return bad(why, p, c->row->name, "the address does not fit its family");
	return true;
}

static bool decode_macros(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	struct mm_cursor cursor = mm_cursor_over(p->data, p->size);
	c->macros_of = mm_cursor_u8(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "need 1 byte for the command they belong to, have 0");
	c->strings = mm_cursor_rest(&cursor);
	if (c->strings.size > 0 && c->strings.bytes[c->strings.size - 1] != '\0')
		return bad(why, p, c->row->name, "the last string has no NUL at its end");
	return true;
}

static bool decode_offer(const struct mm_packet *p, struct mm_command *c, struct mm_fault *why)
{
	struct mm_cursor cursor = mm_cursor_over(p->data, p->size);
	c->offer.version = mm_cursor_u32(&cursor);
	c->offer.actions = mm_cursor_u32(&cursor);
	c->offer.steps = mm_cursor_u32(&cursor);
	if (cursor.failed)
		return bad(why, p, c->row->name, "needs 12 bytes: version, actions, steps");
	return true;            /* any further bytes are an extension that we do not know:
	                         * libmilter ignores them, too */
}

bool mm_command_decode(const struct mm_packet *p, uint32_t steps, struct mm_command *out, struct mm_fault *why)
{
	static bool (*const decoders[])(const struct mm_packet *, struct mm_command *, struct mm_fault *) = {
		[MM_LAYOUT_NONE] = decode_none,       [MM_LAYOUT_TEXT] = decode_text,
		[MM_LAYOUT_ADDRESS] = decode_address, [MM_LAYOUT_FIELD] = decode_field,
		[MM_LAYOUT_BYTES] = decode_bytes,     [MM_LAYOUT_CONNECT] = decode_connect,
		[MM_LAYOUT_MACROS] = decode_macros,   [MM_LAYOUT_OFFER] = decode_offer,
	};
	const struct mm_command_row *row = mm_command_row(p->letter);
	if (row == NULL) {
		char name[32];
		if (p->letter > ' ' && p->letter < 0x7f)
			snprintf(name, sizeof name, "command '%c'", p->letter);
		else
			snprintf(name, sizeof name, "command 0x%02x", p->letter);
		return bad(why, p, name, "no milter command has this letter");
	}
	/* Without HDR_LEADSPC the MTA has removed the space. */
	*out = (struct mm_command){ .row = row, .has_space = !(steps & SMFIP_HDR_LEADSPC) };
	return decoders[row->layout](p, out, why);
}

bool mm_command_decode_field(const struct mm_packet *p, uint32_t steps, struct mm_command *c, struct mm_fault *why)
{
	c->has_space = !(steps & SMFIP_HDR_LEADSPC);
	return decode_field(p, c, why);
}
