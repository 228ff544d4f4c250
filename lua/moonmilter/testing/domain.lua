--- A domain that sends mail: what it publishes, and messages that it has signed.
--
--   local example = testing.domain "example.org"
--   local mta = testing.start { scripts = "check.lua", dns = example.dns }
--   local result = mta:message(example:sign { headers = { Subject = "hello" } })
--
-- The records are SPF (the client of mta:connect may send), a DKIM key, and DMARC. For several domains and other names:
-- dns = testing.dns(example, other, { ["x.example"] = "servfail" }).
local blame = require "moonmilter.testing.blame"

local domain = {}

-- Loaded when the first domain is made: seal.so and codec.so are in a package of their own, and most specs need
-- neither.
local codec, dkim, seal

local function load_modules()
  local function load(name)
    local found, module = pcall(require, name)
    if not found then
      blame.raise(("domain: %s is missing (Debian: lua-moonmilter; in the source tree: make): %s"):format(name, module))
    end
    return module
  end
  seal = seal or load "moonmilter.seal"
  codec = codec or load "moonmilter.codec"
  dkim = dkim or load "moonmilter.dkim"
end

---@class moonmilter.testing.Domain
---@field name string
---@field dns table  for the option dns of testing.start
---@field signer moonmilter.dkim.Signer
local Domain = {}
Domain.__index = Domain

local OPTIONS = { selector = "string", key = "string", spf = "string", dmarc = "string" }
local OFF = { spf = true, dmarc = true } -- false: no such record

local function check(name, options)
  if type(name) ~= "string" then
    blame.raise 'domain: give a name, as in testing.domain "example.org"'
  end
  for key, value in pairs(options) do
    if not OPTIONS[key] then
      blame.raise(("domain: there is no option %s; there are selector, key, spf and dmarc"):format(tostring(key)))
    elseif type(value) ~= OPTIONS[key] and not (OFF[key] and value == false) then
      blame.raise(("domain: %s: expected a %s, got a %s"):format(key, OPTIONS[key], type(value)))
    end
  end
end

-- Keys take a while to make, so each kind is made once for a run.
local made = {}

local function private_key(key)
  if key ~= "rsa" and key ~= "ed25519" then
    return key -- PEM
  end
  made[key] = made[key] or seal.new_key(key)
  return made[key]
end

--- A domain with SPF, DKIM and DMARC.
---@param name string
---@param options table?  selector: default "test"; key: "ed25519" (default), "rsa", or PEM; spf: what follows v=spf1,
--- default "ip4:192.0.2.0/24 -all"; dmarc: what follows v=DMARC1, default "p=reject"; false: no such record
---@return moonmilter.testing.Domain
function domain.new(name, options)
  options = options or {}
  check(name, options)
  load_modules()
  local selector, key = options.selector or "test", assert(seal.private_key(private_key(options.key or "ed25519")))
  local self = setmetatable({ name = name, dns = {} }, Domain)
  self.signer = dkim.signer { domain = name, selector = selector, key = key }
  self.dns[selector .. "._domainkey." .. name] = { TXT = { ("v=DKIM1; k=%s; p=%s"):format(key:kind(),
    codec.base64_encode(key:export())) } }
  local spf, dmarc = options.spf, options.dmarc
  self.dns[name] = { TXT = spf ~= false and { "v=spf1 " .. (spf or "ip4:192.0.2.0/24 -all") } or nil }
  if dmarc ~= false then
    self.dns["_dmarc." .. name] = { TXT = { "v=DMARC1; " .. (dmarc or "p=reject") } }
  end
  return self
end

-- Fields in order, { name, value } each; From first if the message has none.
local function fields_of(message, name)
  local list, given = {}, message.headers or {}
  local has_from = false
  for key, pair in pairs(given) do
    has_from = has_from or (type(key) == "string" and key or pair[1]):lower() == "from"
  end
  list[1] = not has_from and { "From", ("Ann <ann@%s>"):format(name) } or nil
  for _, pair in ipairs(given) do
    list[#list + 1] = pair
  end
  local names = {}
  for key in pairs(given) do
    names[#names + 1] = type(key) == "string" and key or nil
  end
  table.sort(names)
  for _, key in ipairs(names) do
    list[#list + 1] = { key, given[key] }
  end
  return list
end

local function copy_of(message)
  local copy = {}
  for key, value in pairs(message or {}) do
    copy[key] = value
  end
  return copy
end

--- A message that this domain has signed, for mta:message.
---@param message table?  from, to, params, headers, body as for mta:message; default: From and envelope of the domain
---@return table
function Domain:sign(message)
  local signed = copy_of(message)
  local list, headers = fields_of(signed, self.name), {}
  for i, pair in ipairs(list) do
    headers[i] = { name = pair[1], value = pair[2], raw = pair[1] .. ": " .. pair[2] }
  end
  signed.from = signed.from or "bounces@" .. self.name
  signed.body = signed.body or "hello\r\n"
  local body = seal.body(self.signer.want.canon, self.signer.want.algorithm)
  body:feed(signed.body)
  local value, why = self.signer:sign(headers, (body:finish()))
  if not value then
    blame.raise("sign: " .. why)
  end
  signed.headers = { { "DKIM-Signature", value }, unpack(list) }
  return signed
end

--- The names of several domains, and others, as one world for the option dns.
---@param ... moonmilter.testing.Domain|table
---@return table
function domain.dns(...)
  local world = {}
  for _, one in ipairs { ... } do
    for name, entry in pairs(getmetatable(one) == Domain and one.dns or one) do
      world[name] = entry
    end
  end
  return world
end

return domain
