-- What a script logs, and what is logged about it, names the script, wherever the line comes from; and an error keeps
-- its place and its point, however long it is.
local fake_mta = require "spec.support.fake_mta"

-- Logs from its top level, its handlers, the tasks, timers and ends that it starts, and a module.
local SPEAKER = [[
local milter = require "moonmilter"
local timer = require "moonmilter.timer"
require "spoken"
print "top level"
milter.spawn(print, "task of the top level")
milter.spawn(function() milter.spawn(print, "task of a task") end)
timer.every(0.01, function() print "timer of the top level" end)
function on_load()
  print "on_load"
  milter.spawn(print, "task of on_load")
  timer.at(0, function() print "timer of on_load" end)
end
function on_connect() print "on_connect" end
function on_mail(ctx)
  milter.spawn(print, "task of on_mail")
  milter.spawn(error, "error of a task")
  milter.at_end(function() print "at_end" end)
  milter.at_end(function() error "error of at_end" end)
  milter.sleep(0.03)
  require("spoken").say "module"
end
function on_eom() error "error of on_eom" end
function on_done() print "on_done" end
function on_close() print "on_close" end
function on_unload() print "on_unload" error "error of on_unload" end
]]

describe("a log line of a script", function()
  it("has the script's name, wherever in the script it comes from", function()
    local host = assert(fake_mta.host { files = { ["10-other.lua"] = "function on_mail() end",
      ["20-speaker.lua"] = SPEAKER,
      ["lib/spoken.lua"] = "print 'module while loading' return { say = function(text) print(text) end }" } })
    local mta = fake_mta.start { host = host }
    mta:begin()
    mta:message()
    mta:settle()
    mta:quit()
    mta:close()
    host:write("20-speaker.lua", "function on_mail() end")
    host:reload()
    local log = host:log()
    host:close()
    local seen = {}
    for line in log:gmatch "[^\n]+" do
      local event = line:match "^%S+ %S+ (%S+)"
      if event == "script" then
        assert.truthy(line:find(" script=20-speaker ", 1, true), line)
        seen[line:match 'text="(.-)"$' or line:match "text=(%S+)$"] = true
      elseif event == "script_error" then
        assert.truthy(line:match " script=%S*/20%-speaker%.lua ", line)
        seen[line:match "(error of [%a_]+ ?%a*)"] = true
      end
    end
    for _, text in ipairs { "module while loading", "top level", "task of the top level", "task of a task",
      "timer of the top level", "on_load", "task of on_load", "timer of on_load", "on_connect", "task of on_mail",
        "at_end",
      "module", "on_done", "on_close", "on_unload", "error of a task", "error of at_end", "error of on_eom",
      "error of on_unload" } do
      assert.is_true(seen[text], text .. " is in:\n" .. log)
    end
  end)
end)

describe("a long error", function()
  local function error_of(script)
    local mta = fake_mta.start { script = script }
    mta:begin()
    mta:message()
    local line = mta:log_lines("script_error")[1]
    mta:close()
    return line
  end

  for _, size in ipairs { 100, 400, 600, 640, 1000, 1023, 1024, 5000, 100000 } do
    it(("of %d bytes keeps its line, its end and its traceback"):format(size), function()
      local line = error_of(("function on_eom() error(('x'):rep(%d) .. ' THE POINT') end"):format(size))
      assert.truthy(line:match "%.lua:1: xxx", line)
      assert.truthy(line:find("x THE POINT\\nstack traceback:", 1, true), line)
      assert.equal(size >= 600, line:find("[...]", 1, true) ~= nil)
    end)
  end

  it("is cut between characters", function()
    for shift = 0, 3 do
      local line = error_of(("function on_eom() error(('x'):rep(%d) .. ('äü€'):rep(300), 0) end"):format(shift))
      assert.is_nil(line:find("\\x[89a-f]", 1), line)
      assert.truthy(line:find("[...]", 1, true))
    end
  end)

  it("of a script that does not load keeps its beginning and its end", function()
    local host, err = fake_mta.host { script = "error(('y'):rep(5000) .. ' THE POINT')" }
    assert.is_nil(host)
    assert.matches("%.lua:1: yyy", err)
    assert.matches("y THE POINT", err)
    host, err = fake_mta.host { set = { "settings={ " .. ("a"):rep(2000) .. " = 3, 3 = 4 }" }, script = "x = 1" }
    assert.is_nil(host)
    assert.is_true(#err < 1024)
  end)
end)

describe("host:require_settings", function()
  local function load(settings, wanted)
    local host, err = fake_mta.host { set = { "settings={ " .. settings .. " }" }, files = { ["10-a.lua"] =
      "function on_load(host)\n  local s = host:require_settings " .. wanted .. "\n  print(s == host.settings) end\n"
      .. "function on_mail() end" } }
    if not host then
      return err
    end
    local log = host:log()
    host:close()
    return log:find("text=true", 1, true) and "loads" or log
  end

  it("lets the scripts load when all settings are there, of the right types", function()
    assert.equal("loads", load('url = "x", delay = 3', '{ "url", delay = "number" }'))
    assert.equal("loads", load('list = { "a" }, on = false', '{ list = "table", on = "boolean", more = "string?" }'))
    assert.equal("loads", load("", "{}"))
  end)

  it("refuses to load and names every setting that is missing or of another type", function()
    local err = load('delay = "3"', '{ "url", "key", delay = "number", more = "string?" }')
    assert.matches("10%-a%.lua:2: settings: delay is a string, not a number, key is missing, url is missing; set them in "
      .. "settings = { … } of moonmilter%.conf", err)
    assert.matches("10%-a%.lua:2: settings: url is missing %(a string%); set it in ", load("", '{ url = "string" }'))
    assert.matches('policy_url is missing; did you mean "policy_ulr"', load('policy_ulr = "x"', '{ "policy_url" }'))
    assert.matches("more is a number, not a string", load("more = 3", '{ more = "string?" }'))
  end)

  it("refuses to load when it is called wrongly, at the script's line", function()
    assert.matches("10%-a%.lua:2: require_settings: give a table of names", load("", '"url"'))
    assert.matches('10%-a%.lua:2: require_settings: url = "text": a type is', load("", '{ url = "text" }'))
  end)
end)
