#include "story/upshot.h"

#include "base/text.h"
#include "milter/reply.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 140      /* of one edit as text */

const char *mm_difference_name(enum mm_difference d)
{
	static const char *const names[] = {
#define X(name, about) #name,
		MM_DIFFERENCES(X)
#undef X
	};
	return names[d];
}

/* ---- hashes ---- */

static void add(uint64_t *hash, const void *bytes, size_t size)
{
	const unsigned char *b = bytes;
	uint64_t h = *hash != 0 ? *hash : UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < size; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	h = (h ^ (h >> 29) ^ size) * UINT64_C(0x9e3779b97f4a7c15);
	*hash = h != 0 ? h : 1;
}

/* Tags of a signature that differ each time it is made: the time, its end, and the signature over them. */
static bool is_fleeting(struct mm_text tag)
{
	return tag.size > 1 && strchr("txb", tag.bytes[0]) != NULL && tag.bytes[1] == '=';
}

static struct mm_text trimmed(struct mm_text t)
{
	while (t.size > 0 && isspace((unsigned char)t.bytes[0]))
		t = (struct mm_text){ t.bytes + 1, t.size - 1 };
	return t;
}

static void add_tags(uint64_t *hash, struct mm_text value)
{
	while (value.size > 0) {
		const char *end = memchr(value.bytes, ';', value.size);
		size_t size = end != NULL ? (size_t)(end - value.bytes) : value.size;
		struct mm_text tag = trimmed((struct mm_text){ value.bytes, size });
		for (size_t i = 0; i < tag.size && !is_fleeting(tag); i++)
			if (!isspace((unsigned char)tag.bytes[i]))
				add(hash, &tag.bytes[i], 1);
		add(hash, ";", 1);
		size += end != NULL;
		value = (struct mm_text){ value.bytes + size, value.size - size };
	}
}

static bool is_signature(struct mm_text name)
{
	static const char *const names[] = { "DKIM-Signature", "ARC-Seal", "ARC-Message-Signature" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (mm_text_equal_blind(name, mm_text_of(names[i])))
			return true;
	return false;
}

/* ---- edits as text ---- */

static void append_clean(struct mm_upshot *u, struct mm_text text, size_t most)
{
	for (size_t i = 0; i < text.size && i < most && u->line_bytes < sizeof u->lines - 1; i++) {
		unsigned char c = (unsigned char)text.bytes[i];
		u->lines[u->line_bytes++] = c >= ' ' && c != 0x7f ? (char)c : ' ';
	}
	u->lines[u->line_bytes] = '\0';
}

static void append_line(struct mm_upshot *u, const char *what, struct mm_text name, struct mm_text value)
{
	if (u->line_bytes > 0 && u->line_bytes < sizeof u->lines - 1)
		u->lines[u->line_bytes++] = '\n';
	append_clean(u, mm_text_of(what), LINE_MAX_BYTES);
	append_clean(u, name, LINE_MAX_BYTES);
	if (value.size > 0 && name.size > 0)
		append_clean(u, mm_text_of(": "), 2);
	append_clean(u, value, LINE_MAX_BYTES);
}

/* A text that ends in NUL, taken off the front of *rest. */
static struct mm_text take_text(struct mm_text *rest)
{
	size_t size = strnlen(rest->bytes, rest->size), step = size < rest->size ? size + 1 : size;
	struct mm_text text = { rest->bytes, size };
	*rest = (struct mm_text){ rest->bytes + step, rest->size - step };
	return text;
}

static void note_header(struct mm_upshot *u, uint8_t letter, struct mm_text data)
{
	static const struct mm_text none = { "", 0 };
	uint64_t *hash = &u->edits[MM_DIFFERENCE_headers];
	add(hash, &letter, 1);
	if (letter != SMFIR_ADDHEADER && data.size >= 4) {
		add(hash, data.bytes, 4);
		data = (struct mm_text){ data.bytes + 4, data.size - 4 };
	}
	struct mm_text name = take_text(&data), value = take_text(&data);
	add(hash, name.bytes, name.size);
	if (is_signature(name))
		add_tags(hash, value);
	else
		add(hash, value.bytes, value.size);
	if (letter == SMFIR_CHGHEADER)
		append_line(u, value.size > 0 ? "change " : "delete ", name, value);
	else
		append_line(u, "add ", name, value.size > 0 ? trimmed(value) : none);
}

static void note_packet(struct mm_upshot *u, uint8_t letter, struct mm_text data)
{
	static const struct mm_text none = { "", 0 };
	static const struct { uint8_t letter; enum mm_difference kind; const char *what; } rows[] = {
		{ SMFIR_ADDRCPT, MM_DIFFERENCE_recipients, "add recipient " },
		{ SMFIR_ADDRCPT_PAR, MM_DIFFERENCE_recipients, "add recipient " },
		{ SMFIR_DELRCPT, MM_DIFFERENCE_recipients, "delete recipient " },
		{ SMFIR_CHGFROM, MM_DIFFERENCE_sender, "sender " },
		{ SMFIR_QUARANTINE, MM_DIFFERENCE_quarantine, "quarantine: " },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].letter != letter)
			continue;
		add(&u->edits[rows[i].kind], &letter, 1);
		add(&u->edits[rows[i].kind], data.bytes, data.size);
		append_line(u, rows[i].what, take_text(&data), none);
		return;
	}
	note_header(u, letter, data);
}

static void note_body(struct mm_upshot *u, const struct mm_message *m)
{
	struct mm_text piece;
	size_t at = 0, size = 0;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	char text[40];
	while (mm_new_body_next(&m->new_body, &at, &piece)) {   /* bytewise: pieces may be cut elsewhere */
		for (size_t i = 0; i < piece.size; i++)
			hash = (hash ^ (unsigned char)piece.bytes[i]) * UINT64_C(0x100000001b3);
		size += piece.size;
	}
	u->edits[MM_DIFFERENCE_body] = hash != 0 ? hash : 1;
	snprintf(text, sizeof text, "%zu bytes", size);
	append_line(u, "new body of ", mm_text_of(text), (struct mm_text){ "", 0 });
}

void mm_upshot_edits(struct mm_upshot *u, struct mm_session *s, struct mm_buffer *scratch)
{
	struct mm_message *m = s->message;
	bool replaces_body = m->edits.replaces_body;
	mm_buffer_clear(scratch);
	m->edits.replaces_body = false;         /* writing a body may move its memory */
	mm_edits_write(m, &s->grants, mm_session_mta(s), scratch);
	m->edits.replaces_body = replaces_body;
	for (size_t at = 0; !scratch->failed && at + 5 <= scratch->size;) {
		const uint8_t *p = scratch->bytes + at;
		size_t size = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
		note_packet(u, p[4], (struct mm_text){ (const char *)p + 5, size - 1 });
		at += 4 + size;
	}
	if (replaces_body)
		note_body(u, m);
	mm_buffer_clear(scratch);
	scratch->failed = false;
}

/* ---- the end ---- */

static void keep(struct mm_text text, char *to, size_t size)
{
	size_t used = text.size < size - 1 ? text.size : size - 1;
	for (size_t i = 0; i < used; i++)
		to[i] = (unsigned char)text.bytes[i] >= ' ' && text.bytes[i] != 0x7f ? text.bytes[i] : '?';
	to[used] = '\0';
}

static uint64_t refused_of(const struct mm_message *m)
{
	uint64_t hash = 0;
	for (uint32_t i = 0; i < m->recipient_count; i++) {
		const struct mm_recipient *r = &m->recipients[i];
		if (!r->is_refused || r->refused_with == 0)
			continue;
		add(&hash, &i, sizeof i);
		add(&hash, &r->refused_with, 1);
	}
	return hash;
}

void mm_upshot_decide(struct mm_upshot *u, const struct mm_outcome_report *r)
{
	u->verdict = r->verdict;
	u->stage = r->stage;
	snprintf(u->by, sizeof u->by, "%s", r->decided_by != NULL ? r->decided_by : "");
	keep(r->reply, u->reply, sizeof u->reply);
	u->reply_hash = 0;
	if (r->reply.size > 0)
		add(&u->reply_hash, r->reply.bytes, r->reply.size);
}

void mm_upshot_end(struct mm_upshot *u, const struct mm_outcome_report *r)
{
	const struct mm_session *s = r->session;
	const struct mm_message *m = s->message;
	mm_upshot_decide(u, r);
	u->has_ended = true;
	u->is_aborted = r->is_aborted;
	u->seconds = r->seconds;
	u->waited = r->waited;
	snprintf(u->session, sizeof u->session, "%s", s->id);
	keep(mm_session_macro(s, "i"), u->queue_id, sizeof u->queue_id);
	u->number = m->number;
	keep(mm_message_text(m, m->sender), u->from, sizeof u->from);
	u->refused = refused_of(m);
}

/* ---- comparing ---- */

static bool lets_through(const struct mm_upshot *u)
{
	return u->verdict == MM_VERDICT_continue || u->verdict == MM_VERDICT_accept || u->verdict == MM_VERDICT_skip;
}

static bool has_failed(const struct mm_upshot *u)
{
	return strncmp(u->by, "on_error", 8) == 0 || strncmp(u->by, "memory_held", 11) == 0;
}

bool mm_upshot_are_void(const struct mm_upshot *live, const struct mm_upshot *shadow)
{
	return live->is_aborted && shadow->is_aborted && live->refused == 0 && shadow->refused == 0
		&& !shadow->is_dropped;
}

/* One of them has a verdict, and the other has not. It has gone on where the first one stopped, if it has come as far:
 * an abort ends live scripts while they wait, but never the shadow. */
static uint32_t compare_undecided(const struct mm_upshot *live, const struct mm_upshot *shadow)
{
	const struct mm_upshot *decided = live->is_aborted ? shadow : live;
	bool has_gone_on = live->is_aborted ? live->stage > shadow->stage : shadow->stage >= live->stage;
	return lets_through(decided) || !has_gone_on ? MM_DIFFERENCE_UNSEEN : MM_DIFFERENCE_BIT(verdict);
}

static uint32_t compare_decided(const struct mm_upshot *live, const struct mm_upshot *shadow)
{
	uint32_t kinds = 0;
	bool passes = lets_through(live);
	if (passes != lets_through(shadow) || (!passes && live->verdict != shadow->verdict))
		return MM_DIFFERENCE_BIT(verdict);
	if (!passes)
		return live->reply_hash != shadow->reply_hash ? MM_DIFFERENCE_BIT(reply) : 0;
	for (int i = 0; i < MM_DIFFERENCE_COUNT; i++)
		if (live->edits[i] != shadow->edits[i])
			kinds |= 1u << i;
	return kinds;
}

uint32_t mm_upshot_compare(const struct mm_upshot *live, const struct mm_upshot *shadow)
{
	if (shadow->is_dropped)
		return MM_DIFFERENCE_BIT(slow);
	if (has_failed(live) != has_failed(shadow))
		return MM_DIFFERENCE_BIT(error);
	uint32_t kinds = live->refused != shadow->refused ? MM_DIFFERENCE_BIT(refused) : 0;
	if (live->is_aborted && shadow->is_aborted)
		return kinds;
	uint32_t more = live->is_aborted || shadow->is_aborted ? compare_undecided(live, shadow)
		: compare_decided(live, shadow);
	return kinds != 0 && more == MM_DIFFERENCE_UNSEEN ? kinds : kinds | more;
}

static bool has_line(const char *lines, const char *line, size_t size)
{
	for (const char *at = lines; *at != '\0'; at += *at == '\n') {
		size_t n = strcspn(at, "\n");
		if (n == size && memcmp(at, line, n) == 0)
			return true;
		at += n;
	}
	return false;
}

char *mm_upshot_odd_lines(const struct mm_upshot *a, const struct mm_upshot *b, bool redacts, char *to, size_t size)
{
	size_t used = 0;
	to[0] = '\0';
	for (const char *at = a->lines; *at != '\0'; at += *at == '\n') {
		size_t n = strcspn(at, "\n"), shown = redacts ? strcspn(at, ":<\n") : n;
		if (!has_line(b->lines, at, n) && used < size)
			used += (size_t)snprintf(to + used, size - used, "%s%.*s", used > 0 ? "; " : "", (int)shown,
				at);
		at += n;
	}
	return to;
}
