--- A shadow: the scripts that come next see the same mail, and change nothing (docs/shadow.md).
local cjson = require "cjson"
local lfs = require "lfs"

local host = require "spec.support.host"
local process = require "spec.support.process"

local LIVE = [[
function on_rcpt(ctx, recipient)
  if recipient:find "closed" then return ctx:reject(550, "5.1.1", "closed") end
end
function on_eom(ctx)
  ctx:add_header("X-Live", "yes")
  if ctx.sender:find "spam" then return ctx:reject(550, "5.7.1", "spam") end
end]]

-- Would change everything, and reach everybody.
local WILD = [[
local milter = require "moonmilter"
local http, process, redis = require "moonmilter.http", require "moonmilter.process", require "moonmilter.redis"
local socket, store, limit = require "moonmilter.socket", require "moonmilter.store", require "moonmilter.limit"
local log = require "moonmilter.log"
local settings, seen = nil, store.open "seen"
local sink = require("moonmilter.event").sink { to = "file:/nonexistent/never", name = "wild" }
local rate = limit.new { name = "mails", rate = "1/d" }
function on_load(host) settings = host.settings end
function on_mail(ctx) ctx:change_from "evil@example.org" end
function on_rcpt(ctx) ctx:delete_recipient(ctx.recipient) end
function on_body(ctx) end
local function codes(...)
  local list = {}
  for i = 1, select("#", ...) do list[i] = tostring((select(i, ...))) end
  log.info("refused: %s", table.concat(list, " "))
end
function on_eom(ctx)
  local port = settings.port
  codes((select(3, http.request { url = "http://127.0.0.1:" .. port .. "/post", method = "POST", body = "x" })),
    (select(3, process.run { argv = { "touch", settings.file } })),
    (select(3, redis.new { port = port }:set("a", "b"))),
    (select(3, socket.connect { host = "127.0.0.1", port = port })),
    (select(3, socket.tcp():connect("127.0.0.1", port))),
    (select(3, io.open(settings.file, "w"))),
    (select(3, os.execute("touch " .. settings.file))),
    (select(3, os.rename(settings.file, settings.file .. "2"))))
  log.info("event: %s, sent %d", type(sink:put { a = 1 }), sink:info().sent)
  seen:set("by", "shadow")
  rate:take "all"
  log.info("is a shadow: %s of %s", tostring(milter.shadow), ctx.host.name)
  ctx:add_header("X-Wild", "yes")
  ctx:add_recipient "everybody@example.org"
  ctx:replace_body "changed\r\n"
  ctx:quarantine "because"
end]]

local function conversation(h)
  local replies = {}
  for i, sender in ipairs { "ann@one.example", "spam@one.example", "eve@one.example" } do
    local mta = assert(h:connect())
    local function note(reply)
      replies[#replies + 1] = reply.kind .. " " .. (reply.text or "") .. table.concat(reply.edits, "|")
    end
    note(mta:greet())
    note(mta:helo())
    note(mta:mail(sender, "4Q" .. i))
    note(mta:rcpt "closed@two.example")
    note(mta:rcpt())
    note(mta:data())
    note(mta:header("Subject", "x"))
    note(mta:eoh())
    note(mta:body())
    note(mta:eom())
    mta:abort()
    mta:quit()
  end
  return replies
end

-- options: live, next (sources by file name), and those of host.start.
local function start(options)
  local directory = process.directory() .. "-next"
  assert(lfs.mkdir(directory))
  process.run("chown nobody " .. directory .. " 2>/dev/null || true")
  for name, source in pairs(options.next or {}) do process.write_file(directory .. "/" .. name, source) end
  local arguments = { "--shadow=" .. directory }
  for _, word in ipairs(options.arguments or {}) do arguments[#arguments + 1] = word end
  local h = host.start { workers = options.workers, scripts = { ["10-live.lua"] = options.live or LIVE },
    arguments = arguments }
  h.next = directory
  return h
end

local function stop(h)
  h:stop()
  process.run("rm -rf " .. h.next)
end

local function shown(h)
  local all = cjson.decode((h:ctl("shadow", "--json", "--count", "64")))
  return all.shadows[1], all.examples
end

local function wait_compared(h, count)
  local row
  process.wait_until(20, function()
    row = shown(h)
    return row.compared + row.unseen >= count
  end, "messages compared")
  return row
end

local function message(h, sender, id)
  local mta = assert(h:connect())
  for _, reply in ipairs { mta:greet(), mta:helo(), mta:mail(sender, id), mta:rcpt(), mta:data(),
    mta:header("Subject", "x"), mta:eoh(), mta:body() } do
    if reply.kind ~= "continue" then
      mta:quit()
      return reply
    end
  end
  local reply = mta:eom()
  mta:abort()
  mta:quit()
  return reply
end

for _, workers in ipairs { 0, 2 } do
  describe(("a shadow, workers=%d,"):format(workers), function()
    local h
    after_each(function()
      if h then stop(h) end
      h = nil
    end)

    it("changes no byte of what the MTA gets, and has no effect", function()
      local alone = host.start { workers = workers, scripts = { ["10-live.lua"] = LIVE } }
      local expected = conversation(alone)
      alone:stop()
      local listener = require("socket").bind("127.0.0.1", 0)
      local _, port = listener:getsockname()
      local file = os.tmpname()
      os.remove(file)
      h = start { workers = workers, next = { ["10-wild.lua"] = WILD },
        arguments = { ("--settings={ port = %d, file = %q }"):format(port, file) } }
      assert.same(expected, conversation(h))
      local row = wait_compared(h, 3)
      assert.equal(3, row.compared)
      assert.equal(0, row.agree)
      h:wait_log "refused: shadow shadow shadow shadow shadow shadow shadow shadow"
      h:wait_log "is a shadow: true of default"
      h:wait_log "event: string, sent 0"
      listener:settimeout(0)
      assert.is_nil((listener:accept()))
      listener:close()
      assert.is_nil(lfs.attributes(file))
      local _, status = h:ctl("store", "stat", "seen")
      assert.not_equal(0, status) -- the milter has no such store
      assert.matches("key=by .*value=.?shadow", (h:ctl("store", "get", "default.shadow+seen", "by")))
      assert.matches("key=mails:all", (h:ctl("limit", "show", "default.shadow+mails")))
    end)

    it("is compared by kind, with examples, and explained", function()
      h = start { workers = workers, next = { ["10-next.lua"] = [[
function on_rcpt(ctx, recipient)
  if recipient:find "bob" and ctx.sender:find "nobob" then return ctx:reject(550, "5.1.1", "no bob") end
end
function on_eom(ctx)
  ctx:add_header("X-Live", ctx.sender:find "other" and "no" or "yes")
  if ctx.sender:find "spam" then return ctx:reject(550, "5.7.1", "junk") end
  if ctx.sender:find "strict" then return ctx:tempfail(451, "4.7.1", "later") end
  if ctx.sender:find "held" then ctx:quarantine "look" end
  if ctx.sender:find "raises" then error "broken on purpose" end
end]] } }
      for i, sender in ipairs { "same", "other", "spam", "strict", "held", "raises", "nobob" } do
        message(h, sender .. "@one.example", "4Q" .. i)
      end
      wait_compared(h, 7)
      local row, examples = shown(h)
      assert.equal(7, row.compared)
      assert.equal(1, row.agree)
      assert.equal(6, row.differ)
      local kinds = {}
      for _, example in ipairs(examples) do kinds[example.from] = table.concat(example.kinds, ",") end
      assert.same({ ["<other@one.example>"] = "headers", ["<spam@one.example>"] = "reply",
        ["<strict@one.example>"] = "verdict", ["<held@one.example>"] = "quarantine",
        ["<raises@one.example>"] = "error", ["<nobob@one.example>"] = "refused" }, kinds)
      local text = h:ctl("explain", "4Q4")
      assert.matches("its shadow differs:\n", text)
      assert.matches("live +continue", text)
      assert.matches('shadow tempfail "451 4%.7%.1 later" by 10%-next%.lua:7', text)
      assert.matches('moonmilter_shadow_messages_total{milter="default",result="verdict"} 1\n', (h:ctl "metrics"))
      assert.matches('result="agree"} 1\n', (h:ctl "metrics"))
    end)

    it("never keeps the live scripts from loading", function()
      h = start { workers = workers, next = { ["10-next.lua"] = "function on_eom(" } }
      local text = h:ctl "shadow"
      assert.matches("shadow failed", text)
      assert.matches("10%-next%.lua:1", text)
      assert.equal("continue", message(h, "ann@one.example", "4Q1").kind)
      process.write_file(h.next .. "/10-next.lua", LIVE)
      assert.equal(0, (select(2, h:ctl "reload")))
      message(h, "ann@one.example", "4Q2")
      assert.equal(1, wait_compared(h, 1).agree)
      process.write_file(h.next .. "/10-next.lua", "error 'no'")
      assert.equal(0, (select(2, h:ctl "reload")))
      assert.matches("shadow failed", (h:ctl "shadow"))
    end)

    it("may be slow, stuck or too large: live mail does not wait", function()
      h = start { workers = workers, arguments = { "--stage_deadline=3", "--eom_deadline=3", "--cpu_slice=0.2",
        "--memory_hard=64M", "--memory_soft=32M" }, next = { ["10-next.lua"] = [[
local milter = require "moonmilter"
function on_eom(ctx)
  ctx:add_header("X-Live", "yes")
  if ctx.sender:find "waits" then milter.sleep(1) end
  if ctx.sender:find "hangs" then milter.sleep(60) end
  if ctx.sender:find "spins" then while true do end end
  if ctx.sender:find "eats" then
    local t = {}
    while true do t[#t + 1] = ("x"):rep(100000) .. #t end
  end
end]] } }
      local began = require("socket").gettime()
      for i, sender in ipairs { "waits", "hangs", "spins", "eats", "fine" } do
        assert.equal("continue", message(h, sender .. "@one.example", "4Q" .. i).kind)
      end
      assert.is_true(require("socket").gettime() - began < 10)
      local row = wait_compared(h, 5)
      assert.equal(2, row.agree)
      assert.equal(3, row.kinds.error)
      assert.equal(0, tonumber((h:ctl "status"):match "worker_deaths=(%d+)"))
      assert.equal(0, tonumber((h:ctl "status"):match "script_errors=(%d+)"))
    end)

    it("is switched off and on", function()
      h = start { workers = workers, next = { ["10-next.lua"] = LIVE } }
      message(h, "ann@one.example", "4Q1")
      wait_compared(h, 1)
      assert.equal(0, (select(2, h:ctl("shadow", "off"))))
      message(h, "ann@one.example", "4Q2")
      assert.equal(0, (select(2, h:ctl("shadow", "on", "default"))))
      message(h, "ann@one.example", "4Q3")
      wait_compared(h, 2)
      local row = shown(h)
      assert.equal(2, row.compared)
      assert.equal(69, (select(2, h:ctl("shadow", "off", "nosuch"))))
      assert.equal(64, (select(2, h:ctl("shadow", "maybe"))))
    end)

    it("sees messages that follow each other, packets that come together, aborts and refused clients", function()
      h = start { workers = workers, next = { ["10-next.lua"] = [[
local milter = require "moonmilter"
function on_connect(ctx) milter.sleep(0.05) end
function on_helo(ctx, name) if name == "bad.example" then return ctx:reject(550, "5.7.1", "bad name") end end
function on_mail(ctx) milter.sleep(0.05) end
function on_eom(ctx)
  milter.sleep(0.1)
  ctx:add_header("X-Live", "yes")
end]] } }
      local mta = assert(h:connect())
      local packet = require("spec.support.mta_client").packet
      mta:greet()
      mta:helo()
      for i = 1, 3 do
        mta:macros("M", { i = "4Q" .. i })
        mta.socket:send(packet("M", "<ann@one.example>\0") .. packet("R", "<bob@two.example>\0") .. packet "T"
          .. packet("L", "Subject\0x\0") .. packet "N" .. packet("B", "text\r\n") .. packet "E" .. packet "A")
        for _ = 1, 7 do assert.equal("continue", mta:reply().kind) end
      end
      mta:mail("ann@one.example", "4Q4")
      mta:abort()
      mta:quit()
      local row = wait_compared(h, 3)
      assert.same({ 3, 3 }, { row.compared, row.agree })
      mta = assert(h:connect())
      mta:greet()
      mta:command("H", "bad.example\0")
      mta:quit()
      row = wait_compared(h, 4)
      assert.equal(1, row.kinds.verdict)
    end)

    it("follows a reload while messages are open", function()
      h = start { workers = workers, next = { ["10-next.lua"] = LIVE } }
      local mta = assert(h:connect())
      mta:envelope "rcpt"
      assert.equal(0, (select(2, h:ctl "reload")))
      assert.equal("continue", mta:envelope("eom").kind)
      mta:quit()
      message(h, "ann@one.example", "4Q2")
      local row = wait_compared(h, 1)
      assert.equal(row.compared, row.agree)
    end)

    it("gives a share of the clients to the scripts that come next, always the same ones", function()
      h = start { workers = workers, live = [[function on_eom(ctx) ctx:add_header("X-By", "live") end]],
        next = { ["10-next.lua"] = [[
local store = require "moonmilter.store"
local seen = store.open "seen"
function on_eom(ctx)
  if not require "moonmilter".shadow then seen:set("by", "canary") end
  ctx:add_header("X-By", "next")
end]] }, arguments = { "--share=30%" } }
      local function by(last)
        local mta = assert(h:connect())
        mta:command("C", "client.example\0" .. "4" .. "\4\1" .. "192.0.2." .. last .. "\0")
        mta:helo()
        mta.has_greeted = true
        local reply = mta:envelope "eom"
        mta:quit()
        return reply.edits[1]:match "X%-By%z?[ ]?(%l+)"
      end
      local first, canaries = {}, 0
      for i = 1, 40 do
        first[i] = by(i)
        canaries = canaries + (first[i] == "next" and 1 or 0)
      end
      assert.is_true(canaries > 3 and canaries < 25, canaries .. " of 40")
      for i = 1, 40 do assert.equal(first[i], by(i)) end
      process.wait_until(20, function() return shown(h).canary == 2 * canaries end, "canaries counted")
      assert.equal(2 * (40 - canaries), wait_compared(h, 2 * (40 - canaries)).compared)
      assert.matches("canary=yes", h:log())
      assert.matches("canary", (h:ctl("store", "get", "seen", "by")))
      assert.equal(0, (select(2, h:ctl("shadow", "off"))))
      for i = 1, 40 do assert.equal("live", by(i)) end
    end)
  end)
end

describe("a shadow that kills its worker", function()
  it("is put out of use, and no mail is refused for it", function()
    local h = start { workers = 1, arguments = { "--hang_timeout=2" }, next = { ["10-next.lua"] = [[
function on_eom(ctx)
  ctx:add_header("X-Live", "yes")
  if ctx.sender:find "crash" then
    local ffi = require "ffi"
    ffi.cast("int *", 0)[0] = 1
  end
end]] } }
    finally(function() stop(h) end)
    assert.equal("continue", message(h, "crash@one.example", "4Q1").kind)
    process.wait_until(20, function() return h:ctl("shadow"):find "shadow killed" end, "the shadow out of use")
    h:wait_serving(1, 20)
    for i = 2, 4 do assert.equal("continue", message(h, "crash@one.example", "4Q" .. i).kind) end
    assert.equal(1, tonumber((h:ctl "status"):match "worker_deaths=(%d+)"))
  end)

  it("keeps what it has found when a worker is killed", function()
    local h = start { workers = 1, next = { ["10-next.lua"] = "function on_eom(ctx) end" } }
    finally(function() stop(h) end)
    message(h, "ann@one.example", "4Q1")
    wait_compared(h, 1)
    host.kill(h:workers()[1], "SIGKILL")
    process.wait_until(20, function() return h:ctl("status"):find "worker_deaths=1" end, "the death")
    h:wait_serving(1, 20)
    message(h, "ann@one.example", "4Q2")
    assert.equal(2, wait_compared(h, 2).kinds.headers)
  end)
end)

describe("moonmilter check", function()
  it("checks the scripts of a shadow, too", function()
    local directory = process.directory() .. "-check"
    process.run(("mkdir -p %s/live %s/next"):format(directory, directory))
    finally(function() process.run("rm -rf " .. directory) end)
    process.write_file(directory .. "/live/a.lua", LIVE)
    process.write_file(directory .. "/next/b.lua", "function on_mail(ctx) end")
    process.write_file(directory .. "/c.conf", 'listen = "inet:1@127.0.0.1"\nscripts = "live"\nshadow = "next"\n')
    local function check()
      local pipe = io.popen(("%s check -c %s/c.conf 2>&1; echo status $?"):format(host.program(), directory))
      local text = pipe:read "*a"
      pipe:close()
      return text
    end
    local text = check()
    assert.matches("shadow of default: .*b%.lua: on_mail", text)
    assert.matches("status 0", text)
    process.write_file(directory .. "/next/b.lua", "function on_mail(")
    text = check()
    assert.matches("b%.lua:1: ", text)
    assert.matches("status 78", text)
  end)
end)
