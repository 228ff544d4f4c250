--- Envelope paths (RFC 5321 4.1.2): the arguments of MAIL and RCPT.
local addrspec = require "moonmilter.mail.addrspec"
local bound = require "moonmilter.mail.bound"

local path = {}

local fail, here, kind = addrspec.fail, addrspec.here, addrspec.kind
local LOCAL_PART_MAX, DOMAIN_MAX = addrspec.LOCAL_PART_MAX, addrspec.DOMAIN_MAX

-- RFC 5321 4.1.2 Domain: letters, digits and inner hyphens, or U-labels (RFC 6531 3.3). "_" is not among them.
local function is_host_name(text)
  if text == "" or text:find("..", 1, true) or text:find("^%.") or text:find("%.$") then
    return false
  end
  for label in text:gmatch("[^.]+") do
    if #label > 63 * 4 or label:find("[^%w\128-\255-]") or label:sub(1, 1) == "-"
      or label:sub(-1) == "-" then
      return false
    end
  end
  return true
end

-- The plain case, which nearly every path is: the same answer as the parser's, in a tenth of the time (property_spec
-- compares).
local function plain_path(text)
  local local_part, domain = text:match("^([%w][%w.+_=-]*)@([%w][%w.-]*)$")
  if not local_part then
    local_part, domain = text:match("^<([%w][%w.+_=-]*)@([%w][%w.-]*)>$")
  end
  if not local_part or #local_part > LOCAL_PART_MAX or #domain > DOMAIN_MAX or local_part:sub(-1) == "."
    or text:find("..", 1, true) or text:find(".-", 1, true) or domain:find("-.", 1, true) or domain:find("[.-]$")
    or domain:find("[%w-]" .. ("[%w-]"):rep(63)) then
    return nil
  end
  return { address = local_part .. "@" .. domain, local_part = local_part, domain = domain }
end

---@class moonmilter.Path
---@field address    string   "" for the null path
---@field local_part string
---@field domain     string|nil  nil: null path, or "postmaster" (RFC 5321 4.1.1.3)
---@field route      string[]|nil
---@field is_null    boolean|nil

-- Strict: no blank and no comment anywhere.
local function check_blanks(p)
  for _, t in ipairs(p.tokens) do
    if t.blank or (t == p.tokens[1] and t.start > 1) then
      return fail("blank in a path", p.text:find("[ \t\r\n]") or t.start, "syntax")
    end
  end
  return true
end

-- local-part "@" domain; or the local part alone: "postmaster", when lenient any. After a source route a domain is
-- required.
local function read_address(p, route)
  local first = p.i
  local found, why, position, code = addrspec.read(p)
  local alone = p.tokens[first]
  if not found and p.i == first + 1 and not route and (kind(p) == nil or kind(p) == ">")
    and (alone.text:lower() == "postmaster" or not p.is_strict) then
    return { address = addrspec.spell_local_part(alone.text), local_part = alone.text }
  end
  if not found then
    return nil, why, position, code
  end
  if p.is_strict and found.domain and found.domain:sub(1, 1) ~= "[" and not is_host_name(found.domain) then
    return fail(("\"%s\" is not a host name (RFC 5321 4.1.2)"):format(found.domain),
      p.text:find("@", 1, true), "domain")
  end
  found.route = route
  return found
end

-- The text between the brackets.
local function read_inner(p, has_brackets)
  local route, why, position, code
  if kind(p) == "@" then
    route, why, position, code = addrspec.read_route(p)
    if not route then
      return nil, why, position, code
    end
  elseif not p.tokens[p.i] or (has_brackets and kind(p) == ">") then
    return { address = "", local_part = "", is_null = true }
  end
  return read_address(p, route)
end

--- An envelope address: the argument of MAIL or RCPT, with or without its angle brackets (RFC 5321 4.1.2). No comments,
--- no display name, in either mode. Lenient: local part alone, blanks at the ends, odd dots, "_" in domains.
---@param text string  "<ann@example.org>", "ann@example.org", "<@a.example,@b.example:ann@example.org>", "<>", ""
---@param options? { mode: "lenient"|"strict" }
---@return moonmilter.Path|nil path
---@return string|nil text
---@return integer|nil position
---@return string|nil code
function path.parse(text, options)
  local mode = addrspec.check_arguments(text, options, "path")
  if #text > bound.LINE_MAX then
    return bound.fault("address", text, bound.LINE_MAX)
  end
  local plain = plain_path(text)
  if plain then
    return plain
  end
  local p, why, position, code = addrspec.open(text, mode, true)
  if not p then
    return nil, why, position, code
  end
  if p.tokens.comments[1] then
    return fail("comment in a path", p.tokens.comments[1].start, "syntax")
  end
  local ok, found = true
  if p.is_strict then
    ok, why, position, code = check_blanks(p)
  end
  if not ok then
    return nil, why, position, code
  end
  local has_brackets = kind(p) == "<"
  if has_brackets then
    p.i = 2
  end
  found, why, position, code = read_inner(p, has_brackets)
  if not found then
    return nil, why, position, code
  end
  if has_brackets and kind(p) ~= ">" then
    return fail("\">\" expected", here(p), "syntax")
  end
  p.i = has_brackets and p.i + 1 or p.i
  if p.tokens[p.i] then
    return fail(("\"%s\" after the path"):format(p.tokens[p.i].text), here(p), "syntax")
  end
  return found
end

return path
