#include "bind/received.h"

#include "bind/bind.h"
#include "bind/ctx.h"
#include "seal/digest.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>

#define LINE_MAX_BYTES 998u     /* of a line without its end (RFC 5322 2.1.1): Postfix breaks longer ones when it
                                 * sends them */

/* ---- lines ---- */

/* Looks for the first line that is too long. */
struct long_line {
	uint64_t number;        /* of the present line, from 1; then of the long one */
	uint64_t size;          /* bytes of it so far, without its end */
	bool     is_found, is_complete;
	bool     ends_in_cr;    /* so far */
};

struct mm_body_hashes {
	struct mm_digest *digest;       /* owned */
	struct long_line  line;
	bool              looks_at_lines;
	struct mm_message *message;     /* borrowed: it shows us the body */
	size_t            declared;     /* for the account of the message */
};

#define HASHES_BYTES 4096u      /* about: of these structs and of OpenSSL's for a hash or two */

/* Eight bytes at a time: a byte by itself costs half of what hashing it costs. */
static size_t count_line_ends(const char *p, size_t n)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), low = 0x7f * ones;
	size_t count = 0;
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t x;
		memcpy(&x, p, 8);
		x ^= '\n' * ones;              /* a byte that is LF becomes 0 ... */
		x = ~(((x & low) + low) | x | low);     /* ... and then 0x80, all others 0 */
		count += ((x >> 7) * ones) >> 56;
	}
	for (; n > 0; p++, n--)
		count += *p == '\n';
	return count;
}

static void end_of_long_line(struct long_line *line, const char *p, size_t n)
{
	const char *end = n > 0 ? memchr(p, '\n', n) : NULL;
	size_t more = end != NULL ? (size_t)(end - p) : n;
	line->size += more;
	line->ends_in_cr = more > 0 ? p[more - 1] == '\r' : line->ends_in_cr;
	line->size -= end != NULL && line->ends_in_cr;
	line->is_complete = end != NULL;
}

/* The last line end within the next LINE_MAX_BYTES says that no line before it is too long: so of most bytes only the
 * line ends are counted. */
static void look_at_lines(struct long_line *line, const char *p, size_t n)
{
	while (n > 0 && !line->is_found) {
		size_t room = LINE_MAX_BYTES + 2 - (size_t)line->size, part = n < room ? n : room;
		const char *last = memrchr(p, '\n', part);
		if (last == NULL) {
			line->size += part;
			line->ends_in_cr = p[part - 1] == '\r';
			line->is_found = line->size > LINE_MAX_BYTES + 1;
		} else {
			part = (size_t)(last - p) + 1;
			line->number += count_line_ends(p, part);
			line->size = 0;
		}
		p += part;
		n -= part;
	}
	if (line->is_found && !line->is_complete)
		end_of_long_line(line, p, n);
}

static void read_body(void *self, struct mm_text piece)
{
	struct mm_body_hashes *h = self;
	mm_digest_feed(h->digest, piece.bytes, piece.size);
	if (h->looks_at_lines)
		look_at_lines(&h->line, piece.bytes, piece.size);
}

void mm_received_end(struct mm_script_session *ss)
{
	mm_vault_drop(ss->generation->L, &ss->received);
	struct mm_body_hashes *h = ss->body_hashes;
	if (h == NULL)
		return;
	ss->body_hashes = NULL;
	h->message->body_reader = (struct mm_body_reader){ NULL, NULL };
	if (h->message->account != NULL)
		mm_account_declare(h->message->account, &h->declared, 0);
	mm_digest_free(h->digest);
	free(h);
}

/* ---- what the modules ask, by methods of ctx whose names begin with an underscore ---- */

static struct mm_script_session *check(lua_State *L, const char *name)
{
	struct mm_script_session *ss = mm_ctx_check(L, name);
	if (ss->facts->message == NULL)
		luaL_error(L, "%s: no message is open at %s", name, ss->has_event ? mm_stage_name(ss->stage)
			: "this point");
	return ss;
}

/* ctx:_received_table() -> the table about this message, is it new */
static int received_table(lua_State *L)
{
	struct mm_script_session *ss = check(L, "auth");
	bool is_new = ss->received == MM_NO_REF;
	if (is_new) {
		lua_newtable(L);
		ss->received = mm_vault_put(L);
	}
	mm_vault_push(ss->generation, L, ss->received);
	lua_pushboolean(L, is_new);
	return 2;
}

/* A fold is LF here and CRLF in the message. */
static void add_folded(luaL_Buffer *b, struct mm_text value)
{
	const char *at = value.bytes, *end = at + value.size;
	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		luaL_addlstring(b, at, (size_t)((lf != NULL ? lf : end) - at));
		if (lf == NULL)
			return;
		luaL_addlstring(b, "\r\n", 2);
		at = lf + 1;
	}
}

/* [list] -> [list], one more element: { name, value, raw } */
static void push_field(lua_State *L, const struct mm_message *m, const struct mm_field *f, struct mm_text value,
	bool has_space, int at)
{
	luaL_Buffer raw;
	lua_createtable(L, 0, 3);
	mm_set_text(L, "name", mm_message_text(m, f->name));
	mm_set_text(L, "value", value);
	luaL_buffinit(L, &raw);
	luaL_addlstring(&raw, mm_message_text(m, f->name).bytes, f->name.size);
	luaL_addstring(&raw, has_space ? ": " : ":");
	add_folded(&raw, value);
	luaL_pushresult(&raw);
	lua_setfield(L, -2, "raw");
	lua_rawseti(L, -2, at);
}

/* ctx:_fields(leaving) -> fields, are they all, has the MTA told us about the spaces after colons. leaving: as they
 * stand with all edits; else as the MTA has sent them. */
static int fields(lua_State *L)
{
	struct mm_script_session *ss = check(L, "auth");
	const struct mm_message *m = ss->facts->message;
	bool leaving = lua_toboolean(L, 2);
	int n = 0;
	if (!m->knows_fields)
		return luaL_error(L, "auth: the MTA was not asked for the header: load moonmilter.auth at the top of "
			"the script, not in a handler");
	lua_createtable(L, (int)m->field_count, 0);
	for (uint32_t i = 0; i < m->field_count; i++) {
		const struct mm_field *f = &m->fields[i];
		bool has_space = !f->is_received || f->has_space;
		if (leaving ? f->is_deleted : !f->is_received)
			continue;
		/* a value that a script has set is sent after a space, as every new one is (milter/edit_write.c) */
		push_field(L, m, f, leaving ? mm_message_text(m, f->value) : mm_message_received_value(m, f),
			has_space || (leaving && f->is_changed), ++n);
	}
	lua_pushboolean(L, !m->is_header_cut);
	lua_pushboolean(L, (ss->facts->grants.steps & SMFIP_HDR_LEADSPC) != 0);
	return 3;
}

static enum mm_canon check_canon(lua_State *L, int at)
{
	static const char *const names[] = { "simple", "relaxed", NULL };
	return (enum mm_canon)luaL_checkoption(L, at, NULL, names);
}

static uint64_t check_limit(lua_State *L, int at)
{
	if (lua_isnoneornil(L, at))
		return MM_DIGEST_WHOLE;
	lua_Number n = luaL_checknumber(L, at);
	return n >= 0 && n < 9e15 ? (uint64_t)n : MM_DIGEST_WHOLE;
}

static struct mm_body_hashes *hashes_of(struct mm_script_session *ss)
{
	struct mm_message *m = ss->facts->message;
	struct mm_body_hashes *h = ss->body_hashes;
	if (h != NULL)
		return h;
	h = calloc(1, sizeof *h);
	if (h == NULL)
		return NULL;
	h->digest = mm_digest_new();
	if (h->digest == NULL) {
		free(h);
		return NULL;
	}
	h->message = m;
	h->line.number = 1;
	ss->body_hashes = h;
	if (m->account != NULL)
		mm_account_declare(m->account, &h->declared, HASHES_BYTES);
	m->body_reader = (struct mm_body_reader){ read_body, h };
	return h;
}

static bool body_has_begun(const struct mm_script_session *ss)
{
	return ss->facts->message->body_size > 0 || (ss->has_event && ss->stage >= MM_STAGE_body);
}

/* ctx:_hash_body(canonical[, limit[, lines]]) -> number of the hash; or nil, text. Before the body begins; SHA-256.
 * lines: also look for lines that are too long. */
static int hash_body(lua_State *L)
{
	struct mm_script_session *ss = check(L, "auth");
	enum mm_canon canon = check_canon(L, 2);
	uint64_t limit = check_limit(L, 3);
	bool lines = lua_toboolean(L, 4);
	if (!(ss->generation->wanted.stages & MM_STAGE_BIT(body)))
		return mm_push_failure(L, "the MTA was not asked for the body: load moonmilter.auth at the top of the "
			"script, not in a handler", "too_late");
	if (body_has_begun(ss))
		return mm_push_failure(L, "the body has begun", "too_late");
	struct mm_body_hashes *h = hashes_of(ss);
	int want = h != NULL ? mm_digest_want(h->digest, canon, MM_HASH_SHA256, limit) : -1;
	if (want < 0)
		return mm_push_failure(L, "out of memory, or too many hashes of one body", "memory");
	h->looks_at_lines |= lines;
	lua_pushinteger(L, want);
	return 1;
}

/* [] -> [hash length], of a finished digest */
static int push_hash(lua_State *L, const struct mm_digest *d, int want)
{
	uint64_t length;
	const unsigned char *hash = mm_digest_hash(d, want, &length);
	if (hash == NULL)
		return mm_push_failure(L, "the body was not hashed", "memory");
	lua_pushlstring(L, (const char *)hash, MM_HASH_BYTES);
	lua_pushnumber(L, (lua_Number)length);
	return 2;
}

/* ctx:_body_hash(number) -> hash (32 bytes), bytes of the whole body in that form; or nil, text, code. At end of
 * message. */
static int body_hash(lua_State *L)
{
	struct mm_script_session *ss = check(L, "auth");
	int want = (int)luaL_checkinteger(L, 2);
	if (!ss->has_event || ss->stage != MM_STAGE_eom)
		return mm_push_failure(L, "the body is complete in on_eom", "too_early");
	if (ss->body_hashes == NULL)
		return mm_push_failure(L, "the body was not hashed", "too_late");
	mm_digest_finish(ss->body_hashes->digest);
	return push_hash(L, ss->body_hashes->digest, want);
}

/* A digest that Lua's collector frees, should anything raise. */
static int digest_gc(lua_State *L)
{
	mm_digest_free(*(struct mm_digest **)lua_touserdata(L, 1));
	return 0;
}

/* ctx:_new_body_hash(canonical) -> as _body_hash, of the body that scripts have set; nil: none has. */
static int new_body_hash(lua_State *L)
{
	struct mm_script_session *ss = check(L, "auth");
	enum mm_canon canon = check_canon(L, 2);
	const struct mm_message *m = ss->facts->message;
	if (!m->edits.replaces_body)
		return 0;
	struct mm_digest **box = lua_newuserdata(L, sizeof *box);
	*box = NULL;
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, digest_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	*box = mm_digest_new();
	int want = *box != NULL ? mm_digest_want(*box, canon, MM_HASH_SHA256, MM_DIGEST_WHOLE) : -1;
	if (want < 0)
		return mm_push_failure(L, "out of memory for a hash", "memory");
	struct mm_text piece;
	for (size_t at = 0; mm_new_body_next(&m->new_body, &at, &piece);)
		mm_digest_feed(*box, piece.bytes, piece.size);
	if (m->new_body.ends_in_cr)             /* its LF is added when the body is written */
		mm_digest_feed(*box, "\r\n", 2);
	mm_digest_finish(*box);
	return push_hash(L, *box, want);
}

/* ctx:_long_line() -> number, bytes of the first line of the body that leaves that is too long; or nothing. */
static int long_line(lua_State *L)
{
	struct mm_script_session *ss = check(L, "auth");
	const struct mm_message *m = ss->facts->message;
	struct long_line line = { .number = 1 };
	struct mm_text piece;
	if (m->edits.replaces_body)
		for (size_t at = 0; mm_new_body_next(&m->new_body, &at, &piece);)
			look_at_lines(&line, piece.bytes, piece.size);
	else if (ss->body_hashes != NULL)
		line = ss->body_hashes->line;
	if (!line.is_found)
		return 0;
	lua_pushnumber(L, (lua_Number)line.number);
	lua_pushnumber(L, (lua_Number)line.size);
	return 2;
}

/* ctx:_seal() -> number of the seal, from 1; or nil, text. The runtime calls make_seals after the last handler. */
static int seal(lua_State *L)
{
	struct mm_script_session *ss = check(L, "sign");
	struct mm_fault why;
	if (!mm_edit_seal(ss->facts->message, &ss->facts->grants, &why))
		return mm_push_failure(L, why.text, "refused");
	ss->sealed_by = (uint8_t)ss->script_at;
	lua_pushinteger(L, (lua_Integer)ss->facts->message->edits.seals);
	return 1;
}

/* ctx:_seals() -> how many seals are asked for, the kind of the MTA: "postfix", "sendmail", "unknown", is there a new
 * body */
static int seals(lua_State *L)
{
	struct mm_script_session *ss = check(L, "sign");
	lua_pushinteger(L, (lua_Integer)ss->facts->message->edits.seals);
	lua_pushstring(L, mm_mta_kind_name(mm_session_mta(ss->facts)));
	lua_pushboolean(L, ss->facts->message->edits.replaces_body);
	return 3;
}

/* core.identity(begin, make_seals): what the host calls; once, while the scripts are loaded. */
static int identity(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	luaL_checktype(L, 1, LUA_TFUNCTION);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (g->is_loaded)
		return luaL_error(L, "load moonmilter.auth at the top of the script, not in a handler: the MTA must be "
			"asked for header and body before the first message");
	lua_settop(L, 2);
	g->make_seals = mm_vault_put(L);
	g->begin_identity = mm_vault_put(L);
	return 0;
}

void mm_bind_received(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "_received_table", received_table }, { "_fields", fields }, { "_hash_body", hash_body },
		{ "_body_hash", body_hash }, { "_new_body_hash", new_body_hash }, { "_long_line", long_line },
		{ "_seal", seal }, { "_seals", seals }, { NULL, NULL },
	};
	mm_ctx_add_methods(L, methods);
}

void mm_bind_identity(lua_State *L)
{
	lua_pushcfunction(L, identity);
	lua_setfield(L, -2, "identity");
}
