-- Sinks of events that go to a file or to a stream of a real Redis server: renames, disks that are full, servers that
-- are killed.
local lfs = require "lfs"
local process = require "spec.support.process"
local sinks = require "spec.event.sinks"
local world = require "spec.async.world"

describe("events for a file", function()
  local run, path
  before_each(function()
    run = sinks.new()
    path = run.directory .. "/out/events"
  end)
  after_each(function()
    process.run(("umount %s/out 2>/dev/null; true"):format(run.directory))
    run:close()
  end)

  local function texts(...)
    local list = {}
    for i, name in ipairs { ... } do list[i] = process.read_file(run.directory .. "/out/" .. name) or "" end
    return unpack(list)
  end

  local function all_written()
    return run:wait_events("all", function(row) return row.waiting == 0 and row.sent == row.put end)
  end

  it("are appended, also while it is renamed, and go on after it is removed", function()
    run:start(('to = "file:%s"'):format(path))
    local kept = 0
    for round = 1, 20 do
      kept = kept + run:put(100, "r" .. round)
      if round % 5 == 0 then
        assert(process.wait_until(10, function() return lfs.attributes(path) end, "the file"))
        assert(os.rename(path, path .. round))
      end
    end
    all_written()
    local count, doubles = sinks.read(texts("events", "events5", "events10", "events15", "events20"))
    assert.same({ kept, 0 }, { count, doubles })
    assert.equal("rw-r-----", lfs.attributes(path .. "5").permissions)
    os.remove(path)
    assert.equal(3, run:put(3, "new"))
    assert(process.wait_until(10, function() return lfs.attributes(path) end, "a new file"))
    assert.equal(3, (sinks.read(texts "events")))
  end)

  it("begin after the end of a line that a crash has cut", function()
    process.write_file(path, '{"id":"cut')
    process.run("chown nobody " .. path)
    run:start(('to = "file:%s"'):format(path))
    assert.equal(2, run:put(2, "a"))
    all_written()
    local first, rest = texts("events"):match "^(.-)\n(.*)$"
    assert.equal('{"id":"cut', first)
    assert.equal(2, (sinks.read(rest)))
  end)

  it("wait while the directory is missing, and never hang on a FIFO", function()
    os.remove(path)
    process.run(("mkfifo %s && chmod 666 %s"):format(path, path))
    run:start(('to = "file:%s"'):format(path))
    assert.equal(10, run:put(10, "a"))
    run:wait_events("the error", function(_, text) return text:find("it is not a regular file", 1, true) end)
    process.run(("rm %s; mv %s/out %s/gone"):format(path, run.directory, run.directory))
    assert.equal(10, run:put(10, "b"))
    run:wait_events("the error", function(_, text) return text:find("No such file or directory", 1, true) end)
    process.run(("mv %s/gone %s/out"):format(run.directory, run.directory))
    all_written()
    assert.equal(20, (sinks.read(texts "events")))
    assert.equal("continue", (function()
      local mta = run.h:connect()
      local reply = mta:envelope "helo"
      mta:close()
      return reply.kind
    end)())
  end)

  it("wait while the disk is full; the file has whole lines only", function()
    if not process.run("id -u"):match "^0\n" then
      return pending "needs root to mount a small disk"
    end
    process.run(("mount -t tmpfs -o size=64k tmpfs %s/out && chmod 777 %s/out"):format(run.directory, run.directory))
    run:start(('to = "file:%s", batch = 50'):format(path), { filler = 200 })
    local kept = 0
    for round = 1, 10 do kept = kept + run:put(50, "r" .. round) end
    local row = run:wait_events("the error", function(_, text) return text:find("No space left on device", 1, true) end)
    assert.is_true(row.waiting > 0 and row.sent > 0)
    local count = sinks.read(texts "events") -- raises when a line is cut
    assert.is_true(count >= row.sent)
    process.run(("mount -o remount,size=8m %s/out"):format(run.directory))
    all_written()
    assert.equal(kept, (sinks.read(texts "events")))
  end)
end)

describe("events for a stream of a Redis server", function()
  local run, redis
  before_each(function()
    run, redis = sinks.new(), world.redis "--requirepass REDISSECRET"
  end)
  after_each(function()
    run:close()
    redis.close()
  end)

  local function stream(more)
    return ('to = "redis://default:REDISSECRET@127.0.0.1:%d/mail", timeout = 1 %s'):format(redis.port, more or "")
  end

  -- The events in the stream, as lines.
  local function entries()
    local lines = {}
    for line in (redis.cli "xrange mail - +" .. "\n"):gmatch "[^\n]+" do
      lines[#lines + 1] = line:match '^{"id".*' and line .. "\n" or nil
    end
    return sinks.read(table.concat(lines))
  end

  it("arrive with their ids, also after the server was killed and started again", function()
    run:start(stream())
    assert.equal(100, run:put(100, "a"))
    run:wait_events("all", function(row) return row.sent == 100 end)
    local count, _, found = entries()
    assert.equal(100, count)
    assert.matches("\n" .. found["a/7"]:gsub("%-", "%%-") .. "\nevent\n", redis.cli "xrange mail - +")
    redis.kill()
    assert.equal(100, run:put(100, "b"))
    run:wait_events("the error", function(row, text)
      return row.waiting == 100 and select(2, text:gsub("\n", "")) > 1
    end)
    assert.is_nil((run.h:log() .. run.h:ctl "events"):find("REDISSECRET", 1, true))
    redis.start()
    run:wait_events("all", function(row) return row.waiting == 0 end)
    assert.equal(100, (entries())) -- the server had kept none of the first
  end)

  it("wait while the key is of another kind or the password is wrong: no event is to blame", function()
    redis.cli "set mail text"
    run:start(stream())
    assert.equal(20, run:put(20, "a"))
    run:wait_events("the error", function(row, text) return row.waiting == 20 and text:find("WRONGTYPE", 1, true) end)
    redis.cli "del mail"
    redis.cli "config set requirepass other"
    redis.cli "client kill type normal"
    run:wait_events("all, or the error", function(row, text)
      return row.waiting == 0 or text:find("WRONGPASS", 1, true)
    end)
  end)

  it("leave about maxlen entries", function()
    run:start(stream ", maxlen = 500, batch = 200")
    for round = 1, 20 do run:put(200, "r" .. round) end
    run:wait_events("all", function(row) return row.sent == 4000 end)
    local length = tonumber(redis.cli "xlen mail")
    assert.is_true(length >= 500 and length <= 1000, tostring(length))
  end)
end)
