-- Lines about verdicts leave in one write: those of a turn of the loop, and while there are many those of some
-- milliseconds. None of them is lost when the process ends.
local posix_poll = require "posix.poll"
local posix_socket = require "posix.sys.socket"
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local process = require "spec.support.process"

local COUNT = 8
local SEQPACKET = 5             -- posix.sys.socket does not know it

-- Sessions whose end of message all reach the loop in one turn.
local function send_together(h, queue_ids)
  local mtas = {}
  for i, queue_id in ipairs(queue_ids) do
    mtas[i] = assert(h:connect())
    assert.equal("continue", mtas[i]:envelope("body", queue_id).kind)
  end
  local pid = h:workers()[1] or h:pid()
  host.kill(pid, "SIGSTOP")
  assert.truthy(process.wait_until(10, function()
    return (process.read_file(("/proc/%d/stat"):format(pid)) or ""):match "%) T "
  end, "a stopped process"))
  for _, mta in ipairs(mtas) do mta:send "E" end
  host.kill(pid, "SIGCONT")
  return mtas
end

local function ids(prefix)
  local list = {}
  for i = 1, COUNT do list[i] = prefix .. i end
  return list
end

-- How many lines in a text have this event.
local function count(text, event)
  return select(2, text:gsub("%f[^\n%z]%S+ info " .. event .. " [^\n]*", ""))
end

describe("the log lines of one turn", function()
  -- A socket that keeps the bounds of each write takes the place of the journal's.
  local function with_packets(scripts)
    local directory = process.directory()
    local fd = assert(posix_socket.socket(posix_socket.AF_UNIX, SEQPACKET, 0))
    assert(posix_socket.bind(fd, { family = posix_socket.AF_UNIX, path = directory .. "/journal" }))
    assert(posix_socket.listen(fd, 5))
    local h = host.start { scripts = scripts, unready = true, through = { "python3", "-c",
      ("import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(%q); "
        .. "os.dup2(s.fileno(), 2); os.execvp(sys.argv[1], sys.argv[1:])"):format(directory .. "/journal") } }
    local journal = posix_socket.accept(fd)
    finally(function()
      h:stop()
      posix_unistd.close(journal)
      posix_unistd.close(fd)
      os.execute("rm -r " .. directory)
    end)
    return h, journal
  end

  -- The writes until `seen` says that all has come.
  local function writes(journal, seen)
    local list = {}
    assert.truthy(process.wait_until(20, function()
      while posix_poll.rpoll(journal, 0) == 1 do list[#list + 1] = posix_socket.recv(journal, 65536) end
      return seen(table.concat(list))
    end, "the log"))
    return list
  end

  it("leave in one write, as whole lines", function()
    local h, journal = with_packets { ["10-pass.lua"] = "function on_eom() end" }
    writes(journal, function(text) return text:find "scripts" end)
    local mtas = send_together(h, ids "4Qt")
    for _, mta in ipairs(mtas) do assert.equal("continue", mta:reply().kind) end
    local list = writes(journal, function(text) return count(text, "message") == COUNT end)
    local most = 0
    for _, text in ipairs(list) do
      most = math.max(most, count(text, "message"))
      assert.equal("\n", text:sub(-1))
    end
    assert.equal(COUNT, most, table.concat(list, "----\n"))
    for _, queue_id in ipairs(ids "4Qt") do
      assert.equal(1, select(2, table.concat(list):gsub("queue_id=" .. queue_id .. " ", "")))
    end
    for _, mta in ipairs(mtas) do mta:quit() end
  end)

  it("leave together with those of further turns that follow at once", function()
    local h, journal = with_packets { ["10-pass.lua"] = "function on_eom() end" }
    writes(journal, function(text) return text:find "scripts" end)
    local mta = assert(h:connect())
    local sent, seen, most = 0, 0, 0
    assert.truthy(process.wait_until(20, function()
      for _ = 1, 20 do -- an end of message comes after the answer to the one before, so in another turn
        sent = sent + 1
        assert.equal("continue", mta:envelope("body", "4Qf" .. sent).kind)
        mta:send "E"
        assert.equal("continue", mta:reply().kind)
      end
      for _, text in ipairs(writes(journal, function(text) return seen + count(text, "message") == sent end)) do
        most = math.max(most, count(text, "message"))
        seen = seen + count(text, "message")
      end
      return most > 1
    end, "two lines in one write"))
    mta:quit()
  end)

  it("go before a line of another kind that comes after them", function()
    local h, journal = with_packets { ["10-warn.lua"] = [[
      local log = require "moonmilter.log"
      function on_done(ctx) log.warn("said by " .. ctx.queue_id) end
      function on_eom() end]] }
    writes(journal, function(text) return text:find "scripts" end)
    local mtas = send_together(h, ids "4Qw")
    for _, mta in ipairs(mtas) do assert.equal("continue", mta:reply().kind) end
    local text = table.concat(writes(journal, function(text) return count(text, "message") == COUNT end))
    local last = 0
    for queue_id in text:gmatch "said by (4Qw%d)" do
      local said = assert(text:find("said by " .. queue_id, 1, true))
      assert.is_true(said > last, text) -- its own line comes after on_done, and before the next message's
      last = assert(text:find("info message [^\n]*queue_id=" .. queue_id))
      assert.is_true(last > said, text)
    end
    for _, mta in ipairs(mtas) do mta:quit() end
  end)

  for name, deed in pairs {
    ["a fault of memory"] = "ffi.cast('int *', 8)[0] = 1",
    ["exit() from inside a handler"] = "ffi.C.exit(3)",
    ["SIGKILL, so that only the master can"] = "ffi.C.kill(ffi.C.getpid(), 9)",
  } do
    it("are written although the turn ends with " .. name, function()
      local h = host.start { workers = 1, scripts = { ["10-end.lua"] = ([[
        local ffi = require "ffi"
        ffi.cdef "void exit(int); int kill(int, int); int getpid(void);"
        function on_eom(ctx) if ctx.queue_id == "4Qend" then %s end end]]):format(deed) } }
      finally(function() h:stop() end)
      local queue_ids = ids "4Qc"
      table.insert(queue_ids, 1, "4Qend") -- libev serves what became ready last first
      local mtas = send_together(h, queue_ids)
      local answered = {}
      for i, mta in ipairs(mtas) do
        if mta:reply().kind == "continue" then answered[#answered + 1] = queue_ids[i] end
        mta:close()
      end
      assert.is_true(#answered > 0, "the end came first")
      for _, queue_id in ipairs(answered) do
        assert.truthy(h:wait_log(("queue_id=%s verdict=continue"):format(queue_id), 10))
      end
    end)
  end

  it("are written when SIGTERM ends the process", function()
    local h = host.start { scripts = { ["10-pass.lua"] = "function on_eom() end" }, workers = 1 }
    finally(function() h:stop() end)
    local queue_ids = ids "4Qs"
    local mtas = send_together(h, queue_ids)
    h:signal "SIGTERM"
    for i, mta in ipairs(mtas) do
      assert.equal("continue", mta:reply().kind, queue_ids[i])
      mta:quit()
    end
    for _, queue_id in ipairs(queue_ids) do
      assert.truthy(h:wait_log(("queue_id=%s verdict=continue"):format(queue_id), 10))
    end
  end)
end)
