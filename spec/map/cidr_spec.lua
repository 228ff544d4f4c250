local cidr = require "moonmilter.cidr"

local function refused(text, code, words)
  local network, why, why_code = cidr.parse(text)
  assert.is_nil(network)
  assert.equal(code, why_code)
  assert.truthy(why:find(words, 1, true), why)
end

describe("a network", function()
  it("has a family, an address, a prefix and a text", function()
    local network = cidr.parse "2001:DB8:0:0::/32"
    assert.same({ "inet6", "2001:db8::", 32, "2001:db8::/32" },
      { network.family, network.address, network.prefix, network.text })
    assert.equal("10.0.0.0/8", tostring(cidr.parse "10.0.0.0/8"))
    assert.equal(cidr.parse "10.0.0.0/8", cidr.parse "10.0.0.0/8")
  end)

  it("of one address has a text without prefix", function()
    assert.equal("192.0.2.7", cidr.parse("192.0.2.7").text)
    assert.equal("192.0.2.7", cidr.parse("192.0.2.7/32").text)
    assert.equal("::1", cidr.parse("::1/128").text)
  end)

  it("is refused when it has host bits, with both texts that may be meant", function()
    refused("10.1.0.7/8", "hostbits", 'write "10.0.0.0/8" for the network or "10.1.0.7" for the one address')
    refused("2001:db8::1/64", "hostbits", 'write "2001:db8::/64"')
    assert.equal("10.0.0.0/8", cidr.parse("10.1.0.7/8", { strict = false }).text)
  end)

  it("is refused when it is none, with what is wrong", function()
    refused("10.0.0.0/33", "badprefix", "0 to 32")
    refused("10.0.0.0/08", "badprefix", "0 to 32")
    refused("10.0.0.0/255.0.0.0", "badprefix", "0 to 32")
    refused("::/129", "badprefix", "0 to 128")
    refused("mail.example/24", "badaddress", '"mail.example/24" is not a network')
    refused("010.0.0.0/8", "badaddress", "is not a network")
    refused("fe80::1%eth0", "badaddress", "is not a network")
    refused("[2001:db8::]/32", "badaddress", "is not a network")
    refused("10.0.0.0/", "badprefix", "0 to 32")
    refused("10.0.0.0\0/8", "badaddress", "is not a network")
    refused(nil, "badaddress", "a nil is not an IP address")
    refused(("1"):rep(1e6), "badaddress", "111…")
  end)

  it("knows which addresses and networks are inside", function()
    local network = cidr.parse "192.0.2.128/25"
    assert.is_true(network:contains "192.0.2.128")
    assert.is_true(network:contains "::ffff:192.0.2.255")
    assert.is_false(network:contains "192.0.2.127")
    assert.is_false(network:contains "2001:db8::1")
    assert.is_true(network:covers "192.0.2.192/26")
    assert.is_true(network:covers(network))
    assert.is_false(network:covers "192.0.2.0/24")
    assert.is_true(cidr.contains("2001:db8::/47", "2001:db8:1:ffff::"))
    assert.is_false(cidr.contains("2001:db8::/47", "2001:db8:2::"))
    assert.is_true(cidr.contains("2001:db8::/97", "2001:db8::7fff:ffff"))
    assert.is_false(cidr.contains("2001:db8::/97", "2001:db8::8000:0"))
  end)

  it("of IPv6 contains no IPv4 address, mapped or not", function()
    assert.is_false(cidr.contains("::/0", "192.0.2.7"))
    assert.is_false(cidr.contains("::/0", "::ffff:192.0.2.7"))
    assert.is_true(cidr.contains("::ffff:0:0/96", "192.0.2.7"))
    assert.equal("192.0.2.0/24", cidr.parse("::ffff:192.0.2.0/120").text)
  end)

  it("does not know of an address that is none", function()
    for _, ip in ipairs { "unknown", "", "/var/run/x", "1.2.3.4 " } do
      local is_inside, text, code = cidr.contains("10.0.0.0/8", ip)
      assert.is_nil(is_inside)
      assert.equal("badaddress", code)
      assert.truthy(text:find(('"%s" is not an IP address'):format(ip), 1, true), text)
    end
    assert.equal("badaddress", (select(3, cidr.contains("10.0.0.0/8", nil))))
  end)

  it("around an address is a key for the customer who has it", function()
    assert.equal("192.0.2.0/24", cidr.network("192.0.2.7").text)
    assert.equal("2001:db8:1:2::/64", cidr.network("2001:db8:1:2:3:4:5:6").text)
    assert.equal("2001:db8::/32", cidr.network("2001:db8:1:2:3:4:5:6", 24, 32).text)
    assert.equal("192.0.2.7", cidr.network("192.0.2.7", 32).text)
    assert.equal("0.0.0.0/0", cidr.network("192.0.2.7", 0).text)
    assert.equal("badaddress", select(3, cidr.network "unknown"))
  end)

  it("raises at the line of a caller who writes a wrong one", function()
    local function raised(fn, words)
      local ok, text = pcall(fn)
      assert.is_false(ok)
      assert.truthy(text:find("^spec/map/cidr_spec.lua:%d+: ") and text:find(words, 1, true), text)
    end
    raised(function() cidr.contains("10.0.0.1/8", "10.0.0.1") end, "cidr.contains: \"10.0.0.1/8\" has bits set")
    raised(function() cidr.parse("10.0.0.0/8"):covers "x" end, "covers:")
    raised(function() cidr.set { "10.0.0.1/8" } end, "cidr.set:")
    raised(function() cidr.set { ["10.0.0.0/8"] = 1, ["::ffff:10.0.0.0/104"] = 2 } end, "10.0.0.0/8 is there twice")
    raised(function() cidr.set "10.0.0.0/8" end, "networks are a table")
    raised(function() cidr.set():remove "x" end, "remove:")
    raised(function() cidr.parse("10.0.0.0/8", { strickt = true }) end, "strickt")
    raised(function() cidr.network("192.0.2.7", 33) end, "inet = 33")
    raised(function() cidr.network("192.0.2.7", 24, 0.5) end, "inet6 = 0.5")
  end)
end)

describe("an address", function()
  it("has one spelling", function()
    assert.same({ "2001:db8::1", "inet6" }, { cidr.address "2001:0DB8:0:0:0:0:0:1" })
    assert.same({ "192.0.2.7", "inet" }, { cidr.address "::FFFF:c000:207" })
    assert.same({ "1:0:0:2::3", "inet6" }, { cidr.address "1:0:0:2:0:0:0:3" })
    assert.same({ "1:2:3:4:5:6:0:8", "inet6" }, { cidr.address "1:2:3:4:5:6::8" })
    assert.equal("badaddress", select(3, cidr.address "127.1"))
  end)
end)

describe("a set of networks", function()
  it("gives the value of the longest prefix, in whatever order they came", function()
    local set = cidr.set { ["0.0.0.0/0"] = "all", ["10.0.0.0/8"] = "ten", ["10.1.0.0/16"] = "ours", ["10.1.2.3"] = "me",
      ["2001:db8::/32"] = "six", ["2001:db8:0:0:1::/80"] = "in the middle", ["2001:db8::5"] = "one" }
    assert.same({ "me", "10.1.2.3" }, { (set:get "10.1.2.3"), select(2, set:get "10.1.2.3").text })
    assert.equal("ours", (set:get "10.1.2.4"))
    assert.equal("ten", (set:get "::ffff:10.2.0.1"))
    assert.equal("all", (set:get "192.0.2.7"))
    assert.equal("one", (set:get "2001:db8::5"))
    assert.equal("in the middle", (set:get "2001:db8::1:2:3:4"))
    assert.equal("six", (set:get "2001:db8::2:0:0:0"))
    assert.same({}, { set:get "2001:db9::5" })
    assert.equal(7, set:count())
  end)

  it("made from a list has the value true", function()
    local set = cidr.set { "10.0.0.0/8", cidr.parse "2001:db8::/32", "10.0.0.0/8" }
    assert.is_true((set:get "10.0.0.1"))
    assert.is_true(set:contains "2001:db8::1")
    assert.is_false(set:contains "192.0.2.7")
    assert.equal(2, set:count())
  end)

  it("does not know of an address that is none", function()
    local set = cidr.set { "0.0.0.0/0", "::/0" }
    assert.same({ nil, nil, "badaddress" }, { set:get "x", nil, select(3, set:get "x") })
    assert.is_nil((set:contains(nil)))
    assert.equal("badaddress", select(3, set:contains "fe80::1%eth0"))
  end)

  it("takes networks in and out while it serves", function()
    local set = cidr.set()
    assert.is_true(set:add("10.0.0.0/8", "a"))
    assert.is_true(set:add("10.0.0.0/8", "b"))
    assert.is_true(set:add("10.5.0.0/16", false))
    assert.equal("b", (set:get "10.1.1.1"))
    assert.is_false((set:get "10.5.0.1"))
    assert.equal("hostbits", select(3, set:add("10.5.0.1/16", 1)))
    assert.equal(2, set:count())
    assert.is_true(set:remove "10.5.0.0/16")
    assert.is_false(set:remove "10.5.0.0/16")
    assert.is_false(set:remove "2001:db8::/32")
    assert.equal("b", (set:get "10.5.0.1"))
    assert.is_true(set:remove "10.0.0.0/8")
    assert.equal(0, set:count())
    assert.same({}, { set:get "10.1.1.1" })
  end)
end)

-- ---- against Python's ipaddress; the seed is fixed ----

local random = math.random

local function ask(lines)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  local pipe = io.popen("python3 spec/map/python_networks.py <" .. path)
  local answers = {}
  for line in pipe:lines() do
    answers[#answers + 1] = line
  end
  pipe:close()
  os.remove(path)
  return answers
end

local function some_address()
  if random(2) == 1 then
    return ("%d.%d.%d.%d"):format(random(0, 255), random(0, 255), random(0, 255), random(0, 255)), 32
  end
  local groups = {}
  for i = 1, 8 do
    groups[i] = random(3) == 1 and "0" or ("%x"):format(random(0, 65535))
  end
  local text = table.concat(groups, ":")
  if random(3) == 1 then
    text = "::ffff:" .. some_address():gsub("^.*:", "")
  elseif random(2) == 1 then
    text = text:gsub(":0[:0]*:", "::", 1)
  end
  return text, 128
end

local marks = { ":", "::", ".", "0", "1", "f", "G", "/", "%", "", "", "256", "ffff" }

local function some_text()
  local text, bits = some_address()
  local kind = random(4)
  if kind == 1 then
    text = ("%s/%d"):format(text, random(0, bits + 1))
  elseif kind == 2 then
    text = (cidr.parse(("%s/%d"):format(text, random(0, bits)), { strict = false }) or { text = text }).text
  elseif kind == 3 then
    local at = random(#text)
    text = text:sub(1, at - 1) .. marks[random(#marks)] .. text:sub(at + random(0, 2))
  end
  return text
end

-- What Python reads, and we do not on purpose: interfaces ("%eth0"), masks in place of prefixes, "/08".
local function is_read_on_purpose(text)
  return text:find("%", 1, true) or text:find "/.*%." or text:find "/0%d"
end

it("networks, addresses and sets are those of Python's ipaddress", function()
  math.randomseed(17)
  local lines, ours, differ, read = {}, {}, {}, 0
  for i = 1, 20000 do
    local text = some_text()
    local network = i % 2 == 0 and cidr.parse(text)
    lines[i] = (i % 2 == 0 and "net " or "ip ") .. text
    ours[i] = i % 2 == 0 and (network and network.text or "-") or cidr.address(text) or "-"
  end
  local set = cidr.set()
  for i = 1, 2000 do
    local text, bits = some_address()
    local network = cidr.parse(("%s/%d"):format(text, random(bits / 16, bits / 2)), { strict = false })
    if network and network.family == "inet6" then -- in a corner, so that some contain others
      network = cidr.parse(("2001:%x:%x::/%d"):format(random(0, 3), random(0, 15), random(16, 64)), { strict = false })
    end
    lines[#lines + 1] = ("set %s %d"):format(network.text, i)
    if not set:remove(network) then
      set:add(network, tostring(i))
    else -- Python keeps the first
      set:add(network, "twice")
    end
  end
  local first = #lines - 2000 + 1
  local is_twice = {}
  for i = 1, 4000 do
    local ip = i % 2 == 0 and ("2001:%x:%x::%x"):format(random(0, 3), random(0, 15), i) or (some_address())
    lines[#lines + 1] = "get " .. ip
    local value = set:get(ip)
    ours[#ours + 1] = value or "-"
    is_twice[#ours] = value == "twice"
  end
  assert.equal(20001, first)
  local theirs = ask(lines)
  assert.equal(#ours, #theirs)
  for i, answer in ipairs(ours) do
    read = read + (answer ~= "-" and 1 or 0)
    local line = i <= 20000 and lines[i] or lines[i + 2000]
    if answer ~= theirs[i] and not is_twice[i] and not is_read_on_purpose(line) then
      differ[#differ + 1] = ("%s: ours %s, Python %s"):format(line, answer, theirs[i])
    end
  end
  assert.same({}, differ)
  assert.is_true(read > 10000)
end)
