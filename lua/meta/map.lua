---@meta moonmilter.map
-- require "moonmilter.map", for editors (LuaLS). Never loaded. Manual: docs/map.md.

--- Tables in Postfix's formats, files, databases and services, looked up by key. A lookup in a service waits. Not there
--- is nil alone; a failure is nil, text, code.
---@class moonmilter.map
local map = {}

--- It is not known what the map has for the key.
---@alias moonmilter.map.Code
---| "down"        # the file or service cannot be used
---| "timeout"     # nothing came in time
---| "bad_answer"  # an answer that cannot be read
---| "bad_key"     # no such key can exist in this map
---| "limit"       # a regular expression took too long

---@class moonmilter.map.Options
---@field kind string?          format of a file that its spec does not name
---@field ttl number?           seconds that a value is kept; default 0: not at all
---@field negative_ttl number?  seconds that "not there" is kept; default: ttl
---@field cache integer?        answers kept at most, 1..10^7; default 10000
---@field fold boolean?         look keys up in lower case; default: as Postfix does for the kind
---@field delimiter string?     recipient_delimiter, for address(); default "+", "": none
---@field shrink number?        refuse a new version that has lost more than this part of its entries, 0..1; default 0.5
---@field every number?         seconds between looks for a new version
---@field key string?           public key that must have signed a version
---@field timeout number?       seconds for an answer of a service, 0.001..3600; default 5
---@field pool_size integer?    connections of this worker to a service, 1..1000; default 4
---@field redis moonmilter.Redis|moonmilter.redis.Options?  default: as in moonmilter.conf
---@field http table?           options of http.request
---@field parameters table?     of a database or directory, in place of its file
---@field key_column string|integer|nil    of csv and SQL: name or number; default: the first
---@field value_column string|integer|nil  default: the next one
---@field separator string?     of csv, one byte; default: a comma
---@field header boolean?       the first line of csv has names
---@field query string?         of sqlite: one SELECT with %s for the key
---@field steps integer?        of regexp and pcre, of an attempt at one place; default 250000
---@field settle number?        seconds without a change before a file is read; default 0.5
---@field empty boolean?        a file may have no entries; default false: it is refused
---@field text_max integer?     bytes of a file of text

---@class moonmilter.map.Info
---@field spec string       for logs: without passwords
---@field kind string?
---@field entries integer?  keys of it
---@field age number?       seconds since its version was made
---@field version string|number|nil
---@field path string?
---@field error string?     the last one
---@field lookups integer?
---@field found integer?
---@field failed integer?
---@field hits integer?     lookups that the cache answered
---@field parts moonmilter.map.Info[]?  of a chain

---@class moonmilter.Map
---@field spec string  for logs: without passwords
local Map = {}

--- The value of a key. Raises when the key is no string.
---@param key string
---@return string? value  nil alone: not there
---@return string? text
---@return moonmilter.map.Code? code
function Map:get(key) end

--- The value of a mailbox, or of a part of it: user+ext@domain, user@domain, user+ext, user, @domain, domain, .parent.
---@param mailbox string  as ctx has it; "" is the null sender, which is looked up as "<>"
---@return string? value
---@return string? key_or_text  the key that was found
---@return moonmilter.map.Code? code
function Map:address(mailbox) end

--- The value of an IP address, or of it without its last numbers.
---@param ip string
---@return string? value
---@return string? key_or_text  the key that was found
---@return moonmilter.map.Code? code
function Map:network(ip) end

--- Iterates over keys and values, in no order. Raises for a kind that cannot list its keys.
---@return fun(): string?, string?
function Map:all() end

--- What the map is and how it fares.
---@return moonmilter.map.Info
function Map:info() end

--- Closes it. Later calls raise.
function Map:close() end

--- Opens a map; call it while the script loads. Raises at the caller's line when the spec or an option is wrong.
---@param specs string|string[]  "kind:argument", or a list of them: a chain
---@param options moonmilter.map.Options?
---@return moonmilter.Map
function map.open(specs, options) end

return map
