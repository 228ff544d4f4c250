/* bind/bind.h -- the bindings, file by file: what Lua sees of the host.
 * Every function that a script calls is a lua_CFunction registered here; each checks its arguments first and raises at
 * the caller's line. Nothing is acquired before the checks, and nothing is held across a call that may raise. */
#ifndef MM_BIND_BIND_H
#define MM_BIND_BIND_H

#include "task/call.h"

/* ---- opening: once for each Lua state ---- */

/* Fills the metatable of ctx, which is below the table of members on top of the stack (ctx.h). */
void mm_bind_ctx(struct lua_State *);
/* Each adds its members to that table, with the same stack. */
void mm_bind_facts(struct lua_State *);
void mm_bind_headers(struct lua_State *);
void mm_bind_kept_body(struct lua_State *);
void mm_bind_verdicts(struct lua_State *);
void mm_bind_edits(struct lua_State *);
void mm_bind_received(struct lua_State *);

/* Pushes the module moonmilter.core with the functions of core.c: clock, log, sleep. */
int mm_bind_core(struct lua_State *);
/* Each adds its functions to moonmilter.core, which is on top of the stack. */
void mm_bind_task(struct lua_State *);
void mm_bind_dns(struct lua_State *);
void mm_bind_process(struct lua_State *);
void mm_bind_identity(struct lua_State *);
void mm_bind_key_file(struct lua_State *);
/* Each adds a table of functions to it: core.hash, core.re, core.map, core.store, core.limit, core.tally, core.metric,
 * core.event, core.socket, core.datagram, core.http, core.database, core.service. */
void mm_bind_hash(struct lua_State *);
void mm_bind_re(struct lua_State *);
void mm_bind_map(struct lua_State *);
void mm_bind_service(struct lua_State *);
void mm_bind_store(struct lua_State *);
void mm_bind_limit(struct lua_State *);
void mm_bind_tally(struct lua_State *);
void mm_bind_metric(struct lua_State *);
void mm_bind_event(struct lua_State *);
void mm_bind_sessions(struct lua_State *);       /* functions of moonmilter.core */
void mm_bind_socket(struct lua_State *);
void mm_bind_datagram(struct lua_State *);
void mm_bind_http(struct lua_State *);
void mm_bind_database(struct lua_State *);

/* codec.c, the module moonmilter.codec: transfer encodings, charsets, IDNA. Also built alone, as a plain Lua module. */
int luaopen_moonmilter_codec(struct lua_State *);
/* seal/seal.c, the module moonmilter.seal: canonical forms, body hashes, keys. Also built alone. */
int luaopen_moonmilter_seal(struct lua_State *);

/* ---- arguments ---- */

/* A string argument, BORROWED while it is on the stack; raises when it is not a string. */
struct mm_text mm_check_text(struct lua_State *, int at);
/* The same for C, which reads up to the first NUL: raises, at the script's line, when there is one inside, because what
 * was checked would not be what is used. what: names the argument in the error, "dns: type". Bindings take no string
 * for C in another way (spec/attack/nul_spec.lua looks for them). */
const char *mm_check_cstring(struct lua_State *, int at, const char *what);
const char *mm_opt_cstring(struct lua_State *, int at, const char *what);       /* NULL when it is nil or not there */
/* NULL when it has a NUL: for what may come from outside, where that is a failure. */
const char *mm_clean_cstring(struct lua_State *, int at);
/* Pushes an array of the strings in the list at an index, NULL after the last; the strings are BORROWED from the list.
 * It is a userdata, so that an error leaks nothing. The caller has checked that all items are strings. Raises when one
 * has a NUL. */
const char *const *mm_push_strings(struct lua_State *, int at, const char *what);

/* ---- pushing ---- */

/* Pushes a string; or sets it as a field of the table on top of the stack. */
void mm_push_text(struct lua_State *, struct mm_text);
void mm_set_text(struct lua_State *, const char *key, struct mm_text);
/* Pushes { [1] = "SIZE=100", SIZE = "100" } for a list of NUL-ended strings; raw, when given, becomes .raw. */
void mm_push_params(struct lua_State *, struct mm_text strings, struct mm_text raw);
/* Pushes the macros of a set by their names without braces; the table can be asked for "{name}", too. */
void mm_push_macros(struct lua_State *, const struct mm_generation *, const struct mm_macros *, enum mm_macro_set);
/* Pushes nil, text, code: the form in which scripts get failures of the outside world. Returns 3. */
int mm_push_failure(struct lua_State *, const char *text, const char *code);

#endif
