-- Maps of files in a host with two workers: what is in force while their files change.
local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPT = [[
  local file = require "moonmilter.maps.file"
  local opened = file.open(%q, { %s })
  function on_mail(ctx, key)
    local value, text, code = opened:get(key)
    local info = opened:info()
    return ctx:reject(550, "5.7.1", ("%%s/%%s/%%s/%%s"):format(value, code, info.entries,
      info.error and "bad" or "good"))
  end ]]

describe("a map of a file", function()
  local directory, path, h

  before_each(function()
    directory = process.directory()
    path = directory .. "/list"
  end)
  after_each(function()
    if h then h:stop() end
    h = nil
    process.run("rm -rf " .. directory)
  end)

  local function start(options)
    local script = SCRIPT:format(path, options or 'kind = "texthash", settle = 0.05')
    h = host.start { workers = 2, scripts = { ["10-map.lua"] = script } }
    h:wait_serving(2, 10)
  end

  local function ask(key)
    local mta = h:connect()
    mta:envelope "helo"
    local reply = mta:mail(key or "ann")
    mta:close()
    return (reply.text:match "5%.7%.1 (.*)$")
  end

  -- Both workers say so: connections go to one, then to the other.
  local function wait_answer(expected, key)
    local last
    process.wait_until(10, function()
      last = ask(key)
      return last == expected and ask(key) == expected and ask(key) == expected
    end, function() return ("%s, got %s; log:\n%s"):format(expected, last, h:log()) end)
  end

  local function wait_log(text)
    process.wait_until(10, function() return h:log():find(text, 1, true) end, "a log line")
  end

  local function count_log(text)
    return select(2, h:log():gsub(text:gsub("%p", "%%%0"), ""))
  end

  it("is read while the script loads, and answers", function()
    process.write_file(path, "ann one\nbob two\n")
    start()
    assert.equal("one/nil/2/good", ask "ann")
    assert.equal("two/nil/2/good", ask "BOB")
    assert.equal("nil/nil/2/good", ask "eve")
  end)

  it("stops the load when it cannot be read", function()
    process.write_file(path, '{"ann": "one"')
    for kind, why in pairs { texthash = "No such file", json = "a comma or the end of the table", list = "not a file",
      csv = "has no entries", nonsense = "no format" } do
      local at = kind == "texthash" and "/none" or kind == "list" and "/" or kind == "csv" and "/empty" or "/list"
      process.write_file(directory .. "/empty", "")
      process.write_file(directory .. "/10.lua", SCRIPT:format(directory .. at, ("kind = %q"):format(kind)))
      local output = process.run(("%s check %s/10.lua 2>&1 || true"):format(host.program(), directory))
      assert.truthy(output:find(why, 1, true), kind .. ": " .. output)
    end
  end)

  it("follows writes in place, renames, and links", function()
    process.write_file(path, "ann one\n")
    start()
    process.write_file(path, "ann two\n")
    wait_answer "two/nil/1/good"
    process.write_file(path .. "~", "ann three\nbob x\n")
    assert(os.rename(path .. "~", path))
    wait_answer "three/nil/2/good"
    process.run(("cd %s; mkdir a b; echo ann four >a/f; echo ann five >b/f; ln -sfn a now; ln -sf now/f list")
      :format(directory))
    wait_answer "four/nil/1/good"
    process.run(("echo ann six >%s/a/f"):format(directory))
    wait_answer "six/nil/1/good"
    process.run(("ln -sfn b %s/now"):format(directory))
    wait_answer "five/nil/1/good"
  end)

  it("keeps the last good version, and says why once", function()
    process.write_file(path, "ann one\nbob two\neve three\n")
    start()
    os.remove(path)
    wait_answer "one/nil/3/bad"
    process.write_file(path, "# nothing\n")
    wait_log "has no entries"
    process.write_file(path, "ann four\n")
    wait_log "has 1 entries, before there were 3"
    assert.equal("one/nil/3/bad", ask())
    process.write_file(path, "ann five\nbob two\n")
    wait_answer "five/nil/2/good"
    assert.equal(1, count_log "No such file")
    assert.equal(1, count_log "has no entries")
    assert.equal(1, count_log "is well again")
  end)

  it("leaves a file alone that somebody still writes to", function()
    process.write_file(path, "ann one\n")
    start()
    local writer = assert(io.open(path, "wb"))
    writer:write "ann two\nbob"
    writer:flush()
    local ended = host.now() + 0.5
    repeat assert.equal("one/nil/1/good", ask()) until host.now() > ended
    writer:write " three\n"
    writer:close()
    wait_answer "two/nil/2/good"
  end)

  it("has the last good version after a worker is killed and after a reload", function()
    process.write_file(path, "ann one\nbob two\neve three\n")
    start()
    process.write_file(path, "ann four\n")
    wait_log "before there were 3"
    host.kill(h:workers()[1], "SIGKILL")
    process.wait_until(10, function() return #h:workers() == 2 and h:status() end, "a new worker")
    wait_answer "one/nil/3/bad"
    h:signal "SIGHUP"
    process.wait_until(10, function() return h:generation() == 2 end, "a reload")
    wait_answer "one/nil/3/bad"
  end)

  it("has one image in memory for all workers, which goes when no script uses it", function()
    process.write_file(path, "ann one\n")
    start()
    local images = {}
    for i, pid in ipairs(h:workers()) do
      images[i] = process.read_file(("/proc/%d/maps"):format(pid)):match "/dev/shm/%S+/map%-%x+%.image"
    end
    assert.truthy(images[1])
    assert.equal(images[1], images[2])
    h:write { ["10-map.lua"] = "function on_mail() end" }
    h:signal "SIGHUP"
    process.wait_until(10, function() return not process.read_file(images[1]) end, "the end of the image")
  end)

  it("lists its entries, also those of columns with a name or number", function()
    process.write_file(path, "who,id\nann,1\nbob,2\n")
    local script = [[
      local file = require "moonmilter.maps.file"
      local opened = file.open(%q, { kind = "csv", key_column = "id", value_column = 1, settle = 0.05 })
      local found = {}
      for key, value in opened:each() do found[#found + 1] = key .. "=" .. value end
      assert(not file.open(%q, { kind = "regexp", settle = 0.05 }).each)
      function on_mail(ctx) return ctx:reject(550, "5.7.1", table.concat(found, " ")) end ]]
    process.write_file(directory .. "/patterns", "/a/ b\n")
    h = host.start { workers = 1, scripts = { ["10-map.lua"] = script:format(path, directory .. "/patterns") } }
    assert.equal("1=ann 2=bob", ask())
  end)

  it("says which lines are left out", function()
    process.write_file(path, "ann one\nalone\n")
    start()
    wait_log '1 line is left out, the first: line 2: a key without a value: \\"alone'
    assert.equal("one/nil/1/good", ask())
  end)
end)
