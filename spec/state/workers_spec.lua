-- Limits and stores of a host with workers: exact over workers, reloads and killed workers.
local host = require "spec.support.host"
local process = require "spec.support.process"

local MESSAGES = os.getenv "SLOW" and 20000 or 400

local LIMITED = [[
  local limit = require "moonmilter.limit"
  local store = require "moonmilter.store"
  local out = limit.new { name = "out", rate = "%d/d" }
  local seen = store.open "seen"
  function on_mail(ctx, sender)
    seen:incr "mails"
    local ok, state = out:take "everybody"
    if not ok then return ctx:tempfail(451, "4.7.1", state.crossed and "first" or "again") end
  end ]]

local CALLED = [[
  local store = require "moonmilter.store"
  local known = store.open("known", { durable = true })
  function on_rcpt(ctx, rcpt)
    known:set(rcpt, true)
  end
  function on_mail(ctx, sender)
    if not sender:find "^known@" and not known:get(sender) then return ctx:tempfail("unknown") end
  end ]]

describe("a host with workers", function()
  local h
  after_each(function() if h then h:stop() end end)

  -- Sends MAIL so often over many connections, one after the other; -> the number of each answer.
  local function mails(count, between)
    local answers = { pass = 0, tempfail = 0, lost = 0, first = 0 }
    for i = 1, count do
      local mta = host.wait_until(10, function() return h:connect() end, "a connection")
      local ok, reply = pcall(function()
        mta:envelope "helo"
        return mta:mail "ann@example.org"
      end)
      mta:close()
      if not ok or reply.kind == "closed" then
        answers.lost = answers.lost + 1
      elseif reply.kind == "continue" then
        answers.pass = answers.pass + 1
      else
        answers.tempfail = answers.tempfail + 1
        answers.first = answers.first + (tostring(reply.text):find "first" and 1 or 0)
      end
      if between then between(i) end
    end
    return answers
  end

  local function start(options)
    options.arguments = options.arguments or {}
    h = host.start(options)
  end

  it("lets exactly as many pass as the limit says", function()
    start { workers = 4, scripts = { ["10-limit.lua"] = LIMITED:format(MESSAGES / 2) } }
    local answers = mails(MESSAGES)
    assert.same({ pass = MESSAGES / 2, tempfail = MESSAGES / 2, lost = 0, first = 1 }, answers)
  end)

  it("does so over reloads", function()
    start { workers = 2, scripts = { ["10-limit.lua"] = LIMITED:format(MESSAGES / 2) } }
    local answers = mails(MESSAGES, function(i) if i % 20 == 0 then h:signal "SIGHUP" end end)
    assert.equal(MESSAGES / 2, answers.pass)
    assert.equal(0, answers.lost)
  end)

  it("does so when workers are killed: what a lost session took counts", function()
    start { workers = 2, scripts = { ["10-limit.lua"] = LIMITED:format(MESSAGES / 2) } }
    local answers = mails(MESSAGES, function(i)
      if i % 40 == 0 then host.kill(h:workers()[1], "SIGKILL") end
    end)
    assert.is_true(answers.pass <= MESSAGES / 2 and answers.pass >= MESSAGES / 2 - answers.lost)
  end)

  it("keeps a durable store over a restart with SIGKILL of all processes, and the loss of its memory", function()
    local directory = process.directory()
    process.run("chown nobody " .. directory .. " 2>/dev/null || true")
    local function serve()
      start { workers = 2, scripts = { ["10-known.lua"] = CALLED }, arguments = { "--state_dir=" .. directory } }
    end
    local function ask(sender)
      local mta = assert(h:connect())
      mta:envelope "helo"
      local reply = mta:mail(sender)
      mta:close()
      return reply.kind
    end
    local function teach(recipient)
      local mta = assert(h:connect())
      mta:envelope "helo"
      mta:mail "known@example.org"
      mta:rcpt(recipient)
      mta:close()
    end
    finally(function() process.run("rm -rf " .. directory) end)
    serve()
    local memory = assert(h:memory_directory())
    teach "friend@example.net"
    assert.equal("continue", ask "friend@example.net")
    for _, pid in ipairs(h:workers()) do host.kill(pid, "SIGKILL") end
    host.kill(h:pid(), "SIGKILL")
    h:stop()
    serve()
    assert.equal("continue", ask "friend@example.net")
    assert.not_equal("continue", ask "stranger@example.net")
    h:signal "SIGTERM" -- the last changes are on the disk when it has ended
    host.wait_until(10, function() return not h.child:running() end, "the end")
    h:stop()
    process.run("rm -rf " .. memory)
    serve()
    assert.equal("continue", ask "friend@example.net")
    assert.not_equal("continue", ask "stranger@example.net")
    process.run("rm -rf " .. memory)
  end)

  it("goes on when its store's file is overwritten: the table is made again, and the log says so", function()
    start { workers = 2, scripts = { ["10-limit.lua"] = LIMITED:format(1000) } }
    assert.equal(20, mails(20).pass)
    local path = assert(h:memory_directory()) .. "/default+seen.mdb"
    require "socket".sleep(0.05) -- a write in the same step of the kernel's clock as the last one of ours is not seen
    local file = assert(io.open(path, "r+b")) -- not as another file: the workers have this one open
    local size = file:seek "end"
    file:seek("set", 2 * 4096)
    file:write(("\255"):rep(size - 2 * 4096))
    file:close()
    local workers = h:workers()
    assert.equal(20, mails(20).pass)
    assert.truthy(h:wait_log("store default+seen: the table in memory was damaged", 10))
    assert.same(workers, h:workers())
    assert.matches("value=20", h:ctl("store", "get", "seen", "mails"))
  end)

  it("says at load that a durable store needs a directory", function()
    h = host.start { workers = 0, scripts = { ["10-known.lua"] = CALLED }, unready = true }
    assert.truthy(h:wait_log("a durable store needs a directory: set state_dir", 10))
  end)
end)
