/* fuzz/mail_file.c -- any bytes as a message file, then edits of it as either MTA makes them.
 * Input: one byte of flags, then replies as packets, a byte 0xff, then the file. Checked: a message that is written,
 * read and written again is the same; names and values for packets contain no NUL. */
#include "base/bounds.h"
#include "mta/mail_edit.h"

#include <stdlib.h>

static void check_fields(const struct mm_mail_file *m)
{
	for (uint32_t i = 0; i < m->field_count; i++) {
		struct mm_text value = mm_mail_text(m, m->fields[i].value);
		if (m->fields[i].name.size == 0 || memchr(value.bytes, '\0', value.size) != NULL)
			abort();
	}
}

static void check_again(const struct mm_mail_file *m)
{
	struct mm_buffer once = { .size = 0 }, twice = { .size = 0 };
	struct mm_mail_file again = { .field_count = 0 };
	struct mm_fault why;
	mm_mail_file_write(m, &once);
	if (!mm_mail_file_parse(&again, once.bytes, once.size, &why))
		abort();
	mm_mail_file_write(&again, &twice);
	if (once.size != twice.size || memcmp(once.bytes, twice.bytes, once.size) != 0)
		abort();
	mm_buffer_free(&once);
	mm_buffer_free(&twice);
	mm_mail_file_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_mail_file m = { .field_count = 0 };
	struct mm_fault why;
	if (size < 2)
		return 0;
	enum mm_mta_kind kind = data[0] & 1 ? MM_MTA_SENDMAIL : MM_MTA_POSTFIX;
	const uint8_t *mark = memchr(data + 1, 0xff, size - 1);
	size_t edits_size = mark != NULL ? (size_t)(mark - data - 1) : 0;
	const uint8_t *file = mark != NULL ? mark + 1 : data + 1;
	bool ok = mm_mail_file_parse(&m, file, size - (size_t)(file - data), &why);
	if (ok) {
		check_fields(&m);
		bool has_lf_lines = m.has_lf_lines;
		m.has_lf_lines = false;         /* a CR at the end of a line is ambiguous in a file with LF lines */
		check_again(&m);
		m.has_lf_lines = has_lf_lines;
		mm_mail_file_guess_envelope(&m);
		ok = mm_mail_edit_take_in(&m, kind, &why);
	}
	struct mm_frame frame;
	struct mm_packet p;
	mm_frame_init(&frame, MM_PACKET_DATA_MAX);
	mm_frame_feed(&frame, data + 1, edits_size, &why);
	while (ok && mm_frame_next(&frame, &p, &why) == MM_FRAME_PACKET) {
		struct mm_mta_reply r;
		if (mm_mta_decode(&p, &r, &why))
			mm_mail_edit_apply(&m, kind, data[0] & 2, &r, &why);
		mm_frame_done(&frame);
	}
	if (ok) {
		struct mm_mail_file copy;
		struct mm_buffer out = { .size = 0 };
		mm_mail_file_write(&m, &out);
		if (mm_mail_file_copy(&copy, &m, &why))
			mm_mail_file_free(&copy);
		mm_buffer_free(&out);
	}
	mm_frame_free(&frame);
	mm_mail_file_free(&m);
	return 0;
}
