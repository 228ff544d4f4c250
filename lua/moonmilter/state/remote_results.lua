--- Results of memos that several hosts share, on a Redis server, whose clock ends lives. One caller for a key over all
--- hosts: it has a claim on the server, and the others wait for its result. (With a caller on each host, the end of a
--- result that all hosts use would call a slow directory a hundred times at once. The price is a claim for each
--- call of the function, and one waiting task for each host and key.)
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local portable = require "moonmilter.state.portable"
local remote = require "moonmilter.state.remote"
local tasks = require "moonmilter.runtime.tasks"
local wait = require "moonmilter.runtime.wait"

local remote_results = {}

local sleep = wait.wrap(core.sleep)

local POLL = 0.1 -- seconds between looks at what another host is finding out
local LEASE = 30 -- seconds after which a host that claims is taken for dead; renewed every third of it

-- Keys: the result and its claim. What to do: 'look', or 'claim' when there is no fresh result; who asks; milliseconds
-- of the lease and of the stale time of a value. The reply: the bytes, the milliseconds that it is fresh (0 or less:
-- it is stale), and whether it is claimed: 'mine', 'others' or 'no'.
local ASK = [[
local bytes, life = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
local fresh = bytes and life - (string.sub(bytes, 1, 1) == '-' and 0 or tonumber(ARGV[4])) or 0
local claimed = 'no'
if ARGV[1] == 'claim' and fresh <= 0 then
  claimed = redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) and 'mine' or 'others'
end
return { bytes, string.format('%.0f', fresh), claimed }
]]

-- Keys: the result and its claim. Who has it; the bytes, or '' for none; milliseconds that they live. The claim goes if
-- it is still ours.
local FINISH = [[
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
]]

local RENEW = [[
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0
]]

local Results = {}
Results.__index = Results

local me = core.store.unique()

--- of: { name, server, ttl, stale, negative }
function remote_results.new(of)
  of.prefix = "moonmilter:memo:"
  return setmetatable(of, Results)
end

local function names_of(self, key)
  local name = self.prefix .. "{" .. self.name .. ":" .. core.store.digest(key) .. "}"
  return { name, name .. ":claim" }
end

-- A result as bytes: "-" for "there is none", else "+" and the value.
local function write(value)
  return value == nil and "-" or "+" .. assert(portable.write(value))
end

local function read(bytes)
  if bytes:sub(1, 1) == "+" then
    return portable.read(bytes:sub(2))
  end
end

local function milliseconds(seconds)
  return ("%.0f"):format(math.ceil(seconds * 1000))
end

-- Asks once. -> found: { value =, fresh = seconds }, or nil; claimed; nil, nil, text, code when the server fails
local function ask(self, names, what)
  local reply, text, code = self.server:use("script", ASK, names,
    { what, me, LEASE * 1000, milliseconds(self.stale) })
  if not reply then
    return nil, nil, text, code
  end
  local found = reply[1] and { value = read(reply[1]), fresh = tonumber(reply[2]) / 1000 } or nil
  return found, reply[3]
end

local function renew_for_ever(self, claim)
  while true do
    sleep(LEASE / 3)
    self.server:use("script", RENEW, { claim }, { me, LEASE * 1000 })
  end
end

--- What is there, or the right to find it out. found: { value, fresh }, fresh 0 or less when it is stale, which comes
--- only with takes_stale. claim: give it to finish(). Both nil: the server fails.
function Results:obtain(key, takes_stale)
  local names = names_of(self, key)
  while true do
    local found, claimed, text, code = ask(self, names, "claim")
    if not claimed then
      return nil, nil, text, code
    elseif found and (found.fresh > 0 or takes_stale and claimed == "others") then
      return found
    elseif claimed == "mine" then
      local is_renewed, renewal = pcall(tasks.spawn, renew_for_ever, self, names[2])
      return nil, { names = names, renewal = is_renewed and renewal or nil }
    end
    sleep(POLL)
  end
end

--- Ends a claim, with a result (is_result) or without.
function Results:finish(claim, is_result, value)
  if claim.renewal then
    claim.renewal:cancel()
  end
  local fresh = value == nil and self.negative or self.ttl
  local bytes, life = "", 0
  if is_result and fresh > 0 then
    bytes, life = write(value), fresh + (value ~= nil and self.stale or 0)
  end
  local done, text = self.server:use("script", FINISH, claim.names, { me, bytes, milliseconds(life) })
  if not done then
    log.debug("memo %s: the server did not take the result: %s", self.name, text)
  end
end

--- Forgets one result.
---@return boolean? was_there, string? text, string? code
function Results:forget(key)
  local count, text, code = self.server:use("call", "DEL", names_of(self, key)[1])
  if not count then
    return nil, text, code
  end
  return tonumber(count) > 0
end

--- Forgets all.
function Results:clear()
  return remote.clear(self.server, self.prefix .. "{" .. self.name .. ":")
end

return remote_results
