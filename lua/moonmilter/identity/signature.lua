--- A signature over header and body: the fields DKIM-Signature (RFC 6376 3.5) and ARC-Message-Signature (RFC 8617
--- 4.1.2), which has the same tags but i= and v=.
local codec = require "moonmilter.codec"
local taglist = require "moonmilter.identity.taglist"

local signature = {}

local HEADERS_MAX = 1000 -- names in h=
local DRIFT = 300        -- seconds that clocks may differ, as libopendkim has it

---@class moonmilter.identity.Signature
---@field raw string              the whole field, "Name: value"
---@field unsigned_raw string     the same with an empty b=
---@field tags table<string, string>
---@field algorithm "rsa-sha256"|"ed25519-sha256"
---@field kind "rsa"|"ed25519"
---@field signature string        raw
---@field body_hash string        raw
---@field domain string           lower case
---@field selector string
---@field identity string|nil     of DKIM: i=, or "@" and d=
---@field instance integer|nil    of ARC
---@field names string[]          of h=, in lower case
---@field counts table<string, integer>  how often each name occurs
---@field header_canon "simple"|"relaxed"
---@field body_canon "simple"|"relaxed"
---@field length number|nil       l=
---@field time number|nil         t=
---@field expires number|nil      x=

---@class moonmilter.identity.SignatureFault
---@field result "permerror"|"neutral"|"policy"|"fail"
---@field reason string

local function refuse(s, result, reason, ...)
  s.fault = { result = result, reason = reason:format(...) }
  return s
end

local function number_of(value)
  return value and value:find "^%d+$" and #value <= 76 and tonumber(value) or nil
end

-- A name of labels: LDH, underscore, U-labels (RFC 8616 5). Nothing else reaches DNS or a report.
local function is_name(text, labels_min)
  local labels = 0
  if #text <= 63 and text:find "^[%w_][%w_.-]*%w$" and not text:find "%.[.-]" and not text:find("-.", 1, true) then
    return labels_min == 1 or text:find(".", 1, true) ~= nil -- most names; no label is too long
  elseif #text > 253 or text:find "[^%w_.\128-\255-]" or text:find "%.%." then
    return false
  end
  for label in (text .. "."):gmatch "([^.]*)%." do -- at most 254 bytes: checked above
    labels = labels + 1
    if label == "" or #label > 63 or label:find "^%-" or label:find "%-$" then
      return false
    end
  end
  return labels >= labels_min
end
signature.is_name = is_name

--- Is the domain `name` the domain `above`, or one below it?
---@param name string   lower case
---@param above string  lower case
---@return boolean
function signature.is_within(name, above)
  return name == above or name:sub(-#above - 1) == "." .. above
end

local function base64(value)
  local bytes, bad = codec.base64_decode(taglist.solid(value))
  return bad == 0 and bytes ~= "" and bytes or nil
end

local ALGORITHMS = { ["rsa-sha256"] = "rsa", ["ed25519-sha256"] = "ed25519" }
local CANONS = { simple = true, relaxed = true }

-- Each reads one thing of s.tags into s, in this order. Returns nothing, or refuse(…).

local function read_algorithm(s, tags)
  local algorithm = tags.a:lower()
  s.kind = ALGORITHMS[algorithm]
  s.algorithm = algorithm:find "^[%w-]+$" and #algorithm <= 40 and algorithm or nil
  if not s.algorithm then
    return refuse(s, "permerror", "a= is no algorithm")
  elseif algorithm == "rsa-sha1" then
    return refuse(s, "policy", "rsa-sha1 is no longer accepted (RFC 8301 3.1)")
  elseif not s.kind then
    return refuse(s, "neutral", "unknown algorithm")
  end
end

local function read_who(s, tags)
  if not is_name(tags.d, 2) then
    return refuse(s, "permerror", "d= is no domain name")
  end
  s.domain = tags.d:lower()
  if not is_name(tags.s, 1) then
    return refuse(s, "permerror", "s= is no selector")
  end
  s.selector = tags.s
end

local function read_identity(s, tags)
  if s.instance then
    return
  end
  s.identity = tags.i or "@" .. tags.d
  local domain = s.identity:match "@([^@]*)$"
  if not domain or #s.identity > 1024 or s.identity:find "[ \t\r\n]" or not is_name(domain, 2) then
    s.identity = nil
    return refuse(s, "permerror", "i= is no identity")
  elseif not signature.is_within(domain:lower(), s.domain) then
    return refuse(s, "permerror", "i= is outside the domain d=")
  end
  s.identity_domain = domain:lower()
end

local function read_canons(s, tags)
  local canons = (tags.c or s.instance and "relaxed/relaxed" or "simple"):lower()
  local header, body = canons:match "^(%a+)/(%a+)$"
  header, body = header or canons, body or "simple"
  if not CANONS[header] or not CANONS[body] then
    return refuse(s, "neutral", "unknown canonicalization c=")
  end
  s.header_canon, s.body_canon = header, body
end

-- ARC-Message-Signature need not cover From, and may name nothing (RFC 8617 4.1.2).
local function read_names(s, tags)
  local text = taglist.solid(tags.h):lower()
  local names, counts = taglist.items(text), {}
  local has_empty = (":" .. text .. ":"):find("::", 1, true) ~= nil
  if #names > HEADERS_MAX then
    return refuse(s, "permerror", "more than %d names in h=", HEADERS_MAX)
  elseif text:find "[^\33-\126]" or has_empty and not s.instance then
    return refuse(s, "permerror", "h= has a name that no field has")
  end
  for _, name in ipairs(names) do
    counts[name] = (counts[name] or 0) + 1
  end
  if not counts.from and not s.instance then
    return refuse(s, "permerror", "From is not signed")
  end
  s.names, s.counts = names, counts
end

local function read_numbers(s, tags)
  for _, name in ipairs { "l", "t", "x" } do
    if tags[name] and not number_of(tags[name]) then
      return refuse(s, "permerror", "%s= is no number", name)
    end
  end
  s.length, s.time, s.expires = number_of(tags.l), number_of(tags.t), number_of(tags.x)
  if s.time and s.expires and s.expires <= s.time then
    return refuse(s, "permerror", "x= is not after t=")
  end
end

local function read_query(s, tags)
  if not tags.q then
    return
  end
  for _, method in ipairs(taglist.items(tags.q)) do
    if method:lower() == "dns/txt" then
      return
    end
  end
  return refuse(s, "neutral", "unknown query method q=")
end

local function read_hashes(s, tags)
  s.signature, s.body_hash = base64(tags.b), base64(tags.bh)
  if not s.signature then
    return refuse(s, "permerror", "b= is not base64")
  elseif not s.body_hash or #s.body_hash ~= 32 then
    return refuse(s, "permerror", "bh= is no SHA-256 hash in base64")
  end
end

local CHAIN = { none = "none", pass = "pass", fail = "fail" } -- cv=

local READERS = { read_algorithm, read_who, read_identity, read_canons, read_names, read_numbers, read_query,
  read_hashes }

local function read_version(s, tags, is_arc)
  if not is_arc then
    return tags.v ~= "1" and refuse(s, "permerror", tags.v and "v= is not 1" or "no v=") or nil
  end
  s.instance = number_of(tags.i)
  if not s.instance or s.instance < 1 or s.instance > 50 then
    return refuse(s, "permerror", "i= is no instance of 1 to 50")
  elseif tags.v then
    return refuse(s, "permerror", "v= does not belong here")
  end
end

--- Read a field. Always returns a signature; when it has a `fault`, only what was read before that is there.
---@param raw string  the field as received: "DKIM-Signature: v=1; …", folds as LF or CRLF
---@param is_arc? boolean  ARC-Message-Signature
---@return moonmilter.identity.Signature
function signature.read(raw, is_arc)
  local colon = raw:find(":", 1, true) or #raw
  local value = raw:sub(colon + 1)
  local tags, spans = taglist.parse(value)
  local s = { raw = raw, tags = tags or {} }
  if not tags then
    return refuse(s, "permerror", "%s", spans)
  end
  s.unsigned_raw = raw:sub(1, colon) .. taglist.remove(value, spans, "b")
  if read_version(s, tags, is_arc) then
    return s
  end
  for _, name in ipairs { "a", "b", "bh", "d", "h", "s" } do
    if not tags[name] then
      return refuse(s, "permerror", "no %s=", name)
    end
  end
  for _, read in ipairs(READERS) do
    if read(s, tags) then
      return s
    end
  end
  return s
end

--- Read a field ARC-Seal (RFC 8617 4.1.3): a signature over fields only, which has a verdict on the chain before it.
---@param raw string
---@return moonmilter.identity.Signature  with `cv`; has a `fault` when it is not valid
function signature.read_seal(raw)
  local colon = raw:find(":", 1, true) or #raw
  local value = raw:sub(colon + 1)
  local tags, spans = taglist.parse(value)
  local s = { raw = raw, tags = tags or {} }
  if not tags then
    return refuse(s, "permerror", "%s", spans)
  end
  s.unsigned_raw = raw:sub(1, colon) .. taglist.remove(value, spans, "b")
  if read_version(s, tags, true) then
    return s
  elseif tags.h then
    return refuse(s, "permerror", "h= does not belong here")
  end
  for _, name in ipairs { "a", "b", "cv", "d", "s" } do
    if not tags[name] then
      return refuse(s, "permerror", "no %s=", name)
    end
  end
  s.cv = CHAIN[tags.cv:lower()]
  s.signature = base64(tags.b)
  if not s.cv or not s.signature then
    return refuse(s, "permerror", s.cv and "b= is not base64" or "cv= is not none, pass or fail")
  end
  return read_algorithm(s, tags) or read_who(s, tags) or read_numbers(s, tags) or s
end

--- Does the time allow the signature? (RFC 6376 3.5: t=, x=)
---@param s moonmilter.identity.Signature
---@param now number
---@return moonmilter.identity.SignatureFault|nil
function signature.time_fault(s, now)
  if s.expires and s.expires + DRIFT < now then
    return { result = "fail", reason = "expired" }
  elseif s.time and s.time - DRIFT > now then
    return { result = "neutral", reason = "t= is in the future" }
  end
end

return signature
