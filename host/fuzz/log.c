/* fuzz/log.c -- any bytes in a log line: it stays one line of printable text, and no value can pose as another key. */
#include "base/log.h"

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
	return 0;
}
