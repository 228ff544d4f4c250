/* fuzz/encoded_word.c -- encoded words. Decoded text is UTF-8 in one line, and decoding undoes encoding. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local codec = require \"moonmilter.codec\"\n"
	"local encoded_word = require \"moonmilter.encoded_word\"\n"
	"return function(choice, text)\n"
	"  local decoded = encoded_word.decode(text)\n"
	"  assert(codec.is_utf8(decoded) and not decoded:find \"[%z\\r\\n]\")\n"
	"  if choice % 2 == 1 then\n"
	"    assert(encoded_word.decode(encoded_word.encode(decoded)) == decoded)\n"
	"  end\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
