-- Nothing is lost, doubled, half edited or judged wrongly, whatever dies, hangs or breaks, on real MTAs: every message
-- is accounted for by the client's replies, the filter's log, the MTA's log and the delivered mail.
--
-- SLOW=1 strikes for longer, a minute of the storm of reloads. LEDGER_FIGURES=FILE appends a row of figures for each
-- fault. LEDGER_ONLY=TEXT: only faults whose name has that text, =NAME: only the fault of this name.
local socket = require "socket"

local FAULTS = require "spec.ledger.faults"
local counts = require "spec.ledger.counts"
local filter = require "spec.mta.filter"
local ledger = require "spec.ledger.ledger"
local postfix = require "spec.mta.postfix"
local sendmail = require "spec.mta.sendmail"
local world = require "spec.ledger.world"

local SLOW = os.getenv "SLOW"
local ONLY = os.getenv "LEDGER_ONLY" or ""
local PATIENCE = 60 -- seconds after which a fault that has not occurred fails

local function is_wanted(fault)
  if ONLY:sub(1, 1) == "=" then return "=" .. fault.name == ONLY end
  return fault.name:find(ONLY, 1, true)
end

local function write_figures(w, fault, sums, strikes, deaths, wrong)
  local path = os.getenv "LEDGER_FIGURES"
  if not path then return end
  local file = assert(io.open(path, "a"))
  local repeated = sums.attempts - sums.messages - sums.put_off
  file:write("| " .. table.concat({ (fault.name:gsub("^while ", "")), w.kind, strikes, deaths, sums.messages,
    repeated, sums.delivered, sums.refused, sums.discarded + sums.dropped, sums.unfiltered, #wrong }, " | ") .. " |\n")
  file:close()
end

-- Adds the log's lines about workers that died and about the messages that are refused since.
local function explain(w, wrong)
  for line in w:log():gmatch "[^\n]+" do
    if line:find '"event":"poison"' or line:find '"event":"worker_ended".*"signal"' then
      wrong[#wrong + 1] = "the log says: " .. line
    end
  end
end

local function play(w, fault)
  math.randomseed(7)
  w.options = { kinds = fault.kinds, stages = fault.stages, stay = fault.stay, arguments = fault.arguments,
    through = fault.through, counts = fault.counts and counts.SOURCE }
  w:begin(w.options)
  local began, strikes = socket.gettime(), 0
  local till = began + (SLOW and (fault.long or 15) or fault.seconds)
  local needed = fault.messages or 20
  local function is_over()
    return socket.gettime() >= till and w:count '"event":"message"' >= 2 * needed
      and (not fault.enough or fault.enough(w))
  end
  while not is_over() do
    assert(socket.gettime() < till + PATIENCE, "the fault did not come about")
    strikes = strikes + 1
    local next_at = socket.gettime() + fault.every
    fault.strike(w, strikes)
    socket.sleep(math.max(0, next_at - socket.gettime()))
  end
  local sources = w:finish(fault.settle)
  local deaths, lost = w:deaths()
  if fault.masters_die then lost = lost + world.CLIENTS * #w.filters end -- and no process is left to count
  local rules = { lost = lost, is_limited = fault.counts }
  for name, value in pairs(fault.rules or {}) do rules[name] = value end
  local wrong, sums = ledger.audit(sources, rules)
  if fault.counts then counts.audit(sources, { lost = lost, deaths = deaths }, wrong) end
  for _, sentence in ipairs(w.found) do wrong[#wrong + 1] = sentence end
  write_figures(w, fault, sums, strikes, deaths, wrong)
  if #wrong > 0 then explain(w, wrong) end
  assert.same({}, wrong)
  assert.is_true(sums.messages >= needed, sums.messages .. " messages")
  assert.is_true(w.filter:running())
  if fault.is_free then assert.equal(sums.put_off, sums.tempfail) end
  if fault.alone then assert.same({ 0, sums.put_off }, { deaths, sums.tempfail }) end
  if fault.check then fault.check(w, sums) end
end

for _, mta_module in ipairs { postfix, sendmail } do
  describe("with " .. mta_module.kind .. " nothing is lost, doubled, half edited or judged wrongly", function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then
      pending(why)
      return
    end
    local shared = {} -- worlds by their MTA and settings: an MTA takes a second to start

    local function world_for(fault)
      local unix = fault.unix or mta_module.kind == "sendmail"
      if fault.mta or fault.kept then
        return world.start(mta_module,
          { unix = unix, kept = fault.kept, mta = fault.mta and fault.mta[mta_module.kind] })
      end
      shared[unix] = shared[unix] or world.start(mta_module, { unix = unix })
      return shared[unix]
    end
    teardown(function()
      for _, w in pairs(shared) do w:stop() end
    end)

    for _, fault in ipairs(FAULTS) do
      if is_wanted(fault) then
        it(fault.name, function()
          local w = world_for(fault)
          local ok, problem = xpcall(play, function(e)
            return type(e) == "string" and debug.traceback(e .. "\n" .. w:log():sub(-3000), 2) or e
          end, w, fault)
          w:end_run()
          if w ~= shared[true] and w ~= shared[false] then w:stop() end
          if not ok then error(problem, 0) end
        end)
      end
    end
  end)
end
