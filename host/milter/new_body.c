#include "milter/new_body.h"

#include "base/bounds.h"
#include "milter/reply.h"

#include <string.h>

/* A new body is kept as the packets that will carry it, so that its megabytes are copied once. All packets are full
 * except the last, whose length is written when the body is complete. */
#define PACKET_HEAD 5u          /* length and letter */
#define FULL_PACKET (PACKET_HEAD + MM_CHUNK_SIZE)
#define FRONT_SIZE  4096u       /* bytes kept free at the start: for the edits that are sent before the body */
#define HANDED_OVER (32u << 10) /* a body of this many bytes is not copied after them */

static const char *next_of(const char *p, const char *end, char wanted)
{
	const char *found = p < end ? memchr(p, wanted, (size_t)(end - p)) : NULL;
	return found != NULL ? found : end;
}

static void write_head(uint8_t *to, size_t chunk_size)
{
	uint32_t length = (uint32_t)chunk_size + 1;
	to[0] = (uint8_t)(length >> 24);
	to[1] = (uint8_t)(length >> 16);
	to[2] = (uint8_t)(length >> 8);
	to[3] = (uint8_t)length;
	to[4] = SMFIR_REPLBODY;
}

static void begin_packet(struct mm_buffer *b)
{
	uint8_t head[PACKET_HEAD];
	write_head(head, MM_CHUNK_SIZE);
	mm_buffer_append(b, head, sizeof head);
}

static void append_bytes(struct mm_buffer *b, const char *bytes, size_t n)
{
	while (n > 0 && !b->failed) {
		if (b->size % FULL_PACKET == 0)
			begin_packet(b);
		size_t room = FULL_PACKET - b->size % FULL_PACKET, part = n < room ? n : room;
		mm_buffer_append(b, bytes, part);
		bytes += part;
		n -= part;
	}
}

size_t mm_new_body_size(const struct mm_new_body *body)
{
	const struct mm_buffer *b = &body->packets;
	return b->size - (b->size + FULL_PACKET - 1) / FULL_PACKET * PACKET_HEAD;
}

bool mm_new_body_next(const struct mm_new_body *body, size_t *at, struct mm_text *piece)
{
	const struct mm_buffer *b = &body->packets;
	if (*at >= b->size)
		return false;
	size_t size = b->size - *at < FULL_PACKET ? b->size - *at : FULL_PACKET;
	*piece = (struct mm_text){ (const char *)b->bytes + *at + PACKET_HEAD, size - PACKET_HEAD };
	*at += size;
	return true;
}

/* Appends with every line end as CRLF. A CR at the end of a piece waits for the next piece. Most pieces need no change:
 * unchanged stretches are copied in one go, and memchr() looks at each byte once for CR and once for LF. */
static void append_lines(struct mm_new_body *body, const char *p, const char *end)
{
	struct mm_buffer *b = &body->packets;
	if (p == end)
		return;
	if (body->ends_in_cr) {
		append_bytes(b, "\r\n", 2);
		p += *p == '\n';
	}
	const char *copied = p, *cr = next_of(p, end, '\r'), *lf = next_of(p, end, '\n');
	while (p < end && !b->failed) {
		const char *stop = cr < lf ? cr : lf;
		if (stop == end || (stop == cr && stop + 1 == end))
			break;
		bool is_right = stop == cr && lf == cr + 1;
		p = stop + (is_right ? 2 : 1);
		if (!is_right) {
			append_bytes(b, copied, (size_t)(stop - copied));
			append_bytes(b, "\r\n", 2);
			copied = p;
		}
		if (cr < p)
			cr = next_of(p, end, '\r');
		if (lf < p)
			lf = next_of(p, end, '\n');
	}
	body->ends_in_cr = cr < end && cr + 1 == end;
	append_bytes(b, copied, (size_t)(end - copied) - body->ends_in_cr);
}

/* Works in blocks that stay in the processor's cache between the search and the copy. */
bool mm_new_body_append(struct mm_new_body *body, struct mm_text piece)
{
	const size_t block = 16u << 10;
	mm_buffer_plan_head(&body->packets, FRONT_SIZE);
	mm_buffer_reserve(&body->packets, piece.size + (piece.size / MM_CHUNK_SIZE + 2) * PACKET_HEAD + 64);
	for (size_t at = 0; at < piece.size; at += block)
		append_lines(body, piece.bytes + at, piece.bytes + (piece.size - at < block ? piece.size : at + block));
	return !body->packets.failed;
}

void mm_new_body_end_line(struct mm_new_body *body)
{
	struct mm_buffer *b = &body->packets;
	if (b->size > 0 && !body->ends_in_cr && b->bytes[b->size - 1] != '\n')
		append_bytes(b, "\r\n", 2);
}

/* An empty body is one empty chunk: with no chunk at all the MTA keeps the old one (protocol 3.10). */
static void complete(struct mm_new_body *body)
{
	struct mm_buffer *b = &body->packets;
	if (body->ends_in_cr)
		append_bytes(b, "\r\n", 2);
	body->ends_in_cr = false;
	if (b->size == 0)
		begin_packet(b);
	size_t last = (b->size - 1) / FULL_PACKET * FULL_PACKET;
	if (!b->failed)
		write_head(b->bytes + last, b->size - last - PACKET_HEAD);
}

/* A large body stays where it is: the packets sent before it are prepended, and then it becomes the output. */
void mm_new_body_write(struct mm_new_body *body, struct mm_buffer *out)
{
	struct mm_buffer *b = &body->packets;
	complete(body);
	if (!b->failed && b->size < HANDED_OVER) {
		mm_buffer_append(out, b->bytes, b->size);
		return;
	}
	if (!b->failed && !out->failed)
		mm_buffer_prepend(b, out->bytes, out->size);
	if (b->failed || out->failed) {
		out->failed = true;
		return;
	}
	struct mm_buffer small = *out;
	*out = *b;
	*b = small;
}

struct mm_new_body_end mm_new_body_end(const struct mm_new_body *body)
{
	return (struct mm_new_body_end){ body->packets.size, body->ends_in_cr };
}

void mm_new_body_cut(struct mm_new_body *body, struct mm_new_body_end end)
{
	body->packets.size = end.size;
	body->ends_in_cr = end.ends_in_cr;
}

void mm_new_body_clear(struct mm_new_body *body)
{
	mm_buffer_clear(&body->packets);
	body->ends_in_cr = false;
}

void mm_new_body_free(struct mm_new_body *body)
{
	mm_buffer_free(&body->packets);
	body->ends_in_cr = false;
}
