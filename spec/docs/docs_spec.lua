-- The documentation is true: its filters load, its errors are raised word for word, its commands print what it shows.
local fake_mta = require "spec.support.fake_mta"
local read_file = require("spec.support.process").read_file

local function documents()
  local list = {}
  local names = io.popen "ls README.md docs/*.md"
  for path in names:lines() do
    list[#list + 1] = { path = path, text = read_file(path) }
  end
  names:close()
  return list
end

-- ```lua blocks of a document, with their first line.
local function blocks_of(text)
  local list = {}
  local at = 1
  while true do
    local from, to, block = text:find("\n```lua\n(.-\n)```", at)
    if not from then
      return list
    end
    local _, line = text:sub(1, from):gsub("\n", "")
    list[#list + 1] = { source = block, line = line + 1 }
    at = to
  end
end

-- A document's words without line breaks and indentation, to search for a sentence.
local function flat(text)
  return (text:gsub("%s+", " "))
end

describe("a filter shown in the documentation", function()
  for _, document in ipairs(documents()) do
    for _, block in ipairs(blocks_of(document.text)) do
      if block.source:find "function [%w_.]*on_%l+%(" or block.source:find "\non_header = {" then
        it(("loads without a warning: %s:%d"):format(document.path, block.line), function()
          local host, err = fake_mta.host { script = block.source }
          assert.is_nil(err)
          finally(function() host:close() end)
          assert.equal("", host:log())
        end)

        -- These connect to servers that do not exist here; the specs of those modules run them.
        local needs_world = block.source:find "%f[%w]socket" or block.source:find "moonmilter%.http"
          or block.source:find "moonmilter%.redis"
        local runs = needs_world and pending or it
        local title = ("serves two messages: %s:%d"):format(document.path, block.line)
        runs(needs_world and title .. " asks the outside world" or title, function()
          local mta = fake_mta.start { script = block.source }
          finally(function() mta:close() end)
          mta:introduce "postfix"
          mta:begin()
          mta:unknown "WIZ"
          for _ = 1, 2 do
            mta:message { headers = { { "From", "a" }, { "Subject", "hello" }, { "X-Spam-Flag", "1" } } }
            mta:settle()
          end
          mta:mail()
          mta:abort()
          mta:quit()
          assert.same({}, mta:log_lines "script_error")
        end)
      end
    end
  end
end)

-- ---- errors ----

-- Runs code in a handler; the text of the script_error line, with the log's escapes undone.
local function error_of(case)
  local stage = case.stage or "eom"
  local source = ('local milter = require "moonmilter"\nlocal unused = milter\nfunction on_%s(ctx, ...)\n%s\nend\n%s')
    :format(stage, case.code, stage == "mail" and "" or "function on_mail() end")
  local mta = fake_mta.start { script = source, offer = case.offer, set = case.set }
  mta:introduce "postfix"
  mta:begin()
  mta:message()
  mta:settle()
  local line = mta:log_lines("script_error")[1] or "no script_error line"
  mta:close()
  return (line:gsub('\\(["\\])', "%1"):gsub("\\n", "\n"))
end

local function check(case)
  assert.truthy(error_of(case):find(case.text, 1, true), ("%s\nin: %s"):format(case.text, error_of(case)))
end

describe("an error in a table of docs/scripting.md", function()
  local text = read_file "docs/scripting.md"
  local count = 0
  for head, rows in text:gmatch "\n(| call | error |)\n|%-%-%-|%-%-%-|\n(.-)\n\n" do
    assert(head)
    for row in (rows .. "\n"):gmatch "(.-)\n" do
      local code, where, message = row:match "^| `(.-)`(.-) | `(.*)` |$"
      assert(code, "a row of another form: " .. row)
      count = count + 1
      it(("is raised: %s%s"):format(code, where), function()
        check {
          code = code, stage = where:match "in on_(%l+)", text = message,
          offer = where:find "not offered" and { actions = 0 } or nil,
        }
      end)
    end
  end

  it("is found in the document", function()
    assert.is_true(count > 15)
  end)
end)

-- The rest: code, and the sentence in the document. FILE is the script's path and line.
local cases = {
  { code = "return ctx.foo", text = 'ctx has no member "foo"; facts and methods are listed in the scripting '
    .. 'reference, your own '
    .. "values belong in ctx.session or ctx.message" },
  { code = "ctx.foo = 1", text = "ctx.foo: ctx is read only; keep your own values in ctx.session (the connection) "
    .. "or ctx.message (this message)" },
  { stage = "connect", code = "local x = ctx.message x.y = 1", text = "ctx.message: no message is open at connect; "
    .. "keep what belongs to the connection in ctx.session; ctx.in_message says whether a message is open" },
  { code = "local f = ctx.headers:field 'Subject' f:delete() f:set 'x'",
    text = "set: the field is gone: it has been deleted" },
  { code = "ctx:insert_header(-1, 'X-A', 'b')", text = "insert_header: position -1; 0 is the top, large "
    .. "numbers the end" },
  { code = "ctx:quarantine('')", text = "quarantine: the reason has 0 bytes; give 1 to 100" },
  { code = "ctx:replace_body(('x'):rep(5000))", set = { "body_max=2K" },
    text = "replace_body: the new body would have 5000 bytes; body_max is 2048" },
  { stage = "mail", code = "ctx:progress()",
    text = "progress: only at end of message; Sendmail drops a filter that sends it elsewhere (protocol 3.5)" },
  { code = "local name = 'cli' .. 'ent' return ctx[name]",
    text = "ctx.client: the MTA was not asked for it, because no script seemed to need it; "
      .. 'add options = { facts = { "client" } } to this script' },
  { code = "table.sort({ 3, 2, 1 }, function(a, b) milter.sleep(0.01) return a < b end)",
    text = "sleep: cannot wait inside a function that C code calls back (table.sort comparator, string.gsub "
      .. "replacement, __gc, load reader); collect the inputs there and wait afterwards" },
  { code = "coroutine.yield()", text = "coroutine.yield outside a coroutine of the script's own; to wait, use "
    .. "milter.sleep or another function that waits" },
  { code = "error { code = 1 }", text = "(error object is a table value)" },
  { code = "milter.sleep(20)", set = { "eom_deadline=0.2" }, text = "deadline: the handler still waits (sleep) after 0 "
    .. "s; the MTA would give up soon", shown = "deadline: the handler still waits (sleep) after 8 s; the MTA would "
    .. "give up soon" },
  { stage = "body", code = "local ok, err = pcall(milter.sleep, 20) ctx:add_header('X', 'y')",
    set = { "stage_deadline=0.2" }, unlogged = true, shown = "add_header: too late, the handler has been "
      .. "cancelled (abort)" },
}

describe("an error that docs/scripting.md quotes", function()
  local document = flat(read_file "docs/scripting.md"):gsub("`", "")
  for _, case in ipairs(cases) do
    it("is quoted word for word: " .. (case.shown or case.text), function()
      assert.truthy(document:find(case.shown or case.text, 1, true))
    end)
    if not case.unlogged then
      it("is raised: " .. case.text, function() check(case) end)
    end
  end

  it("is what a cancelled handler gets for an edit", function()
    local mta = fake_mta.start [[
      local milter = require "moonmilter"
      function on_eom(ctx)
        pcall(milter.sleep, 20)
        print(select(2, pcall(ctx.add_header, ctx, "X", "y")))
      end]]
    finally(function() mta:close() end)
    mta:begin()
    mta:mail()
    mta:rcpt()
    mta:feed(fake_mta.packet "E")
    mta:abort()
    assert.truthy(mta:log_lines("script")[1]:find("add_header: too late, the handler has been cancelled (abort)", 1,
      true))
  end)
end)

describe("what docs/scripting.md says about loading", function()
  local document = flat(read_file "docs/scripting.md")

  local function refused(source, text)
    local host, err = fake_mta.host { files = { ["10.lua"] = source } }
    assert.is_nil(host)
    assert.truthy(err:find(text, 1, true), err)
    assert.truthy(document:find(text, 1, true), text)
  end

  it("an unknown handler is refused with a suggestion", function()
    refused("function on_conect(ctx) end", '10.lua:1: unknown handler on_conect; did you mean "on_connect"?')
  end)

  it("globals set in functions and undefined ones are reported", function()
    local host = fake_mta.host { files = { ["10.lua"] = "\n\n\nfunction on_mail() count = 1\n\n\n\n\n return "
      .. "recipent end" } }
    finally(function() host:close() end)
    local log = host:log():gsub('\\"', '"')
    for _, text in ipairs {
      '10.lua:4: global "count" is set inside a function; every session shares it. Say "local count", or keep it in '
        .. "ctx.message or ctx.session",
      '10.lua:9: global "recipent" is not defined',
    } do
      assert.truthy(log:find(text, 1, true), text)
      assert.truthy(document:find(text, 1, true), text)
    end
  end)

  it("modules that require each other are an error", function()
    local host, err = fake_mta.host { files = { ["10.lua"] = 'require "a" function on_mail() end',
      ["lib/a.lua"] = 'require "b"',
      ["lib/b.lua"] = 'require "a"' } }
    assert.is_nil(host)
    assert.truthy(err:find("module cycle: a -> b -> a", 1, true), err)
    assert.truthy(document:find("module cycle: a -> b -> a", 1, true))
  end)

  it("the default on_error text is the one in the table", function()
    local mta = fake_mta.start "function on_eom() error 'x' end"
    finally(function() mta:close() end)
    mta:begin()
    local reply = mta:message()
    assert.equal("451 4.3.0 Mail filter failed, please try again later", reply.text)
    assert.truthy(document:find(reply.text, 1, true))
  end)
end)

describe("the manual page", function()
  it("renders without warnings", function()
    if os.execute "command -v man >/dev/null" ~= 0 then
      return pending "man is not installed"
    end
    local pipe = io.popen "man --warnings -l docs/moonmilter.8 2>&1 >/dev/null"
    local said = pipe:read "*a"
    pipe:close()
    assert.equal("", said)
  end)

  it("has every key of the configuration with its default", function()
    local page = read_file("docs/moonmilter.8"):gsub("\n%.Q?[cq]m? ", " "):gsub("\n", " ")
    local pipe = io.popen((os.getenv "MOONMILTER" or "build/moonmilter") .. " help config")
    for line in pipe:lines() do
      local key, preset = line:match "^%-%- ([%l_]+) = (.+)$"
      if key then
        local entry = page:match("%.It [^\n]-Va " .. key .. "%f[^%w_](.-)%.It ")
          or page:match("%.It [^\n]-Va " .. key .. "%f[^%w_](.*)")
        assert.truthy(entry, key)
        local value = preset:gsub('"', "")
        if value ~= "nil" then
          assert.truthy(entry:find(value, 1, true), ("%s: default %s in: %s"):format(key, value, entry))
        end
      end
    end
    pipe:close()
  end)
end)

describe("docs/logs.md", function()
  it("describes every event that the host logs", function()
    local document = read_file "docs/logs.md"
    local pipe = io.popen "find host -name '*.c' -not -path '*/fuzz/*' -exec cat {} +"
    local source = pipe:read("*a"):gsub("%s+", " ")
    pipe:close()
    local count = 0
    for _, pattern in ipairs { 'mm_log_begin%([^;"]-"([%l_]+)"%)', 'mm_log_say%([^;"]-MM_LOG_%u+, "([%l_]+)",' } do
      for event in source:gmatch(pattern) do
        count = count + 1
        assert.truthy(document:find("\n## " .. event .. ":", 1, true), event)
      end
    end
    assert.is_true(count >= 10)
  end)
end)
