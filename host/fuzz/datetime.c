/* fuzz/datetime.c -- dates. What was read can be written and means the same. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local datetime = require \"moonmilter.datetime\"\n"
	"require(\"moonmilter.mail.bound\").LINE_MAX = math.huge\n"
	"return function(_, text)\n"
	"  local date = datetime.parse(text)\n"
	"  if date and date.year <= 9999 and date.epoch < 253402300800 and date.epoch >= -2208988800\n"
	"    and math.abs(date.offset) <= 5999 then\n"
	"    local again = assert(datetime.parse(datetime.format(date)))\n"
	"    assert(again.epoch == date.epoch)\n"
	"  end\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
