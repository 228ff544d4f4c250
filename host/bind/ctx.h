/* bind/ctx.h -- ctx itself: the userdata that handlers get, with members that other files add.
 * It holds a pointer to the session, cleared when the session ends: a ctx that a script has kept raises from then on,
 * and as long as the session lives in every handler and task but its own.
 * A member is a fact (struct mm_ctx_fact, read as a field) or a method (a lua_CFunction). Of the members it knows only
 * ctx.session and ctx.message. The session OWNS its ctx through a reference. */
#ifndef MM_BIND_CTX_H
#define MM_BIND_CTX_H

#include "task/task.h"

struct luaL_Reg;

/* ---- members ---- */

/* [ctx key nil] -> [... value]; returns how many values, 0 for nil. */
typedef int (*mm_ctx_getter)(struct lua_State *, struct mm_script_session *);

struct mm_ctx_fact {
	const char   *name;
	mm_ctx_getter get;
};

/* Both add to the table of members on top of the stack, with the metatable of ctx below it; a row without a name ends
 * the rows. The rows of facts must be static, and at most four files add some. */
void mm_ctx_add_facts(struct lua_State *, const struct mm_ctx_fact *);
void mm_ctx_add_methods(struct lua_State *, const struct luaL_Reg *);

/* ---- a session's ctx ---- */

/* For methods: the session of the ctx at index 1. Raises, with the method's name, when it is not a ctx, the session has
 * ended, or another one's handler runs. */
struct mm_script_session *mm_ctx_check(struct lua_State *, const char *method);
/* The session of the ctx at index 1 when its own handler or task runs, else NULL: it is something else, has ended, or
 * belongs to another. */
struct mm_script_session *mm_ctx_own(struct lua_State *);
/* Pushes the session's ctx; makes it at the first call. */
void mm_ctx_push(struct lua_State *, struct mm_script_session *);
/* The message has ended: drops what ctx has shown of it. */
void mm_ctx_end_message(struct mm_script_session *);
/* The session has ended: its ctx raises from now on; its tables are dropped. */
void mm_ctx_end(struct mm_script_session *);

#endif
