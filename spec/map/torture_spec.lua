-- A file that is maltreated while two workers serve: whatever is in force is one whole version. ROUNDS=100000 or SLOW=1
-- for a long run.
local host = require "spec.support.host"
local process = require "spec.support.process"

local ROUNDS = tonumber(os.getenv "ROUNDS" or "") or os.getenv "SLOW" and 100000 or 400
local ENTRIES, SETTLE = 50, 0.02
local LIFE = 60 + ROUNDS / 50 -- seconds

-- Looks at all keys in one handler, between which no version can be swapped in.
local SCRIPT = [[
  local opened = require("moonmilter.maps.file").open(%q, { kind = "texthash", settle = %g, every = 0.1, shrink = 0 })
  function on_mail(ctx)
    local first = opened:get "key1"
    for i = 1, %d do
      local value, text = opened:get("key" .. i)
      if value ~= first or not value:find "^version%%d+$" then
        return ctx:reject(550, "5.7.1", ("half: %%s has %%s and %%s %%s"):format(i, first, value, text))
      end
    end
    return ctx:reject(550, "5.7.1", "whole " .. first)
  end ]]

describe("a file that is maltreated", function()
  it("never leaves an empty or half list in force", function()
    local directory = process.directory()
    process.run(("chmod 755 %s; mkdir %s/maps"):format(directory, directory))
    local maps = directory .. "/maps"
    local lines = {}
    for i = 1, ENTRIES do lines[i] = ("key%d version0\n"):format(i) end
    process.write_file(maps .. "/list", table.concat(lines))
    local h = host.start { workers = 2, arguments = { "--user=nobody" }, life = LIFE,
      scripts = { ["10-map.lua"] = SCRIPT:format(maps .. "/list", SETTLE, ENTRIES) } }
    h:wait_serving(2, 10)
    local torturer = process.start({ "luajit", "spec/map/torturer.lua", maps, tostring(ROUNDS), tostring(ENTRIES),
      tostring(SETTLE) }, { output = directory .. "/output", life = LIFE })
    local seen, versions, asked = {}, 0, 0

    local function ask()
      local mta = h:connect()
      mta:envelope "helo"
      local reply = mta:mail "ann"
      mta:close()
      asked = asked + 1
      local version = (reply.text or ""):match "whole version(%d+)$"
      assert(version, ("after %d questions: %s"):format(asked, tostring(reply.text)))
      if not seen[version] then seen[version], versions = true, versions + 1 end
      return version
    end

    while torturer:running() do ask() end
    assert.equal("", torturer:text())
    local last = tostring(ROUNDS + 1)
    process.wait_until(20, function() return ask() == last and ask() == last and ask() == last end, "the last version")
    if ROUNDS > 1000 then
      print(("%d rounds, %d questions, %d versions seen"):format(ROUNDS, asked, versions))
    end
    assert.is_true(versions > 2)
    assert.equal(2, #h:workers())
    h:stop()
    torturer:stop()
    process.run("rm -rf " .. directory)
  end)
end)
