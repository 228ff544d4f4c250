/* bind/tls_facts.h -- what LuaSec tells about a TLS connection, for lua/moonmilter/net/luasec.lua.
 * Facts come from OpenSSL as LuaSec asks for them, so that rocks written for it see the same answers. */
#ifndef MM_BIND_TLS_FACTS_H
#define MM_BIND_TLS_FACTS_H

#include "async/tls.h"

struct lua_State;

/* [handle name …] -> the fact's values, or nil, text:
 *   "verified" -> true | false, why          "cipher" -> description, bits, bits of the algorithm, version
 *   "finished", "peer_finished" -> bytes     "server_name" -> name
 *   "certificate", n -> PEM (0: the peer's own, or of its chain)     "export", label, size[, context] -> bytes */
int mm_push_tls_fact(struct lua_State *L, struct mm_tls_connection *);

#endif
