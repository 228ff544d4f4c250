/* task/generation.h -- the state of a generation of scripts, its sessions and their tasks: the structs that task/,
 * bind/ and script/ share. A generation is one Lua state; a session takes a coroutine from its pool for each event;
 * further tasks of a session have their own coroutines.
 *
 * Only these three folders use it; the folders below see script/generation.h. Fields that end together are grouped, and
 * each group names what ends it. lua.h is not included: lua_State is only a name. An int that holds a reference
 * (vault.h) is owned by its struct and ends with the Lua state. */
#ifndef MM_TASK_GENERATION_H
#define MM_TASK_GENERATION_H

#include "base/bounds.h"
#include "base/census.h"
#include "base/clock.h"
#include "base/holding.h"
#include "base/log.h"
#include "milter/engine.h"

struct lua_State;
struct mm_body_hashes;
struct mm_children;
struct mm_deferred;
struct mm_desk;
struct mm_dns;
struct mm_generation;
struct mm_http;
struct mm_plan;
struct mm_pools;
struct mm_profile;
struct mm_pushing;
struct mm_profile_script;
struct mm_script_session;
struct mm_spawned;
struct mm_stores;
struct mm_services;
struct mm_tables;
struct mm_taken;
struct mm_tls_cache;
struct mm_tracer;

#define MM_NO_REF      (-2)     /* LUA_NOREF */

/* ---- tasks (task/task.h) ---- */

enum mm_run {
	MM_RUN_DONE,            /* returned; results are on the coroutine's stack */
	MM_RUN_WAITING,         /* parked; task->undo ends the wait */
	MM_RUN_EXITED,          /* a verdict method ended the handler from within */
	MM_RUN_FAILED,          /* raised; the fault holds message and traceback */
};

/* Tasks and deferred functions that end together: those of a message, of a client, of a generation (task/group.h). */
struct mm_task_group {
	struct mm_spawned  *first;              /* list; holds a reference to each */
	struct mm_deferred *deferred;           /* owned list, last one first */
	unsigned            count;              /* of both */
	bool                is_closed;          /* accepts no more */
};

/* A time limit that a script has set for a part of a task's work (milter.timeout). */
struct mm_limit {
	struct mm_timer  timer;                 /* owned */
	struct mm_task  *task;                  /* borrowed */
	struct mm_limit *outer;                 /* owned */
	unsigned         depth;                 /* counts from 1, outermost first */
	bool             is_over;               /* waits raise until it is closed */
};

/* The handler that a walk calls next, and its arguments after ctx; moonmilter.runtime.entry reads it by ffi, too. */
struct mm_walked {
	const char *first, *second;     /* borrowed until the call begins */
	int32_t     first_size, second_size;    /* -1: nil */
	int32_t     called;             /* its reference */
};

/* What a task needs only while it waits: made before its first wait, gone when its coroutine is given up. */
struct mm_task_timers {
	struct mm_timer  wait;                  /* of the wait itself */
	struct mm_timer  alarm;                 /* deadline and progress, of a handler (deadline.h) */
	struct mm_task  *task;                  /* borrowed */
};

struct mm_task {
	struct mm_generation     *generation;   /* borrowed */
	struct mm_script_session *session;      /* borrowed; NULL while scripts load or unload */
	struct lua_State         *co;           /* borrowed from the Lua state through anchor; NULL: none yet */
	int                       anchor;       /* reference */
	float                     busy;         /* ticks that the call has run before its last wait (profile.h) */
	bool                      is_cancelled; /* every further wait raises at once */
	bool                      is_waiting;
	bool                      is_ready;     /* in the run queue: it still waits, and undo takes it out again */
	uint8_t                   why;          /* enum mm_cancel, of is_cancelled */
	int                       ready_count;  /* when is_ready: results on co, or arguments of a
	                                         * function that has not begun */
	void                    (*undo)(struct mm_task *);      /* frees what the task waits for; set while it waits */
	void                     *waits_for;    /* for undo, which frees it */
	const char               *wait_name;    /* "sleep"; static, for errors and ctl sessions */
	const char               *said;         /* borrowed: what it asks, when the wait begins, or what came back,
	                                         * when it ends, if arguments and results do not say so; told.h */
	uint32_t                  told_at, told_serial;         /* of told.h: where the story has it; 0: nowhere */
	uint64_t                  wait_began_at;        /* ticks; 0: it does not wait, or has not begun */
	uint64_t                  began_at;     /* ticks when the call began, if it has waited; 0: it has not */
	struct mm_task_timers    *timers;       /* owned; NULL: it has not waited */
	struct mm_limit          *limits;       /* owned: innermost first */
	struct mm_task_group     *group;        /* borrowed: of a spawned task; NULL: a handler's own task */
	const struct mm_script   *script;       /* borrowed: of a spawned task or deferred function; may be NULL */
	const char               *path;         /* borrowed: the file whose load has started it, when script is NULL */
	struct mm_task           *next_ready, *previous_ready;  /* borrowed: of the run queue */
	/* Called when a wait is over and the coroutine has been resumed. */
	void                    (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *);
};

/* What a session needs only while it has an event that handlers get: a worker has few of these, so those that are in
 * use stay in the processor's cache, and a session that waits for its MTA is small (task/task.h). */
struct mm_at_work {
	struct mm_task            task;         /* runs the handlers */
	struct mm_event           event;        /* of a handler that waits; borrows from the engine */
	double                    deadline_at;  /* mm_clock_now(); 0: not set for this event */
	double                    progress_at;  /* mm_clock_now() */
	struct mm_at_work        *next_free;    /* link in the pool */
};

/* ---- scripts ---- */

/* One script file; its handlers are in the plan. */
struct mm_script {
	char                     *name;         /* owned: file name without directory and .lua */
	char                     *path;         /* owned */
	struct mm_profile_script *profile;      /* borrowed until left; NULL: not counted */
};

/* Tables of a ctx that belong to the scripts. ORDER KEPT */
enum mm_kept { MM_KEPT_SESSION, MM_KEPT_MESSAGE, MM_KEPT_COUNT };

/* ---- memory (task/memory.h) ---- */

/* The memory of all Lua states of a worker; owned by the worker. */
struct mm_worker_memory {
	size_t   used;          /* bytes of the states that count */
	unsigned strikes;       /* full collections in a row that left more than memory_soft */
};

struct mm_memory {
	struct mm_worker_memory *worker;        /* borrowed */
	struct mm_worker_memory  alone;         /* for a worker that has none */
	void                  *(*allocate)(void *, void *, size_t, size_t);     /* the state's own; NULL: not yet, or
	                                                                         * no more */
	void                    *allocate_self; /* borrowed from the state */
	size_t                   used, soft, hard;      /* bytes: of this state; limits of the worker */
	size_t                   collect_at;    /* bytes of the worker */
	bool                     is_enforced;
	bool                     was_refused;
	int                      left;          /* KiB in use when there was least garbage; 0: not known */
	bool                     is_resting;    /* a cycle has been begun in idle time */
};

/* ---- generations ---- */

struct mm_generation_settings {
	struct mm_clock         *clock;         /* borrowed */
	struct mm_dns           *dns;           /* borrowed */
	struct mm_children      *children;      /* borrowed */
	struct mm_stores        *stores;        /* borrowed; NULL: this host keeps none */
	struct mm_tables        *tables;        /* borrowed; NULL: this host opens no maps */
	struct mm_services      *services;      /* borrowed; NULL: nothing is noted of them */
	struct mm_desk          *desk;          /* borrowed: for the stories of messages; NULL: none are told */
	struct mm_tracer        *tracer;        /* borrowed; NULL: nobody can watch */
	struct mm_meters        *meters;        /* borrowed; NULL: none */
	struct mm_figures       *figures;       /* borrowed: of the milter; NULL: nothing is counted */
	unsigned                 worker_index;  /* from 0; worker 0 does the work that a host needs once */
	struct mm_log           *log;           /* borrowed */
	const char              *milter_name;   /* borrowed; "default" */
	const char              *milter_in_log; /* borrowed: the same; NULL: it is the only milter */
	double                   stage_deadline;        /* seconds that a handler may wait */
	double                   eom_deadline;  /* the same at end of message */
	double                   progress_every;        /* seconds */
	size_t                   body_max;      /* bytes of a replacement body */
	enum mm_verdict_kind     on_error;      /* tempfail, accept or reject */
	enum mm_verdict_kind     over;          /* a script reads a part of a message that is cut (mm_part): reject,
	                                         * tempfail, or continue with what is kept */
	bool                     lockstep;      /* answer every header event */
	bool                     omits_home;    /* do not look for modules in ~/.luarocks */
	unsigned                 shadow_row;    /* its milter's number, from 1, if it is a shadow, whose scripts must
	                                         * have no effect; 0: it is none */
	bool                     reads_all_keys;        /* large tables of private keys, too (check --keys) */
	unsigned long            number;        /* counts from 1; grows with each reload */
	struct mm_worker_memory *memory;        /* borrowed; NULL: no limits */
	struct mm_account_sum   *held;          /* borrowed: of the worker; NULL: not counted */
	uint64_t                 memory_soft, memory_hard;      /* bytes; 0: no limit */
	struct mm_census_row    *row;           /* borrowed: counts errors and records what runs */
	struct mm_profile       *profile;       /* borrowed; NULL: the cost of handlers is not counted */
	struct mm_generation   **all;           /* borrowed: list that holds the generation while it
	                                         * is in memory; or NULL */
};

struct mm_generation {
	/* from mm_generation_new() to the last reference */
	struct lua_State             *L;        /* owned; NULL: there are no scripts, a filter in C decides */
	struct lua_State             *vault;    /* borrowed from it; NULL: not yet, or no more (vault.h) */
	struct mm_generation         *next, *previous;  /* borrowed: of settings.all */
	struct mm_generation_settings settings;
	struct mm_memory              memory;
	unsigned                      references;       /* sessions and the worker */
	struct mm_script_session     *sessions; /* borrowed list of all open ones: each holds a reference */
	struct mm_pools              *pools;    /* these three are owned; each is NULL until first use */
	struct mm_tls_cache          *tls;
	struct mm_http               *http;
	struct mm_account             account;  /* of what its tasks without a session hold, and its idle connections */
	struct mm_holder              holder;   /* owns what was opened while loading, or by tasks without a session */

	/* the result of loading the scripts: script/load.h */
	struct mm_script             *scripts;  /* owned, in the order they run */
	unsigned                      script_count;
	struct mm_plan               *plan;     /* owned: their handlers */
	struct mm_wanted              wanted;   /* borrows from the plan */
	bool                          is_loaded;        /* scripts have run in L */
	bool                          has_lost_registry;        /* and the log says so (script/state.h) */

	/* while it loads */
	struct mm_task                load_task;        /* later, idle time is charged to it, too */
	char                         *load_paths;       /* owned: list of files, then of scripts in memory, NUL after
	                                                 * each */
	unsigned                      load_files;       /* how many of them are files */
	const struct mm_source       *load_sources;     /* borrowed; may be NULL */
	bool                          is_first_milter;  /* sources without a milter are its */
	const char                   *loading;          /* borrowed from it: file whose top level or on_load runs; NULL:
	                                                 * none */

	/* what runs */
	struct mm_script_session     *shown;    /* borrowed: whose ctx is in ctx_now; NULL: none */
	bool                          shows_message;    /* ctx_now says that it has one */
	const struct mm_pushing      *pushing;  /* borrowed: what the call that begins will push (call.c) */
	struct mm_pushing            *walking;  /* borrowed: of the call that runs */
	struct mm_walked              walked;   /* what the next call of a walk is called with (call.h) */
	const void                   *interpreter;      /* borrowed: code that calls mm_call_further() when a walk is
	                                                 * interpreted */
	uint32_t                      walk_misses;      /* how much interpreted walks have cost lately (call.c) */
	struct mm_task               *current;  /* borrowed: the task that runs now; NULL outside of Lua */
	struct mm_task               *ready_first, *ready_last; /* run queue; borrowed from their owners */
	unsigned                      ready_count;
	struct mm_timer               runner;   /* owned: drains it from the loop */
	struct mm_task_group          tasks;    /* spawned while loading: end with the generation */
	struct mm_task_group          timers;   /* end when the next generation takes over */
	struct mm_parked {
		struct lua_State *co;           /* borrowed from the Lua state through anchor */
		int               anchor;       /* reference */
	}                            *pool;     /* owned: finished coroutines */
	unsigned                      pool_count, pool_capacity;
	struct mm_at_work            *resting;  /* owned: pool of what sessions at work need */
	unsigned                      resting_count;

	void                        (*alarm)(struct mm_timer *);        /* of handlers that wait: script/session.c */

	/* places in the vault (mm_vault_stand()): made with the state, by script/state.h */
	int                           ctx_now;  /* { ctx of the session that runs, has it a message, ctx's number }:
	                                         * members.lua */
	int                           kept_tables[MM_KEPT_COUNT];       /* each is a table by ctx's number */

	/* references: made with the state, by script/state.h */
	int                           ctx_metatable, kept_metatable, client_metatable, task_metatable;
	int                           macros_metatable; /* of the table that on_macros gets */
	int                           handle_metatables;        /* a table of them by number (bind/handle.h) */
	int                           ctx_members;      /* the table of the members of ctx */
	int                           host_object;
	int                           cancel_token;     /* the value that a cancelled wait returns to its wrapper */
	int                           cancel_names[MM_CANCEL_COUNT];    /* ORDER CANCEL: made early,
	                                                                 * for when memory runs out */
	int                           memory_words[2];  /* text and code returned when there is
	                                                 * no memory for an answer */
	int                           entry, walk, walk_plainly;        /* moonmilter.runtime.entry: call with what
	                                                                 * mm_call_push() pushes */
	int                           walk_handlers;    /* table by reference: handlers that a walk may call */
	int                           host_token;       /* the value that a wait yields, so that user
	                                                 * coroutines pass it on */
	int                           field_factory;    /* moonmilter.runtime.headers: makes ctx.headers */
	int                           registry_copy;    /* what was in Lua's registry when the scripts were loaded */
	int                           close_file;       /* file:close of the io library */
	int                           feed_kept_body;   /* of moonmilter.runtime.kept_body */
	/* of moonmilter.identity.received, when a script loads it; else MM_NO_REF (bind/received.h) */
	int                           begin_identity;   /* called before the handlers of MAIL and end of header */
	int                           make_seals;       /* called after the last handler, for a message with seals */
};

/* ---- sessions ---- */

/* A session as its scripts see it. */
struct mm_script_session {
	/* while the engine's session lives */
	struct mm_generation     *generation;   /* holds a reference */
	struct mm_session        *facts;        /* borrowed from the engine */
	struct mm_engine         *engine;       /* borrowed */
	struct mm_script_session *next, *previous;      /* borrowed: of generation->sessions */
	double                    began_at;     /* mm_clock_now() */
	int                       ctx;          /* references, MM_NO_REF: none yet */

	/* an SMTP client: until session_end_client() */
	int                       client_table;
	/* a message: until session_end_message() */
	int                       recipients_table;
	uint32_t                  recipients_synced;
	int                       headers_table;
	uint32_t                  headers_stamp;
	int                       kept_bodies;  /* table by script: the bodies that ctx:body{} keeps of this message */
	int                       received;     /* table of moonmilter.identity.received, about this message */
	uint64_t                  keeps_body;   /* scripts that keep it */
	uint64_t                  skips_body;   /* of these: scripts whose on_body wants no more of it */
	struct mm_body_hashes    *body_hashes;  /* owned; NULL: none is asked for (bind/received.h) */
	struct mm_taken          *taken;        /* owned list: units of limits that go back unless it passes
	                                         * (bind/limit.h) */
	float                     cpu_used;     /* seconds since the previous message ended; budget.c */
	uint8_t                   over_due;     /* bits 1 << enum mm_part: read, but cut; the event gets the verdict of
	                                         * settings.over */
	uint8_t                   over_logged;  /* the same bits: the log has said so */
	bool                      has_passed;   /* its final verdict is continue or accept; for what ends with it */
	uint8_t                   sealed_by;    /* script that has asked for the last seal */

	/* an event: until mm_handlers_end() */
	const struct mm_event    *event;        /* being handled; borrowed from the engine, or from task; that of no
	                                         * event when there is none */
	struct mm_task           *task;         /* owned, first of a struct mm_at_work: runs the handlers; NULL: no
	                                         * handler has the event */
	uint64_t                  event_began_at;       /* ticks; 0: the MTA gets no answer */
	uint8_t                   stage;        /* enum mm_stage, of the event or of the last one */
	bool                      has_event;
	bool                      has_verdict;  /* verdict is set */
	uint8_t                   error_reason; /* enum mm_fault_reason, of the last error that a method has raised */
	bool                      feeds_body;   /* the host's part of ctx:body{} runs, not the handler */
	bool                      makes_seals;  /* the last handler has run */
	uint8_t                   body_replaced_by;     /* script that called replace_body last, when the
	                                                 * message replaces_body */
	uint8_t                   body_marked_by;       /* the same at the time mark was made */
	unsigned                  script_at;    /* script whose handler runs or runs next */
	int                       called_line;  /* where its function begins */
	struct mm_edit_mark      *mark;         /* owned: edits asked for before a recipient's or an unknown command's
	                                         * handlers */
	struct mm_verdict        *verdict;      /* owned: set by a verdict method; NULL: none was called */

	/* verdicts so far: by client, by message, by kind of event (script/handlers.h) */
	uint64_t                  accepted_client;      /* scripts that are done with the client */
	uint64_t                  accepted_message;     /* scripts that are done with the message */
	uint64_t                  skipped;              /* scripts that want no more of this kind of event (stage) */
	uint8_t                   ending;       /* enum mm_cancel: the reason that its tasks get when they are ended */

	/* things that end with the message, and with the client */
	struct mm_holder          message_holder;       /* owns sockets and requests */
	struct mm_holder          client_holder;
	struct mm_task_group      message_tasks;
	struct mm_task_group      client_tasks;
};

#endif
