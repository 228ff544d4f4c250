--- Maps: tables that a postmaster already has, in Postfix's formats, files, databases and services, looked up by key.
--
--   local access = map.open "texthash:/etc/postfix/access"
--   function on_mail(ctx, sender)
--     local action, text, code = access:address(sender)
--     if action == "REJECT" then … elseif code then … the map cannot answer now … end
--   end
--
-- A spec is "kind:argument"; a list of specs is a chain, whose first map that has the key answers. A value is a string.
-- nil alone means that there is no such key; a failure is nil, a text and a code:
--   "down"        the file or service cannot be used    "limit"    a regular expression took too long
--   "timeout"     nothing came in time                  "bad_key"  no such key can exist in this map
--   "bad_answer"  an answer that cannot be read
local address = require "moonmilter.maps.address"
local asked = require "moonmilter.maps.asked"
local cached = require "moonmilter.maps.cached"
local chain = require "moonmilter.maps.chain"
local cidr = require "moonmilter.cidr"
local opened = require "moonmilter.maps.opened"
local options_of = require "moonmilter.runtime.options"
local spec_of = require "moonmilter.maps.spec"

local map = {}

local KEY_MAX = 65536 -- bytes
local CHAIN_MAX = 32 -- specs

local OPTIONS = {
  kind = { "string" }, -- format of a file that its spec does not name
  ttl = { "number" }, -- seconds that an answer is kept; default: none is
  negative_ttl = { "number" }, -- seconds that "not there" is kept; default: ttl
  cache = { "number", 10000 }, -- answers kept at most
  fold = { "boolean" }, -- look keys up in lower case; default: as Postfix does for the kind
  delimiter = { "string", "+" }, -- recipient_delimiter, for :address
  shrink = { "number", 0.5 }, -- refuse a new version that has lost more than this part of its entries
  every = { "number" }, -- seconds between looks for a new version
  key = { "string" }, -- public key that must have signed a version
  timeout = { "number", 5 }, -- seconds for an answer of a service
  pool_size = { "number", 4 }, -- connections of this worker to a service
  redis = { "table" }, -- a client, or the options of redis.new
  http = { "table" }, -- options of http.request
  parameters = { "table" }, -- of a database or directory, in place of its file
  key_column = { "string", also = "number" }, -- of csv and SQL: name or number
  value_column = { "string", also = "number" },
  separator = { "string" }, -- of csv
  header = { "boolean" }, -- the first line of csv has names
  query = { "string" }, -- of sqlite
  steps = { "number" }, -- of regexp and pcre, of an attempt at one place
  settle = { "number" }, -- seconds without a change before a file is read
  empty = { "boolean" }, -- a file may have no entries
  text_max = { "number" }, -- bytes of a file of text
}

-- name -> least, most
local RANGES = {
  ttl = { 0, 1e9 }, negative_ttl = { 0, 1e9 }, cache = { 1, 1e7 }, shrink = { 0, 1 }, every = { 1, 1e9 },
  timeout = { 0.001, 3600 }, pool_size = { 1, 1000 }, settle = { 0, 3600 }, text_max = { 1, 2 ^ 40 },
  steps = { 1, 2 ^ 31 },
}

---@class moonmilter.Map
---@field spec string  for logs: without passwords
local Map = {}
Map.__index = Map

-- ---- one map of a chain ----

-- What a map knows about one of its specs, and how often it answered.
local Leaf = {}
Leaf.__index = Leaf

function Leaf:get(key, is_part)
  if is_part and self.whole then
    return nil
  end
  self.lookups = self.lookups + 1
  local value, text, code = self.source:get(self.folds and key:lower() or key)
  if value ~= nil then
    self.found = self.found + 1
    return value
  elseif text ~= nil then
    self.failed, self.error = self.failed + 1, text
    return nil, ("%s: %s"):format(self.label, text), code
  end
  return nil
end

function Leaf:each()
  return self.source:each()
end

function Leaf:info()
  local info = self.source:info()
  info.spec, info.kind, info.lookups, info.found, info.failed = self.label, self.kind, self.lookups, self.found,
    self.failed
  info.error = info.error or self.error
  return info
end

function Leaf:close()
  opened.remove(self)
  if self.source.close then
    self.source:close()
  end
end

-- ---- opening ----

-- The directory of the script, or module of a script, that calls us; nil: it has no file, so names start at the working
-- directory.
local function directory_of_caller()
  for level = 3, 20 do
    local info = debug.getinfo(level, "S")
    if not info then
      return nil
    end
    local path = info.source:match "^@(.+)$"
    if path and not path:find "moonmilter/map%.lua$" then
      return path:match "^(.*)/[^/]*$"
    end
  end
end

local function check_options(options)
  options = options_of.check("map.open", options or {}, OPTIONS, 3)
  for name, range in pairs(RANGES) do
    local value = options[name]
    if value and not (value >= range[1] and value <= range[2]) then
      error(("map.open: %s is %s; give %g to %g"):format(name, tostring(value), range[1], range[2]), 3)
    end
  end
  options.negative_ttl = options.negative_ttl or options.ttl or 0
  options.ttl = options.ttl or 0
  return options
end

local function check_specs(specs)
  if type(specs) == "string" then
    return { specs }
  elseif type(specs) ~= "table" or #specs == 0 or #specs > CHAIN_MAX then
    error(('map.open: give a spec, "texthash:/etc/postfix/access", or a list of 1 to %d, not %s'):format(CHAIN_MAX,
      type(specs) == "table" and "a list of " .. #specs or "a " .. type(specs)), 3)
  end
  for i, one in ipairs(specs) do
    if type(one) ~= "string" then
      error(("map.open: spec %d is a %s; it must be a string"):format(i, type(one)), 3)
    end
  end
  return specs
end

-- The source of a spec, and the row of its kind, or of the format that it turned out to have.
local function open_module(read, options)
  local own = setmetatable({ kind = read.kind, format = options.kind, folds = options.fold, label = read.label },
    { __index = options })
  if own.folds == nil then
    own.folds = read.row.folds or false
  end
  -- Not at the top: few scripts need more than two of these modules, and some need libraries.
  local source = require("moonmilter.maps." .. read.row.module).open(read.argument, own)
  return source, source.row or read.row
end

-- The name of a service for `ctl maps`; parameters that the script itself gives have no file to be named by.
local function service_label(read, options)
  local given = read.argument == "" and options.parameters or {}
  local server = given.hosts or given.server_host or given.dbpath or ""
  return spec_of.without_secrets(read.label .. (type(server) == "table" and table.concat(server, ",")
    or tostring(server)))
end

-- An opened spec; nil and a text when it cannot be opened.
local function open_leaf(text, options, directory)
  local read, why = spec_of.read(text, directory, options.parameters ~= nil)
  if not read then
    return nil, why
  end
  local ok, source, row = pcall(open_module, read, options)
  if not ok then
    if type(source) ~= "string" then
      error(source, 0) -- a wait that was cancelled
    end
    return nil, ("%s: %s"):format(read.label, source)
  end
  local folds = options.fold
  if folds == nil then
    folds = row.folds or false
  end
  if read.row.asks and not read.row.fetched then
    source = asked.new(source, service_label(read, options))
  end
  if options.ttl > 0 or options.negative_ttl > 0 then
    source = cached.new(source, options)
  end
  local leaf = setmetatable({ source = source, label = read.label, kind = read.kind, folds = folds, whole = row.whole,
    lookups = 0, found = 0, failed = 0 }, Leaf)
  opened.add(leaf)
  return leaf
end

--- Opens a map. Call it while the script loads: files are read then, and what is wrong with a spec stops the load.
---@param specs string|string[]  "kind:argument", or a list of them
---@param options moonmilter.map.Options?
---@return moonmilter.Map
function map.open(specs, options)
  specs, options = check_specs(specs), check_options(options)
  local directory, leaves, labels = directory_of_caller(), {}, {}
  for i, text in ipairs(specs) do
    local leaf, why = open_leaf(text, options, directory)
    if not leaf then
      chain.new(leaves):close()
      error("map.open: " .. why, 2)
    end
    leaves[i], labels[i] = leaf, leaf.label
  end
  local self = setmetatable({
    spec = table.concat(labels, ", "), leaves = leaves, delimiter = options.delimiter,
    source = leaves[2] and chain.new(leaves) or leaves[1],
  }, Map)
  return self
end

-- ---- looking up ----

-- Raises at the line of the caller's caller; a key that is too long for any map is no mistake of the script.
local function check_key(self, call, key)
  if not self.source then
    error(("%s: the map %s is closed"):format(call, self.spec), 3)
  elseif type(key) ~= "string" then
    error(("%s: the key is a %s; it must be a string"):format(call, type(key)), 3)
  elseif #key > KEY_MAX then
    return nil, ("a key of %d bytes; maps have keys of up to %d"):format(#key, KEY_MAX), "bad_key"
  end
  return key
end

--- The value of a key.
---@param key string
---@return string? value  nil alone: not there
---@return string? text
---@return moonmilter.map.Code? code
function Map:get(key)
  local checked, text, code = check_key(self, "get", key)
  if not checked then
    return nil, text, code
  end
  return self.source:get(key)
end

local function first_of(self, keys)
  for i, key in ipairs(keys) do
    local value, text, code = self.source:get(key, i > 1)
    if value ~= nil then
      return value, key
    elseif text ~= nil then
      return nil, text, code
    end
  end
  return nil
end

--- The value of a mailbox, or of a part of it: user+ext@domain, user@domain, user+ext, user, @domain, domain, .parent.
---@param mailbox string  as ctx has it; "" is the null sender, which is looked up as "<>"
---@return string? value
---@return string? key_or_text  the key that was found
---@return moonmilter.map.Code? code
function Map:address(mailbox)
  local checked, text, code = check_key(self, "address", mailbox)
  if not checked then
    return nil, text, code
  end
  return first_of(self, address.keys(mailbox, self.delimiter))
end

--- The value of an IP address: whole, then without its last number, and so on (access(5)). A cidr map has networks, and
--- is asked for the whole address only.
---@param ip string
---@return string? value
---@return string? key_or_text  the key that was found
---@return moonmilter.map.Code? code
function Map:network(ip)
  local checked, text, code = check_key(self, "network", ip)
  if not checked then
    return nil, text, code
  end
  local canonical = cidr.address(ip)
  if not canonical then
    return nil, ("%q is not an IP address"):format(ip), "bad_key"
  end
  return first_of(self, address.networks(canonical))
end

--- Iterates over keys and values, in no order; of a chain also over keys that an earlier map hides. Raises for a map
--- that cannot list its keys, such as a service or a table of regular expressions.
---@return fun(): string?, string?
function Map:all()
  check_key(self, "all", "")
  for _, leaf in ipairs(self.leaves) do
    if not leaf.source.each then
      error(("all: a map of kind %s cannot list its keys: %s"):format(leaf.kind, leaf.label), 2)
    end
  end
  return self.source:each()
end

-- ---- about it ----

--- What the map is and how it fares: spec, kind, entries, age (seconds since its version was made), version, path,
--- error (the last one), lookups, found, failed, hits (of the cache). Of a chain: spec, and parts, a list of them.
---@return moonmilter.map.Info
function Map:info()
  check_key(self, "info", "")
  if not self.leaves[2] then
    return self.leaves[1]:info()
  end
  local parts = {}
  for i, leaf in ipairs(self.leaves) do
    parts[i] = leaf:info()
  end
  return { spec = self.spec, parts = parts }
end

--- Closes it; maps that a script no longer has are closed by themselves.
function Map:close()
  if self.source then
    self.source:close()
    self.source = nil
  end
end

return map
