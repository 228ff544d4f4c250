--- SPF (RFC 7208): may this client send mail for this domain?
---
---   local spf = require "moonmilter.spf"
---   function on_mail(ctx)
---     local r = spf.mailfrom(ctx)
---     if r.result == "fail" then …
---
--- `check` is pure: it knows no host, and `dns` may be any function that answers as moonmilter.dns.query does. It never
--- raises for what mail or DNS say; what cannot be known now is "temperror".
local dns_name = require "moonmilter.identity.dns_name"
local ip = require "moonmilter.identity.ip"
local spf_macro = require "moonmilter.identity.spf_macro"
local spf_record = require "moonmilter.identity.spf_record"
local time_left = require "moonmilter.identity.time_left"
local has_core, core = pcall(require, "moonmilter.core") -- the host, if there is one
local _, host_dns = pcall(require, "moonmilter.dns")

local spf = {}

-- The standard's limits (RFC 7208 4.6.4). Its 20 seconds are more than a stage has: stage_deadline is 8.
local LIMITS = {
  lookups = 10, -- terms of all records together that ask: include, a, mx, ptr, exists, redirect, and %{p}
  voids = 2, -- of them without an answer
  mx = 10, -- names of one mx; more is an error
  ptr = 10, -- names of the client; the rest is ignored
  seconds = 6, -- of everything
}

local TEXT_MAX = 998 -- bytes of a local part or HELO that macros see: the end, as names keep theirs
local EXPLANATION_MAX = 1000 -- bytes

---@alias moonmilter.spf.Result
---| "pass" | "fail" | "softfail" | "neutral" | "none" | "temperror" | "permerror"

---@class moonmilter.spf.Trace
---@field identity "mailfrom"|"helo"
---@field domain string?      whose record was asked for first, as A-labels
---@field matched string?     the term that decided, as written
---@field matched_in string?  the domain whose record has it
---@field lookups integer     terms that asked
---@field voids integer       of them without an answer
---@field queries { name: string, type: string, code: string }[]  judged, in order; code "ok", or as in moonmilter.dns

-- ---- questions ----
-- `c` is one check. A function that cannot go on returns nil and how the check ends: a result and a reason.

local function address_type(c)
  return c.ip.is_v4 and "a" or "aaaa"
end

-- The records of a name; empty: there are none. A name that cannot exist has none, and nobody is asked (4.8).
local function ask(c, name, kind)
  local left = c.deadline - c.now()
  if left <= 0 then
    c.is_late = true
    return nil, "temperror", ("not decided after %g seconds"):format(c.limits.seconds)
  end
  local known = c.known and kind == address_type(c) and c.known[name]
  local list, text, code
  if known then
    list, text, code = known[1], known[2], known[3]
  else
    list, text, code = c.dns(dns_name.spell(name), kind, { timeout = math.min(left, c.dns_timeout) })
  end
  local queries = c.trace.queries
  queries[#queries + 1] = { name = name, type = kind, code = list and "ok" or code or "none" }
  if list then
    return list
  elseif code == "nxdomain" or code == "nodata" or code == "badname" then
    return {}, code
  end
  return nil, "temperror", ("%s of %s: %s"):format(kind:upper(), name, tostring(text or code or "no answer, no code"))
end

-- Asks for the addresses of all names at once, if the caller has given `all`; `ask` finds them then. They are judged in
-- order all the same, so the result is that of asking in turn.
local function ask_at_once(c, names)
  local left, questions = c.deadline - c.now(), {}
  if not c.all or left <= 0 then
    return
  end
  local kind, options = address_type(c), { timeout = math.min(left, c.dns_timeout) }
  for _, name in ipairs(names) do
    questions[name] = function() return { c.dns(dns_name.spell(name), kind, options) } end
  end
  local first = next(questions)
  if first ~= nil and next(questions, first) ~= nil then
    c.known = c.all(questions)
  end
end

local function count_lookup(c)
  c.trace.lookups = c.trace.lookups + 1
  if c.trace.lookups > c.limits.lookups then
    return nil, "permerror", ("more than %d look-ups (RFC 7208 4.6.4)"):format(c.limits.lookups)
  end
  return true
end

-- The records of the name of a term, which count as a look-up and perhaps as one in vain.
local function ask_for_term(c, name, kind)
  local list, result, reason = ask(c, name, kind)
  if not list then
    return nil, result, reason
  end
  if #list == 0 and result ~= "badname" then
    c.trace.voids = c.trace.voids + 1
    if c.trace.voids > c.limits.voids then
      return nil, "permerror", ("more than %d look-ups without an answer (RFC 7208 4.6.4)"):format(c.limits.voids)
    end
  end
  return list
end

-- Is one of these addresses the client's, as far as the term compares them?
local function holds_client(c, addresses, term)
  local prefix = not term and 128 or c.ip.is_v4 and term.prefix or term.prefix6
  for _, text in ipairs(addresses) do
    local address = ip.parse(text)
    if address and ip.is_within(c.ip, address, prefix) then
      return true
    end
  end
  return false
end

-- The client's names of which one address is the client's (RFC 7208 5.5), asked for once a check. An error of DNS is no
-- such name.
local function client_names(c)
  if c.client_names then
    return c.client_names
  end
  local names = {}
  local list, result, reason = ask(c, ip.reverse_name(c.ip), "ptr")
  c.has_ptr = list ~= nil and #list > 0
  local hosts = {}
  for i = 1, math.min(list and #list or 0, c.limits.ptr) do
    hosts[#hosts + 1] = dns_name.answered(list[i])
  end
  ask_at_once(c, hosts)
  for _, name in ipairs(hosts) do
    local addresses = ask(c, name, address_type(c))
    if addresses and holds_client(c, addresses) then
      names[#names + 1] = name
    end
  end
  if c.is_late then
    return nil, result or "temperror", reason or "the client's names were not known in time"
  end
  c.client_names = names
  return names
end

local function is_below(name, domain)
  return name == domain or name:sub(-#domain - 1) == "." .. domain
end

-- ---- macros ----

-- The client's name for %{p}: the domain itself, one below it, any (RFC 7208 7.3).
local function client_name(c, domain)
  if not c.client_names and not c.is_explaining then
    local ok, result, reason = count_lookup(c)
    if not ok then
      return nil, result, reason
    end
  end
  local names, result, reason = client_names(c)
  if not names then
    return nil, result, reason
  end
  local below
  for _, name in ipairs(names) do
    if name == domain then
      return name
    end
    below = below or is_below(name, domain) and name
  end
  return below or names[1] or "unknown"
end

-- A local part with other than ASCII has no value: its terms never match (RFC 8616 4).
local function ascii(text)
  return not text:find "[\128-\255]" and text or nil
end

local VALUES = {
  s = function(c) return ascii(c.local_part .. "@" .. c.sender_domain) end,
  l = function(c) return ascii(c.local_part) end,
  o = function(c) return c.sender_domain end,
  d = function(_, domain) return domain end,
  i = function(c) return ip.dotted(c.ip) end,
  p = client_name,
  v = function(c) return c.ip.is_v4 and "in-addr" or "ip6" end,
  h = function(c) return c.helo end,
  c = function(c) return ip.format(c.ip) end,
  r = function(c) return c.receiver end,
  t = function() return ("%d"):format(os.time()) end,
}

local function values_of(c, domain)
  return function(letter) return VALUES[letter](c, domain) end
end

-- The name that a term is about; false: no name can be so, which is no match (4.8); nil alone: a macro has no value.
local function target_of(c, term, domain)
  if not term.target then
    return domain
  end
  local name, result, reason = spf_macro.name(term.target, values_of(c, domain))
  if not name then
    return nil, result, reason
  end
  return dns_name.of(name) or false
end

-- ---- mechanisms: does the term match? true, false, or nil and how the check ends ----

local check_domain
local mechanisms = {}

function mechanisms.all()
  return true
end

local function is_in_network(c, term)
  return ip.is_within(c.ip, term.network, term.prefix)
end
mechanisms.ip4, mechanisms.ip6 = is_in_network, is_in_network

local INCLUDED = { pass = true, fail = false, softfail = false, neutral = false } -- RFC 7208 5.2

function mechanisms.include(c, _, target)
  local result, reason = check_domain(c, target, true)
  local is_match = INCLUDED[result]
  if is_match ~= nil then
    return is_match
  end
  return nil, result == "none" and "permerror" or result, ("include of %s: %s"):format(target, reason)
end

function mechanisms.a(c, term, target)
  local addresses, result, reason = ask_for_term(c, target, address_type(c))
  if not addresses then
    return nil, result, reason
  end
  return holds_client(c, addresses, term)
end

function mechanisms.mx(c, term, target)
  local list, result, reason = ask_for_term(c, target, "mx")
  if not list then
    return nil, result, reason
  elseif #list > c.limits.mx then
    return nil, "permerror", ("%s has more than %d MX (RFC 7208 4.6.4)"):format(target, c.limits.mx)
  end
  local hosts = {}
  for _, mx in ipairs(list) do
    hosts[#hosts + 1] = dns_name.answered(mx.host) -- a null MX has none
  end
  ask_at_once(c, hosts)
  for _, name in ipairs(hosts) do
    local addresses
    addresses, result, reason = ask(c, name, address_type(c))
    if not addresses then
      return nil, result, reason
    elseif holds_client(c, addresses, term) then
      return true
    end
  end
  return false
end

function mechanisms.ptr(c, _, target)
  local names, result, reason = client_names(c)
  if not names then
    return nil, result, reason
  end
  for _, name in ipairs(names) do
    if is_below(name, target) then
      return true
    end
  end
  return false
end

function mechanisms.exists(c, _, target)
  local list, result, reason = ask_for_term(c, target, "a") -- for an IPv6 client, too (RFC 7208 5.7)
  if not list then
    return nil, result, reason
  end
  return #list > 0
end

local ASKS_NOBODY = { all = true, ip4 = true, ip6 = true }

local function matches(c, term, domain)
  if ASKS_NOBODY[term.mechanism] then
    return mechanisms[term.mechanism](c, term)
  end
  local ok, result, reason = count_lookup(c)
  if not ok then
    return nil, result, reason
  end
  local target
  target, result, reason = target_of(c, term, domain)
  if target then
    return mechanisms[term.mechanism](c, term, target)
  elseif result then
    return nil, result, reason
  elseif target == false and term.mechanism == "include" then -- of none (4.3) include makes an error (5.2)
    return nil, "permerror", ("%s of %s: no name"):format(term.text, domain)
  end
  return false
end

-- ---- records ----

-- The one SPF record among the TXT records of a domain.
local function record_of(c, domain)
  local list, result, reason = ask(c, domain, "txt")
  if not list then
    return nil, result, reason
  end
  local found
  for _, text in ipairs(list) do
    if spf_record.is_spf(text) then
      if found then
        return nil, "permerror", ("%s has more than one SPF record (RFC 7208 4.5)"):format(domain)
      end
      found = text
    end
  end
  if not found then
    return nil, "none", domain .. " has no SPF record"
  end
  local record, why = spf_record.parse(found)
  if not record then
    return nil, "permerror", ("record of %s: %s"):format(domain, why)
  end
  return record
end

-- exp= of the record that decided: its text, when there is exactly one and it is printable (RFC 7208 6.2).
local function explanation_of(c, record, domain)
  c.is_explaining = true
  local name = spf_macro.name(record.explanation, values_of(c, domain))
  name = name and dns_name.of(name)
  local list = name and ask(c, name, "txt")
  if not list or #list ~= 1 then
    return nil
  end
  local text = spf_macro.parse(list[1], "text")
  text = text and spf_macro.text(text, values_of(c, domain), EXPLANATION_MAX)
  return text and text ~= "" and not text:find "[^ -~]" and text or nil
end

local function redirect(c, record, domain, is_included)
  local term = record.redirect
  local ok, result, reason = count_lookup(c)
  if not ok then
    return result, reason
  end
  local target
  target, result, reason = target_of(c, term, domain)
  if result then
    return result, reason
  elseif not target then
    return "permerror", ("%s of %s: no name"):format(term.text, domain)
  end
  local explanation
  result, reason, explanation = check_domain(c, target, is_included)
  if result == "none" then -- RFC 7208 6.1
    return "permerror", ("redirect of %s: %s"):format(domain, reason)
  end
  return result, reason, explanation
end

-- check_host() of RFC 7208 4 for a domain that is a name: result, reason, explanation. Its depth is that of the
-- look-ups.
function check_domain(c, domain, is_included)
  local record, result, reason = record_of(c, domain)
  if not record then
    return result, reason
  end
  for _, term in ipairs(record) do
    local is_match
    is_match, result, reason = matches(c, term, domain)
    if is_match == nil then
      return result, reason
    elseif is_match then
      c.trace.matched, c.trace.matched_in = term.text, domain
      return term.result, ('"%s" of %s matches'):format(term.text, domain), not is_included and term.result == "fail"
        and c.wants_explanation and record.explanation and explanation_of(c, record, domain) or nil
    end
  end
  if record.redirect and not record.has_all then
    return redirect(c, record, domain, is_included)
  end
  return "neutral", "no mechanism of " .. domain .. " matches"
end

-- ---- calls ----

local OPTIONS = { ip = "string", sender = "string", helo = "string", dns = "function", limits = "table",
  receiver = "string", explain = "boolean", now = "function", all = "function" }

local function check_options(options)
  if type(options) ~= "table" then
    error(("spf.check: options must be a table, { ip = … }, not a %s"):format(type(options)), 3)
  end
  for name, value in pairs(options) do
    if not OPTIONS[name] then
      error(("spf.check: unknown option %q; there are ip, sender, helo, dns, all, limits, receiver, explain, now")
        :format(tostring(name)), 3)
    elseif type(value) ~= OPTIONS[name] then
      error(("spf.check: %s is a %s; it must be a %s"):format(name, type(value), OPTIONS[name]), 3)
    end
  end
  for name, value in pairs(options.limits or {}) do
    if not LIMITS[name] or type(value) ~= "number" or value ~= value or value < 0 then
      error(("spf.check: limits.%s = %s; there are lookups, voids, mx, ptr and seconds, numbers from 0"):format(
        tostring(name), tostring(value)), 3)
    end
  end
end

local function limits_of(options)
  local given, limits = options.limits or {}, {}
  for name, value in pairs(LIMITS) do
    limits[name] = given[name] or value
  end
  return limits
end

-- The host's resolver, its patience for one question, and its clock.
local function add_host(c, options)
  if not has_core and not options.dns then
    error("spf.check: without the host, give dns = a function (name, type)", 3)
  end
  c.dns, c.all = options.dns or host_dns.query, options.all
  c.dns_timeout = has_core and core.dns_timeout() or c.limits.seconds
  c.now = options.now or has_core and core.now or os.time
end

local function end_of(text)
  return #text > TEXT_MAX and text:sub(-TEXT_MAX) or text
end

local function split_mailbox(mailbox)
  local at = #mailbox
  while at > 0 and mailbox:byte(at) ~= 64 do -- "@": the last one, a quoted local part may have others
    at = at - 1
  end
  return mailbox:sub(1, at - 1), mailbox:sub(at + 1), at > 0
end

-- What is checked: the mailbox of MAIL FROM, or for the null sender postmaster at the client's HELO (RFC 7208 2.4).
local function identity_of(options)
  local sender, helo = options.sender or "", options.helo or ""
  if sender == "" then
    return "helo", "postmaster", helo, true
  end
  local local_part, domain, has_domain = split_mailbox(sender)
  return "mailfrom", local_part == "" and "postmaster" or local_part, domain, has_domain
end

--- Evaluates the SPF policy of a sender's domain for a client.
---@param options table  ip, sender, helo, dns, all, limits, receiver, explain, now; docs/spf.md
---@return moonmilter.spf.Result result
---@return string reason        printable, for people
---@return string? explanation  of a "fail": what the domain's owner says (exp=), printable ASCII, up to 1,000 bytes
---@return moonmilter.spf.Trace trace
function spf.check(options)
  check_options(options)
  local address = options.ip and ip.parse(options.ip)
  if not address then
    error(("spf.check: ip is %q; give the client's IPv4 or IPv6 address"):format(tostring(options.ip)), 2)
  end
  local identity, local_part, domain_text, has_domain = identity_of(options)
  local c = {
    ip = ip.unmapped(address), local_part = end_of(local_part), helo = end_of(options.helo or ""),
    receiver = options.receiver or "unknown", wants_explanation = options.explain ~= false,
    limits = limits_of(options), trace = { identity = identity, lookups = 0, voids = 0, queries = {} },
  }
  add_host(c, options)
  local domain = has_domain and dns_name.domain(domain_text)
  if not domain then -- RFC 7208 4.3
    return "none", ("%s has no domain to ask for"):format(identity == "helo" and "HELO" or "MAIL FROM"), nil, c.trace
  end
  c.deadline, c.sender_domain, c.trace.domain = c.now() + c.limits.seconds, domain, domain
  local result, reason, explanation = check_domain(c, domain, false)
  return result, reason, explanation, c.trace
end

-- The limits that are given; without seconds, as many as the stage leaves.
local function limits_for(ctx, given)
  if not has_core or type(given or {}) ~= "table" or given and given.seconds then
    return given
  end
  local limits = { seconds = time_left.of(ctx.deadline, core.now(), LIMITS.seconds) }
  for name, value in pairs(given or {}) do
    limits[name] = value
  end
  return limits
end

-- Facts of a session as options of check().
local function facts_of(ctx, options, sender)
  local facts = {}
  for name, value in pairs(options or {}) do
    facts[name] = value
  end
  facts.ip, facts.sender, facts.helo = ctx.client.ip, sender, ctx.helo or ""
  facts.explain = facts.explain == true
  facts.limits = limits_for(ctx, facts.limits)
  return facts
end

-- A client may say any byte; a header field holds no control character.
local function shown(value)
  return (value:sub(1, TEXT_MAX):gsub("%c", "?"))
end

local function check_session(ctx, options, sender)
  local facts = facts_of(ctx, options, sender)
  if not facts.ip or not ip.parse(facts.ip) then -- over a unix socket, or an address with a zone
    return { method = "spf", result = "none", reason = "the client has no IP address", properties = {} }
  end
  local result, reason, explanation, trace = spf.check(facts)
  local property = trace.identity == "helo" and { type = "smtp", property = "helo", value = shown(facts.helo) }
    or { type = "smtp", property = "mailfrom", value = shown(sender) }
  return { method = "spf", result = result, reason = reason, explanation = explanation, domain = trace.domain,
    trace = trace, properties = { property } }
end

--- The check of MAIL FROM, from on_mail on; of the null sender, postmaster at HELO.
---@param ctx moonmilter.ctx
---@param options table?  dns, all, limits, receiver, explain (default false)
---@return moonmilter.spf.Check
function spf.mailfrom(ctx, options)
  return check_session(ctx, options, ctx.sender or "")
end

--- The check of HELO alone, from on_helo on (RFC 7208 2.3).
---@param ctx moonmilter.ctx
---@param options table?
---@return moonmilter.spf.Check
function spf.helo(ctx, options)
  return check_session(ctx, options, "")
end

return spf
