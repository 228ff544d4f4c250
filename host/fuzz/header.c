/* fuzz/header.c -- values of structured fields, folds and whole headers. An unchanged table gives its value back. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local header = require \"moonmilter.header\"\n"
	"require(\"moonmilter.mail.bound\").LINE_MAX = math.huge\n"
	"local names = { \"Content-Type\", \"Content-Disposition\", \"Message-ID\", \"References\", \"Received\",\n"
	"  \"List-Post\", \"List-Id\",\n"
	"  \"Date\", \"To\", \"Authentication-Results\" }\n"
	"return function(choice, text)\n"
	"  local name = names[choice % 13 + 1]\n"
	"  if name then\n"
	"    local parsed = header.parse(name, text)\n"
	"    if parsed then assert(header.format(name, parsed) == text) end\n"
	"  elseif choice % 13 == 10 then\n"
	"    local line = header.unfold(text)\n"
	"    assert(header.unfold((header.fold(\"X\", line))) == line)\n"
	"  elseif choice % 13 == 11 then\n"
	"    local block, after = header.block(text)\n"
	"    assert(after >= 1 and after <= #text + 1)\n"
	"    for _, value in block:each() do assert(not value:find \"\\r\\n\") end\n"
	"    block:bytes()\n"
	"  else\n"
	"    header.parameter_source(text, \"a\")\n"
	"    header.attachment_name(header.params(text), header.content_type(text))\n"
	"  end\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
