/* bind/hash.c -- core.hash: hashes, HMAC, random bytes, comparison. lua/moonmilter/hash.lua is the interface for
 * scripts. Nothing here waits. */
#include "bind/bind.h"

#include "seal/method.h"

#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define RANDOM_MAX 65536        /* bytes at a time */

/* The algorithm at index 1. Raises. */
static const EVP_MD *check_method(lua_State *L)
{
	static const char *const names[] = { "sha1", "sha256", "sha512", NULL };        /* ORDER METHOD */
	enum mm_method method = (enum mm_method)luaL_checkoption(L, 1, NULL, names);
	const EVP_MD *md = mm_method(method);
	if (md == NULL)
		luaL_error(L, "hash: OpenSSL offers no %s here", names[method]);
	return md;
}

/* hash.digest(algorithm, text) -> bytes */
static int hash_digest(lua_State *L)
{
	const EVP_MD *md = check_method(L);
	struct mm_text text = mm_check_text(L, 2);
	unsigned char out[EVP_MAX_MD_SIZE];
	unsigned size = 0;
	if (EVP_Digest(text.bytes, text.size, out, &size, md, NULL) != 1)
		return luaL_error(L, "hash: OpenSSL failed");
	lua_pushlstring(L, (const char *)out, size);
	return 1;
}

/* hash.hmac(algorithm, key, text) -> bytes (RFC 2104) */
static int hash_hmac(lua_State *L)
{
	const EVP_MD *md = check_method(L);
	struct mm_text key = mm_check_text(L, 2), text = mm_check_text(L, 3);
	unsigned char out[EVP_MAX_MD_SIZE];
	unsigned size = 0;
	if (key.size > INT_MAX || HMAC(md, key.bytes, (int)key.size, (const unsigned char *)text.bytes, text.size, out,
		&size) == NULL)
		return luaL_error(L, "hash: OpenSSL failed");
	lua_pushlstring(L, (const char *)out, size);
	return 1;
}

/* hash.random(count) -> bytes that nobody can guess */
static int hash_random(lua_State *L)
{
	lua_Number count = luaL_checknumber(L, 1);
	if (!(count >= 1 && count <= RANDOM_MAX))
		return luaL_error(L, "hash.random: %f bytes; give 1 to %d", count, RANDOM_MAX);
	unsigned char *bytes = lua_newuserdata(L, (size_t)count);
	if (RAND_bytes(bytes, (int)count) != 1)
		return luaL_error(L, "hash.random: OpenSSL has no random bytes");
	lua_pushlstring(L, (const char *)bytes, (size_t)count);
	OPENSSL_cleanse(bytes, (size_t)count);
	return 1;
}

/* hash.equal(a, b): takes as long wherever they differ; only their lengths can be learnt from the time. */
static int hash_equal(lua_State *L)
{
	struct mm_text a = mm_check_text(L, 1), b = mm_check_text(L, 2);
	lua_pushboolean(L, a.size == b.size && CRYPTO_memcmp(a.bytes, b.bytes, a.size) == 0);
	return 1;
}

/* hash.verify(key, text, signature) -> boolean: is it the key's Ed25519 signature of the text (RFC 8032 5.1.7)? The key
 * is its 32 bytes. */
static int hash_verify(lua_State *L)
{
	struct mm_text key = mm_check_text(L, 1), text = mm_check_text(L, 2), signature = mm_check_text(L, 3);
	EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)key.bytes,
		key.size);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool is_valid = public != NULL && context != NULL
		&& EVP_DigestVerifyInit(context, NULL, NULL, NULL, public) == 1
		&& EVP_DigestVerify(context, (const unsigned char *)signature.bytes, signature.size,
			(const unsigned char *)text.bytes, text.size) == 1;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(public);
	lua_pushboolean(L, is_valid);
	return 1;
}

void mm_bind_hash(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "digest", hash_digest }, { "hmac", hash_hmac }, { "random", hash_random }, { "equal", hash_equal },
		{ "verify", hash_verify }, { NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	lua_setfield(L, -2, "hash");
}
