#include "bench/traffic.h"

#include "base/array.h"
#include "milter/command.h"
#include "milter/frame.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024

/* Writes hold offsets while the bytes still grow and move; settle() turns them into addresses. */
struct builder {
	const struct mm_bench_shape *shape;
	struct mm_bench_traffic     *traffic;
	struct mm_buffer            *bytes;
	struct mm_bench_write        open;      /* being filled: iov_base are offsets */
	size_t                       open_at;   /* where its last part began */
	struct mm_bench_write       *done;      /* owned until handed to a message */
	uint32_t                     count, capacity;
	bool                         failed;
};

/* ---- packets ---- */

/* A packet whose data are given as a format; "|" stands for the NUL that ends a string. */
__attribute__((format(printf, 3, 4)))
static void packet(struct builder *b, char letter, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;
	va_start(args, format);
	int size = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (size < 0 || (size_t)size >= sizeof text)
		size = sizeof text - 1;
	for (int i = 0; i < size; i++)
		if (text[i] == '|')
			text[i] = '\0';
	mm_frame_write(b->bytes, (uint8_t)letter, text, (size_t)size);
}

static bool is_sent(const struct builder *b, char letter)
{
	const struct mm_command_row *row = mm_command_row((uint8_t)letter);
	if ((letter == SMFIC_DATA && b->shape->version < 4) || (letter == SMFIC_UNKNOWN && b->shape->version < 3))
		return false;
	return !(row->no_step & b->traffic->steps);
}

static bool is_answered(const struct builder *b, char letter)
{
	return !(mm_command_row((uint8_t)letter)->no_reply & b->traffic->steps);
}

/* ---- writes ---- */

/* Ends the part at the end of the bytes. */
static void close_part(struct builder *b)
{
	size_t size = b->bytes->size - b->open_at;
	if (size > 0) {
		struct iovec *part = &b->open.part[b->open.parts++];
		part->iov_base = (void *)(uintptr_t)b->open_at;
		part->iov_len = size;
		b->open.size += size;
	}
	b->open_at = b->bytes->size;
}

/* Adds shared bytes that were built before. Neighbours become one part. */
static void add_shared(struct builder *b, size_t at, size_t size)
{
	close_part(b);
	struct iovec *last = b->open.parts > 0 ? &b->open.part[b->open.parts - 1] : NULL;
	if (last != NULL && (uintptr_t)last->iov_base + last->iov_len == at)
		last->iov_len += size;
	else
		b->open.part[b->open.parts++] = (struct iovec){ (void *)(uintptr_t)at, size };
	b->open.size += size;
}

static struct mm_bench_write take_open(struct builder *b, enum mm_stage stage)
{
	close_part(b);
	struct mm_bench_write taken = b->open;
	taken.stage = stage;
	b->open = (struct mm_bench_write){ 0 };
	return taken;
}

static void end_write(struct builder *b, enum mm_stage stage)
{
	if (!mm_array_grow(&b->done, b->count, &b->capacity, sizeof *b->done)) {
		b->failed = true;
		return;
	}
	b->done[b->count++] = take_open(b, stage);
}

static void end_command(struct builder *b, char letter)
{
	if (is_answered(b, letter))
		end_write(b, mm_command_row((uint8_t)letter)->stage);
}

/* ---- one SMTP session (protocol 2.14, macros 6.3) ---- */

static void build_connect(struct builder *b)
{
	if (b->shape->is_sendmail)
		packet(b, 'D', "Cj|mx.example.net|{daemon_name}|MTA|{if_name}|eth0|{if_addr}|192.0.2.25|_|"
			"client.example.org [192.0.2.7]|");
	else
		packet(b, 'D', "Cj|mx.example.net|{daemon_name}|mx.example.net|{daemon_addr}|192.0.2.25|v|"
			"Postfix 3.7.11|_|client.example.org [192.0.2.7]|");
	if (!is_sent(b, 'C'))
		return;
	packet(b, 'C', "client.example.org|%c%c%c192.0.2.7|", '4', 0x9c, 0x42);
	if (is_answered(b, 'C'))
		b->traffic->greeting[b->traffic->greetings++] = take_open(b, MM_STAGE_connect);
}

static void build_helo(struct builder *b)
{
	packet(b, 'D', "H");
	if (!is_sent(b, 'H'))
		return;
	packet(b, 'H', "client.example.org|");
	if (is_answered(b, 'H'))
		b->traffic->greeting[b->traffic->greetings++] = take_open(b, MM_STAGE_helo);
}

static void build_envelope(struct builder *b, unsigned variant)
{
	char sender[256];
	if (b->shape->sender != NULL)
		snprintf(sender, sizeof sender, "%s", b->shape->sender);
	else
		snprintf(sender, sizeof sender, "sender.%u@example.org", variant * 7919u);

	if (b->shape->is_sendmail)
		packet(b, 'D', "Mi|%08X12345|{mail_mailer}|esmtp|{mail_host}|example.org.|{mail_addr}|%s|",
			variant, sender);
	else
		packet(b, 'D', "M{mail_addr}|%s|{mail_host}|example.org|{mail_mailer}|smtp|", sender);
	if (is_sent(b, 'M')) {
		packet(b, 'M', "<%s>|SIZE=%zu|BODY=8BITMIME|", sender, b->shape->body_size + 1000);
		end_command(b, 'M');
	}
	for (unsigned i = 0; i < b->shape->recipients; i++) {
		unsigned name = variant * 104729u + i;
		char queue_id[32] = "";
		/* Postfix opens the queue file at the first recipient it accepts */
		if (!b->shape->is_sendmail && i > 0)
			snprintf(queue_id, sizeof queue_id, "i|%08X42|", variant);
		packet(b, 'D', "R%s{rcpt_addr}|rcpt.%u@example.net|{rcpt_host}|example.net|{rcpt_mailer}|smtp|",
			queue_id, name);
		if (is_sent(b, 'R')) {
			packet(b, 'R', "<rcpt.%u@example.net>|", name);
			end_command(b, 'R');
		}
	}
}

static void build_header(struct builder *b, unsigned variant, const char *name, const char *value)
{
	bool keeps_space = b->traffic->steps & SMFIP_HDR_LEADSPC;
	if (!b->shape->is_sendmail)
		packet(b, 'D', "Li|%08X42|", variant);
	packet(b, 'L', "%s|%s%s|", name, keeps_space ? " " : "", value);
	end_command(b, 'L');
}

static void build_headers(struct builder *b, unsigned variant)
{
	static const char *const names[] = {
		"Received", "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Received",
		"User-Agent", "References", "In-Reply-To", "List-Id", "DKIM-Signature", "Reply-To", "Content-Language",
	};
	unsigned name_count = sizeof names / sizeof *names;
	for (unsigned i = 0; i < b->shape->headers; i++) {
		char value[TEXT_MAX / 2], other_name[32];
		snprintf(other_name, sizeof other_name, "X-Filler-%u", i);
		int size = snprintf(value, sizeof value, "%08x.%u ", variant * 2654435761u, i);
		while ((size_t)size < b->shape->header_size && (size_t)size < sizeof value - 1) {
			value[size] = (char)('a' + (size + (int)i) % 26);
			size++;
		}
		value[size] = '\0';
		build_header(b, variant, i < name_count ? names[i] : other_name, value);
	}
}

static size_t chunks_of(const struct mm_bench_shape *shape)
{
	return (shape->body_size + shape->chunk_size - 1) / shape->chunk_size;
}

/* Builds the packets of all chunks, one after the other; ends[i] is the end of chunk i. */
static void build_body(struct builder *b, size_t *ends)
{
	size_t chunk_size = b->shape->chunk_size;
	char *chunk = malloc(chunk_size);
	if (chunk == NULL) {
		b->failed = true;
		return;
	}
	for (size_t i = 0; i < chunk_size; i++)
		chunk[i] = i % 72 == 70 ? '\r' : i % 72 == 71 ? '\n' : (char)('A' + i % 53);
	for (size_t i = 0, left = b->shape->body_size; left > 0; i++) {
		size_t size = left < chunk_size ? left : chunk_size;
		if (!b->shape->is_sendmail)
			packet(b, 'D', "%s", "Bi|0000000042|");
		mm_frame_write(b->bytes, 'B', chunk, size);
		ends[i] = b->bytes->size;
		left -= size;
	}
	free(chunk);
}

static void build_content(struct builder *b, unsigned variant, const size_t *ends)
{
	if (!b->shape->is_sendmail)
		packet(b, 'D', "Ti|%08X42|", variant);
	if (is_sent(b, 'T')) {
		packet(b, 'T', "%s", "");
		end_command(b, 'T');
	}
	if (is_sent(b, 'L'))
		build_headers(b, variant);
	if (is_sent(b, 'N')) {
		if (!b->shape->is_sendmail)
			packet(b, 'D', "Ni|%08X42|", variant);
		packet(b, 'N', "%s", "");
		end_command(b, 'N');
	}
	if (is_sent(b, 'B'))
		for (size_t i = 0, at = 0; i < chunks_of(b->shape); at = ends[i++]) {
			add_shared(b, at, ends[i] - at);
			end_command(b, 'B');
		}
	if (b->shape->is_sendmail)
		packet(b, 'D', "E{msg_id}|<%u.bench@example.org>|", variant);
	else
		packet(b, 'D', "Ei|%08X42|", variant);
	packet(b, 'E', "%s", "");
	end_command(b, 'E');
}

/* ---- all of it ---- */

static void settle(struct mm_bench_write *w, const uint8_t *base)
{
	for (unsigned i = 0; i < w->parts; i++)
		w->part[i].iov_base = (void *)(uintptr_t)(base + (uintptr_t)w->part[i].iov_base);
}

static void settle_all(struct mm_bench_traffic *t)
{
	for (unsigned i = 0; i < t->greetings; i++)
		settle(&t->greeting[i], t->bytes.bytes);
	settle(&t->greeting_rest, t->bytes.bytes);
	for (unsigned v = 0; v < MM_BENCH_VARIANTS; v++)
		for (unsigned i = 0; i < t->writes; i++)
			settle(&t->variant[v].writes[i], t->bytes.bytes);
}

static void build_variant(struct builder *b, unsigned variant, const size_t *ends)
{
	b->open_at = b->bytes->size;
	build_envelope(b, variant);
	build_content(b, variant, ends);
	b->traffic->variant[variant].writes = b->done;
	b->traffic->writes = b->count;        /* the same each time: only texts differ */
	b->done = NULL;
	b->count = b->capacity = 0;
}

struct mm_bench_traffic *mm_bench_traffic_new(const struct mm_bench_shape *shape, uint32_t steps)
{
	struct mm_bench_traffic *t = calloc(1, sizeof *t);
	size_t *ends = calloc(chunks_of(shape) + 1, sizeof *ends);
	if (t == NULL || ends == NULL) {
		free(ends);
		free(t);
		return NULL;
	}
	t->steps = steps;
	struct builder b = { .shape = shape, .traffic = t, .bytes = &t->bytes };
	if (is_sent(&b, 'B'))
		build_body(&b, ends);
	b.open_at = b.bytes->size;
	build_connect(&b);
	build_helo(&b);
	t->greeting_rest = take_open(&b, MM_STAGE_COUNT);
	for (unsigned v = 0; v < MM_BENCH_VARIANTS && !b.failed; v++)
		build_variant(&b, v, ends);
	free(ends);
	if (b.failed || t->bytes.failed) {
		mm_bench_traffic_free(t);
		return NULL;
	}
	settle_all(t);
	return t;
}

void mm_bench_traffic_free(struct mm_bench_traffic *t)
{
	if (t == NULL)
		return;
	for (unsigned v = 0; v < MM_BENCH_VARIANTS; v++)
		free(t->variant[v].writes);
	mm_buffer_free(&t->bytes);
	free(t);
}
