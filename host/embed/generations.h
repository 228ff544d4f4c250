/* embed/generations.h -- from a configuration to the scripts that serve: prepare, then commit or discard. A generation
 * is prepared first (loaded, while the old one serves on) and then committed or discarded as a whole, so that several
 * processes can do it together. All other changes of a configuration also take effect at the commit. */
#ifndef MM_EMBED_GENERATIONS_H
#define MM_EMBED_GENERATIONS_H

#include "base/fault.h"
#include "moonmilter.h"

/* Loads generation number `generation`, after reading the configuration again or with the one that we have. Calls done
 * once, during this call or later. Discards what was prepared before. */
void mm_host_prepare(struct mm_host *, unsigned long generation, bool rereads,
	void (*done)(void *self, bool ok, const struct mm_fault *), void *self);
unsigned long mm_host_preparing(const struct mm_host *);        /* the number of the last generation prepared */
/* The prepared generation serves from now on; the first commit begins to accept. */
bool mm_host_commit(struct mm_host *, struct mm_fault *why);
void mm_host_discard(struct mm_host *);

/* Reads the configuration again, as a reload does, and applies what needs no loop: log level and format, times. */
bool mm_host_reread(struct mm_host *, struct mm_fault *why);
/* Applies the configuration to a worker: limits and times, CPU budgets, allowed peers, name servers. False: the name
 * servers stay as they were; the rest is applied. */
bool mm_host_tune_worker(struct mm_host *, struct mm_fault *why);

#endif
