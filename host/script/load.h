/* script/load.h -- loading: runs the files of a generation (lua/moonmilter/runtime/loader.lua) and takes over the plan
 * that comes back: the handlers, what each of them sees, what to ask the MTA for. Also runs on_unload.
 * Knows no sessions. */
#ifndef MM_SCRIPT_LOAD_H
#define MM_SCRIPT_LOAD_H

#include "script/files.h"
#include "task/task.h"

/* The handlers of one script. */
struct mm_handlers {
	int      by_stage[MM_STAGE_COUNT];      /* registry references, MM_NO_REF */
	uint8_t  seen[MM_STAGE_COUNT];          /* parameters that the function declares, ctx included;
	                                         * only those are pushed */
	int      lines[MM_STAGE_COUNT];         /* where the function begins */
	struct mm_field_handler {
		char  *name;                    /* owned, lower case */
		size_t size;                    /* of name */
		int    ref;                     /* registry reference */
		int    line;                    /* where it begins */
	}       *fields;                        /* owned: on_header = { Name = function }; NULL: not such a table */
	unsigned field_count;
};

/* The result of loading the scripts, besides g->scripts and g->wanted. Scripts are bits: 1 << index. */
struct mm_plan {
	struct mm_handlers *handlers;           /* owned: by script */
	uint64_t            client_scripts;     /* scripts with a handler for any event of a session */
	uint64_t            message_scripts;    /* scripts with a handler for any event of a message */
	uint64_t            stage_scripts[MM_STAGE_COUNT];      /* scripts with a handler for the stage */
	bool                counts_body;        /* a script reads ctx.body_size: no piece may be skipped */
	char               *findings;           /* owned: what `check` says about the scripts, a line each; may be "" */
	char               *signs;              /* owned: "2 keys", of auth.keys; NULL: they sign nothing */
	char               *maps;               /* owned: those that scripts have open, a line each; NULL: none */
	unsigned            warned;             /* lines that the log has about them already */
	char               *macros_named;       /* owned: by scripts, separated by blanks; NULL: none */
	char               *macro_lists[MM_MACRO_SET_COUNT];    /* owned, borrowed by g->wanted */

	/* while it loads */
	void              (*loaded)(void *self, bool ok, const struct mm_fault *why);
	void               *loaded_self;        /* borrowed */
};

/* Makes an empty plan and notes what will be loaded; the list is borrowed for the call. */
bool mm_load_prepare(struct mm_generation *, const struct mm_script_files *, struct mm_fault *why);
/* There is no script to load. */
bool mm_load_is_of_nothing(const struct mm_generation *);
/* Starts loading, once. Calls done during this call or later. After ok == false the caller can only free the plan. */
void mm_load_start(struct mm_generation *, void (*done)(void *self, bool ok, const struct mm_fault *why), void *self);
/* Ends a load that waits, without calling done. */
void mm_load_stop(struct mm_generation *);
/* Runs each on_unload of a generation that is loaded. They cannot wait: the state closes right after them. */
void mm_load_run_unloaders(struct mm_generation *);
/* Frees the plan. The Lua state is closed already, or closes without it. */
void mm_load_free(struct mm_generation *);

#endif
