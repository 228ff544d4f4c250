/* fuzz/mime.c -- the structure of messages. Chunks make no difference. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local mime = require \"moonmilter.mime\"\n"
	"local function walked(text, chunk)\n"
	"  local out = {}\n"
	"  local walker = mime.walker {\n"
	"    with_header = true,\n"
	"    on_part = function(part) out[#out + 1] = part.path .. \" \" .. part.type end,\n"
	"    on_end = function(part) \n"
	"      out[#out + 1] = (\"%s %d %s\"):format(part.path, part.size, part.id or \"\")\n"
	"    end,\n"
	"  }\n"
	"  for at = 1, #text, chunk do\n"
	"    if not walker:body(text:sub(at, at + chunk - 1)) then break end\n"
	"  end\n"
	"  local root, _, code = walker:eom()\n"
	"  out[#out + 1] = root and \"whole\" or code\n"
	"  return table.concat(out, \"\\n\")\n"
	"end\n"
	"return function(choice, text)\n"
	"  if choice % 2 == 0 then\n"
	"    text = \"Content-Type: multipart/mixed; boundary=b\\r\\n\\r\\n--b\\r\\n\" .. text\n"
	"  end\n"
	"  assert(walked(text, #text + 1) == walked(text, math.floor(choice / 2) + 1))\n"
	"  mime.kind(text)\n"
	"end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
