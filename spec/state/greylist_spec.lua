-- moonmilter.greylist: one deferral for a stranger, none for whom it knows.
local testing = require "moonmilter.testing"

local SCRIPT = [[
  local greylist = require "moonmilter.greylist"
  local grey = greylist.new { %s }
  function on_rcpt(ctx, rcpt)
    local ok, state = grey:check(ctx, rcpt, %s)
    if not ok then return ctx:tempfail(451, "4.7.1", ("%%s %%d"):format(state.reason, state.wait)) end
  end ]]

local function start(options, facts)
  local mta = testing.start { now = 1700000000, script = SCRIPT:format(options or "", facts or "nil") }
  finally(function() mta:close() end)
  return mta
end

-- From another client: a name and an address.
local function from(mta, ip, name)
  local other = mta:another()
  other:connect { ip = ip, host = name or false }
  return other
end

local function try(mta, sender, recipient)
  local result = mta:message { from = sender, to = { recipient or "bob@example.net" } }
  return result.verdict == "accept" and "accept" or result.text
end

describe("moonmilter.greylist", function()
  it("defers a stranger until it retries after the delay, and knows its domain from then on", function()
    local mta = start "delay = 60, known_for = 1000, retry_within = 900"
    assert.equal("new 60", try(mta, "ann@example.org"))
    mta:pass(30)
    assert.equal("early 30", try(mta, "ann@example.org"))
    assert.equal("new 60", try(mta, "ann@example.org", "carl@example.net"))
    mta:pass(30)
    assert.equal("accept", try(mta, "ann@example.org"))
    assert.equal("accept", try(mta, "other@EXAMPLE.org", "dora@example.net"))
    mta:pass(700)
    assert.equal("accept", try(mta, "ann@example.org"))
    mta:pass(700) -- longer than known_for after the first message, not after the last
    assert.equal("accept", try(mta, "ann@example.org"))
    mta:pass(1001)
    assert.equal("new 60", try(mta, "ann@example.org"))
  end)

  it("does not count a retry that comes too late", function()
    local mta = start "retry_within = 600"
    assert.equal("new 60", try(mta, "ann@example.org"))
    mta:pass(601)
    assert.equal("new 60", try(mta, "ann@example.org"))
  end)

  -- How large providers send: each try from another machine of a pool.
  local pools = {
    ["names of one domain"] = function(i) return ("198.51.%d.7"):format(i), ("mail-x%d.pool.example"):format(i) end,
    ["networks without names"] = function(i) return ("198.51.%d.7"):format(i) end,
    ["IPv6 networks"] = function(i) return ("2001:db8:%d::25"):format(i) end,
  }
  for what, member in pairs(pools) do
    it("defers a pool once that retries from elsewhere: " .. what, function()
      local mta = start ""
      assert.equal("new 60", try(from(mta, member(1)), "ann@pool.example"))
      mta:pass(70)
      assert.equal("accept", try(from(mta, member(2)), "ann@pool.example"))
      if what == "names of one domain" then
        for i = 3, 6 do
          assert.equal("accept", try(from(mta, member(i)), ("user%d@pool.example"):format(i), "new@example.net"))
        end
      end
    end)
  end

  it("knows a domain by its SPF result, from wherever it sends", function()
    local mta = start("", '{ spf = ctx.sender:match "@(.*)" }')
    assert.equal("new 60", try(from(mta, "198.51.1.1"), "ann@spf.example"))
    mta:pass(70)
    assert.equal("accept", try(from(mta, "203.0.113.9"), "ann@spf.example"))
    assert.equal("accept", try(from(mta, "192.0.2.200"), "ben@spf.example", "other@example.net"))
  end)

  it("keeps the null sender to its network", function()
    local mta = start ""
    assert.equal("new 60", try(from(mta, "198.51.100.1"), ""))
    mta:pass(70)
    assert.equal("new 60", try(from(mta, "203.0.113.1"), ""))
    assert.equal("accept", try(from(mta, "198.51.100.200"), ""))
  end)

  it("takes addresses of one /24 and of one /64 for one place", function()
    for same, pair in pairs {
      [true] = { "2001:db8:0:1::25", "2001:db8:0:1:ffff::1" }, [false] = { "2001:db8:0:1::25", "2001:db8:0:2::25" },
    } do
      local mta = start ""
      try(from(mta, pair[1]), "")
      mta:pass(70)
      assert.equal(same and "accept" or "new 60", try(from(mta, pair[2]), ""))
    end
  end)

  it("lets all senders of a network pass that has retried for some domains", function()
    local mta = start "allow_after = 2"
    local near = from(mta, "192.0.2.7")
    for i = 1, 2 do try(near, ("a@d%d.example"):format(i)) end
    mta:pass(70)
    for i = 1, 2 do assert.equal("accept", try(near, ("a@d%d.example"):format(i))) end
    assert.equal("accept", try(from(mta, "192.0.2.99"), "a@d3.example"))
  end)

  it("asks by a key of the script's own", function()
    local mta = start 'key = function(ctx, rcpt) return ctx.helo end'
    assert.equal("new 60", try(mta, "ann@example.org"))
    mta:pass(70)
    assert.equal("accept", try(mta, "ben@other.example", "carl@example.net"))
  end)

  it("knows a domain in both its spellings", function()
    local mta = start ""
    assert.equal("new 60", try(mta, "ann@münchen.example"))
    mta:pass(70)
    assert.equal("accept", try(mta, "ann@münchen.example"))
    assert.equal("accept", try(mta, "ben@xn--mnchen-3ya.example", "carl@example.net"))
  end)

  it("says at the script's line what is wrong with a call", function()
    for facts, wrong in pairs { ["{ spf = true }"] = "facts.spf is a boolean", ["5"] = "facts is a number" } do
      local mta = start("", facts)
      mta:message()
      assert.truthy(table.concat(mta:complaints(), "\n"):find(wrong, 1, true))
    end
    local mta = testing.start { script = [[ local grey = require "moonmilter.greylist".new {}
      function on_helo(ctx) grey:check(ctx, "ann@example.org") end ]] }
    finally(function() mta:close() end)
    mta:message()
    assert.truthy(table.concat(mta:complaints(), "\n"):find("there is no sender yet; call it in on_rcpt", 1, true))
  end)

  it("says at load what is wrong", function()
    for wrong, text in pairs { ["dely = 5"] = 'did you mean "delay"', ["delay = -1"] = "delay is -1",
      ["delay = 60, retry_within = 60"] = "must be less" } do
      local ok, why = pcall(testing.start, { script = SCRIPT:format(wrong, "nil") })
      assert.is_false(ok)
      assert.truthy(tostring(why):find(text, 1, true), tostring(why))
    end
  end)
end)
