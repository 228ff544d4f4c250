--- Records made at random: our results and pyspf's (Debian's python3-spf) are the same, but for differences that are
--- listed here with the section that decides. SLOW=1: twenty times as many.
local cjson = require "cjson"
local process = require "spec.support.process"
local spf = require "moonmilter.spf"
local zone = require "spec.auth.zone"

local COUNT = os.getenv "SLOW" and 40000 or 2000

-- ---- records at random ----

local function pick(list)
  return list[math.random(#list)]
end

local NAMES = { "a.example", "b.example", "c.example", "d.example", "e.example", "void.example", "gone.example",
  "%{d}", "%{o}", "%{h}", "%{l}.a.example", "%{d2}", "x.%{d}", "%{ir}.a.example", "%{i}.%{v}.a.example",
  "%{s}.b.example", "%{d1r}.example", "%{lr-}.a.example", "%{L1r+_}.b.example", "%{p}", "%{p2}.a.example", "a.example.",
  "A.Example" }
local WRONG_NAMES = { "", "example", "a..example", "a.example-", "a.-x", "a.%{x}", "%{c}.a.example", "a.1", "%d.a",
  "%{d0}.a", ("l"):rep(64) .. ".example", "a b", "a.exam\127ple" }
local ADDRESSES = { "192.0.2.1", "192.0.2.0", "198.51.100.7", "203.0.113.5", "0.0.0.0" }
local ADDRESSES6 = { "2001:db8::1", "2001:db8:0:1::", "::", "fe80::1", "::ffff:192.0.2.1", "2001:DB8::192.0.2.1" }
local WRONG_ADDRESSES = { "", "192.0.2", "192.0.2.256", "192.0.2.01", "192.0.2.1.1", "2001:db8", ":::", "1::2::3",
  "g::" }

local function name()
  return math.random(25) == 1 and pick(WRONG_NAMES) or pick(NAMES)
end

local function prefix(most)
  local dice = math.random(40)
  return dice == 1 and "/" .. most + 1 or dice == 2 and "/" or dice == 3 and "/01" or dice < 15
    and "/" .. math.random(0, most) or ""
end

local function dual()
  return prefix(32) .. (math.random(5) == 1 and "/" .. prefix(128) or "")
end

local makers = {
  function() return "all" end,
  function() return "include:" .. name() end,
  function() return "include:" .. pick { "a.example", "b.example", "c.example" } end,
  function() return "a" .. (math.random(2) == 1 and ":" .. name() or "") .. dual() end,
  function() return "mx" .. (math.random(2) == 1 and ":" .. name() or "") .. dual() end,
  function() return "ptr" .. (math.random(2) == 1 and ":" .. name() or "") end,
  function() return "exists:" .. name() end,
  function() return "ip4:" .. (math.random(30) == 1 and pick(WRONG_ADDRESSES) or pick(ADDRESSES)) .. prefix(32) end,
  function() return "ip6:" .. (math.random(30) == 1 and pick(WRONG_ADDRESSES) or pick(ADDRESSES6)) .. prefix(128) end,
}

local function term()
  local dice = math.random(60)
  if dice == 1 then
    return pick { "x=y", "x.y=%{d}", "default=pass", "x=%", "moo", "-", "allx", "ip4", "exists", "a=b", "x=%{z}" }
  elseif dice == 2 then
    return "exp=" .. name()
  end
  local made = pick(makers)()
  if math.random(20) == 1 then
    made = made:upper()
  end
  return pick { "", "", "", "", "+", "-", "~", "?" } .. made
end

local function record()
  local terms = { pick { "v=spf1", "v=spf1", "v=spf1", "v=spf1", "V=SPF1", "v=spf1 " } }
  for _ = 1, math.random(0, 5) do
    terms[#terms + 1] = term()
  end
  if math.random(6) == 1 then
    terms[#terms + 1] = "redirect=" .. name()
  elseif math.random(3) > 1 then
    terms[#terms + 1] = pick { "-all", "~all", "?all", "+all" }
  end
  return table.concat(terms, " ")
end

local function records_of_a_name()
  local list = {}
  if math.random(4) > 1 then
    list[#list + 1] = { "TXT", { record() } }
  end
  if math.random(30) == 1 then
    list[#list + 1] = { "TXT", { pick { "v=spf1 -all", "hello", "v=spf10 -all" } } }
  end
  for _ = 1, math.random(0, 2) do
    list[#list + 1] = { "A", pick(ADDRESSES) }
    list[#list + 1] = { "AAAA", pick { "2001:db8::1", "2001:db8:0:1::", "fe80::1" } }
  end
  for i = 1, math.random(0, 3) == 3 and math.random(1, 12) or 0 do
    list[#list + 1] = { "MX", { i, pick { "a.example", "b.example", "void.example", "gone.example" } } }
  end
  if math.random(40) == 1 then
    list[#list + 1] = { pick { "TXT", "A", "MX" }, "TIMEOUT" }
  end
  return list
end

local function case()
  local made = { ["void.example"] = { { "SOA", "x" } } }
  for _, owner in ipairs { "a.example", "b.example", "c.example", "d.example", "e.example", "x.a.example",
    "ann.a.example", "ann.b.example", "mx.c.example" } do
    made[owner] = records_of_a_name()
  end
  for _, owner in ipairs { "1.2.0.192.in-addr.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa" } do
    local list = {}
    for _ = 1, math.random(0, 3) do
      list[#list + 1] = { "PTR", pick { "a.example", "mx.c.example", "gone.example" } }
    end
    made[owner] = list
  end
  return { zone = made, ip = pick { "192.0.2.1", "192.0.2.1", "198.51.100.7", "2001:db8::1", "::ffff:192.0.2.1" },
    sender = pick { "ann@a.example", "ann@b.example", "Ann-x+y_z@c.example", "", "@a.example", "ann@gone.example",
      "ann@void.example" },
    helo = pick { "mx.c.example", "a.example", "localhost", "[192.0.2.1]" } }
end

-- The row of the list that a difference is in.
local function known(disagreements, ours, theirs, their_text, ...)
  for number, row in ipairs(disagreements) do
    if (row.theirs or theirs) == theirs and (row.ours or ours) == ours
      and their_text:sub(1, #(row.text or "")) == (row.text or "") and row.holds(...) then
      return number
    end
  end
end

describe("pyspf", function()
  it(("agrees on %d records made at random"):format(COUNT), function()
    math.randomseed(tonumber(os.getenv "SEED") or 7208)
    local input, output, cases = os.tmpname(), os.tmpname(), {}
    finally(function() os.remove(input) os.remove(output) end)
    local file = assert(io.open(input, "w"))
    for i = 1, COUNT do
      cases[i] = case()
      file:write(cjson.encode(cases[i]), "\n")
    end
    file:close()
    assert.equal(0, os.execute(("/usr/bin/python3 spec/auth/pyspf_checks.py <%s >%s"):format(input, output)))
    local theirs, at, wrong, seen = process.read_file(output), 1, {}, {}
    local disagreements = dofile "spec/auth/spf_disagreements.lua"
    for i = 1, COUNT do
      local line_end = assert(theirs:find("\n", at, true))
      local their_result, their_text = theirs:sub(at, line_end - 1):match "^(%l+) ?(.*)$"
      at = line_end + 1
      local c = cases[i]
      local result, reason, _, trace = spf.check { ip = c.ip, sender = c.sender, helo = c.helo, dns = zone.dns(c.zone) }
      if result ~= their_result then
        local row = known(disagreements, result, their_result, their_text, trace, cjson.encode(c), reason)
        if row then
          seen[row] = true
        else
          wrong[#wrong + 1] = ("ours %s (%s), pyspf %s (%s): %s"):format(result, reason, their_result, their_text,
            cjson.encode(c))
        end
      end
    end
    assert.same({}, { unpack(wrong, 1, 5) })
    for number, row in ipairs(os.getenv "SLOW" and disagreements or {}) do
      assert.is_true(seen[number], "never seen: " .. row.section)
    end
  end)
end)
