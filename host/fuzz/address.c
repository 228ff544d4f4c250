/* fuzz/address.c -- mailboxes, lists of them and envelope paths. What was read can be written and read again, and
 * names no line end. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local address = require \"moonmilter.address\"\n"
	"require(\"moonmilter.mail.bound\").LINE_MAX = math.huge\n"
	"local modes = { { mode = \"lenient\" }, { mode = \"strict\" } }\n"
	"local function check(mailbox)\n"
	"  assert(not mailbox.address:find \"[%z\\r\\n]\")\n"
	"  local parts = { local_part = mailbox.local_part, domain = mailbox.domain }\n"
	"  local again = assert(address.parse(address.format(parts)))\n"
	"  assert(again.local_part == mailbox.local_part and again.domain == mailbox.domain)\n"
	"end\n"
	"return function(choice, text)\n"
	"  local mode = modes[choice % 2 + 1]\n"
	"  choice = math.floor(choice / 2) % 4\n"
	"  if choice == 0 then\n"
	"    for _, mailbox in ipairs(address.mailboxes(text, mode) or {}) do check(mailbox) end\n"
	"  elseif choice == 1 then\n"
	"    local mailbox = address.parse(text, mode)\n"
	"    if mailbox then check(mailbox) end\n"
	"  elseif choice == 2 then\n"
	"    address.path(text, mode)\n"
	"  else\n"
	"    address.domain_to_ascii(text)\n"
	"    address.domain_to_unicode(text)\n"
	"  end\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
