/* state/bucket.h -- rate limits: GCRA, the generic cell rate algorithm, and the buckets of all limits of a milter.
 *
 * A bucket holds up to `capacity` units and gets one back every `interval` seconds. All that is kept of it is the time
 * at which it is full again, so that nothing has to run while nobody takes; a full one is not kept at all.
 *
 * Buckets are in a table of fixed size in memory that all workers map, not in a store: a take at every recipient must
 * cost less than a microsecond. A process that is killed inside a take leaves every bucket as it was before or after
 * it. When the few places for a key are taken, the bucket that is full first makes room. */
#ifndef MM_STATE_BUCKET_H
#define MM_STATE_BUCKET_H

#include "state/store.h"

#define MM_BUCKETS_MAX      262144u     /* buckets of a table: 32 MiB */
#define MM_BUCKET_KEY_MAX   104u        /* bytes; of a longer key the caller gives a shorter form */

struct mm_bucket {
	/* given */
	double interval;        /* seconds, > 0 */
	double capacity;        /* units, >= 1 */
	double count;           /* units to take; below 0: to give back */
	bool   looks;           /* takes nothing */
	double now;             /* seconds since 1970 */
	/* found */
	bool   ok;              /* taken, or would have been */
	bool   crossed;         /* refused, for the first time since the bucket was half full */
	double remaining;       /* units left after this */
	double retry_after;     /* seconds until so many units are there; 0 when ok; INFINITY: never */
};

/* Takes from a bucket that is full at *full_at and whose limit was crossed or not. Both are changed; a bucket that is
 * full afterwards has a *full_at that is not after now. */
void mm_bucket_take(struct mm_bucket *, double *full_at, bool *was_crossed);

struct mm_buckets;

/* Maps DIRECTORY/NAME.buckets, which is made when it is not there. NULL: the fault says why. */
struct mm_buckets *mm_buckets_open(const char *directory, const char *name, struct mm_fault *why);
void mm_buckets_close(struct mm_buckets *);             /* NULL is fine */
/* False: another process holds the table and does not run. */
bool mm_buckets_take(struct mm_buckets *, struct mm_text key, struct mm_bucket *);
/* Fills a bucket. *was_there: it was not full. False: as above. */
bool mm_buckets_fill(struct mm_buckets *, struct mm_text key, double now, bool *was_there);
/* Calls each() for the buckets that are not full and whose keys begin with prefix, in no order. False: as above. */
bool mm_buckets_each(struct mm_buckets *, struct mm_text prefix, double now,
	void (*each)(void *self, struct mm_text key, double full_at, bool crossed), void *self);

#endif
