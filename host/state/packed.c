#include "state/packed.h"

#include <math.h>
#include <string.h>

struct mm_packed mm_packed_of(struct mm_text t)
{
	return (struct mm_packed){ .at = t.bytes, .end = t.bytes + t.size };
}

bool mm_packed_is_whole(const struct mm_packed *p)
{
	return p->is_over && p->at == p->end;
}

static bool take(struct mm_packed *p, void *to, size_t size)
{
	if ((size_t)(p->end - p->at) < size)
		return false;
	memcpy(to, p->at, size);
	p->at += size;
	return true;
}

static enum mm_packed_token read_string(struct mm_packed *p)
{
	uint32_t size;
	if (p->depth == 0) {
		p->string = (struct mm_text){ p->at, (size_t)(p->end - p->at) };
	} else {
		if (!take(p, &size, sizeof size) || (size_t)(p->end - p->at) < size)
			return MM_PACKED_NONE;
		p->string = (struct mm_text){ p->at, size };
	}
	p->at += p->string.size;
	return MM_PACKED_STRING;
}

static enum mm_packed_token open_table(struct mm_packed *p)
{
	if (p->is_key || p->depth >= MM_PACKED_DEPTH_MAX)
		return MM_PACKED_NONE;
	p->depth++;
	p->due &= ~(1u << p->depth);
	return MM_PACKED_OPEN;
}

/* A table ends where a key could be. */
static enum mm_packed_token close_table(struct mm_packed *p)
{
	if (!p->is_key)
		return MM_PACKED_NONE;
	p->is_key = false;
	p->depth--;
	return MM_PACKED_CLOSE;
}

static enum mm_packed_token read_token(struct mm_packed *p)
{
	char letter = *p->at++;
	switch (letter) {
	case 's': return read_string(p);
	case '{': return open_table(p);
	case '}': return close_table(p);
	case 'n': return take(p, &p->number, sizeof p->number) && !(p->is_key && isnan(p->number))
			? MM_PACKED_NUMBER : MM_PACKED_NONE;
	case 't':
	case 'f':
		p->boolean = letter == 't';
		return MM_PACKED_BOOLEAN;
	default:
		return MM_PACKED_NONE;
	}
}

enum mm_packed_token mm_packed_next(struct mm_packed *p)
{
	if (p->is_over || p->at == p->end)
		return MM_PACKED_NONE;
	p->is_key = p->depth > 0 && (p->due & 1u << p->depth) == 0;
	enum mm_packed_token t = read_token(p);
	if (t == MM_PACKED_NONE)
		p->at = p->end;                         /* is_over stays false: what follows is not to be read */
	else if (t != MM_PACKED_OPEN && p->depth > 0)
		p->due ^= 1u << p->depth;               /* after a key its value, after a value the next key */
	else
		p->is_over = t != MM_PACKED_OPEN;
	return t;
}

bool mm_packed_read_number(struct mm_text t, double *to)
{
	struct mm_packed p = mm_packed_of(t);
	bool is_number = mm_packed_next(&p) == MM_PACKED_NUMBER && mm_packed_is_whole(&p);
	if (is_number)
		*to = p.number;
	return is_number;
}

void mm_packed_write_number(double n, char to[MM_PACKED_NUMBER_SIZE])
{
	_Static_assert(1 + sizeof n == MM_PACKED_NUMBER_SIZE, "a letter and a double");
	to[0] = 'n';
	memcpy(to + 1, &n, sizeof n);
}
