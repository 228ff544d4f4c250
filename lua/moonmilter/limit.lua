--- Rate limits that all workers of the host share, exact over workers, reloads and killed workers.
--
--   local out = limit.new { name = "account", rate = "200/h", burst = 50 }
--   function on_rcpt(ctx)
--     local ok, state = out:take(ctx.auth and ctx.auth.authen, { of = "message" })
--     if not ok then
--       return ctx:tempfail(451, "4.7.1", ("Too many recipients; try again in %d s"):format(state.retry_after))
--     end
--   end
--
-- A limit is a bucket for each key (GCRA): it holds `burst` units, and `rate` flows back. So at most
-- burst + rate × time pass in any time.
local core = require "moonmilter.core"
local options_of = require "moonmilter.runtime.options"
local tasks = require "moonmilter.runtime.tasks"

local limit = {}

local raw = core.store
local SECONDS = { s = 1, m = 60, h = 3600, d = 86400 }
local ON_DOWN = { open = true, tempfail = true }

local OPTIONS = {
  name = { "string" },
  rate = { "string" }, -- "200/h", "10/15m"
  burst = { "number" }, -- default: the count of the rate
  on_down = { "string", "open" }, -- what take() answers when the store fails: "open" or "tempfail"
}

local buckets -- number of the store that holds the buckets of all limits

---@class moonmilter.Limit
---@field name string
local Limit = {}
Limit.__index = Limit

-- "200/h", "10/15m" -> units and seconds
local function read_rate(rate)
  local count, every, unit = rate:match "^(%d+)/(%d*)([smhd])$"
  count, every = tonumber(count), every ~= "" and tonumber(every) or 1
  if not count or count < 1 or every < 1 or count > 1e9 or every > 1e6 then
    return nil
  end
  return count, every * SECONDS[unit]
end

local function check(options)
  if type(options) ~= "table" then
    error(("limit.new: expected a table of options, got a %s"):format(type(options)), 3)
  end
  options = options_of.check("limit.new", options, OPTIONS, 3)
  if not options.name or not options.name:find "^[%w_.-]+$" or #options.name > 64 then
    error("limit.new: name must be 1 to 64 letters, digits, \"_\", \"-\" and \".\"", 3)
  end
  if not options.rate or not read_rate(options.rate) then
    error(("limit.new: rate is %s; write it as \"200/h\" or \"10/15m\" (s, m, h, d)"):format(
      options.rate and ("%q"):format(options.rate) or "missing"), 3)
  end
  if options.burst and not (options.burst >= 1 and options.burst <= 1e9) then
    error(("limit.new: burst is %s; give 1 or more"):format(tostring(options.burst)), 3)
  end
  if not ON_DOWN[options.on_down] then
    error(("limit.new: on_down is %q; it must be \"open\" or \"tempfail\""):format(options.on_down), 3)
  end
  return options
end

local function open_buckets()
  local number, text = raw.open("limits", 64 * 2 ^ 20, true, false)
  if not number then
    error(("limit.new: %s"):format(text), 3)
  end
  return number
end

--- A limit. Scripts of the same milter that name it share its buckets, and the last `rate` and `burst` rule.
---@param options { name: string, rate: string, burst: number?, on_down: string? }
---@return moonmilter.Limit
function limit.new(options)
  options = check(options)
  local count, seconds = read_rate(options.rate)
  buckets = buckets or open_buckets()
  return setmetatable({
    name = options.name, prefix = options.name .. ":", interval = seconds / count, burst = options.burst or count,
    on_down = options.on_down,
  }, Limit)
end

local function failed(self, text, code)
  return self.on_down == "open", { state = "down", text = text, code = code, remaining = 0, retry_after = self.interval,
    crossed = false }
end

local function take(self, key, count)
  local ok, remaining, retry_after, crossed = raw.take(buckets, self.prefix .. key, count, self.interval, self.burst)
  if ok == nil then
    return failed(self, remaining, retry_after)
  end
  return ok, { remaining = remaining, retry_after = retry_after, crossed = crossed, state = "shared" }
end

local function check_take(key, count, options)
  if type(key) ~= "string" then
    error(("take: the key is a %s; it must be a string, or nil for no limit"):format(type(key)), 3)
  end
  if type(count) ~= "number" or not (count > 0 and count <= 1e9) then
    error(("take: %s units; give a number above 0"):format(tostring(count)), 3)
  end
  for name, value in pairs(options or {}) do
    if name ~= "of" or value ~= "message" then
      error(("take: unknown option %s = %s; there is of = \"message\""):format(tostring(name), tostring(value)), 3)
    end
  end
end

--- Takes units from the bucket of a key. A key of nil has no limit.
---@param key string?  an account, an address, a network
---@param count number?  default 1
---@param options { of: "message"? }?  of = "message": given back unless the message passes (continue or accept)
---@return boolean ok
---@return { remaining: integer, retry_after: number, crossed: boolean, state: "shared"|"down"|"none" } state
function Limit:take(key, count, options)
  if type(count) == "table" then
    count, options = nil, count
  end
  if key == nil then
    return true, { remaining = math.huge, retry_after = 0, crossed = false, state = "none" }
  end
  count = count or 1
  check_take(key, count, options)
  local ok, state = take(self, key, count)
  if ok and state.state == "shared" and options and options.of == "message" then
    tasks.at_end(function()
      if not core.has_passed() then
        take(self, key, -count)
      end
    end)
  end
  return ok, state
end

--- What take() would answer, without taking.
---@param key string
---@param count number?  default 1
---@return boolean ok
---@return table state
function Limit:peek(key, count)
  check_take(key, count or 1)
  local ok, state = take(self, key, 0)
  if state.state == "shared" then
    ok = state.remaining >= (count or 1)
  end
  return ok, state
end

--- Fills the bucket of a key.
---@param key string
---@return boolean? was_used
---@return string? text
---@return string? code
function Limit:reset(key)
  check_take(key, 1)
  return raw.delete(buckets, self.prefix .. key)
end

return limit
