-- Examples that keep something: limits, greylisting, who wrote to whom, duplicates, call-outs. Each with both outcomes.
local testing = require "moonmilter.testing"

local function start(name, options)
  options = options or {}
  options.now, options.scripts = 1700000000, { "examples/" .. name }
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

describe("outgoing-limit.lua", function()
  local function login(mta, user)
    local other = mta:another()
    other:connect { auth = user }
    return other
  end

  it("limits recipients of a login, gives back what did not pass, and raises one alarm", function()
    local mta = start("outgoing-limit.lua", { settings = { rate = "4/h", burst = 4 } })
    local ann = login(mta, "ann")
    assert.equal("accept", ann:message { to = { "a@x.example", "b@x.example", "c@x.example" } }.verdict)
    local result = ann:message { to = { "d@x.example", "e@x.example", "f@x.example" } }
    assert.same({ "<d@x.example>" }, result.recipients)
    assert.matches("^451", result.refused["<e@x.example>"].smtp)
    assert.matches("^451", result.refused["<f@x.example>"].smtp)
    assert.equal(1, #mta:complaints())
    assert.matches("account ann has reached its limit", mta:complaints()[1])
    assert.equal("accept", login(mta, "ben"):message().verdict)
    assert.equal("accept", mta:message { to = { "1@x.example", "2@x.example", "3@x.example", "4@x.example",
      "5@x.example" } }.verdict) -- without a login
    mta:pass(900)
    assert.equal("accept", ann:message().verdict)
  end)
end)

describe("domain-limit.lua", function()
  it("holds back what is too much for a domain", function()
    local mta = start("domain-limit.lua", { settings = { slow_domains = { "slow.example" } } })
    local counts = { ["a@slow.example"] = 0, ["a@quick.example"] = 0 }
    for _ = 1, 40 do
      for to in pairs(counts) do
        counts[to] = counts[to] + (mta:message { to = { to } }.verdict == "accept" and 1 or 0)
      end
    end
    assert.same({ ["a@slow.example"] = 10, ["a@quick.example"] = 30 }, counts)
    mta:pass(6)
    assert.equal("accept", mta:message { to = { "a@SLOW.example" } }.verdict)
  end)
end)

describe("greylist.lua", function()
  it("defers a stranger once, and nobody who has logged in", function()
    local mta = start("greylist.lua", { settings = { durable = false } })
    assert.equal("Greylisted, please try again in 60 seconds", mta:message().text)
    mta:pass(61)
    assert.equal("accept", mta:message().verdict)
    local ann = mta:another()
    ann:connect { auth = "ann" }
    assert.equal("accept", ann:message { from = "new@example.net" }.verdict)
  end)
end)

describe("write-back.lua", function()
  it("marks mail from those our users have written to", function()
    local mta = start("write-back.lua", { settings = { durable = false } })
    assert.is_nil(mta:message { from = "friend@example.net" }.message:get "X-Known-Sender")
    local ann = mta:another()
    ann:connect { auth = "ann" }
    ann:message { to = { "Friend@example.net" } }
    assert.equal("yes", mta:message { from = "friend@example.net" }.message:get "X-Known-Sender")
    assert.is_nil(mta:message { from = "stranger@example.net", headers = { { "X-Known-Sender", "yes" } } }.message:get
      "X-Known-Sender")
  end)
end)

describe("duplicates.lua", function()
  it("takes a message once, for the same recipients, within a day", function()
    local mta = start "duplicates.lua"
    local function send(id, to)
      return mta:message { to = { to or "bob@example.net" }, headers = { { "Message-ID", id } } }.verdict
    end
    assert.equal("accept", send "<1@x>")
    assert.equal("discard", send "<1@x>")
    assert.equal("accept", send("<1@x>", "carl@example.net"))
    assert.equal("accept", send "<2@x>")
    assert.equal("accept", mta:message { headers = {} }.verdict)
    assert.equal("accept", mta:message { headers = {} }.verdict)
  end)
end)

describe("callout.lua", function()
  it("asks once for each recipient, and refuses only who does not exist", function()
    local mta = start("callout.lua", { settings = { directory = "http://directory.example/exists" },
      http = function(request)
        if request.body == "nobody@example.net" then return { status = 404 } end
        if request.body == "broken@example.net" then return { status = 500 } end
        return { status = 200 }
      end })
    local function rcpt(to) return mta:message { to = { to } }.smtp:sub(1, 3) end
    assert.equal("250", rcpt "bob@example.net")
    assert.equal("250", rcpt "BOB@example.net")
    assert.equal("550", rcpt "nobody@example.net")
    assert.equal("550", rcpt "nobody@example.net")
    assert.equal("451", rcpt "broken@example.net")
    assert.equal("451", rcpt "broken@example.net")
    assert.equal(4, #mta:asked "http")
  end)

  it("does not load without its setting", function()
    local ok, why = pcall(start, "callout.lua")
    assert.is_false(ok)
    assert.matches("directory is missing", tostring(why))
  end)
end)
