--- SPF records (RFC 7208 4.5, 4.6.1, 5, 6, 12): the text of a record as a list of terms.
local ip = require "moonmilter.identity.ip"
local recent = require "moonmilter.identity.recent"
local spf_macro = require "moonmilter.identity.spf_macro"

local spf_record = {}

---@class moonmilter.SpfRecord
---@field [integer] moonmilter.SpfTerm                 the mechanisms in order
---@field redirect moonmilter.SpfTerm?
---@field explanation moonmilter.SpfMacroString?
---@field has_all boolean

---@class moonmilter.SpfTerm
---@field text string       as written
---@field mechanism string  lower case: "all", "include", "a", …, "redirect"
---@field result string     of a match: "pass", "fail", "softfail", "neutral"
---@field target moonmilter.SpfMacroString?  nil: the domain itself
---@field network moonmilter.Ip?             of ip4 and ip6
---@field prefix integer                     bits of an IPv4 address or network that count; of ip6: of an IPv6 network
---@field prefix6 integer                    of an IPv6 address

local RESULTS = { ["+"] = "pass", ["-"] = "fail", ["~"] = "softfail", ["?"] = "neutral" }

-- Parsed records, and what is wrong with others, by their text: a domain's record is asked for with each of its
-- messages. A text that would take much memory is read again each time.
local KEPT, KEPT_BYTES, KEPT_TERMS = 2000, 2048, 64
local kept = recent.new(KEPT)

local SHOWN = 40 -- bytes of a wrong term in an error

local function shown(text)
  local cut = #text > SHOWN and text:sub(1, SHOWN) .. "..." or text
  return (cut:gsub("[%c\"\\\128-\255]", function(byte) return ("\\%03d"):format(byte:byte()) end))
end

local function fault(term, what)
  return nil, ('"%s": %s'):format(shown(term), what)
end

--- Is a TXT record one of SPF: the version, then a space or the end (RFC 7208 4.5)?
---@param text string
---@return boolean
function spf_record.is_spf(text)
  return text:sub(1, 6):lower() == "v=spf1" and (#text == 6 or text:byte(7) == 32)
end

-- ---- parts of a term ----

-- A number at the end of a text, after a slash: "a.example/24" -> 24, where the slash is. 0 alone may begin with 0.
local function prefix_at_end(text)
  local at = #text
  while at > 0 and text:find("^%d", at) do
    at = at - 1
  end
  local digits = text:sub(at + 1)
  if digits == "" or #digits > 3 or text:sub(at, at) ~= "/" or #digits > 1 and digits:sub(1, 1) == "0" then
    return nil, at
  end
  return tonumber(digits), at
end

-- "a.example/24//64" -> "a.example", 24, 64 (RFC 7208 5.3 dual-cidr-length); nil: out of range
local function split_dual(text)
  local prefix, prefix6 = 32, 128
  local number, at = prefix_at_end(text)
  if number and text:sub(at - 1, at - 1) == "/" then
    prefix6, text = number, text:sub(1, at - 2)
    number, at = prefix_at_end(text)
  end
  if number then
    prefix, text = number, text:sub(1, at - 1)
  end
  if prefix > 32 or prefix6 > 128 then
    return nil
  end
  return text, prefix, prefix6
end

local function target_of(text)
  return text ~= "" and spf_macro.parse(text, "domain") or nil
end

-- ---- mechanisms: each fills in a term from what follows its name ----

local mechanisms = {}

function mechanisms.all(term, rest)
  if rest ~= "" then
    return fault(term.text, "all takes no argument (RFC 7208 5.1)")
  end
  return term
end

-- One that has to name a domain.
local function named(term, rest)
  term.target = rest:sub(1, 1) == ":" and target_of(rest:sub(2)) or nil
  if not term.target then
    return fault(term.text, "no domain after the colon (RFC 7208 7.1)")
  end
  return term
end
mechanisms.include, mechanisms.exists = named, named

function mechanisms.ptr(term, rest)
  if rest == "" then
    return term
  end
  return named(term, rest)
end

-- One with addresses of a domain, or of the domain itself.
local function addressed(term, rest)
  local domain, prefix, prefix6 = split_dual(rest)
  if not domain then
    return fault(term.text, "a prefix has at most 32 bits, or 128 of IPv6 (RFC 7208 5.3)")
  end
  term.prefix, term.prefix6 = prefix, prefix6
  if domain == "" then
    return term
  end
  return named(term, domain)
end
mechanisms.a, mechanisms.mx = addressed, addressed

local function network(is_v4, bits)
  return function(term, rest)
    local text, prefix = rest:sub(2), bits
    if text:find("/", 1, true) then
      local at
      prefix, at = prefix_at_end(text)
      text = text:sub(1, at - 1)
    end
    term.network = rest:sub(1, 1) == ":" and ip.parse(text) or nil
    if not term.network or term.network.is_v4 ~= is_v4 or not prefix or prefix > bits then
      return fault(term.text, ("not a network of IPv%d (RFC 7208 5.6)"):format(is_v4 and 4 or 6))
    end
    term.prefix = prefix
    return term
  end
end
mechanisms.ip4, mechanisms.ip6 = network(true, 32), network(false, 128)

local function read_mechanism(record, text)
  local result = RESULTS[text:sub(1, 1)]
  local name = text:match("^%w+", result and 2 or 1)
  local read = name and mechanisms[name:lower()]
  if not read then
    return fault(text, "neither a mechanism nor a modifier (RFC 7208 4.6.1)")
  end
  local term = { text = text, mechanism = name:lower(), result = result or "pass" }
  local ok, why = read(term, text:sub((result and 2 or 1) + #name))
  if not ok then
    return nil, why
  end
  record[#record + 1] = term
  record.has_all = record.has_all or term.mechanism == "all"
  return record
end

-- ---- modifiers ----

-- Each once (RFC 7208 6).
local function read_modifier(record, text, name, value)
  if name == "redirect" and not record.redirect then
    local target = target_of(value)
    record.redirect = target and { text = text, mechanism = "redirect", target = target }
    if record.redirect then
      return record
    end
  elseif name == "exp" and not record.explanation then
    record.explanation = target_of(value)
    if record.explanation then
      return record
    end
  elseif name ~= "redirect" and name ~= "exp" then
    if spf_macro.parse(value, "text") then
      return record
    end
    return fault(text, "not a macro string (RFC 7208 7.1)")
  end
  return fault(text, "twice, or without a domain (RFC 7208 6)")
end

local function read_term(record, text)
  local name, value_at = text:match "^(%a[%w_.-]*)=()"
  if name then
    return read_modifier(record, text, name:lower(), text:sub(value_at))
  end
  return read_mechanism(record, text)
end

local function parse(text)
  local record = { has_all = false }
  for term in text:sub(7):gmatch "[^ ]+" do
    local ok, why = read_term(record, term)
    if not ok then
      return nil, why
    end
  end
  return record
end

--- Reads a record for which is_spf() is true: wholly, so a mistake after the mechanism that would match counts as well
--- (RFC 7208 4.6).
---@param text string
---@return moonmilter.SpfRecord? record  do not change it: it is kept and given again
---@return string? text  what is wrong: printable ASCII
function spf_record.parse(text)
  local found = kept:get(text)
  if not found then
    local record, why = parse(text)
    found = { record, why }
    if #text <= KEPT_BYTES and #(record or "") <= KEPT_TERMS then
      kept:keep(text, found)
    end
  end
  return found[1], found[2]
end

return spf_record
