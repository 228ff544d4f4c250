/* story/history.h -- the last messages of a host: stories in a ring of fixed size, in memory that all its processes
 * share and that outlives each worker. The process that forks makes it; each worker takes stories from its own part of
 * the table of open ones (desk.h) and writes each into the ring once, when its message ends.
 *
 * A slot of the ring has a word: which story it holds, and which writer is at it. A slot that a killed writer has left
 * is given back by mm_history_recover(), which also tells the stories that it had open, marked as unfinished. A writer
 * never waits: when another is at the slot, it takes the next one.
 *
 * The memory is a file that may be handed to a reader: nobody can map or write it anew (F_SEAL_FUTURE_WRITE), and the
 * reader trusts nothing in it (reader.h). Memory is used as far as the ring has been filled. */
#ifndef MM_STORY_HISTORY_H
#define MM_STORY_HISTORY_H

#include "base/fault.h"
#include "story/story.h"

#define MM_HISTORY_MAGIC    "mmhist01"
#define MM_HISTORY_MAX      1000000u    /* stories of a ring */
#define MM_HISTORY_OPEN_MAX 512u        /* messages that a worker has open; further ones are not told */
#define MM_HISTORY_HEAD     4096u       /* bytes before the open stories */

/* At the beginning of the memory. */
struct mm_history_head {
	char     magic[8];
	uint32_t story_size;            /* of struct mm_story: the reader's must be the same */
	uint32_t capacity, writers, open_max;
	double   retention;             /* seconds that a story is kept */
	uint32_t redact;                /* enum mm_story_redact */
	uint32_t unused;
	uint64_t tickets;               /* given out so far */
	uint64_t untold;                /* messages that found no free place */
};

/* state: ticket << 8 while it is whole, with the writer's number, from 1, while one is at it. 0: empty. */
struct mm_history_slot {
	uint64_t        state;
	struct mm_story story;
};

struct mm_history_options {
	uint32_t             capacity;  /* 1 to MM_HISTORY_MAX */
	uint32_t             writers;   /* 1 to 254: worker processes at the same time */
	double               retention; /* seconds */
	enum mm_story_redact redact;
};

struct mm_history {
	int                     fd;     /* owned */
	size_t                  size;   /* of the mapping */
	struct mm_history_head *head;   /* shared; owned */
	struct mm_story        *open;   /* writers times open_max */
	struct mm_history_slot *slots;
	uint32_t                swept;  /* the slot that is swept next */
};

/* GIVES it. NULL: why says why not. */
struct mm_history *mm_history_new(const struct mm_history_options *, struct mm_fault *why);
void mm_history_free(struct mm_history *);
/* Offset of the ring in the memory. */
size_t mm_history_ring_at(const struct mm_history_head *);
/* Writes a story into the ring. writer: from 1. */
void mm_history_tell(struct mm_history *, struct mm_story *, unsigned writer);
/* The writer, numbered from 1, is dead. now: seconds since 1970. */
void mm_history_recover(struct mm_history *, unsigned writer, double now);
/* Wipes stories that are older than the retention time, at most a few hundred slots each time. writer: 255, or that of
 * a process that serves alone. */
void mm_history_sweep(struct mm_history *, unsigned writer, double now);

#endif
