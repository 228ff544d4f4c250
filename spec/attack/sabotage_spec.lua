-- Scripts are trusted code, but a mistake of theirs, even one through the debug library, must not end the worker, fail
-- other sessions in silence or print memory into the log. What a script breaks for itself fails with an error that
-- names the script.
local fake_mta = require "spec.support.fake_mta"

local HEADERS = { { "Subject", "one" }, { "To", "ann@x.example" } }

local function start(script, set)
  local host = assert(fake_mta.host { files = { ["script.lua"] = script }, set = set })
  finally(function() host:close() end)
  local function session()
    local mta = fake_mta.start { host = host }
    finally(function() mta:close() end)
    mta:begin()
    return mta
  end
  return host, session
end

-- The log is text: no byte of a stack in it.
local function check_log(host)
  local log = host:log()
  assert.falsy(log:find "[^\32-\126\n\t]", log)
  assert.falsy(log:find("(null)", 1, true), log)
end

-- Sabotage in the first message, then further ones of the same and of another session: all are served as before.
local function harmless(sabotage, options)
  options = options or {}
  local host, session = start(([[
    local milter = require "moonmilter"
    local done
    local function sabotage(ctx)
      %s
    end
    function on_eom(ctx)
      if not done then done = true sabotage(ctx) end
      local task = milter.spawn(function() milter.sleep(0) return "yes" end)
      %s
      ctx:add_header("X-Seen", task:wait())
    end
  ]]):format(sabotage, options.plain and "local _ = ctx.headers"
    or "assert(ctx.headers:field('To'):addresses()[1].address == 'ann@x.example')"), options.set)
  local one = session()
  for i = 1, 3 do
    local mta = i < 3 and one or session()
    local reply = mta:message { headers = HEADERS, body = "x\r\n" }
    assert.equal("continue", reply.kind, host:log())
    assert.same({ { "add_header", "X-Seen", "yes" } }, reply.edits)
  end
  assert.same({}, host:log_lines "script_error")
  check_log(host)
  return host
end

-- A script's way to Lua's own registry, past the table that it gets for it.
local REGISTRY = "local registry = debug.getmetatable(debug.getregistry()).__index "

describe("Lua's registry", function()
  it("is not what a script gets: it can read, and empty, a table of its own", function()
    local host = harmless [[
      local registry = debug.getregistry()
      assert(registry._LOADED == package.loaded and registry == debug.getregistry())
      registry.mine = 1
      for key in pairs(registry) do registry[key] = nil end
    ]]
    assert.same({}, host:log_lines "registry")
  end)
  it("emptied all the same, it is put back before the next message, and the log says so once", function()
    local host, session = start([[
      function on_mail() if not done then done = true ]] .. REGISTRY .. [[
        for key in pairs(registry) do registry[key] = nil end collectgarbage()
      end end
      function on_eom(ctx) ctx:add_header("X-Seen", ctx.headers:field("To"):addresses()[1].address) end
    ]])
    local one, two = session(), session()
    one:message { headers = HEADERS } -- its own fault: LPeg may not know its patterns now
    for _, mta in ipairs { one, two } do
      assert.same({ { "add_header", "X-Seen", "ann@x.example" } }, mta:message({ headers = HEADERS }).edits)
    end
    local lines = host:log_lines "registry"
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find("a script has emptied Lua's registry", 1, true))
    check_log(host)
  end)
  it("emptied again and again, the log says so once", function()
    local host, session = start([[
      function on_eom(ctx)
        ]] .. REGISTRY .. [[
        for key in pairs(registry) do registry[key] = nil end
      end
    ]])
    local mta = session()
    for _ = 1, 5 do assert.equal("continue", mta:message().kind) end
    assert.equal(1, #host:log_lines "registry")
    check_log(host)
  end)
  it("holds nothing of the host's under numbers or addresses", function()
    for _, value in ipairs { "nil", "print", "{}", "io.stdout", "7" } do
      harmless(REGISTRY .. [[
        for key in pairs(registry) do
          if type(key) ~= "string" then registry[key] = ]] .. value .. [[ end
        end
        collectgarbage()
      ]])
    end
  end)
  it("emptied while a task waits and a body is kept, both end as they should", function()
    local host, session = start([[
      local milter = require "moonmilter"
      function on_mail(ctx)
        ctx:body { max_memory = 0 }
        ctx.message.task = milter.spawn(function() milter.sleep(0.05) return "late" end)
        milter.at_end(function() ctx.session.ended = (ctx.session.ended or 0) + 1 end)
      end
      function on_eoh(ctx) ]] .. REGISTRY .. [[ for key in pairs(registry) do registry[key] = nil end end
      function on_eom(ctx)
        ctx:add_header("X-Seen", ("%s %d %s"):format(ctx.message.task:wait(), ctx:body():size(), ctx.session.ended))
      end
    ]])
    local mta = session()
    for i = 1, 2 do
      local reply = mta:message { headers = HEADERS, body = "body\r\n" }
      assert.same({ { "add_header", "X-Seen", "late 6 " .. (i == 1 and "nil" or "1") } }, reply.edits)
    end
    assert.equal(1, #host:log_lines "registry")
  end)
end)

-- Every userdata of the host, and some of others; every function of the host that takes one.
-- LuaJIT's compiler takes it for granted that files and buffers keep their metatables, and crashes now and then when
-- they do not; the interpreter does not.
local FORGE = [==[
jit.off()
local core, codec, seal = require "moonmilter.core", require "moonmilter.codec", require "moonmilter.seal"
local milter = require "moonmilter"
local function things(ctx)
  local task = milter.spawn(function() end)
  local list = { ctx = ctx, task = task, tcp = core.socket.new(), udp = core.datagram.new(),
    decoder = codec.decoder "base64", encoder = codec.encoder "base64", converter = codec.converter "utf-8",
    re = core.re.new("a", "", 100), set = core.re.set({ "a", "b" }, "", 100), body = seal.body(), key = seal.public_key("ed25519", ("k"):rep(32)),
    nothing = newproxy(), proxy = newproxy(true), file = io.tmpfile(), buffer = require("string.buffer").new(),
    pattern = require("lpeg").P "a" }
  list.buffer:put(("\255"):rep(200))
  return list
end
local seen, functions = {}, {}
-- Those of Lua itself are not under test: some of LuaJIT's crash when they are called with nothing, and FFI can do
-- anything.
require "ffi" require "jit.util" require "string.buffer" require "lpeg"
for name, library in pairs(package.loaded) do
  if not name:find "^moonmilter" and type(library) == "table" then
    for _, fn in pairs(library) do seen[fn] = true end
  end
end
for _, value in ipairs { io.stdout, require("string.buffer").new(), require("lpeg").P(1), require("ffi").new "int[1]" } do
  local class = debug.getmetatable(value)
  for _, fn in pairs(type(class) == "table" and class or {}) do seen[fn] = true end
end
local function collect(value, depth)
  if type(value) == "function" and not seen[value] then
    seen[value] = true
    if debug.getinfo(value, "S").what == "C" then functions[#functions + 1] = value end
    for i = 1, 20 do
      local name, up = debug.getupvalue(value, i)
      if not name then break end
      if depth > 0 then collect(up, depth - 1) end
    end
  elseif type(value) == "table" and not seen[value] and depth > 0 then
    seen[value] = true
    for _, inner in pairs(value) do collect(inner, depth - 1) end
  end
end
local function all_functions(ctx)
  local all = things(ctx)
  collect(core, 4)
  collect(codec, 4)
  collect(seal, 4)
  for _, name in ipairs { "ctx", "task", "tcp", "udp", "decoder", "encoder", "converter", "body", "key", "re", "set" } do
    collect(debug.getmetatable(all[name]), 5)
  end
  for i = #functions, 1, -1 do
    if functions[i] == core.sleep or functions[i] == core.timer_sleep then table.remove(functions, i) end
  end
  return functions
end
]==]

describe("a userdata", function()
  it("is known by what is written in it, not by the metatable that the debug library gives it", function()
    local host, session = start(FORGE .. [[
      function on_eom(ctx)
        local others, count, tried = things(ctx), 0, all_functions(ctx)
        local classes = {}
        for name, thing in pairs(others) do classes[name] = debug.getmetatable(thing) end
        for name, thing in pairs(things(ctx)) do
          if thing ~= ctx then
            for of, class in pairs(classes) do
              if of ~= name and of ~= "file" and of ~= "buffer" and of ~= "pattern" then
                debug.setmetatable(thing, class)
                pcall(tostring, thing)
                pcall(function() return thing.sender end)
                pcall(function() return thing:close() end)
                for _, fn in ipairs(tried) do
                  count = count + 1
                  pcall(fn, thing, "x", 1, 2)
                end
              end
            end
            debug.setmetatable(thing, classes[name])
          end
        end
        collectgarbage() collectgarbage()
        ctx:add_header("X-Tried", count > 2000 and "many" or tostring(count))
      end
    ]])
    local mta = session()
    for _ = 1, 2 do
      local reply = mta:message { headers = HEADERS }
      assert.truthy(reply.kind == "continue" or reply.kind == "tempfail" or reply.kind == "reject", reply.text)
    end
    check_log(host)
  end)
  it("without its metatable leaves nothing behind that its owner's end could stumble over", function()
    harmless [[
      local core = require "moonmilter.core"
      for _ = 1, 20 do
        debug.setmetatable(core.socket.new(), nil)
        debug.setmetatable(core.datagram.new(), nil)
        debug.setmetatable(require("moonmilter.codec").converter "latin1", nil)
        debug.setmetatable(milter.spawn(function() end), nil)
      end
      collectgarbage() collectgarbage()
    ]]
  end)
  it("that is no body's file is not called when the message ends", function()
    for _, thing in ipairs { "newproxy(true)", "io.stdout", "5", "{ close = function() error 'called' end }",
      "setmetatable({}, { __index = function() while true do end end })" } do
      local host, session = start(([[
        function on_mail(ctx) ctx:body { max_memory = 0 } end
        function on_done(ctx) done = true end
        function on_eom(ctx)
          local kept = ctx:body()
          kept.file = %s
          local function endless() while true do end end
          setmetatable(kept, { __index = endless, __newindex = endless })
        end
      ]]):format(thing))
      local mta = session()
      for _ = 1, 2 do assert.equal("continue", mta:message({ body = "x\r\n" }).kind, host:log()) end
      check_log(host)
    end
  end)
end)

describe("what C code has kept in a closure", function()
  teardown(function() os.remove "base64" end) -- one of the functions appends to a file

  it("is checked when a script has put something else there", function()
    for _, value in ipairs { "newproxy(true)", "io.stdout", "nil", "7", "{}" } do
      local host, session = start(FORGE .. ([[
        function on_eom(ctx)
          if done then return ctx:reject(550, "5.7.1", "still here") end
          done = true
          local list = all_functions(ctx)
          for _, fn in ipairs(list) do
            for i = 1, 3 do pcall(debug.setupvalue, fn, i, %s) end
          end
          for _, thing in pairs(things(ctx)) do for _, fn in ipairs(list) do pcall(fn, thing, "x", 1, 2) end end
          for _, fn in ipairs(list) do pcall(fn, "base64", "x") pcall(fn) end
          collectgarbage()
        end
      ]]):format(value))
      local mta = session()
      mta:message { headers = HEADERS }
      local reply = mta:message { headers = HEADERS }
      assert.truthy(reply.kind ~= "none", host:log())
      check_log(host)
    end
  end)
  it("nor does the host's doorway call what a script hands it", function()
    harmless(FORGE:gsub("local milter[^\n]*", "") .. [[
      local found = {}
      debug.sethook(function()
        for level = 2, 6 do
          local frame = debug.getinfo(level, "f")
          if frame then found[frame.func] = true end
          for i = 1, frame and 5 or 0 do
            local name, up = debug.getupvalue(frame.func, i)
            if name and type(up) == "function" then found[up] = true end
          end
        end
      end, "cr")
      milter.spawn(function() end):wait()
      local t = milter.spawn(function() milter.sleep(0) end)
      t:wait()
      debug.sethook()
      for fn in pairs(found) do
        local frame = debug.getinfo(fn, "S")
        if frame.what == "C" and not seen[fn] then
          pcall(fn, io.stdout)
          pcall(fn, newproxy(true), newproxy(true))
        end
      end
    ]])
  end)
  it("nor is a row of ctx's members that a script has made", function()
    harmless([[
      local index = debug.getmetatable(ctx).__index
      for i = 1, 4 do
        local _, members = debug.getupvalue(index, i)
        if type(members) == "table" then
          for _, value in ipairs { io.stdout, newproxy(true) } do
            members.invented = value
            pcall(function() return ctx.invented end)
            members.invented = nil
          end
        end
      end
    ]])
  end)
end)

describe("what all scripts of a generation share", function()
  local cases = {
    ["a stopped collector"] = "collectgarbage 'stop' for i = 1, 3e5 do local _ = { i } end",
    ["the compiler off, on, and flushed"] = "jit.off() jit.off(true, true) jit.on() jit.flush()",
    ["event handlers of the compiler"] =
      "jit.attach(function() end, 'bc') loadstring 'return 1' jit.attach(function() end, 'trace')",
    ["a hook at every line"] = "debug.sethook(function() end, 'crl', 1)",
    ["a hook that raises"] = [[pcall(function()
        debug.sethook(function() debug.sethook() error 'hook' end, 'l')
        local _ = 1
      end)]],
    ["metatables of nil, numbers and functions"] = [[
      for _, value in ipairs { 1, print, coroutine.create(print), true } do
        debug.setmetatable(value, { __index = function() return nil end })
      end
      debug.setmetatable(nil, { __index = function() return nil end })]],
    ["an emptied package.loaded"] = "for name in pairs(package.loaded) do package.loaded[name] = nil end",
    ["no package.loaders"] = "package.loaders = {} package.preload = {} package.path = nil",
    ["another environment for functions of the runtime"] = [[
      for _, name in ipairs { "log", "timer", "dns", "socket" } do
        for _, fn in pairs(require("moonmilter." .. name)) do
          if type(fn) == "function" then pcall(setfenv, fn, {}) end
        end
      end
      setfenv(0, {})]],
    ["os.exit"] = "local ok, why = pcall(os.exit, 3) assert(not ok and why:find 'a script cannot end the host', why)",
  }
  for name, sabotage in pairs(cases) do
    it("changed by a script, " .. name .. ", ends no worker and no later message", function()
      harmless(sabotage, { plain = true })
    end)
  end

  local loud = {
    ["the string library"] = "for name in pairs(string) do string[name] = nil end",
    ["the metatable of strings"] = "debug.setmetatable('', nil)",
    ["the globals"] = "local g = getfenv(0) for name in pairs(g) do if name ~= '_G' then g[name] = nil end end",
    ["the metatable of ctx"] = "debug.getmetatable(ctx).__index = nil",
    ["the runtime's own upvalues"] = [[
      for i = 1, 9 do debug.setupvalue(require("moonmilter").spawn, i, 7) end]],
    ["the class of headers"] = "local class = getmetatable(ctx.headers) for k in pairs(class) do class[k] = 7 end",
  }
  for name, sabotage in pairs(loud) do
    it("destroyed by a script, " .. name .. ": each message that needs it is a tempfail with its line", function()
      local host, session = start(([[
        local milter = require "moonmilter"
        function on_eom(ctx)
          if not done then done = true %s return end
          local text = ("%%s %%s"):format(ctx.headers:get "Subject", tostring(ctx.sender))
          milter.spawn(function() return text end):wait()
        end
      ]]):format(sabotage))
      local mta = session()
      mta:message { headers = HEADERS }
      local failed = 0
      for _ = 1, 3 do
        local reply = mta:message { headers = HEADERS }
        failed = failed + (reply.kind == "tempfail" and 1 or 0)
        if reply.kind == "tempfail" then assert.truthy(reply.text:find "^451 4.3.0", reply.text) end
      end
      assert.equal(failed, #host:log_lines "script_error")
      assert.is_true(failed > 0, host:log())
      check_log(host)
    end)
  end
end)
