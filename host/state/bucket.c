#include "state/bucket.h"

#include <math.h>
#include <string.h>

/* Seconds since 1970 in a double are exact to a quarter of a microsecond: rounding must not refuse the last unit. */
#define ROUNDING 1e-6
#define LETTER 'L'              /* of a record; bind/packed.h has others */

bool mm_bucket_read(struct mm_text record, double *full_at, bool *crossed)
{
	if (record.size != 10 || record.bytes[0] != LETTER)
		return false;
	memcpy(full_at, record.bytes + 1, sizeof *full_at);
	*crossed = record.bytes[9] != 0;
	return true;
}

/* The time that is missing to a full bucket. A clock that was put back must not lock anybody out: a bucket is never
 * emptier than empty. */
static double missing_of(const struct mm_bucket *b, double full_at)
{
	double missing = full_at - b->now;
	return fmin(fmax(missing, 0), b->capacity * b->interval);
}

static enum mm_change write_record(struct mm_bucket *b, double missing, bool was_crossed, struct mm_record *next)
{
	double full_at = b->now + missing;
	if (missing <= 0)
		return MM_CHANGE_DELETE;
	b->record[0] = LETTER;
	memcpy(b->record + 1, &full_at, sizeof full_at);
	b->record[9] = was_crossed;
	*next = (struct mm_record){ { b->record, sizeof b->record }, full_at };
	return MM_CHANGE_PUT;
}

enum mm_change mm_bucket_decide(void *self, const struct mm_record *old, struct mm_record *next)
{
	struct mm_bucket *b = self;
	double full_at = 0, whole = b->capacity * b->interval;
	bool was_crossed = false;
	if (old != NULL && !mm_bucket_read(old->bytes, &full_at, &was_crossed))
		full_at = 0;
	double missing = missing_of(b, full_at), wanted = missing + b->count * b->interval;
	/* half full again: what comes now is another crossing */
	was_crossed = was_crossed && missing > whole / 2;
	b->ok = wanted <= whole + ROUNDING;
	b->crossed = !b->ok && !was_crossed;
	b->retry_after = b->ok ? 0 : b->count > b->capacity ? INFINITY : wanted - whole;
	double left = b->ok ? fmax(wanted, 0) : missing;
	b->remaining = floor((whole - left + ROUNDING) / b->interval);
	if (b->count == 0 || (!b->ok && !b->crossed))
		return MM_CHANGE_NOTHING;
	if (!b->ok && missing <= 0)             /* asks for more than there can be, of a full bucket */
		return MM_CHANGE_NOTHING;
	return write_record(b, left, was_crossed || b->crossed, next);
}
