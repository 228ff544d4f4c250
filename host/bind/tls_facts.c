#include "bind/tls_facts.h"

#include "bind/bind.h"

#include <lauxlib.h>
#include <lua.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <string.h>

#define FINISHED_MAX 64u        /* bytes: TLS 1.2 has 12, TLS 1.3 a hash's size */
#define EXPORT_MAX   1024u

static int push_nothing(lua_State *L, const char *why)
{
	lua_pushnil(L);
	lua_pushstring(L, why);
	return 2;
}

static int push_verified(lua_State *L, struct mm_tls_connection *link)
{
	const char *why = mm_tls_unverified(link);
	lua_pushboolean(L, why == NULL);
	if (why == NULL)
		return 1;
	lua_pushstring(L, why);
	return 2;
}

static int push_cipher(lua_State *L, struct mm_tls_connection *link)
{
	char text[256];
	int bits, algorithm_bits;
	const SSL_CIPHER *cipher = SSL_get_current_cipher(mm_tls_library_object(link));
	if (cipher == NULL || SSL_CIPHER_description(cipher, text, sizeof text) == NULL)
		return push_nothing(L, "closed");
	bits = SSL_CIPHER_get_bits(cipher, &algorithm_bits);
	lua_pushstring(L, text);
	lua_pushinteger(L, bits);
	lua_pushinteger(L, algorithm_bits);
	lua_pushstring(L, mm_tls_version(link));
	return 4;
}

static int push_finished(lua_State *L, struct mm_tls_connection *link,
	size_t (*get)(const SSL *, void *, size_t))
{
	char bytes[FINISHED_MAX];
	size_t size = get(mm_tls_library_object(link), bytes, sizeof bytes);
	if (size == 0)
		return 0;
	lua_pushlstring(L, bytes, size < sizeof bytes ? size : sizeof bytes);
	return 1;
}

static int push_own_finished(lua_State *L, struct mm_tls_connection *link)
{
	return push_finished(L, link, SSL_get_finished);
}

static int push_peer_finished(lua_State *L, struct mm_tls_connection *link)
{
	return push_finished(L, link, SSL_get_peer_finished);
}

static int push_server_name(lua_State *L, struct mm_tls_connection *link)
{
	lua_pushstring(L, SSL_get_servername(mm_tls_library_object(link), TLSEXT_NAMETYPE_host_name));
	return 1;
}

/* The BIO is freed before anything may raise: an encoded certificate of a peer fits in memory that Lua may lack. */
static int push_certificate(lua_State *L, struct mm_tls_connection *link)
{
	lua_Integer index = luaL_optinteger(L, 3, 0);
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(mm_tls_library_object(link));
	X509 *one = chain != NULL && index >= 0 ? sk_X509_value(chain, (int)index) : NULL;
	char *bytes, text[16384];
	if (one == NULL)
		return 0;
	BIO *bio = BIO_new(BIO_s_mem());
	long size = bio != NULL && PEM_write_bio_X509(bio, one) == 1 ? BIO_get_mem_data(bio, &bytes) : 0;
	bool fits = size > 0 && (size_t)size <= sizeof text;
	if (fits)
		memcpy(text, bytes, (size_t)size);
	BIO_free(bio);
	ERR_clear_error();
	if (!fits)
		return push_nothing(L, "the certificate is too large");
	lua_pushlstring(L, text, (size_t)size);
	return 1;
}

static int push_exported(lua_State *L, struct mm_tls_connection *link)
{
	unsigned char bytes[EXPORT_MAX];
	size_t label_size, context_size = 0;
	const char *label = luaL_checklstring(L, 3, &label_size);
	lua_Integer size = luaL_checkinteger(L, 4);
	const char *context = luaL_optlstring(L, 5, NULL, &context_size);
	if (size < 1 || size > (lua_Integer)sizeof bytes)
		return luaL_error(L, "exportkeyingmaterial: %d bytes; give 1 to %d", (int)size, (int)sizeof bytes);
	ERR_clear_error();
	int ok = SSL_export_keying_material(mm_tls_library_object(link), bytes, (size_t)size, label, label_size,
		(const unsigned char *)context, context_size, context != NULL);
	ERR_clear_error();
	if (ok != 1)
		return push_nothing(L, "error exporting keying material");
	lua_pushlstring(L, (const char *)bytes, (size_t)size);
	return 1;
}

int mm_push_tls_fact(struct lua_State *L, struct mm_tls_connection *link)
{
	static const struct {
		const char *name;
		int       (*push)(lua_State *, struct mm_tls_connection *);
	} rows[] = {
		{ "verified", push_verified }, { "cipher", push_cipher }, { "finished", push_own_finished },
		{ "peer_finished", push_peer_finished }, { "server_name", push_server_name },
		{ "certificate", push_certificate }, { "export", push_exported },
	};
	const char *name = mm_check_cstring(L, 2, "tls_fact: name");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].push(L, link);
	return luaL_error(L, "tls_fact: no fact \"%s\"", name);
}
