/* fuzz/body.c -- a kept body: lines, parts, a footer. Without a change it comes back as it was. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local body = require \"moonmilter.body\"\n"
	"local codec = require \"moonmilter.codec\"\n"
	"local header = require \"moonmilter.header\"\n"
	"local types = { \"text/plain\", \"text/html\", \"multipart/mixed; boundary=b\",\n"
	"  \"multipart/alternative; boundary=b\",\n"
	"  \"text/plain\\r\\nContent-Transfer-Encoding: base64\", \"message/rfc822\" }\n"
	"return function(choice, text)\n"
	"  local block = header.block(\"Content-Type: \" .. types[choice % #types + 1] .. \"\\r\\n\\r\\n\")\n"
	"  local kept = body.new { headers = block }\n"
	"  assert(kept:feed(text) and kept:finish())\n"
	"  for line in kept:lines() do assert(not line:find \"\\n\") end\n"
	"  local parts = kept:parts()\n"
	"  local edit = kept:edit()\n"
	"  assert(edit:string() == text)\n"
	"  for _, part in ipairs(parts or {}) do assert(codec.is_utf8(part:text(100))) end\n"
	"  edit:footer { text = \"Gr\\195\\188\\195\\159e\" }\n"
	"  edit:string()\n"
	"  kept:close()\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
