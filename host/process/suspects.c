#include "process/suspects.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How long a refused event is remembered beyond its time: senders try again after hours. */
#define REMEMBERED 86400.0

static void publish(struct mm_suspects *s)
{
	struct mm_poison_entry entries[MM_POISON_MAX];
	uint32_t count = 0;
	for (unsigned i = 0; i < s->count; i++)
		if (s->items[i].until > 0)
			entries[count++] = (struct mm_poison_entry){ s->items[i].digest,
				(uint64_t)(s->items[i].until * 1000) };
	mm_poison_publish(s->poison, entries, count);
}

static struct mm_suspect *find(struct mm_suspects *s, uint64_t digest)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->items[i].digest == digest)
			return &s->items[i];
	return NULL;
}

static struct mm_suspect *make(struct mm_suspects *s, uint64_t digest)
{
	struct mm_suspect *first = &s->items[0];
	for (unsigned i = 1; i < s->count; i++)
		if (s->items[i].forget_at < first->forget_at)
			first = &s->items[i];
	if (s->count < MM_POISON_MAX)
		first = &s->items[s->count++];
	*first = (struct mm_suspect){ .digest = digest };
	return first;
}

static double term(unsigned number, double time)
{
	double most = time > MM_POISON_TIME_MAX ? time : MM_POISON_TIME_MAX;
	for (; number > 1 && time < most; number--)
		time *= 2;
	return time < most ? time : most;
}

double mm_suspects_add(struct mm_suspects *s, uint64_t digest, bool is_certain, const struct mm_whereabouts *at,
	double time, double now)
{
	if (digest == 0 || time <= 0)
		return 0;
	struct mm_suspect *it = find(s, digest);
	if (it == NULL)
		it = make(s, digest);
	it->deaths++;
	it->weight += is_certain && !(digest & MM_POISON_IS_WEAK) ? MM_SUSPECT_WEIGHT : 1;
	if (at->is_set != 0)
		it->at = *at;
	double seconds = it->weight >= MM_SUSPECT_WEIGHT ? term(++it->terms, time) : 0;
	it->until = seconds > 0 ? now + seconds : 0;
	it->forget_at = now + (seconds > 0 ? seconds + REMEMBERED : time);
	publish(s);
	return seconds;
}

void mm_suspects_sweep(struct mm_suspects *s, double now)
{
	bool has_changed = false;
	for (unsigned i = s->count; i-- > 0;) {
		if (s->items[i].until > 0 && now >= s->items[i].until) {
			s->items[i].until = 0;
			has_changed = true;
		}
		if (now >= s->items[i].forget_at)
			s->items[i] = s->items[--s->count];
	}
	if (has_changed)
		publish(s);
}

void mm_suspects_pardon(struct mm_suspects *s)
{
	for (unsigned i = 0; i < s->count; i++)
		s->items[i].until = 0;
	publish(s);
}

unsigned mm_suspects_forget(struct mm_suspects *s)
{
	unsigned count = s->count;
	s->count = 0;
	publish(s);
	return count;
}

/* One word: senders are the MTA's bytes, and a dying worker has copied them. */
static const char *word(const char *text, char *to, size_t size)
{
	size_t n = 0;
	for (; text[n] != '\0' && n + 1 < size; n++)
		to[n] = text[n] > ' ' && text[n] < 0x7f ? text[n] : '?';
	to[n] = '\0';
	return n > 0 ? to : "-";
}

void mm_suspects_describe(const struct mm_suspects *s, double now, struct mm_say say)
{
	char line[640], sender[sizeof s->items[0].at.sender], script[sizeof s->items[0].at.script];
	char handler[sizeof s->items[0].at.handler], queue_id[sizeof s->items[0].at.queue_id];
	for (unsigned i = 0; i < s->count; i++) {
		const struct mm_suspect *it = &s->items[i];
		snprintf(line, sizeof line, "poison fingerprint=%016" PRIx64 " deaths=%u refused_for=%.0f sender=%s "
			"size=%" PRIu64 " queue_id=%s handler=%s script=%s", it->digest, it->deaths,
			it->until > now ? it->until - now : 0., word(it->at.sender, sender, sizeof sender),
			it->at.size, word(it->at.queue_id, queue_id, sizeof queue_id),
			word(it->at.handler, handler, sizeof handler), word(it->at.script, script, sizeof script));
		say.line(say.self, line);
	}
}
