/* state/bucket.h -- a rate limit as one record: GCRA, the generic cell rate algorithm.
 * A bucket holds up to `capacity` units and gets one back every `interval` seconds; a full one needs no record. The
 * record is the time at which the bucket is full again, so that nothing has to run while nobody takes. */
#ifndef MM_STATE_BUCKET_H
#define MM_STATE_BUCKET_H

#include "state/store.h"

struct mm_bucket {
	/* given */
	double interval;        /* seconds, > 0 */
	double capacity;        /* units, >= 1 */
	double count;           /* units to take; below 0: to give back; 0: only look */
	double now;             /* seconds since 1970 */
	/* found */
	bool   ok;              /* taken, or would have been */
	bool   crossed;         /* refused, for the first time since the bucket was half full */
	double remaining;       /* units left after this */
	double retry_after;     /* seconds until so many units are there; 0 when ok; INFINITY: never */
	/* owned by the decision */
	char   record[10];
};

/* Decides with a struct mm_bucket as self (mm_store_change). */
enum mm_change mm_bucket_decide(void *self, const struct mm_record *old, struct mm_record *next);
/* Reads a record: when the bucket is full again, and whether the limit was crossed. False: it is not a bucket. */
bool mm_bucket_read(struct mm_text record, double *full_at, bool *crossed);

#endif
