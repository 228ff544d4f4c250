--- Fakes of the outside world: DNS, HTTP, Redis, processes and receivers of events answer from tables or functions of
-- the test. The modules that scripts require are replaced inside the scripts' own Lua (fake/*.lua); they send their
-- questions here, as text, where they are noted and answered.
local value = require "moonmilter.testing.value"

local fakes = {}

local Fakes = {}
Fakes.__index = Fakes

-- option -> the module that it replaces
local KINDS = { dns = "moonmilter.dns", http = "moonmilter.http", redis = "moonmilter.redis",
  process = "moonmilter.process", map = "moonmilter.map", event = "moonmilter.event" }

local answers = {}

-- dns = { ["example.org"] = { A = { "192.0.2.1" }, MX = { { 10, "mx.example.org" } }, TXT = …, delay = 2 },
--         ["bad.example"] = "servfail" }
-- spelt: the name with U-labels, when it has some.
function answers.dns(world, name, kind, spelt)
  local entry = world[name] or world[name:lower()]
  if entry == nil and spelt then
    entry = world[spelt]
  end
  local ip = kind == "PTR" and name:match "^(.*)%.in%-addr%.arpa$"
  if entry == nil and ip then -- an address may be given directly
    entry = world[ip:gsub("^(%d+)%.(%d+)%.(%d+)%.(%d+)$", "%4.%3.%2.%1")]
  end
  if entry == nil then
    return nil, ("%s %s: this test's dns has no such name"):format(name, kind), "nxdomain"
  elseif type(entry) == "string" then
    return nil, ("%s %s: %s"):format(name, kind, entry), entry
  end
  local records = entry[kind] or entry[kind:lower()]
  local delay = entry.delay
  if type(records) == "string" or records == nil then
    local code = records or "nodata"
    return nil, ("%s %s: %s"):format(name, kind, code), code, delay
  end
  return records, nil, nil, delay
end

-- http = { ["GET https://example.org/x"] = { status = 200, body = "…", headers = {…}, delay = 1 },
-- ["POST …"] = "timeout" }
function answers.http(world, request)
  local entry = world[request.method .. " " .. request.url] or world[request.url]
  if entry == nil then
    error(("http: this test has no answer for %s %s"):format(request.method, request.url), 0)
  elseif type(entry) == "string" then
    return nil, ("%s: %s"):format(request.url, entry), entry
  end
  return { status = entry.status or 200, headers = entry.headers or {}, body = entry.body or "" }, nil, nil, entry.delay
end

-- The addresses of a server, as this test's DNS has them; none when it does not say.
local function addresses_of(dns, name)
  for _, kind in ipairs { "A", "AAAA" } do
    local ok, records
    if type(dns) == "function" then
      ok, records = pcall(dns, name, kind) -- a function may know only the names that scripts look up
    elseif type(dns) == "table" then
      ok, records = true, (answers.dns(dns, name, kind))
    end
    if ok and type(records) == "table" and records[1] then
      return records
    end
  end
  return {}
end

-- process = { ["/usr/bin/spamc"] = { status = 0, stdout = "…", stderr = "", delay = 1 } }
function answers.process(world, command)
  local entry = world[table.concat(command.argv, " ")] or world[command.argv[1]]
  if entry == nil then
    error(("process: this test has no answer for %s"):format(table.concat(command.argv, " ")), 0)
  elseif type(entry) == "string" then
    return nil, ("%s: %s"):format(command.argv[1], entry), entry
  end
  return { status = entry.status or 0, stdout = entry.stdout or "", stderr = entry.stderr or "" }, nil, nil, entry.delay
end

-- redis = { key = "value", … }: the fake keeps them itself; redis = "refused" makes every command fail
function answers.redis(_, command)
  return nil, command, "not of the test" -- the fake answers by itself
end

-- map = { ["texthash:/etc/postfix/access"] = { ["ann@example.org"] = "OK" }, ["tcp:…"] = "timeout" }; an entry may be a
-- function of the key
function answers.map(world, spec, key)
  local entry = world[spec]
  if type(entry) == "function" then
    return entry(key)
  elseif type(entry) == "string" then
    return nil, entry, entry
  end
  return entry[key]
end

-- event = "full" makes every put fail; a function of { sink = "…", event = {…} } says what put returns: true, or nil, a
-- text and a code
function answers.event()
  return true
end

-- Maps that ask a service which another fake answers.
local FAKED_BELOW = { dns = true, redis = true }

-- Is this spec the test's? A map that would ask a real service has to be.
local function is_of_test(world, spec, kind, asks)
  if type(world) ~= "table" or world[spec] ~= nil then
    return true
  elseif asks and not FAKED_BELOW[kind] then
    error(("map: this test has no answers for %s; give map = { [%q] = { key = \"value\" } }"):format(spec, spec), 0)
  end
  return false
end

-- What a map lists.
local function entries_of(world, spec)
  local entry = type(world) == "table" and world[spec]
  if type(entry) ~= "table" then
    error(("map: this test has no table for %s, so it cannot list its keys"):format(spec), 0)
  end
  return entry
end

local function read_source(name)
  local path = package.searchpath("moonmilter.testing.fake." .. name, package.path)
  local file = assert(io.open(assert(path, "moonmilter.testing.fake." .. name .. " is not installed"), "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

function fakes.new(options)
  local self = setmetatable({ worlds = {}, asked = {}, sources = {}, published = {} }, Fakes)
  for kind, module in pairs(KINDS) do
    local world = options[kind]
    if world ~= "real" then
      self.worlds[kind] = world == nil and {} or world
      self.sources[module] = ("local ask_test, wait = (function(...) %s end)(...); return (function(...) %s "
        .. "end)(ask_test, wait)"):format(
        read_source "write", read_source(kind))
    end
    self.asked[kind] = {}
  end
  for name, source in pairs(options.modules or {}) do
    self.sources[name] = type(source) == "string" and source or "return " .. value.write(source)
  end
  return self
end

--- Names of the modules that we provide to scripts.
function Fakes:names()
  local names = {}
  for name in pairs(self.sources) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

function Fakes:source(name)
  return self.sources[name]
end

--- Notes a question and answers it: as text, true and the results, or false and the test's mistake.
function Fakes:answer(kind, ...)
  local asked = self.asked[kind]
  local world = self.worlds[kind]
  if kind == "redis" and ... == "keys of the test" then
    return type(world) == "string" and value.write(true, nil, "redis: " .. world, world)
      or value.write(true, type(world) == "table" and world or {})
  elseif kind == "redis" and ... == "messages of the test" then
    return value.write(true, { unpack(self.published, select(2, ...) + 1) })
  elseif kind == "map" and ... == "specs of the test" then
    return value.write(true, is_of_test(world, select(2, ...)))
  elseif kind == "map" and ... == "entries of the test" then
    return value.write(true, entries_of(world, (select(2, ...))))
  elseif kind == "http" and ... == "addresses of the test" then
    return value.write(true, addresses_of(self.worlds.dns, (select(2, ...))))
  end
  asked[#asked + 1] = select("#", ...) == 1 and ... or { ... }
  if type(world) == "function" then
    return value.write(true, world(...))
  elseif type(world) == "string" then
    return value.write(true, nil, kind .. ": " .. world, world)
  end
  return value.write(true, answers[kind](world, ...))
end

fakes.KINDS = KINDS

return fakes
