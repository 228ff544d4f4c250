-- `record` filled its disk: nothing bounded the directory. Since 0.1.0.
local lfs = require "lfs"
local process = require "spec.support.process"
local host = require "spec.support.host"

describe("the directory of records", function()
  local h
  after_each(function() if h then h:stop() end end)

  local function start(...)
    local directory = process.directory()
    process.run(("chown nobody %s 2>/dev/null || true"):format(directory))
    h = host.start { scripts = { ["10.lua"] = "function on_helo() end" }, workers = 1,
      arguments = { "--record=" .. directory, ... } }
    h.records = directory
  end

  local function names()
    local list = {}
    for name in lfs.dir(h.records) do
      if name:sub(1, 1) ~= "." then list[#list + 1] = name end
    end
    table.sort(list)
    return list
  end

  --- One connection that says `bytes` bytes; waits for its record. -> its name
  local function converse(bytes)
    local before, new = {}, nil
    for _, name in ipairs(names()) do before[name] = true end
    local client = h:connect()
    client:command("H", ("x"):rep(bytes or 10) .. "\0")
    client:close()
    assert.truthy(process.wait_until(5, function()
      for _, name in ipairs(names()) do new = not before[name] and name or new end
      return new
    end, "a record"))
    return new
  end

  it("holds record_files records, the newest, and what is not ours", function()
    start "--record_files=3"
    finally(function() process.run("rm -rf " .. h.records) end)
    process.write_file(h.records .. "/notes.txt", "mine")
    local all = {}
    for i = 1, 6 do all[i] = converse() end
    local expected = { "notes.txt", all[4], all[5], all[6] }
    table.sort(expected)
    assert.same(expected, names())
    h:stop()
    assert.equal(1, select(2, h:log():gsub("from now on the oldest are removed", "")))
  end)

  it("holds record_total bytes", function()
    start("--record_total=8K", "--record_max=4K")
    finally(function() process.run("rm -rf " .. h.records) end)
    local last
    for _ = 1, 8 do last = converse(3000) end
    local total, found = 0, false
    for _, name in ipairs(names()) do
      total = total + lfs.attributes(h.records .. "/" .. name, "size")
      found = found or name == last
    end
    assert.is_true(total <= 8192 and total > 3000, total)
    assert.is_true(found)
  end)
end)
