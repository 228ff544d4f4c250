#include "milter/message.h"

#include "base/array.h"
#include "base/bounds.h"
#include "base/text.h"

#include <stdlib.h>
#include <strings.h>

#define STORE_KEEP  (16u << 10)         /* bytes of store that a pooled message keeps */
#define FIELDS_KEEP 128u                /* elements of an array that a pooled message keeps */
#define POOL_KEEP   64u                 /* messages in the pool */

static void array_trim(void *array, uint32_t *capacity)
{
	if (*capacity <= FIELDS_KEEP)
		return;
	void *old;
	memcpy(&old, array, sizeof old);
	free(old);
	memset(array, 0, sizeof old);
	*capacity = 0;
}

/* The only place where a message's facts end. */
static void message_reset(struct mm_message *m)
{
	mm_buffer_clear(&m->store);
	mm_buffer_trim(&m->store, STORE_KEEP);
	if (m->store.failed)
		mm_buffer_free(&m->store);
	array_trim(&m->recipients, &m->recipient_capacity);
	array_trim(&m->fields, &m->field_capacity);
	array_trim(&m->envelope_edits, &m->envelope_edit_capacity);
	array_trim(&m->blind_edits, &m->blind_edit_capacity);
	mm_new_body_free(&m->new_body);
	if (m->log_fields != NULL)
		m->log_fields->lost = m->log_fields->count = m->log_fields->used = 0;
	*m = (struct mm_message){
		.store = m->store,
		.recipients = m->recipients, .recipient_capacity = m->recipient_capacity,
		.fields = m->fields, .field_capacity = m->field_capacity,
		.envelope_edits = m->envelope_edits, .envelope_edit_capacity = m->envelope_edit_capacity,
		.blind_edits = m->blind_edits, .blind_edit_capacity = m->blind_edit_capacity,
		.log_fields = m->log_fields,
	};
}

static void message_free(struct mm_message *m)
{
	mm_buffer_free(&m->store);
	mm_new_body_free(&m->new_body);
	free(m->recipients);
	free(m->fields);
	free(m->envelope_edits);
	free(m->blind_edits);
	free(m->log_fields);
	free(m);
}

struct mm_message *mm_message_take(struct mm_message **pool)
{
	struct mm_message *m = *pool;
	if (m == NULL)
		return calloc(1, sizeof *m);
	*pool = m->next_free;
	m->next_free = NULL;
	m->pool_depth = 0;
	return m;
}

void mm_message_declare(struct mm_message *m)
{
	if (m->account == NULL)
		return;
	mm_account_declare(m->account, &m->declared, sizeof *m + m->store.capacity + m->new_body.packets.capacity
		+ m->recipient_capacity * sizeof *m->recipients + m->field_capacity * sizeof *m->fields
		+ m->envelope_edit_capacity * sizeof *m->envelope_edits
		+ m->blind_edit_capacity * sizeof *m->blind_edits
		+ (m->log_fields != NULL ? sizeof *m->log_fields : 0));
}

void mm_message_put(struct mm_message **pool, struct mm_message *m)
{
	if (m == NULL)
		return;
	if (m->account != NULL)
		mm_account_declare(m->account, &m->declared, 0);
	message_reset(m);
	uint32_t depth = *pool != NULL ? (*pool)->pool_depth + 1 : 0;
	if (depth >= POOL_KEEP) {
		message_free(m);
		return;
	}
	m->pool_depth = depth;
	m->next_free = *pool;
	*pool = m;
}

void mm_message_pool_free(struct mm_message **pool)
{
	while (*pool != NULL) {
		struct mm_message *m = *pool;
		*pool = m->next_free;
		message_free(m);
	}
}

static inline struct mm_span keep(struct mm_message *m, struct mm_text text)
{
	if (m->store.size + text.size > UINT32_MAX)
		m->store.failed = true;         /* an empty span would pass for an empty text */
	if (text.size == 0 || m->store.failed)
		return (struct mm_span){ 0, 0 };
	struct mm_span span = { (uint32_t)m->store.size, (uint32_t)text.size };
	mm_buffer_append_here(&m->store, text.bytes, text.size);
	return m->store.failed ? (struct mm_span){ 0, 0 } : span;
}

struct mm_span mm_message_keep(struct mm_message *m, struct mm_text text)
{
	return keep(m, text);
}

bool mm_message_set_sender(struct mm_message *m, struct mm_text address, struct mm_text params)
{
	m->sender = mm_message_keep(m, address);
	m->sender_params = mm_message_keep(m, params);
	m->knows_sender = true;
	return !m->store.failed;
}

bool mm_message_add_recipient(struct mm_message *m, struct mm_text address, struct mm_text params, bool refused)
{
	m->last_is_unkept = m->recipients_unkept > 0 || m->recipient_count >= MM_RECIPIENTS_MAX
		|| m->recipient_bytes + address.size + params.size > MM_RECIPIENTS_KEPT_MAX;
	if (m->last_is_unkept) {
		m->recipients_unkept++;
		if (refused)
			mm_message_refuse_recipient(m, 0);
		return true;
	}
	if (!mm_array_grow(&m->recipients, m->recipient_count, &m->recipient_capacity, sizeof *m->recipients))
		return false;
	m->recipients[m->recipient_count++] = (struct mm_recipient){
		.address = mm_message_keep(m, address), .params = mm_message_keep(m, params), .is_refused = refused,
	};
	m->recipient_bytes += (uint32_t)(address.size + params.size);
	m->refused_count += refused;
	return !m->store.failed;
}

void mm_message_refuse_recipient(struct mm_message *m, uint8_t with)
{
	if (m->last_is_unkept) {                /* a message without it: the list lacks nothing */
		m->recipients_unkept--;
		m->last_is_unkept = false;
		return;
	}
	if (m->recipient_count == 0)
		return;
	struct mm_recipient *last = &m->recipients[m->recipient_count - 1];
	m->refused_count += !last->is_refused;
	last->is_refused = true;
	last->refused_with = with;
}

/* As one piece when they came as one: name, NUL, perhaps a space, value. */
static inline void keep_field(struct mm_message *m, struct mm_text name, struct mm_text value, struct mm_span spans[2])
{
	uintptr_t ends = (uintptr_t)name.bytes + name.size, begins = (uintptr_t)value.bytes;
	size_t between = begins - ends;
	if (begins < ends || between > 2) {
		spans[0] = mm_message_keep(m, name);
		spans[1] = mm_message_keep(m, value);
		return;
	}
	struct mm_span both = keep(m, (struct mm_text){ name.bytes, name.size + between + value.size });
	spans[0] = (struct mm_span){ both.at, (uint32_t)name.size };
	spans[1] = (struct mm_span){ both.at + (uint32_t)(name.size + between), (uint32_t)value.size };
	if (both.size == 0)
		spans[0] = spans[1] = both;     /* no memory */
}

bool mm_message_add_field(struct mm_message *m, struct mm_text name, struct mm_text value, bool has_space)
{
	size_t size = m->header_size + name.size + value.size;
	if (m->is_header_cut)
		return true;                    /* a small field after a large one would leave a hole */
	if (size > MM_HEADERS_KEPT_MAX || m->received_count >= MM_FIELDS_KEPT_MAX) {
		m->is_header_cut = true;
		m->fields_changed++;
		return true;
	}
	if (!mm_array_grow(&m->fields, m->field_count, &m->field_capacity, sizeof *m->fields))
		return false;
	struct mm_field *f = &m->fields[m->field_count++];
	struct mm_span spans[2];
	keep_field(m, name, value, spans);
	*f = (struct mm_field){
		.name = spans[0], .value = spans[1],
		.is_received = true, .has_space = has_space, .id = ++m->fields_ever,
	};
	m->header_size = (uint32_t)size;
	m->received_count++;
	m->fields_changed++;
	return !m->store.failed;
}

bool mm_message_log_field(struct mm_message *m, struct mm_text name, struct mm_text value, bool is_bare)
{
	if (m->log_fields == NULL)
		m->log_fields = calloc(1, sizeof *m->log_fields);
	if (m->log_fields == NULL)
		return false;
	mm_pairs_set(m->log_fields, name, value, is_bare);
	return true;
}

void mm_message_note_body(struct mm_message *m, struct mm_text piece)
{
	m->body_size += piece.size;
	if (m->body_reader.read != NULL)
		m->body_reader.read(m->body_reader.self, piece);
}

int64_t mm_message_find_field(const struct mm_message *m, struct mm_text name, int64_t n)
{
	if (n > 0) {
		for (uint32_t i = 0; i < m->field_count; i++)
			if (!m->fields[i].is_deleted && mm_text_equal_blind(mm_message_text(m, m->fields[i].name), name)
			    && --n == 0)
				return i;
		return -1;
	}
	for (uint32_t i = m->field_count; n < 0 && i-- > 0;)
		if (!m->fields[i].is_deleted && mm_text_equal_blind(mm_message_text(m, m->fields[i].name), name)
		    && ++n == 0)
			return i;
	return -1;
}

int64_t mm_message_field_of_id(const struct mm_message *m, uint32_t id)
{
	for (uint32_t i = 0; i < m->field_count; i++)
		if (m->fields[i].id == id && !m->fields[i].is_deleted)
			return i;
	return -1;
}

struct mm_text mm_address_bare(struct mm_text raw)
{
	while (raw.size > 0 && (raw.bytes[0] == ' ' || raw.bytes[0] == '\t')) {
		raw.bytes++;
		raw.size--;
	}
	if (raw.size >= 2 && raw.bytes[0] == '<' && raw.bytes[raw.size - 1] == '>')
		return (struct mm_text){ raw.bytes + 1, raw.size - 2 };
	return raw;
}
