/* script/generation.h -- one generation of a milter's scripts: a Lua state that decides for sessions.
 * Made, loaded (which may wait), then given to engines as their runtime. Counted: the worker holds one reference while
 * the generation is current, each session one while it lasts; the last one closes the state.
 *
 * The face of script/ for the folders below it. Sessions are in session.c, what is shown to people is in view.c. */
#ifndef MM_SCRIPT_GENERATION_H
#define MM_SCRIPT_GENERATION_H

#include "base/say.h"
#include "base/value.h"
#include "script/state.h"
#include "task/task.h"

struct mm_generation_options {
	struct mm_generation_settings  settings;
	const char *const             *paths;   /* script files and directories, NULL-ended; borrowed for the call */
	const struct mm_module        *modules; /* ended by name NULL; may be NULL; borrowed for the call */
	const struct mm_value         *host_settings;   /* what scripts find as host.settings; NULL: an empty table;
	                                                 * borrowed for the call */
};

/* A state with nothing loaded; the caller holds its one reference. NULL: why says what is wrong
 * with a path, or memory. */
struct mm_generation *mm_generation_new(const struct mm_generation_options *, struct mm_fault *why);
/* Starts loading. done is called once, from inside the call or later; after ok == false only release is left to do. */
void mm_generation_load(struct mm_generation *, void (*done)(void *self, bool ok, const struct mm_fault *why),
	void *self);
/* Stops a load that waits; done is not called. */
void mm_generation_stop_loading(struct mm_generation *);
/* The next generation takes over: timers stop, sessions go on. */
void mm_generation_retire(struct mm_generation *);
void mm_generation_retain(struct mm_generation *);
void mm_generation_release(struct mm_generation *);
/* New sessions get this generation from now on, so the compiler is for it (budget.h), until it is for another. */
void mm_generation_begin_serving(struct mm_generation *);
/* What engines of new sessions get. */
struct mm_runtime mm_generation_runtime(struct mm_generation *);

/* For people: one line a script, "rcpt-count: on_rcpt on_eom", then what will be asked of the MTA.
 * Calls say once a line. */
void mm_generation_describe(const struct mm_generation *, struct mm_say say);
unsigned mm_generation_session_count(const struct mm_generation *);
/* Bytes the Lua state uses. */
uint64_t mm_generation_bytes(const struct mm_generation *);
/* The next of settings.all; NULL: none. */
struct mm_generation *mm_generation_next(const struct mm_generation *);
/* For people: a line about the generation; a line a session, and indented below it where a waiting one stands. */
void mm_generation_list(const struct mm_generation *, struct mm_say say);
void mm_generation_list_sessions(const struct mm_generation *, struct mm_say say);

#endif
