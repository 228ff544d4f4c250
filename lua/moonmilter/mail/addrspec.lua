--- local-part "@" domain, and what surrounds it in addresses and paths alike (RFC 5322 3.4.1, RFC 5321 4.1.2): the
--- parser that moonmilter.address and moonmilter.mail.path share. A cursor moves over tokens, forward only, so it is
--- linear. `p` is { tokens, i, text, is_strict, next_comment }.
local bound = require "moonmilter.mail.bound"
local codec = require "moonmilter.codec"
local token = require "moonmilter.mail.token"
local word = require "moonmilter.mail.word"

local addrspec = {}

--- Octets, RFC 5321 4.5.3.1.1 and 4.5.3.1.2.
addrspec.LOCAL_PART_MAX, addrspec.DOMAIN_MAX = 64, 255
local LOCAL_PART_MAX, DOMAIN_MAX = addrspec.LOCAL_PART_MAX, addrspec.DOMAIN_MAX

-- Kinds of tokens that form words of a local part. An encoded word is none (RFC 2047 5).
local is_word = { atom = true, quoted = true }

local function fail(text, position, code)
  return nil, "address: " .. text, position, code
end

-- RFC 5322 3.2.3 atext with RFC 6532's UTF-8; dots between.
local function is_dot_atom(text)
  return text ~= "" and not text:find("[%z\1-\32\127()<>%[%]:;@\\,\"]") and not text:find("..", 1, true)
    and text:sub(1, 1) ~= "." and text:sub(-1) ~= "."
end

local function quote(text)
  return '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

local function spell_local_part(text)
  return is_dot_atom(text) and text or quote(text)
end

local function has_control(text)
  return text:find("[%z\1-\8\10-\31\127]") ~= nil
end

local function is_ipv4(text)
  local a, b, c, d = text:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")
  return a ~= nil and tonumber(a) < 256 and tonumber(b) < 256 and tonumber(c) < 256 and tonumber(d) < 256
end

-- RFC 4291 2.2: eight groups, or fewer with one "::", the last two perhaps as IPv4.
local function is_ipv6(text)
  if text:find("[^%x:.]") or #text > 45 or text:find(":::", 1, true) then
    return false
  end
  local head, v4 = text:match("^(.*:)([%d.]+)$")
  if v4 and v4:find(".", 1, true) then
    if not is_ipv4(v4) then
      return false
    end
    text = head .. "0:0"
  elseif text:find(".", 1, true) then
    return false
  end
  local gap = text:find("::", 1, true)
  if gap and text:find("::", gap + 1, true) then
    return false
  end
  local groups = 0
  for group in text:gmatch("[^:]+") do
    if #group > 4 then
      return false
    end
    groups = groups + 1
  end
  if gap then
    return groups <= 7
  end
  return groups == 8 and text:sub(1, 1) ~= ":" and text:sub(-1) ~= ":"
end

-- RFC 5321 4.1.3
local function is_address_literal(text)
  if text:sub(1, 5):lower() == "ipv6:" then
    return is_ipv6(text:sub(6))
  end
  return is_ipv4(text) or text:match("^[%w-]*%w:[\33-\90\94-\126]+$") ~= nil
end

local function here(p)
  local t = p.tokens[p.i]
  return t and t.start or #p.text + 1
end

local function kind(p)
  local t = p.tokens[p.i]
  return t and t.kind
end

local function no_local_part(p)
  if kind(p) ~= "encoded" then
    return fail("local part missing", here(p), "syntax")
  end
  local following = p.tokens[p.i + 1]
  return fail("encoded word where an address is expected (RFC 2047 5)", here(p),
    following and (following.kind == "@" or following.kind == ".") and "syntax" or "no-domain")
end

-- words and dots: -> text | nil + error
local function read_local_part(p)
  local parts, n, quoted, first = {}, 0, 0, p.i
  local previous
  while true do
    local t = p.tokens[p.i]
    if not t or not (is_word[t.kind] or t.kind == ".") then
      break
    end
    if previous then
      if t.kind ~= "." and previous.kind ~= "." then
        return fail(t.blank and "blank inside an address; two addresses, or a name without \"<\"?"
          or "quotes inside a word", t.start, "syntax")
      end
      if p.is_strict and t.blank then
        return fail("blank or comment next to a dot (RFC 5322 4.4, obsolete)", t.start, "obsolete")
      end
    end
    n = n + 1
    parts[n] = t.text
    quoted = quoted + (t.kind == "quoted" and 1 or 0)
    previous = t
    p.i = p.i + 1
  end
  if n == 0 then
    return no_local_part(p)
  end
  local text = table.concat(parts)
  local at = p.tokens[first].start
  if p.is_strict then
    if quoted > 0 and n > 1 then
      return fail("quoted string next to a dot (RFC 5322 4.4, obsolete)", at, "obsolete")
    end
    if quoted == 0 and not is_dot_atom(text) then
      return fail(("misplaced dots in \"%s\" (RFC 5322 3.2.3)"):format(text), at, "syntax")
    end
    if #text > LOCAL_PART_MAX then
      return fail(("local part of %d octets, at most %d (RFC 5321 4.5.3.1.1)"):format(#text, LOCAL_PART_MAX), at,
        "length")
    end
    if not codec.is_utf8(text) then
      return fail("local part is not UTF-8 (RFC 6532 3.1)", at, "charset")
    end
  end
  if has_control(text) then
    return fail("control character in the local part", at, "syntax")
  end
  if not p.is_path and word.is_in(text) then -- who decodes it sees another address
    return fail("encoded word in the local part (RFC 2047 5)", at, "syntax")
  end
  return text
end

local function read_domain(p)
  local t = p.tokens[p.i]
  if t and t.kind == "literal" then
    p.i = p.i + 1
    if p.is_strict and not is_address_literal(t.text) then
      return fail(("[%s] is not an address literal (RFC 5321 4.1.3)"):format(t.text), t.start, "domain")
    end
    if has_control(t.text) then
      return fail("control character in the domain", t.start, "syntax")
    end
    if t.text:find(p.is_path and "[]\\[]" or '[]\\[@<>,;"]') then -- a reader without quoted pairs sees another address
      return fail(("[%s] with a character that no address literal has (RFC 5321 4.1.3)"):format(t.text), t.start,
        "syntax")
    end
    return "[" .. t.text:gsub("%s", "") .. "]"
  end
  local parts, previous = {}, nil
  local at = here(p)
  while t and (t.kind == "atom" or t.kind == ".") do
    if previous then
      if t.kind == previous.kind then
        return fail(t.kind == "." and "empty label in the domain" or "text after the domain; two addresses?",
          t.start, "syntax")
      end
      if p.is_strict and t.blank then
        return fail("blank or comment inside the domain (RFC 5322 4.4, obsolete)", t.start, "obsolete")
      end
    elseif t.kind == "." then
      return fail("domain begins with a dot", t.start, "syntax")
    end
    parts[#parts + 1] = t.text
    previous = t
    p.i = p.i + 1
    t = p.tokens[p.i]
  end
  if not previous then
    return fail("domain missing after \"@\"", at, "syntax")
  end
  if previous.kind == "." then
    if p.is_strict then
      return fail("domain ends with a dot", previous.start, "syntax")
    end
    parts[#parts] = nil
  end
  local text = table.concat(parts)
  if has_control(text) then
    return fail("control character in the domain", at, "syntax")
  end
  if p.is_strict and #text > DOMAIN_MAX then
    return fail(("domain of %d octets, at most %d (RFC 5321 4.5.3.1.2)"):format(#text, DOMAIN_MAX), at, "length")
  end
  if p.is_strict and not codec.is_utf8(text) then
    return fail("domain is not UTF-8 (RFC 6532 3.1)", at, "charset")
  end
  return text
end

-- local-part "@" domain; the caller decides what may follow
local function read_addr_spec(p)
  local local_part, text, position, code = read_local_part(p)
  if not local_part then
    return nil, text, position, code
  end
  if kind(p) ~= "@" then
    return fail(("\"@\" expected after \"%s\""):format(local_part), here(p), kind(p) and "syntax" or "no-domain")
  end
  p.i = p.i + 1
  local domain
  domain, text, position, code = read_domain(p)
  if not domain then
    return nil, text, position, code
  end
  return {
    address = spell_local_part(local_part) .. "@" .. domain,
    local_part = local_part, domain = domain,
    needs_smtputf8 = local_part:find("[\128-\255]") and true or nil,
  }
end

-- "@a,@b:" -> list of domains (RFC 5321 4.1.1.3 and RFC 5322 4.4: to be accepted, and ignored)
local function read_route(p)
  local route = {}
  while kind(p) == "@" or (kind(p) == "," and #route > 0) do
    if kind(p) == "@" then
      p.i = p.i + 1
      local domain, text, position, code = read_domain(p)
      if not domain then
        return nil, text, position, code
      end
      route[#route + 1] = domain
    else
      p.i = p.i + 1
    end
  end
  if kind(p) ~= ":" then
    return fail("\":\" expected after the source route", here(p), "syntax")
  end
  p.i = p.i + 1
  return route
end

-- -> mode; raises at the caller of the public function
local function check_arguments(text, options, what)
  if type(text) ~= "string" then
    error(("%s: text expected, got %s"):format(what, type(text)), 3)
  end
  local mode = options and options.mode or "lenient"
  if mode ~= "lenient" and mode ~= "strict" then
    error(("%s: mode \"%s\"; use \"lenient\" or \"strict\""):format(what, tostring(mode)), 3)
  end
  return mode
end

-- A cursor over the tokens of a header's value, or of a path.
local function open(text, mode, is_path)
  if #text > bound.FIELD_MAX then
    return bound.fault("address", text, bound.FIELD_MAX)
  end
  local nul = text:find("%z")
  if nul then -- C programs end the text there and others do not: ambiguous
    return nil, "address: NUL byte", nul, "syntax"
  end
  local p = { text = text, tokens = token.lex(text, is_path and "path" or "address"), i = 1, next_comment = 1,
    is_strict = mode == "strict", is_path = is_path }
  if p.tokens.unclosed and (is_path or p.is_strict) then
    return nil, ("address: %s not closed"):format(p.tokens.unclosed), p.tokens.unclosed_at, "syntax"
  end
  return p
end

addrspec.fail, addrspec.check_arguments, addrspec.open = fail, check_arguments, open
addrspec.here, addrspec.kind = here, kind
addrspec.read, addrspec.read_route = read_addr_spec, read_route
addrspec.quote, addrspec.spell_local_part, addrspec.has_control = quote, spell_local_part, has_control

return addrspec
