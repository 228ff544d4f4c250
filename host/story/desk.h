/* story/desk.h -- where a worker writes the stories of its open messages, each in a place of the memory that the host's
 * processes share (history.h). A worker has one desk; the places are its own, so taking one asks nobody. */
#ifndef MM_STORY_DESK_H
#define MM_STORY_DESK_H

#include "story/history.h"

struct mm_desk;

/* history is BORROWED. writer: from 1. NULL: out of memory, or the writer has no places. */
struct mm_desk *mm_desk_new(struct mm_history *, unsigned writer);
void mm_desk_free(struct mm_desk *);            /* NULL is fine */
/* An empty story. NULL: all places are taken. BORROWED until told or dropped. */
struct mm_story *mm_desk_take(struct mm_desk *);
/* Writes it into the ring, and gives the place back. */
void mm_desk_tell(struct mm_desk *, struct mm_story *);
/* Gives the place back: nothing happened that is worth telling. */
void mm_desk_drop(struct mm_desk *, struct mm_story *);

#endif
