--- Addresses: header mailboxes and lists of them (RFC 5322 3.4, 4.4; groups in From: RFC 6854; UTF-8: RFC 6532) and
--- envelope paths (RFC 5321 4.1.2).
---
--- Two modes. "strict": what the RFCs allow a writer to generate, no obsolete forms. "lenient" (the default): also the
--- obsolete forms and those seen in the wild, listed below. In neither mode does a text that names two addresses give
--- one: `<a@x><b@y>`, `a@x b@y`, `<a@x> b@y` and `a@b@c` are errors.
---
--- lenient also takes:
---   blanks and comments around dots and inside angle brackets; quoted words mixed with atoms (obs-local-part);
---   dots at odd places of the local part (`.a..b.@example.org`; some Japanese mobile carriers issued such addresses);
---   a dot after the domain, which is dropped; empty list elements; ";" between list elements;
---   unquoted dots and "@" in a display name (`J. Doe <j@x>`, `j@x <j@x>`: then `has_address_in_name` is set);
---   a missing ">" at the end of the text; doubled angle brackets; source routes, which are dropped (RFC 5322 4.4);
---   a name in a comment after a bare address (`j@x (John)`); encoded words inside quotes; brackets in a name;
---   a quote, parenthesis or bracket without its partner (`"Joe <j@x>`: then `is_unbalanced` is set), where the mailbox
---   holds one "@" only. It costs no other mailbox.
--- An encoded word in the address itself is an error in both modes, because some readers decode it to another address.
local addrspec = require "moonmilter.mail.addrspec"
local charset = require "moonmilter.charset"
local codec = require "moonmilter.codec"
local encoded_word = require "moonmilter.encoded_word"
local path = require "moonmilter.mail.path"

local address = {}

---@class moonmilter.Mailbox
---@field address    string       local part, "@", domain: quoted only where it must be
---@field local_part string       meaning: without quotes; case kept (RFC 5321 2.4)
---@field domain     string       as written, without a final dot
---@field name       string|nil   display name, decoded to UTF-8
---@field comments   string[]|nil
---@field group      string|nil   name of the group it belongs to
---@field route      string[]|nil  domains of a source route (paths only use it)
---@field start      integer      first and last byte in the text
---@field stop       integer
---@field has_address_in_name boolean|nil  the display name holds an "@", perhaps a fullwidth one: be suspicious
---@field is_unbalanced boolean|nil  a quote, parenthesis or bracket in it has no partner
---@field needs_smtputf8 boolean|nil  the local part is not ASCII (RFC 6531)

---@class moonmilter.Group
---@field group   string
---@field members moonmilter.Mailbox[]

local fail, check_arguments, open = addrspec.fail, addrspec.check_arguments, addrspec.open
local here, kind = addrspec.here, addrspec.kind
local read_addr_spec, read_route = addrspec.read, addrspec.read_route
local quote, spell_local_part, has_control = addrspec.quote, addrspec.spell_local_part, addrspec.has_control

-- ---- the parser ----

-- at "<": -> mailbox without name
local function read_angle(p)
  local depth = 0
  while kind(p) == "<" and (depth == 0 or not p.is_strict) do
    depth = depth + 1
    p.i = p.i + 1
  end
  local route, text, position, code
  if kind(p) == "@" then
    if p.is_strict then
      return fail("source route (RFC 5322 4.4, obsolete)", here(p), "obsolete")
    end
    local start = p.i
    route, text, position, code = read_route(p)
    if not route then
      p.i = start -- its commas may be those of the list; another "<" ends a route, so none is read a third time
      return nil, text, position, code
    end
  end
  if kind(p) == ">" then
    return fail("empty address \"<>\"; only a path may be null", here(p), "empty")
  end
  local mailbox
  mailbox, text, position, code = read_addr_spec(p)
  if not mailbox then
    return nil, text, position, code
  end
  mailbox.route = route
  while depth > 0 and kind(p) == ">" do
    depth = depth - 1
    p.i = p.i + 1
  end
  if depth > 0 and (p.is_strict or kind(p)) then
    return fail("\">\" expected", here(p), "syntax")
  end
  return mailbox
end

-- Kinds of tokens in a display name: "." and "@" do not belong there, and neither does what only lenient mode takes.
local in_name = { atom = true, quoted = true, encoded = true, ["."] = true, ["@"] = true }
local in_lenient_name = { literal = true, stray = true }

local function is_in_name(p, t)
  return t ~= nil and (in_name[t.kind] or not p.is_strict and in_lenient_name[t.kind]) or false
end

-- A token as the text of a name; a stray quote or parenthesis is none of it.
local function text_in_name(p, t)
  return t.kind == "stray" and "" or t.kind == "literal" and p.text:sub(t.start, t.stop) or t.text
end

-- Tokens first..last as a display name (RFC 5322 phrase, RFC 2047 5 (3)). What is between quoted strings is decoded as
-- a whole, because encoded words may be cut anywhere.
local function phrase(p, first, last)
  local out, run = {}, {}
  local function end_run()
    if run[1] then
      out[#out + 1] = encoded_word.decode(table.concat(run))
      run = {}
    end
  end
  for i = first, last do
    local t = p.tokens[i]
    local blank = i > first and t.blank and " " or ""
    if t.kind == "quoted" then
      end_run()
      out[#out + 1] = blank .. (p.is_strict and charset.guess(t.text) or encoded_word.decode(t.text))
    elseif run[1] or blank == "" then
      run[#run + 1] = blank .. text_in_name(p, t)
    else -- the blank before the first word of a run is text
      out[#out + 1] = blank
      run[#run + 1] = text_in_name(p, t)
    end
  end
  end_run()
  local name = table.concat(out):gsub("[%z\1-\31\127]", " ")
  return (name:gsub("^ +", ""))
end

-- "@", and the two characters of Unicode that look like it (U+FF20, U+FE6B).
local function has_at(name)
  return name:find("@", 1, true) ~= nil or name:find("\239\188\160", 1, true) ~= nil
    or name:find("\239\185\171", 1, true) ~= nil
end

local function attach_comments(p, mailbox, first, last)
  local list
  while p.next_comment <= #p.tokens.comments do
    local c = p.tokens.comments[p.next_comment]
    if c.before > last + 1 then
      break
    end
    if c.before >= first then
      list = list or {}
      list[#list + 1] = encoded_word.decode(c.text)
    end
    p.next_comment = p.next_comment + 1
  end
  mailbox.comments = list
  if list and not mailbox.name and not p.is_strict then
    mailbox.name = list[#list] -- the older way to write a name: j@example.org (John)
    mailbox.has_address_in_name = has_at(mailbox.name) or nil
  end
end

-- Some readers see other tokens in first..last: then it must hold one "@", which is the one that was read.
local function check_doubt(p, mailbox, first, last)
  local is_doubtful = p.tokens.ends_in_comment and last == #p.tokens
  mailbox.is_unbalanced = is_doubtful or nil
  for i = first, last do
    local t = p.tokens[i]
    is_doubtful = is_doubtful or t.is_doubtful
    mailbox.is_unbalanced = mailbox.is_unbalanced or t.kind == "stray" or nil
  end
  if not is_doubtful then
    return true
  end
  local before, after = p.tokens[first - 1], p.tokens[last + 1]
  local source = p.text:sub(before and before.stop + 1 or 1, after and after.start - 1 or #p.text)
  if select(2, source:gsub("@", "")) > 1 then
    return fail("quotes, brackets or words are not closed, and it may name two addresses", p.tokens[first].start,
      "syntax")
  end
  return true
end

local function finish_mailbox(p, mailbox, first)
  local ok, why, position, code = check_doubt(p, mailbox, first, p.i - 1)
  if not ok then
    return nil, why, position, code
  end
  mailbox.start = p.tokens[first].start
  mailbox.stop = p.tokens[p.i - 1].stop
  attach_comments(p, mailbox, first, p.i - 1)
  return mailbox
end

local ends_address = { [","] = true, [";"] = true }

-- Where the display name that begins at the cursor ends, and its first token that strict mode refuses.
local function name_end(p)
  local i, bad = p.i, nil
  while is_in_name(p, p.tokens[i]) do
    local t = p.tokens[i]
    local is_bad = t.kind == "." or t.kind == "@" or t.kind == "encoded" and t.text:find '[ \t\r\n()<>@,;:"\\%[%]]'
    bad = bad or is_bad and t or nil
    i = i + 1
  end
  return i, bad
end

local function refuse_name(t)
  if t.kind == "encoded" then
    return fail("encoded word with a blank or special character (RFC 2047 5)", t.start, "syntax")
  end
  return fail(("display name with unquoted \"%s\" (RFC 5322 3.2.5)"):format(t.kind), t.start, "obsolete")
end

-- One mailbox, up to "," or ";" or the end.
local function read_mailbox(p)
  local first = p.i
  local i, bad = name_end(p)
  local t = p.tokens[i]
  local mailbox, text, position, code
  if t and t.kind == "<" then
    if bad and p.is_strict then
      return refuse_name(bad)
    end
    p.i = i
    mailbox, text, position, code = read_angle(p)
    if mailbox and i > first then
      mailbox.name = phrase(p, first, i - 1)
      mailbox.has_address_in_name = has_at(mailbox.name) or nil
    end
  else
    mailbox, text, position, code = read_addr_spec(p)
  end
  if not mailbox then
    return nil, text, position, code
  end
  t = p.tokens[p.i]
  if t and not ends_address[t.kind] then
    return fail(("\"%s\" after an address; a comma is missing, or two addresses where one is expected"):format(t.text),
      t.start, "syntax")
  end
  return finish_mailbox(p, mailbox, first)
end

-- After an error: skip to the next "," or ";". The cursor never moves back.
local function skip_element(p)
  while p.tokens[p.i] and not ends_address[p.tokens[p.i].kind] do
    p.i = p.i + 1
  end
end

-- Words, then ":" -> where the ":" is, if a group begins here.
local function group_colon(p)
  local i = p.i
  while p.tokens[i] and p.tokens[i].kind ~= "@" and is_in_name(p, p.tokens[i]) do
    i = i + 1
  end
  return i > p.i and p.tokens[i] and p.tokens[i].kind == ":" and i or nil
end

local function record(p, errors, first, text, position, code)
  local stop = p.tokens[math.max(p.i - 1, first)]
  errors[#errors + 1] = {
    text = text, position = position, code = code,
    source = p.tokens[first] and p.text:sub(p.tokens[first].start, stop.stop) or "",
  }
end

local read_list

-- At the first word of a group's name, whose ":" is at `colon`: -> group
local function read_group(p, errors, colon)
  local first = p.i
  local group = { group = phrase(p, first, colon - 1), members = {}, start = p.tokens[first].start }
  local is_unbalanced
  for i = first, colon - 1 do
    is_unbalanced = is_unbalanced or p.tokens[i].kind == "stray" or nil
  end
  p.i = colon + 1
  local members, text, position, code = read_list(p, group.members, errors, ";", false)
  if not members then
    return nil, text, position, code
  end
  if kind(p) ~= ";" and p.is_strict then
    return fail("\";\" expected at the end of the group", here(p), "syntax")
  end
  p.i = kind(p) == ";" and p.i + 1 or p.i
  group.stop = p.tokens[p.i - 1].stop
  for _, member in ipairs(members) do
    member.group, member.is_unbalanced = group.group, member.is_unbalanced or is_unbalanced
  end
  return group
end

-- One element, into `out`; a lenient fault into `errors`.
local function read_element(p, out, errors, allow_groups)
  local first = p.i
  local colon = allow_groups and group_colon(p)
  local item, text, position, code
  if colon then
    item, text, position, code = read_group(p, errors, colon)
  else
    item, text, position, code = read_mailbox(p)
  end
  if item then
    out[#out + 1] = item
  elseif p.is_strict then
    return nil, text, position, code
  else
    skip_element(p)
    record(p, errors, first, text, position, code)
  end
  return true
end

-- Mailboxes up to `closer` (";" in a group, nil: the end of the text), appended to `out`.
-- read_mailbox walks again what group_colon() has looked ahead over: each token is visited at most twice.
function read_list(p, out, errors, closer, allow_groups)
  local wants_element = true -- strict: exactly one "," between two elements
  while p.tokens[p.i] do
    local k = kind(p)
    if closer and k == closer then
      break
    elseif k == "," or k == ";" then
      if p.is_strict and (wants_element or k == ";") then
        return fail(k == ";" and "\";\" outside a group" or "empty list element (RFC 5322 4.4, obsolete)",
          here(p), "obsolete")
      end
      wants_element = true
      p.i = p.i + 1
    else
      local ok, text, position, code = read_element(p, out, errors, allow_groups)
      if not ok then
        return nil, text, position, code
      end
      wants_element = false
    end
  end
  if p.is_strict and wants_element and not closer then
    return fail("address missing", here(p), "empty")
  end
  return out
end

--- Exactly one mailbox, as in Sender.
---@param text string
---@param options? { mode: "lenient"|"strict" }
---@return moonmilter.Mailbox|nil mailbox
---@return string|nil text
---@return integer|nil position  byte at which the text ceases to be an address
---@return "syntax"|"obsolete"|"length"|"domain"|"charset"|"empty"|"no-domain"|"several"|nil code
function address.parse(text, options)
  local mode = check_arguments(text, options, "parse")
  local p, why, position, code = open(text, mode)
  if not p then
    return nil, why, position, code
  end
  if #p.tokens == 0 then
    return fail("empty", 1, "empty")
  end
  if group_colon(p) then
    return fail("a group where one mailbox is expected", here(p), "several")
  end
  local mailbox
  mailbox, why, position, code = read_mailbox(p)
  if not mailbox then
    return nil, why, position, code
  end
  if p.tokens[p.i] then
    return fail("more than one address", here(p), "several")
  end
  return mailbox
end

--- A list of mailboxes and groups, as in To. Lenient: what cannot be read is left out and reported in `list.errors`,
--- each { text, position, code, source }; strict: the first fault is returned instead of a list.
---@param text string
---@param options? { mode: "lenient"|"strict" }
---@return (moonmilter.Mailbox|moonmilter.Group)[]|nil list
---@return string|nil text
---@return integer|nil position
---@return string|nil code
function address.list(text, options)
  local mode = check_arguments(text, options, "list")
  local p, why, position, code = open(text, mode)
  if not p then
    return nil, why, position, code
  end
  local errors = {}
  local out
  out, why, position, code = read_list(p, {}, errors, nil, true)
  if not out then
    return nil, why, position, code
  end
  out.errors = errors
  return out
end

--- As list, but with groups expanded: a flat list of mailboxes, those of a group with `group` set.
---@return moonmilter.Mailbox[]|nil list
function address.mailboxes(text, options)
  local list, why, position, code = address.list(text, options)
  if not list then
    return nil, why, position, code
  end
  local out = { errors = list.errors }
  for _, item in ipairs(list) do
    for _, mailbox in ipairs(item.members or { item }) do
      out[#out + 1] = mailbox
    end
  end
  return out
end

--- An envelope address: see moonmilter.mail.path.
address.path = path.parse

-- ---- writing ----

local function check_part(what, text)
  if type(text) ~= "string" or has_control(text) then
    error(("format: %s %s has a control character or is not a string"):format(what, tostring(text)), 3)
  end
end

local function spell_phrase(name, is_utf8_allowed)
  if name == "" then
    return '""'
  end
  if name:find("[\128-\255]") and not (is_utf8_allowed and codec.is_utf8(name)) or name:find("=?", 1, true) then
    return table.concat(encoded_word.words(name), " ")
  end
  if name:find("[()<>%[%]:;@\\,.\"]") or name:find("^%s") or name:find("%s$") or name:find("%s%s")
    or name:find("\t") then
    return quote(name)
  end
  return name
end

--- Write a mailbox or a group. What `parse` returned keeps its meaning; comments are not written. Raises when a part
--- has a control character (CR, LF and NUL above all) or there is no local part and domain.
---@param item moonmilter.Mailbox|moonmilter.Group|{ name?: string, address: string }
---@param options? { utf8: boolean }  true: names as UTF-8 (RFC 6532), for a transport that has SMTPUTF8
---@return string
function address.format(item, options)
  local is_utf8_allowed = options and options.utf8
  if item.members then
    check_part("group name", item.group)
    local list = {}
    for i, member in ipairs(item.members) do
      list[i] = address.format(member, options)
    end
    return spell_phrase(item.group, is_utf8_allowed) .. ":" .. (list[1] and " " or "")
      .. table.concat(list, ", ") .. ";"
  end
  local local_part, domain = item.local_part, item.domain
  if not local_part then
    local parsed, why = address.parse(item.address or "")
    if not parsed then
      error("format: " .. why, 2)
    end
    local_part, domain = parsed.local_part, parsed.domain
  end
  check_part("local part", local_part)
  check_part("domain", domain)
  local spelled = spell_local_part(local_part) .. "@" .. domain
  local check = address.parse(spelled)
  if not check or check.local_part ~= local_part or check.domain ~= domain then
    error(("format: \"%s\" is not an address"):format(spelled), 2)
  end
  if not item.name or item.name == "" then
    return spelled
  end
  check_part("name", item.name)
  return spell_phrase(item.name, is_utf8_allowed) .. " <" .. spelled .. ">"
end

--- Write a list, elements separated by ", " (header.fold breaks there).
---@param list (moonmilter.Mailbox|moonmilter.Group)[]
---@return string
function address.format_list(list, options)
  local out = {}
  for i, item in ipairs(list) do
    out[i] = address.format(item, options)
  end
  return table.concat(out, ", ")
end

--- The domain as it goes into DNS and non-SMTPUTF8 mail: A-labels, lower case (RFC 5890 2.3.2.1).
---@param domain string
---@return string|nil domain
---@return string|nil text
---@return "idna"|nil code
function address.domain_to_ascii(domain)
  if not domain:find("[\128-\255]") then
    return domain:lower()
  end
  return codec.idna_to_ascii(domain)
end

--- The domain as people read it: U-labels. An invalid A-label is an error.
---@param domain string
---@return string|nil domain
---@return string|nil text
---@return "idna"|nil code
function address.domain_to_unicode(domain)
  if not domain:lower():find("xn--", 1, true) and not domain:find("[\128-\255]") then
    return domain:lower()
  end
  return codec.idna_to_unicode(domain)
end

--- Do two domains have the same meaning? Case and the two spellings of IDNA do not matter.
---@param a string
---@param b string
---@return boolean
function address.same_domain(a, b)
  local ascii_a, ascii_b = address.domain_to_ascii(a), address.domain_to_ascii(b)
  return ascii_a ~= nil and ascii_a == ascii_b
end

--- Same mailbox? Local parts are compared byte by byte (RFC 5321 2.4: only the receiving host may know better).
---@param a moonmilter.Mailbox
---@param b moonmilter.Mailbox
---@return boolean
function address.same(a, b)
  if a.local_part ~= b.local_part or (a.domain == nil) ~= (b.domain == nil) then
    return false
  end
  return a.domain == nil or address.same_domain(a.domain, b.domain)
end

return address
