-- A message that kills a worker: it costs one, not one at each retry, and no other message.
local host = require "spec.support.host"
local process = require "spec.support.process"

local CRASH = [[
  local ffi = require "ffi"
  ffi.cdef "int raise(int); void exit(int);"
  local milter = require "moonmilter"
  local kill = {
    crash = function() ffi.cast("int *", 8)[0] = 1 end,
    hang = function() return (("a."):rep(2000)):find ".-.-.-.-.-.-b" end,
    exit = function() ffi.C.exit(3) end,
    kill = function() ffi.C.raise(9) end,
    late = function() milter.sleep(0.05); ffi.cast("int *", 8)[0] = 1 end,
  }
]]

local STEPS = os.getenv "SLOW" and { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom" }
  or { "helo", "rcpt", "header", "eom" }

-- A script that dies the given death at a stage when the client, sender, recipient or subject asks for it.
local function killer(stage, how)
  local arguments = { connect = "name", helo = "name", mail = "sender", rcpt = "recipient", header = "name, value" }
  local is_meant = ({
    connect = "name:find 'deadly'", helo = "name:find 'deadly'", mail = "sender:find 'deadly'",
    rcpt = "recipient:find 'deadly'", data = "ctx.sender:find 'deadly'", header = "value:find 'deadly'",
    eoh = "(ctx.headers:get 'Subject' or ''):find 'deadly'", body = "(ctx.headers:get 'Subject' or ''):find 'deadly'",
    eom = "(ctx.headers:get 'Subject' or ''):find 'deadly'",
  })[stage]
  return { ["10-kill.lua"] = CRASH .. ([[
    function on_%s(ctx%s) if %s then kill.%s() end end
    function on_done() end]]):format(stage, arguments[stage] and ", " .. arguments[stage] or "", is_meant, how) }
end

-- One attempt to deliver: the reply that is not "continue", and the step that got it; or eom's.
local function attempt(h, m)
  m = m or {}
  local mta = host.wait_until(5, function() return h:connect() end, "a connection")
  local steps = {
    { "connect", function() return mta:command("C", (m.client or "c.example") .. "\0004\4\0011" .. "92.0.2.1\0") end },
    { "helo", function() return mta:command("H", (m.helo or "c.example") .. "\0") end },
    { "mail", function() return mta:mail(m.sender, m.queue_id or "4Q1") end },
    { "rcpt", function() return mta:rcpt(m.recipient) end },
    { "data", function() return mta:data() end },
    { "header", function() return mta:header("Received", m.received or "from a by b; today") end },
    { "header", function() return mta:header("Message-Id", m.id or "<1@one.example>") end },
    { "header", function() return mta:header("Subject", m.subject or "spec") end },
    { "eoh", function() return mta:eoh() end },
    { "body", function() return mta:body(m.body) end },
    { "eom", function() return mta:eom() end },
  }
  local reply, at
  for _, step in ipairs(steps) do
    at, reply = step[1], step[2]()
    if reply.kind ~= "continue" then break end
  end
  mta:close()
  return reply, at
end

local DEADLY = {
  connect = { client = "deadly.example" }, helo = { helo = "deadly.example" }, mail = { sender = "deadly@one.example" },
  rcpt = { recipient = "deadly@two.example" }, data = { sender = "deadly@one.example" },
  header = { subject = "deadly" }, eoh = { subject = "deadly" }, body = { subject = "deadly" },
  eom = { subject = "deadly" },
}

local function with(m, more)
  local copy = {}
  for k, v in pairs(m) do copy[k] = v end
  for k, v in pairs(more) do copy[k] = v end
  return copy
end

local function poison_lines(h)
  local list = {}
  for line in h:ctl("status"):gmatch "[^\n]+" do if line:match "^poison " then list[#list + 1] = line end end
  return list
end

local function refused(reply) return reply.kind == "reply" and reply.text:match "^451 4%.3%.0 " ~= nil end

describe("a message that kills a worker", function()
  local h
  before_each(function() h = nil end)
  after_each(function() if h then h:stop() end end)

  local function deaths() return select(2, h:log():gsub("worker_ended", "")) end

  -- Attempts until one is answered; the deaths that it took.
  local function until_refused(m)
    for _ = 1, 4 do
      local reply, at = attempt(h, m)
      if reply.kind ~= "closed" then return reply, at, deaths() end
      assert.truthy(h:wait_serving(1, 5))
    end
    error("still dying\n" .. h:log())
  end

  for _, stage in ipairs(STEPS) do
    -- everything that a client sends shares its name: one death there is no proof
    local allowed = (stage == "connect" or stage == "helo") and 2 or 1
    it(("at %s costs %d"):format(stage, allowed), function()
      h = host.start { workers = 1, scripts = killer(stage, "crash") }
      -- the same message comes with another queue id, along another way
      local reply, at, count = until_refused(DEADLY[stage])
      assert.is_true(refused(reply), tostring(reply.text or reply.kind))
      assert.same({ stage, allowed }, { at, count })
      for n = 2, 4 do
        local more = stage == "header" and {} or { received = "from c by d; tomorrow " .. n }
        assert.is_true(refused((attempt(h, with(DEADLY[stage], with(more, { queue_id = "4Q" .. n }))))))
      end
      assert.equal(allowed, deaths())
      -- others pass, also of the same client, sender and recipient
      local other = (stage == "connect" or stage == "helo") and {} or { id = "<2@one.example>", subject = "spec",
        body = "other\r\n" }
      local passed, where = attempt(h, other)
      assert.same({ "continue", "eom" }, { passed.kind, where }, tostring(passed.text) .. h:log():sub(-900))
      if stage == "eom" then assert.equal("continue", (attempt(h, { body = "deadly\r\n" })).kind) end
      assert.matches("decided_by=poison", h:log())
    end)
  end

  for how, allowed in pairs { hang = 1, exit = 1, kill = 2, late = 1 } do
    it(("by %s costs %d"):format(how, allowed), function()
      h = host.start { workers = 1, scripts = killer("eom", how), arguments = { "--hang_timeout=1" } }
      local reply, _, count = until_refused(DEADLY.eom)
      assert.is_true(refused(reply), tostring(reply.text or reply.kind))
      assert.equal(allowed, count)
      -- a SIGKILL leaves no time to say anything, but the message is known by its fingerprint
      assert.matches(how == "kill" and "sender=%-" or "sender=<ann@one.example>", (poison_lines(h)[1]))
    end)
  end

  it("lets another message of its sender through at the same stage", function()
    h = host.start { workers = 1, scripts = killer("eom", "crash") }
    until_refused(DEADLY.eom)
    local before = deaths()
    -- it is looked at, and kills, too
    assert.equal("closed", attempt(h, with(DEADLY.eom, { body = "another body\r\n" })).kind)
    assert.truthy(h:wait_serving(1, 5))
    assert.equal(before + 1, deaths())
  end)

  it("is not blamed when it only waits in the worker that dies", function()
    h = host.start { workers = 1, scripts = { ["10-kill.lua"] = CRASH .. [[
      function on_eom(ctx)
        if ctx.sender:find "deadly" then kill.crash() end
        if ctx.sender:find "patient" then milter.sleep(0.4) end
      end]] } }
    local patient = assert(h:connect())
    patient:mail("patient@one.example")
    patient:rcpt()
    patient:send "E"
    host.sleep(0.1)
    assert.equal("closed", attempt(h, { sender = "deadly@one.example" }).kind)
    assert.equal("closed", patient:reply().kind)
    patient:close()
    assert.truthy(h:wait_serving(1, 5))
    local again = assert(h:connect())
    again:mail("patient@one.example")
    again:rcpt()
    assert.equal("continue", again:eom().kind)
    again:close()
    assert.equal(1, #poison_lines(h))
  end)

  it("is shown with sender and time, and tried again after ctl forget, a reload, or poison_time", function()
    h = host.start { workers = 1, scripts = killer("eom", "crash"), arguments = { "--poison_time=3" } }
    until_refused(DEADLY.eom)
    local line = poison_lines(h)[1] or ""
    assert.matches("sender=<ann@one.example> size=6 ", line)
    assert.matches("deaths=1 ", line)
    assert.matches("refused_for=[123] ", line)
    assert.matches("queue_id=4Q1 handler=on_eom script=%S+10%-kill.lua", line)
    assert.matches("refused_unseen=1\n", (h:ctl "status"))
    assert.matches("poison pid=%d+ refused_for=3.000 .*from=<ann@one.example> size=6", h:log())
    assert.equal("forgot 1\n", (h:ctl "forget"))
    assert.same({}, poison_lines(h))
    assert.equal("closed", (attempt(h, DEADLY.eom)).kind)
    assert.truthy(h:wait_serving(1, 5))
    h:ctl "reload"
    assert.matches("refused_for=0 ", poison_lines(h)[1])
    assert.equal("closed", (attempt(h, DEADLY.eom)).kind)
    assert.truthy(h:wait_serving(1, 5))
    assert.matches("deaths=2 refused_for=[3456] ", poison_lines(h)[1]) -- twice as long the second time
    h:ctl "reload"
    h:write { ["10-kill.lua"] = "function on_eom() end" } -- what the postmaster does
    h:ctl "reload"
    assert.equal("continue", (attempt(h, DEADLY.eom)).kind)
  end)

  it("is tried again when its time is over", function()
    h = host.start { workers = 1, scripts = killer("eom", "crash"), arguments = { "--poison_time=1" } }
    until_refused(DEADLY.eom)
    host.sleep(1.2)
    assert.equal("closed", (attempt(h, DEADLY.eom)).kind)
  end)

  it("kills each time with poison_time = 0", function()
    h = host.start { workers = 1, scripts = killer("eom", "crash"), arguments = { "--poison_time=0" } }
    for n = 1, 3 do
      assert.equal("closed", (attempt(h, DEADLY.eom)).kind)
      assert.truthy(host.wait_until(5, function() return deaths() == n end, "a death"))
    end
  end)
end)

describe("a worker that writes nonsense into the memory it shares", function()
  it("does not bring down its master, nor make it print what is not text", function()
    -- the row is found by the pid that the worker itself has stored there
    local h = host.start { workers = 2, scripts = { ["10-scribble.lua"] = [[
      local ffi = require "ffi"
      ffi.cdef "int getpid(void);"
      local function shared()
        local list = {}
        for line in io.lines "/proc/self/maps" do
          local from, to = line:match "^(%x+)%-(%x+) rw%-s %x+ %S+ %d+%s+/dev/zero"
          if from then list[#list + 1] = { tonumber(from, 16), tonumber(to, 16) } end
        end
        return list
      end
      function on_mail(ctx, sender)
        if not sender:find "scribble" then return end
        local n = 0
        for _, range in ipairs(shared()) do
          ffi.fill(ffi.cast("char *", range[1]), range[2] - range[1], 0xff)
          n = n + 1
        end
        ffi.cast("int *", n > 0 and 8 or 0)[0] = 1
      end]] } }
    local mta = assert(h:connect())
    assert.equal("closed", mta:mail("scribble@one.example").kind)
    mta:close()
    assert.truthy(h:wait_log "worker_ended")
    assert.is_true(h.child:running())
    for _ = 1, 3 do assert.matches("worker pid=%d+ state=", (h:ctl "status")) end
    process.wait_until(20, function()
      local again = h:connect(2)
      local ok = again and again:envelope("rcpt").kind == "continue"
      if again then again:close() end
      return ok
    end, function() return "a message after it; log:\n" .. h:log() end)
    h:stop()
  end)
end)

describe("the table of what kills", function()
  --- Shared memory without a file, by its address: "rw" or "r-".
  local function shared(pid)
    local list = {}
    for line in process.read_file(("/proc/%d/maps"):format(pid)):gmatch "[^\n]+" do
      local from, rights = line:match "^(%x+)%-%x+ (r[w-])%-s %x+ %S+ %d+%s+/dev/zero"
      if from then list[from] = rights end
    end
    return list
  end

  it("is written by the master alone: a worker that tries to dies of it, and nothing is lost or added", function()
    local h = host.start { workers = 2, scripts = { ["10-kill.lua"] = CRASH .. [[
      local function read_only()
        for line in io.lines "/proc/self/maps" do
          local from = line:match "^(%x+)%-%x+ r%-%-s %x+ %S+ %d+%s+/dev/zero"
          if from then return ffi.cast("uint32_t *", tonumber(from, 16)) end
        end
      end
      function on_mail(_, sender)
        if sender:find "crash" then kill.crash() end
        local table_of_all = sender:find "write" and read_only()
        if table_of_all then table_of_all[0] = 0 end -- "nothing kills"
      end]] } }
    finally(function() h:stop() end)
    for _, worker in ipairs(h:workers()) do
      local mine, theirs, protected = shared(h:pid()), shared(worker), {}
      for from, rights in pairs(theirs) do
        if rights == "r-" then protected[#protected + 1] = mine[from] end
      end
      assert.same({ "rw" }, protected, "one piece, which the master can write")
    end
    assert.equal("closed", attempt(h, { sender = "crash@one.example" }).kind)
    assert.truthy(h:wait_log "warn poison")
    assert.equal("closed", attempt(h, { sender = "write@one.example" }).kind)
    assert.truthy(process.wait_until(5, function() return select(2, h:log():gsub("worker_ended", "")) == 2 end))
    assert.matches("worker_ended pid=%d+ signal=\"Segmentation fault\"", h:log())
    -- the worker that lives still refuses the first, and the master has added the second
    for _, sender in ipairs { "crash", "write" } do
      local reply = attempt(h, { sender = sender .. "@one.example" })
      assert.same({ "reply", "451" }, { reply.kind, reply.text:sub(1, 3) })
    end
    assert.equal(2, select(2, h:log():gsub("worker_ended", "")))
    assert.equal("continue", attempt(h).kind)
  end)
end)
