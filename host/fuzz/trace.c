/* fuzz/trace.c -- libFuzzer target for lines of a trace: as they arrive, as a filter, and as they are made of packets
 * from either side. Laws: what is read is written again as it came; text is one line without a byte that a terminal
 * would obey; JSON has no control byte; words end in NUL and stay within their room, and no local part is left where
 * addresses are hidden. */
#include "story/trace_show.h"
#include "story/words.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static void check_shown(const struct mm_trace_line *l)
{
	struct mm_buffer text = { 0 }, json = { 0 };
	mm_trace_show(l, true, &text);
	mm_trace_json(l, &json);
	LAW(text.failed || (text.size > 0 && text.bytes[text.size - 1] == '\n'));
	for (size_t i = 0; i + 1 < text.size; i++)
		LAW(text.bytes[i] >= ' ' && text.bytes[i] != 0x7f);
	for (size_t i = 0; i + 1 < json.size; i++)
		LAW(json.bytes[i] >= ' ');
	LAW(json.failed || (json.bytes[0] == '{' && memcmp(json.bytes + json.size - 2, "}\n", 2) == 0));
	mm_buffer_free(&text);
	mm_buffer_free(&json);
}

static void check_line(const uint8_t *data, size_t size)
{
	uint8_t again[MM_TRACE_LINE_MAX];
	struct mm_trace_line l, m;
	if (!mm_trace_read(data, size, &l))
		return;
	check_shown(&l);
	size_t n = mm_trace_write(&l, again);
	LAW(n <= size && mm_trace_read(again, n, &m));
	LAW(m.kind == l.kind && m.lost == l.lost && m.session.size <= l.session.size);
	check_shown(&m);
}

static void check_filter(const uint8_t *data, size_t size)
{
	struct mm_trace_filter f;
	struct mm_fault why;
	char *text = malloc(size + 1);
	if (text == NULL)
		return;
	memcpy(text, data, size);
	text[size] = '\0';
	struct mm_text address = { (const char *)data, size < 300 ? size : 300 };
	if (mm_trace_filter_read(&f, text, &why)) {
		LAW(memchr(f.from, '\0', sizeof f.from) != NULL && memchr(f.session, '\0', sizeof f.session) != NULL);
		if (f.from[0] != '\0')
			mm_trace_matches(f.from, address);
		LAW(mm_trace_matches("*", address));
	}
	free(text);
}

static void check_words(const struct mm_words *w)
{
	LAW(w->size <= sizeof w->bytes && (w->size == 0 || w->bytes[w->size - 1] == '\0'));
	check_shown(&(struct mm_trace_line){ .kind = MM_TRACE_COMMAND, .at = 1, .name = mm_text_of("x"),
		.words = mm_words_text(w), .is_cut = w->is_cut });
}

static void check_packet(const struct mm_packet *p)
{
	static struct mm_words w;
	struct mm_command c;
	struct mm_mta_reply r;
	struct mm_fault why;
	for (int redact = MM_STORY_REDACT_NOTHING; redact <= MM_STORY_REDACT_ADDRESSES; redact++) {
		mm_words_begin(&w, (enum mm_story_redact)redact);
		if (mm_command_decode(p, 0, &c, &why))
			mm_words_of_command(&w, &c);
		check_words(&w);
		if (redact == MM_STORY_REDACT_ADDRESSES && w.size > 0 && (p->letter == 'M' || p->letter == 'R'))
			LAW(w.bytes[0] == '<' || c.text.size <= 2);
		mm_words_begin(&w, (enum mm_story_redact)redact);
		if (mm_mta_decode(p, &r, &why))
			mm_words_of_reply(&w, &r);
		check_words(&w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_line(data, size);
	check_filter(data, size);
	if (size == 0)
		return 0;
	/* decoders read a NUL after a packet only where the packet has it */
	uint8_t *copy = malloc(size);
	if (copy == NULL)
		return 0;
	memcpy(copy, data, size);
	check_packet(&(struct mm_packet){ .letter = copy[0], .data = copy + 1, .size = size - 1 });
	free(copy);
	return 0;
}
