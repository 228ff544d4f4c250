/* state/tally.h -- limits that several hosts share, in their mode "soon": what this host has let pass and not told
 * their server yet, and how full the server said that buckets are. All workers count in one table of fixed size in
 * memory, and one of them, the flusher, tells the server a few times a second for all; so nothing that a worker has
 * counted is lost when it ends or is killed, and the host needs one connection. A flusher that is killed loses what it
 * was sending, and another worker takes its place.
 *
 * When the server fails for a key, or the flusher is stopped, the table says so, and whoever takes decides without it.
 * A table that is full forgets the bucket that is full first. */
#ifndef MM_STATE_TALLY_H
#define MM_STATE_TALLY_H

#include "state/bucket.h"

#define MM_TALLY_MAX        32768u      /* buckets of a table: 5 MiB */
#define MM_TALLY_KEY_MAX    112u        /* bytes; of a longer key the caller gives a shorter form */

struct mm_tally;

/* What was counted of a bucket since the last exchange with the server. */
struct mm_tally_count {
	char   key[MM_TALLY_KEY_MAX];
	size_t key_size;
	double interval, capacity;      /* of its limit, as in struct mm_bucket */
	double count;                   /* units; below 0: more were given back */
	bool   is_refused;              /* others were refused */
};

enum mm_tally_result {
	MM_TALLY_DONE,
	MM_TALLY_DOWN,                  /* the server fails, or nobody tells it */
	MM_TALLY_BUSY,                  /* another process holds the table and does not run */
};

/* Maps DIRECTORY/NAME.tally, which is made when it is not there. NULL: the fault says why. */
struct mm_tally *mm_tally_open(const char *directory, const char *name, struct mm_fault *why);
void mm_tally_close(struct mm_tally *);                 /* NULL is fine */

/* Takes as mm_bucket_take() does, from the bucket as this host knows it. b->crossed: the server has said that the first
 * refusal of all hosts was here. time: monotonic seconds; patience: how many may pass until the server is told. */
enum mm_tally_result mm_tally_take(struct mm_tally *, struct mm_text key, struct mm_bucket *b, double time,
	double patience);
/* Forgets a bucket. False: busy. */
bool mm_tally_forget(struct mm_tally *, struct mm_text key);

/* ---- for the flusher ---- */

/* True when this process is the flusher for so many seconds more: it was before, or the last one has ended, or has let
 * its seconds pass. */
bool mm_tally_lead(struct mm_tally *, double time, double seconds);
/* Takes up to `most` counts out of the table, to send them: their number. What is not settled or given back is lost. */
unsigned mm_tally_drain(struct mm_tally *, struct mm_tally_count *to, unsigned most);
/* The server has counted a bucket: the seconds that are missing to a full one, and whether that was the first refusal
 * of all hosts. */
void mm_tally_settle(struct mm_tally *, struct mm_text key, double now, double missing, bool is_first);
/* The server has not taken the counts, which go back; with none they are lost. Its bucket is down until it is settled,
 * and is drained again next time. */
void mm_tally_restore(struct mm_tally *, const struct mm_tally_count *);
/* A round is over; is_down: the server cannot be used at all. */
void mm_tally_end_round(struct mm_tally *, double time, bool is_down);

/* Is there anything to tell? */
bool mm_tally_is_waiting(struct mm_tally *);

#endif
