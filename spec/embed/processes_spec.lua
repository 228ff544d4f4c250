--- Several hosts in one process, on threads; and a process that forks while its host serves.
local embedding = require "spec.support.embedding"
local process = require "spec.support.process"

-- What many parts of the host share in a process: expressions, tables, stores, metrics, URLs, keys of databases.
local SCRIPT = [[
  local milter, re, map, metric = require "moonmilter", require "moonmilter.re", require "moonmilter.map",
    require "moonmilter.metric"
  local store, limit, hash = require "moonmilter.store", require "moonmilter.limit", require "moonmilter.hash"
  local senders = store.open("senders", { ttl = 60 })
  local rate = limit.new { name = "mail", rate = "100000/s", burst = 100000 }
  local seen = metric.counter("seen", { help = "Messages" })
  local expression = re.new "^a(@)"
  local known = map.open "inline:{ a@example.org=yes }"
  function on_mail(ctx)
    rate:take(ctx.sender)
    senders:set(hash.sha256(ctx.sender), true)
  end
  function on_eom(ctx)
    local sender = ctx.sender
    local task = milter.spawn(function() milter.sleep(0.001) return known:get(sender) end)
    local is_hit = expression:find(sender) ~= nil
    seen:inc()
    ctx:add_header("X-Known", tostring(task:wait()))
    ctx:add_header("X-Hit", tostring(is_hit))
  end
]]

local function lines(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

describe("hosts of one process", function()
  local directory

  setup(function()
    directory = process.directory()
    embedding.compile("spec/embed/threads.c", directory .. "/threads")
    embedding.compile("spec/embed/forks.c", directory .. "/forks", "-lev")
    process.write_file(directory .. "/thread.lua", SCRIPT)
  end)
  teardown(function() process.run("rm -rf " .. directory) end)

  it("serve on threads of their own, and reload, wake and end there", function()
    local text, status = embedding.run(("%s/threads 4 12 %s"):format(directory, directory))
    assert.equal(0, status, text)
    local expected = {}
    for i = 0, 3 do
      expected[#expected + 1] = ("host %d: 12 of 12 connections, filter saw 24 messages, reloaded"):format(i)
    end
    assert.same(expected, lines(text))
  end)

  local FORKED = {
    "parent: message begun: 1",
    "child: descriptors more than before the host: 0",
    "parent: message goes on: 1",
    "parent: the host hangs up: 1",
    "parent: the next connection: 1",
    "child: lines logged: 0",
    "child: a host of its own serves: 1",
    "parent: the child has ended with 0",
    "parent: after it, the next connection: 1",
    "parent: the socket's file is there: 0",
  }

  for _, loop in ipairs { "own", "handed" } do
    it("serve on in the parent when the process forks, and are given up in the child, loop: " .. loop, function()
      local text, status = embedding.run(("%s/forks %s %s"):format(directory, loop, directory))
      assert.equal(0, status, text)
      assert.same(FORKED, lines(text))
    end)
  end
end)
