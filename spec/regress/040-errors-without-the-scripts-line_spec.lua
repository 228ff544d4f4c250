-- A wrong argument to a waiting function (milter.sleep "x", dns.a()), to ctx.headers and to the modules was reported
-- with a line of the runtime's own Lua and under the name of its variable: "moonmilter.runtime.wait.lua:41: bad
-- argument #1 to 'raw'". Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

local calls = {
  { 'require("moonmilter").sleep "x"', "sleep: bad argument #1 (number expected, got string)" },
  { 'require("moonmilter").sleep()', "sleep: bad argument #1" },
  { 'require("moonmilter").log.info("%d", "x")', "log.info: bad argument #2" },
  { 'require("moonmilter.dns").a()', "a: bad argument #1 (string expected, got nil)" },
  { 'require("moonmilter.dns").query("a.example", "nosuch")', "dns: unknown type" },
  { 'require("moonmilter.dns").dnsbl("192.0.2.1", "zen.example")', "dns.dnsbl: zones are a list" },
  { 'require("moonmilter.socket").connect()', "connect: options must be a table" },
  { 'require("moonmilter.socket").tcp():settimeout "x"', "settimeout: got a string; give seconds" },
  { 'require("moonmilter.redis").new(1)', "redis.new: options must be a table" },
  { 'require("moonmilter.process").run { argv = { "ls", true } }', "process: argv[2] is a boolean" },
  { 'require("moonmilter.header").decode()', "decode: attempt to index" },
  { 'require("moonmilter.mime").walker { headers = {} }', "walker: there is no option headers; there are on_part" },
  { "ctx.headers:get()", "ctx.headers: a header's name is a string, not a nil" },
  { "ctx:replace_body {}", "replace_body: got a table; give a string" },
}

describe("a mistake in a call of the runtime", function()
  for _, row in ipairs(calls) do
    it("is reported with the script's line: " .. row[1], function()
      local mta = fake_mta.start("function on_eom(ctx)\n  " .. row[1] .. "\nend")
      finally(function() mta:close() end)
      mta:message()
      local log = mta.owner:log()
      assert.truthy(log:find("script.lua:2: " .. row[2], 1, true), log)
      assert.falsy(log:find('error="moonmilter.', 1, true))
    end)
  end

  it("keeps the text of a script that names the host itself", function()
    local mta = fake_mta.start 'function on_mail() error("moonmilter.x.lua:1: mine", 0) end'
    finally(function() mta:close() end)
    mta:mail()
    assert.truthy(mta.owner:log():find("mine", 1, true))
  end)
end)
