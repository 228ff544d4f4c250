/* fuzz/edits.c -- any edits of any header, as scripts ask for them: both MTAs accept every packet, and apply the
 * packets (mail_file.h) to give the list of fields that the scripts saw.
 * Input: one byte for the MTA and the number of fields that the message keeps, then fields until 0xff, then edits. */
#include "base/bounds.h"
#include "base/text.h"
#include "milter/edit.h"
#include "mta/mail_edit.h"
#include "mta/mail_file.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const names[] = { "A", "B", "Subject", "X-Tag" };

struct input {
	const uint8_t *at, *end;
};

static uint8_t next(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static struct mm_text take(struct input *in, size_t n)
{
	n = n > (size_t)(in->end - in->at) ? (size_t)(in->end - in->at) : n;
	struct mm_text t = { (const char *)in->at, n };
	in->at += n;
	return t;
}

static struct mm_text name_of(uint8_t c)
{
	return (struct mm_text){ names[c % 4], strlen(names[c % 4]) };
}

static void edit(struct mm_message *m, const struct mm_grants *g, struct input *in)
{
	struct mm_fault why = { .text = "" };
	uint8_t what = next(in), n = next(in);
	struct mm_text name = what & 0x40 ? take(in, n % 8) : name_of(n), value = take(in, next(in) % 24),
		none = { "", 0 };
	int64_t nth = (int8_t)next(in) % 8;
	bool ok = true;
	switch (what % 12) {
	case 0: ok = mm_edit_add_header(m, g, name, value, &why); break;
	case 1: ok = mm_edit_insert_header(m, g, nth, name, value, &why); break;
	case 2: ok = mm_edit_change_header(m, g, name, nth, value, &why); break;
	case 3: ok = mm_edit_delete_header(m, g, name, nth, &why); break;
	case 4: ok = mm_edit_delete_headers(m, g, name, &why); break;
	case 5: ok = mm_edit_change_from(m, g, value, what & 0x80 ? name : none, &why); break;
	case 6: ok = mm_edit_add_recipient(m, g, value, what & 0x80 ? name : none, &why); break;
	case 7: ok = mm_edit_delete_recipient(m, g, value, &why); break;
	case 8: ok = mm_edit_replace_body(m, g, value, 1 << 20, &why); break;
	case 9: ok = mm_edit_quarantine(m, g, value, &why); break;
	case 10: if (m->field_count > 0) ok = mm_edit_field(m, g, n % m->field_count, value, value.size == 0, &why);
		break;
	case 11: if (m->field_count > 0) ok = mm_edit_insert_before(m, g, n % m->field_count, name_of(n), value, &why);
		break;
	}
	if (!ok && why.text[0] == '\0')
		abort();
}

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

/* Of the added fields of its name, was this one asked for first? Only that one is sent while the
 * name has no other field. */
static bool is_first_asked(const struct mm_message *m, const struct mm_field *f)
{
	for (uint32_t i = 0; i < m->field_count; i++) {
		const struct mm_field *other = &m->fields[i];
		if (!other->is_received && other->asked < f->asked
		    && mm_text_equal_blind(mm_message_text(m, other->name), mm_message_text(m, f->name)))
			return false;
	}
	return !f->is_received;
}

/* A field that is in Sendmail's list without a value (From, Date) is set in its place, above the
 * client's (protocol 3.7). */
static bool stands_above(const struct mm_message *m, const struct mm_field *f, const struct mm_mail_file *mail)
{
	if (!is_first_asked(m, f))
		return false;
	for (uint32_t i = 0; i < mail->field_count; i++) {
		const struct mm_mail_field *own = &mail->fields[i];
		if (own->is_own && !own->is_gone
		    && mm_text_equal_blind(mm_mail_text(mail, own->name), mm_message_text(m, f->name)))
			return true;
	}
	return false;
}

/* The next field of the MTA's message, NULL at its end. */
static const struct mm_mail_field *next_theirs(const struct mm_mail_file *mail, uint32_t *at)
{
	while (*at < mail->field_count && (mail->fields[*at].is_gone || mail->fields[*at].is_own))
		++*at;
	return *at < mail->field_count ? &mail->fields[(*at)++] : NULL;
}

static void compare_field(const struct mm_message *m, const struct mm_field *f, const struct mm_mail_file *mail,
	const struct mm_mail_field *theirs)
{
	if (theirs == NULL)
		fail("the MTA has fewer fields");
	struct mm_text value = mm_message_text(m, f->value), their_value = mm_mail_text(mail, theirs->value);
	if (!mm_text_equal_blind(mm_message_text(m, f->name), mm_mail_text(mail, theirs->name)))
		fail("another field stands there");
	if (their_value.size > 0 && their_value.bytes[0] == ' ') {
		their_value.bytes++;
		their_value.size--;
	}
	if (f->is_received && !f->is_changed && value.size > 0 && value.bytes[0] == ' ' && !f->has_space) {
		value.bytes++;
		value.size--;
	}
	if (value.size != their_value.size || memcmp(value.bytes, their_value.bytes, value.size) != 0)
		fail("the field has another value");
}

/* Compares the fields that a script saw last with those in the MTA's message. Of a header that is cut the unkept fields
 * come after the kept ones, unchanged, and before those that were added at the end. */
static void compare(const struct mm_message *m, const struct mm_message *unkept, const struct mm_mail_file *mail)
{
	uint32_t at = 0, at_end = 0;
	bool is_at_end = false;
	for (uint32_t i = 0; i < m->field_count; i++) {
		const struct mm_field *f = &m->fields[i];
		is_at_end = m->is_header_cut && !f->is_received && (is_at_end || f->blind_at == UINT32_MAX);
		if (f->is_deleted || stands_above(m, f, mail))
			continue;
		if (is_at_end)
			at_end++;
		else
			compare_field(m, f, mail, next_theirs(mail, &at));
	}
	for (uint32_t i = 0; i < unkept->field_count; i++)
		compare_field(unkept, &unkept->fields[i], mail, next_theirs(mail, &at));
	while (next_theirs(mail, &at) != NULL)
		if (at_end-- == 0)
			fail("the MTA has more fields");
	if (at_end != 0)
		fail("the MTA has fewer fields");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct mm_offer offer = { 6, 0x1ff, 0x1fffff };
	struct input in = { data, data + size };
	struct mm_message *pool = NULL, *m = mm_message_take(&pool), *unkept = mm_message_take(&pool);
	struct mm_grants g = { .version = 6, .actions = 0x1ff };
	struct mm_buffer file = { .size = 0 }, out = { .size = 0 };
	struct mm_mail_file mail = { .field_count = 0 };
	struct mm_fault why;
	struct mm_mta mta;
	struct mm_frame f;
	struct mm_packet p;
	uint8_t shape = next(&in);
	enum mm_mta_kind kind = shape & 1 ? MM_MTA_SENDMAIL : MM_MTA_POSTFIX;
	bool space = shape & 2, compares = !(shape & 4);
	uint32_t kept = shape & 8 ? shape >> 4 : UINT32_MAX;
	g.steps = space ? SMFIP_HDR_LEADSPC : 0;
	g.offer = offer;
	m->knows_fields = compares;
	for (uint8_t c; in.at < in.end && (c = next(&in)) != 0xff && compares;) {
		char value[16];
		int n = snprintf(value, sizeof value, "v%u", c);
		struct mm_text name = name_of(c);
		m->is_header_cut = m->field_count >= kept;
		mm_message_add_field(m->is_header_cut ? unkept : m, name, (struct mm_text){ value, (size_t)n }, true);
		mm_buffer_append(&file, name.bytes, name.size);
		mm_buffer_append(&file, ": ", 2);
		mm_buffer_append(&file, value, (size_t)n);
		mm_buffer_append(&file, "\n", 1);
	}
	mm_buffer_append(&file, "\nbody\n", 6);
	while (in.at < in.end)
		edit(m, &g, &in);
	mm_edits_write(m, &g, kind, &out);
	mm_mta_init(&mta, &offer);
	mta.agreed = offer;
	if (!mm_mail_file_parse(&mail, file.bytes, file.size, &why) || !mm_mail_edit_take_in(&mail, kind, &why))
		fail(why.text);
	mm_frame_init(&f, MM_PACKET_DATA_MAX_1M);
	mm_frame_feed(&f, out.bytes, out.size, &why);
	while (mm_frame_next(&f, &p, &why) == MM_FRAME_PACKET) {
		struct mm_mta_reply r;
		if (!mm_mta_decode(&p, &r, &why) || !mm_mta_accepts(&mta, 'E', &r, &why)
		    || !mm_mail_edit_apply(&mail, kind, space, &r, &why))
			fail(why.text);
		mm_frame_done(&f);
	}
	if (mm_frame_pending(&f) != 0)
		fail("half a packet");
	if (compares)
		compare(m, unkept, &mail);
	mm_frame_free(&f);
	mm_mta_free(&mta);
	mm_mail_file_free(&mail);
	mm_buffer_free(&file);
	mm_buffer_free(&out);
	mm_message_put(&pool, m);
	mm_message_put(&pool, unkept);
	mm_message_pool_free(&pool);
	return 0;
}
