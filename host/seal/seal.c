/* seal/seal.c -- canonical forms, body hashes and keys as the Lua module "moonmilter.seal": the one file of this folder
 * that knows Lua. Built into the host, and also as a plain Lua C module (build/lua/moonmilter/seal.so, luarocks), so
 * none of these files may include a header of the host's other folders.
 *
 * Ownership: input strings are BORROWED for one call. A body or a key is a full userdata that OWNS a digest or a
 * keypair, freed in __gc. Nothing allocated by malloc is live across a call that may raise, except what a userdata
 * already owns. */
#include "seal/digest.h"
#include "seal/keypair.h"
#include "seal/tags.h"

#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

/* The only symbol exported by a shared object built with -fvisibility=hidden. */
__attribute__((visibility("default"))) int luaopen_moonmilter_seal(lua_State *L);

/* ---- userdata ----
 * Recognised by what is written in it, as in codec/codec.c; metatables are in a table by kind, upvalue 1. */

enum kind { BODY, KEY, PAD };

struct object {
	const void *kind;               /* one of kinds */
	const void *self;               /* its own address */
	union {
		struct mm_digest  *digest;      /* owned */
		struct mm_keypair *key;         /* owned */
		void              *pad;         /* owned while a call fills it */
	};
};

static const char kinds[PAD + 1];

/* [] -> [object] with its metatable, empty */
static struct object *object_new(lua_State *L, enum kind kind)
{
	struct object *o = lua_newuserdata(L, sizeof *o);
	memset(o, 0, sizeof *o);
	o->kind = &kinds[kind];
	o->self = o;
	if (lua_istable(L, lua_upvalueindex(1))) {
		lua_rawgeti(L, lua_upvalueindex(1), kind);
		if (lua_istable(L, -1))
			lua_setmetatable(L, -2);
		else
			lua_pop(L, 1);
	}
	return o;
}

/* NULL: it is something else. */
static struct object *object_at(lua_State *L, int at, enum kind kind)
{
	struct object *o = lua_type(L, at) == LUA_TUSERDATA ? lua_touserdata(L, at) : NULL;
	if (o == NULL || lua_objlen(L, at) != sizeof *o || o->self != o || o->kind != &kinds[kind])
		return NULL;
	return o;
}

static struct object *check_object(lua_State *L, enum kind kind)
{
	static const char *const names[] = { "body", "key", "pad" };
	struct object *o = object_at(L, 1, kind);
	if (o == NULL || o->digest == NULL)
		luaL_error(L, "seal: a %s is expected before \":\", not a %s", names[kind], luaL_typename(L, 1));
	return o;
}

static int body_gc(lua_State *L)
{
	struct object *o = object_at(L, 1, BODY);
	if (o != NULL)
		mm_digest_free(o->digest);
	if (o != NULL)
		o->digest = NULL;
	return 0;
}

static int key_gc(lua_State *L)
{
	struct object *o = object_at(L, 1, KEY);
	if (o != NULL)
		mm_keypair_free(o->key);
	if (o != NULL)
		o->key = NULL;
	return 0;
}

static int pad_gc(lua_State *L)
{
	struct object *o = object_at(L, 1, PAD);
	if (o != NULL)
		free(o->pad);
	if (o != NULL)
		o->pad = NULL;
	return 0;
}

/* ---- canonical forms and body hashes ---- */

static enum mm_canon check_canon(lua_State *L, int at)
{
	static const char *const names[] = { "simple", "relaxed", NULL };
	return (enum mm_canon)luaL_checkoption(L, at, NULL, names);
}

static enum mm_hash check_hash(lua_State *L, int at)
{
	static const char *const names[] = { "sha256", NULL };
	return (enum mm_hash)luaL_checkoption(L, at, NULL, names);
}

#define LENGTH_MAX 9007199254740992.0   /* 2^53: the numbers of Lua are exact up to here */

static uint64_t check_length(lua_State *L, int at)
{
	lua_Number n = luaL_optnumber(L, at, LENGTH_MAX);
	luaL_argcheck(L, n >= 0, at, "a length is not negative");
	return n >= LENGTH_MAX ? MM_DIGEST_WHOLE : (uint64_t)n;
}

/* (canon, algorithm[, length]) at `at` -> number of the want, from 0 */
static int add_want(lua_State *L, struct object *o, int at)
{
	enum mm_canon canon = check_canon(L, at);
	enum mm_hash hash = check_hash(L, at + 1);
	int want = mm_digest_want(o->digest, canon, hash, check_length(L, at + 2));
	if (want < 0)
		luaL_error(L, "seal: no room for another hash (at most %d, all before the first feed)",
			MM_DIGEST_WANTS);
	return want;
}

static int body_new(lua_State *L)
{
	bool has_want = lua_gettop(L) > 0;
	lua_settop(L, 3);
	struct object *o = object_new(L, BODY);
	o->digest = mm_digest_new();
	if (o->digest == NULL)
		return luaL_error(L, "seal: out of memory");
	if (has_want)
		add_want(L, o, 1);
	return 1;
}

static int body_want(lua_State *L)
{
	lua_pushinteger(L, add_want(L, check_object(L, BODY), 2) + 1);
	return 1;
}

/* (s, i, j) as string.sub reads them, for positive i and j only: feeding a slice must not create a Lua string. */
static const char *slice(lua_State *L, int at, size_t *n)
{
	size_t size;
	const char *s = luaL_checklstring(L, at, &size);
	lua_Integer first = luaL_optinteger(L, at + 1, 1);
	lua_Integer last = luaL_optinteger(L, at + 2, (lua_Integer)size);
	if (first < 1)
		first = 1;
	if (last > (lua_Integer)size)
		last = (lua_Integer)size;
	*n = last < first ? 0 : (size_t)(last - first + 1);
	return s + (*n ? first - 1 : 0);
}

static int body_feed(lua_State *L)
{
	struct object *o = check_object(L, BODY);
	size_t n;
	const char *bytes = slice(L, 2, &n);
	mm_digest_feed(o->digest, bytes, n);
	return 0;
}

static int push_hash(lua_State *L, struct object *o, int want)
{
	uint64_t length;
	if (!mm_digest_finish(o->digest))
		return luaL_error(L, "seal: the crypto library could not hash");
	const unsigned char *hash = mm_digest_hash(o->digest, want, &length);
	if (hash == NULL)
		return 0;
	lua_pushlstring(L, (const char *)hash, MM_HASH_BYTES);
	lua_pushnumber(L, (lua_Number)length);
	return 2;
}

static int body_finish(lua_State *L) { return push_hash(L, check_object(L, BODY), 0); }

static int body_hash(lua_State *L)
{
	return push_hash(L, check_object(L, BODY), (int)luaL_checkinteger(L, 2) - 1);
}

static int header(lua_State *L)
{
	unsigned char small[4096];
	enum mm_canon canon = check_canon(L, 1);
	size_t n;
	const char *field = luaL_checklstring(L, 2, &n);
	if (mm_canon_header_bound(n) <= sizeof small) {
		n = mm_canon_header(canon, (const unsigned char *)field, n, small);
		lua_pushlstring(L, (const char *)small, n);
		return 1;
	}
	struct object *o = object_new(L, PAD);
	o->pad = malloc(mm_canon_header_bound(n));
	if (o->pad == NULL)
		return luaL_error(L, "seal: out of memory");
	n = mm_canon_header(canon, (const unsigned char *)field, n, o->pad);
	lua_pushlstring(L, o->pad, n);  /* MAY_RAISE: the pad is owned */
	free(o->pad);
	o->pad = NULL;
	return 1;
}

/* ---- lists of tags ---- */

/* [… tags spans] -> the same. Sets tags[name] and appends name, first and last byte to spans. False: it is there. */
static bool add_tag(lua_State *L, const struct mm_tag *tag, int count)
{
	lua_pushlstring(L, tag->name, tag->name_size);
	lua_pushvalue(L, -1);
	lua_rawget(L, 2);
	if (!lua_isnil(L, -1))
		return false;
	lua_pop(L, 1);
	lua_pushvalue(L, -1);
	lua_rawseti(L, 3, 3 * count + 1);
	lua_pushlstring(L, tag->value, tag->value_size);
	lua_rawset(L, 2);
	lua_pushinteger(L, (lua_Integer)tag->first + 1);
	lua_rawseti(L, 3, 3 * count + 2);
	lua_pushinteger(L, (lua_Integer)tag->end);
	lua_rawseti(L, 3, 3 * count + 3);
	return true;
}

/* Pushes nil, what is wrong, and where. */
static int wrong_tag(lua_State *L, const struct mm_tag *tag, const char *text, size_t shown)
{
	lua_pushnil(L);
	lua_pushlstring(L, tag->name, shown);
	lua_pushfstring(L, text, lua_tostring(L, -1));
	lua_remove(L, -2);
	lua_pushinteger(L, (lua_Integer)tag->start + 1);
	return 3;
}

/* tags(text) -> values by name, { name, first, last, … } | nil, what is wrong, position */
static int tags(lua_State *L)
{
	struct mm_tags list;
	struct mm_tag tag;
	size_t n;
	const char *text = luaL_checklstring(L, 1, &n);
	lua_settop(L, 1);
	lua_newtable(L);
	lua_newtable(L);                /* [text tags spans] */
	mm_tags_begin(&list, text, n);
	for (int count = 0;; count++) {
		switch (mm_tags_next(&list, &tag)) {
		case MM_TAGS_END:
			return 2;
		case MM_TAGS_EMPTY:
			return wrong_tag(L, &tag, "tag list: an empty tag", 0);
		case MM_TAGS_NAMELESS:
			return wrong_tag(L, &tag, "tag list: no name and \"=\" here", 0);
		case MM_TAGS_CONTROL:
			return wrong_tag(L, &tag, "tag list: a control character in the value of %s", tag.name_size);
		case MM_TAGS_TAG:
			if (!add_tag(L, &tag, count))
				return wrong_tag(L, &tag, "tag list: %s occurs twice", tag.name_size);
		}
	}
}

/* solid(s) -> s without blanks and line ends */
static int solid(lua_State *L)
{
	char small[4096];
	size_t n, made = 0;
	const char *s = luaL_checklstring(L, 1, &n);
	char *out = n <= sizeof small ? small : NULL;
	struct object *o = out == NULL ? object_new(L, PAD) : NULL;
	if (o != NULL)
		out = o->pad = malloc(n);
	if (out == NULL)
		return luaL_error(L, "seal: out of memory");
	for (size_t i = 0; i < n; i++) {
		if (!mm_tags_is_blank(s[i]))
			out[made++] = s[i];
	}
	lua_pushlstring(L, out, made);  /* MAY_RAISE: the pad is owned */
	if (o != NULL) {
		free(o->pad);
		o->pad = NULL;
	}
	return 1;
}

/* hash(algorithm, s) -> raw hash */
static int hash(lua_State *L)
{
	unsigned char out[MM_HASH_BYTES];
	enum mm_hash algorithm = check_hash(L, 1);
	size_t n;
	const char *s = luaL_checklstring(L, 2, &n);
	if (!mm_hash_text(algorithm, s, n, out))
		return luaL_error(L, "seal: the crypto library could not hash");
	lua_pushlstring(L, (const char *)out, sizeof out);
	return 1;
}

/* ---- keys ---- */

static const char *const key_kinds[] = { [MM_KEY_RSA] = "rsa", [MM_KEY_ED25519] = "ed25519", NULL };

/* [key] -> itself, or nil, text, code */
static int give_key(lua_State *L, const struct object *o, const struct mm_key_fault *why)
{
	if (o->key != NULL)
		return 1;
	if (strcmp(why->code, "memory") == 0)
		return luaL_error(L, "seal: out of memory");
	lua_pushnil(L);
	lua_pushfstring(L, "key: %s", why->text);
	lua_pushstring(L, why->code);
	return 3;
}

static int public_key(lua_State *L)
{
	enum mm_key_kind kind = (enum mm_key_kind)luaL_checkoption(L, 1, NULL, key_kinds);
	struct mm_key_fault why;
	size_t n;
	const char *der = luaL_checklstring(L, 2, &n);
	struct object *o = object_new(L, KEY);
	o->key = mm_keypair_public(kind, der, n, &why);
	return give_key(L, o, &why);
}

static int private_key(lua_State *L)
{
	struct mm_key_fault why;
	size_t n;
	const char *text = luaL_checklstring(L, 1, &n);
	struct object *o = object_new(L, KEY);
	o->key = mm_keypair_private(text, n, &why);
	return give_key(L, o, &why);
}

static int new_key(lua_State *L)
{
	enum mm_key_kind kind = (enum mm_key_kind)luaL_checkoption(L, 1, NULL, key_kinds);
	lua_Integer bits = luaL_optinteger(L, 2, 2048);
	luaL_argcheck(L, bits >= MM_RSA_BITS_MIN && bits <= MM_RSA_BITS_MAX, 2, "1024 to 4096 bits");
	struct object *o = object_new(L, PAD);
	o->pad = mm_keypair_generate(kind, (size_t)bits);
	if (o->pad == NULL)
		return luaL_error(L, "seal: the crypto library could not make a key");
	lua_pushstring(L, o->pad);      /* MAY_RAISE: the pad is owned */
	free(o->pad);
	o->pad = NULL;
	return 1;
}

static int key_kind(lua_State *L)
{
	lua_pushstring(L, key_kinds[mm_keypair_kind(check_object(L, KEY)->key)]);
	return 1;
}

static int key_bits(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)mm_keypair_bits(check_object(L, KEY)->key));
	return 1;
}

static int key_is_private(lua_State *L)
{
	lua_pushboolean(L, mm_keypair_is_private(check_object(L, KEY)->key));
	return 1;
}

static int key_sign(lua_State *L)
{
	unsigned char signature[MM_SIGNATURE_BYTES];
	struct mm_keypair *key = check_object(L, KEY)->key;
	size_t n, size;
	const char *text = luaL_checklstring(L, 2, &n);
	if (!mm_keypair_is_private(key))
		return luaL_error(L, "sign: this is a public key");
	if (!mm_keypair_sign(key, text, n, signature, &size)) {
		lua_pushnil(L);
		lua_pushliteral(L, "sign: the key has fewer than 1024 bits, or the crypto library failed");
		lua_pushliteral(L, "key");
		return 3;
	}
	lua_pushlstring(L, (const char *)signature, size);
	return 1;
}

static int key_verify(lua_State *L)
{
	struct mm_keypair *key = check_object(L, KEY)->key;
	size_t n, size;
	const char *text = luaL_checklstring(L, 2, &n);
	const char *signature = luaL_checklstring(L, 3, &size);
	if (mm_keypair_is_private(key))
		return luaL_error(L, "verify: this is a private key");
	lua_pushboolean(L, mm_keypair_verify(key, text, n, (const unsigned char *)signature, size));
	return 1;
}

static int key_export(lua_State *L)
{
	unsigned char out[1024];        /* RSA with 4096 bits: 550 */
	size_t n = mm_keypair_export(check_object(L, KEY)->key, out, sizeof out);
	if (n == 0)
		return luaL_error(L, "seal: the crypto library could not write the key");
	lua_pushlstring(L, (const char *)out, n);
	return 1;
}

/* ---- the module ---- */

static const luaL_Reg functions[] = {
	{ "body", body_new },           /* ([canon, algorithm[, length]]) -> body */
	{ "header", header },           /* (canon, field) -> canonical form without line end */
	{ "hash", hash },               /* (algorithm, s) -> raw hash */
	{ "tags", tags },               /* (s) -> values by name, spans | nil, text, position */
	{ "solid", solid },             /* (s) -> s without blanks and line ends */
	{ "public_key", public_key },   /* (kind, der) -> key | nil, text, code */
	{ "private_key", private_key }, /* (pem) -> key | nil, text, code */
	{ "new_key", new_key },         /* (kind[, bits]) -> PEM */
	{ NULL, NULL }
};

static const luaL_Reg body_methods[] = {
	{ "want", body_want }, { "feed", body_feed }, { "finish", body_finish }, { "hash", body_hash },
	{ "__gc", body_gc }, { NULL, NULL }
};
static const luaL_Reg key_methods[] = {
	{ "kind", key_kind }, { "bits", key_bits }, { "is_private", key_is_private }, { "sign", key_sign },
	{ "verify", key_verify }, { "export", key_export }, { "__gc", key_gc }, { NULL, NULL }
};
static const luaL_Reg pad_methods[] = { { "__gc", pad_gc }, { NULL, NULL } };

/* [… classes module] -> the same; classes is at 1 */
static void new_class(lua_State *L, enum kind kind, const luaL_Reg *methods)
{
	lua_newtable(L);
	for (const luaL_Reg *m = methods; m->name; m++) {
		lua_pushvalue(L, 1);
		lua_pushcclosure(L, m->func, 1);
		lua_setfield(L, -2, m->name);
	}
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_rawseti(L, 1, kind);
}

int luaopen_moonmilter_seal(lua_State *L)
{
	lua_settop(L, 0);
	lua_newtable(L);                /* [classes] */
	new_class(L, BODY, body_methods);
	new_class(L, KEY, key_methods);
	new_class(L, PAD, pad_methods);
	lua_newtable(L);
	for (const luaL_Reg *f = functions; f->name; f++) {
		lua_pushvalue(L, 1);
		lua_pushcclosure(L, f->func, 1);
		lua_setfield(L, -2, f->name);
	}
	return 1;
}
