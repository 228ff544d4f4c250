--- DMARC (RFC 9989): may this message use the domain in its From? Works without a host: the caller gives what SPF and
--- DKIM found, and a way to ask DNS.
---
---   local r = dmarc.check {
---     from = ctx.headers:get "From",
---     spf = { result = "pass", domain = "bounces.example.org" },
---     dkim = { { result = "pass", domain = "example.org" } },
---     dns = dns, -- moonmilter.dns, or a function
---   }
---   if r.result == "fail" and r.policy == "reject" then …
---
--- The result is advice: RFC 9989 forbids to reject for p=reject alone (7.4).
local author = require "moonmilter.identity.author"
local policy = require "moonmilter.identity.policy"
local tree = require "moonmilter.identity.tree"

local dmarc = {}

---@class moonmilter.DmarcIdentifier
---@field result string  of SPF (of the MAIL FROM identity, not HELO: RFC 9989 4.4.2) or of one DKIM signature
---@field domain string  that SPF checked; d= of the signature
---@field testing boolean?  the key has t=y: the signature counts as none (RFC 6376 3.6.1)

---@class moonmilter.DmarcResult
---@field result "pass"|"fail"|"none"|"temperror"|"permerror"
---@field reason string         why, in words without anything from the network but host names
---@field domain string?        the Author Domain, in A-labels; nil when From does not name exactly one
---@field policy "none"|"quarantine"|"reject"|nil  what the owner asks for if such a message fails, after sp, np and t;
--- nil: there is no policy, or DNS does not say
---@field disposition "none"|"quarantine"|"reject"  the policy for a message that fails, else "none": advice
---@field aligned { spf: string|false, dkim: string|false }  the domain that authenticates From
---@field organization string?  Organizational Domain of the Author Domain; nil: DNS does not say, or was not asked
---@field policy_domain string? where the record was found
---@field record moonmilter.DmarcRecord?
---@field is_testing boolean    the owner tests (t=y); `policy` is one step lower for it
---@field doubt string?         why some mail readers could show another author; such a message never passes
---@field properties moonmilter.AuthProperty[]  for moonmilter.authres

-- How many domains that differ from the author's are looked up in DNS for one message.
local WALKS_MAX = 11

local function property(type_, name, value)
  return { type = type_, property = name, value = value }
end

local function finish(r, result, reason)
  r.result, r.reason = result, reason
  r.disposition = result == "fail" and r.policy or "none"
  r.properties = {}
  if r.domain then
    r.properties[1] = property("header", "from", r.domain)
    r.properties[2] = r.policy and property("policy", "dmarc", r.policy) or nil
  end
  return r
end

-- ---- the policy ----

-- Does the Author Domain exist (RFC 9989 3.2.13)? -> boolean; nil, text when DNS does not say
local function exists(walks, ask, domain)
  local code = walks:at(domain).code
  if not code or code == "nodata" then -- something exists below it, so it does (RFC 8020 2)
    return true
  end
  local list, text
  list, text, code = ask(domain, "a")
  if list or code == "nodata" then
    return true
  elseif code == "nxdomain" or code == "badname" then
    return false
  end
  return nil, text or "DNS does not answer"
end

-- Into `r`: the record, where it was found, what it asks for. -> "temperror" or "none" and a text when there is none.
-- `r.why_no_policy` is set when only the policy is unknown.
local function find_policy(r, walks, ask)
  local found, why = walks:policy(r.domain)
  if why then
    return "temperror", why
  elseif not found then
    return "none", "no policy is published"
  elseif not found.record.p then
    return "none", "the policy of " .. found.name .. " is not valid"
  end
  local record, is_own = found.record, found.name == r.domain
  r.record, r.policy_domain, r.is_testing = record, found.name, record.t == "y"
  local is_there = true
  if not is_own and record.np and record.np ~= (record.sp or record.p) then
    is_there, why = exists(walks, ask, r.domain)
  end
  if is_there == nil then
    r.why_no_policy = why
  else
    r.policy = policy.wanted(record, is_own, is_there)
  end
end

-- ---- alignment (RFC 9989 4.10.2) ----

-- true, false, or nil and a text: nobody knows.
local function is_aligned(r, walks, name, mode)
  if name == r.domain then
    return true
  elseif mode == "s" then
    return false
  end
  local organization, why = walks:organization(r.domain)
  if not organization then
    return nil, why
  elseif name ~= organization and name:sub(-#organization - 1) ~= "." .. organization then
    return false -- a name outside cannot have the same organization, so DNS is not asked
  end
  local theirs
  theirs, why = walks:organization(name)
  if not theirs then
    return nil, why
  end
  return theirs == organization
end

-- Identifiers with a domain name, each once: { name =, mode =, kind = "spf"|"dkim" }; the author's own domain first.
local function add_identifiers(list, found, kind, mode, result, domain)
  local seen = {}
  for _, identifier in ipairs(found) do
    local name = identifier.result == result and not identifier.testing and author.name_of(identifier.domain)
    if name and not seen[name] then
      seen[name] = true
      table.insert(list, name == domain and 1 or #list + 1, { name = name, mode = mode, kind = kind })
    end
  end
end

local function identifiers_of(r, options, result)
  local list = {}
  add_identifiers(list, options.spf, "spf", r.record.aspf, result, r.domain)
  add_identifiers(list, options.dkim, "dkim", r.record.adkim, result, r.domain)
  return list
end

-- The questions that judging these will need, asked at once.
local function fetch(r, walks, list)
  local domains = {}
  local organization = walks:organization(r.domain)
  for i = 1, math.min(#list, WALKS_MAX) do
    local name = list[i].name
    if organization and list[i].mode == "r" and name ~= r.domain and name:sub(-#organization) == organization then
      domains[#domains + 1] = name
    end
  end
  walks:fetch(domains)
end

-- Looks for identifiers that align, into r.aligned. -> why it is unknown whether one does
local function align(r, walks, list, note)
  local unknown
  for i, identifier in ipairs(list) do
    if not r.aligned[identifier.kind] then
      local is, why = false, nil
      if i <= WALKS_MAX or identifier.name == r.domain or identifier.mode == "s" then
        is, why = is_aligned(r, walks, identifier.name, identifier.mode)
      end
      unknown = unknown or is == nil and why or nil
      note(identifier, is)
    end
  end
  return unknown
end

-- Why the answer of another check would be needed to know that nothing authenticates From; nil when it would not.
local function pending(r, walks, options)
  local reason
  local list = identifiers_of(r, options, "temperror")
  fetch(r, walks, list)
  align(r, walks, list, function(identifier, is)
    if is ~= false then
      reason = reason or ("%s of %s is unknown"):format(identifier.kind == "spf" and "SPF" or "DKIM", identifier.name)
    end
  end)
  return reason
end

local function judge(r, walks, options)
  local list = identifiers_of(r, options, "pass")
  fetch(r, walks, list)
  local unknown = align(r, walks, list, function(identifier, is)
    r.aligned[identifier.kind] = is and identifier.name or r.aligned[identifier.kind]
  end)
  r.organization = walks:organization(r.domain)
  if r.aligned.spf or r.aligned.dkim then
    return "pass", ("%s authenticates %s"):format(r.aligned.dkim or r.aligned.spf, r.domain)
  end
  -- RFC 9989 5.3.6: a question without an answer is neither pass nor fail
  unknown = unknown or pending(r, walks, options) or r.why_no_policy
  if unknown then
    return "temperror", unknown
  end
  return "fail", "nothing authenticates " .. r.domain
end

-- ---- the check ----

local function one_or_many(value, name, shape)
  if value == nil then
    return {}
  elseif type(value) ~= "table" then
    error(("dmarc.check: %s must be %s, not a %s"):format(name, shape, type(value)), 4)
  end
  return value.result and { value } or value
end

local OPTIONS = { from = true, spf = true, dkim = true, dns = true, all = true }

local function check_options(options)
  if type(options) ~= "table" then
    error("dmarc.check: expected a table, { from =, spf =, dkim =, dns = }", 3)
  end
  for name in pairs(options) do
    if not OPTIONS[name] then
      error(("dmarc.check: unknown option %q; there are from, spf, dkim, dns and all"):format(tostring(name)), 3)
    end
  end
  local dns = options.dns
  if type(dns) ~= "function" and (type(dns) ~= "table" or type(dns.query) ~= "function") then
    error("dmarc.check: dns must be moonmilter.dns, or a function(name, type) that answers as dns.query does", 3)
  end
  return type(dns) == "function" and dns or dns.query, {
    spf = one_or_many(options.spf, "spf", "{ result =, domain = }"),
    dkim = one_or_many(options.dkim, "dkim", "a list of { result =, domain = }"),
  }
end

--- Checks a message.
---@param options table  docs/dmarc.md. from: the values of all fields called From, as received; spf, dkim: identifiers;
--- dns: moonmilter.dns, or function(name, type) that answers as dns.query does; all: milter.all, so that the questions
--- of a walk are asked at once
---@return moonmilter.DmarcResult  raises only when the options are wrong, never for what mail or DNS say
function dmarc.check(options)
  local ask, found = check_options(options)
  local r = { aligned = { spf = false, dkim = false }, is_testing = false }
  local why
  r.domain, why = author.domain(options.from or {})
  if not r.domain then
    return finish(r, "permerror", why)
  end
  r.doubt = why
  local walks = tree.new(ask, options.all)
  walks:fetch { r.domain }
  local result, reason = find_policy(r, walks, ask)
  if not result then
    result, reason = judge(r, walks, found)
  end
  if r.doubt and (result == "pass" or result == "none") then
    result, reason = "permerror", "From is ambiguous: " .. r.doubt
  end
  return finish(r, result, reason)
end

return dmarc
