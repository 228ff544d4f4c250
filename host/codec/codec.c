/* codec/codec.c -- the codecs of mail as the Lua module "moonmilter.codec": the one file of this folder that knows Lua.
 *
 * Knows nothing of milters, sessions or MIME structure: bytes in, bytes out. The folder is built into the host and also
 * as a plain Lua C module (build/lua/moonmilter/codec.so, luarocks), so none of its files may include a header of the
 * host's other folders.
 *
 * Ownership: input strings are BORROWED for one call. A decoder, encoder or converter is a full userdata; its other
 * resource (an iconv_t) is freed in __gc or :close(). The module OWNS one pad per Lua state and reuses it, so nothing
 * allocated by malloc is ever live across a call that may raise. */
#include "codec/charset.h"
#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/idna.h"
#include "codec/pad.h"
#include "codec/unicode.h"

#include <string.h>

#include <lauxlib.h>
#include <lua.h>

/* The only symbol exported by a shared object built with -fvisibility=hidden. */
__attribute__((visibility("default"))) int luaopen_moonmilter_codec(lua_State *L);

/* ---- userdata ----
 * A userdata is recognised by what is written in it, not by its metatable: the debug library can give that to any other
 * userdata. Metatables are in a table by kind, upvalue 2 of every function: the registry is open to every script. */

enum kind { PAD, DECODER, ENCODER, CONVERTER };

struct object {
	const void *kind;               /* one of kinds */
	const void *self;               /* its own address */
	union {
		struct mm_pad       pad;
		struct mm_decoder   decoder;
		struct mm_encoder   encoder;
		struct mm_converter converter;
	};
};

static const char kinds[CONVERTER + 1];

static struct object *object_new(lua_State *L, enum kind kind)
{
	struct object *o = lua_newuserdata(L, sizeof *o);
	memset(o, 0, sizeof *o);
	o->kind = &kinds[kind];
	o->self = o;
	return o;
}

/* [object] -> [object] with its metatable */
static void set_class(lua_State *L, enum kind kind)
{
	if (!lua_istable(L, lua_upvalueindex(2)))
		return;
	lua_rawgeti(L, lua_upvalueindex(2), kind);
	if (lua_istable(L, -1))
		lua_setmetatable(L, -2);
	else
		lua_pop(L, 1);
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
	static const char *const names[] = { "pad", "decoder", "encoder", "converter" };
	struct object *o = object_at(L, 1, kind);
	if (o == NULL)
		luaL_error(L, "codec: a %s is expected before \":\", not a %s", names[kind], luaL_typename(L, 1));
	return o;
}

/* ---- the pad, and arguments ---- */

/* The module's pad is upvalue 1 of every function and method. */
static struct mm_pad *the_pad(lua_State *L)
{
	struct object *o = object_at(L, lua_upvalueindex(1), PAD);
	if (o == NULL)
		luaL_error(L, "codec: its working space is gone");
	return &o->pad;
}

static int out_of_memory(lua_State *L, const struct mm_pad *p)
{
	return luaL_error(L, "codec: out of memory for %d KiB of working space", (int)(p->refused / 1024));
}

/* At least `size` bytes, contents kept. MAY_RAISE (out of memory). */
static unsigned char *pad_grow(lua_State *L, struct mm_pad *p, size_t size)
{
	if (!mm_pad_grow(p, size))
		out_of_memory(L, p);
	return p->bytes;
}

/* Pushes the first `used` bytes as a Lua string. */
static void pad_push(lua_State *L, struct mm_pad *p, size_t used)
{
	lua_pushlstring(L, (const char *)p->bytes, used); /* MAY_RAISE: the pad stays owned by the module */
	mm_pad_relax(p, used);
}

static int pad_gc(lua_State *L)
{
	struct object *o = object_at(L, 1, PAD);
	if (o != NULL)
		mm_pad_free(&o->pad);
	return 0;
}

/* (s, i, j) as string.sub reads them, for positive i and j only: feeding a slice must not create a Lua string. */
static const unsigned char *slice(lua_State *L, int at, size_t *n)
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
	return (const unsigned char *)s + (*n ? first - 1 : 0);
}

/* ---- decoders ---- */

static int decode_all(lua_State *L, enum mm_encoding kind)
{
	struct mm_pad *p = the_pad(L);
	struct mm_decoder d;
	size_t n;
	const unsigned char *in = slice(L, 1, &n);
	unsigned char *out = pad_grow(L, p, mm_decode_bound(n) + mm_decode_bound(0));
	mm_decode_begin(&d, kind);
	size_t made = mm_decode_feed(&d, in, n, out);
	made += mm_decode_finish(&d, out + made);
	pad_push(L, p, made);
	lua_pushinteger(L, (lua_Integer)(d.bad + d.is_truncated));
	return 2;
}

static int base64_decode_lua(lua_State *L) { return decode_all(L, MM_BASE64); }
static int qp_decode_lua(lua_State *L) { return decode_all(L, MM_QUOTED_PRINTABLE); }
static int q_decode_lua(lua_State *L) { return decode_all(L, MM_Q_WORD); }
static int uu_decode_lua(lua_State *L) { return decode_all(L, MM_UUENCODE); }

static int decoder_new(lua_State *L)
{
	static const char *const names[] = { "base64", "quoted-printable", "x-uuencode", NULL };
	static const enum mm_encoding kinds[] = { MM_BASE64, MM_QUOTED_PRINTABLE, MM_UUENCODE };
	enum mm_encoding kind = kinds[luaL_checkoption(L, 1, NULL, names)];
	struct mm_decoder *d = &object_new(L, DECODER)->decoder;
	mm_decode_begin(d, kind);
	set_class(L, DECODER);
	return 1;
}

static int decoder_feed(lua_State *L)
{
	struct mm_decoder *d = &check_object(L, DECODER)->decoder;
	size_t n;
	const unsigned char *in = slice(L, 2, &n);
	unsigned char *out = pad_grow(L, the_pad(L), mm_decode_bound(n));
	pad_push(L, the_pad(L), mm_decode_feed(d, in, n, out));
	return 1;
}

/* As feed, but returns only the number of bytes: for parts that no code reads. */
static int decoder_count(lua_State *L)
{
	struct mm_decoder *d = &check_object(L, DECODER)->decoder;
	size_t n;
	const unsigned char *in = slice(L, 2, &n);
	unsigned char *out = pad_grow(L, the_pad(L), mm_decode_bound(n));
	lua_pushinteger(L, (lua_Integer)mm_decode_feed(d, in, n, out));
	return 1;
}

/* finish() -> last bytes, count of bad bytes, is_truncated, is_continued; the decoder is then as new. */
static int decoder_finish(lua_State *L)
{
	struct mm_decoder *d = &check_object(L, DECODER)->decoder;
	unsigned char *out = pad_grow(L, the_pad(L), mm_decode_bound(0));
	pad_push(L, the_pad(L), mm_decode_finish(d, out));
	lua_pushinteger(L, (lua_Integer)d->bad);
	lua_pushboolean(L, d->is_truncated);
	lua_pushboolean(L, d->is_continued);
	mm_decode_begin(d, d->kind);
	return 4;
}

/* ---- encoders ---- */

static unsigned check_width(lua_State *L, int at, unsigned otherwise)
{
	lua_Integer width = luaL_optinteger(L, at, (lua_Integer)otherwise);
	luaL_argcheck(L, width == 0 || (width >= 8 && width <= 998), at, "line width: 0 or 8..998");
	return (unsigned)width;
}

static int encode_all(lua_State *L, enum mm_encoding kind, unsigned width)
{
	struct mm_pad *p = the_pad(L);
	struct mm_encoder e;
	size_t n;
	const char *in = luaL_checklstring(L, 1, &n);
	unsigned char *out = pad_grow(L, p, mm_encode_bound(n) + mm_encode_bound(0));
	mm_encode_begin(&e, kind, width);
	size_t made = mm_encode_feed(&e, (const unsigned char *)in, n, out);
	made += mm_encode_finish(&e, out + made);
	pad_push(L, p, made);
	return 1;
}

static int base64_encode_lua(lua_State *L) { return encode_all(L, MM_BASE64, check_width(L, 2, 0)); }
static int qp_encode_lua(lua_State *L) { return encode_all(L, MM_QUOTED_PRINTABLE, MM_ENCODE_WIDTH); }

static int encoder_new(lua_State *L)
{
	static const char *const names[] = { "base64", "quoted-printable", NULL };
	static const enum mm_encoding kinds[] = { MM_BASE64, MM_QUOTED_PRINTABLE };
	enum mm_encoding kind = kinds[luaL_checkoption(L, 1, NULL, names)];
	struct mm_encoder *e = &object_new(L, ENCODER)->encoder;
	mm_encode_begin(e, kind, MM_ENCODE_WIDTH);
	set_class(L, ENCODER);
	return 1;
}

static int encoder_feed(lua_State *L)
{
	struct mm_encoder *e = &check_object(L, ENCODER)->encoder;
	size_t n;
	const unsigned char *in = slice(L, 2, &n);
	unsigned char *out = pad_grow(L, the_pad(L), mm_encode_bound(n));
	pad_push(L, the_pad(L), mm_encode_feed(e, in, n, out));
	return 1;
}

static int encoder_finish(lua_State *L)
{
	struct mm_encoder *e = &check_object(L, ENCODER)->encoder;
	unsigned char *out = pad_grow(L, the_pad(L), mm_encode_bound(0));
	pad_push(L, the_pad(L), mm_encode_finish(e, out));
	return 1;
}

/* ---- UTF-8 and other charsets ---- */

/* is_utf8(s) -> true | false, position of the first bad byte */
static int is_utf8(lua_State *L)
{
	size_t n;
	const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &n);
	size_t good = mm_unicode_size(s, n);
	lua_pushboolean(L, good == n);
	if (good == n)
		return 1;
	lua_pushinteger(L, (lua_Integer)good + 1);
	return 2;
}

/* clean_utf8(s) -> s with each ill-formed part as U+FFFD, number of these parts */
static int clean_utf8(lua_State *L)
{
	struct mm_pad *p = the_pad(L);
	size_t n, bad;
	const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &n);
	unsigned char *out = pad_grow(L, p, 3 * n + 1);
	size_t made = mm_unicode_clean(s, n, out, &bad);
	if (bad)
		pad_push(L, p, made);
	else
		lua_pushvalue(L, 1);
	lua_pushinteger(L, (lua_Integer)bad);
	return 2;
}

/* NULL: a name that no converter may see. charset.lua lets through only names that it knows. */
static const char *check_charset(lua_State *L, int at)
{
	size_t n;
	const char *name = luaL_checklstring(L, at, &n);
	return mm_charset_is_name(name, n) ? name : NULL;
}

static int unknown_charset(lua_State *L, int at)
{
	lua_pushnil(L);
	lua_pushfstring(L, "charset \"%s\" has no converter", lua_tostring(L, at));
	lua_pushliteral(L, "charset");
	return 3;
}

/* to_utf8(s, charset) -> text, count of replaced bytes | nil, text, "charset" */
static int to_utf8(lua_State *L)
{
	struct mm_pad *p = the_pad(L);
	size_t n;
	const char *in = luaL_checklstring(L, 1, &n);
	const char *name = check_charset(L, 2);
	if (!name || !mm_charset_is_known(p, name))
		return unknown_charset(L, 2);
	struct mm_conversion r;
	if (!mm_charset_convert(p, name, (const unsigned char *)in, n, &r))
		return out_of_memory(L, p);
	pad_push(L, p, r.made);
	lua_pushinteger(L, (lua_Integer)r.replaced);
	return 2;
}

static int converter_new(lua_State *L)
{
	const char *name = check_charset(L, 1);
	struct mm_converter *c = &object_new(L, CONVERTER)->converter;
	*c = (struct mm_converter){ .cd = (iconv_t)-1 };
	set_class(L, CONVERTER);
	return name && mm_charset_open(c, name) ? 1 : unknown_charset(L, 1);
}

static struct mm_converter *check_converter(lua_State *L)
{
	struct mm_converter *c = &check_object(L, CONVERTER)->converter;
	if (!mm_charset_is_open(c))
		luaL_error(L, "converter is closed");
	return c;
}

static int converter_feed(lua_State *L)
{
	struct mm_converter *c = check_converter(L);
	struct mm_pad *p = the_pad(L);
	size_t n, made;
	const unsigned char *in = slice(L, 2, &n);
	if (!mm_charset_feed(c, p, in, n, &made))
		return out_of_memory(L, p);
	pad_push(L, p, made);
	return 1;
}

/* finish() -> last text, bytes replaced in all */
static int converter_finish(lua_State *L)
{
	struct mm_pad *p = the_pad(L);
	struct mm_conversion r;
	if (!mm_charset_finish(check_converter(L), p, &r))
		return out_of_memory(L, p);
	pad_push(L, p, r.made);
	lua_pushinteger(L, (lua_Integer)r.replaced);
	return 2;
}

static int converter_close(lua_State *L)
{
	mm_charset_close(&check_object(L, CONVERTER)->converter);
	return 0;
}

/* ---- domain names ---- */

static int idna(lua_State *L, const char *(*convert)(const char *, size_t, char *, size_t *))
{
	size_t n, made;
	const char *domain = luaL_checklstring(L, 1, &n);
	char out[MM_IDNA_BYTES];
	const char *why = convert(domain, n, out, &made);
	if (!why) {
		lua_pushlstring(L, out, made);
		return 1;
	}
	lua_pushnil(L);
	lua_pushfstring(L, "domain \"%s\": %s", domain, why);
	lua_pushliteral(L, "idna");
	return 3;
}

static int idna_to_ascii(lua_State *L) { return idna(L, mm_idna_to_ascii); }
static int idna_to_unicode(lua_State *L) { return idna(L, mm_idna_to_unicode); }

/* ---- the module ---- */

static const luaL_Reg functions[] = {
	{ "base64_decode", base64_decode_lua },     /* (s[, i, j]) -> bytes, bad */
	{ "base64_encode", base64_encode_lua },     /* (s[, width]) -> text; width 0: one line */
	{ "qp_decode", qp_decode_lua },             /* (s[, i, j]) -> bytes, bad */
	{ "qp_encode", qp_encode_lua },             /* (s) -> text, lines of at most 76 */
	{ "q_decode", q_decode_lua },               /* (s[, i, j]) -> bytes, bad */
	{ "uu_decode", uu_decode_lua },             /* (s[, i, j]) -> bytes, bad */
	{ "decoder", decoder_new },                 /* ("base64" | "quoted-printable" | "x-uuencode") -> decoder */
	{ "encoder", encoder_new },                 /* ("base64" | "quoted-printable") -> encoder */
	{ "is_utf8", is_utf8 },
	{ "clean_utf8", clean_utf8 },
	{ "to_utf8", to_utf8 },
	{ "converter", converter_new },             /* (charset) -> converter | nil, text, "charset" */
	{ "idna_to_ascii", idna_to_ascii },         /* (domain) -> domain | nil, text, "idna" */
	{ "idna_to_unicode", idna_to_unicode },
	{ NULL, NULL }
};

static const luaL_Reg decoder_methods[] = {
	{ "feed", decoder_feed }, { "count", decoder_count }, { "finish", decoder_finish }, { NULL, NULL }
};
static const luaL_Reg encoder_methods[] = {
	{ "feed", encoder_feed }, { "finish", encoder_finish }, { NULL, NULL }
};
static const luaL_Reg converter_methods[] = {
	{ "feed", converter_feed }, { "finish", converter_finish }, { "close", converter_close },
	{ "__gc", converter_close }, { NULL, NULL }
};

/* before: [pad classes ...]; a function closes over both */
static void push_function(lua_State *L, lua_CFunction function)
{
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 2);
	lua_pushcclosure(L, function, 2);
}

/* [pad classes] -> the same */
static void new_class(lua_State *L, enum kind kind, const luaL_Reg *methods)
{
	lua_newtable(L);
	for (const luaL_Reg *m = methods; m->name; m++) {
		push_function(L, m->func);
		lua_setfield(L, -2, m->name);
	}
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_rawseti(L, 2, kind);
}

int luaopen_moonmilter_codec(lua_State *L)
{
	lua_settop(L, 0);
	object_new(L, PAD);
	lua_newtable(L);
	lua_pushcfunction(L, pad_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	lua_newtable(L);                                /* [pad classes] */
	new_class(L, DECODER, decoder_methods);
	new_class(L, ENCODER, encoder_methods);
	new_class(L, CONVERTER, converter_methods);
	lua_newtable(L);
	for (const luaL_Reg *f = functions; f->name; f++) {
		push_function(L, f->func);
		lua_setfield(L, -2, f->name);
	}
	return 1;
}
