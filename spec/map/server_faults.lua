--- What a map of a database lives through, the same for each kind: its server stands still, is killed and comes back;
--- a thousand ask at once and some are cancelled.
local assert = require "luassert"

local server_faults = {}

local TIMEOUT, AT_ONCE = 1, 0.5 -- seconds

--- Steps for inside.start(). `get` looks the key up and says whether that was at once; `again` looks it up until there
--- is an answer; `slow` asks a map of its own, which `again` then asks, too.
---@param of { parameters: string, slow: string?, key: string }  parameters of a map that finds the key, and of one
---  whose answer takes time
function server_faults.steps(of)
  return {
    get = ([[
      kept = kept or open(%s, { timeout = %g, pool_size = 2 })
      local began = milter.now()
      local value, text, code = kept:get %q
      return show(value or code, milter.now() - began < %g)
    ]]):format(of.parameters, TIMEOUT, of.key, AT_ONCE),
    slow = ([[
      slow = slow or open(%s, { timeout = 5, pool_size = 2 })
      return show(slow:get %q)
    ]]):format(of.slow or of.parameters, of.key),
    again = ([[
      local asked = slow or kept
      for _ = 1, 100 do
        local value = asked:get %q
        if value then return value end
        milter.sleep(0.1)
      end
      return show(asked:get %q)
    ]]):format(of.key, of.key),
  }
end

--- Time-outs, then down at once, and used again when it goes on.
---@param mta table  of inside.start(), with the steps above
---@param db table  the server
---@param value string  of the key
function server_faults.stand_still(mta, db, value)
  assert.equal(value .. "|true", mta:step "get")
  db:stop()
  local codes = {}
  for i = 1, 5 do codes[i] = mta:step "get" end
  assert.matches("^timeout|false timeout|false .*down|true down|true$", table.concat(codes, " "))
  db:go_on()
  assert.equal(value, mta:step "again")
end

--- Down at once, and used again when it is back.
function server_faults.kill(mta, db, value)
  assert.equal(value .. "|true", mta:step "get")
  db:kill()
  assert.equal("down|true", mta:step "get")
  assert.equal("down|true", mta:step "get")
  db:start()
  assert.equal(value, mta:step "again")
end

--- A step: 1,000 lookups at once of key1, key2 and so on, whose values are value1 and so on, some cancelled. It gives
--- "0 wrong, 0 failed, true".
---@param parameters string  of the map
---@param keys number  how many there are
function server_faults.crowd(parameters, keys)
  return ([[
    local m = open(%s, { pool_size = 8, timeout = 20 })
    local wrong, failed, right = 0, 0, 0
    local tasks = {}
    for i = 1, 990 do
      tasks[i] = milter.spawn(function()
        local n = i %% %d + 1
        local value, text = m:get("key" .. n)
        if text then failed = failed + 1
        elseif value ~= "value" .. n then wrong = wrong + 1
        else right = right + 1 end
      end)
    end
    for round = 1, 250 do
      if round %% 5 == 0 then milter.sleep(0.004) end
      tasks[(round * 383) %% 990 + 1]:cancel() -- also of those that have an answer by then
    end
    for i = 1, 990 do tasks[i]:wait() end
    return ("%%d wrong, %%d failed, %%s"):format(wrong, failed, tostring(right >= 740))
  ]]):format(parameters, keys)
end

return server_faults
