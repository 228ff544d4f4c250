#include "milter/reply.h"

#include "milter/frame.h"

#include <string.h>

static void write_u32(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 24);
	to[1] = (uint8_t)(value >> 16);
	to[2] = (uint8_t)(value >> 8);
	to[3] = (uint8_t)value;
}

void mm_reply_bare(struct mm_buffer *out, enum mm_reply_letter letter)
{
	mm_frame_write(out, (uint8_t)letter, NULL, 0);
}

/* Starts a packet whose length end() fills in; when memory runs out on the way, out is left unchanged. */
static size_t begin(struct mm_buffer *out, enum mm_reply_letter letter)
{
	size_t start = out->size;
	mm_buffer_append_u32(out, 0);
	mm_buffer_append_u8(out, (uint8_t)letter);
	return start;
}

static void end(struct mm_buffer *out, size_t start)
{
	if (out->failed) {
		out->size = start;
		return;
	}
	write_u32(out->bytes + start, (uint32_t)(out->size - start - 4));
}

void mm_reply_text(struct mm_buffer *out, enum mm_reply_letter letter, struct mm_text text)
{
	mm_reply_texts(out, letter, text, (struct mm_text){ NULL, 0 });
}

void mm_reply_texts(struct mm_buffer *out, enum mm_reply_letter letter, struct mm_text first, struct mm_text second)
{
	size_t start = begin(out, letter);
	mm_buffer_append_text(out, first.bytes, first.size);
	if (second.bytes != NULL)
		mm_buffer_append_text(out, second.bytes, second.size);
	end(out, start);
}

static void append_field(struct mm_buffer *out, struct mm_text name, struct mm_text value, bool space)
{
	mm_buffer_append_text(out, name.bytes, name.size);
	if (space && value.size > 0)            /* for m an empty value means "delete": it must stay empty */
		mm_buffer_append_u8(out, ' ');
	mm_buffer_append_text(out, value.bytes, value.size);
}

void mm_reply_header(struct mm_buffer *out, struct mm_text name, struct mm_text value, bool space)
{
	size_t start = begin(out, SMFIR_ADDHEADER);
	append_field(out, name, value, space);
	end(out, start);
}

void mm_reply_indexed_header(struct mm_buffer *out, enum mm_reply_letter letter, uint32_t index,
	struct mm_text name, struct mm_text value, bool space)
{
	size_t start = begin(out, letter);
	mm_buffer_append_u32(out, index);
	append_field(out, name, value, space);
	end(out, start);
}
