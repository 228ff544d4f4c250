/* page/live.h -- server-sent events: readers who keep a connection open and are told what changes. Each has a place; a
 * reader who does not keep up is sent the present state later, not all that he missed, so nothing piles up for him. */
#ifndef MM_PAGE_LIVE_H
#define MM_PAGE_LIVE_H

#include "page/inquiry.h"

#include <stdbool.h>

#define MM_LIVE_MAX 16u         /* readers at a time; a further one gets 503 and asks again by himself */

struct MHD_Connection;
struct MHD_Response;
struct mm_live;

/* source and path (of the control socket) are BORROWED. NULL: out of memory. */
struct mm_live *mm_live_new(struct mm_inquiry *, const char *path);
/* GIVES the response to a reader who asks for this target. NULL: all places are taken. */
struct MHD_Response *mm_live_begin(struct mm_live *, struct MHD_Connection *, const char *target);
/* Wakes those who have something to be told. Call it a few times a second. */
void mm_live_turn(struct mm_live *);

#endif
