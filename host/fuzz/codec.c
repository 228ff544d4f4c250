/* fuzz/codec.c -- libFuzzer target for codec.c: any bytes through every function, and the laws that must hold.
 * Build: clang -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE $(pkg-config --cflags luajit) \
 *          host/codec/*.c host/fuzz/codec.c -o fuzz_codec -lluajit-5.1 -lidn2
 * The first byte chooses the function, the second where the rest is cut into chunks. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

int luaopen_moonmilter_codec(lua_State *L);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Laws in Lua: a law that breaks raises, and the run stops there. */
static const char laws[] =
	"local codec, which, cut, text = ...\n"
	"local charsets = { 'UTF-8', 'UTF-7', 'ISO-2022-JP', 'GB18030', 'BIG5-HKSCS', 'CP949', 'EUC-JP', 'CP932', "
	"'UTF-16', 'ISO-2022-KR' }\nlocal function in_chunks(filter)\n"
	"  local out, at = {}, 1\n"
	"  while at <= #text do\n"
	"    out[#out + 1] = filter:feed(text, at, at + cut)\n"
	"    at = at + cut + 1\n"
	"  end\n"
	"  out[#out + 1] = (filter:finish())\n"
	"  return table.concat(out)\n"
	"end\n"
	"local function whole(filter) return filter:feed(text) .. (filter:finish()) end\n"
	"local kinds = { 'base64', 'quoted-printable', 'x-uuencode' }\n"
	"local one = { codec.base64_decode, codec.qp_decode, codec.uu_decode }\n"
	"if which < 3 then\n"
	"  local kind = kinds[which + 1]\n"
	"  assert(in_chunks(codec.decoder(kind)) == whole(codec.decoder(kind)), kind)\n"
	"  assert((one[which + 1](text)) == whole(codec.decoder(kind)), kind)\n"
	"elseif which < 5 then\n"
	"  local kind = kinds[which - 2]\n"
	"  local encoded = in_chunks(codec.encoder(kind))\n"
	"  assert(encoded == whole(codec.encoder(kind)), kind)\n"
	"  assert((one[which - 2](encoded)) == text, kind)\n"
	"elseif which == 5 then\n"
	"  assert(#(codec.q_decode(text)) <= #text)\n"
	"elseif which == 6 then\n"
	"  local clean, bad = codec.clean_utf8(text)\n"
	"  assert(codec.is_utf8(clean) and (bad > 0) ~= codec.is_utf8(text))\n"
	"elseif which == 7 then\n"
	"  codec.idna_to_ascii(text)\n"
	"  codec.idna_to_unicode(text)\n"
	"else\n"
	"  local name = charsets[which - 7]\n"
	"  assert(codec.is_utf8((codec.to_utf8(text, name))), name)\n"
	"  local converter = codec.converter(name)\n"
	"  assert(codec.is_utf8(in_chunks(converter)), name)\n"
	"  converter:close()\n"
	"end\n";

static lua_State *L;

/* LeakSanitizer cannot see into LuaJIT's memory: what hangs off it must be freed before it looks. */
static void close_state(void)
{
	lua_close(L);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!L) {
		L = luaL_newstate();
		atexit(close_state);
		luaL_openlibs(L);
		lua_pushcfunction(L, luaopen_moonmilter_codec);
		lua_call(L, 0, 1);              /* [codec] */
		if (luaL_loadstring(L, laws))   /* [codec, laws] */
			abort();
	}
	if (size < 2)
		return 0;
	lua_pushvalue(L, 2);
	lua_pushvalue(L, 1);
	lua_pushinteger(L, data[0] % 18);
	lua_pushinteger(L, data[1]);
	lua_pushlstring(L, (const char *)data + 2, size - 2);
	if (lua_pcall(L, 4, 0, 0)) {
		fprintf(stderr, "law broken: %s\n", lua_tostring(L, -1));
		abort();
	}
	lua_settop(L, 2);
	return 0;
}
