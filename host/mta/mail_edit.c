#include "mta/mail_edit.h"

#include "base/array.h"
#include "base/text.h"

static bool no_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a message");
}

/* Sendmail's list before the client's fields, with Debian's configuration: an insert at index 8 goes before the
 * client's first field (protocol 3.7). All but Received are unset here; an "h" of such a name sets
 * the field in its place. */
static const struct {
	const char *name;
	bool        is_trace;
} sendmail_own[] = {
	{ "Return-Path", true }, { "Received", true }, { "Resent-Date", false }, { "Date", false },
		{ "Resent-From", false },
	{ "From", false }, { "Full-Name", false }, { "Resent-Message-Id", false }, { "Message-Id", false },
};

bool mm_mail_edit_take_in(struct mm_mail_file *m, enum mm_mta_kind kind, struct mm_fault *why)
{
	uint32_t count = kind == MM_MTA_SENDMAIL ? sizeof sendmail_own / sizeof *sendmail_own : 1;
	for (uint32_t i = 0; i < count; i++) {
		struct mm_mail_field *f = mm_mail_file_put_field(m, i);
		if (f == NULL)
			return no_memory(why);
		f->is_own = f->is_gone = true;
		f->is_trace = kind != MM_MTA_SENDMAIL || sendmail_own[i].is_trace;
		f->name = mm_mail_file_keep(m, mm_text_of(kind == MM_MTA_SENDMAIL ? sendmail_own[i].name : "Received"));
	}
	return !m->store.failed || no_memory(why);
}

static bool is_named(const struct mm_mail_file *m, const struct mm_mail_field *f, struct mm_text name)
{
	return mm_text_equal_blind(mm_mail_text(m, f->name), name);
}

static bool set_value(struct mm_mail_file *m, uint32_t at, bool space, struct mm_text value)
{
	struct mm_mail_field *f = &m->fields[at];
	size_t start = m->store.size;
	if (!space)
		mm_buffer_append_u8(&m->store, ' ');
	mm_buffer_append(&m->store, value.bytes, value.size);
	f->value = (struct mm_span){ (uint32_t)start, (uint32_t)(m->store.size - start) };
	f->is_gone = false;
	return !m->store.failed;
}

static bool put_new(struct mm_mail_file *m, uint32_t at, bool space, struct mm_text name, struct mm_text value)
{
	struct mm_mail_field *f = mm_mail_file_put_field(m, at);
	if (f == NULL)
		return false;
	f->name = mm_mail_file_keep(m, name);
	return set_value(m, at, space, value);
}

/* SMFIR_ADDHEADER */
static bool add_header(struct mm_mail_file *m, enum mm_mta_kind kind, bool space, struct mm_text name,
	struct mm_text value)
{
	for (uint32_t i = 0; kind == MM_MTA_SENDMAIL && i < m->field_count; i++) {
		if (!is_named(m, &m->fields[i], name))
			continue;
		if (m->fields[i].is_own && !m->fields[i].is_trace)
			return set_value(m, i, space, value);
		return put_new(m, i, space, name, value);
	}
	return put_new(m, m->field_count, space, name, value);
}

static bool insert_header(struct mm_mail_file *m, enum mm_mta_kind kind, bool space, const struct mm_mta_reply *r)
{
	/* Postfix: index is the number of fields before it. Sendmail: it goes after element number index. */
	uint64_t at = r->index > 0x7fffffff && kind == MM_MTA_SENDMAIL ? 0 : r->index;
	at += kind == MM_MTA_SENDMAIL;
	if (at > m->field_count)
		at = m->field_count;
	return put_new(m, (uint32_t)at, space, r->first, r->second);
}

static void remove_field(struct mm_mail_file *m, enum mm_mta_kind kind, uint32_t at)
{
	m->fields[at].is_gone = true;
	if (kind == MM_MTA_SENDMAIL)
		return;
	m->field_count--;
	memmove(m->fields + at, m->fields + at + 1, (m->field_count - at) * sizeof *m->fields);
}

/* SMFIR_CHGHEADER */
static bool change_header(struct mm_mail_file *m, enum mm_mta_kind kind, bool space, const struct mm_mta_reply *r)
{
	uint32_t nth = r->index == 0 || r->index > 0x7fffffff ? 1 : r->index;
	uint32_t found = UINT32_MAX;
	for (uint32_t i = 0; i < m->field_count && nth > 0; i++) {
		const struct mm_mail_field *f = &m->fields[i];
		if (!is_named(m, f, r->first))
			continue;
		if (!f->is_own && --nth == 0)
			found = i;
		else if (f->is_own && !f->is_trace)
			found = i;              /* Sendmail falls back to its own field */
	}
	if (r->second.size == 0) {
		if (found != UINT32_MAX)
			remove_field(m, kind, found);
		return true;
	}
	if (found == UINT32_MAX)
		return add_header(m, kind, space, r->first, r->second);
	m->fields[found].blanks = 0;
	m->fields[found].is_own = false;
	return set_value(m, found, space, r->second);
}

/* Postfix compares with the recipient as it came, Sendmail compares the parsed forms of both. */
static bool same_recipient(enum mm_mta_kind kind, struct mm_text a, struct mm_text b)
{
	a = mm_address_bare(a);
	b = mm_address_bare(b);
	if (kind == MM_MTA_SENDMAIL)
		return mm_text_equal_blind(a, b);
	return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

static void delete_recipient(struct mm_mail_file *m, enum mm_mta_kind kind, struct mm_text address)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < m->recipient_count; i++)
		if (!same_recipient(kind, mm_mail_text(m, m->recipients[i].address), address))
			m->recipients[kept++] = m->recipients[i];
	m->recipient_count = kept;
}

static bool add_recipient(struct mm_mail_file *m, enum mm_mta_kind kind, struct mm_text address, struct mm_text params)
{
	for (uint32_t i = 0; i < m->recipient_count; i++)
		if (same_recipient(kind, mm_mail_text(m, m->recipients[i].address), address))
			return true;            /* both MTAs deliver once */
	if (!mm_array_grow(&m->recipients, m->recipient_count, &m->recipient_capacity, sizeof *m->recipients))
		return false;
	struct mm_mail_recipient *r = &m->recipients[m->recipient_count];
	r->address = mm_mail_file_keep_address(m, address);
	r->params = mm_mail_file_keep_params(m, params);
	m->recipient_count += !m->store.failed;
	return !m->store.failed;
}

/* The first packet drops the old body. A CRLF may be split between two packets; a bare LF ends a line, too
 * (protocol 3.9, 3.10). */
static bool replace_body(struct mm_mail_file *m, struct mm_text chunk)
{
	if (!m->replaces_body)
		mm_buffer_clear(&m->body);
	m->replaces_body = true;
	for (size_t i = 0; i < chunk.size; i++) {
		bool after_cr = m->body.size > 0 && m->body.bytes[m->body.size - 1] == '\r';
		if (chunk.bytes[i] == '\n' && !after_cr)
			mm_buffer_append_u8(&m->body, '\r');
		mm_buffer_append_u8(&m->body, (uint8_t)chunk.bytes[i]);
	}
	return !m->body.failed;
}

static bool change_sender(struct mm_mail_file *m, enum mm_mta_kind kind, const struct mm_mta_reply *r)
{
	if (r->first.size == 0 && kind == MM_MTA_SENDMAIL)
		return true;
	m->sender = mm_mail_file_keep_address(m, r->first);
	m->sender_params = mm_mail_file_keep_params(m, r->second);
	return !m->store.failed;
}

bool mm_mail_edit_apply(struct mm_mail_file *m, enum mm_mta_kind kind, bool space, const struct mm_mta_reply *r,
	struct mm_fault *why)
{
	bool ok = true;
	bool is_for_null = mm_address_bare(r->first).size == 0;
	switch (r->row->letter) {
	case SMFIR_ADDHEADER:
		ok = (r->first.size == 0 && kind == MM_MTA_SENDMAIL) || add_header(m, kind, space, r->first, r->second);
		break;
	case SMFIR_INSHEADER:
		ok = insert_header(m, kind, space, r);
		break;
	case SMFIR_CHGHEADER:
		ok = r->first.size == 0 || change_header(m, kind, space, r);
		break;
	case SMFIR_ADDRCPT:
	case SMFIR_ADDRCPT_PAR:
		ok = is_for_null || add_recipient(m, kind, r->first, r->second);
		break;
	case SMFIR_DELRCPT:
		delete_recipient(m, kind, r->first);
		break;
	case SMFIR_CHGFROM:
		ok = change_sender(m, kind, r);
		break;
	case SMFIR_REPLBODY:
		ok = replace_body(m, r->first);
		break;
	case SMFIR_QUARANTINE:
		m->is_quarantined = true;
		m->reason = mm_mail_file_keep(m, r->first);
		ok = !m->store.failed;
		break;
	}
	return ok || no_memory(why);
}
