-- Header fields that arrive together are handled in one call into Lua (mm_engine_further, mm_call_walk): scripts and
-- MTA see the same as when each comes alone.
local fake_mta = require "spec.support.fake_mta"

local packet = fake_mta.packet

local function field(name, value) return packet("L", name .. "\0" .. (value or "v") .. "\0") end

-- The next message up to its header; then these packets in one read.
local function send_header(mta, packets)
  mta:mail()
  mta:rcpt()
  mta:data()
  assert.truthy(mta:feed(table.concat(packets)))
  mta:settle()
end

-- The same of a new session's first message.
local function send(options, packets)
  local mta = fake_mta.start(options)
  mta:begin()
  send_header(mta, packets)
  return mta
end

local SEEN = [[
  local seen = {}
  function on_header(ctx, name, value)
    seen[#seen + 1] = name .. "=" .. value .. "/" .. #ctx.headers
    %s
  end
  function on_eom(ctx) ctx:add_header("X-Seen", table.concat(seen, " ")) end]]

local function seen(mta)
  return mta:eom().edits[1][3]
end

local FIVE = {
  field "A", packet("D", "Li\0004Q1\0"), field("B", " b"), field "C", packet("D", "L"), field "D", field "E",
}

describe("fields in one read", function()
  it("reach the handler in one call, each with the facts of its own moment", function()
    local mta = send({ script = SEEN:format 'assert(name == "A" or debug.getinfo(2, "S"), "no walk")' }, FIVE)
    assert.equal("continue", mta:eoh().kind)
    assert.matches("^ ?A=v/1 B= ?b/2 C=v/3 D=v/4 E=v/5$", seen(mta))
    assert.same({}, mta:log_lines "script_error")
    mta:close()
  end)

  it("make no difference to fields that come alone, or cut anywhere", function()
    local texts = {}
    for _, split in ipairs { 1, 7, 64, 4096 } do
      local mta = send({ script = SEEN:format "", split = split }, FIVE)
      texts[#texts + 1] = mta:eoh().kind .. " " .. seen(mta)
      mta:close()
    end
    for i = 2, #texts do assert.equal(texts[1], texts[i]) end
  end)

  for how, line in pairs { ["returns"] = 'if name == "C" then return "reject" end',
    ["calls"] = 'if name == "C" then ctx:reject() end',
    ["returns a call of"] = 'if name == "C" then return ctx:reject() end' } do
    it(("end where the handler %s a verdict"):format(how), function()
      local mta = send({ script = SEEN:format(line) .. "\nfunction on_abort(ctx) end function on_done(ctx) "
        .. "milter.log.info(table.concat(seen, ' ')) end local milter = require 'moonmilter'" }, FIVE)
      assert.equal("reject", mta:eoh().kind)
      mta:close()
    end)
  end

  it("report a verdict with more beside it as always", function()
    local mta = send({ script = SEEN:format 'if name == "C" then return "reject", "text" end' }, FIVE)
    assert.equal("tempfail", mta:eoh().kind)
    assert.matches('returned \\"reject\\" and more', mta:log_lines("script_error")[1])
    mta:close()
  end)

  it("fail at the field whose handler raises, without a word of the runtime's", function()
    local mta = send({ script = SEEN:format 'if name == "C" then error "on C" end' }, FIVE)
    assert.equal("tempfail", mta:eoh().kind)
    local lines = mta:log_lines "script_error"
    assert.equal(1, #lines)
    assert.matches("on C", lines[1])
    assert.is_nil(lines[1]:find "entry")
    mta:close()
  end)

  it("go on after a handler that waits", function()
    local mta = send({ script = "local milter = require 'moonmilter'\n"
      .. SEEN:format 'if name == "B" or name == "D" then milter.sleep(0.01) end' }, FIVE)
    assert.equal("continue", mta:eoh().kind)
    assert.matches("^ ?A=v/1 B= ?b/2 C=v/3 D=v/4 E=v/5$", seen(mta))
    mta:close()
  end)

  it("reach two scripts in turn", function()
    local one = [[
      function on_header(ctx, name) package.loaded.order = (package.loaded.order or "") .. "%s" .. name end
      function on_eom(ctx) ctx:add_header("X-%s", package.loaded.order) end]]
    local mta = send({ files = { ["a.lua"] = one:format("a", "a"), ["b.lua"] = one:format("b", "b") } }, FIVE)
    assert.equal("continue", mta:eoh().kind)
    assert.matches("^ ?aAbAaBbBaCbCaDbDaEbE$", mta:eom().edits[1][3])
    mta:close()
  end)

  it("skip the rest when the handler says so", function()
    local mta = send({ script = SEEN:format 'if name == "C" then return "skip" end' }, FIVE)
    assert.equal("continue", mta:eoh().kind)
    assert.matches("^ ?A=v/1 B= ?b/2 C=v/3$", seen(mta))
    mta:close()
  end)

  it("end with the abort, or the broken packet, that comes after them", function()
    local script = [[
      local milter = require "moonmilter"
      local count = 0
      function on_header(ctx) count = count + 1 end
      function on_abort(ctx, stage, why) milter.log.info("aborted after " .. count .. " at " .. stage .. " " .. why) end]]
    local mta = send({ script = script }, { field "A", field "B", packet "A" })
    assert.matches("aborted after 2 at header abort", mta:log_lines("script")[1])
    mta:close()
    mta = fake_mta.start { script = script }
    mta:connect()
    mta:helo()
    mta:mail()
    mta:rcpt()
    mta:data()
    assert.is_nil(mta:feed(field "A" .. field "B" .. packet("L", "no end") .. field "C"))
    assert.matches("header: ", mta.fault)
    assert.matches("aborted after 2 at header protocol", mta:log_lines("script")[1])
    mta:close()
  end)

  it("reach handlers of single fields, and those of all, in the order of scripts", function()
    local mta = send({ files = {
      ["a.lua"] = [[
        local seen = {}
        package.loaded.seen = seen
        on_header = {
          C = function(ctx, value, more) seen[#seen + 1] = "aC=" .. value .. tostring(more) .. #ctx.headers end,
          d = function(ctx, value)
            seen[#seen + 1] = "aD" .. select("#", value)
            assert(debug.getinfo(2, "S"), "no walk")
          end,
        }]],
      ["b.lua"] = [[
        local seen
        function on_header(ctx, name, value)
          seen = package.loaded.seen
          seen[#seen + 1] = "b" .. name
        end
        function on_eom(ctx) ctx:add_header("X-Seen", table.concat(seen, " ")) end]],
      ["c.lua"] = [[
        on_header = { E = function(ctx, value) package.loaded.seen[#package.loaded.seen + 1] = "cE" end }]],
    } }, FIVE)
    assert.equal("continue", mta:eoh().kind)
    assert.matches("^ ?bA bB aC=vnil3 bC aD1 bD bE cE$", seen(mta))
    assert.same({}, mta:log_lines "script_error")
    mta:close()
  end)

  it("pass over fields that no handler is for, up to the one that ends the message", function()
    local mta = send({ script = [[
      on_header = { E = function(ctx, value) return ctx:reject("no " .. #ctx.headers) end }]] }, FIVE)
    assert.equal("550 5.7.1 no 5", mta:eoh().text)
    mta:close()
  end)

  for declared, wanted in pairs { [""] = "nil nil nil", ["ctx"] = "table nil nil", ["ctx, name"] = "table E nil",
    ["ctx, name, value"] = "table E v" } do
    it(("come as on_header(%s) declares them"):format(declared), function()
      local mta = send({ script = ([[
        local last
        function on_header(%s) last = (type(ctx):gsub("userdata", "table")) .. " " .. tostring(name) .. " "
          .. tostring(value) end
        function on_eom(ctx) ctx:add_header("X-Seen", last) end]]):format(declared) }, FIVE)
      mta:eoh()
      assert.matches("^ ?" .. wanted .. "$", seen(mta))
      mta:close()
    end)
  end

  -- Compiled, fields come through ffi; when the handler cannot be compiled, by a C function after a while.
  for kind, work in pairs { ["LuaJIT compiles"] = "", ["calls C functions"] = 'value = value:gsub("v", "v")',
    ["LuaJIT does not compile"] = "local fs = {} for w in value:gmatch '.' do fs[#fs + 1] = function() return w end end"
  } do
    it(("are all seen, once and in order, by a handler that %s, for as long as it runs"):format(kind), function()
      local mta = fake_mta.start { script = ([[
        local count, sum = 0, 0
        function on_header(ctx, name, value)
          %s
          count = count + 1
          sum = (sum * 31 + name:byte() + #value + #ctx.headers) %% 1000003
        end
        function on_eom(ctx) ctx:add_header("X-Seen", count .. " " .. sum) end]]):format(work) }
      mta:begin()
      local count, sum = 0, 0
      for _ = 1, 400 do
        send_header(mta, FIVE)
        mta:eoh()
        for at, name in ipairs { "A", "B", "C", "D", "E" } do
          count = count + 1
          sum = (sum * 31 + name:byte() + 1 + at) % 1000003
        end
        assert.matches("^ ?" .. count .. " " .. sum .. "$", seen(mta))
      end
      mta:close()
    end)
  end

  for how, work in pairs { ["return"] = "", ["raise now and then"] = "if count % 37 == 0 then error 'now' end",
    ["wait now and then"] = "if count % 37 == 0 then require 'moonmilter'.sleep(0) end",
    ["cannot be compiled"] = "local fs = {} for i = 1, 2 do fs[i] = function() return i end end" } do
    it("have each its own name, however many there are, in handlers that " .. how, function()
      local mta = fake_mta.start { script = ([[
        local count, wrong = 0, {}
        function on_header(ctx, name, value)
          count = count + 1
          if name ~= value then wrong[#wrong + 1] = name .. "/" .. value end
          %s
        end
        function on_eom(ctx) ctx:add_header("X-Seen", count .. " " .. #wrong .. " " .. tostring(wrong[1])) end]])
        :format(work) }
      mta:begin()
      local random, sent = 1, 0
      for message = 1, 300 do
        local list = {}
        for i = 1, 10 do
          random = (random * 16807) % 2147483647
          local name = i <= 5 and ("Name-%d"):format(i) or ("N%d%s"):format(random % 300, ("x"):rep(random % 34))
          list[i] = field(name, name)
        end
        send_header(mta, list)
        sent = sent + (mta:eoh().kind == "continue" and 10 or 0)
        if message % 50 == 0 then
          send_header(mta, { field("Last", "Last") })
          mta:eoh()
          local count, wrong, first = seen(mta):match "(%d+) (%d+) (.*)$"
          assert.equal("0 nil", wrong .. " " .. first)
          assert.truthy(tonumber(count) >= sent)
        end
      end
      mta:close()
    end)
  end

  it("are one loop with one way through it when LuaJIT has compiled their handler", function()
    local mta = fake_mta.start { script = [[
      local util, begun, loops, ways = require "jit.util", {}, 0, 0
      jit.attach(function(what, trace, func)
        if what == "start" then begun[trace] = func end
        local source = what == "stop" and util.funcinfo(begun[trace]).source
        if not source or not source:find "runtime.entry" then return end
        local ends = util.traceinfo(trace).linktype
        if ends == "loop" then loops = loops + 1 end
        if ends == "root" then ways = ways + 1 end -- enters the loop from its beginning at each field
      end, "trace")
      local count = 0
      function on_header(ctx, name, value) count = count + #name + #value end
      function on_eom(ctx) ctx:add_header("X-Seen", loops .. " " .. ways) end]] }
    mta:begin()
    local list = {}
    for i = 1, 20 do list[i] = field("Name-" .. i, ("v"):rep(i)) end
    for _ = 1, 300 do
      send_header(mta, list)
      mta:eoh()
    end
    local loops, ways = seen(mta):match "(%d+) (%d+)$"
    assert.truthy(tonumber(loops) >= 1)
    assert.equal("0", ways)
    mta:close()
  end)

  it("cost a script that calls the host's own functions no more than its own fields", function()
    local mta = send({ script = SEEN:format [[
      local of = {}
      for i = 1, 9 do
        local name, value = debug.getupvalue(debug.getinfo(2, "f").func, i)
        if name then of[name] = value end
      end
      if of.further then pcall(of.further, of.generation) pcall(of.further, of.generation) end
      if of.push_further then pcall(of.push_further) end]] }, FIVE)
    mta:eoh()
    mta:eom()
    assert.truthy(mta:message().kind)
    mta:close()
  end)
end)
