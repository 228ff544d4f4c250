#include "milter/negotiate.h"

#include "base/bounds.h"
#include "milter/reply.h"

#include <stdio.h>
#include <string.h>

struct named_bit {
	const char *word;
	uint32_t    bit;
};

static const struct named_bit actions[] = {
#define X(name, bit, word) { word, bit },
	MM_ACTIONS(X)
#undef X
	{ "insert_header", SMFIF_ADDHDRS },
	{ "delete_header", SMFIF_CHGHDRS },
	{ NULL, 0 },
};

static const struct named_bit steps[] = {
#define X(name, bit, word) { word, bit },
	MM_STEPS(X)
#undef X
	{ NULL, 0 },
};

static uint32_t bit_of(const struct named_bit *row, const char *word)
{
	for (; row->word != NULL; row++)
		if (strcmp(row->word, word) == 0)
			return row->bit;
	return 0;
}

uint32_t mm_action_bit(const char *word)
{
	return bit_of(actions, word);
}

uint32_t mm_step_bit(const char *word)
{
	return bit_of(steps, word);
}

static char *words_of(const struct named_bit *row, uint32_t bits, char *to, size_t size)
{
	size_t at = 0;
	to[0] = '\0';
	for (; row->word != NULL; row++) {
		if (!(bits & row->bit) || at >= size)
			continue;
		at += (size_t)snprintf(to + at, size - at, "%s%s", at > 0 ? " " : "", row->word);
		bits &= ~row->bit;
	}
	return to;
}

char *mm_actions_text(uint32_t bits, char *to, size_t size)
{
	return words_of(actions, bits, to, size);
}

char *mm_steps_text(uint32_t bits, char *to, size_t size)
{
	return words_of(steps, bits, to, size);
}

/* Switches off the steps that no handler wants, and asks for silence at those that decide nothing. */
static uint32_t steps_wanted(const struct mm_wanted *w)
{
	uint32_t bits = SMFIP_SKIP;
	/* Without header events the MTA sends us no spaces, and it writes the one after the colon itself. */
	if (w->stages & MM_STAGE_BIT(header))
		bits |= SMFIP_HDR_LEADSPC;
#define X(letter, wire, name, stage, layout, answered, content, when, off, no_reply, ends) \
	bits |= !(w->stages & MM_STAGE_BIT(stage)) ? (off) : w->quiet & MM_STAGE_BIT(stage) ? (no_reply) : 0;
	MM_COMMANDS(X)
#undef X
	if (w->rejected_recipients)
		bits |= SMFIP_RCPT_REJ;
	return bits;
}

static bool check_needs(const struct mm_offer *o, const struct mm_wanted *w, struct mm_fault *why)
{
	char text[256];
	uint32_t missing = w->needs_actions & ~o->actions;
	if (missing != 0)
		return mm_fault_set(why, MM_FAULT_PEER, "the MTA does not offer what a script needs: %s "
			"(options.needs); it offered version %u, actions 0x%x",
			mm_actions_text(missing, text, sizeof text), o->version, o->actions);
	missing = w->needs_steps & ~o->steps;
	if (missing != 0)
		return mm_fault_set(why, MM_FAULT_PEER, "the MTA does not offer what a script needs: %s "
			"(options.needs); it offered version %u, steps 0x%x", mm_steps_text(missing, text, sizeof text),
			o->version, o->steps);
	return true;
}

static uint32_t quiet_stages(uint32_t answered)
{
	uint32_t quiet = 0;
#define X(letter, wire, name, stage, layout, is_answered, content, when, off, no_reply, ends) \
	quiet |= (no_reply) & answered ? MM_STAGE_BIT(stage) : 0;
	MM_COMMANDS(X)
#undef X
	return quiet;
}

/* Sendmail 8.17 uses a list for end-of-message only together with one for end-of-headers, and drops the macros of a
 * list whose partner is missing (protocol 4.5): the caller passes both or neither. */
static void append_macro_lists(struct mm_buffer *out, const struct mm_wanted *w)
{
	static const uint32_t numbers[] = {     /* ORDER MACRO_SET */
#define X(name, letter, number) number,
		MM_MACRO_SETS(X)
#undef X
	};
	for (unsigned set = 0; set < MM_MACRO_SET_COUNT; set++) {
		const char *list = w->macro_lists[set];
		if (list == NULL)
			continue;
		mm_buffer_append_u32(out, numbers[set]);
		mm_buffer_append_text(out, list, strlen(list));
	}
}

bool mm_wanted_has_lists(const struct mm_wanted *w)
{
	for (unsigned set = 0; set < MM_MACRO_SET_COUNT; set++)
		if (w->macro_lists[set] != NULL)
			return true;
	return false;
}

static bool has_name(const char *list, const char *name)
{
	size_t size = strlen(name);
	for (const char *at = list; at != NULL; at = strchr(at, ' ')) {
		at += *at == ' ';
		if (strncmp(at, name, size) == 0 && (at[size] == ' ' || at[size] == '\0'))
			return true;
	}
	return false;
}

bool mm_negotiate(const struct mm_offer *offer, const struct mm_wanted *w, struct mm_grants *g, struct mm_buffer *out,
	struct mm_fault *why)
{
	struct mm_offer o = *offer;
	if (o.version < MM_PROTOCOL_MIN || o.version > 0x7fffffff)
		return mm_fault_set(why, MM_FAULT_PEER, "milter protocol version %u: we serve versions %u to %u",
			o.version, MM_PROTOCOL_MIN, MM_PROTOCOL_MAX);
	if (!check_needs(&o, w, why))
		return false;

	bool lists = o.actions & SMFIF_SETSYMLIST && o.version >= 6 && mm_wanted_has_lists(w);
	uint32_t larger = o.steps & SMFIP_MDS_1M ? SMFIP_MDS_1M : o.steps & SMFIP_MDS_256K;
	*g = (struct mm_grants){
		.version = o.version < MM_PROTOCOL_MAX ? o.version : MM_PROTOCOL_MAX,
		.actions = (w->actions & ~SMFIF_SETSYMLIST & o.actions) | (lists ? SMFIF_SETSYMLIST : 0),
		.steps = (steps_wanted(w) & o.steps) | larger,
		.data_max = larger == SMFIP_MDS_1M ? MM_PACKET_DATA_MAX_1M
			: larger == SMFIP_MDS_256K ? MM_PACKET_DATA_MAX_256K : MM_PACKET_DATA_MAX,
		.offer = *offer,
	};
	g->quiet = quiet_stages(g->steps);
	g->asks_version = lists && has_name(w->macro_lists[MM_MACRO_SET_connect], "v");

	struct mm_buffer answer = { 0 };
	mm_buffer_append_u32(&answer, g->version);
	mm_buffer_append_u32(&answer, g->actions);
	mm_buffer_append_u32(&answer, g->steps);
	if (lists)
		append_macro_lists(&answer, w);
	bool ok = !answer.failed;
	if (ok)
		mm_frame_write(out, SMFIR_OPTNEG, answer.bytes, answer.size);
	mm_buffer_free(&answer);
	return ok || mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory while negotiating");
}
