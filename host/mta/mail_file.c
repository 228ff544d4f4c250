#include "mta/mail_file.h"

#include "base/array.h"
#include "base/bounds.h"
#include "base/text.h"

#include <stdlib.h>
#include <strings.h>

static bool no_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a message");
}

/* The text may be in the store itself: it is copied from its place after the store has grown. */
struct mm_span mm_mail_file_keep(struct mm_mail_file *m, struct mm_text text)
{
	struct mm_span none = { 0, 0 };
	const char *base = (const char *)m->store.bytes;
	bool inside = base != NULL && text.bytes >= base && text.bytes < base + m->store.size;
	size_t offset = inside ? (size_t)(text.bytes - base) : 0;
	if (text.size == 0)
		return none;
	if (m->store.size + text.size > UINT32_MAX || mm_buffer_reserve(&m->store, text.size) == NULL) {
		m->store.failed = true;
		return none;
	}
	struct mm_span span = { (uint32_t)m->store.size, (uint32_t)text.size };
	mm_buffer_append(&m->store, inside ? (const char *)m->store.bytes + offset : text.bytes, text.size);
	return span;
}

void mm_mail_file_free(struct mm_mail_file *m)
{
	mm_buffer_free(&m->store);
	mm_buffer_free(&m->body);
	free(m->fields);
	free(m->recipients);
	*m = (struct mm_mail_file){ 0 };
}

bool mm_mail_file_copy(struct mm_mail_file *to, const struct mm_mail_file *from, struct mm_fault *why)
{
	*to = *from;
	to->store = to->body = (struct mm_buffer){ 0 };
	to->fields = NULL;
	to->recipients = NULL;
	to->field_capacity = to->recipient_capacity = 0;
	mm_buffer_append(&to->store, from->store.bytes, from->store.size);
	mm_buffer_append(&to->body, from->body.bytes, from->body.size);
	bool ok = !to->store.failed && !to->body.failed;
	if (ok && from->field_count > 0) {
		to->fields = malloc(from->field_count * sizeof *to->fields);
		ok = to->fields != NULL;
	}
	if (ok && from->recipient_count > 0) {
		to->recipients = malloc(from->recipient_count * sizeof *to->recipients);
		ok = to->recipients != NULL;
	}
	if (!ok) {
		mm_mail_file_free(to);
		return no_memory(why);
	}
	if (from->field_count > 0)
		memcpy(to->fields, from->fields, from->field_count * sizeof *to->fields);
	if (from->recipient_count > 0)
		memcpy(to->recipients, from->recipients, from->recipient_count * sizeof *to->recipients);
	to->field_capacity = from->field_count;
	to->recipient_capacity = from->recipient_count;
	return true;
}

/* ---- reading ---- */

/* The next line without its end; *ended_by: bytes of the end, 0 at the end of the file. */
static struct mm_text next_line(struct mm_text *left, size_t *ended_by)
{
	const char *lf = left->size > 0 ? memchr(left->bytes, '\n', left->size) : NULL;
	struct mm_text line = { left->bytes, lf != NULL ? (size_t)(lf - left->bytes) : left->size };
	*ended_by = lf != NULL;
	if (lf != NULL && line.size > 0 && line.bytes[line.size - 1] == '\r') {
		line.size--;
		*ended_by = 2;
	}
	left->bytes += line.size + *ended_by;
	left->size -= line.size + *ended_by;
	return line;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Bytes of the field name at the start of a line, 0 when the line is not a field (RFC 5322 2.2; blanks before the colon
 * are obsolete, but still occur). */
static size_t name_size(struct mm_text line, uint32_t *blanks)
{
	size_t size = 0, colon;
	while (size < line.size && line.bytes[size] > ' ' && line.bytes[size] < 0x7f && line.bytes[size] != ':')
		size++;
	for (colon = size; colon < line.size && is_blank(line.bytes[colon]);)
		colon++;
	if (size == 0 || colon == line.size || line.bytes[colon] != ':')
		return 0;
	*blanks = (uint32_t)(colon - size);
	return size;
}

struct mm_mail_field *mm_mail_file_put_field(struct mm_mail_file *m, uint32_t at)
{
	if (!mm_array_grow(&m->fields, m->field_count, &m->field_capacity, sizeof *m->fields))
		return NULL;
	memmove(m->fields + at + 1, m->fields + at, (m->field_count - at) * sizeof *m->fields);
	m->field_count++;
	m->fields[at] = (struct mm_mail_field){ .is_own = false };
	return &m->fields[at];
}

static bool check_field(const struct mm_mail_file *m, const struct mm_mail_field *f, size_t line, struct mm_fault *why)
{
	struct mm_text value = mm_mail_text(m, f->value);
	if (memchr(value.bytes, '\0', value.size) != NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "line %zu: a NUL in the header; no milter packet can "
			"carry it", line);
	if (f->name.size + value.size + 2 > MM_PACKET_DATA_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "line %zu: a header field of %zu bytes; a milter packet "
			"holds %u", line, f->name.size + value.size, MM_PACKET_DATA_MAX);
	return true;
}

/* Reads one field and the lines that continue it. Afterwards left begins after them. */
static bool read_field(struct mm_mail_file *m, struct mm_text line, size_t size, uint32_t blanks, struct mm_text *left,
	size_t *line_number, struct mm_fault *why)
{
	size_t first = *line_number, ended_by;
	struct mm_mail_field *f = mm_mail_file_put_field(m, m->field_count);
	if (f == NULL)
		return no_memory(why);
	f->blanks = blanks;
	f->name = mm_mail_file_keep(m, (struct mm_text){ line.bytes, size + blanks });
	f->name.size = (uint32_t)size;
	size_t start = m->store.size;
	mm_buffer_append(&m->store, line.bytes + size + blanks + 1, line.size - size - blanks - 1);
	while (left->size > 0 && is_blank(left->bytes[0])) {
		struct mm_text more = next_line(left, &ended_by);
		++*line_number;
		mm_buffer_append_u8(&m->store, '\n');
		mm_buffer_append(&m->store, more.bytes, more.size);
	}
	if (m->store.failed || m->store.size > UINT32_MAX)
		return no_memory(why);
	f->value = (struct mm_span){ (uint32_t)start, (uint32_t)(m->store.size - start) };
	return check_field(m, f, first, why);
}

/* Puts a CR before every LF, and ends the last line: an SMTP client would have sent it like this. */
static void append_lines(struct mm_buffer *to, struct mm_text text)
{
	while (text.size > 0) {
		size_t ended_by;
		struct mm_text line = next_line(&text, &ended_by);
		mm_buffer_append(to, line.bytes, line.size);
		mm_buffer_append(to, "\r\n", 2);
	}
}

bool mm_mail_file_end_body(struct mm_mail_file *m)
{
	struct mm_buffer pieces = m->body;
	m->body = (struct mm_buffer){ .size = 0 };
	append_lines(&m->body, (struct mm_text){ (const char *)pieces.bytes, pieces.size });
	m->body.failed |= pieces.failed;
	mm_buffer_free(&pieces);
	return !m->body.failed;
}

bool mm_mail_file_parse(struct mm_mail_file *m, const void *bytes, size_t n, struct mm_fault *why)
{
	struct mm_text left = { bytes, n };
	size_t line_number = 1, ended_by;
	if (n > UINT32_MAX / 2)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%zu bytes; a message may have 2 GiB", n);
	struct mm_text peek = left, first = next_line(&peek, &ended_by);
	uint32_t blanks_before_colon;
	m->has_lf_lines = ended_by != 2;
	if (first.size >= 5 && memcmp(first.bytes, "From ", 5) == 0 && name_size(first, &blanks_before_colon) == 0) {
		left = peek;
		line_number++;
	}
	for (;; line_number++) {
		uint32_t blanks;
		peek = left;
		struct mm_text line = next_line(&left, &ended_by);
		size_t size = name_size(line, &blanks);
		if (size > 0) {
			if (!read_field(m, line, size, blanks, &left, &line_number, why))
				return false;
			continue;
		}
		if (line.size > 0) {
			if (m->field_count == 0)
				return mm_fault_set(why, MM_FAULT_CONFIG, "line %zu is neither a header field nor "
					"empty: \"%.*s\"; this is not a message", line_number,
					(int)(line.size < 60 ? line.size : 60), line.bytes);
			left = peek;            /* it already belongs to the body */
		}
		break;
	}
	append_lines(&m->body, left);
	return !m->body.failed || no_memory(why);
}

struct mm_text mm_mail_file_value(const struct mm_mail_file *m, const char *name)
{
	for (uint32_t i = 0; i < m->field_count; i++) {
		const struct mm_mail_field *f = &m->fields[i];
		if (!f->is_own && !f->is_gone && mm_text_equal_blind(mm_mail_text(m, f->name), mm_text_of(name)))
			return mm_mail_text(m, f->value);
	}
	return (struct mm_text){ NULL, 0 };
}

/* ---- envelope ---- */

static struct mm_text trimmed(struct mm_text t)
{
	while (t.size > 0 && strchr(" \t\r\n", t.bytes[0]) != NULL && t.bytes[0] != '\0') {
		t.bytes++;
		t.size--;
	}
	while (t.size > 0 && strchr(" \t\r\n", t.bytes[t.size - 1]) != NULL && t.bytes[t.size - 1] != '\0')
		t.size--;
	return t;
}

struct mm_span mm_mail_file_keep_address(struct mm_mail_file *m, struct mm_text address)
{
	address = mm_address_bare(address);
	mm_buffer_append_u8(&m->store, '<');
	uint32_t at = (uint32_t)m->store.size - 1;
	mm_buffer_append(&m->store, address.bytes, address.size);
	mm_buffer_append_u8(&m->store, '>');
	return (struct mm_span){ at, (uint32_t)address.size + 2 };
}

/* Bytes of an address before the parameters: up to the first blank outside quotes and brackets. */
static size_t address_size(struct mm_text t)
{
	bool quoted = false;
	for (size_t i = 0; i < t.size; i++) {
		if (t.bytes[i] == '"')
			quoted = !quoted;
		else if (t.bytes[i] == '\\' && quoted)
			i++;
		else if (!quoted && is_blank(t.bytes[i]))
			return i;
	}
	return t.size;
}

/* "A=1 B=2" as strings ended by NUL. text must not be in the store. */
struct mm_span mm_mail_file_keep_params(struct mm_mail_file *m, struct mm_text text)
{
	size_t start = m->store.size;
	while ((text = trimmed(text)).size > 0) {
		size_t size = 0;
		while (size < text.size && !is_blank(text.bytes[size]))
			size++;
		mm_buffer_append_text(&m->store, text.bytes, size);
		text.bytes += size;
		text.size -= size;
	}
	return (struct mm_span){ (uint32_t)start, (uint32_t)(m->store.size - start) };
}

/* Copies a text of the header, which is in the store and would move. False: out of memory. */
static bool out_of_store(struct mm_text text, char **copy, struct mm_text *out)
{
	*copy = malloc(text.size + 1);
	if (*copy == NULL)
		return false;
	memcpy(*copy, text.bytes, text.size);
	*out = trimmed((struct mm_text){ *copy, text.size });
	return true;
}

bool mm_mail_file_set_sender(struct mm_mail_file *m, struct mm_text given)
{
	char *copy;
	struct mm_text text;
	if (!out_of_store(given, &copy, &text))
		return false;
	size_t size = address_size(text);
	m->sender = mm_mail_file_keep_address(m, (struct mm_text){ text.bytes, size });
	m->sender_params = mm_mail_file_keep_params(m, (struct mm_text){ text.bytes + size, text.size - size });
	free(copy);
	return !m->store.failed;
}

bool mm_mail_file_add_recipient(struct mm_mail_file *m, struct mm_text given)
{
	char *copy;
	struct mm_text text;
	if (!mm_array_grow(&m->recipients, m->recipient_count, &m->recipient_capacity, sizeof *m->recipients)
	    || !out_of_store(given, &copy, &text))
		return false;
	size_t size = address_size(text);
	struct mm_mail_recipient *r = &m->recipients[m->recipient_count];
	r->address = mm_mail_file_keep_address(m, (struct mm_text){ text.bytes, size });
	r->params = mm_mail_file_keep_params(m, (struct mm_text){ text.bytes + size, text.size - size });
	m->recipient_count += !m->store.failed;
	free(copy);
	return !m->store.failed;
}

bool mm_mail_file_put_recipient(struct mm_mail_file *m, struct mm_text address, struct mm_text params)
{
	if (!mm_array_grow(&m->recipients, m->recipient_count, &m->recipient_capacity, sizeof *m->recipients))
		return false;
	struct mm_mail_recipient *r = &m->recipients[m->recipient_count];
	r->address = mm_mail_file_keep(m, address);
	r->params = mm_mail_file_keep(m, params);
	m->recipient_count += !m->store.failed;
	return !m->store.failed;
}

/* The next address of a list like `Ann <ann@x>, bob@y (Bob)`: good enough to fill an envelope, but not a full grammar
 * (moonmilter.address has that). bytes NULL: no more. */
static struct mm_text next_address(struct mm_text *list)
{
	while (list->size > 0) {
		size_t i = 0, from = 0, to = 0;
		int depth = 0;
		bool quoted = false, bracketed = false;
		for (; i < list->size && (quoted || depth > 0 || (list->bytes[i] != ',' && list->bytes[i] != ';'));
		    i++) {
			char c = list->bytes[i];
			if (c == '\\' && i + 1 < list->size)
				i++;
			else if (c == '"' && depth == 0)
				quoted = !quoted;
			else if (!quoted && c == '(')
				depth++;
			else if (!quoted && c == ')' && depth > 0)
				depth--;
			else if (!quoted && depth == 0 && c == '<' && !bracketed)
				from = i + 1;
			else if (!quoted && depth == 0 && c == '>' && !bracketed) {
				to = i;
				bracketed = true;
			}
		}
		struct mm_text item = { list->bytes, i }, found = { NULL, 0 };
		if (bracketed && to >= from && from > 0) {
			found = trimmed((struct mm_text){ item.bytes + from, to - from });
		} else {
			/* a word with "@", but not `group:` */
			while ((item = trimmed(item)).size > 0 && found.bytes == NULL) {
				size_t size = 0;
				while (size < item.size && strchr(" \t\n", item.bytes[size]) == NULL)
					size++;
				if (memchr(item.bytes, '@', size) != NULL && item.bytes[0] != '(')
					found = (struct mm_text){ item.bytes, size };
				item.bytes += size;
				item.size -= size;
			}
		}
		list->bytes += i + (i < list->size);
		list->size -= i + (i < list->size);
		if (found.bytes != NULL)
			return found;
	}
	return (struct mm_text){ NULL, 0 };
}

static bool add_recipients_of(struct mm_mail_file *m, const char *name)
{
	for (uint32_t i = 0; i < m->field_count; i++) {
		if (!mm_text_equal_blind(mm_mail_text(m, m->fields[i].name), mm_text_of(name)))
			continue;
		char *copy;
		struct mm_text list, address;
		if (!out_of_store(mm_mail_text(m, m->fields[i].value), &copy, &list))
			return false;
		bool ok = true;
		while (ok && (address = next_address(&list)).bytes != NULL)
			ok = mm_mail_file_add_recipient(m, address);
		free(copy);
		if (!ok)
			return false;
	}
	return true;
}

static bool guess_sender(struct mm_mail_file *m)
{
	struct mm_text value = mm_mail_file_value(m, "Return-Path");
	if (value.bytes == NULL)
		value = mm_mail_file_value(m, "From");
	struct mm_text address = value.bytes != NULL ? next_address(&value) : value;
	return mm_mail_file_set_sender(m, address.bytes != NULL ? address : mm_text_of("<>"));
}

bool mm_mail_file_guess_envelope(struct mm_mail_file *m)
{
	if (m->sender.size == 0 && !guess_sender(m))
		return false;
	if (m->recipient_count == 0 && !add_recipients_of(m, "Delivered-To"))
		return false;
	if (m->recipient_count == 0 && (!add_recipients_of(m, "To") || !add_recipients_of(m, "Cc")))
		return false;
	return m->recipient_count > 0 || mm_mail_file_add_recipient(m, mm_text_of("<postmaster>"));
}

/* ---- writing ---- */

/* has_crlf: the CR before an LF belongs to the line end; in a header value it is an extra CR, and stays. */
static void append_with_ends(struct mm_buffer *out, struct mm_text text, bool has_crlf, const char *line_end)
{
	while (text.size > 0) {
		const char *lf = memchr(text.bytes, '\n', text.size);
		size_t size = lf != NULL ? (size_t)(lf - text.bytes) : text.size;
		bool has_cr = has_crlf && lf != NULL && size > 0 && text.bytes[size - 1] == '\r';
		mm_buffer_append(out, text.bytes, size - has_cr);
		if (lf != NULL)
			mm_buffer_append(out, line_end, strlen(line_end));
		text.bytes += size + (lf != NULL);
		text.size -= size + (lf != NULL);
	}
}

void mm_mail_file_write_field(const struct mm_mail_file *m, const struct mm_mail_field *f, struct mm_buffer *out)
{
	const char *line_end = m->has_lf_lines ? "\n" : "\r\n";
	struct mm_text name = mm_mail_text(m, f->name);
	mm_buffer_append(out, name.bytes, name.size + f->blanks);
	mm_buffer_append_u8(out, ':');
	append_with_ends(out, mm_mail_text(m, f->value), false, line_end);
	mm_buffer_append(out, line_end, strlen(line_end));
}

void mm_mail_file_write(const struct mm_mail_file *m, struct mm_buffer *out)
{
	const char *line_end = m->has_lf_lines ? "\n" : "\r\n";
	for (uint32_t i = 0; i < m->field_count; i++)
		if (!m->fields[i].is_gone)
			mm_mail_file_write_field(m, &m->fields[i], out);
	mm_buffer_append(out, line_end, strlen(line_end));
	append_with_ends(out, (struct mm_text){ (const char *)m->body.bytes, m->body.size }, true, line_end);
	if (m->body.size > 0 && m->body.bytes[m->body.size - 1] != '\n')
		mm_buffer_append(out, line_end, strlen(line_end));
}
