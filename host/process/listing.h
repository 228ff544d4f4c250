/* process/listing.h -- questions of ctl clients to all workers of a workforce, or to one. Each worker writes a listing;
 * the client gets them one after the other and ends when all workers have answered or the time is over. Profiles are
 * such listings, too, but only one runs at a time.
 * Ownership: a client is TAKEN with its question; the workforce is BORROWED. */
#ifndef MM_PROCESS_LISTING_H
#define MM_PROCESS_LISTING_H

#include "process/control.h"
#include "process/workforce.h"

#define MM_LISTINGS_MAX 16      /* questions under way */

struct mm_listing_question {
	struct mm_control_client *client;       /* owned; NULL: free */
	uint64_t                  ticket;
	unsigned                  owed;
	bool                      owes[MM_WORKFORCE_MAX];       /* by the worker's slot */
	bool                      is_profile;
	bool                      has_lost;     /* a worker ended before it could answer */
	bool                      has_skipped;  /* a worker was not asked, because it is stopped */
	double                    until;
};

struct mm_listings {
	struct mm_workforce       *workforce;   /* borrowed */
	struct mm_listing_question questions[MM_LISTINGS_MAX];
	uint64_t                   tickets;     /* tickets given so far; no question has ticket 0 */
};

void mm_listings_ask(struct mm_listings *, struct mm_control_client *, enum mm_listing);
/* The worker that has the session ends it. */
void mm_listings_ask_end(struct mm_listings *, struct mm_control_client *, const char *session);
/* Asks the worker that the request names, or all. */
void mm_listings_ask_profile(struct mm_listings *, struct mm_control_client *, const struct mm_profile_request *);
/* A worker's MM_NOTE_LISTED with a ticket. listing_fd: BORROWED; -1: none. */
void mm_listings_answer(struct mm_listings *, const struct mm_worker_process *, const struct mm_note *, int listing_fd);
/* The worker of this slot has ended and will not answer. */
void mm_listings_forget_worker(struct mm_listings *, unsigned slot);
/* Ends questions whose time is over, and profiles that no client waits for. */
void mm_listings_sweep(struct mm_listings *, double now);
/* True: a profile is under way for a client that still waits. */
bool mm_listings_is_profiling(struct mm_listings *);

#endif
