--- ldap:/path: a search for each key, as in ldap_table(5). The value is made of all values of the result attributes of
--- all entries: each in result_format, joined by commas. Values of special_result_attribute are DNs or URLs of further
--- entries, which are searched in turn.
local core = require "moonmilter.core"
local database = require "moonmilter.maps.database"
local domains = require "moonmilter.maps.domains"
local parameters = require "moonmilter.maps.parameters"
local template = require "moonmilter.maps.template"

local ldap = {}

local now = core.now

-- false: Postfix has it, and it has no effect here.
local KNOWN = {
  server_host = true, server_port = true, version = true, timeout = true, search_base = true, scope = true,
  query_filter = true, result_format = true, result_filter = true, domain = true, result_attribute = true,
  special_result_attribute = true, terminal_result_attribute = true, leaf_result_attribute = true, bind = true,
  bind_dn = true, bind_pw = true, recursion_limit = true, expansion_limit = true, size_limit = true,
  dereference = true, chase_referrals = true, cache = false, cache_expiry = false, cache_size = false,
  debuglevel = false, start_tls = true, tls_ca_cert_dir = true, tls_ca_cert_file = true, tls_cert = true,
  tls_key = true, tls_require_cert = true, tls_random_file = false, tls_cipher_suite = true, sasl_mechs = false,
  sasl_realm = false, sasl_authz_id = false, sasl_minssf = false,
}

local SCOPES = { base = "0", one = "1", sub = "2" }

-- ---- writing ----

local function hex(format)
  return function(char) return format:format(char:byte()) end
end

-- A value in a filter (RFC 4515 3), and in a DN (RFC 4514 2.4; more than that is escaped, as Postfix does).
local function in_filter(value) return (value:gsub("[%*%(%)\\%z]", hex "\\%02x")) end
local function in_dn(value) return (value:gsub('[ \t"#+,;<>=\\%z]', hex "\\%02X")) end

local function written(parsed, parts, escape)
  local filled = template.fill(parsed, parts)
  for i = 2, #filled, 2 do
    filled[i] = escape(filled[i])
  end
  return table.concat(filled)
end

-- ---- one search, and what its entries lead to ----

local Search = {}
Search.__index = Search

-- Is the returned attribute the wanted one, or that with options ("mail;lang-de")?
local function is_of(wanted, name)
  wanted, name = wanted:lower(), name:lower()
  return name == wanted or name:sub(1, #wanted + 1) == wanted .. ";"
end

-- Attributes of an entry in their order: { name, values, at }, at: which of the wanted ones.
local function attributes_of(map, row)
  local list, last = {}, nil
  for i = 2, #row, 2 do
    if not last or last.name ~= row[i] then
      last = { name = row[i], values = {} }
      for at, wanted in ipairs(map.attributes) do
        last.at = last.at or is_of(wanted, row[i]) and at or nil
      end
      list[#list + 1] = last
    end
    table.insert(last.values, row[i + 1])
  end
  return list
end

function Search:fail(text, code)
  self.text, self.code = self.text or text, self.code or code
end

function Search:add(values)
  for _, value in ipairs(values) do
    local text = value ~= "" and self.map.templates:format(self.map.result_format, value, self.parts)
    self.values[#self.values + 1] = text or nil
    if self.map.limit > 0 and #self.values > self.map.limit then
      return self:fail(("more than %d results (expansion_limit)"):format(self.map.limit), "bad_answer")
    end
  end
end

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- The attributes of a URL that we want at all; without any in the URL, all of ours.
local function attributes_of_url(map, text)
  local wanted = {}
  for name in text:gmatch "[^,]+" do
    for _, own in ipairs(map.attributes) do
      if is_of(name, own) or is_of(own, name) then
        wanted[#wanted + 1] = is_of(name, own) and own or name
      end
    end
  end
  return text == "" and map.attributes or wanted
end

-- Base, attributes, scope and filter of what follows the host in a URL (RFC 4516 2).
local function url_words(text)
  local words, at = {}, 1
  while at <= #text do
    local stop = text:find("?", at, true) or #text + 1
    words[#words + 1] = unescaped(text:sub(at, stop - 1))
    at = stop + 1
  end
  return words
end

-- An entry that another one names.
function Search:follow(value, depth)
  local url = value:lower():find "^ldaps?://" or value:lower():find "^ldapi://"
  if not url then
    return self:run(value, "0", "(objectclass=*)", self.map.attributes, true, depth)
  end
  local words = url_words(value:match "^%a+://[^/]*/?(.*)$")
  local wanted = attributes_of_url(self.map, words[2] or "")
  local scope = SCOPES[(words[3] or "") ~= "" and words[3]:lower() or "base"]
  if not scope then
    return self:fail("an entry has a URL with an unknown scope", "bad_answer")
  elseif wanted[1] then
    self:run(words[1] or "", scope, (words[4] or "") ~= "" and words[4] or "(objectclass=*)", wanted, true, depth)
  end
end

function Search:entry(row, depth)
  local map, list = self.map, attributes_of(self.map, row)
  local is_terminal, is_leaf = false, true
  for _, one in ipairs(list) do
    is_terminal = is_terminal or one.at ~= nil and one.at <= map.terminal
    is_leaf = is_leaf and not (one.at and one.at > map.ordinary)
  end
  for _, one in ipairs(list) do
    local at = not self.text and one.at or math.huge -- of an attribute that was not asked for: it adds nothing
    if at <= map.ordinary or is_terminal and at <= map.special then
      local is_hidden = is_terminal and at > map.terminal or map.leaf > map.terminal and not is_leaf and at <= map.leaf
      self:add(is_hidden and {} or one.values)
    elseif at <= map.special and depth >= map.recursion_limit then
      self:fail("entries name each other too deeply (recursion_limit)", "bad_answer")
    elseif at <= map.special then
      for _, value in ipairs(one.values) do
        if not self.text then
          self:follow(value, depth + 1)
        end
      end
    end
  end
end

-- Searches, and adds the values of what it finds.
function Search:run(base, scope, filter, attributes, may_lack_base, depth)
  local map = self.map
  local parts = { base, scope, filter, map.dereference, tostring(map.size_limit), may_lack_base and "1" or "0" }
  for _, name in ipairs(attributes) do
    parts[#parts + 1] = name
  end
  local rows, text, code = map.database:ask(parts, self.deadline - now())
  if not rows then
    return self:fail(text, code)
  elseif map.size_limit > 0 and #rows > map.size_limit then
    return self:fail(("more than %d entries (size_limit)"):format(map.size_limit), "bad_answer")
  end
  for _, row in ipairs(rows) do
    self:entry(row, depth)
  end
end

-- ---- the map ----

local Source = database.source_class()

---@return string? value, string? text, string? code
function Source:get(key)
  if key == "" or not database.can_hold(key) or not self.domains:has(key) then
    return nil
  end
  local parts = self.templates:parts_of(key)
  if not parts then
    return nil
  end
  local search = setmetatable({ map = self, parts = parts, values = {}, deadline = now() + self.database.timeout },
    Search)
  search:run(written(self.base, parts, in_dn), self.scope, written(self.filter, parts, in_filter), self.attributes,
    #self.base > 1, 1)
  if search.text then
    return nil, search.text, search.code
  end
  return search.values[1] and table.concat(search.values, ",") or nil
end

-- ---- opening ----

local FILES = { "tls_ca_cert_dir", "tls_ca_cert_file", "tls_cert", "tls_key", "tls_require_cert", "tls_cipher_suite" }

local function server_of(p, word, port)
  local scheme, rest = word:match "^(%a+)://(.*)$"
  scheme = scheme and scheme:lower()
  if scheme == "ldapi" then
    local path = unescaped(rest):gsub("/$", "")
    return { path = path ~= "" and path or "/var/run/slapd/ldapi", port = port }
  end
  local is_known = not scheme or scheme == "ldap" or scheme == "ldaps"
  local server = is_known and database.server((rest or word):match "^[^/?]*", scheme == "ldaps" and 636 or port)
  if not server or server.path then
    error(("%s: server_host: write host, host:port, ldap://host:port, ldaps://host:port or ldapi://%%2fpath"):format(
      p.name), 0)
  end
  return server, scheme == "ldaps"
end

-- The servers; true: with TLS from the first byte.
local function servers_of(p)
  local servers, secured = {}, 0
  for i, word in ipairs(p:words("server_host", "localhost")) do
    local is_secured
    servers[i], is_secured = server_of(p, word, word:find "^%a+://" and 389 or p:number("server_port", 389))
    secured = secured + (is_secured and 1 or 0)
  end
  if secured ~= 0 and secured ~= #servers then
    error(("%s: server_host: write ldaps:// for all servers, or for none"):format(p.name), 0)
  end
  return servers, secured ~= 0
end

-- Names and values in turn.
local function settings_of(p, is_secured)
  local bind = p:text("bind", "yes")
  if bind ~= "yes" and bind ~= "no" and bind ~= "simple" and bind ~= "none" then
    error(("%s: bind: write yes or no; SASL is not done here"):format(p.name), 0)
  elseif p:is("start_tls", false) and is_secured then
    error(("%s: start_tls: ldaps:// begins TLS by itself; write one of both"):format(p.name), 0)
  elseif p:is("chase_referrals", false) then
    error(("%s: chase_referrals: referrals are not followed here; name the servers in server_host"):format(p.name), 0)
  end
  p:is("tls_require_cert", false)
  local settings = { "bind", (bind == "yes" or bind == "simple") and "yes" or "no", "bind_dn", p:text("bind_dn", ""),
    "bind_pw", p:text("bind_pw", ""), "version", p:text("version", "3"), "start_tls", p:text("start_tls", "no"),
    "ldaps", is_secured and "yes" or "no" }
  for _, name in ipairs(FILES) do
    settings[#settings + 1] = name
    settings[#settings + 1] = p:text(name, "")
  end
  return settings
end

-- Names in the order of their kinds, and where each kind ends: terminal, leaf, ordinary; then special.
local function attributes_into(map, p)
  map.attributes = {}
  for _, row in ipairs { { "terminal_result_attribute", "terminal" }, { "leaf_result_attribute", "leaf" },
    { "result_attribute", "ordinary", "maildrop" }, { "special_result_attribute", "special" } } do
    for _, name in ipairs(p:words(row[1], row[3])) do
      table.insert(map.attributes, name)
    end
    map[row[2]] = #map.attributes
  end
  if #map.attributes > 100 then
    error(("%s: %d result attributes; 100 are the most"):format(p.name, #map.attributes), 0)
  end
end

--- Opens it; raises a text.
---@param argument string  a path, or ""
---@param options { kind: "ldap", parameters: table?, timeout: number?, pool_size: integer? }
function ldap.open(argument, options)
  local p = parameters.open(argument, options, KNOWN, { "bind_pw" })
  local templates = template.new()
  local limit = p:number("expansion_limit", 0)
  local map = setmetatable({
    templates = templates, base = templates:parse(p:text("search_base", ""), "query", "search_base"),
    filter = templates:parse(p:text("query_filter", "(mailacceptinggeneralid=%s)"), "query", "query_filter"),
    result_format = templates:parse(p:text "result_format" or p:text("result_filter", "%s"), "result",
      "result_format"),
    scope = SCOPES[p:text("scope", "sub"):lower()], domains = domains.new(p:words "domain"), limit = limit,
    size_limit = p:number("size_limit", limit), recursion_limit = p:number("recursion_limit", 1000),
    dereference = tostring(p:number("dereference", 0)),
  }, Source)
  if not map.scope then
    error(("%s: scope: write base, one or sub"):format(p.name), 0)
  elseif not map.dereference:find "^[0-3]$" then
    error(("%s: dereference: give 0, 1, 2 or 3"):format(p.name), 0)
  end
  attributes_into(map, p)
  local servers, is_secured = servers_of(p)
  map.database = database.open("ldap", servers, settings_of(p, is_secured), {
    timeout = p:number "timeout" or options.timeout, pool_size = options.pool_size })
  return map
end

return ldap
