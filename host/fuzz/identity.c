/* fuzz/identity.c -- who sent a message: records and fields of strangers. Nothing raises, nothing that nobody has signed
 * passes, and what is written into a header holds no byte that ends or hides a field. */
#include "fuzz/lua_parser.h"

static const char target[] =
	"local arc, dkim, dmarc = require \"moonmilter.arc\", require \"moonmilter.dkim\", require \"moonmilter.dmarc\"\n"
	"local spf, stamp = require \"moonmilter.spf\", require \"moonmilter.identity.stamp\"\n"
	"local FROM = { raw = \"From: a@example.org\" }\n"
	"local function always(text) return function() return { text } end end\n"
	"local function nothing() return nil, \"no such name\", \"nxdomain\" end\n"
	"local function check_stamp(r)\n"
	"  assert(not stamp.value(r, \"mx.example\", true):gsub(\"\\n[ \\t]\", \"\"):find \"[%z\\1-\\8\\10-\\31\\127]\")\n"
	"end\n"
	"local functions = {\n"
	"  function(text)\n"
	"    local result, _, explanation = spf.check { ip = \"192.0.2.1\", sender = \"a@example.org\", helo = \"h\",\n"
	"      dns = always(\"v=spf1 \" .. text), explain = true }\n"
	"    assert(type(result) == \"string\" and not (explanation and explanation:find \"[^\\32-\\126]\"))\n"
	"  end,\n"
	"  function(text)\n"
	"    local result = spf.check { ip = \"2001:db8::1\", sender = text, helo = text,\n"
	"      dns = always \"v=spf1 exists:%{l1r-}.%{o}.%{h}.example -all\" }\n"
	"    check_stamp { spf = { result = result, domain = text, properties = {\n"
	"      { type = \"smtp\", property = \"mailfrom\", value = text } } }, dkim = {} }\n"
	"  end,\n"
	"  function(text)\n"
	"    local results = dkim.verifier({ headers = { { raw = \"DKIM-Signature: \" .. text }, FROM },\n"
	"      dns = always(text) }):finish()\n"
	"    for _, r in ipairs(results) do assert(r.result ~= \"pass\") end\n"
	"    check_stamp { dkim = results }\n"
	"  end,\n"
	"  function(text) dkim.key(text) end,\n"
	"  function(text)\n"
	"    local r = dmarc.check { from = { text }, dns = nothing, dkim = { { result = \"pass\", domain = \"evil.example\" } } }\n"
	"    assert(r.result ~= \"pass\" or text:find \"evil.example\")\n"
	"    check_stamp { dmarc = r, dkim = {} }\n"
	"  end,\n"
	"  function(text)\n"
	"    local r = dmarc.check { from = { \"a@example.org\" }, dns = always(\"v=DMARC1\" .. text) }\n"
	"    assert(r.result ~= \"pass\")\n"
	"  end,\n"
	"  function(text)\n"
	"    local chain = arc.verify { headers = { { raw = \"ARC-Seal: i=1; \" .. text },\n"
	"      { raw = \"ARC-Message-Signature: i=1; \" .. text }, { raw = \"ARC-Authentication-Results: i=1; \" .. text },\n"
	"      FROM }, body = text, dns = always(text) }\n"
	"    assert(chain.result ~= \"pass\")\n"
	"  end,\n"
	"}\n"
	"return function(choice, text) functions[choice % #functions + 1](text) end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return run_lua_parser(target, data, size);
}
