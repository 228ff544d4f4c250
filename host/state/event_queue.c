#include "state/event_queue.h"

#include <string.h>

#define TIME_DIGITS 14u

static double time_of(struct mm_text key)
{
	uint64_t time = 0;
	if (key.size < 2 + TIME_DIGITS)
		return 0;
	for (size_t i = 2; i < 2 + TIME_DIGITS; i++) {
		char c = key.bytes[i];
		bool is_letter = c >= 'a' && c <= 'f';
		unsigned digit = is_letter ? (unsigned)(c - 'a') + 10 : c >= '0' && c <= '9' ? (unsigned)(c - '0') : 0;
		time = time << 4 | digit;
	}
	return (double)time / 1e6;
}

/* They are few: the sink bounds them. */
static uint64_t count_aside(struct mm_store *s, double now)
{
	char at[MM_STORE_KEY_MAX];
	struct mm_text key = { at, 0 };
	struct mm_record record;
	uint64_t count = 0;
	for (; mm_store_next(s, key, mm_text_of("f:"), now, &key, &record) == MM_STORE_DONE; count++) {
		memcpy(at, key.bytes, key.size);
		key.bytes = at;
	}
	return count;
}

enum mm_store_result mm_event_queue_read(struct mm_store *s, double now, struct mm_event_queue *q)
{
	struct mm_store_figures f;
	struct mm_text key = { "", 0 };
	struct mm_record record;
	enum mm_store_result r = mm_store_measure(s, &f);
	if (r != MM_STORE_DONE)
		return r;
	*q = (struct mm_event_queue){ .bytes = f.size, .aside = count_aside(s, now), .error = { "", 0 } };
	if (mm_store_next(s, key, mm_text_of("q:"), now, &key, &record) == MM_STORE_DONE)
		q->oldest = time_of(key);
	bool has_error = mm_store_get(s, mm_text_of("error"), now, &record) == MM_STORE_DONE;
	if (has_error)
		q->error = record.bytes;
	uint64_t others = q->aside + has_error;
	q->waiting = q->oldest > 0 && f.count > others ? f.count - others : 0;
	return MM_STORE_DONE;
}
