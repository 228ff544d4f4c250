/* fuzz/resp.c -- replies of a Redis server. A value or a reason, never an error. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local resp = require \"moonmilter.net.resp\"\n"
	"return function(_, text)\n"
	"  local at = 1\n"
	"  local function take(first, last, after)\n"
	"    if not last or last > #text then return nil, \"closed\", \"closed\" end\n"
	"    at = after\n"
	"    return text:sub(first, last)\n"
	"  end\n"
	"  local reader = {\n"
	"    line = function()\n"
	"      local line_end = text:find(\"\\r\\n\", at, true)\n"
	"      return take(at, line_end and line_end - 1, line_end and line_end + 2)\n"
	"    end,\n"
	"    bytes = function(n) return take(at, at + n - 1, at + n) end,\n"
	"  }\n"
	"  for _ = 1, #text do\n"
	"    local ok, value, code = resp.read(reader)\n"
	"    if not ok then\n"
	"      assert(type(value) == \"string\" and type(code) == \"string\")\n"
	"      return\n"
	"    end\n"
	"  end\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
