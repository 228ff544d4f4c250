/* fuzz/http_head.c -- the header of an HTTP answer. No line end and no blank at either end is in a value. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local http_head = require \"moonmilter.net.http_head\"\n"
	"return function(_, text)\n"
	"  local headers, list = http_head.read(text)\n"
	"  for _, field in ipairs(list) do\n"
	"    assert(headers[field.name] and not field.name:find \"[:%s]\")\n"
	"    assert(not field.value:find \"[\\r\\n]\" and not field.value:find \"^%s\"\n"
	"      and not field.value:find \"%s$\")\n"
	"  end\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
