-- The ledger is judged, too: it accepts what really happened, and finds each possible fault.
local filter = require "spec.mta.filter"
local ledger = require "spec.ledger.ledger"
local postfix = require "spec.mta.postfix"
local sendmail = require "spec.mta.sendmail"
local world = require "spec.ledger.world"

local socket = require "socket"

local KINDS = "keep,refuse,keep,rcpt,keep,discard,fields,later"

-- A copy that can be changed without affecting the sources.
local function copy_of(value)
  if type(value) ~= "table" then return value end
  local copy = {}
  for k, v in pairs(value) do copy[k] = copy_of(v) end
  return setmetatable(copy, getmetatable(value))
end

local function delivered_of(sources, kind)
  for i, copy in ipairs(sources.delivered) do
    if copy.sender:find("." .. kind .. ".", 1, true) then return copy, i end
  end
end

local function attempt_of(sources, kind, number)
  for _, attempt in ipairs(sources.attempts) do
    if attempt.id.kind == kind and attempt.id.attempt == (number or 1) then return attempt end
  end
end

local function header_of(copy, name)
  for i, field in ipairs(copy.headers) do
    if field.name == name then return field, i end
  end
end

-- Manipulations of the sources of a calm run, and the ledger's expected findings.
local DOCTORED = {
  ["a lost message"] = { "lost: ", function(s)
    local _, i = delivered_of(s, "keep")
    table.remove(s.delivered, i)
  end },
  ["a lost message that the MTA does not know either"] = { "lost: ", function(s)
    local copy, i = delivered_of(s, "keep")
    table.remove(s.delivered, i)
    s.mta[copy.sender:match "^[^@]+"].sent = 0
  end },
  ["a message delivered twice"] = { "doubled: ", function(s)
    s.delivered[#s.delivered + 1] = copy_of((delivered_of(s, "keep")))
  end },
  ["a delivered message that was refused to the client"] = { "delivered, but the client was "
    .. "told 550", function(s)
    local copy = copy_of((delivered_of(s, "keep")))
    copy.sender = attempt_of(s, "refuse").id.name .. "@one.example"
    header_of(copy, "Message-Id").value = ("<%s@one.example>"):format(attempt_of(s, "refuse").id.token)
    s.delivered[#s.delivered + 1] = copy
  end },
  ["a message that no client sent"] = { "no client has sent it", function(s)
    local copy = copy_of((delivered_of(s, "keep")))
    copy.sender = "eve@one.example"
    s.delivered[#s.delivered + 1] = copy
  end },
  ["a missing edit"] = { "half an edit: 2 of 3", function(s)
    local copy = delivered_of(s, "keep")
    table.remove(copy.headers, select(2, header_of(copy, "X-Last")))
  end },
  ["a doubled edit"] = { "half an edit: 4 of 3", function(s)
    local copy = delivered_of(s, "keep")
    table.insert(copy.headers, { name = "X-First", value = "1" })
  end },
  ["a truncated body"] = { "half an edit: the body", function(s)
    local copy = delivered_of(s, "keep")
    copy.body = copy.body:sub(1, -3)
  end },
  ["an old subject"] = { "half an edit: the subject", function(s)
    header_of(delivered_of(s, "keep"), "Subject").value = "as sent"
  end },
  ["a field that the filter did not see, or not in its place"] = { "half an edit: the filter saw", function(s)
    local echo = header_of(delivered_of(s, "fields"), "X-Echo")
    echo.value = echo.value:gsub("100$", "99")
  end },
  ["two fields that changed places"] = { "half an edit: 100 of 100 fields", function(s)
    local first, at = header_of(delivered_of(s, "fields"), "X-Field")
    local second = delivered_of(s, "fields").headers[at + 1]
    first.value, second.value = second.value, first.value
  end },
  ["a field that was not delivered"] = { "half an edit: 99 of 100 fields", function(s)
    local copy = delivered_of(s, "fields")
    table.remove(copy.headers, select(2, header_of(copy, "X-Field")))
  end },
  ["the filter's view of another message"] = { "half an edit: the filter saw", function(s)
    header_of(delivered_of(s, "keep"), "X-Echo").value = "ann@one.example bob@two.example 12 0"
  end },
  ["a message without any edit"] = { "delivered unfiltered", function(s)
    local copy = delivered_of(s, "keep")
    for _, name in ipairs { "X-First", "X-Echo", "X-Last" } do table.remove(copy.headers,
      select(2, header_of(copy, name))) end
    header_of(copy, "Subject").value = "as sent"
    local id = require("spec.ledger.message").parse(copy.sender)
    copy.body = require("spec.ledger.message").compose(id).data:match "\n\n(.*)$"
  end },
  ["an unjustified refusal"] = { "a fault became permanent", function(s)
    local attempt = attempt_of(s, "keep")
    attempt.code, attempt.text = 554, "5.0.0 no"
  end },
  ["a missing refusal"] = { "refuse ended as 250", function(s)
    local attempt = attempt_of(s, "refuse")
    attempt.code, attempt.text = 250, "2.0.0 Ok"
  end },
  ["a message that is never accepted"] = { "keep ended as 451", function(s)
    local attempt = attempt_of(s, "keep")
    attempt.code, attempt.text = 451, "4.3.0 later"
  end },
  ["a missing log line"] = { "outcomes without a line", function(s)
    s.lines[attempt_of(s, "keep").id.name] = nil
  end },
  ["a second log line"] = { "two outcome lines", function(s)
    local lines = s.lines[attempt_of(s, "keep").id.name]
    lines[#lines + 1] = lines[1]
  end },
  ["another verdict in the log"] = { "the log says reject", function(s)
    for _, line in ipairs(s.lines[attempt_of(s, "keep").id.name]) do line.verdict = "reject" end
  end },
  ["another queue id in the log"] = { "our log has", function(s)
    for _, line in ipairs(s.lines[attempt_of(s, "keep").id.name]) do line.queue_id = "4Qother" end
  end },
  ["another queue id at the MTA"] = { "the MTA's log has", function(s)
    s.mta[attempt_of(s, "keep").id.name].queue_id = "4Qother"
  end },
  ["a delivery that the MTA's log does not know"] = { "the MTA's log says delivered 0 times, the "
    .. "sink has 1", function(s)
    s.mta[attempt_of(s, "keep").id.name].sent = 0
  end },
  ["a refusal that the MTA's log does not know"] = { "the MTA's log says nil", function(s)
    s.mta[attempt_of(s, "refuse").id.name].refused = nil
  end },
  ["a verdict that did not reach the MTA"] = { "did not reach the MTA", function(s)
    local attempt = attempt_of(s, "later")
    for _, line in ipairs(s.lines[attempt.id.name]) do line.verdict = "continue" end
  end },
  ["a first attempt that the filter should have deferred"] = { "its first attempt was taken", function(s)
    attempt_of(s, "later").code = 250
  end },
}

for _, mta_module in ipairs { postfix, sendmail } do
  describe("the ledger, with " .. mta_module.kind, function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then
      pending(why)
      return
    end
    local w, sources

    setup(function()
      w = world.start(mta_module, { unix = mta_module.kind == "sendmail" })
      w:begin { kinds = KINDS, stages = "none" }
      socket.sleep(2)
      sources = w:finish()
    end)
    teardown(function() w:stop() end)

    it("finds nothing wrong in a calm run, and every message in all four places", function()
      local wrong, sums = ledger.audit(copy_of(sources))
      assert.same({}, wrong)
      assert.is_true(sums.messages > 20, sums.messages .. " messages")
      assert.equal(sums.messages, sums.delivered + sums.refused + sums.discarded)
      assert.equal(sums.attempts - sums.messages, sums.tempfail)
      assert.same({ 0, 0, 0, 0 }, { sums.unfiltered, sums.unlogged, sums.untaken, sums.unanswered })
    end)

    for what, case in pairs(DOCTORED) do
      it("finds " .. what, function()
        local doctored = copy_of(sources)
        case[2](doctored)
        local wrong = ledger.audit(doctored)
        assert.truthy(table.concat(wrong, "\n"):find(case[1], 1, true), table.concat(wrong, "\n"))
      end)
    end

    it("accepts unfiltered mail only where the MTA is configured to pass it", function()
      local doctored = copy_of(sources)
      DOCTORED["a message without any edit"][2](doctored)
      local copy = delivered_of(doctored, "keep")
      doctored.lines[copy.sender:match "^[^@]+"] = nil
      local wrong, sums = ledger.audit(doctored, { may_pass = true })
      assert.same({}, wrong)
      assert.equal(1, sums.unfiltered)
      assert.is_true(#ledger.audit(doctored) > 0)
    end)

    it("a verdict whose worker died before sending it, when the MTA lets mail pass, as often as sessions "
      .. "were lost", function()
      local doctored = copy_of(sources)
      DOCTORED["a message without any edit"][2](doctored) -- its line is still there
      local wrong, sums = ledger.audit(doctored, { may_pass = true, lost = 1 })
      assert.same({}, wrong)
      assert.equal(1, sums.untaken)
      assert.is_true(#ledger.audit(doctored, { may_pass = true }) > 0)
    end)
  end)
end
