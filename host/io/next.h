/* io/next.h -- the scripts that come next: what `shadow` and `share` of a milter name, loaded beside the ones that
 * serve. Once as a shadow, which sees the mail of all and has no effect (io/shadow.h), and once more as a canary, when
 * a share of the clients gets them for real (io/joint.h): a shadow's stores, limits and metrics are its own, those of
 * the canary are the milter's. Prepared, committed and discarded with the scripts that serve; what does not load is
 * logged and counts as absent, and never keeps those from serving. One for each worker. */
#ifndef MM_IO_NEXT_H
#define MM_IO_NEXT_H

#include "io/shadow.h"

struct mm_next;

struct mm_next_settings {
	void                     *loop;         /* struct ev_loop, borrowed, as all pointers */
	struct mm_log            *log;
	struct mm_differences    *differences;
	const struct mm_profile  *profile;
	struct mm_meters         *meters;
	struct mm_figures *const *figures;      /* of the milters */
	const char *const        *milter_names;
	unsigned                  milter_count;
	const char               *id_prefix;    /* of session ids; for the call */
};

/* What to load for one milter; all zero: nothing. */
struct mm_next_order {
	bool                         is_wanted;
	struct mm_generation_options shadow, canary;    /* as of the scripts that serve; paths are those of `shadow` */
	uint32_t                     share;     /* hundredths of a per cent; 0: no canary is loaded */
	const char                  *refused;   /* why it must not be loaded; NULL: it may; for the call */
};

/* NULL: out of memory. */
struct mm_next *mm_next_new(const struct mm_next_settings *);
void mm_next_free(struct mm_next *);                    /* NULL is fine */
/* Makes the states, one order for each milter; discards what was prepared before. */
void mm_next_prepare(struct mm_next *, const struct mm_next_order *);
/* Loads them; done comes during this call or later. */
void mm_next_load(struct mm_next *, void (*done)(void *self), void *self);
void mm_next_commit(struct mm_next *, unsigned long generation);
void mm_next_discard(struct mm_next *);
/* The worker begins to drain: timers stop. */
void mm_next_retire(struct mm_next *);
/* Bytes that the shadows' sessions may hold; 0: any number. */
void mm_next_tune(struct mm_next *, size_t held);

/* The milter has a shadow or a canary in use: then *runtime, that of its scripts, becomes the joint one, and *shadow
 * what mm_shadow_open() needs for the connection, or NULL for a canary alone. Else false. */
bool mm_next_joins(struct mm_next *, unsigned milter, struct mm_runtime *runtime, const struct mm_shadow_of **shadow);

/* The shadow of a milter, committed or else prepared; NULL: none, or it has failed. BORROWED. */
struct mm_generation *mm_next_generation(const struct mm_next *, unsigned milter);
/* The canary of a milter, likewise. */
struct mm_generation *mm_next_canary(const struct mm_next *, unsigned milter);
/* Why that of a milter was not loaded; NULL: it was, or there is none. BORROWED. */
const char *mm_next_failure(const struct mm_next *, unsigned milter);
/* All shadows in memory, of which a generation is one (settings.all). */
struct mm_generation *mm_next_shadows(const struct mm_next *);

#endif
