#include "milter/edit.h"

#include "base/array.h"
#include "base/bounds.h"
#include "base/text.h"
#include "milter/edit_rules.h"

#include <stdlib.h>
#include <strings.h>

static bool has_room(struct mm_message *m, size_t bytes, struct mm_fault *why)
{
	if (m->account == NULL)
		return true;
	mm_message_declare(m);
	const struct mm_account *a = m->account;
	return mm_account_allows(a, bytes) || mm_fault_set(why, MM_FAULT_RESOURCE, "memory_held: this worker holds "
		"%zu of %zu bytes for its sessions, of which %zu for this one; there is no room for %zu more",
		a->sum->held, a->sum->limit, a->held, bytes);
}

static bool kept(struct mm_message *m, struct mm_fault *why)
{
	if (m->store.failed || m->new_body.packets.failed)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for an edit");
	if (!has_room(m, 0, why))
		return false;
	m->edits.count++;
	return true;
}

static bool no_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for an edit");
}

/* ---- header ---- */

static bool may_write(const struct mm_message *m, const struct mm_grants *g, uint32_t action, struct mm_text name,
	struct mm_text value, struct mm_fault *why)
{
	return mm_edit_is_granted(g, action, m, why) && mm_edit_name_is_good(name, why)
		&& mm_edit_value_is_good(name, value, why);
}

/* Puts a new field before index `at` of the list. */
static bool put_field(struct mm_message *m, uint32_t at, uint32_t blind_at, struct mm_text name, struct mm_text value,
	struct mm_fault *why)
{
	if (!mm_array_grow(&m->fields, m->field_count, &m->field_capacity, sizeof *m->fields))
		return no_memory(why);
	struct mm_field f = {
		.name = mm_message_keep(m, name), .value = mm_message_keep(m, value),
		.asked = m->edits.count + 1, .blind_at = blind_at, .id = ++m->fields_ever,
	};
	if (!kept(m, why))
		return false;
	memmove(m->fields + at + 1, m->fields + at, (m->field_count - at) * sizeof *m->fields);
	m->fields[at] = f;
	m->field_count++;
	m->fields_changed++;
	return true;
}

bool mm_edit_insert_before(struct mm_message *m, const struct mm_grants *g, uint32_t index, struct mm_text name,
	struct mm_text value, struct mm_fault *why)
{
	if (!may_write(m, g, SMFIF_ADDHDRS, name, value, why) || !put_field(m, index, index, name, value, why))
		return false;
	m->edits.hidden_at += index < m->edits.hidden_at;
	return true;
}

bool mm_edit_add_header(struct mm_message *m, const struct mm_grants *g, struct mm_text name, struct mm_text value,
	struct mm_fault *why)
{
	return may_write(m, g, SMFIF_ADDHDRS, name, value, why)
		&& put_field(m, m->field_count, UINT32_MAX, name, value, why);
}

bool mm_edit_insert_header(struct mm_message *m, const struct mm_grants *g, int64_t position, struct mm_text name,
	struct mm_text value, struct mm_fault *why)
{
	if (position < 0)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "position %lld; 0 is the top, large numbers the end",
			(long long)position);
	if (!may_write(m, g, SMFIF_ADDHDRS, name, value, why))
		return false;
	if (position > MM_INSERT_AT_END)
		position = MM_INSERT_AT_END;

	int64_t seen = 0;
	uint32_t at = 0;
	bool above = false;
	for (;; at++) {
		if (at == m->edits.hidden_at) {
			if (seen == position) {
				above = true;
				break;
			}
			seen++;
		}
		if (at == m->field_count || (seen == position && !m->fields[at].is_deleted))
			break;
		seen += !m->fields[at].is_deleted;
	}
	if (at < m->edits.hidden_at)
		above = true;
	/* a position among fields that we have not kept is the end, as are all large ones */
	uint32_t blind_at = m->is_header_cut && seen < position ? UINT32_MAX : (uint32_t)position;
	if (!put_field(m, at, blind_at, name, value, why))
		return false;
	m->edits.hidden_at += above;
	return true;
}

static bool queue_blind(struct mm_message *m, struct mm_text name, int64_t n, struct mm_text value,
	struct mm_fault *why)
{
	if (n < 0)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "field %lld from the end needs the header, which this "
			"milter did not ask for; add options = { facts = { \"headers\" } } to the script",
			(long long)n);
	if (!mm_array_grow(&m->blind_edits, m->edits.blind_count, &m->blind_edit_capacity, sizeof *m->blind_edits))
		return no_memory(why);
	m->blind_edits[m->edits.blind_count] = (struct mm_blind_edit){
		.name = mm_message_keep(m, name), .value = mm_message_keep(m, value), .nth = n < 1 ? 1 : (uint32_t)n,
	};
	if (!kept(m, why))
		return false;
	m->edits.blind_count++;
	return true;
}

/* The kept fields are the first ones, so their numbers from the top hold; of others nothing is known. */
static bool refuse_cut_header(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_SCRIPT, "the header has more than the %u bytes or %u fields that we keep, so "
		"this field cannot be found or counted", MM_HEADERS_KEPT_MAX, MM_FIELDS_KEPT_MAX);
}

bool mm_edit_field(struct mm_message *m, const struct mm_grants *g, uint32_t index, struct mm_text value, bool deletes,
	struct mm_fault *why)
{
	struct mm_field *f = &m->fields[index];
	struct mm_text name = mm_message_text(m, f->name);
	if (!mm_edit_is_granted(g, f->is_received ? SMFIF_CHGHDRS : SMFIF_ADDHDRS, m, why)
	    || !mm_edit_value_is_good(name, value, why))
		return false;
	/* Its original value stays as written, whatever comes after the colon. */
	struct mm_text came = mm_message_received_value(m, f);
	if (!deletes && f->is_received && value.size == came.size && memcmp(value.bytes, came.bytes, came.size) == 0) {
		if (f->is_changed)
			f->value = f->original;
		f->is_changed = false;
		m->fields_changed++;
		return true;
	}
	if (!deletes) {
		struct mm_span span = mm_message_keep(m, value);
		if (!kept(m, why))
			return false;
		if (f->is_received && !f->is_changed)
			f->original = f->value;
		f->value = span;
		f->is_changed = f->is_received;
		m->fields_changed++;
		return true;
	}
	m->edits.count++;
	m->fields_changed++;
	if (f->is_received) {
		f->is_deleted = true;
		return true;
	}
	m->edits.hidden_at -= index < m->edits.hidden_at;
	m->field_count--;
	memmove(f, f + 1, (m->field_count - index) * sizeof *f);
	return true;
}

bool mm_edit_change_header(struct mm_message *m, const struct mm_grants *g, struct mm_text name, int64_t n,
	struct mm_text value, struct mm_fault *why)
{
	if (!may_write(m, g, SMFIF_CHGHDRS, name, value, why))
		return false;
	if (!m->knows_fields)
		return queue_blind(m, name, n, value, why);
	int64_t index = mm_message_find_field(m, name, n == 0 ? 1 : n);
	if (m->is_header_cut && (n < 0 || index < 0))
		return refuse_cut_header(why);
	if (index >= 0)
		return mm_edit_field(m, g, (uint32_t)index, value, value.size == 0, why);
	if (value.size == 0)
		return true;
	return mm_edit_add_header(m, g, name, value, why);
}

bool mm_edit_delete_header(struct mm_message *m, const struct mm_grants *g, struct mm_text name, int64_t n,
	struct mm_fault *why)
{
	return mm_edit_change_header(m, g, name, n, (struct mm_text){ "", 0 }, why);
}

bool mm_edit_delete_headers(struct mm_message *m, const struct mm_grants *g, struct mm_text name, struct mm_fault *why)
{
	if (!mm_edit_is_granted(g, SMFIF_CHGHDRS, m, why) || !mm_edit_name_is_good(name, why))
		return false;
	if (!m->knows_fields)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "deleting all fields of a name needs the header, which this "
			"milter did not ask for; add options = { facts = { \"headers\" } } to the script");
	if (m->is_header_cut)
		return refuse_cut_header(why);
	for (uint32_t i = m->field_count; i-- > 0;) {
		struct mm_field *f = &m->fields[i];
		if (!f->is_deleted && mm_text_equal_blind(mm_message_text(m, f->name), name)
		    && !mm_edit_field(m, g, i, (struct mm_text){ "", 0 }, true, why))
			return false;
	}
	return true;
}

/* ---- envelope ---- */

static struct mm_span keep_bracketed(struct mm_message *m, struct mm_text bare)
{
	struct mm_span span = { (uint32_t)m->store.size, (uint32_t)bare.size + 2 };
	mm_buffer_append_u8(&m->store, '<');
	mm_buffer_append(&m->store, bare.bytes, bare.size);
	mm_buffer_append_u8(&m->store, '>');
	return span;
}

bool mm_edit_change_from(struct mm_message *m, const struct mm_grants *g, struct mm_text address, struct mm_text params,
	struct mm_fault *why)
{
	struct mm_text bare = mm_address_bare(address);
	if (!mm_edit_is_granted(g, SMFIF_CHGFROM, m, why) || !mm_edit_address_is_good(bare, why)
	    || !mm_edit_params_are_good(SMFIR_CHGFROM, params, why))
		return false;
	struct mm_span sender = keep_bracketed(m, bare), kept_params = mm_message_keep(m, params);
	if (!kept(m, why))
		return false;
	m->edits.changes_sender = true;
	m->edits.new_sender = sender;
	m->edits.new_sender_params = kept_params;
	return true;
}

static bool queue_envelope(struct mm_message *m, enum mm_reply_letter letter, struct mm_text bare,
	struct mm_text params, struct mm_fault *why)
{
	if (!mm_array_grow(&m->envelope_edits, m->edits.envelope_count, &m->envelope_edit_capacity,
	    sizeof *m->envelope_edits))
		return no_memory(why);
	m->envelope_edits[m->edits.envelope_count] = (struct mm_envelope_edit){
		.letter = letter, .address = keep_bracketed(m, bare), .params = mm_message_keep(m, params),
	};
	if (!kept(m, why))
		return false;
	m->edits.envelope_count++;
	return true;
}

bool mm_edit_add_recipient(struct mm_message *m, const struct mm_grants *g, struct mm_text address,
	struct mm_text params, struct mm_fault *why)
{
	struct mm_text bare = mm_address_bare(address);
	bool has_params = params.size > 0;
	return mm_edit_is_granted(g, has_params ? SMFIF_ADDRCPT_PAR : SMFIF_ADDRCPT, m, why)
		&& mm_edit_recipient_is_good(bare, why) && mm_edit_params_are_good(SMFIR_ADDRCPT_PAR, params, why)
		&& queue_envelope(m, has_params ? SMFIR_ADDRCPT_PAR : SMFIR_ADDRCPT, bare, params, why);
}

/* Case does not matter in the domain, but in the mailbox it does (RFC 5321 2.4). */
static bool same_mailbox(struct mm_text a, struct mm_text b)
{
	if (a.size != b.size)
		return false;
	const char *at = memrchr(a.bytes, '@', a.size);
	size_t local = at != NULL ? (size_t)(at - a.bytes) : a.size;
	return memcmp(a.bytes, b.bytes, local) == 0
		&& strncasecmp(a.bytes + local, b.bytes + local, a.size - local) == 0;
}

static bool is_spelt_before(const struct mm_message *m, uint32_t index, struct mm_text bare)
{
	for (uint32_t i = 0; i < index; i++) {
		struct mm_text other = mm_address_bare(mm_message_text(m, m->recipients[i].address));
		if (other.size == bare.size && memcmp(other.bytes, bare.bytes, bare.size) == 0)
			return true;
	}
	return false;
}

bool mm_edit_delete_recipient(struct mm_message *m, const struct mm_grants *g, struct mm_text address,
	struct mm_fault *why)
{
	struct mm_text bare = mm_address_bare(address);
	if (!mm_edit_is_granted(g, SMFIF_DELRCPT, m, why) || !mm_edit_recipient_is_good(bare, why))
		return false;
	if (m->recipients_unkept > 0)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the message has more recipients than the %u that we keep, "
			"so not all spellings of this one are known", m->recipient_count);
	/* Postfix compares byte by byte with the client's spelling, Sendmail parses: so we send every spelling in which
	 * the client has given the mailbox. */
	bool is_known = false;
	char spelling[MM_ADDRESS_MAX + 2];
	for (uint32_t i = 0; i < m->recipient_count; i++) {
		struct mm_text known = mm_address_bare(mm_message_text(m, m->recipients[i].address));
		if (!same_mailbox(known, bare) || is_spelt_before(m, i, known))
			continue;
		memcpy(spelling, known.bytes, known.size);      /* the store may move below */
		known.bytes = spelling;
		if (!mm_edit_is_granted(g, SMFIF_DELRCPT, m, why)
		    || !queue_envelope(m, SMFIR_DELRCPT, known, (struct mm_text){ "", 0 }, why))
			return false;
		is_known = true;
	}
	return is_known || queue_envelope(m, SMFIR_DELRCPT, bare, (struct mm_text){ "", 0 }, why);
}

/* ---- body, quarantine ---- */

bool mm_edit_replace_body(struct mm_message *m, const struct mm_grants *g, struct mm_text piece, size_t body_max,
	struct mm_fault *why)
{
	if (!mm_edit_is_granted(g, SMFIF_CHGBODY, m, why))
		return false;
	size_t size = mm_new_body_size(&m->new_body) + piece.size;
	if (size > body_max)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE,
			"the new body would have %zu bytes; body_max is %zu",
			size, body_max);
	if (!has_room(m, piece.size, why))
		return false;
	if (!mm_new_body_append(&m->new_body, piece))
		return no_memory(why);
	m->edits.count += !m->edits.replaces_body;     /* one edit, however many pieces */
	m->edits.replaces_body = true;
	return true;
}

bool mm_edit_quarantine(struct mm_message *m, const struct mm_grants *g, struct mm_text reason, struct mm_fault *why)
{
	if (!mm_edit_is_granted(g, SMFIF_QUARANTINE, m, why) || !mm_edit_reason_is_good(reason, why))
		return false;
	m->edits.quarantine_reason = mm_message_keep(m, reason);
	if (!kept(m, why))
		return false;
	m->edits.quarantines = true;
	return true;
}

bool mm_edit_seal(struct mm_message *m, const struct mm_grants *g, struct mm_fault *why)
{
	if (!mm_edit_is_granted(g, SMFIF_ADDHDRS, m, why))
		return false;
	m->edits.count++;
	m->edits.seals++;
	return true;
}

static void drop_header_edits(struct mm_message *m)
{
	uint32_t left = 0;
	for (uint32_t i = 0; i < m->field_count; i++) {
		struct mm_field *f = &m->fields[i];
		if (!f->is_received)
			continue;
		if (f->is_changed)
			f->value = f->original;
		f->is_changed = f->is_deleted = false;
		m->fields[left++] = *f;
	}
	m->field_count = left;
	m->fields_changed++;
}

void mm_edits_drop(struct mm_message *m)
{
	drop_header_edits(m);
	m->edits = (struct mm_edits){ .count = 0 };
	mm_new_body_free(&m->new_body);
}

struct mm_edit_mark {
	struct mm_edits    edits;
	struct mm_field   *fields;      /* owned copy */
	uint32_t           field_count;
	struct mm_new_body_end body_end;
	struct mm_new_body body;        /* owned: the new body at the mark, when another one has been begun since */
	struct mm_account *account;     /* borrowed: the message's */
	size_t             declared;    /* for it */
	bool               keeps_body;
};

static void declare_mark(struct mm_edit_mark *mark)
{
	if (mark->account != NULL)
		mm_account_declare(mark->account, &mark->declared, (mark->fields != NULL ? mark->field_count : 0)
			* sizeof *mark->fields + mark->body.packets.capacity);
}

bool mm_edits_mark(const struct mm_message *m, struct mm_edit_mark **mark)
{
	*mark = NULL;
	if (m->edits.count == 0)
		return true;
	struct mm_edit_mark *now = malloc(sizeof *now);
	if (now == NULL)
		return false;
	*now = (struct mm_edit_mark){
		.edits = m->edits, .field_count = m->field_count, .body_end = mm_new_body_end(&m->new_body),
	};
	*mark = now;
	now->account = m->account;
	if (m->field_count == 0)
		return true;
	now->fields = malloc(m->field_count * sizeof *m->fields);
	if (now->fields == NULL)
		return false;
	memcpy(now->fields, m->fields, m->field_count * sizeof *m->fields);
	declare_mark(now);
	return true;
}

void mm_edit_restart_body(struct mm_message *m, struct mm_edit_mark *mark)
{
	if (mark != NULL && mark->edits.replaces_body && !mark->keeps_body) {
		mark->body = m->new_body;
		mark->keeps_body = true;
		m->new_body = (struct mm_new_body){ .ends_in_cr = false };
		declare_mark(mark);
	}
	mm_new_body_clear(&m->new_body);
}

void mm_edits_back_to(struct mm_message *m, struct mm_edit_mark *then)
{
	if (then == NULL) {
		mm_edits_drop(m);
		return;
	}
	if (then->fields != NULL)
		memcpy(m->fields, then->fields, then->field_count * sizeof *m->fields);
	m->field_count = then->field_count;
	m->fields_changed++;
	m->edits = then->edits;
	if (then->keeps_body) {
		mm_new_body_free(&m->new_body);
		m->new_body = then->body;
		then->body = (struct mm_new_body){ .ends_in_cr = false };
		then->keeps_body = false;
		declare_mark(then);
	}
	mm_new_body_cut(&m->new_body, then->body_end);
}

void mm_edit_mark_free(struct mm_edit_mark *mark)
{
	if (mark == NULL)
		return;
	if (mark->account != NULL)
		mm_account_declare(mark->account, &mark->declared, 0);
	mm_new_body_free(&mark->body);
	free(mark->fields);
	free(mark);
}
