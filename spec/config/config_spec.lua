local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "config/config.h"

--- A string field, nil for NULL.
local function text(pointer)
  if pointer ~= nil then return ffi.string(pointer) end
end

local function strings(list)
  local all = {}
  for i = 0, tonumber(list.count) - 1 do all[i + 1] = ffi.string(list.items[i]) end
  return all
end

local function owned(config)
  return ffi.gc(config, C.mm_config_free)
end

--- The config of a file's text, or nil and the fault.
local function read(source)
  local config, why = ffi.new "struct mm_config", ffi.new "struct mm_fault"
  if C.mm_config_read(config, { source, #source }, "moonmilter.conf", "/etc/moonmilter",
    why) then return owned(config) end
  return nil, ffi.string(why.text)
end

local function good(source)
  local config, why = read(source)
  assert.is_nil(why)
  return config
end

local function fault(source)
  local config, why = read(source)
  assert.is_nil(config, "accepted: " .. source)
  return why
end

local function set(config, key, value)
  local why = ffi.new "struct mm_fault"
  if C.mm_config_set(config, key, value, why) then return true end
  return false, ffi.string(why.text)
end

local function check(config)
  local why = ffi.new "struct mm_fault"
  if C.mm_config_check(config, why) then return true end
  return false, ffi.string(why.text)
end

local function milter(config, name)
  local m = C.mm_config_milter(config, name)
  if m ~= nil then return m end
end

local function network(n)
  local to = ffi.new "char[64]"
  return ffi.string(C.mm_network_text(n, to, 64))
end

--- A value tree as a Lua value.
local function lua_of(v)
  if v.kind == C.MM_VALUE_BOOLEAN then return v.boolean end
  if v.kind == C.MM_VALUE_NUMBER then return v.number end
  if v.kind == C.MM_VALUE_STRING then return ffi.string(v.string.bytes, v.string.size) end
  if v.kind == C.MM_VALUE_NIL then return nil end
  local t = {}
  for i = 0, v.table.count - 1 do
    local e = v.table.entries[i]
    if e.name ~= nil then t[ffi.string(e.name, e.name_size)] = lua_of(e.value) else t[#t + 1] = lua_of(e.value) end
  end
  return t
end

local function settings(source)
  return lua_of(good("settings = " .. source).top.settings)
end

describe("a configuration without settings", function()
  local config = good ""

  it("has the defaults of the manual", function()
    assert.equal(0, config.workers)
    assert.equal(C.MM_VERDICT_tempfail, tonumber(config.top.on_error))
    assert.equal(C.MM_VERDICT_reject, tonumber(config.top.over))
    assert.equal(432, config.top.socket_mode) -- 0660
    assert.equal(1, config.log_level)
    assert.equal("stderr", text(config.log))
    assert.equal(10000, config.max_sessions)
    assert.same({ 8, 240, 5 }, { config.stage_deadline, config.eom_deadline, config.progress_every })
    assert.same({ 7210, 30, 60, 30 },
      { config.idle_timeout, config.negotiate_timeout, config.write_timeout, config.drain_timeout })
    assert.equal(256 * 1024 * 1024, tonumber(config.body_max))
    assert.same({ 1, 5 }, { config.cpu_slice, config.cpu_session })
    assert.same({ 0, 2 ^ 30, 0 }, { tonumber(config.memory_soft), tonumber(config.memory_hard),
      config.recycle_sessions })
    assert.is_false(config.watch)
    assert.is_false(config.top.lockstep)
    assert.is_nil(text(config.user))
    assert.is_nil(text(config.control))
  end)

  it("has one milter called default, which does not listen yet", function()
    assert.equal(1, tonumber(config.milter_count))
    assert.equal("default", text(config.milters[0].name))
    local ok, why = check(config)
    assert.is_false(ok)
    assert.equal('milter "default" listens nowhere; set listen = "unix:/run/moonmilter/default.sock", or '
      .. 'use -s SPEC', why)
  end)
end)

describe("the example of the manual", function()
  local config = good [[
listen  = { "unix:/run/moonmilter/milter.sock" }
scripts = "scripts"
workers = "auto"
on_error = "tempfail"
milter.outbound = { listen = {"inet:10026@127.0.0.1"}, scripts = "scripts/outbound" }   -- more milters in one host
]]

  it("has two milters, default first", function()
    assert.equal(2, tonumber(config.milter_count))
    assert.equal("default", text(config.milters[0].name))
    assert.same({ "unix:/run/moonmilter/milter.sock" }, strings(config.milters[0].listen))
    assert.same({ "inet:10026@127.0.0.1" }, strings(milter(config, "outbound").listen))
    assert.equal(-1, config.workers)
    assert.is_true(check(config))
  end)

  it("finds relative paths beside the file", function()
    assert.same({ "/etc/moonmilter/scripts" }, strings(config.milters[0].scripts))
    assert.same({ "/etc/moonmilter/scripts/outbound" }, strings(milter(config, "outbound").scripts))
  end)
end)

describe("paths", function()
  it("are relative to the file's directory unless they begin with a slash", function()
    local config = good [[
      scripts = { "./a.lua", "b", "/srv/c", "." } control = "run/ctl.sock" listen = "unix:run/m.sock"
      record = "records" state_dir = "../state"]]
    assert.same({ "/etc/moonmilter/a.lua", "/etc/moonmilter/b", "/srv/c", "/etc/moonmilter" },
      strings(config.top.scripts))
    assert.equal("/etc/moonmilter/run/ctl.sock", text(config.control))
    assert.equal("/etc/moonmilter/records", text(config.record))
    assert.equal("/etc/moonmilter/../state", text(config.state_dir))
    assert.same({ "unix:/etc/moonmilter/run/m.sock" }, strings(config.top.listen))
  end)

  it("of sockets must fit into a socket's address once they are absolute", function()
    assert.matches('^moonmilter.conf:1: control: "/etc/moonmilter/x+%.%.%.": the path has 116 bytes; a unix socket\'s '
      .. 'has at most 107', fault('control = "' .. ("x"):rep(100) .. '"'))
  end)
end)

describe("milter.NAME", function()
  it("inherits the top level's keys and replaces those that it sets itself", function()
    local config = good [[
on_error = "accept"; lockstep = true; scripts = "common"; settings = { a = 1 }
allow = { "10.0.0.0/8", "192.0.2.7" }
milter.one = { listen = "inet:10001" }
milter["two-b"] = { listen = "inet:10002", on_error = "reject", lockstep = false, settings = { b = 2 }, allow = "::1" }
]]
    assert.equal(2, tonumber(config.milter_count))
    local one, two = milter(config, "one"), milter(config, "two-b")
    assert.equal(C.MM_VERDICT_accept, tonumber(one.on_error))
    assert.is_true(one.lockstep)
    assert.same({ a = 1 }, lua_of(one.settings))
    assert.equal("10.0.0.0/8", network(one.allow.items[0]))
    assert.equal("192.0.2.7", network(one.allow.items[1]))
    assert.equal(C.MM_VERDICT_reject, tonumber(two.on_error))
    assert.is_false(two.lockstep)
    assert.same({ b = 2 }, lua_of(two.settings))
    assert.equal(1, tonumber(two.allow.count))
    assert.same({ "/etc/moonmilter/common" }, strings(two.scripts))
    assert.is_true(check(config))
  end)

  it("leaves no default milter when the top level does not listen", function()
    local config = good 'milter.one = { listen = "inet:10001", scripts = "a" }'
    assert.equal(1, tonumber(config.milter_count))
    assert.is_nil(milter(config, "default"))
  end)

  it("must have its own listener", function()
    local _, why = check(good 'listen = "inet:10001" scripts = "a" milter.one = { }')
    assert.equal('milter "one" listens nowhere; set listen = "unix:/run/moonmilter/one.sock"', why)
    _, why = check(good 'listen = "inet:10001" scripts = "a" milter.one = { listen = "inet:127.0.0.1:10001" }')
    assert.equal('"inet:10001@127.0.0.1" is listened on twice, by milter "default" and milter "one"; '
      .. "each listener belongs to one", why)
    _, why = check(good 'listen = { "/a", "unix:/a" } scripts = "a"')
    assert.matches('"unix:/a" is listened on twice', why)
    _, why = check(good 'listen = "/a"')
    assert.matches('milter "default" has no scripts; set scripts = "scripts"', why)
  end)

  it("refuses keys of the whole host and invalid names", function()
    assert.equal('moonmilter.conf:2: "workers" is for the whole host; set it outside milter.one',
      fault 'milter.one = {\n workers = 2 }')
    assert.matches("milter.default is what the top level of the file describes", fault "milter.default = {}")
    assert.matches("has 1 to 64 letters", fault 'milter["a b"] = {}')
    assert.matches("has 1 to 64 letters", fault 'milter[""] = {}')
    assert.equal("moonmilter.conf:1: milter.one: 5 does not fit; write milter.one = { listen = ..., scripts = ... }",
      fault "milter.one = 5")
    assert.equal('moonmilter.conf:2: milter "one" is set a second time; the first is in line 1; keep one',
      fault "milter.one = {}\nmilter.one = {}")
    assert.matches("each milter has a name: milter.NAME", fault "milter = {}")
  end)

  it("is bounded in number", function()
    local lines = {}
    for i = 1, 65 do lines[i] = ("milter.m%d = {}"):format(i) end
    assert.equal("moonmilter.conf:65: milter.m65: more than 64 milters in one host", fault(table.concat(lines, "\n")))
  end)
end)

describe("an unknown key", function()
  it("is refused with its line and a suggestion", function()
    assert.equal('moonmilter.conf:12: unknown key "lisen"; did you mean "listen"?',
      fault(("\n"):rep(11) .. 'lisen = "/a"'))
    assert.equal('moonmilter.conf:1: unknown key "onerror"; did you mean "on_error"?',
      fault 'milter.a = { onerror = "accept" }')
    assert.equal('moonmilter.conf:1: unknown key "Workers"; did you mean "workers"?', fault "Workers = 1")
  end)

  it("without a similar key says where the list is", function()
    assert.equal('moonmilter.conf:1: unknown key "zebra"; `moonmilter --help config` lists them, and values for '
      .. 'your scripts '
      .. "belong in settings = { ... }", fault "zebra = 1")
  end)

  it("twice in a table is refused", function()
    assert.equal('moonmilter.conf:3: "workers" is set a second time; the first is in line 1; keep one',
      fault "workers = 1\nwatch = true\nworkers = 2")
    assert.matches('"a" is set a second time', fault 'settings = { a = 1, ["a"] = 2 }')
  end)
end)

describe("a wrong value", function()
  local cases = {
    { "workers = 65", 'workers: 65 does not fit; write an integer from 0 to 64, or "auto"' },
    { "workers = 1.5", 'workers: 1.5 does not fit; write an integer from 0 to 64, or "auto"' },
    { 'workers = "2"', 'workers: "2" does not fit; write an integer from 0 to 64, or "auto"' },
    { "stage_deadline = 0", "stage_deadline: 0 does not fit; write seconds, more than 0 and at most 7200" },
    { 'stage_deadline = "8s"', 'stage_deadline: "8s" does not fit; write seconds, more than 0 and at most 7200' },
    { "drain_timeout = -1", "drain_timeout: -1 does not fit; write seconds, from 0 to 3600" },
    { 'on_error = "discard"', 'on_error: "discard" does not fit; write "tempfail", "accept" or "reject"' },
    { 'on_error = "temp-fail"', 'on_error: unknown word "temp-fail"; did you mean "tempfail"?' },
    { 'over = "accept"', 'over: "accept" does not fit; write "reject", "tempfail" or "truncate"' },
    { 'log_level = "warning"', 'log_level: unknown word "warning"; did you mean "warn"?' },
    { "log_level = 3", 'log_level: 3 does not fit; write "debug", "info", "warn" or "error"' },
    { 'log = "moon.log"', 'log: "moon.log" does not fit; write "stderr", "syslog", or a file\'s path that '
      .. 'begins with "/"' },
    { 'log = "sylog"', 'log: unknown word "sylog"; did you mean "syslog"?' },
    { 'socket_mode = "0668"', 'socket_mode: "0668" does not fit; write octal digits up to "0777", as chmod '
      .. 'takes them' },
    { 'socket_mode = "01777"', 'socket_mode: "01777" does not fit; write octal digits up to "0777", as chmod '
      .. 'takes them' },
    { "watch = 1", "watch: 1 does not fit; write true or false" },
    { 'watch = "yes"', 'watch: "yes" does not fit; write true or false' },
    { "user = 1000", "user: 1000 does not fit; write a name in quotes" },
    { 'user = ""', 'user: "" does not fit; write a name in quotes' },
    { 'user = "a\\0b"', 'user: "a\\x00b" does not fit; write a name in quotes' },
    { 'body_max = "64Q"', 'body_max: "64Q" does not fit; write bytes from 1K to 1G: a number, or "64M" '
      .. 'with K, M or G' },
    { "body_max = 100", 'body_max: 100 does not fit; write bytes from 1K to 1G: a number, or "64M" with K, M or G' },
    { "settings = 1", "settings: 1 does not fit; write a table of strings, numbers, booleans and tables: { "
      .. "threshold = 5 }" },
    { "listen = 10025", 'listen: 10025 does not fit; write a listener or a list of them: '
      .. '"unix:/run/moonmilter/milter.sock", '
      .. '"inet:10025", "inet:10025@192.0.2.7"' },
    { 'listen = "inet:70000"', 'listen: "inet:70000": port "70000" is not a number from 1 to 65535' },
    { 'listen = { path = "/a" }', 'listen: a list has no names, but this one has "path" = ...; write { '
      .. '"...", "..." }' },
    { 'allow = "10.1.2.3/8"', 'allow: "10.1.2.3/8" has bits set after its prefix; write "10.0.0.0/8" for the block '
      .. 'or "10.1.2.3" '
      .. "for the one address" },
    { "allow = {}", "allow: an empty list lets no MTA connect; name the addresses that may connect, or leave the key "
      .. "out to allow all" },
    { 'allow = "mail.example.org"', 'allow: "mail.example.org" is not an address; write numbers such as "192.0.2.7", '
      .. '"10.0.0.0/8" '
      .. 'or "2001:db8::/32" (names are not looked up)' },
    { 'allow = "10.0.0.0/33"', 'allow: "10.0.0.0/33": the prefix is a number of bits from 0 to 32' },
  }
  for _, case in ipairs(cases) do
    it("is refused with its rule: " .. case[1], function()
      assert.equal("moonmilter.conf:1: " .. case[2], fault(case[1]))
    end)
  end

  it("in a list is reported with its own line", function()
    assert.matches("^moonmilter.conf:3: allow: ", fault 'allow = {\n "10.0.0.1",\n "x" }')
  end)

  it("leaves the message on one line and short", function()
    local why = fault('user = "\\n' .. ("y"):rep(5000) .. '"')
    assert.is_nil(why:find "\n")
    assert.is_true(#why < 250)
  end)
end)

describe("a right value", function()
  it("of a mode is octal, in quotes or not", function()
    assert.equal(432, good('socket_mode = "0660"').top.socket_mode)
    assert.equal(432, good("socket_mode = 0660").top.socket_mode)
    assert.equal(432, good("socket_mode = 660").top.socket_mode)
    assert.equal(511, good('socket_mode = "777"').top.socket_mode)
  end)

  it("of a size has K, M or G", function()
    assert.equal(64 * 2 ^ 20, tonumber(good('body_max = "64M"').body_max))
    assert.equal(2 ^ 30, tonumber(good('memory_hard = "1g"').memory_hard))
    assert.equal(2048, tonumber(good('body_max = "2K"').body_max))
    assert.equal(4096, tonumber(good("body_max = 4096").body_max))
  end)

  it("of a list may be a single item", function()
    assert.same({ "inet:10025@127.0.0.1" }, strings(good('listen = "inet:10025"').top.listen))
  end)

  it("nil leaves a key at its default", function()
    assert.equal(8, good("stage_deadline = nil").stage_deadline)
    assert.is_nil(text(good("user = nil").user))
  end)

  it("of allow matches addresses in its networks", function()
    local config = good 'allow = { "10.0.0.0/9", "2001:db8::/32", "::ffff:192.0.2.0/120" }'
    local function inside(i, ...)
      local bytes = { ... }
      return C.mm_network_contains(config.top.allow.items[i], ffi.new("uint8_t[?]", #bytes, bytes), #bytes)
    end
    assert.is_true(inside(0, 10, 127, 1, 1))
    assert.is_false(inside(0, 10, 128, 1, 1))
    assert.is_true(inside(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1))
    assert.is_true(inside(1, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
    assert.is_false(inside(1, 10, 0, 0, 1))
    assert.equal("192.0.2.0/24", network(config.top.allow.items[2]))
    assert.is_true(inside(2, 192, 0, 2, 9))
  end)
end)

describe("the language of the file", function()
  it("is that of Lua's tables: accepted text means the same to Lua", function()
    local sources = {
      "{ 1, 2; 3, }", "{}", "{ a = 1, 'x', ['b c'] = true, { n = false } }", "{ 0x1F, 1e3, .5, 3., -7, 2.5e-3, 0xff }",
      [==[{ "a\tb\\\"\'\65\x42\u{20ac}", 'it''s' }]==], "{ [[\nlong\nstring]], [=[ ]] ]=] }",
      "{ 'a\\\nb', 'a\\z   \n  b' }",
      "{ -- one\n 1, --[[ two\n ]] 2 --[==[ three ]] ]==]\n}", "{ 0.1, 123456789012345, 1e22, 5e-10 }",
      "{ a = nil, b = 1 }",
      "{ '\\0', 'a\\0b', '\\255' }", "{\r\n 'a',\r\n [[x\r\ny]] }",
    }
    sources[5] = [==[{ "a\tb\\\"\'\65\x42\u{20ac}", 'it\'s' }]==]
    for _, source in ipairs(sources) do
      assert.same(loadstring("return " .. source)(), settings(source), source)
    end
  end)

  it("separates settings with semicolons, commas or nothing", function()
    local config = good '\xef\xbb\xbfworkers = 1; watch = true, cpu_slice = 2 log="syslog"'
    assert.same({ 1, true, 2, "syslog" }, { config.workers, config.watch, config.cpu_slice, text(config.log) })
  end)

  local refused = {
    { "workers = os.getenv('N')", '1:11: "os": nothing is called or looked up here; write out the value, and give '
      .. 'what differs '
      .. "between machines on the command line" },
    { 'print "x"', '1:7: "x" after the name "print", where "=" belongs; write print = value' },
    { "dofile('x')", '1:7: "(" cannot stand after a name; nothing is called here; write out the value' },
    { "workers = auto", '1:11: "auto" is a name, and names have no values here; put it in quotes: "auto"' },
    { "listen = { unix }", '1:12: "unix" is a name, and names have no values here; put it in quotes: "unix"' },
    { "watch = yes", '1:9: "yes" is a name, and names have no values here; write true, or put it in quotes' },
    { "local workers = 1", '1:1: "local" is code, and a configuration holds none; write the key alone: name = value' },
    { "return { workers = 1 }", '1:1: "return" is code, and a configuration holds none; leave it out: the file itself '
      .. 'is a list of '
      .. "name = value" },
    { "settings = { f = function() end }", '1:18: "function" is code, and a configuration holds none; put handlers '
      .. 'into a script and '
      .. "name it in scripts" },
    { "if x then", '1:1: "if" is code, and a configuration holds none; write out the value; what differs between '
      .. 'machines goes on '
      .. "the command line" },
    { "body_max = 64 * 1024", '1:15: "*" cannot stand at the beginning of a setting; write the product as one '
      .. 'number, bytes as '
      .. '"64M"' },
    { 'user = "a" .. "b"', '1:12: ".." cannot stand at the beginning of a setting; write the string in one piece' },
    { 'settings = { "a" .. "b" }', '1:18: ".." cannot stand after an item of a table; write the string in one piece' },
    { "workers = 1 or 2", '1:13: "or" is code, and a configuration holds none; write the result' },
    { "watch = not true", '1:9: "not" is code, and a configuration holds none; write true or false' },
    { "workers: 4", '1:8: ":" after the name "workers", where "=" belongs; write workers = value' },
    { "workers 4", '1:9: "4" after the name "workers", where "=" belongs; write workers = value' },
    { "workers == 4", '1:9: "==" after the name "workers", where "=" belongs; write workers = value' },
    { "# comment", '1:1: "#" cannot stand at the beginning of a setting; begin a comment with "--"' },
    { "// comment", '1:1: "//" cannot stand at the beginning of a setting; begin a comment with "--"' },
    { "body_max = 64M", '1:12: "64M" is not a number; write digits (at most 15, or 13 after 0x), and put sizes such as '
      .. '"64M", modes and everything else in quotes' },
    { "workers = ", "1:11: the end of the file cannot stand where a value belongs" },
    { "listen = /run/x", '1:10: "/" cannot stand where a value belongs; write the result; put a path in quotes' },
    { 'user = "abc\n"', "1:8: the string that begins here has no closing \" on its line; write text of several lines "
      .. "as [[ ... ]]" },
    { "settings = [==[ abc", '1:12: the string that begins here never ends; close it with "]==]"' },
    { "--[[ abc", '1:3: the comment that begins here never ends; close it with "]]"' },
    { 'user = "\\q"', '1:10: "q" after "\\" means nothing; write "\\\\" for a backslash' },
    { 'user = "\\300"', '1:13: "\\300" is not a byte; a number after "\\" is at most 255' },
    { "listen = {\n 'inet:1',\n", '3:1: the file ends inside the table that line 1 begins; close it with "}"' },
    { "listen = { 'a' 'b' }", '1:16: "b" follows an item directly; put a comma between them, or close the table of '
      .. 'line 1 with "}"' },
    { "settings = { [1] = 2 }", '1:15: "1" cannot be in brackets; a name is a string, ["name"] = value, and list '
      .. 'items are written '
      .. "without numbers" },
    { "settings = { 'a', nil }", "1:19: nil in a list would leave a hole; leave it out" },
    { "log.level = 'info'", '1:4: "." cannot stand after a name; only milter.NAME has a dot' },
    { "}", '1:1: "}" cannot stand at the beginning of a setting; leave it out: no table is open here' },
    { "workers = 1234567890123456", '1:11: "1234567890123456" is not a number; write digits (at most 15, '
      .. 'or 13 after 0x), and put sizes such as "64M", modes and everything else in quotes' },
    { "workers = 1e999", '1:11: "1e999" is not a number; write digits (at most 15, or 13 after 0x), and put sizes such '
      .. 'as "64M", modes and everything else in quotes' },
    { "wörkers = 1", '1:2: "ö" after the name "w", where "=" belongs; write w = value' },
  }
  for _, case in ipairs(refused) do
    it("refuses code and says what to write: " .. case[1]:gsub("\n", " "), function()
      assert.equal("moonmilter.conf:" .. case[2], fault(case[1]))
    end)
  end

  it("refuses tables nested too deeply and files too long, without processing them", function()
    assert.matches("tables are 17 deep here; at most 16", fault("settings = " .. ("{"):rep(100000)))
    assert.matches("over 1048576 bytes", fault(("-"):rep(1048577)))
    assert.truthy(settings(("{"):rep(16) .. ("}"):rep(16)))
  end)

  it("reads a hundred thousand names quickly", function()
    local names = {}
    for i = 1, 100000 do names[i] = "a" .. i end
    assert.truthy(good("settings = {" .. table.concat(names, "=1,") .. "=1}"))
  end)

  it("never accepts text that Lua would refuse, however a file is damaged", function()
    local whole = [==[-- a file
settings = { "a\tb\\", 'it\'s', [[ long
string ]], { x = { y = true, n = nil }, ["p q"] = .5e1 }, 0x1F; -3 } --[[ c ]]
workers = 2; watch = true
milter.out = { listen = "inet:10025", scripts = { "a", "b" } }
]==]
    local alphabet = { "", "=", "{", "}", '"', "'", "[", "]", "[[", "]]", "--", ".", "a", "1", ";", "\n", "\\",
      "\0", "\255", "0x", "e", "-" }
    math.randomseed(7)
    local taken = 0
    for _ = 1, 20000 do
      local source = whole
      for _ = 1, math.random(3) do
        local at = math.random(#source)
        source = source:sub(1, at - 1) .. alphabet[math.random(#alphabet)] .. source:sub(at + math.random(0, 1))
      end
      local config = read(source)
      if config then
        taken = taken + 1
        local chunk, why = loadstring(source)
        assert.truthy(chunk, ("%s\n%s"):format(why, source))
        local environment = { milter = {} }
        setfenv(chunk, environment)()
        assert.same(environment.settings, lua_of(config.top.settings), source)
      end
    end
    assert.is_true(taken > 1000)
  end)
end)

describe("settings", function()
  it("reach scripts as written, text with NUL included", function()
    assert.same({ list = { "a", "b" }, deep = { x = { y = true } }, n = 0.5, z = "\0" },
      settings '{ list = { "a", "b" }, deep = { x = { y = true } }, n = 0.5, z = "\\0" }')
  end)

  it("can be walked by name and number", function()
    local v = good('settings = { "first", name = 5, "second" }').top.settings
    assert.equal(5, C.mm_value_field(v, "name").number)
    assert.equal("second", ffi.string(C.mm_value_item(v, 2).string.bytes))
    assert.is_true(C.mm_value_field(v, "none") == nil)
    assert.is_true(C.mm_value_item(v, 3) == nil)
    assert.is_true(C.mm_value_field(nil, "name") == nil)
  end)
end)

describe("the command line", function()
  local source = 'listen = "inet:10001" scripts = "a" on_error = "accept" workers = 3 milter.out = { listen = '
    .. '"inet:10002" }'

  it("overrides the file", function()
    local config = good(source)
    assert.is_true(set(config, "workers", "auto"))
    assert.is_true(set(config, "stage-deadline", "2.5"))
    assert.is_true(set(config, "body_max", "64M"))
    assert.is_true(set(config, "watch", "true"))
    assert.is_true(set(config, "socket_mode", "0600"))
    assert.is_true(set(config, "log", "/var/log/m.log"))
    assert.is_true(set(config, "settings", "{ threshold = 5 }"))
    assert.equal(-1, config.workers)
    assert.equal(2.5, config.stage_deadline)
    assert.equal(64 * 2 ^ 20, tonumber(config.body_max))
    assert.is_true(config.watch)
    assert.equal(384, config.milters[0].socket_mode)
    assert.equal(384, milter(config, "out").socket_mode)
    assert.equal("/var/log/m.log", text(config.log))
    assert.same({ threshold = 5 }, lua_of(milter(config, "out").settings))
  end)

  it("replaces a list with its first item and appends the next", function()
    local config = good(source)
    assert.is_true(set(config, "listen", "inet:10003"))
    assert.is_true(set(config, "listen", "inet:10004"))
    assert.same({ "inet:10003@127.0.0.1", "inet:10004@127.0.0.1" }, strings(milter(config, "default").listen))
    assert.same({ "inet:10002@127.0.0.1" }, strings(milter(config, "out").listen))
  end)

  it("makes a default milter where the file has none", function()
    local config = good 'milter.out = { listen = "inet:10002" }'
    assert.is_true(set(config, "listen", "inet:10003"))
    assert.equal("default", text(config.milters[0].name))
    assert.equal(2, tonumber(config.milter_count))
  end)

  it("finds relative paths in the working directory", function()
    local config = good(source)
    assert.is_true(set(config, "scripts", "filters"))
    local pipe = io.popen "pwd -P"
    local here = pipe:read "*l"
    pipe:close()
    assert.same({ here .. "/filters" }, strings(milter(config, "out").scripts))
  end)

  it("sets a key of one milter by name, and leaves keys that a milter sets itself", function()
    local config = good(source)
    assert.is_true(set(config, "milter.out.on_error", "reject"))
    assert.is_true(set(config, "on_error", "tempfail"))
    assert.equal(C.MM_VERDICT_reject, tonumber(milter(config, "out").on_error))
    assert.equal(C.MM_VERDICT_tempfail, tonumber(milter(config, "default").on_error))
  end)

  it("is refused like the file, but without a line", function()
    local config = good(source)
    local function refused(key, value)
      local ok, why = set(config, key, value)
      assert.is_false(ok)
      return why
    end
    assert.equal('unknown key "onerror"; did you mean "on_error"?', refused("onerror", "x"))
    assert.equal('workers: "many" does not fit; write an integer from 0 to 64, or "auto"', refused("workers", "many"))
    assert.equal('watch: "1" does not fit; write true or false', refused("watch", "1"))
    assert.equal('there is no milter "ot"; did you mean "out"?', refused("milter.ot.on_error", "accept"))
    assert.equal('"workers" is for the whole host; set it without "milter.out."', refused("milter.out.workers", "2"))
    assert.equal("milter.out: the key is missing; write milter.NAME.KEY", refused("milter.out", "2"))
    assert.matches("^settings:1:7: ", refused("settings", "{ a = b }"))
    assert.equal('listen: "inet:": the port is missing; write inet:10025', refused("listen", "inet:"))
    assert.equal(3, config.workers)
    assert.same({ "inet:10001@127.0.0.1" }, strings(milter(config, "default").listen))
  end)
end)

describe("limits that belong together", function()
  it("must agree", function()
    local base = 'listen = "/a" scripts = "a" '
    local _, why = check(good(base .. 'memory_soft = "2M" memory_hard = "1M"'))
    assert.equal("memory_soft 2097152 is over memory_hard 1048576; the soft limit comes first", why)
    _, why = check(good(base .. "cpu_slice = 6"))
    assert.equal("cpu_slice 6 is over cpu_session 5; a slice is a part of a session", why)
    _, why = check(good(base .. 'group = "mail"'))
    assert.equal('group "mail" is set without user; set user too', why)
    assert.is_true(check(good(base .. 'memory_soft = "2M" user = "a" group = "b"')))
  end)
end)

describe("a copy", function()
  it("is complete and outlives the original", function()
    local config = good [[listen = "inet:10001" user = "milter" settings = { a = { "x" } } allow = "10.0.0.0/8"
      milter.out = { listen = "/b", scripts = { "c", "d" } }]]
    local copy = ffi.new "struct mm_config"
    assert.is_true(C.mm_config_copy(copy, config, nil))
    owned(copy)
    C.mm_config_free(ffi.gc(config, nil))
    assert.equal("milter", text(copy.user))
    assert.same({ a = { "x" } }, lua_of(milter(copy, "out").settings))
    assert.same({ "/etc/moonmilter/c", "/etc/moonmilter/d" }, strings(milter(copy, "out").scripts))
    assert.equal("10.0.0.0/8", network(copy.top.allow.items[0]))
    assert.is_true(set(copy, "on_error", "reject"))
    assert.equal(C.MM_VERDICT_reject, tonumber(milter(copy, "out").on_error))
  end)
end)

describe("a file", function()
  it("is read from disk and found again by the names in it", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write 'scripts = "filters"\nworkers = 2\n'
    file:close()
    local config, why = ffi.new "struct mm_config", ffi.new "struct mm_fault"
    assert.is_true(C.mm_config_load(config, path, why))
    owned(config)
    assert.equal(2, config.workers)
    assert.same({ path:match "(.*)/" .. "/filters" }, strings(config.top.scripts))
    os.remove(path)
    assert.is_false(C.mm_config_load(config, path, why))
    assert.equal(path .. " cannot be read: No such file or directory; name the file with -c FILE", ffi.string(why.text))
    assert.is_false(C.mm_config_load(config, "/", why))
    assert.matches("^/ cannot be read: ", ffi.string(why.text))
  end)
end)

describe("the description of all keys", function()
  local function described()
    local out = ffi.gc(ffi.new "struct mm_buffer", C.mm_buffer_free)
    assert.is_true(C.mm_config_describe(out))
    return ffi.string(out.bytes, out.size)
  end

  it("is a configuration that sets the defaults", function()
    local all, count = {}, ffi.new "size_t[1]"
    for line in described():gmatch "[^\n]+" do all[#all + 1] = line:match "^%-%- ([%l_]+ = .+)$" end
    C.mm_config_keys(count)
    assert.equal(tonumber(count[0]), #all)
    local said, plain = good(table.concat(all, "\n")), good ""
    for _, field in ipairs { "workers", "stage_deadline", "eom_deadline", "body_max", "max_sessions",
      "log_level", "watch", "memory_hard" } do
      assert.equal(plain[field], said[field], field)
    end
    assert.equal(plain.top.socket_mode, said.top.socket_mode)
  end)

  it("gives each key its meaning, its rule and its default", function()
    local description = described()
    assert.truthy(description:find('\n-- What the message gets when a script fails; accept lets unfiltered mail pass.\n'
      .. '-- "tempfail", "accept" or "reject"; also in milter.NAME.\n-- on_error = "tempfail"\n', 1, true))
    assert.truthy(description:find('-- bytes from 1K to 1G: a number, or "64M" with K, M or G.\n-- body_max = '
      .. '"256M"\n', 1, true))
    assert.is_nil(description:match "[^\n]*  \n")
  end)
end)
