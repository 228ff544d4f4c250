/* story/filter.h -- which stories are meant: the options of `ctl history`, `tail` and `trace`.
 * Options that are given must all agree. Texts are BORROWED from the command line. */
#ifndef MM_STORY_FILTER_H
#define MM_STORY_FILTER_H

#include "base/network.h"
#include "story/story.h"

struct mm_story_filter {
	const char        *from, *to;   /* a part of the address, in any case; NULL: any */
	const char        *id;          /* queue id or session; NULL: any */
	const char        *script;      /* name with or without ".lua": it took part, or decided */
	const char        *verdict;     /* of a verdict, "none", "unfinished", "error" */
	bool               has_network;
	struct mm_network  network;     /* of the client */
	double             since, until;        /* seconds since 1970; 0: any */
};

bool mm_story_filter_wants(const struct mm_story_filter *, const struct mm_story *);
/* "10m", "2h", "3d" before now, or "2026-11-30", "2026-11-30T16:20", "2026-11-30T16:20:11", local time, or "@SECONDS"
 * since 1970. False: it is none of these. */
bool mm_story_time(const char *text, double now, double *out);
bool mm_story_verdict_is_known(const char *name);

#endif
