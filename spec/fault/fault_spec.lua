-- Injected faults: exhausted memory, sockets that give a byte, a collector that never rests, many sessions at once.
local seal = require "moonmilter.seal"
local testing = require "moonmilter.testing"

local process = require "spec.support.process"

local moonmilter = os.getenv "MOONMILTER" or "build/moonmilter"
local build = moonmilter:match "^(.*)/moonmilter$"
local sanitized = build:find("asan", 1, true) ~= nil

local function run(command)
  local pipe = io.popen(command .. " 2>&1; echo \"status $?\"")
  local text = pipe:read "*a"
  pipe:close()
  local output, status = text:match "^(.*)status (%d+)\n$"
  return tonumber(status), output
end

local function directory()
  local path = os.tmpname()
  os.remove(path)
  os.execute("mkdir " .. path .. "; chmod 755 " .. path)
  finally(function() os.execute("rm -rf " .. path) end)
  return path
end

local EDITS = [[
  function on_connect(ctx, host, address) end function on_helo(ctx, name) end function on_mail(ctx, sender, params) end
  function on_rcpt(ctx, recipient, params) end function on_data(ctx) end
  function on_header(ctx, name, value) end function on_eoh() end function on_body(ctx, chunk) end
  function on_eom(ctx)
    ctx:change_from("new@example.org")
    ctx:add_recipient("eve@example.com")
    ctx:add_header("X-Added", ("x"):rep(900))
    ctx:change_header("Subject", 1, "new")
    ctx:replace_body(("line\n"):rep(3000))
    ctx:quarantine("why")
  end
  function on_done(ctx, result) end function on_abort(ctx) end
  function on_close(ctx) collectgarbage() end -- interned strings are made again
]]

-- The same with everything that waits and holds a resource meanwhile.
local WAITS = [[
  jit.off() -- LuaJIT 2.1 itself crashes now and then when memory is exhausted in compiled code (host/task/memory.c, b)
  local milter = require "moonmilter"
  local process = require "moonmilter.process"
  function on_connect(ctx, host, address)
    ctx.session.lookup = milter.spawn(function(name) milter.sleep(3) return name .. "!" end, address)
  end
  function on_helo(ctx, name) milter.sleep(0.5) end
  function on_mail(ctx, sender, params)
    ctx:body { max_size = 200000, max_memory = 1000 }
    milter.at_end(function() ctx.session.ended = (ctx.session.ended or 0) + 1 end)
    ctx.message.size = params.SIZE
  end
  function on_rcpt(ctx, recipient) ctx.message[recipient] = ctx.session.lookup:wait(10) end
  on_header = { Subject = function(ctx, value) ctx.message.subject = value milter.sleep(0.1) end }
  function on_eom(ctx)
    local first = milter.any { milter.spawn(milter.sleep, 1), milter.spawn(milter.sleep, 100) }
    pcall(milter.timeout, 1, milter.sleep, 50)
    coroutine.wrap(function() milter.sleep(1) end)()
    ctx:change_from("new@example.org")
    ctx:add_header("X-Added", ctx.message.subject .. #ctx:body():string() .. ctx.recipients[2].address .. ctx:macro "i")
    ctx:change_header("Subject", 1, "new")
    ctx:replace_body(("line\n"):rep(3000))
    for _, field in ipairs(ctx.headers) do assert(field.value) end
  end
  function on_done(ctx, result) milter.sleep(1) end
  function on_abort(ctx) milter.sleep(1) end
  function on_close(ctx) milter.spawn(milter.sleep, 100) end
]]

-- The host signs after the last handler: a message whose signature fails must not leave unsigned.
local SIGNS = ([[
  jit.off()
  local keys = require("moonmilter.identity.keys").new {
    ["example.org"] = { selector = "e", key = %q }, ["example.com"] = { selector = "e", key = %q },
  }
  require "moonmilter.identity.signing"
  function on_mail(ctx) ctx:sign(keys, { domain = "example.org", canonicalization = "simple/simple" }) end
  function on_eoh(ctx) ctx:sign(keys, { domain = "example.com" }) end
  function on_eom(ctx) ctx:add_header("X-Added", ("x"):rep(900)) end
]]):format(seal.new_key "ed25519", seal.new_key "ed25519")

describe("memory that runs out at the n-th allocation", function()
  local where, program

  setup(function()
    where = os.tmpname()
    os.remove(where)
    os.execute("mkdir " .. where)
    program = where .. "/allocation"
    local wraps = ""
    for _, name in ipairs { "malloc", "calloc", "realloc", "reallocarray", "strdup", "strndup", "luaL_newstate",
      "lua_newstate" } do
      wraps = wraps .. " -Wl,--wrap=" .. name
    end
    local status, output = run(("cc -std=c11 -D_GNU_SOURCE -O1 -g -no-pie %s %s -Ihost $(pkg-config --cflags "
      .. "luajit) -o %s spec/fault/allocation.c %s/test/library.a $(make -s libs)"):format(
      sanitized and "-fsanitize=address,undefined" or "", wraps, program, build))
    assert.equal(0, status, output)
  end)
  teardown(function() os.execute("rm -rf " .. where) end)

  for _, whose in ipairs { "host", "lua" } do
    for _, case in ipairs { { "edits", "jit.off() " .. EDITS, "e+mhbqc", 5 }, { "waits", WAITS, "emhbc", 20 },
      { "signs", SIGNS, "hiic", 20 } } do
      it(("is a temporary failure or a closed connection, never half an edit: %s, %s"):format(whose, case[1]),
        function()
        local script = process.write_file(("%s/%s.lua"):format(where, case[1]), case[2])
        local status, output = run(("env -u LD_PRELOAD %s %s %s %s"):format(program, whose, script, case[3]))
        assert.equal(0, status, output)
        local failed = output:match "(%d+) sessions with a failure each, %d+ refusals, 0 wrong, before 0 and afterwards 0 refused"
        assert.is_true(failed ~= nil and tonumber(failed) > case[4], output)
      end)
    end
  end
end)

describe("sockets that give and take one byte", function()
  it("change only the time it takes", function()
    local already = os.getenv "LD_PRELOAD" or ""        -- a sanitizer
    local where = directory()
    assert.equal(0, (run(("cc -shared -fPIC -O1 -D_GNU_SOURCE -o %s/one_byte.so "
      .. "spec/fault/one_byte.c -ldl"):format(where))))
    local script = process.write_file(where .. "/edits.lua", EDITS)
    local eml = process.write_file(where .. "/m.eml", "From: a@example.org\nTo: b@example.com\nSubject: x\n\n"
      .. ("body line\n"):rep(200))
    local outputs = {}
    for _, preload in ipairs { "", ("LD_PRELOAD=%s:%s/one_byte.so"):format(already, where) } do
      local socket = ("%s/%d.sock"):format(where, #outputs)
      local pid = io.popen(("%s %s run -s unix:%s %s >%s/log 2>&1 & echo $!"):format(preload, moonmilter, socket,
        script, where)):read "*n"
      for _ = 1, 100 do
        if os.execute("test -S " .. socket) == 0 then
          break
        end
        os.execute "sleep 0.05"
      end
      local status, output = run(("%s %s send --to unix:%s --repeat 3 %s"):format(preload, moonmilter, socket, eml))
      os.execute(("kill %d; while kill -0 %d 2>/dev/null; do sleep 0.02; done"):format(pid, pid))
      assert.equal(0, status, output)
      outputs[#outputs + 1] = output:gsub("%d%.sock", "sock")
    end
    assert.equal(outputs[1], outputs[2])
  end)
end)

describe("a collection at every line of Lua", function()
  local GC = [[ jit.off() jit.flush() debug.sethook(function() collectgarbage() end, "l") ]]
  local message = { headers = { { "From", "Ann <ann@example.org>" }, { "Subject", "hello" } }, body = "one\r\ntwo\r\n" }

  local function outcome(path, before)
    local file = assert(io.open(path))
    local source = file:read "*a"
    file:close()
    local mta = testing.start { files = { ["00-gc.lua"] = before, ["10-filter.lua"] = source } }
    local text = tostring(mta:message(message)) .. tostring(mta:message(message))
    mta:mail()
    mta:rcpt()
    mta:abort()
    mta:quit()
    local complaints = mta:complaints()
    mta:close()
    return text, complaints
  end

  for _, path in ipairs { "examples/tag-subject.lua", "examples/footer.lua", "examples/rcpt-count.lua",
    "examples/quarantine.lua", "examples/reject-header.lua", "examples/log-everything.lua", "scripts/10-hello.lua" } do
    it("finds no object that is used without a reference: " .. path, function()
      local text, complaints = outcome(path, GC)
      assert.equal((outcome(path, "")), text)
      assert.same({}, complaints)
    end)
  end

  it("holds while handlers wait", function()
    local mta = testing.start { files = { ["00-gc.lua"] = GC, ["10-wait.lua"] = [[
      local milter = require "moonmilter"
      function on_mail(ctx, sender) ctx.message.who = sender milter.sleep(1) assert(ctx.sender == sender) end
      function on_header(ctx, name, value) milter.sleep(0.5) ctx.message[name] = value end
      function on_eom(ctx) milter.sleep(2) ctx:add_header("X", ctx.message.who .. ctx.message.Subject .. #ctx.headers) end
    ]] } }
    finally(function() mta:close() end)
    for _ = 1, 3 do
      assert.equal("ann@example.orghello2", mta:message(message).message:get "X")
    end
    assert.same({}, mta:complaints())
  end)
end)

describe("a thousand sessions at once", function()
  local SCRIPT = [[
    local milter = require "moonmilter"
    local function check(ctx, what)
      if ctx.session.name ~= ctx.helo then error(what .. ": session " .. tostring(ctx.session.name) .. " is not " .. tostring(ctx.helo)) end
    end
    function on_helo(ctx, name) ctx.session.name = name milter.sleep(math.random() * 3) check(ctx, "helo") end
    function on_mail(ctx, sender)
      ctx.message.from = sender
      milter.sleep(math.random() * 3)
      check(ctx, "mail")
      assert(ctx.sender == sender and ctx.message.from == sender)
    end
    function on_rcpt(ctx, recipient)
      local mine = recipient
      milter.sleep(math.random() * 3)
      assert(ctx.recipients[#ctx.recipients].address == mine)
    end
    function on_header(ctx, name, value) local v = value milter.sleep(math.random()) assert(ctx.headers:get(name) == v) end
    function on_eom(ctx)
      local id = ctx.session.name
      milter.sleep(math.random() * 20)
      check(ctx, "eom")
      ctx:add_header("X-Id", table.concat({ id, ctx.helo, ctx.sender, ctx.recipients[1].address, ctx.headers:get "Subject", ctx:macro "tag" }, " "))
    end
  ]]

  it("never see each other's data", function()
    math.randomseed(1)
    local first = testing.start { script = SCRIPT, split = "whole" }
    finally(function() first:close() end)
    local count, routines, done = sanitized and 100 or 1000, {}, 0
    for i = 1, count do
      local id = "client" .. i
      local mta = first:another { macros = { tag = "tag" .. i } }
      mta.on_wait = coroutine.yield
      routines[i] = coroutine.create(function()
        mta:connect { host = id .. ".example" }
        mta:helo(id)
        for n = 1, 2 do
          local mark = i .. "-" .. n
          if math.random(10) == 1 then
            mta:mail("gone@example.org")
            mta:rcpt()
            mta:abort()
          end
          local result = mta:message { from = mark .. "@example.org", to = mark .. "@example.com",
            headers = { Subject = "s" .. mark } }
          assert(result.verdict == "accept", tostring(result))
          local expected = table.concat({ id, id, mark .. "@example.org", mark .. "@example.com", "s" .. mark,
            "tag" .. i }, " ")
          assert(result.message:get "X-Id" == expected, tostring(result) .. " instead of " .. expected)
          done = done + 1
        end
        mta:quit()
      end)
    end
    local alive = count
    while alive > 0 do
      alive = 0
      for i = 1, count do
        if coroutine.status(routines[i]) ~= "dead" then
          local ok, err = coroutine.resume(routines[i])
          assert.is_true(ok, err)
          alive = alive + 1
        end
      end
      for _ = 1, 50 do -- in each, the waits of some handlers end
        first.owner:turn(0.5)
      end
    end
    assert.equal(2 * count, done)
    assert.same({}, first:complaints())
  end)
end)
