/* script/generation.h -- one generation of a milter's scripts: a Lua state that decides for sessions.
 * Made, loaded (which may wait), then given to engines as their runtime. Counted: the worker holds one reference while
 * the generation is current, each session one while it lasts; the last one closes the state.
 *
 * The only header of script/ that the folders below it need. session.c has the sessions, view.c what people see. */
#ifndef MM_SCRIPT_GENERATION_H
#define MM_SCRIPT_GENERATION_H

#include "base/say.h"
#include "base/value.h"
#include "script/state.h"
#include "task/task.h"

struct mm_generation_options {
	struct mm_generation_settings  settings;
	const char *const             *paths;   /* script files and directories, NULL-ended; borrowed for the call */
	const struct mm_source        *sources; /* scripts in memory, for all milters; ended by name NULL; may be NULL;
	                                         * borrowed until they are loaded */
	bool                           is_first;        /* milter: those without a name are its */
	bool                           needs_no_scripts;        /* a filter in C decides for its sessions: while there
	                                                         * are no scripts, no Lua state is made */
	const struct mm_module        *modules; /* ended by name NULL; may be NULL; borrowed for the call */
	const struct mm_value         *host_settings;   /* scripts read them as host.settings; NULL: an empty table;
	                                                 * borrowed for the call */
	const struct mm_value         *redis;   /* options of redis.new() without options; NULL, nil: none */
};

/* A state with nothing loaded; the caller holds its one reference. NULL: why names the path that is wrong, or
 * says that memory is out. */
struct mm_generation *mm_generation_new(const struct mm_generation_options *, struct mm_fault *why);
/* Starts loading. Calls done once, during this call or later. After ok == false the caller can only release it. */
void mm_generation_load(struct mm_generation *, void (*done)(void *self, bool ok, const struct mm_fault *why),
	void *self);
/* Stops a load that waits, without calling done. */
void mm_generation_stop_loading(struct mm_generation *);
/* Another generation takes over: timers stop, sessions go on. */
void mm_generation_retire(struct mm_generation *);
void mm_generation_retain(struct mm_generation *);
void mm_generation_release(struct mm_generation *);
/* New sessions get this generation from now on. It may use the compiler (budget.h), until
 * another generation gets it. */
void mm_generation_begin_serving(struct mm_generation *);
/* The runtime for engines of new sessions. */
struct mm_runtime mm_generation_runtime(struct mm_generation *);

/* For people: one line a script, "rcpt-count: on_rcpt on_eom", then what the MTA will be asked for.
 * Calls say for each line. */
void mm_generation_describe(const struct mm_generation *, struct mm_say say);
/* What the first mail would find in the scripts, a line each. Returns how many warnings there are, with those that the
 * log has already. */
unsigned mm_generation_describe_findings(const struct mm_generation *, struct mm_say say);
bool mm_generation_is_empty(const struct mm_generation *);      /* it has no scripts */
unsigned mm_generation_session_count(const struct mm_generation *);
/* Bytes the Lua state uses; 0: there is none. */
uint64_t mm_generation_bytes(const struct mm_generation *);
/* The next in settings.all; NULL: none. */
struct mm_generation *mm_generation_next(const struct mm_generation *);
/* For people: a line about the generation; a line for each session, and indented below it where a waiting one waits. */
void mm_generation_list(const struct mm_generation *, struct mm_say say);
void mm_generation_list_sessions(const struct mm_generation *, struct mm_say say);

#endif
