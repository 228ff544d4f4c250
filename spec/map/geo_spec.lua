--- moonmilter.geo: MaxMind DBs, written by the spec, in a host; and the reader against libmaxminddb.
local ffi = require "ffi"
local host = require "spec.support.host"
local mmdb = require "spec.support.mmdb"
local process = require "spec.support.process"
local tables = require "spec.support.tables"
local testlib = require "spec.support.testlib"

local lib = testlib.load "map/geo.h"

local RECORD = {
  continent = { code = "EU", names = { en = "Europe" } },
  country = { iso_code = "DE", names = { de = "Deutschland", en = "Germany" } },
  city = { names = { en = "Berlin", de = "Berlin (de)" } },
}

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

-- The result and the packed record, or why not, of an address in these bytes.
local function find(bytes, ip)
  local why, g, record = ffi.new "struct mm_fault", ffi.new "struct mm_geo", ffi.new "struct mm_buffer"
  if not lib.mm_geo_read(g, ffi.new("struct mm_text", bytes, #bytes), why) then
    return "unreadable", ffi.string(why.text)
  end
  local result = lib.mm_geo_get(g, ffi.new("struct mm_text", ip, #ip), record, why)
  local text = result == lib.MM_GEO_BROKEN and ffi.string(why.text) or ffi.string(record.bytes, record.size)
  lib.mm_buffer_free(record)
  return ({ [0] = "found", "none", "broken", "no address" })[tonumber(result)], text
end

describe("a MaxMind DB", function()
  for _, size in ipairs { 24, 28, 32 } do
    for _, version in ipairs { 4, 6 } do
      it(("with records of %d bits for IPv%d finds the network of an address"):format(size, version), function()
        local networks = { ["10.0.0.0/8"] = "ten", ["10.1.2.0/24"] = "inside", ["192.0.2.7/32"] = "one" }
        if version == 6 then
          networks["2001:db8::/32"] = "six"
        end
        local bytes = mmdb.bytes(networks, { record_size = size, ip_version = version })
        for ip, expected in pairs {
          ["10.0.0.0"] = "sten", ["10.255.255.255"] = "sten", ["10.1.2.3"] = "sinside", ["10.1.3.0"] = "sten",
          ["192.0.2.7"] = "sone", ["::ffff:192.0.2.7"] = "sone",
          ["2001:db8::1"] = version == 6 and "ssix" or nil,
        } do
          local result, text = find(bytes, ip)
          assert.same({ "found", expected }, { result, (text:gsub("[%z\1-\31]", "")) })
        end
        for _, ip in ipairs { "11.0.0.0", "9.255.255.255", "192.0.2.8", "::1", "2001:db9::", "0.0.0.0" } do
          assert.same({ "none", "" }, { find(bytes, ip) })
        end
        for _, text in ipairs { "", "10.0.0", "x", "10.0.0.1/32", ("1"):rep(100), "10.0.0.1\0" } do
          assert.same({ "no address", "" }, { find(bytes, text) })
        end
      end)
    end
  end

  it("is refused when it is cut off or something else", function()
    local bytes = mmdb.bytes { ["10.0.0.0/8"] = RECORD }
    for size = 0, #bytes - 1 do
      local result = find(bytes:sub(1, size), "10.0.0.1")
      assert.equal("unreadable", result, size)
    end
    assert.same({ "unreadable", "it is not a whole MaxMind DB: it has no metadata at its end" }, { find("x", "::1") })
    local _, why = find("\xab\xcd\xefMaxMind.com", "::1")
    assert.equal("its metadata are broken", why)
  end)

  it("is bounded, whatever its records say", function()
    local bomb = { raw = "" } -- a map whose values point to the map before it, again and again
    local at = { 0 }
    local parts = { "\x41x" }
    for level = 1, 12 do
      local map = "\xe8"
      for key = 1, 8 do
        map = map .. "\x41" .. string.char(96 + key) .. mmdb.pointer(at[level])
      end
      at[level + 1] = #table.concat(parts)
      parts[#parts + 1] = map
    end
    bomb.raw = table.concat(parts)
    local bytes = mmdb.bytes { ["10.0.0.0/8"] = bomb }
    -- the record is the string at the beginning; lead the tree to the pointer after it instead
    local root = at[#at]
    local other = mmdb.bytes { ["10.0.0.0/8"] = { raw = bomb.raw .. mmdb.pointer(root) } }
    assert.equal("found", (find(bytes, "10.0.0.1")))
    local nodes = 8 + 96
    local target = nodes + 16 + #bomb.raw
    local last = (nodes - 1) * 6
    local function big_endian(n)
      return string.char(math.floor(n / 65536), math.floor(n / 256) % 256, n % 256)
    end
    local old = big_endian(nodes + 16)
    assert.equal(old, other:sub(last + 1, last + 3))
    other = other:sub(1, last) .. big_endian(target) .. other:sub(last + 4)
    assert.same({ "broken", 'the record of "10.0.0.1" is broken, or has more than 8192 values' },
      { find(other, "10.0.0.1") })
    local deep = mmdb.bytes { ["10.0.0.0/8"] = { raw = ("\xe1\x41a"):rep(20) .. "\xe0" } }
    assert.equal("broken", (find(deep, "10.0.0.1")))
  end)

  it("agrees with libmaxminddb about random networks", function()
    local ok, library = pcall(ffi.load, "libmaxminddb.so.0")
    assert(ok, "install libmaxminddb0: make packages-test")
    pcall(ffi.cdef, [[
      typedef struct { bool found_entry; struct { const void *mmdb; uint32_t offset; } entry; uint16_t netmask; }
        mmdb_result;
      int MMDB_open(const char *, uint32_t, void *);
      void MMDB_close(void *);
      mmdb_result MMDB_lookup_string(const void *, const char *, int *, int *);
    ]])
    local state, path = 7, os.tmpname()
    local function upto(n)
      state = state * 16807 % 2147483647
      return state % n
    end
    local found = 0
    for round = 1, 12 do
      local networks, version = {}, round % 2 == 0 and 4 or 6
      for i = 1, 20 do
        networks[("%d.%d.%d.0/%d"):format(10 + upto(3), upto(4), upto(4), 22 + upto(3))] = "value " .. i
      end
      for network in pairs(networks) do -- only those that begin at their own first address
        local a, b, c, n = network:match "^(%d+)%.(%d+)%.(%d+)%.0/(%d+)$"
        if c % 2 ^ (24 - n) ~= 0 or networks[("%d.%d.%d.0/%d"):format(a, b, c - c % 4, 22)] and n ~= "22" then
          networks[network] = nil
        end
      end
      local bytes = mmdb.bytes(networks, { record_size = ({ 24, 28, 32 })[round % 3 + 1], ip_version = version })
      write(path, bytes)
      local db, errors = ffi.new "char[1024]", ffi.new "int[2]"
      assert.equal(0, library.MMDB_open(path, 1, db))
      for _ = 1, 300 do
        local ip = ("%d.%d.%d.%d"):format(10 + upto(3), upto(4), upto(4), upto(256))
        local theirs = library.MMDB_lookup_string(db, ip, errors, errors + 1)
        local ours = find(bytes, ip)
        assert.same({ ip, theirs.found_entry and "found" or "none" }, { ip, ours })
        found = found + (theirs.found_entry and 1 or 0)
      end
      library.MMDB_close(db)
    end
    os.remove(path)
    assert.truthy(found > 300)
  end)

  it("is a table with one entry", function()
    local bytes = mmdb.bytes { ["10.0.0.0/8"] = RECORD }
    local t = assert(tables.open("mmdb", "", { source = bytes }))
    assert.equal(1, t:count())
    assert.is_nil(t:get "10.0.0.1")
    t:close()
    assert.same({ nil, "it is not a whole MaxMind DB: it has no metadata at its end" },
      { tables.open("mmdb", "", { source = bytes:sub(1, -2):sub(1, 300) }) })
  end)
end)

describe("moonmilter.geo", function()
  local path, h

  setup(function()
    path = os.tmpname()
    os.remove(path)
  end)

  after_each(function()
    if h then h:stop() end
    h = nil
  end)

  teardown(function()
    os.remove(path)
    os.remove(path .. ".asn")
  end)

  local HEAD = [[
    local geo = require "moonmilter.geo"
    local function show(v)
      if type(v) ~= "table" then return tostring(v) end
      local parts = {}
      for k, x in pairs(v) do parts[#parts + 1] = tostring(k) .. "=" .. show(x) end
      table.sort(parts)
      return "{" .. table.concat(parts, " ") .. "}"
    end
  ]]

  local function ask()
    local mta = h:connect()
    mta:envelope "helo"
    local reply = mta:mail "ann"
    mta:close()
    return reply.text and reply.text:match "5%.7%.1 (.*)$" or tostring(reply.text) .. h:log()
  end

  local function answer(load, body)
    if h then h:stop() end
    h = host.start { workers = 1, scripts = { ["10-ask.lua"] = HEAD .. load
      .. " function on_mail(ctx) local said = (function() " .. body
      .. " end)() return ctx:reject(550, '5.7.1', (said:gsub('[^ -~]', '?'))) end" } }
    h:wait_serving(1, 10)
    return ask()
  end

  it("says country, continent, city, number and owner of the network", function()
    mmdb.write(path, {
      ["192.0.2.0/24"] = RECORD, ["198.51.100.0/24"] = { registered_country = { iso_code = "FR" } },
      ["203.0.113.0/24"] = { country = "IT", asn = "AS64501", as_name = "Rete" },
    })
    mmdb.write(path .. ".asn", { ["192.0.2.0/25"] = { autonomous_system_number = 64500,
      autonomous_system_organization = "Example Net" } }, { type = "Test-ASN" })
    local load = ("local g = geo.open { %q, %q }"):format(path, path .. ".asn")
    assert.equal("{asn=64500 city=Berlin continent=EU country=DE org=Example Net} {city=Berlin continent=EU country=DE} "
      .. "{country=FR} {asn=64501 country=IT org=Rete} nil",
      answer(load, [[return table.concat({ show(g:get "192.0.2.1"), show(g:get "192.0.2.200"), show(g:get "198.51.100.1"),
        show(g:get "203.0.113.1"), show(g:get "10.0.0.1") }, " ")]]))
    assert.equal("nil this is no IP address bad_key",
      (answer(load, [[local v, text, code = g:get "x" return show(v) .. " " .. text .. " " .. code]]):gsub("%S*: ", "")))
    assert.equal("Test-Country Test-ASN 1700000000 nil", answer(load, [[local i = g:info()
      return i[1].type .. " " .. i[2].type .. " " .. i[1].built .. " " .. tostring(i[1].error)]]))
  end)

  it("gives records as they are, with all types of values", function()
    mmdb.write(path, { ["10.0.0.0/8"] = { a = { 1, 2, "three" }, b = true, c = false, d = -1.5,
      e = { as = "int32", -5 }, f = { as = "float", 0.25 }, g = { as = "uint64", 2 ^ 40 },
      h = { as = "uint128", ("\1"):rep(16) }, i = { as = "bytes", "x\0y" }, j = { as = "uint16", 65535 },
      k = ("long "):rep(80) } })
    assert.equal(("{a={1=1 2=2 3=three} b=true c=false d=-1.5 e=-5 f=0.25 g=1099511627776 h=%s i=x?y j=65535 k=%s}"):format(
      ("01"):rep(16), ("long "):rep(80)), answer(("local g = geo.open(%q)"):format(path), [[return show(g:raw "10.1.2.3")]]))
  end)

  it("follows a file that is replaced, keeps the last good one of a broken file, and says so", function()
    mmdb.write(path, { ["10.0.0.0/8"] = { country = { iso_code = "AA" } } })
    assert.equal("AA nil", answer(("local g = geo.open(%q)"):format(path),
      [[return g:get("10.0.0.1").country .. " " .. tostring((g:info()[1].error or ""):match "MaxMind")]]))
    mmdb.write(path, { ["10.0.0.0/8"] = { country = { iso_code = "BB" } } })
    process.wait_until(10, function() return ask() == "BB nil" end, "the new file")
    write(path, "no database at all")
    process.wait_until(10, function() return ask() == "BB MaxMind" end, "the error of the broken file")
  end)

  it("raises what is wrong with its arguments, at the caller's line", function()
    assert.equal("10-ask.lua:11: geo.open: file 1 is x; give an absolute path "
      .. "10-ask.lua:11: geo.open: /nowhere/x.mmdb: true 10-ask.lua:11: geo.open: 0 files; give 1 to 8",
      (answer([[local function try(paths)
        local _, text = pcall(function()
          geo.open(paths) end)
        return text
      end local a, b, c = try "x", try "/nowhere/x.mmdb", try {} ]],
        [[return table.concat({ a, (b:gsub("(x.mmdb): .*", "%1: true")), c }, " ")]]):gsub("%S*/10%-ask", "10-ask")
        :gsub("lua:%d+:", "lua:11:")))
  end)
end)
