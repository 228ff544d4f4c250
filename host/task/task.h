/* task/task.h -- coroutines parked between events, and the state they share.
 * A generation (struct mm_generation) is one Lua state. A session takes a coroutine from the pool for each event and
 * gives it back when the event is decided; further tasks of a session are coroutines of their own. A task waits for at
 * most one thing at a time and knows how to undo that wait: the session may be gone when the answer comes, so whoever
 * ends the session calls undo and no answer comes at all.
 *
 * Inner structs are open to the script row only; the rows above see script/generation.h. No lua.h here: a lua_State is
 * a name. */
#ifndef MM_TASK_TASK_H
#define MM_TASK_TASK_H

#include "base/bounds.h"
#include "base/census.h"
#include "base/clock.h"
#include "milter/engine.h"
#include "base/holding.h"
#include "base/log.h"

struct lua_State;
struct lua_Debug;
struct mm_generation;
struct mm_script_session;
struct mm_pools;
struct mm_tls_cache;
struct mm_http;
struct mm_spawned;
struct mm_children;
struct mm_profile;
struct mm_profile_script;
struct mm_deferred;
struct mm_dns;

#define MM_NO_REF      (-2)     /* LUA_NOREF */

enum mm_run {
	MM_RUN_DONE,            /* returned; results are on the coroutine's stack */
	MM_RUN_WAITING,         /* parked; task->undo ends the wait */
	MM_RUN_EXITED,          /* a verdict method ended the handler from within */
	MM_RUN_FAILED,          /* raised; the fault holds message and traceback */
};

/* Tasks and deferred functions that end together: those of a message, of a client, of a generation (task/group.h). */
struct mm_task_group {
	struct mm_spawned  *first;              /* owned list */
	struct mm_deferred *deferred;           /* owned list, last one first */
	unsigned            count;              /* of both */
	bool                is_closed;          /* takes no more */
};

/* A time limit that a script has set for a part of what a task does (milter.timeout). */
struct mm_limit {
	struct mm_timer   timer;
	struct mm_task   *task;                 /* borrowed */
	struct mm_limit  *outer;                /* owned */
	unsigned          depth;                /* counts from 1, outermost first */
	bool              is_over;              /* waits raise until it is closed */
};

struct mm_task {
	struct mm_generation         *generation;       /* borrowed */
	struct mm_script_session *session;      /* borrowed; NULL while scripts load or unload */
	struct lua_State         *co;           /* borrowed from the Lua state through anchor; NULL: none yet */
	int                       anchor;       /* registry reference */
	float                     busy;         /* ticks the call has run before its last wait (profile.h) */
	bool                      is_cancelled; /* every further wait raises at once */
	bool                      is_waiting;
	bool                      is_ready;     /* stands in the run queue: still waiting, and
	                                         * undo takes it out again */
	uint8_t                   why;          /* enum mm_cancel, of is_cancelled */
	int                       ready_count;  /* then: results on co, or arguments of a function that has not begun */
	void                    (*undo)(struct mm_task *);      /* frees what is waited for; set while waiting */
	void                     *waits_for;    /* of undo */
	const char               *wait_name;    /* "sleep"; static, for errors and ctl sessions */
	uint64_t                  began_at;     /* ticks when the call began, if it has waited; 0: it has not */
	struct mm_timer           timer;        /* of the wait */
	struct mm_limit          *limits;       /* owned: innermost first */
	struct mm_task_group     *group;        /* borrowed: what a spawned task belongs to;
	                                         * NULL: a handler's own task */
	const struct mm_script   *script;       /* borrowed: script of a spawned task or deferred
	                                         * function; may be NULL */
	struct mm_task           *next_ready, *previous_ready;
	/* Called when a wait is over and the coroutine has run on. */
	void                    (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *);
};

/* Tables of a script's own behind ctx. ORDER KEPT */
enum mm_kept { MM_KEPT_SESSION, MM_KEPT_MESSAGE, MM_KEPT_COUNT };

/* One script file. */
struct mm_script {
	char *name;                             /* owned: file name without directory and .lua */
	char *path;                             /* owned */
	int   handlers[MM_STAGE_COUNT];         /* registry references, MM_NO_REF */
	uint8_t seen[MM_STAGE_COUNT];           /* arguments that the function declares, ctx
	                                         * included: more are not made */
	struct mm_field_handler {
		char  *name;                    /* owned, lower case */
		size_t size;
		int    ref;
	}    *fields;                           /* owned: on_header = { Name = function } */
	unsigned field_count;
	struct mm_profile_script *profile;      /* borrowed; NULL: nobody counts */
};

/* What all Lua states of a worker take; owned by the worker. */
struct mm_worker_memory {
	size_t   used;          /* bytes, of the states that count */
	unsigned strikes;       /* full collections in a row that left more than memory_soft */
};

/* task/memory.c */
struct mm_memory {
	struct mm_worker_memory *worker;     /* borrowed */
	void  *(*allocate)(void *, void *, size_t, size_t);     /* the state's own; NULL: it does not count */
	void    *allocate_self;
	size_t   used, soft, hard;
	size_t   collect_at;
	bool     is_enforced;
	bool     was_refused;
	int      left;                          /* KiB in use when garbage was least; 0: not known */
	bool     is_resting;                    /* a cycle has been begun while there was time */
};

struct mm_generation_settings {
	struct mm_clock  *clock;                /* borrowed */
	struct mm_dns    *dns;                  /* borrowed */
	struct mm_children *children;           /* borrowed */
	unsigned          worker_index;         /* from 0; what runs once a host runs in worker 0 */
	struct mm_log    *log;                  /* borrowed */
	const char       *milter_name;          /* borrowed; "default" */
	const char       *milter_in_log;        /* borrowed: the same; NULL: it is the only one */
	double            stage_deadline;       /* seconds a handler may wait */
	double            eom_deadline;
	double            progress_every;
	size_t            body_max;             /* bytes of a replacement body */
	enum mm_verdict_kind on_error;          /* tempfail, accept or reject */
	bool              lockstep;             /* answer every header event */
	unsigned long     number;      /* counts from 1; grows with each reload */
	struct mm_worker_memory *memory;     /* borrowed; NULL: no limits */
	uint64_t          memory_soft, memory_hard;     /* bytes; 0: no limit */
	struct mm_census_row *row;              /* borrowed: where errors are counted, and what runs is noted */
	struct mm_profile *profile;             /* borrowed; NULL: nobody counts what handlers cost */
	struct mm_generation **all;                 /* borrowed: list that the generation is in as long as it
	                                         * is in memory; or NULL */
};

struct mm_generation {
	struct lua_State *L;                    /* owned */
	struct mm_generation *next, *previous;      /* of settings.all */
	struct mm_generation_settings settings;
	struct mm_memory memory;
	unsigned          references;           /* sessions and the worker */
	struct mm_script *scripts;              /* owned, in the order they run */
	unsigned          script_count;
	uint64_t          client_scripts;       /* scripts with a handler for any event of a session */
	uint64_t          message_scripts;      /* scripts with a handler for any event of a message */
	uint64_t          stage_scripts[MM_STAGE_COUNT];        /* scripts with a handler for the stage */
	bool              counts_body;          /* a script reads ctx.body_size: no piece may be skipped */
	struct mm_wanted  wanted;
	char             *macro_lists[MM_MACRO_SET_COUNT];      /* owned, borrowed by wanted */
	bool              is_loaded;

	struct mm_task   *current;              /* the task that runs now; NULL outside of Lua */
	struct mm_task   *ready_first, *ready_last;     /* run queue */
	unsigned          ready_count;
	struct mm_timer   runner;               /* drains it from the loop */
	struct mm_task_group tasks;             /* spawned while loading: end with the generation */
	struct mm_task_group timers;            /* stop when the next generation takes over */
	struct mm_parked {
		struct lua_State *co;
		int               anchor;
	}                *pool;                 /* owned: finished coroutines */
	unsigned          pool_count, pool_capacity;

	int               ctx_metatable;        /* registry references */
	int               kept_tables[MM_KEPT_COUNT];   /* each a table by ctx */
	int               host_object;
	int               cancel_token;         /* what a cancelled wait returns to its wrapper */
	int               cancel_names[MM_CANCEL_COUNT];        /* ORDER CANCEL: there when memory is gone */
	int               memory_words[2];      /* text and code of an answer there is no memory for */
	int               entry;                /* lua/moonmilter/runtime/entry.lua: calls with what
	                                         * mm_call_push() pushes */
	int               host_token;           /* what a wait yields, so that user coroutines pass it on */
	int               field_factory;        /* moonmilter.runtime.headers: makes ctx.headers */
	int               feed_kept_body;       /* of moonmilter.runtime.kept_body */

	struct mm_task    load_task;
	void            (*loaded)(void *self, bool ok, const struct mm_fault *why);
	void             *loaded_self;
	char             *load_paths;           /* owned: list of files, NUL after each */
	const char       *loading;              /* borrowed from it: whose top level or on_load runs; NULL: nobody's */
	struct mm_script_session *sessions;     /* list of all open ones */

	struct mm_holder  holder;               /* what was opened while loading, or by nobody's task */
	struct mm_pools  *pools;                /* owned; each NULL until it is asked for */
	struct mm_tls_cache *tls;
	struct mm_http   *http;
};

/* A session as its scripts see it. */
struct mm_script_session {
	struct mm_generation         *generation;       /* holds a reference */
	struct mm_session        *facts;        /* borrowed from the engine */
	struct mm_engine         *engine;       /* borrowed */
	struct mm_script_session *next, *previous;
	double                    began_at;     /* mm_clock_now() */
	struct mm_task            task;
	struct mm_timer           alarm;        /* deadline and progress, while a handler waits */
	double                    deadline_at;  /* mm_clock_now(); 0: not set for this event */
	double                    progress_at;

	int                       ctx;          /* registry references, MM_NO_REF: none yet */
	bool                      has_kept[MM_KEPT_COUNT];      /* an entry in the script's kept_tables */
	int                       client_table;
	int                       recipients_table;
	uint32_t                  recipients_synced;
	int                       headers_table;
	uint32_t                  headers_stamp;
	int                       kept_bodies;  /* table by script: what ctx:body{} keeps of this message */
	float                     cpu_used;     /* seconds, since the message before ended; budget.c */
	uint64_t                  keeps_body;   /* scripts that keep it */
	uint64_t                  skips_body;   /* of these: scripts whose on_body wants no more of it */

	struct mm_event           event;        /* being handled */
	bool                      has_event;
	bool                      has_verdict;  /* verdict is set */
	bool                      feeds_body;   /* what runs is the host's part of ctx:body{}, not the handler */
	uint8_t                   body_replaced_by;     /* script whose replace_body came last, when the
	                                                 * message replaces_body */
	uint8_t                   body_marked_by;       /* the same when mark was made */
	unsigned                  script_at;    /* script whose handler runs or runs next */
	struct mm_edit_mark      *mark;         /* owned: edits asked for before a recipient's or an
	                                         * unknown command's handlers */
	struct mm_verdict         verdict;      /* said by a verdict method */
	uint64_t                  accepted_client;      /* scripts that are done with the client */
	uint64_t                  accepted_message;     /* scripts that are done with the message */
	uint64_t                  skipped;              /* scripts that want no more of this kind of event */
	enum mm_stage             skipped_stage;
	enum mm_cancel            ending;       /* what its tasks will be told when they are ended */

	struct mm_holder          message_holder;       /* sockets and requests that end with the message */
	struct mm_holder          client_holder;        /* and with the client */
	struct mm_task_group      message_tasks;
	struct mm_task_group      client_tasks;
};

/* ---- coroutines ---- */

void mm_task_init(struct mm_task *, struct mm_generation *, struct mm_script_session *,
	void (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *));
/* Makes sure the task has a coroutine; from the pool, or new. NULL: out of memory. */
struct lua_State *mm_task_coroutine(struct mm_task *);
/* Gives the coroutine up: back to the pool when it is at rest, else to the garbage collector. */
void mm_task_release(struct mm_task *);
/* The task that runs now, found from any Lua state of the generation. NULL: none. */
struct mm_task *mm_task_current(struct lua_State *);
struct mm_generation *mm_generation_of(struct lua_State *);
/* The script whose function it runs; NULL: not known, as while loading. */
const struct mm_script *mm_task_script(const struct mm_task *);
void mm_generation_mark(struct lua_State *, struct mm_generation *);    /* once, when the state is made */
/* Keeps what is pushed when memory is gone: the words of a cancellation and of a wait whose answer found no room. Once,
 * when the state is made; may raise. */
void mm_task_keep_words(struct lua_State *, struct mm_generation *);
/* Who holds what is opened now: the message or the client of the current task, or the generation. */
struct mm_holder *mm_task_holder(struct mm_generation *);

/* ---- waiting ----
 * A primitive checks its arguments (it may raise), calls mm_task_may_wait(), starts its operation, then returns
 * mm_task_wait(): nothing may be acquired before the checks and nothing may raise after. */

/* Does the frame, of which "S" is known, belong to the runtime or to C, and not to a script? */
bool mm_frame_is_ours(const struct lua_Debug *);
/* luaL_error() with the script's file and line, whatever of the runtime's Lua stands between. */
int mm_raise_at_script(struct lua_State *, const char *format, ...);
/* Pushes "file:line: " of the innermost frame of a script from a level on, or "". */
void mm_push_location(struct lua_State *, int level);
void mm_push_location_of(struct lua_State *, struct lua_State *co);        /* the same of a coroutine that is dead
                                                                            * now */
/* An error that was raised in the runtime's own Lua, on the stack of co, which is dead now: the same with the script's
 * line and the name of the function that the script has called. Others come back as they are. May push values onto L,
 * which hold it. */
const char *mm_push_blame(struct lua_State *, struct lua_State *co, const char *message);
/* The same for one that pcall has caught from a primitive, on the stack that runs. Pushes the text, unless message,
 * which is on top, is right as it is. */
void mm_blame_caller(struct lua_State *, const char *message);
/* The current task, ready to wait. Raises when Lua cannot yield here and says why; when the task is cancelled it pushes
 * token and reason and returns NULL: the primitive then returns 2. */
struct mm_task *mm_task_may_wait(struct lua_State *, const char *name);
int mm_task_wait(struct lua_State *, struct mm_task *, const char *name, void (*undo)(struct mm_task *),
	void *waits_for);
/* As mm_task_go_on (task/call.h), but from the loop, soon, behind what is ready already: for completions that come
 * several at once or from inside a library that cannot be entered again. Also starts a coroutine whose function and
 * count arguments have been pushed. */
void mm_task_ready(struct mm_task *, int count);
/* Takes the task out of the run queue; it waits no more. */
void mm_task_unready(struct mm_task *);
/* Runs build(L, arg) protected from running out of memory, to push the results of a wait on task->co. Returns how many:
 * what build says, or 3 for a failure it could not avoid. */
int mm_task_push(struct mm_task *, int (*build)(struct lua_State *, void *arg), void *arg);
/* Undoes the wait at once and lets the cancellation be raised from the run queue: for calls from inside Lua. resumed is
 * called as usual. Running: the next wait raises. */
void mm_task_cancel_soon(struct mm_task *, enum mm_cancel why);
/* Pushes what a cancelled wait returns to its wrapper: token and reason. */
void mm_task_push_cancel(struct mm_task *, struct lua_State *);
/* A wait that never reached the host, because C code stood in the way (a user coroutine that waits inside table.sort),
 * is undone. Only while the task runs. */
void mm_task_forget_wait(struct mm_task *);
/* The wait has its answer or was undone: the task is no longer waiting for anything. */
void mm_task_wait_is_over(struct mm_task *);
const char *mm_cancel_name(enum mm_cancel);     /* "abort". Static. */

/* ---- time limits ---- */

/* The outermost limit that is over: what has opened those inside it is to be left, too. NULL: none. */
const struct mm_limit *mm_limit_over(const struct mm_task *);
/* Pushes what a wait returns to its wrapper then: token and depth. */
void mm_limit_push(struct mm_task *, struct lua_State *);
/* Closes this one and all inside it. True: it was over. */
bool mm_limit_close(struct mm_task *, unsigned depth);

#endif
