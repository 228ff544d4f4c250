/* fuzz/authres.c -- Authentication-Results. What was read can be written when it holds no control character, and
 * whoever reads an id must see it claimed. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local authres = require \"moonmilter.authres\"\n"
	"return function(_, text)\n"
	"  local parsed = authres.parse(text)\n"
	"  authres.claims(text, \"mx.example\")\n"
	"  local id = parsed and parsed.authserv_id\n"
	"  if id then\n"
	"    local ok, claimed = pcall(authres.claims, text, id)\n"
	"    assert(ok and claimed or not ok and claimed:find(\"authserv-id is a text\", 1, true), id)\n"    /* "." */
	"    pcall(authres.format, parsed)\n"
	"  end\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
