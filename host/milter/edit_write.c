#include "milter/edit_write.h"

#include "base/text.h"
#include "milter/reply.h"

/* Sendmail keeps its own Return-Path, Received and unset default fields in the list that an insert position counts.
 * With Debian's configuration the client's first field comes after 8 of them, one of which is the Received that we also
 * count as hidden (protocol 3.7). */
#define SENDMAIL_OWN_FIELDS 7u

const char *mm_mta_kind_name(enum mm_mta_kind kind)
{
	static const char *const names[] = {
		[MM_MTA_UNKNOWN] = "unknown", [MM_MTA_POSTFIX] = "postfix", [MM_MTA_SENDMAIL] = "sendmail",
	};
	return names[kind];
}

static void write_envelope(struct mm_message *m, struct mm_buffer *out)
{
	if (m->edits.changes_sender) {
		struct mm_text params = mm_message_text(m, m->edits.new_sender_params);
		if (params.size == 0)
			params.bytes = NULL;
		mm_reply_texts(out, SMFIR_CHGFROM, mm_message_text(m, m->edits.new_sender), params);
	}
	for (uint32_t i = 0; i < m->edits.envelope_count; i++) {
		const struct mm_envelope_edit *e = &m->envelope_edits[i];
		struct mm_text params = mm_message_text(m, e->params);
		if (params.size == 0)
			params.bytes = NULL;
		mm_reply_texts(out, e->letter, mm_message_text(m, e->address), params);
	}
}

static bool has_name(const struct mm_message *m, const struct mm_field *f, struct mm_text name)
{
	return mm_text_equal_blind(mm_message_text(m, f->name), name);
}

/* The number of a received field within its name, from 1: deleted ones count, added ones do not. */
static uint32_t wire_index(const struct mm_message *m, uint32_t index)
{
	struct mm_text name = mm_message_text(m, m->fields[index].name);
	uint32_t nth = 1;
	for (uint32_t i = 0; i < index; i++)
		nth += m->fields[i].is_received && has_name(m, &m->fields[i], name);
	return nth;
}

static bool has_changes(const struct mm_message *m)
{
	for (uint32_t i = 0; i < m->field_count; i++)
		if (m->fields[i].is_changed || m->fields[i].is_deleted)
			return true;
	return false;
}

/* Changes first, then deletions from the last field up: this way no deletion moves an index that is still to be sent.
 * Postfix would count the move, Sendmail would not (protocol 3.7). */
static void write_changes(struct mm_message *m, bool space, struct mm_buffer *out)
{
	struct mm_text none = { "", 0 };
	for (uint32_t i = 0; i < m->edits.blind_count; i++) {
		const struct mm_blind_edit *e = &m->blind_edits[i];
		mm_reply_indexed_header(out, SMFIR_CHGHEADER, e->nth, mm_message_text(m, e->name),
			mm_message_text(m, e->value), space);
	}
	if (!has_changes(m))
		return;
	for (uint32_t i = 0; i < m->field_count; i++) {
		const struct mm_field *f = &m->fields[i];
		if (f->is_changed && !f->is_deleted)
			mm_reply_indexed_header(out, SMFIR_CHGHEADER, wire_index(m, i), mm_message_text(m, f->name),
				mm_message_text(m, f->value), space);
	}
	for (uint32_t i = m->field_count; i-- > 0;) {
		const struct mm_field *f = &m->fields[i];
		if (f->is_deleted)
			mm_reply_indexed_header(out, SMFIR_CHGHEADER, wire_index(m, i),
				mm_message_text(m, f->name), none, space);
	}
}

/* Sendmail makes these up when the client gives none: an added one takes the place of the made-up one. */
#define NAME(text) { text, sizeof text - 1 }
static const struct mm_text made_up[] = { NAME("Date"), NAME("From"), NAME("Message-Id"), { NULL, 0 } };
/* The MTA has its own fields of these names and shows them to no filter: Sendmail would put an added one above its own
 * Received, or into its own field, and later positions would be off by one. So they are inserted at the end. (All but
 * Received then reach no recipient: Sendmail passes them to few mailers, however they are added.) */
static const struct mm_text hidden[] = { NAME("Received"), NAME("Return-Path"), NAME("Full-Name"), NAME("Resent-Date"),
	NAME("Resent-From"), NAME("Resent-Message-Id"), { NULL, 0 } };
#undef NAME

static bool is_one_of(struct mm_text name, const struct mm_text *names)
{
	while (names->bytes != NULL && !mm_text_equal_blind(name, *names))
		names++;
	return names->bytes != NULL;
}

/* Fields asked for earlier are already at the MTA, later ones are not. */
static bool is_at_mta(const struct mm_field *other, const struct mm_field *f)
{
	return other != f && (other->is_received || other->asked <= f->asked);
}

static bool has_namesake(const struct mm_message *m, const struct mm_field *f, struct mm_text name)
{
	for (const struct mm_field *other = m->fields, *end = other + m->field_count; other < end; other++)
		if (is_at_mta(other, f) && has_name(m, other, name))
			return true;
	return false;
}

/* Does it come after all fields that the MTA has of those that we know? What is above the MTA's own does not. */
static bool is_last(const struct mm_message *m, const struct mm_field *f)
{
	if (f < m->fields + m->edits.hidden_at)
		return false;
	for (const struct mm_field *other = f + 1, *end = m->fields + m->field_count; other < end; other++)
		if (is_at_mta(other, f))
			return false;
	return true;
}

/* Does it come after the fields that we do not know? In a header that was cut, also one that follows such a field. */
static bool is_after_unknown(const struct mm_message *m, const struct mm_field *f)
{
	bool is_after = f->blind_at == UINT32_MAX;
	for (const struct mm_field *other = m->fields; m->is_header_cut && other < f; other++)
		if (is_at_mta(other, f))
			is_after = f->blind_at == UINT32_MAX || (!other->is_received
				&& (is_after || other->blind_at == UINT32_MAX));
	return is_after;
}

/* How many fields of the MTA's list it comes after. Sendmail only marks deleted fields, Postfix removes them. */
static uint32_t position_of(const struct mm_message *m, const struct mm_field *f, enum mm_mta_kind mta)
{
	uint32_t before = 0;
	for (const struct mm_field *other = m->fields; other < f; other++)
		before += is_at_mta(other, f) && !other->fills && (!other->is_deleted || mta == MM_MTA_SENDMAIL);
	bool is_below_hidden = f >= m->fields + m->edits.hidden_at;
	uint32_t position = m->knows_fields ? before + is_below_hidden : f->blind_at;
	if (mta == MM_MTA_SENDMAIL && is_below_hidden && position > 0)
		position += SENDMAIL_OWN_FIELDS;
	return position;
}

static void write_added(struct mm_message *m, struct mm_field *f, enum mm_mta_kind mta, bool space,
	struct mm_buffer *out)
{
	struct mm_text name = mm_message_text(m, f->name), value = mm_message_text(m, f->value);
	bool knows_all = m->knows_fields && !m->is_header_cut;
	if (!is_after_unknown(m, f) && !(knows_all && is_last(m, f))) {
		mm_reply_indexed_header(out, SMFIR_INSHEADER, position_of(m, f, mta), name, value, space);
		return;
	}
	/* Sendmail puts an added field before the first of its name, Postfix at the end; for both, an insert far beyond
	 * the end means the end (protocol 3.7). When we do not know all of the client's fields, one of this name may
	 * exist. */
	bool is_alone = !is_one_of(name, hidden) && !has_namesake(m, f, name)
		&& (knows_all || mta != MM_MTA_SENDMAIL || is_one_of(name, made_up));
	f->fills = is_alone && mta == MM_MTA_SENDMAIL && is_one_of(name, made_up);
	if (is_alone)
		mm_reply_header(out, name, value, space);
	else
		mm_reply_indexed_header(out, SMFIR_INSHEADER, MM_INSERT_AT_END, name, value, space);
}

bool mm_edits_have_positions(const struct mm_message *m)
{
	for (uint32_t i = 0; i < m->field_count; i++)
		if (!m->fields[i].is_received && m->fields[i].blind_at != UINT32_MAX)
			return true;
	return false;
}

static void write_additions(struct mm_message *m, enum mm_mta_kind mta, bool space, struct mm_buffer *out)
{
	if (m->field_count == m->received_count)
		return;
	/* most are at the end */
	for (uint32_t asked = 1; asked <= m->edits.count; asked++)
		for (uint32_t i = m->field_count; i-- > 0;)
			if (m->fields[i].asked == asked && !m->fields[i].is_received) {
				write_added(m, &m->fields[i], mta, space, out);
				break;
			}
}

void mm_edits_write(struct mm_message *m, const struct mm_grants *g, enum mm_mta_kind mta, struct mm_buffer *out)
{
	bool space = g->steps & SMFIP_HDR_LEADSPC;
	write_envelope(m, out);
	write_changes(m, space, out);
	write_additions(m, mta, space, out);
	/* A later milter of Sendmail gets the new body as it is, and a last line without an end makes OpenDKIM sign
	 * nothing; Postfix ends it by itself. */
	if (m->edits.replaces_body && mta == MM_MTA_SENDMAIL)
		mm_new_body_end_line(&m->new_body);
	if (m->edits.replaces_body)
		mm_new_body_write(&m->new_body, out);
	if (m->edits.quarantines)
		mm_reply_text(out, SMFIR_QUARANTINE, mm_message_text(m, m->edits.quarantine_reason));
}
