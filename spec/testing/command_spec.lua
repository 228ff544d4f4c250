-- moonmilter test, at the command line.
local moonmilter = os.getenv "MOONMILTER" or "build/moonmilter"

local function run(arguments, environment)
  local output = os.tmpname()
  local status = os.execute(("env -u LUA_PATH -u MOONMILTER_LIBRARY %s %s test %s >%s 2>&1"):format(environment
    or "", moonmilter, arguments, output))
  local file = io.open(output)
  local text = file:read "*a"
  file:close()
  os.remove(output)
  return math.floor(status / 256), text
end

local function spec_file(text)
  local directory = os.tmpname()
  os.remove(directory)
  os.execute("mkdir " .. directory)
  local file = io.open(directory .. "/filter_test.lua", "w")
  file:write(text)
  file:close()
  finally(function() os.execute("rm -rf " .. directory) end)
  return directory
end

describe("moonmilter test", function()
  it("runs specs without set-up", function()
    local directory = spec_file [[
      local testing = require "moonmilter.testing"
      it("accepts", function()
        local mta = testing.start "function on_mail(ctx) return ctx:reject(550, '5.7.1', 'no') end"
        assert.equal("no", mta:message().text)
        mta:close()
      end)
      it("is wrong", function() assert.equal(1, 2) end)
    ]]
    local status, text = run(directory .. " -- --output=TAP")
    assert.equal(1, status)
    assert.matches("\nok 1 %- accepts", "\n" .. text)
    assert.matches("not ok 2 %- is wrong", text)
    assert.equal(0, (run(directory .. "/filter_test.lua -- --filter=accepts")))
  end)

  it("shows the log of failed tests only", function()
    local directory = spec_file [[
      local testing = require "moonmilter.testing"
      local function start()
        local mta = testing.start "function on_mail(ctx, s) if s ~= 'good@x' then error 'no such luck' end end"
        finally(function() mta:close() end)
        return mta
      end
      it("is good", function() assert.equal("tempfail", start():message().verdict) end)
      it("is wrong", function() assert.equal("accept", start():message().verdict) end)
      it("is good again", function() assert.equal("accept", start():message { from = "good@x" }.verdict) end)
    ]]
    local status, text = run(directory)
    assert.equal(1, status)
    local logged = text:match "Logged in tests that failed:\n\n(.*)$"
    assert.is_string(logged, text)
    assert.matches("^is wrong\n  %S+ error script_error .-no such luck\n    stack traceback:\n", logged)
    assert.equal(1, select(2, logged:gsub("script_error", "")))
    status, text = run(directory .. " -- --filter=good")
    assert.equal(0, status)
    assert.is_nil(text:match "Logged")
  end)

  it("reports that there is nothing to run", function()
    local directory = spec_file ""
    os.remove(directory .. "/filter_test.lua")
    local status, text = run(directory)
    assert.equal(66, status)
    assert.matches("no file named %.%.%._spec%.lua or %.%.%._test%.lua in", text)
  end)

  it("says what to install, and what is missing", function()
    local status, text = run("", "PATH=/nowhere")
    assert.equal(69, status)
    assert.matches("apt install luajit", text)
    status, text = run "no-such-spec.lua"
    assert.equal(66, status)
    assert.matches("no%-such%-spec.lua: No such file or directory; check the name", text)
    status, text = run "--output=TAP"
    assert.equal(64, status)
    assert.matches("options for busted go after %-%-", text)
    status, text = run "--help"
    assert.equal(0, status)
    assert.matches("Usage: moonmilter test", text)
  end)
end)
