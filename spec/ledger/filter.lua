-- The filter of the ledger: its actions depend only on the sender (message.lua). luacheck: allow defined top, ignore
-- 131
local ffi = require "ffi"
local milter = require "moonmilter"

local MARK = "start"
local STAY = 0.02 -- seconds for which a first attempt waits at its stage
local COUNTS = nil -- of counts.lua, when each message takes from a limit and counts in a store

local FIELD_TAKES = 0.0005 -- seconds; ten of them are a turn of the loop (MM_TURN)

ffi.cdef "struct ledger_time { long s, ns; }; int clock_gettime(int, struct ledger_time *); int getpid(void);"
local time = ffi.new "struct ledger_time"
local function now()
  ffi.C.clock_gettime(1, time)
  return tonumber(time.s) + tonumber(time.ns) / 1e9
end

local TROUBLES = {
  loop = function() while true do end end, -- luacheck: ignore 542
  catch = function() while true do pcall(function() while true do end end) end end, -- luacheck: ignore 542
  stuck = function() return (("a."):rep(2000)):find ".-.-.-.-.-.-b" end,
  poison = function() ffi.cast("int *", 8)[0] = 1 end, -- the worker dies
  eat = function()
    local t = {}
    while t do t[#t + 1] = {} end
  end,
  raise = function() error "on purpose" end,
  long = function() milter.sleep(60) end,
}

-- ---- what all workers share ----

local shared, churn, tally
if COUNTS then
  local limit, store = require "moonmilter.limit", require "moonmilter.store"
  shared = limit.new { name = "ledger", rate = "1/1d", burst = COUNTS.limit }
  churn, tally = limit.new { name = "churn", rate = "1/1d", burst = 1e9 }, store.open "tally"
end

-- A message of a client's block takes a unit of that block; above the limit, it is refused at its end.
local function take(m)
  local number = tonumber(m.token and m.token:match "%d+$")
  if not shared or not number then return end
  m.block = "block" .. math.floor((number - 1) / COUNTS.block)
  m.is_above = not shared:take(m.block, { of = "message" })
end

-- So many takes and counts that a worker that is killed dies in one of them.
local function count()
  local worker = "worker" .. ffi.C.getpid()
  for _ = 1, shared and COUNTS.churn or 0 do
    churn:take "all"
    tally:incr(worker)
  end
end

-- ---- handlers ----

-- The message is at its stage for the first time: wait, or make trouble.
local function stand(ctx, stage)
  local m = ctx.message
  if m.at ~= stage or m.attempt ~= "1" then return end
  m.at = nil
  if TROUBLES[m.kind] then return TROUBLES[m.kind]() end
  milter.sleep(STAY)
end

-- The client connects from this address, or sends this name, when it has a message for these stages.
function on_connect(ctx)
  if ctx.client.ip == "127.0.0.9" then milter.sleep(STAY) end
end

function on_helo(_, name)
  if name == "wait.example" then milter.sleep(STAY) end
end

function on_mail(ctx, sender)
  local m = ctx.message
  m.token, m.kind, m.at, m.attempt = sender:match "^(%l+%-[%w-]+)%.(%l+)%.(%l+)%.(%d+)@"
  m.bytes, m.fields = 0, 0
  take(m)
  stand(ctx, "mail")
end

function on_rcpt(ctx, recipient)
  stand(ctx, "rcpt")
  if recipient:match "^refuse%-" then return ctx:reject(550, "5.7.1", "no such recipient") end
end

function on_data(ctx) stand(ctx, "data") end

function on_header(ctx, name, value)
  stand(ctx, "header")
  local m = ctx.message
  if name ~= "X-Field" or value ~= ("%s %d"):format(m.token, m.fields + 1) then return end
  m.fields = m.fields + 1
  local till = now() + FIELD_TAKES
  while now() < till do end -- luacheck: ignore 542
end

function on_eoh(ctx) stand(ctx, "eoh") end

function on_body(ctx, chunk)
  stand(ctx, "body")
  ctx.message.bytes = ctx.message.bytes + #chunk
end

local VERDICTS = {
  refuse = function(ctx) return ctx:reject(550, "5.7.1", "refused by the filter") end,
  discard = function(ctx) return ctx:discard() end,
  later = function(ctx)
    if ctx.message.attempt == "1" then return ctx:tempfail(451, "4.7.1", "later, says the filter") end
  end,
}

local function is_passed(m)
  return not VERDICTS[m.kind] or m.kind == "later" and m.attempt ~= "1"
end

function on_eom(ctx)
  local m = ctx.message
  if not m.token then return end
  ctx:add_header("X-First", "1")
  ctx:add_header("X-Echo", ("%s %s %d %d"):format(ctx.sender, ctx.recipients[1].address, m.bytes, m.fields))
  count()
  stand(ctx, "eom")
  if m.is_above then return ctx:reject(550, "5.7.1", "above the limit") end
  if VERDICTS[m.kind] then VERDICTS[m.kind](ctx) end
  ctx:change_header("Subject", 1, "kept by " .. MARK)
  local line = "new body of " .. m.token .. "\r\n"
  ctx:replace_body(line:rep(m.kind == "large" and 80000 or m.bytes > 65535 and 2000 or 1))
  ctx:add_header("X-Last", "2")
  if m.block and is_passed(m) then tally:incr(m.block) end
end
