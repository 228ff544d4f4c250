/* embed/filter.h -- filters in C: the runtime of a milter that has one (milter/runtime.h), before its scripts.
 * A session of it has the session of the scripts inside, if there are scripts, and passes every event on to it that the
 * filter has not decided. Without scripts no Lua runs for a message. */
#ifndef MM_EMBED_FILTER_H
#define MM_EMBED_FILTER_H

#include "base/say.h"
#include "io/worker.h"
#include "moonmilter.h"

/* One a milter; host.c owns them. */
struct mm_filtered {
	const struct mm_filter *filter; /* the copy; NULL: this milter has none */
	struct mm_filter        copy;   /* of the embedder's, which may be of an older header: what it lacks is NULL */
	struct mm_host         *host;   /* borrowed */
	unsigned                milter;
	char                   *macros; /* owned: the names that it asks for, separated by spaces; NULL: none */
};

struct mm_filter_kept {
	void  *data;                            /* the embedder's */
	void (*destroy)(void *);
};

/* A session. Its first member is what the embedder sees as struct mm_event, so a pointer to one is a pointer to the
 * other. For filter.c and event.c only. */
struct mm_filter_session {
	struct mm_event           event;        /* being handled; its command is borrowed from the engine */
	const struct mm_filtered *of;           /* borrowed */
	const struct mm_filter   *filter;       /* borrowed */
	struct mm_session        *facts;        /* borrowed */
	struct mm_engine         *engine;       /* borrowed */
	struct mm_runtime         scripts;
	void                     *inner;        /* owned: the scripts' session; NULL: there are no scripts */
	struct mm_wanted          wanted;
	struct mm_timer           alarm;        /* deadline and progress, while the filter's answer is awaited */
	double                    deadline_at;

	bool                      is_in_handler, awaits_answer, has_early_answer, awaits_scripts;
	enum mm_decision            early_answer;
	struct mm_verdict         worded;       /* the reply that the handler has set; kind continue: none */
	bool                      accepted_client, accepted_message;
	bool                      scripts_accepted_client, scripts_accepted_message;
	bool                      skips;        /* events of skipped_stage */
	enum mm_stage             skipped_stage;
	struct mm_filter_kept               of_client, of_message;
	struct mm_buffer          texts[3];     /* owned, ended by NUL: two arguments of a handler, and what
	                                         * mm_event_ functions return */
	struct mm_buffer          words, lists; /* owned: strings for a handler, and the pointers to them */
};

/* Forgets what the embedder has kept, and has it destroyed. */
void mm_filter_drop(struct mm_filter_kept *);
/* A copy of a text that ends with NUL, in texts[at]; BORROWED until the next call for it. "" when memory is out. */
const char *mm_filter_string(struct mm_filter_session *, unsigned at, struct mm_text);

/* False: a filter is for a milter that there is not, or two are for the same. */
bool mm_host_take_filters(struct mm_host *, struct mm_fault *why);
void mm_host_free_filters(struct mm_host *);
/* The filter of a milter; NULL: it has none. Borrowed. */
const struct mm_filter *mm_host_filter_of(const struct mm_host *, unsigned milter);
/* For people: a line with its name and its handlers. */
void mm_filter_describe(const struct mm_filter *, struct mm_say say);
/* The runtime for new sessions of a milter: its filter's, or that of its scripts. self is the host. */
struct mm_runtime mm_host_runtime(void *self, unsigned milter);

#endif
