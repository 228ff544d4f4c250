-- Errors were shown with the runtime's own frames, load errors with no others; coroutine.wrap put a traceback into the
-- error itself, so that a script that compares texts never recognized its own. Since 0.1.0.
local testing = require "moonmilter.testing"

describe("an error of a script", function()
  it("at load names file and line, and frames of the script only", function()
    assert.equal("10-a.lua:1: unknown handler on_mali; did you mean \"on_mail\"?",
      testing.load_error({ files = { ["10-a.lua"] = "function on_mali() end" } }):match "10%-a%.lua.*")
    local text = testing.load_error { files = { ["10-a.lua"] = "local function f() error 'boom' end\nf()" } }
    assert.truthy(text:find("10-a.lua:1: boom\nstack traceback:\n\t[C]: in function 'error'\n\t", 1, true), text)
    assert.truthy(text:find("10-a.lua:2: in ", 1, true), text)
    assert.falsy(text:find("moonmilter.", 1, true), text)
  end)

  it("in a handler or a task shows no frame of the runtime", function()
    local mta = testing.start { script = [[
      local milter = require "moonmilter"
      local function deep(ctx) ctx:body(7) end
      function on_mail(ctx) deep(ctx) end
      function on_helo() milter.spawn(function() milter.sleep(1) milter.all { 5 } end) end
    ]] }
    finally(function() mta:close() end)
    mta:helo "client.example"
    mta:pass(2)
    assert.equal("tempfail", mta:mail("ann@example.org").verdict)
    local text = table.concat(mta:log "script_error", "\n")
    assert.truthy(text:find("in function 'deep'", 1, true), text)
    assert.truthy(text:find("handler=task", 1, true), text)
    assert.falsy(text:find("moonmilter.%l+.lua"), text)
  end)

  it("passes coroutine.wrap unchanged", function()
    local mta = testing.start { script = [[
      function on_mail(ctx)
        local ok, err = pcall(coroutine.wrap(function() error("mine", 0) end))
        assert(err == "mine", err)
      end
    ]] }
    finally(function() mta:close() end)
    mta:mail "ann@example.org"
    assert.same({}, mta:complaints())
  end)
end)
