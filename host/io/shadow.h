/* io/shadow.h -- a shadow: other scripts that see the same milter connection and decide nothing. A shadow gets a copy
 * of the MTA's bytes, for an engine of its own; what that engine would answer is dropped. What becomes of each message
 * is compared with what the live scripts have made of it (story/upshot.h), and counted (story/differences.h).
 *
 * Live mail comes first. A shadow runs when the loop has nothing else to do, and otherwise for a millisecond now and
 * then; it reads the bytes when it gets there, so live scripts never wait for it, and an MTA that has hung up since is
 * no reason to stop. It gets a packet only when it has handled the one before: so an abort that follows the live
 * verdict does not end a handler of the shadow that still waits.
 *
 * A shadow that falls behind by too many bytes or messages, or does not end in time after its connection has, is given
 * up for the message and begins anew with the next one: it is told the client again first. Its memory is counted apart
 * from that of the sessions. */
#ifndef MM_IO_SHADOW_H
#define MM_IO_SHADOW_H

#include "base/figures.h"
#include "io/joint.h"
#include "story/differences.h"
#include "task/profile.h"

/* All shadows of a worker; owned by it. */
struct mm_shadows {
	void                    *loop;          /* struct ev_loop, borrowed */
	struct mm_log           *log;           /* borrowed */
	struct mm_differences   *differences;   /* borrowed */
	const struct mm_profile *profile;       /* borrowed */
	struct mm_engine_shared  engines;       /* apart from those of the live scripts */
	struct mm_buffer         out, scratch;  /* answers, to be dropped */
	struct mm_shadow        *first;         /* list of all */
	struct mm_shadow        *run_first, *run_last;          /* those that have something to do */
	void                    *idle;          /* ev_idle, owned: active while run_first is set */
	void                    *slice;         /* ev_timer, owned: likewise */
	void                    *sweep;         /* ev_timer, owned: active while there are shadows */
	size_t                   held;          /* bytes that wait for them */
	bool                     is_ending;     /* their worker ends: nothing is compared any more */
};

/* What the shadows of one milter have in common; the worker's. */
struct mm_shadow_of {
	struct mm_shadows    *all;              /* borrowed, as all pointers */
	struct mm_generation *generation;
	struct mm_figures    *figures;          /* of the milter */
	const char           *milter_in_log;    /* NULL: it is the only one */
	unsigned              row;              /* in differences */
};

/* False: out of memory. Takes no log lines and loop before it is needed. */
bool mm_shadows_init(struct mm_shadows *, void *loop);
/* Gives up all that there are. */
void mm_shadows_free(struct mm_shadows *);

/* A shadow for a connection whose live engine has just been made with mm_joint_runtime(); live_runtime is the engine's
 * part of it, for what it asks the MTA. NULL: out of memory; then there is none for this connection. */
struct mm_shadow *mm_shadow_open(const struct mm_shadow_of *, const struct mm_session *live,
	const struct mm_wanted *wanted);
/* These take NULL for "none". Bytes that the MTA has sent: */
void mm_shadow_feed(struct mm_shadow *, const void *bytes, size_t n);
/* The live engine reports: its callbacks of the same names. */
void mm_shadow_edits(struct mm_shadow *, struct mm_session *live);
void mm_shadow_report(struct mm_shadow *, const struct mm_outcome_report *);
void mm_shadow_aside(struct mm_shadow *, const struct mm_outcome_report *);
/* The connection is gone. TAKES the shadow, which ends when it has done what is left. */
void mm_shadow_leave(struct mm_shadow *);

#endif
