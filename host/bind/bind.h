/* bind/bind.h -- the bindings, file by file: what Lua sees of the host.
 * Every function that a script calls is a lua_CFunction registered here; each checks its arguments first and raises at
 * the caller's line. ctx is a userdata that holds a pointer, cleared when the session ends. Methods of
 * ctx get one upvalue, its metatable (the type check); its metamethods get a second, the member table. */
#ifndef MM_BIND_BIND_H
#define MM_BIND_BIND_H

#include "task/call.h"

/* The session behind ctx at index 1, or an error that names `what` when it is no ctx or its session has ended. */
struct mm_script_session *mm_ctx_check(struct lua_State *, const char *what);
/* Pushes the session's ctx, making it at first. */
void mm_ctx_push(struct lua_State *, struct mm_script_session *);
/* The message has ended: memory and temporary files of kept bodies go now, not when the collector comes by. */
void mm_kept_bodies_close(struct mm_script_session *);
/* The message has ended: what ctx has shown of it goes. */
void mm_ctx_end_message(struct mm_script_session *);
/* The session has ended: its ctx raises from now on, its tables go. */
void mm_ctx_end(struct mm_script_session *);

/* The metatable of ctx.message and ctx.session, by this name in the registry: script/ puts it there, out of
 * lua/moonmilter/runtime/members.lua, when all members of ctx are known. */
#define MM_KEPT_CLASS "moonmilter.kept"

/* Each adds its members to the table on top of the stack, below which stands the metatable of ctx: bind_session facts,
 * bind_message headers and parameters, bind_action verdicts and edits. */
void mm_bind_ctx(struct lua_State *);
void mm_bind_headers(struct lua_State *);
void mm_bind_edits(struct lua_State *);
/* Pushes the module moonmilter.core: clock, log, sleep, file reading for the loader. */
int mm_bind_core(struct lua_State *);

/* Each adds a table of functions to moonmilter.core, which is on top of the stack: core.socket, core.datagram,
 * core.http. */
void mm_bind_socket(struct lua_State *);
void mm_bind_datagram(struct lua_State *);
void mm_bind_http(struct lua_State *);
/* Each adds its functions to moonmilter.core, which is on top of the stack. */
void mm_bind_task(struct lua_State *);
void mm_bind_dns(struct lua_State *);
void mm_bind_process(struct lua_State *);
/* codec.c, the module moonmilter.codec: transfer encodings, charsets, IDNA. Also built alone, as a plain Lua module. */
int luaopen_moonmilter_codec(struct lua_State *);

/* Pushes a string; or sets it as a field of the table on top of the stack. */
void mm_push_text(struct lua_State *, struct mm_text);
void mm_set_text(struct lua_State *, const char *key, struct mm_text);
/* Pushes { [1] = "SIZE=100", SIZE = "100" } for a list of NUL-ended strings; raw, when given, becomes .raw. */
void mm_push_params(struct lua_State *, struct mm_text strings, struct mm_text raw);
/* Is the userdata at index 1 of this class, whose metatable is in the registry under the address class_key? */
bool mm_handle_is(struct lua_State *, const char *class_key);
/* Pushes nil, text, code: what the world's failures are to scripts. Returns 3. */
int mm_push_failure(struct lua_State *, const char *text, const char *code);
/* Drops a registry reference and marks it gone. */
void mm_unref(struct lua_State *, int *ref);

/* ---- a member of ctx that is read as a field ---- */
typedef int (*mm_ctx_getter)(struct lua_State *, struct mm_script_session *);
struct mm_ctx_fact {
	const char   *name;
	mm_ctx_getter get;
};
/* Adds getters to the member table on top of the stack; the rows must be static. */
void mm_bind_facts(struct lua_State *, const struct mm_ctx_fact *rows);

#endif
