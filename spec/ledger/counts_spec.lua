-- The audit of the ledger's sums is judged, too: it accepts what can happen, and finds each fault.
local counts = require "spec.ledger.counts"
local message = require "spec.ledger.message"

-- Two clients send a block: of 16 messages the first ten pass, the others are above the limit. The audit knows all the
-- figures from here, so they are written out: limit 10, blocks of 8, 3000 takes at each end of message.
local function sources()
  local attempts, number = {}, 0
  for i = 1, 8 do
    for client = 1, 2 do
      number = number + 1
      local passes = number <= 10
      attempts[number] = { id = message.parse(("ledger-x-%d-%d.keep.eom.1@"):format(client, i)),
        copies = passes and { {} } or {},
        lines = { { number = number, verdict = passes and "continue" or "reject",
          reply = not passes and "550 5.7.1 above the limit" or nil } } }
    end
  end
  return { attempts = attempts, units = 10, takes = 16 * 3000, counted = 10, counts = 16 * 3000 }
end

local function audit(s, lost, deaths)
  s.limits = { ("key=ledger:block0 full_in=%d crossed=yes\n"):format(s.units * 86400 - 5),
    ("key=churn:all full_in=%d crossed=no\n"):format(s.takes * 86400 - 5) }
  s.tally = ("key=block0 ttl=never value=%d\nkey=worker1 ttl=never value=%d\nkey=worker2 ttl=never value=500\n"):format(
    s.counted, s.counts - 500)
  local wrong = {}
  counts.audit(s, { lost = lost or 0, deaths = deaths or 0 }, wrong)
  return table.concat(wrong, "\n")
end

-- So many of those that passed never came to an end; the units may be taken.
local function lose(s, count)
  for i = 10, 11 - count, -1 do s.attempts[i].copies, s.attempts[i].lines = {}, {} end
  s.counted, s.takes, s.counts = 10 - count, s.takes - 3000 * count, s.counts - 3000 * count
end

local FAULTS = {
  ["a message above the limit"] = { "11 passed, the limit is 10", function(s)
    s.attempts[11].copies = { {} }
  end },
  ["a unit above the limit"] = { "11 units are taken", function(s) s.units = 11 end },
  ["a take that is lost"] = { "10 passed, but 9 units are taken", function(s) s.units = 9 end },
  ["a count that is lost"] = { "10 passed, but the store counted 9", function(s) s.counted = 9 end },
  ["a count too many"] = { "the store counted 1 that did not pass", function(s) s.counted = 11 end },
  ["a unit that was not given back"] = { "1 units were not given back", function(s) lose(s, 1) end },
  ["a refusal far below the limit"] = { "was refused when 6 had passed", function(s)
    lose(s, 4)
    s.units = 6
  end },
  ["a limit that refuses the last unit"] = { "no bucket was ever empty", function(s)
    lose(s, 1)
    s.units = 9
  end },
  ["a take of many that is lost"] = { "1 of 48000 takes are missing", function(s) s.takes = s.takes - 1 end },
  ["a take that is done twice"] = { "48001 takes and 48000 counts", function(s) s.takes = s.takes + 1 end },
  ["a count of many that is lost"] = { "48000 takes and 47999 counts", function(s) s.counts = s.counts - 1 end },
  ["takes of no message"] = { "51001 takes, but 16 ends of message", function(s)
    s.takes, s.counts = s.takes + 3001, s.counts + 3001
  end, 1 },
}

describe("the audit of the ledger's sums", function()
  it("accepts sums that are right", function() assert.equal("", audit(sources())) end)

  it("accepts what a worker that died explains", function()
    local s = sources()
    lose(s, 1) -- its unit is kept
    s.counted = 10
    s.takes, s.counts = s.takes + 501, s.counts + 500
    assert.equal("", audit(s, 1, 1))
  end)

  it("knows the workers that died while they took", function()
    local tally = "key=worker7 ttl=never value=500\nkey=worker8 ttl=never value=6000\nkey=worker9 ttl=never value=1\n"
    assert.equal(1, counts.torn(tally, { 9 }))
    assert.equal(0, counts.torn(tally, { 7, 9 }))
  end)

  for what, case in pairs(FAULTS) do
    it("finds " .. what, function()
      local s = sources()
      case[2](s)
      local wrong = audit(s, case[3])
      assert.truthy(wrong:find(case[1], 1, true), wrong)
    end)
  end
end)
