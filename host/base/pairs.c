#include "base/pairs.h"

#include <string.h>

/* ORDER OUTCOME_KEYS: io/outcome.c, docs/logs.md. The names at the beginning of every line are among them. */
static const char *const reserved[] = {
	"time", "level", "event", "text", "error", "is_cut", "fields_lost",
	"milter", "session", "message", "queue_id", "verdict", "stage", "aborted", "reply", "decided_by", "client",
	"from", "to", "helo", "recipients", "refused", "edits", "mta", "mta_kind", "seconds", "waited", "computed",
	"script", "handler", "generation", "pid", "host", "subject", "canary",
};

bool mm_pairs_is_name(struct mm_text name)
{
	if (name.size < 1 || name.size > MM_PAIR_NAME_MAX || name.bytes[0] < 'a' || name.bytes[0] > 'z')
		return false;
	for (size_t i = 0; i < name.size; i++) {
		char c = name.bytes[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
			return false;
	}
	return true;
}

bool mm_pairs_is_reserved(struct mm_text name)
{
	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (strlen(reserved[i]) == name.size && memcmp(reserved[i], name.bytes, name.size) == 0)
			return true;
	return false;
}

static int compare(const struct mm_pairs *p, unsigned i, struct mm_text name)
{
	const struct mm_pair *pair = &p->pairs[i];
	size_t shorter = pair->name_size < name.size ? pair->name_size : name.size;
	int order = memcmp(p->bytes + pair->at, name.bytes, shorter);
	return order != 0 ? order : (int)pair->name_size - (int)name.size;
}

/* Closes the gap that a pair leaves in the bytes. */
static void take_out(struct mm_pairs *p, unsigned i)
{
	struct mm_pair gone = p->pairs[i];
	uint16_t size = (uint16_t)(gone.name_size + gone.size);
	memmove(p->bytes + gone.at, p->bytes + gone.at + size, (size_t)p->used - gone.at - size);
	memmove(p->pairs + i, p->pairs + i + 1, (p->count - i - 1u) * sizeof *p->pairs);
	p->used = (uint16_t)(p->used - size);
	p->count--;
	for (unsigned k = 0; k < p->count; k++)
		if (p->pairs[k].at > gone.at)
			p->pairs[k].at = (uint16_t)(p->pairs[k].at - size);
}

static size_t cut_size(struct mm_text value)
{
	size_t n = MM_PAIR_VALUE_MAX;
	if (value.size <= n)
		return value.size;
	while (n > MM_PAIR_VALUE_MAX - 4 && ((unsigned char)value.bytes[n] & 0xc0) == 0x80)
		n--;
	return n;
}

void mm_pairs_set(struct mm_pairs *p, struct mm_text name, struct mm_text value, bool is_bare)
{
	unsigned i = 0;
	size_t size = cut_size(value), freed = 0;
	while (i < p->count && compare(p, i, name) < 0)
		i++;
	bool is_there = i < p->count && compare(p, i, name) == 0;
	if (is_there)
		freed = (size_t)p->pairs[i].name_size + p->pairs[i].size;
	p->lost += size < value.size;
	if ((!is_there && p->count >= MM_PAIRS_MAX) || p->used - freed + name.size + size > sizeof p->bytes) {
		p->lost += size >= value.size;
		return;
	}
	if (is_there)
		take_out(p, i);
	memmove(p->pairs + i + 1, p->pairs + i, (p->count - i) * sizeof *p->pairs);
	p->pairs[i] = (struct mm_pair){
		.at = p->used, .name_size = (uint16_t)name.size, .size = (uint16_t)size, .is_bare = is_bare,
	};
	memcpy(p->bytes + p->used, name.bytes, name.size);
	if (size > 0)
		memcpy(p->bytes + p->used + name.size, value.bytes, size);
	p->used = (uint16_t)(p->used + name.size + size);
	p->count++;
}

void mm_pairs_log(const struct mm_pairs *p, struct mm_log_line *line)
{
	if (p->lost > 0)                        /* first, because escapes may make the values longer than the line */
		mm_log_number(line, "fields_lost", p->lost);
	for (unsigned i = 0; i < p->count; i++) {
		const struct mm_pair *pair = &p->pairs[i];
		char name[MM_PAIR_NAME_MAX + 1];
		struct mm_text value = { p->bytes + pair->at + pair->name_size, pair->size };
		memcpy(name, p->bytes + pair->at, pair->name_size);
		name[pair->name_size] = '\0';
		if (pair->is_bare)
			mm_log_bare(line, name, value);
		else
			mm_log_text(line, name, value);
	}
}
