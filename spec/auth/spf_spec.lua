--- RFC 7208's public suite: with a table as DNS, and inside a host whose resolver asks a name server.
local process = require "spec.support.process"
local fake_mta = require "spec.support.fake_mta"
local spf = require "moonmilter.spf"
local zone = require "spec.auth.zone"

local SUITE = "spec/auth/fixtures/spf/rfc7208-tests.yml"
local scenarios = zone.documents(SUITE)

-- What the suite wants, and what came: nil when they agree. It says "DEFAULT" where there is no explanation to give.
local function disagreement(test, result, explanation)
  local wanted = type(test.result) == "table" and test.result or { test.result }
  for _, one in ipairs(wanted) do
    if one == result and (test.explanation == nil or test.explanation == (explanation or "DEFAULT")) then
      return nil
    end
  end
  return ("%s %s, wanted %s %s"):format(result, tostring(explanation), table.concat(wanted, " or "),
    tostring(test.explanation))
end

local function each_test(fn)
  local count = 0
  for number, scenario in ipairs(scenarios) do
    for name, test in pairs(scenario.tests) do
      count = count + 1
      fn(number, name, test)
    end
  end
  return count
end

describe("the suite of RFC 7208", function()
  it("agrees in 203 of 203 cases with a table as DNS", function()
    local wrong = {}
    local zones = {}
    for number, scenario in ipairs(scenarios) do
      zones[number] = zone.of(scenario.zonedata)
    end
    assert.equal(203, each_test(function(number, name, test)
      local result, reason, explanation, trace = spf.check { ip = test.host, sender = test.mailfrom, helo = test.helo,
        dns = zone.dns(zones[number]) }
      wrong[name] = disagreement(test, result, explanation)
      assert.is_true(#reason > 0 and not reason:find "[^ -~]", name)
      assert.is_true(trace.lookups <= 11 and trace.voids <= 3, name)
    end))
    assert.same({}, wrong)
  end)

  -- A scenario is a name server of its own, and one message; its handler runs all tests and writes down what came.
  local SCRIPT = [[
    local dns, spf = require "moonmilter.dns", require "moonmilter.spf"
    function on_mail(ctx, sender)
      local path = sender:match "^(.*)@"
      local task = dofile(path)
      dns.configure { servers = { "127.0.0.1:" .. task.port }, timeout = 0.3, cache = 1000 }
      local results = {}
      for name, test in pairs(task.tests) do
        local result, _, explanation = spf.check { ip = test.host, sender = test.mailfrom, helo = test.helo }
        results[#results + 1] = ("[%q] = { %q, %s }"):format(name, result, explanation and ("%q"):format(explanation)
          or "nil")
      end
      local file = assert(io.open(path .. ".results", "w"))
      file:write("return {", table.concat(results, ","), "}")
      file:close()
    end
  ]]

  -- c-ares 1.28 and later ask only for names of letters, digits and "-._/*", and refuse a TXT record without a string
  -- (docs/dns.md).
  local STRICT = {
    ["a-colon-domain"] = "neutral nil, wanted pass nil", ["a-colon-domain-ip4mapped"] = "neutral nil, wanted pass nil",
    ["mx-colon-domain"] = "neutral nil, wanted pass nil",
    ["mx-colon-domain-ip4mapped"] = "neutral nil, wanted pass nil",
    ["macro-mania-in-domain"] = "fail nil, wanted pass nil", ["null-text"] = "temperror nil, wanted pass nil",
  }

  local function is_strict()
    local major, minor = process.run("pkg-config --modversion libcares"):match "^(%d+)%.(%d+)"
    return tonumber(major) > 1 or tonumber(minor) >= 28
  end

  it("agrees in all cases that the resolver can ask, when the host asks a name server", function()
    local mta = fake_mta.start { script = SCRIPT, set = { "stage_deadline=30" } }
    finally(function() mta:close() end)
    mta:begin()
    local results = {}
    for number, scenario in ipairs(scenarios) do
      local server, path = zone.serve(zone.of(scenario.zonedata)), os.tmpname()
      zone.save({ port = server.port, tests = scenario.tests }, path)
      assert.equal("continue", mta:mail("<" .. path .. "@spec.example>").kind)
      mta:abort()
      server.stop()
      results[number] = dofile(path .. ".results")
      os.remove(path)
      os.remove(path .. ".results")
    end
    local wrong = {}
    assert.equal(203, each_test(function(number, name, test)
      wrong[name] = disagreement(test, results[number][name][1], results[number][name][2])
    end))
    assert.same(is_strict() and STRICT or {}, wrong)
  end)
end)
