/* fuzz/log.c -- any bytes in a log line: it stays one line of printable text, and no value can pose as another key. */
#include "base/pairs.h"

#include <stdlib.h>

struct seen {
	unsigned lines;
	bool     is_json;
	size_t   size;
};

/* In JSON a quote inside a string is escaped, so quotes come in pairs; in text a value with a blank is quoted. */
static void look(void *self, enum mm_level level, const char *line, size_t size)
{
	struct seen *s = self;
	bool quoted = false;
	unsigned keys = 0;
	(void)level;
	s->lines++;
	s->size = size;
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)line[i];
		if (c < ' ' || c == 0x7f)
			abort();
		if (c == '\\' && quoted)
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && c == '=' && !s->is_json)
			keys++;
	}
	if (quoted || (!s->is_json && keys > 3))
		abort();
	if (s->is_json && (line[0] != '{' || line[size - 1] != '}'))
		abort();
}

/* Fields of scripts: any names and values, in any order; a line of three fields at most. */
static void add_fields(struct mm_log *log, struct mm_log_line *line, const uint8_t *data, size_t size)
{
	static struct mm_pairs pairs;
	static const char names[] = "abcdefghijklmnopqrstuvwxyz0123456789_bcdefghijklmnopqrstuvwxyz";
	pairs.count = pairs.used = 0;
	for (size_t i = 0; i + 3 < size; i += 3u + data[i] % 64u) {
		size_t at = data[i + 1] % 26u, left = size - i;
		struct mm_text name = { names + at, 1u + data[i + 2] % 32u };
		if (!mm_pairs_is_name(name) || mm_pairs_is_reserved(name))
			continue;
		left = left < data[i] * 4u ? left : data[i] * 4u;
		mm_pairs_set(&pairs, name, (struct mm_text){ (const char *)data + i, left }, false);
	}
	size_t bytes = 0;
	for (unsigned i = 0; i < pairs.count; i++) {
		const struct mm_pair *p = &pairs.pairs[i];
		if (p->at + p->name_size + p->size > pairs.used || p->size > MM_PAIR_VALUE_MAX)
			abort();
		bytes += (size_t)p->name_size + p->size;
	}
	if (bytes != pairs.used || bytes > MM_PAIRS_BYTES_MAX || pairs.count > MM_PAIRS_MAX)
		abort();
	pairs.count = pairs.count < 2 ? pairs.count : 2;
	pairs.lost = 0;
	mm_log_begin(line, log, MM_LEVEL_INFO, "event");
	mm_pairs_log(&pairs, line);
	mm_log_end(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mm_log_line line;
	struct seen seen = { .lines = 0 };
	struct mm_log log;
	if (size < 2)
		return 0;
	size_t half = 1 + data[0] % size;
	half = half > size ? size : half;
	mm_log_init(&log, -1);
	log.sink = look;
	log.sink_self = &seen;
	log.is_terminal = false;
	log.is_json = seen.is_json = data[1] & 1;
	log.level = MM_LEVEL_DEBUG;
	mm_log_begin(&line, &log, MM_LEVEL_INFO, "event");
	mm_log_text(&line, "first", (struct mm_text){ (const char *)data, half });
	mm_log_text(&line, "second", (struct mm_text){ (const char *)data + half, size - half });
	mm_log_number(&line, "third", (long long)size);
	mm_log_end(&line);
	if (seen.lines != 1 || seen.size > MM_LOG_LINE_SIZE)
		abort();
	add_fields(&log, &line, data, size);
	seen.lines--;
	if (seen.lines != 1 || seen.size > MM_LOG_LINE_SIZE)
		abort();
	return 0;
}
