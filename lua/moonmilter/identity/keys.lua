--- The private keys of a host, by the domain of From: auth.keys{…}. They belong to the generation whose scripts load
--- them, so a reload changes table and keys at once.
--
-- A table file has a line for each key: domain, selector, file of the key. Lines that begin with "#" and empty lines do
-- not count; a relative file name starts at the directory of the table; ".example.org" stands for all names below
-- example.org, which sign with d=example.org.
--
--   # domain       selector  key
--   example.org    e2026     example.org.ed25519.pem
--   example.org    r2026     example.org.rsa.pem
--   .example.org   r2026     example.org.rsa.pem
local core = require "moonmilter.core"
local address = require "moonmilter.address"
local log = require "moonmilter.log"
local recent = require "moonmilter.identity.recent"
local seal = require "moonmilter.seal"
local wait = require "moonmilter.runtime.wait"

local keys = {}

local sleep = wait.wrap(core.sleep)

local EAGER = 256        -- keys that are read at load time; of larger tables each is read when it is first used ...
local CACHED = 256       -- ... and so many stay in memory
local BREATH = 500       -- lines or keys between which others have their turn
local SLOW_BITS = 4096   -- RSA: a signature takes 6 ms of the loop

---@class identity.Keys
---@field exact table<string, string>  domain -> its keys, as `split` reads them
---@field below table<string, string>  the same for names below it
---@field loaded table<string, any>|nil  file -> key, of a small table
---@field cache table  the same of a large one, those used last

local Keys = {}
Keys.__index = Keys

---@class identity.SigningKey
---@field domain string    d=
---@field selector string  s=
---@field source string    the key's file, or its text
---@field where string     "FILE:LINE" of the table, or "auth.keys"

local all = {} ---@type identity.Keys[]  of this generation

--- Is it a table of keys?
function keys.is(value)
  return getmetatable(value) == Keys
end

local steps = 0

local function breathe()
  steps = steps + 1
  if steps % BREATH == 0 and core.task() then
    sleep(0)
  end
end

-- ---- one key ----

local function is_text(source)
  return source:find("-----BEGIN", 1, true) ~= nil
end

-- -> key | nil, text
local function read(source)
  local text, why = source, nil
  if not is_text(source) then
    text, why = core.key_file(source)
  end
  if not text then
    return nil, why
  end
  local key, problem = seal.private_key(text)
  if not key then
    return nil, (is_text(source) and "" or source .. ": ") .. problem
  elseif key:bits() < 1024 and key:kind() == "rsa" then
    return nil, ("%s: RSA with %d bits; no verifier accepts fewer than 1024 (RFC 8301 3.2)"):format(
      is_text(source) and "the key" or source, key:bits())
  end
  return key
end

-- ---- the table ----

local function domain_of(text)
  local name = address.domain_to_ascii(text)
  if not name or #name > 253 or name:find "[^%w._-]" or name:find("..", 1, true) or name:find "^%." or name == "" then
    return nil
  end
  return (name:lower():gsub("%.$", ""))
end

-- One key of a domain: checked but not read. -> nil | text
local function add(self, domain, selector, source, where)
  local set, name = self.exact, domain
  if domain:sub(1, 1) == "." then
    set, name = self.below, domain:sub(2)
  end
  local ascii = domain_of(name)
  if not ascii then
    return ("%q is not a domain"):format(domain)
  elseif #selector > 200 or selector:find "[^%w._-]" or not selector:find "^%w" then
    return ("%q is not a selector: letters, digits, hyphens and dots"):format(selector)
  end
  local line = ("%s\t%s\t%s"):format(where, selector, source)
  set[ascii] = set[ascii] and set[ascii] .. "\0" .. line or line
  if not self.sources[source] then
    self.sources[source], self.count = line, self.count + 1
  end
end

local function directory_of(path)
  return path:match "^(.*/)[^/]*$" or ""
end

local function read_table(self, path)
  local file, why = io.open(path, "r")
  if not file then
    error(("auth.keys: %s"):format(why), 0)
  end
  local text = file:read "*a"
  file:close()
  local number = 0
  for line in (text or ""):gmatch "([^\n]*)\n?" do
    number = number + 1
    breathe()
    local words = {}
    for word in line:gmatch "%S+" do
      words[#words + 1] = word
    end
    local where = path .. ":" .. number
    if #words > 0 and words[1]:sub(1, 1) ~= "#" then
      local source = #words == 3 and (words[3]:sub(1, 1) == "/" and words[3] or directory_of(path) .. words[3])
      local wrong = source and add(self, words[1], words[2], source, where)
        or not source and "write: domain selector keyfile"
      if wrong then
        error(("%s: %s"):format(where, wrong), 0)
      end
    end
  end
end

local function take_key(self, domain, one)
  if type(one) ~= "table" or type(one.selector) ~= "string" or type(one.key) ~= "string" then
    error(('auth.keys: %s: a key is { selector = "s2026", key = "/path/of/key.pem" }'):format(domain), 4)
  end
  local wrong = add(self, domain, one.selector, one.key, "auth.keys")
  if wrong then
    error("auth.keys: " .. wrong, 4)
  end
end

local function take_table(self, given)
  for domain, list in pairs(given) do
    if type(domain) ~= "string" or type(list) ~= "table" then
      error('auth.keys: give { file = "…" }, or keys by domain: { ["example.org"] = { { selector = …, key = … } } }', 3)
    end
    for _, one in ipairs(list.selector and { list } or list) do
      take_key(self, domain, one)
    end
  end
end

-- Reads every key, and raises for the first that does not load. Large tables keep none of them.
local function read_all(self, keeps)
  local faults = {}
  for source, line in pairs(self.sources) do
    local key, why = read(source)
    local where = line:match "^[^\t]*"
    if not key then
      faults[#faults + 1] = ("%s: %s"):format(where, why)
    elseif key:kind() == "rsa" and key:bits() >= SLOW_BITS then
      log.warn("%s: RSA with %d bits: each signature takes some 6 ms, in which the worker does nothing else; 2048 are "
        .. "enough", where, key:bits())
    end
    if keeps then
      self.loaded[source] = key
    end
    breathe()
  end
  if #faults > 0 then
    table.sort(faults)
    error(#faults == 1 and faults[1] or ("%s (and %d more keys do not load)"):format(faults[1], #faults - 1), 0)
  end
end

--- Keys by domain. Called while scripts load: whatever is wrong raises, and the start or the reload is refused, with
--- file and line.
---@param given { file: string }|table<string, table>
---@return identity.Keys
function keys.new(given)
  if core.in_handler() then
    error("auth.keys: call it while the script loads, so that a key that is missing refuses the start, and no mail", 3)
  elseif type(given) ~= "table" or next(given) == nil then
    error('auth.keys: give { file = "…" }, or keys by domain', 3)
  end
  local self = setmetatable({ exact = {}, below = {}, sources = {}, count = 0, loaded = {},
    cache = recent.new(CACHED) }, Keys)
  if type(given.file) == "string" then
    read_table(self, given.file)
  else
    take_table(self, given)
  end
  local is_small = self.count <= EAGER
  if is_small or core.reads_all_keys() then
    read_all(self, is_small)
  end
  self.sources = nil
  all[#all + 1] = self
  return self
end

-- ---- use ----

-- "where\tselector\tsource", one after another with a NUL between
local function split(domain, lines)
  local list, at = {}, 1
  while at <= #lines do
    local stop = lines:find("\0", at, true) or #lines + 1
    local first = lines:find("\t", at, true)
    local second = lines:find("\t", first + 1, true)
    list[#list + 1] = { domain = domain, where = lines:sub(at, first - 1), selector = lines:sub(first + 1, second - 1),
      source = lines:sub(second + 1, stop - 1) }
    at = stop + 1
  end
  return list
end

--- The keys that sign for a domain of From: its own, else those of the nearest domain above whose names below sign.
---@param domain string  A-labels, lower case
---@return identity.SigningKey[]|nil
function Keys:of(domain)
  local own = self.exact[domain]
  if own then
    return split(domain, own)
  end
  local above = domain:match "^[^.]*%.(.*)$"
  while above do
    if self.below[above] then
      return split(above, self.below[above])
    end
    above = above:match "^[^.]*%.(.*)$"
  end
end

--- The key itself, read from its file at first use.
---@param one identity.SigningKey
---@return any key  of moonmilter.seal; nil: text says why
---@return string|nil text
function Keys:key(one)
  local key = self.loaded[one.source] or self.cache:get(one.source)
  if key then
    return key
  end
  local why
  key, why = read(one.source)
  if not key then
    return nil, ("%s: %s"):format(one.where, why)
  end
  self.cache:keep(one.source, key)
  return key
end

--- How much the tables of this generation sign, for people: "2 keys"; nil: nothing.
---@return string|nil
function keys.summary()
  local count = 0
  for _, one in ipairs(all) do
    count = count + one.count
  end
  return count > 0 and ("%d key%s"):format(count, count == 1 and "" or "s") or nil
end

--- Does any table of this generation sign for the domain?
---@param domain string
---@return boolean
function keys.sign_for(domain)
  for _, one in ipairs(all) do
    if one:of(domain) then
      return true
    end
  end
  return false
end

return keys
