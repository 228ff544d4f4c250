/* story/tracer.h -- the traces of a worker: which sessions they want, and the lines about these (trace.h), each sent as
 * one datagram to whoever reads. A send never waits: what finds no room in the socket is lost and counted. A trace ends
 * when its reader is gone.
 *
 * Without a trace a tracer costs one test of a pointer a packet (engine.h). With one, each session is asked about at
 * its first packet, and at CONNECT, MAIL and RCPT when addresses matter. A session's `traced` has a bit for each trace
 * that wants it; a trace that asks for addresses wants a message, not the whole session.
 * Not thread-safe: a tracer belongs to one loop. */
#ifndef MM_STORY_TRACER_H
#define MM_STORY_TRACER_H

#include "base/log.h"
#include "milter/engine.h"
#include "story/story.h"
#include "story/trace.h"

#define MM_TRACER_WAITS 64              /* whose questions are shown with their answers */

struct mm_tracer_trace {
	int                    fd;              /* owned; -1: none */
	struct mm_trace_filter filter;
	uint32_t               lost;            /* lines since the last one that was sent */
};

struct mm_tracer_wait {
	const void *who;                        /* the task; compared, never followed. NULL: none */
	double      began;
	char        asked[120];
};

struct mm_tracer {
	struct mm_engine_shared *engines;       /* borrowed */
	struct mm_log        *log;              /* borrowed */
	struct mm_observer    observer;
	struct mm_log_tap     tap;
	enum mm_story_redact  redact;
	unsigned              count;            /* traces */
	uint32_t              serial;           /* of what is traced now: mm_session.judged */
	uint8_t               of_messages;      /* bits of the traces that ask for addresses */
	struct mm_tracer_trace traces[MM_TRACES_MAX];
	struct mm_tracer_wait waits[MM_TRACER_WAITS];
	const struct mm_session *about;         /* borrowed: whose log lines come now; NULL: of whoever is at work */
};

/* engines and log are BORROWED. */
void mm_tracer_init(struct mm_tracer *, struct mm_engine_shared *engines, struct mm_log *);
/* Ends all traces. */
void mm_tracer_end(struct mm_tracer *);
/* TAKES fd, a connected socket that keeps datagrams whole, in any case. False: there are MM_TRACES_MAX. */
bool mm_tracer_add(struct mm_tracer *, const struct mm_trace_filter *, enum mm_story_redact, int fd);
/* Ends traces whose readers are gone; called every few seconds. */
void mm_tracer_sweep(struct mm_tracer *);
/* Log lines that come now belong to this session, NULL: to whoever is at work. Returns what was said before. tracer
 * NULL: nothing happens. */
const struct mm_session *mm_tracer_about(struct mm_tracer *, const struct mm_session *);

/* ---- about a session with `traced` set. place: where in a script ---- */

/* A handler or task has run; is_open: it waits now. */
void mm_tracer_handler(struct mm_tracer *, const struct mm_session *, const struct mm_story_place *, double seconds,
	bool is_open);
/* who: the task that waits. */
void mm_tracer_ask(struct mm_tracer *, const struct mm_session *, const struct mm_story_place *, const void *who,
	struct mm_text asked);
void mm_tracer_answer(struct mm_tracer *, const struct mm_session *, const void *who, struct mm_text answer);
/* An answer that was known without a wait. */
void mm_tracer_known(struct mm_tracer *, const struct mm_session *, const struct mm_story_place *,
	struct mm_text asked, struct mm_text answer);
/* An edit, a note, an error. */
void mm_tracer_say(struct mm_tracer *, const struct mm_session *, enum mm_story_kind, const struct mm_story_place *,
	struct mm_text);

#endif
