--- ARC (RFC 8617): what hosts on the way found out about a message, and seals on that. Verifying the chain of a
--- message, and adding a set to it. Pure: DNS is a function that the caller gives.
---
---   local chain = arc.verify { headers = headers, body = body, dns = dns.query }
---   if chain.result == "pass" and arc.trusted(chain, { "lists.example.org" }) then …
---
--- The IETF is about to declare ARC historic: it helps only where the verifier knows the sealers by name.
local authres = require "moonmilter.authres"
local codec = require "moonmilter.codec"
local evidence = require "moonmilter.identity.evidence"
local seal = require "moonmilter.seal"
local signature = require "moonmilter.identity.signature"
local signed = require "moonmilter.identity.signed"

local arc = {}

local SETS_MAX = 50 -- RFC 8617 4.2.1: no chain may be longer

local AAR, AMS, AS = "arc-authentication-results", "arc-message-signature", "arc-seal"

---@class moonmilter.arc.Set
---@field instance integer
---@field domain string    d= of the seal, lower case
---@field selector string
---@field cv "none"|"pass"|"fail"
---@field results string   what the host found out: the value of ARC-Authentication-Results after "i=…;"

---@class moonmilter.arc.Chain
---@field result "none"|"pass"|"fail"|"temperror"|"permerror"
---@field reason string?   why it is no pass
---@field instance integer  the highest; 0: no set
---@field oldest_pass integer?  of a pass: the first instance from which on all message signatures still match; 0: all do
---@field is_ended boolean  the last host sealed cv=fail: nothing is to be added any more (RFC 8617 5.1.3)
---@field sets moonmilter.arc.Set[]  by instance, as far as they could be read
---@field properties moonmilter.AuthProperty[]

-- ---- reading ----

-- "i=1; mx.example.org; spf=pass" -> 1, " mx.example.org; spf=pass"
local function split_results(value)
  local semicolon = value:find(";", 1, true) or 0
  local digits = value:sub(1, semicolon):gsub("[ \t\r\n]", ""):match "^i=(%d%d?);$"
  return tonumber(digits), value:sub(semicolon + 1)
end

local function value_of(field)
  return field.raw:match ":(.*)" or ""
end

local function read_results(field)
  local instance, text = split_results(value_of(field))
  return { text = text }, instance
end

local function read_message_signature(field)
  local s = signature.read(field.raw, true)
  return s, s.instance
end

local function read_seal(field)
  local s = signature.read_seal(field.raw)
  return s, s.instance
end

local READERS = { [AAR] = read_results, [AMS] = read_message_signature, [AS] = read_seal }

-- The fields of one kind by their instance: { [1] = what was read }; nil, and why.
local function by_instance(header, kind)
  local found = {}
  for _, field in ipairs(header:all(kind)) do
    local one, instance = READERS[kind](field)
    if not instance or instance < 1 or instance > SETS_MAX then
      return nil, kind .. " without an instance of 1 to 50"
    elseif found[instance] then
      return nil, ("%s i=%d occurs twice"):format(kind, instance)
    end
    one.field = field
    found[instance] = one
  end
  return found
end

local function instance_of(kind, field)
  local _, instance = READERS[kind](field)
  return instance
end

-- Sets 1 to N, each with one field of each kind (RFC 8617 5.2 step 3); nil, and why.
local function read_sets(header)
  local results, why_results = by_instance(header, AAR)
  local messages, why_messages = by_instance(header, AMS)
  local seals, why_seals = by_instance(header, AS)
  if not results or not messages or not seals then
    return nil, why_results or why_messages or why_seals
  end
  local sets = {}
  for instance = 1, math.max(header:count(AAR), header:count(AMS), header:count(AS)) do
    local set = { results = results[instance], message = messages[instance], seal = seals[instance] }
    if not (set.results and set.message and set.seal) then
      return nil, ("set %d is not complete"):format(instance)
    end
    sets[instance] = set
  end
  return sets
end

-- What is wrong with a set that can be seen without a key.
local function set_fault(set, instance)
  local names = set.message.names or {}
  for _, name in ipairs(names) do
    if name == AS then
      return "ARC-Message-Signature covers ARC-Seal (RFC 8617 4.1.2)"
    end
  end
  local fault = set.seal.fault or set.message.fault
  if fault then
    return fault.reason
  elseif set.seal.cv ~= (instance == 1 and "none" or "pass") then
    return ("cv=%s in set %d"):format(set.seal.cv, instance)
  end
end

-- ---- a verifier ----

---@class moonmilter.arc.Verifier
---@field wants moonmilter.dkim.Want[]  hashes of the body that the message signatures need; empty: none
local Verifier = {}
Verifier.__index = Verifier

-- At most two hashes, however many sets there are: l= does not count, see verify_message.
local function add_want(wants, s)
  for i, want in ipairs(wants) do
    if want.canon == s.body_canon then
      return i
    end
  end
  wants[#wants + 1] = { canon = s.body_canon, algorithm = "sha256" }
  return #wants
end

--- The highest instance that any field names, even in a broken chain.
local function highest(header)
  local most = 0
  for _, kind in ipairs { AAR, AMS, AS } do
    for _, field in ipairs(header:all(kind)) do
      local instance = instance_of(kind, field)
      most = math.max(most, instance and instance <= SETS_MAX and instance or 0)
    end
  end
  return most
end

--- Reads the sets of a header.
---@param options table  headers, dns, all, exact_space: as in dkim.verifier
---@return moonmilter.arc.Verifier
function arc.verifier(options)
  if type(options) ~= "table" or type(options.headers) ~= "table" and type(options.headers) ~= "userdata" then
    error("arc.verifier: headers are missing, a list of fields", 2)
  elseif type(options.dns) ~= "function" then
    error("arc.verifier: dns is missing, a function (name, type)", 2)
  end
  local header = signed.header(options.headers)
  local v = setmetatable({ header = header, options = options, wants = {}, keys = {} }, Verifier)
  local count = header:count(AAR) + header:count(AMS) + header:count(AS)
  v.is_none = count == 0 and not options.headers.truncated
  if count > 3 * SETS_MAX then
    v.fault = "more than 50 sets"
    return v
  end
  v.instance = highest(header)
  v.sets, v.fault = read_sets(header)
  local last = v.sets and v.sets[#v.sets]
  if options.headers.truncated then
    v.fault, v.fault_result = "header too large", "permerror"
  elseif last and last.seal.cv == "fail" and not last.seal.fault then -- RFC 8617 5.2 step 2
    v.fault, v.is_ended = ("set %d says that the chain is broken"):format(#v.sets), true
  end
  for instance, set in ipairs(not v.fault and v.sets or {}) do
    v.fault = v.fault or set_fault(set, instance)
  end
  for _, set in ipairs(not v.fault and v.sets or {}) do
    set.want = add_want(v.wants, set.message)
  end
  return v
end

--- Some of the body, CRLF at line ends, cut anywhere. The caller may hash instead, and give the hashes to finish.
---@param chunk string
function Verifier:feed(chunk)
  evidence.feed(self, chunk)
end

--- Asks for the keys of all sets. May be called before the body ends; finish calls it otherwise.
function Verifier:ask()
  local asked = {}
  for _, set in ipairs(not self.fault and self.sets or {}) do
    asked[#asked + 1], asked[#asked + 2] = set.message, set.seal
  end
  evidence.ask(self, asked)
end

-- Does one of the keys verify the signature? true; or false or nil (not known), and why.
local function verify(self, s, text, what)
  local keys = self.keys[evidence.key_name(s)]
  if not keys or keys.is_unknown then
    return nil, ("%s: %s"):format(what, keys and keys.reason or "DNS")
  end
  for _, record in ipairs(keys) do
    if record.key and record.kind == s.kind and not (record.kind == "rsa" and record.bits < 1024)
      and record.key:verify(text, s.signature) then
      return true
    end
  end
  return false, ("%s: %s"):format(what, keys.reason or "no key verifies it")
end

local function verify_message(self, instance, hash)
  local s = self.sets[instance].message
  local what = ("ARC-Message-Signature %d"):format(instance)
  if s.length then -- anybody could append to the body, and 50 lengths would be 50 hashes of it
    return false, what .. ": l= is not accepted"
  elseif hash.hash ~= s.body_hash then
    return false, what .. ": body hash does not match"
  end
  local is_valid, why = verify(self, s, self.header:text(s.header_canon, s.names, s.unsigned_raw, s.field.position),
    what)
  if is_valid == false and s.header_canon == "simple" and self.options.exact_space == false then
    return nil, what .. ": milter without leading space: simple form is not known"
  end
  return is_valid, why
end

-- The text that a seal covers: the sets up to its own, each in the order results, message signature, seal, in relaxed
-- form (RFC 8617 5.1.1); of cv=fail its own set alone (5.1.2).
local function sealed_text(fields_of, instance, cv, own)
  local out = {}
  for i = cv == "fail" and instance or 1, instance do
    local set = fields_of(i)
    out[#out + 1] = seal.header("relaxed", set.results)
    out[#out + 1] = seal.header("relaxed", set.message)
    out[#out + 1] = seal.header("relaxed", i == instance and own or set.seal)
  end
  return table.concat(out, "\r\n")
end

local function verify_seal(self, instance)
  local s = self.sets[instance].seal
  local function fields_of(i)
    local set = self.sets[i]
    return { results = set.results.field.raw, message = set.message.raw, seal = set.seal.raw }
  end
  return verify(self, s, sealed_text(fields_of, instance, s.cv, s.unsigned_raw), ("ARC-Seal %d"):format(instance))
end

-- RFC 8617 5.2 steps 4 to 6: "pass", or what and why.
local function judge(self, hashes)
  local count, unknown = #self.sets, nil
  local function note(is_valid, why)
    unknown = unknown or is_valid == nil and why or nil
    return is_valid
  end
  local is_valid, why = verify_message(self, count, hashes[self.sets[count].want])
  if note(is_valid, why) == false then
    return "fail", why
  end
  local oldest = 0
  for instance = count - 1, 1, -1 do
    if not verify_message(self, instance, hashes[self.sets[instance].want]) then
      oldest = instance + 1
      break
    end
  end
  for instance = count, 1, -1 do
    is_valid, why = verify_seal(self, instance)
    if note(is_valid, why) == false then
      return "fail", why
    end
  end
  if unknown then
    return "temperror", unknown
  end
  return "pass", nil, oldest
end

local function shown_sets(self)
  local list = {}
  for instance, set in ipairs(self.sets or {}) do
    if set.seal.domain then
      list[instance] = { instance = instance, domain = set.seal.domain, selector = set.seal.selector, cv = set.seal.cv,
        results = set.results.text }
    end
  end
  return list
end

--- Ends the body and evaluates. What mail or DNS say never raises.
---@param hashes { hash: string, length: number }[]?  by the numbers of `wants`; nil: of what was fed
---@return moonmilter.arc.Chain
function Verifier:finish(hashes)
  local chain = { result = "none", instance = self.instance or 0, is_ended = self.is_ended == true, properties = {},
    sets = shown_sets(self) }
  if self.is_none then
    return chain
  elseif self.fault then
    chain.result, chain.reason = self.fault_result or "fail", self.fault
    return chain
  end
  hashes = evidence.hashes(self, hashes, "arc")
  self:ask()
  chain.result, chain.reason, chain.oldest_pass = judge(self, hashes)
  if chain.oldest_pass then
    chain.properties[1] = { type = "header", property = "oldest-pass", value = tostring(chain.oldest_pass) }
  end
  return chain
end

--- Verifies the chain of a whole message.
---@param options table  headers, body (CRLF at line ends), dns, all
---@return moonmilter.arc.Chain
function arc.verify(options)
  local verifier = arc.verifier(options)
  if type(options.body) ~= "string" then
    error("arc.verify: body is missing, a string", 2)
  end
  verifier:feed(options.body)
  return verifier:finish()
end

-- ---- whom to believe ----

--- The first instance from which on every sealer is one that we trust: what that host found out can be believed, since
--- nobody else has touched the chain after it.
---@param chain moonmilter.arc.Chain
---@param domains string[]  names of sealers; ".example.org" is every name below example.org
---@return moonmilter.arc.Set?  nil: no pass, or the last sealer is not trusted
function arc.trusted(chain, domains)
  if type(domains) ~= "table" then
    error(("arc.trusted: domains are a list of names, not a %s"):format(type(domains)), 2)
  end
  local found
  for instance = chain.result == "pass" and chain.instance or 0, 1, -1 do
    local set, is_known = chain.sets[instance], false
    for _, domain in ipairs(domains) do
      domain = domain:lower()
      is_known = is_known or set.domain == domain
        or domain:sub(1, 1) == "." and set.domain:sub(-#domain) == domain
    end
    if not is_known then
      break
    end
    found = set
  end
  return found
end

-- ---- sealing ----

-- Own results as they stand in the header: the fields of our authserv-id, joined without it.
local function own_results(header, authserv_id)
  local list = {}
  for _, field in ipairs(header:all "authentication-results") do
    local value = value_of(field)
    local parsed = authres.parse(value)
    if parsed and parsed.authserv_id and parsed.authserv_id:lower() == authserv_id:lower() then
      local semicolon = value:find(";", 1, true)
      local text = semicolon and value:sub(semicolon + 1) or ""
      text = text:match "[^ \t\r\n].*" or ""
      text = text:match "^(.*[^ \t\r\n;])" or ""
      list[#list + 1] = text ~= "" and text or nil
    end
  end
  return list[1] and table.concat(list, ";\n\t") or "none"
end

local HEADERS = { "From", "Reply-To", "Subject", "To", "Cc", "Sender", "Date", "Message-ID", "MIME-Version",
  "Content-Type", "Content-Transfer-Encoding", "In-Reply-To", "References", "List-Id", "List-Unsubscribe",
  "List-Unsubscribe-Post", "List-Post", "DKIM-Signature" }
local NAMES_MAX = 100 -- of one name: more fields are not signed
local NEVER = { [AAR] = true, [AMS] = true, [AS] = true, ["authentication-results"] = true, ["return-path"] = true,
  received = true, bcc = true }

local function names_for(header, given)
  local out = {}
  for _, name in ipairs(given or HEADERS) do
    local lower = tostring(name):lower()
    if NEVER[lower] or not lower:find "^[!-9;-~]+$" then
      error(("arc.seal: names: %q cannot be signed"):format(tostring(name)), 3)
    end
    for _ = 1, given and 1 or math.min(header:count(lower), NAMES_MAX) do
      out[#out + 1] = lower
    end
  end
  return out
end

local LINE = 64

-- Names with colons between, in lines of which each but the last ends with a colon.
local function joined(names, folds)
  local out, column = {}, 0
  for i, name in ipairs(names) do
    if folds and column > 0 and column + #name > LINE then
      out[#out + 1], column = "\n\t ", 0
    end
    out[#out + 1] = name .. (i < #names and ":" or "")
    column = column + #name + 1
  end
  return table.concat(out)
end

local function base64(raw, folds)
  local text, lines = codec.base64_encode(raw), {}
  if not folds then
    return text
  end
  for at = 1, #text, LINE do
    lines[#lines + 1] = text:sub(at, at + LINE - 1)
  end
  return table.concat(lines, "\n\t ")
end

-- Tags in the order of their names, b= empty; and the same with b=.
local function tag_texts(tags)
  local names = {}
  for name in pairs(tags) do
    names[#names + 1] = name
  end
  table.sort(names)
  local function text_of(b)
    local parts = {}
    for i, name in ipairs(names) do
      parts[i] = name .. "=" .. (name == "b" and b or tags[name])
    end
    return table.concat(parts, ";\n  ") -- a blank: dkimpy looks for " i=1;"
  end
  return text_of "", text_of
end

local function check_seal(o)
  for name, kind in pairs { headers = "table", domain = "string", selector = "string", authserv_id = "string",
    chain = "table", body_hash = "string" } do
    if type(o[name]) ~= kind and not (name == "headers" and type(o[name]) == "userdata") then
      error(("arc.seal: %s is a %s; it must be a %s"):format(name, type(o[name]), kind), 3)
    end
  end
  if not signature.is_name(o.domain, 2) or not signature.is_name(o.selector, 1) then
    error(("arc.seal: %q and %q are no domain and selector"):format(o.domain, o.selector), 3)
  elseif not o.authserv_id:find "^[%w._-]+$" then
    error(("arc.seal: authserv_id %q is no name"):format(o.authserv_id), 3)
  elseif not o.key or not o.key:is_private() then
    error("arc.seal: key is no private key", 3)
  end
end

-- The set's instance; nil: text and code say why there is none to add.
local function next_instance(chain)
  if chain.is_ended then
    return nil, "arc: the chain is broken and says so: nothing is added (RFC 8617 5.1.3)", "ended"
  elseif chain.result == "temperror" then
    return nil, "arc: the chain could not be verified: " .. tostring(chain.reason), "temperror"
  elseif chain.result == "permerror" then
    return nil, "arc: the chain cannot be judged: " .. tostring(chain.reason), "permerror"
  elseif chain.instance >= SETS_MAX then
    return nil, "arc: the chain has 50 sets already (RFC 8617 4.2.1)", "limit"
  end
  return chain.instance + 1
end

-- The fields of earlier sets that a seal over a passing chain covers.
local function earlier_fields(header)
  local sets = {}
  for kind, key in pairs { [AAR] = "results", [AMS] = "message", [AS] = "seal" } do
    for _, field in ipairs(header:all(kind)) do
      local instance = instance_of(kind, field)
      sets[instance or 0] = sets[instance or 0] or {}
      sets[instance or 0][key] = field.raw
    end
  end
  return sets
end

-- Signs tags with the text that they end: the value of the field; nil, text and code.
local function sign_tags(key, tags, folds, text_with)
  local unsigned, text_of = tag_texts(tags)
  local raw, why, code = key:sign(text_with(unsigned))
  if not raw then
    return nil, why, code
  end
  return text_of(base64(raw, folds))
end

--- Makes a set for the message as it leaves.
---@param options table  headers, body_hash (relaxed, raw), chain (verified before own edits), domain, selector, key,
--- authserv_id, results, names, fold, now; docs/arc.md
---@return { name: string, value: string }[]?  the three fields, to be put first in this order; nil: none is to be added
---@return string? text
---@return "ended"|"temperror"|"permerror"|"limit"|"key"|nil code
function arc.seal(options)
  check_seal(options)
  local instance, why, code = next_instance(options.chain)
  if not instance then
    return nil, why, code
  end
  local header, key, folds = signed.header(options.headers), options.key, options.fold ~= false
  local cv = options.chain.result
  local function with_common(tags)
    tags.i, tags.a, tags.b = instance, key:kind() .. "-sha256", ""
    tags.d, tags.s, tags.t = options.domain, options.selector, ("%d"):format(options.now or os.time())
    return tags
  end
  local names = names_for(header, options.names)
  local set = { results = ("i=%d; %s; %s"):format(instance, options.authserv_id,
    options.results or own_results(header, options.authserv_id)) }
  set.message, why, code = sign_tags(key, with_common { c = "relaxed/relaxed", bh = base64(options.body_hash),
    h = joined(names, folds) }, folds, function(unsigned)
    return header:text("relaxed", names, "ARC-Message-Signature: " .. unsigned)
  end)
  if not set.message then
    return nil, why, code
  end
  local sets = earlier_fields(header)
  sets[instance] = { results = "ARC-Authentication-Results: " .. set.results,
    message = "ARC-Message-Signature: " .. set.message }
  set.seal, why, code = sign_tags(key, with_common { cv = cv }, folds, function(unsigned)
    return sealed_text(function(i) return sets[i] end, instance, cv, "ARC-Seal: " .. unsigned)
  end)
  if not set.seal then
    return nil, why, code
  end
  return {
    { name = "ARC-Seal", value = set.seal },
    { name = "ARC-Message-Signature", value = set.message },
    { name = "ARC-Authentication-Results", value = set.results },
  }
end

return arc
