--- DKIM signatures (RFC 6376, 8301, 8463, 8616): verifying those of a message, and making one. Pure: DNS is a function
--- that the caller gives; header and body come from anywhere. In a handler, use moonmilter.auth, which does all of it.
---
---   local verifier = dkim.verifier { headers = ctx.headers, dns = dns.query }
---   verifier:feed(chunk)
---   for _, r in ipairs(verifier:finish()) do print(r.result, r.domain, r.reason) end
local address = require "moonmilter.address"
local codec = require "moonmilter.codec"
local evidence = require "moonmilter.identity.evidence"
local keyrecord = require "moonmilter.identity.keyrecord"
local seal = require "moonmilter.seal"
local signature = require "moonmilter.identity.signature"
local signed = require "moonmilter.identity.signed"
local taglist = require "moonmilter.identity.taglist"

local dkim = {}

local CONSIDERED = 100 -- DKIM-Signature fields that are read, to choose from

---@class moonmilter.dkim.VerifierOptions
---@field headers moonmilter.Headers|table[]  as received, top first: fields with `raw`, or `name` and `value`
---@field dns fun(name: string, kind: string): string[]|nil, string|nil, string|nil  dns.query, or one like it
---@field all (fun(tasks: table): table)|nil  milter.all, or one like it: all keys are asked at once; default: in turn
---@field now number|nil            seconds since 1970; default os.time()
---@field max_signatures integer|nil  evaluated at most, default 10
---@field length "policy"|"honor"|nil  a signature whose l= leaves bytes of the body unsigned: "policy" (default) gives
--- this result, "honor" accepts it
---@field exact_space boolean|nil   false: the MTA did not keep the blanks after "Name:" (HDR_LEADSPC), so header
--- signatures in simple form may not match; such a failure is "neutral". Default true

---@class moonmilter.dkim.Result
---@field result "pass"|"fail"|"policy"|"neutral"|"temperror"|"permerror"
---@field reason string|nil        why it is no pass
---@field domain string|nil        d=, lower case
---@field selector string|nil      s=
---@field identity string|nil      i=, or "@" and d=
---@field algorithm string|nil     a=
---@field canonicalization string|nil  "relaxed/simple"
---@field signed string[]|nil      names of h=, lower case
---@field unsigned string[]|nil    names, of those that mail readers show or that decide how the body is read, of which
--- fields are not signed
---@field uncovered integer|nil    bytes of the body that l= leaves unsigned
---@field bits integer|nil         of the key
---@field testing boolean          the key has t=y: the result is "neutral", and `tested` is what it would be
---@field tested string|nil
---@field near_from boolean        d= is From's domain, or above or below it. Alignment is for DMARC to judge
---@field position integer         of the field in the header
---@field properties moonmilter.AuthProperty[]  for authres.format

---@class moonmilter.dkim.Want
---@field canon "simple"|"relaxed"
---@field algorithm "sha256"
---@field length number|nil

---@class moonmilter.dkim.Verifier
---@field wants moonmilter.dkim.Want[]  hashes of the body that the signatures need; empty: no need to read the body
---@field skipped integer  signatures that are not evaluated, because there are too many
local Verifier = {}
Verifier.__index = Verifier

-- ---- choosing signatures ----

-- The domains of From, in lower case: to look first at the signatures that DMARC needs.
local function from_domains(header)
  local list = {}
  for i, field in ipairs(header:all "from") do
    local value = field.raw:sub((field.raw:find(":", 1, true) or #field.raw) + 1)
    -- most are this simple; what is not takes ten times as long
    local simple = value:match "^[%w .-]*<[%w.+_-]+@([%w.-]+)>$"
    list[#list + 1] = simple and simple:lower()
    local mailboxes = not simple and i <= 10 and address.mailboxes(value) or {}
    for _, mailbox in ipairs(mailboxes) do
      local domain = mailbox.domain and address.domain_to_ascii(mailbox.domain)
      list[#list + 1] = domain and domain:lower()
    end
  end
  return list
end

local function is_near(domain, domains)
  for i = 1, domain and math.min(#domains, 10) or 0 do
    if signature.is_within(domain, domains[i]) or signature.is_within(domains[i], domain) then
      return true
    end
  end
  return false
end

-- Signatures in the order of their evaluation: those near From first, then from the top (RFC 6376 6.1).
local function choose(header, most)
  local fields, domains = header:all "dkim-signature", from_domains(header)
  local near, far = {}, {}
  for i = 1, math.min(#fields, CONSIDERED) do
    local s = signature.read(fields[i].raw)
    s.position = fields[i].position
    s.near_from = is_near(s.domain and address.domain_to_ascii(s.domain) or s.domain, domains)
    table.insert(s.near_from and near or far, s)
  end
  for _, s in ipairs(far) do
    near[#near + 1] = s
  end
  for i = #near, most + 1, -1 do
    near[i] = nil
  end
  return near, #fields - #near
end

-- ---- a verifier ----

-- RFC 6376 8.15: a From that is not signed is what a reader may see.
local function from_fault(header, s)
  if header:unsigned(s.counts, "from") > 0 then
    return { result = "policy", reason = "a From field is not signed (RFC 6376 8.15)" }
  end
end

-- The number of the hash that a signature needs, among equal ones.
local function add_want(wants, s)
  for i, want in ipairs(wants) do
    if want.canon == s.body_canon and want.length == s.length then
      return i
    end
  end
  wants[#wants + 1] = { canon = s.body_canon, algorithm = "sha256", length = s.length }
  return #wants
end

--- Reads the signatures of a header.
---@param options moonmilter.dkim.VerifierOptions
---@return moonmilter.dkim.Verifier
function dkim.verifier(options)
  if type(options) ~= "table" or type(options.headers) ~= "table" and type(options.headers) ~= "userdata" then
    error("dkim.verifier: headers are missing, a list of fields", 2)
  elseif type(options.dns) ~= "function" then
    error("dkim.verifier: dns is missing, a function (name, type)", 2)
  end
  local header = signed.header(options.headers)
  local v = setmetatable({ header = header, options = options, wants = {}, keys = {} }, Verifier)
  v.signatures, v.skipped = choose(header, options.max_signatures or 10)
  for _, s in ipairs(v.signatures) do
    if options.headers.truncated then
      s.fault = { result = "permerror", reason = "header too large" }
    end
    s.fault = s.fault or signature.time_fault(s, options.now or os.time()) or from_fault(header, s)
    s.want = not s.fault and add_want(v.wants, s) or nil
  end
  return v
end

--- Some of the body, CRLF at line ends, cut anywhere. The caller may hash instead, and give the hashes to finish.
---@param chunk string
function Verifier:feed(chunk)
  evidence.feed(self, chunk)
end

--- Asks for the keys of all signatures that may still pass. May be called before the body ends, so that the answers
--- come meanwhile; finish calls it otherwise.
function Verifier:ask()
  local asked = {}
  for _, s in ipairs(self.signatures) do
    asked[#asked + 1] = not s.fault and s or nil
  end
  evidence.ask(self, asked)
end

-- ---- evaluation ----

local function refuse(s, result, reason, ...)
  s.fault = { result = result, reason = reason:format(...) }
end

-- bh= and l= against what came.
local function judge_body(s, hash)
  if s.length and s.length > hash.length then
    return refuse(s, "permerror", "l= is more than the body has")
  elseif hash.hash ~= s.body_hash then
    return refuse(s, "fail", "body hash does not match")
  end
  s.uncovered = s.length and s.length < hash.length and hash.length - s.length or nil
end

-- Why a key may not verify this signature: result, reason.
local function key_fault(s, record)
  if record.is_revoked then
    return "permerror", "key is revoked"
  elseif record.kind ~= s.kind then
    return "permerror", "key is for another algorithm"
  elseif record.is_strict and s.identity_domain ~= s.domain then
    return "permerror", "key does not allow i= below d= (t=s, RFC 6376 3.6.1)"
  elseif record.is_too_large then
    return "policy", "key has more than 4096 bits"
  elseif record.bits < 1024 and record.kind == "rsa" then
    return "policy", ("key has only %d bits (RFC 8301 3.2)"):format(record.bits)
  end
end

-- The first key that verifies the signature decides, else the first one (RFC 6376 6.1.2).
local function judge_keys(s, keys, text)
  local first_result, first_reason
  for _, record in ipairs(keys) do
    local result, reason = key_fault(s, record)
    if not result and record.key:verify(text, s.signature) then
      s.record = record
      return
    end
    if not first_result then
      first_result, first_reason = result or "fail", reason or "signature does not match"
      s.record = record
    end
  end
  refuse(s, first_result, "%s", first_reason)
end

local function judge(self, s)
  local keys = self.keys[evidence.key_name(s)]
  if not keys or not keys[1] then
    return refuse(s, keys and not keys.is_unknown and "permerror" or "temperror", "%s", keys and keys.reason or "DNS")
  end
  judge_keys(s, keys, self.header:text(s.header_canon, s.names, s.unsigned_raw, s.position))
  if s.fault and s.fault.result == "fail" and s.header_canon == "simple" and self.options.exact_space == false then
    return refuse(s, "neutral", "milter without leading space: simple form is not known")
  elseif not s.fault and s.uncovered and self.options.length ~= "honor" then
    return refuse(s, "policy", "l= leaves %d bytes of the body unsigned", s.uncovered)
  end
end

-- ---- results ----

-- What mail readers show, and what decides how they read the body.
local SHOWN = { "to", "cc", "subject", "date", "reply-to", "sender", "content-type", "content-transfer-encoding" }

local function unsigned_of(header, s)
  local list = {}
  for _, name in ipairs(s.names and SHOWN or {}) do
    if header:unsigned(s.counts, name) > 0 then
      list[#list + 1] = name
    end
  end
  return list[1] and list or nil
end

local function add_property(list, name, value)
  if value then
    list[#list + 1] = { type = "header", property = name, value = value }
  end
end

-- RFC 8601 2.7.1, RFC 6008: header.b tells signatures of one domain apart.
local function properties_of(s)
  local list = {}
  add_property(list, "d", s.domain)
  add_property(list, "i", s.tags.i and s.identity)
  add_property(list, "s", s.selector)
  add_property(list, "a", s.algorithm)
  add_property(list, "b", s.signature and taglist.solid(s.tags.b):sub(1, 8))
  return list
end

local function result_of(header, s)
  local fault = s.fault or { result = "pass" }
  local r = {
    result = fault.result, reason = fault.reason, domain = s.domain, selector = s.selector, identity = s.identity,
    algorithm = s.algorithm, canonicalization = s.header_canon and s.header_canon .. "/" .. s.body_canon,
    signed = s.names, unsigned = unsigned_of(header, s), uncovered = s.uncovered, bits = s.record and s.record.bits,
    testing = s.record ~= nil and s.record.is_testing, near_from = s.near_from, position = s.position,
    properties = properties_of(s),
  }
  -- RFC 6376 3.6.1: no different from a message without signature, whatever the result
  if r.testing and (r.result == "pass" or r.result == "fail" or r.result == "policy") then
    r.tested, r.result = r.result, "neutral"
    r.reason = "key is in test mode (t=y): " .. (fault.reason or "signature matches")
  end
  return r
end

--- Ends the body and evaluates. What mail or DNS say never raises.
---@param hashes { hash: string, length: number }[]|nil  by the numbers of `wants`: the raw hash, and the bytes of the
--- whole canonical body; nil: those of what was fed
---@return moonmilter.dkim.Result[]  in the order of evaluation; empty: no signature
function Verifier:finish(hashes)
  hashes = evidence.hashes(self, hashes, "dkim")
  for _, s in ipairs(self.signatures) do
    if s.want then
      judge_body(s, hashes[s.want])
    end
  end
  self:ask()
  local results = {}
  for i, s in ipairs(self.signatures) do
    if not s.fault then
      judge(self, s)
    end
    results[i] = result_of(self.header, s)
  end
  return results
end

--- Reads a key record (RFC 6376 3.6.1).
---@param text string  the strings of one TXT record, joined without blank
---@return moonmilter.KeyRecord|nil record
---@return string|nil text
---@return "syntax"|nil code
function dkim.key(text)
  return keyrecord.parse(text)
end

-- ---- signing ----

---@class moonmilter.dkim.SignerOptions
---@field domain string       d=; A-labels or U-labels
---@field selector string     s=
---@field key string|moonmilter.Keypair  a private key, as seal.private_key reads it
---@field identity string|nil   i=
---@field headers string[]|nil  names of fields to sign; From always is. Default: see docs/dkim.md
---@field oversign string[]|nil  names of which no field may be added later; default From, Reply-To, Subject, To, Cc
---@field oversign_missing boolean|nil  false: not those that the message lacks, because the MTA may add them. Default true
---@field canonicalization string|nil  default "relaxed/relaxed"
---@field expires number|nil  seconds that the signature is valid; default: no x=

---@class moonmilter.dkim.Signer
---@field want moonmilter.dkim.Want  the hash of the body that sign needs
---@field domain string
---@field selector string
---@field algorithm string
local Signer = {}
Signer.__index = Signer

local OVERSIGN = { "From", "Reply-To", "Subject", "To", "Cc" }
-- RFC 6376 5.4.1, and those that rspamd signs
local HEADERS = {
  "Sender", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition",
  "Content-ID", "Content-Description", "In-Reply-To", "References", "List-Id", "List-Help", "List-Owner",
  "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Archive", "Resent-To",
  "Resent-Cc", "Resent-From", "Resent-Sender", "Resent-Message-ID", "Resent-Date",
}
-- Trace fields change on the way (RFC 6376 5.4.1); MTAs remove Bcc and Return-Path; hosts remove forged results.
local NEVER = {
  ["return-path"] = true, received = true, bcc = true, ["resent-bcc"] = true, comments = true, keywords = true,
  ["authentication-results"] = true, ["dkim-signature"] = true, ["arc-seal"] = true, ["arc-message-signature"] = true,
  ["arc-authentication-results"] = true, ["delivered-to"] = true,
}
local FIELDS_MAX = 20 -- of one name that are signed

local function check_names(what, names)
  for _, name in ipairs(names) do
    if type(name) ~= "string" or not name:find "^[\33-\57\60-\126]+$" then
      error(("dkim.signer: %s: %q is no field name"):format(what, tostring(name)), 4)
    elseif NEVER[name:lower()] then
      error(("dkim.signer: %s: %s changes on the way, so a signature over it breaks (RFC 6376 5.4.1)"):format(what,
        name), 4)
    end
  end
  return names
end

local function check_key(key)
  if type(key) == "string" then
    local found, why = seal.private_key(key)
    if not found then
      error("dkim.signer: " .. why, 4)
    end
    key = found
  end
  if not key or not key:is_private() or key:kind() == "rsa" and key:bits() < 1024 then
    error("dkim.signer: key is no private key of at least 1024 bits", 4)
  end
  return key
end

local function check_signer(o)
  local domain = type(o.domain) == "string" and (address.domain_to_ascii(o.domain) or o.domain) or ""
  if not signature.is_name(domain, 2) then
    error(("dkim.signer: domain %q is no domain name"):format(tostring(o.domain)), 3)
  elseif type(o.selector) ~= "string" or not signature.is_name(o.selector, 1) then
    error(("dkim.signer: selector %q is no selector"):format(tostring(o.selector)), 3)
  end
  local header_canon, body_canon = (o.canonicalization or "relaxed/relaxed"):match "^(%l+)/(%l+)$"
  local known = { simple = true, relaxed = true }
  if not known[header_canon] or not known[body_canon] then
    error("dkim.signer: canonicalization is simple or relaxed, twice: \"relaxed/simple\"", 3)
  end
  local identity_domain = o.identity and (o.identity:match "^[^ \t\r\n;]*@([^@ \t\r\n;]+)$" or ""):lower()
  if o.identity and not signature.is_within(identity_domain, domain:lower()) then
    error(("dkim.signer: identity %q is outside the domain %s"):format(o.identity, domain), 3)
  end
  return domain:lower(), header_canon, body_canon
end

-- The names of h=, each once, as { name, lower-case name, fields more than there are }.
local function rows_of(oversign, names)
  local rows, is_known = {}, {}
  for i, list in ipairs { oversign, { "From" }, names } do
    for _, name in ipairs(list) do
      local lower = name:lower()
      if not is_known[lower] then
        rows[#rows + 1], is_known[lower] = { name, lower, i == 1 and 1 or 0 }, true
      end
    end
  end
  return rows
end

--- Prepares a key for signing. Raises when an option is wrong.
---@param options moonmilter.dkim.SignerOptions
---@return moonmilter.dkim.Signer
function dkim.signer(options)
  local domain, header_canon, body_canon = check_signer(options)
  local key = check_key(options.key)
  return setmetatable({
    domain = domain, selector = options.selector, key = key, algorithm = key:kind() .. "-sha256",
    identity = options.identity, header_canon = header_canon, body_canon = body_canon,
    want = { canon = body_canon, algorithm = "sha256" },
    rows = rows_of(check_names("oversign", options.oversign or OVERSIGN),
      check_names("headers", options.headers or HEADERS)),
    skips_missing = options.oversign_missing == false, expires = options.expires,
  }, Signer)
end

-- h= for a header: each field once, and oversigned names once more. -> names as written, and in lower case
local function names_for(self, header)
  local names, lower = {}, {}
  for _, row in ipairs(self.rows) do
    local count = math.min(header:count(row[2]), FIELDS_MAX)
    if count > 0 or not self.skips_missing then
      for _ = 1, count + row[3] do
        names[#names + 1], lower[#lower + 1] = row[1], row[2]
      end
    end
  end
  return names, lower
end

local LINE = 72 -- characters of a line of the field

-- Words with a separator, in lines after the first.
local function wrap(text, list, separator)
  local column = LINE -- so that the list begins a line
  for i, item in ipairs(list) do
    local word = item .. (i < #list and separator or "")
    local is_first = i == 1
    if column + #word > LINE then
      text[#text + 1] = is_first and "\n\t" or "\n\t "
      column = 8
    end
    text[#text + 1] = word
    column = column + #word
  end
end

local function wrap_base64(text, name, value)
  text[#text + 1] = "\n\t" .. name .. "="
  local at, room = 1, LINE - 8 - #name - 1
  while at <= #value do
    text[#text + 1] = (at > 1 and "\n\t " or "") .. value:sub(at, at + room - 1)
    at, room = at + room, LINE - 9
  end
end

-- The value up to and with "b=".
local function unsigned_value(self, names, body_hash, now)
  local text = { ("v=1; a=%s; c=%s/%s; d=%s;\n\ts=%s;"):format(self.algorithm, self.header_canon, self.body_canon,
    self.domain, self.selector) }
  text[#text + 1] = self.identity and (" i=%s;"):format(self.identity) or nil
  text[#text + 1] = (" t=%d;"):format(now)
  text[#text + 1] = self.expires and (" x=%d;"):format(now + self.expires) or nil
  names[1] = "h=" .. names[1]
  wrap(text, names, ":")
  text[#text + 1] = ";"
  wrap_base64(text, "bh", codec.base64_encode(body_hash))
  text[#text + 1] = ";\n\tb="
  return table.concat(text)
end

--- Signs a message.
---@param headers moonmilter.Headers|table[]  as the message will leave, top first
---@param body_hash string  raw, of the whole body as it will leave: seal.body(want.canon, want.algorithm)
---@param now? number  seconds since 1970; default os.time()
---@return string|nil value  of a field DKIM-Signature, folded with LF, to be put first in the header
---@return string|nil text
---@return "from"|"key"|nil code  "from": not exactly one From (RFC 5322 3.6)
function Signer:sign(headers, body_hash, now)
  local header = signed.header(headers)
  local count = header:count "from"
  if count ~= 1 then
    return nil, ("dkim: %d From fields; exactly one is signed"):format(count), "from"
  end
  local names, lower = names_for(self, header)
  local value = unsigned_value(self, names, body_hash, math.floor(now or os.time()))
  local raw, why, code = self.key:sign(header:text(self.header_canon, lower, "DKIM-Signature: " .. value))
  if not raw then
    return nil, why, code
  end
  local text = {}
  wrap_base64(text, "b", codec.base64_encode(raw))
  return value .. table.concat(text):sub(#"\n\tb=" + 1)
end

--- Names of fields with a line over 998 characters, which an MTA breaks after signing (RFC 5322 2.1.1).
---@param headers moonmilter.Headers|table[]
---@return string[]
function dkim.long_lines(headers)
  local names = {}
  for i = 1, #headers do
    local field = headers[i]
    local raw = field.raw or field.name .. ": " .. field.value
    for line in (#raw > 998 and raw or ""):gmatch "[^\n]+" do
      if #line > 998 then
        names[#names + 1] = field.name or raw:match "^[^:]*"
        break
      end
    end
  end
  return names
end

return dkim
