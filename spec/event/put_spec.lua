-- moonmilter.event as scripts use it: what put writes, what it refuses, and what try and the test kit show of it.
local cjson = require "cjson"
local fake_mta = require "spec.support.fake_mta"
local program_of_host = require("spec.support.host").program
local process = require "spec.support.process"
local testing = require "moonmilter.testing"

local HEAD = "local event = require 'moonmilter.event'\n"
local SINK = HEAD .. "local sink = event.sink{ to = 'file:/tmp/never', name = 'test' }\n"


describe("sink:put", function()
  it("writes what it gets as JSON, with id, time and host", function()
    local seen
    local mta = testing.start { script = SINK .. [[
      function on_eom(ctx)
        local id = sink:put{ from = ctx.sender, n = 3, half = 0.5, list = { 1, "b", { x = true } }, none = {} }
        print(id)
      end]], event = "real" }
    mta:message {}
    local log = table.concat(mta:log(), "\n")
    seen = log:match 'event="({.-})"\n' or log:match 'event="({.-})"$'
    mta:close()
    local value = cjson.decode((seen:gsub('\\"', '"')))
    assert.equal("ann@example.org", value.from)
    assert.equal(3, value.n)
    assert.equal(0.5, value.half)
    assert.same({ 1, "b", { x = true } }, value.list)
    assert.same({}, value.none)
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", value.time)
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%-%x%x%x%x%x%x%x%x%-1$", value.id)
    assert.matches("text=" .. value.id:gsub("%-", "%%-"), log)
    assert.is_true(#value.host > 0)
  end)

  it("keeps hostile bytes within their string, and the line one line", function()
    local mta = fake_mta.start { script = SINK .. [[
      local bad = 'x","id":"forged"}\n{"id":"second"}\0\255\27[2J\226\128\168'
      function on_eom() sink:put{ subject = bad, [bad] = 1, nan = 0/0, inf = 1/0 } end]] }
    mta:begin()
    mta:message()
    assert.same({}, mta:log_lines "script_error")
    assert.equal(1, #mta:log_lines "event")
    mta:close()
  end)

  it("raises at the script's line for what is no event", function()
    for call, text in pairs {
      ["put()"] = "put takes a table of fields, not a nil", ["put'x'"] = "put takes a table of fields, not a string",
      ["put{ 1 }"] = "a field has a number for a name", ["put{ f = print }"] = "a field is a function",
      ["put{ id = 1 }"] = 'the field "id" is the sink\'s own', ["put{ host = false }"] = 'the field "host"',
      ["put{ time = 1 }"] = 'the field "time"', ["put(deep)"] = "nested deeper than 8",
      ["put(loop)"] = "nested deeper than 8", ["put{ a = { [{}] = 1 } }"] = "a field has a table for a name",
    } do
      local mta = fake_mta.start { script = SINK .. [[
        local deep, loop = {}, {}
        loop.loop = loop
        for _ = 1, 10 do deep = { deep = deep } end
        function on_eom() return sink:]] .. call .. " end" }
      mta:begin()
      mta:message()
      local line = mta:log_lines("script_error")[1] or "no error"
      assert.truthy(line:gsub('\\"', '"'):find(text, 1, true), call .. ": " .. line)
      assert.matches("script%.lua:6: ", line)
      mta:close()
    end
  end)

  it("fails, counts and says so once for an event that is too large, however often", function()
    local mta = fake_mta.start { script = SINK .. [[
      function on_eom()
        for _, size in ipairs { 65536, 1e6, 2e7 } do
          local id, text, code = sink:put{ subject = ("x"):rep(size) }
          print(tostring(id), text, code)
        end
        print(sink:info().dropped)
      end]] }
    mta:begin()
    mta:message()
    local said = table.concat(mta:log_lines "script", "\n")
    assert.equal(3, select(2, said:gsub("nil", "")), said)
    assert.equal(1, select(2, said:gsub("over 64 KB", "")))
    mta:close()
  end)
end)

describe("event.sink raises at the script's line", function()
  for options, text in pairs {
    ["{}"] = "to is missing", ["3"] = "expected a table of options, got a number",
    ["{ to = 'ftp://x/' }"] = "to is no receiver", ["{ to = 'file:relative' }"] = "a file has an absolute path",
    ["{ to = 'https://' }"] = "to is no URL of a web server", ["{ to = 'redis://h' }"] = "to is no stream",
    ["{ to = 'redis://h:99999999/s' }"] = "port is 99999999",
    ["{ to = 'file:/x', token = 'a' }"] = "token is for web servers",
    ["{ to = 'https://h/', token = 'a b' }"] = "token is empty, or has blanks",
    ["{ to = 'https://u:p@h/', token = 'a' }"] = "token and a user in the URL are both given",
    ["{ to = 'https://h/', headers = { A = 'x\\ny' } }"] = "without line breaks",
    ["{ to = 'file:/x', max = '64 bottles' }"] = 'max is "64 bottles"',
    ["{ to = 'file:/x', max = 1000 }"] = "give 1 MB to 64 GB",
    ["{ to = 'file:/x', batch = 0 }"] = "batch is 0", ["{ to = 'file:/x', flush = 0/0 }"] = "flush is",
    ["{ to = 'file:/x', spool = '/var/x' }"] = "spool is true (on the disk, in state_dir",
    ["{ to = 'file:/x', name = 'a b' }"] = 'name is "a b"', ["{ to = 'file:/x', nam = 'a' }"] = 'did you mean "name"?',
  } do
    it("for " .. options, function()
      local host, err = fake_mta.host { script = HEAD .. "event.sink(" .. options .. ")" }
      assert.is_nil(host)
      assert.truthy(err:find(text, 1, true), err)
      assert.matches("script%.lua:2: event%.sink: ", err)
    end)
  end

  it("for a name that goes elsewhere already; the same is the same sink", function()
    local host, err = fake_mta.host { script = HEAD .. [[
      assert(event.sink{ to = "file:/a", name = "x" } == event.sink{ to = "file:/a", name = "x" })
      event.sink{ to = "file:/b", name = "x" }]] }
    assert.is_nil(host)
    assert.matches("sink x goes to file:/a already", err)
  end)
end)

describe("the test kit", function()
  it("gives a spec what was put, and lets it fail", function()
    local script = HEAD .. [[
      local sink = event.sink{ to = "https://user:secret@collect.example/mail?key=1", name = "mail" }
      function on_eom(ctx)
        local id, text, code = sink:put{ from = ctx.sender, list = { 1, 2 } }
        print(sink.to, id and "kept" or text, code)
      end]]
    local mta = testing.start { script = script }
    mta:message {}
    assert.same({ { sink = "mail", event = { from = "ann@example.org", list = { 1, 2 } } } }, mta:asked "event")
    assert.matches("https://collect.example kept", table.concat(mta:log(), "\n"):gsub("\\x09", " "))
    mta:close()
    mta = testing.start { script = script, event = "full" }
    mta:message {}
    assert.matches("event: full full", (table.concat(mta:log(), "\n"):gsub("\\x09", " ")))
    mta:close()
    mta = testing.start { script = script, event = function(put) return nil, "no " .. put.sink, "io" end }
    mta:message {}
    assert.matches("no mail io", (table.concat(mta:log(), "\n"):gsub("\\x09", " ")))
    mta:close()
  end)

  it("runs the example: acceptance, refusal, and a sink that fails", function()
    local mta = testing.start { scripts = "examples/event-verdicts.lua" }
    assert.equal("accept", mta:message({ headers = { { "Message-ID", "<1@x>" } } }).verdict)
    assert.equal("reject", mta:message({ headers = { { "From", "a@x" } } }).verdict)
    local asked = mta:asked "event"
    assert.equal("continue", asked[1].event.verdict)
    assert.equal("reject", asked[2].event.verdict)
    assert.equal("verdicts", asked[2].sink)
    mta:close()
    mta = testing.start { scripts = "examples/event-verdicts.lua", event = "full" }
    assert.equal("accept", mta:message({ headers = { { "Message-ID", "<1@x>" } } }).verdict)
    assert.same({}, mta:complaints())
    mta:close()
  end)
end)

describe("moonmilter try", function()
  it("shows the events and sends none", function()
    local directory = process.directory()
    process.write_file(directory .. "/a.lua", HEAD .. ("local sink = event.sink{ to = 'file:%s/out', name = 'test' }\n"
      .. "function on_eom() sink:put{ word = 'a b' } end"):format(directory))
    local text = process.run(("printf 'Subject: x\\n\\nx\\n' | %s try - %s/a.lua"):format(program_of_host(), directory))
    assert.matches('info  event of test: {"id":"[^"]+","time":"[^"]+","host":"[^"]+","word":"a b"}\n', text)
    assert.is_nil(process.read_file(directory .. "/out"))
    process.run("rm -rf " .. directory)
  end)
end)

describe("Retry-After", function()
  it("is seconds or a date", function()
    local mta = fake_mta.start { script = [[
      local receiver = require "moonmilter.net.receiver"
      local at = receiver.retry_after
      assert(at("120", 0) == 120 and at("0", 5) == 0)
      assert(at("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 - 60) == 60)
      assert(at("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800 - 5) == 5)
      assert(at("Thu, 01 Jan 2026 00:00:00 GMT", 1767225600 + 5) == 0)
      for _, bad in ipairs { "", "-1", "soon", "Sun, 06 Foo 1994 08:49:37 GMT", ("9"):rep(100), "1e9" } do
        assert(at(bad, 0) == nil, bad)
      end
      assert(at(nil, 0) == nil)
      function on_mail() end]] }
    mta:close()
  end)
end)
