--- https://HOST/PATH#FORMAT: a table that a web server publishes. One worker of the host asks for it every so often, by
-- conditional requests. What comes is checked aside: it parses, is not empty, has not lost too much, and is signed
-- when a key is given. Then it takes the place of the file in state_dir, which all workers have open as any other file
-- (maps/file.lua). So the last good version serves on while the server is gone, over restarts, too.
local asked = require "moonmilter.maps.asked"
local core = require "moonmilter.core"
local file = require "moonmilter.maps.file"
local hash = require "moonmilter.hash"
local http = require "moonmilter.http"
local kinds = require "moonmilter.maps.kinds"
local log = require "moonmilter.log"
local timer = require "moonmilter.timer"
local wait = require "moonmilter.runtime.wait"

local https = {}

local now, pause, sleep = core.now, wait.wrap(core.pause), wait.wrap(core.sleep)

local EVERY = 3600 -- seconds between questions
local RETRY = 60 -- seconds after a failure; doubled after each further one, up to `every`
local BODY_MAX = 64 * 2 ^ 20 -- bytes of a table, unless http.max_body says otherwise
local SIGNATURE_MAX = 4096 -- bytes of the answer that has the signature
local PIECE = 256 * 1024 -- bytes written before others have a turn
local FIRST = 5 -- seconds that other workers leave the first question to the one that asks
local LOOK = 1 -- seconds between looks for the file of another worker

local FORMATS = { cidr = true, list = true, texthash = true, csv = true, json = true, regexp = true, pcre = true }

-- Options that are those of the file, too.
local OF_THE_FILE = { "settle", "text_max", "key_column", "value_column", "separator", "header", "steps", "fold" }

local Source = {}
Source.__index = Source

-- ---- what is known about the file on the disk ----

local META = { "etag", "modified", "size", "size_before", "entries", "checked_at" }
local NUMBERS = { size = true, size_before = true, entries = true, checked_at = true }

local function read_meta(path)
  local meta, handle = {}, io.open(path .. ".about", "rb")
  for line in handle and handle:lines() or function() end do
    local name, value = line:match "^(%l[%l_]*) (.*)$"
    if name then
      meta[name] = NUMBERS[name] and tonumber(value) or not NUMBERS[name] and value or nil
    end
  end
  if handle then
    handle:close()
  end
  return meta
end

-- Writes a file in pieces, so that others have turns, and puts it in place in one step.
local function write_whole(path, aside, text)
  local handle, why = io.open(aside, "wb")
  if not handle then
    return nil, why
  end
  local ok = true
  for at = 1, #text, PIECE do
    ok, why = handle:write(text:sub(at, at + PIECE - 1))
    if not ok then
      break
    end
    pause()
  end
  local closed, close_why = handle:close()
  if ok and closed then
    return path == aside or os.rename(aside, path)
  end
  os.remove(aside)
  return nil, why or close_why
end

local function write_meta(self)
  local lines = {}
  for _, name in ipairs(META) do
    if self.meta[name] then
      lines[#lines + 1] = ("%s %s\n"):format(name, tostring(self.meta[name]):gsub("%c", ""))
    end
  end
  return write_whole(self.path .. ".about", self.path .. ".about" .. self.aside, table.concat(lines))
end

local function size_of(path)
  local handle = io.open(path, "rb")
  local size = handle and handle:seek "end"
  if handle then
    handle:close()
  end
  return size
end

-- ---- the table in force ----

local function open_file(self, path)
  local options = { kind = self.format, shrink = 1, later = true } -- what has shrunk was refused before
  for _, name in ipairs(OF_THE_FILE) do
    options[name] = self.options[name]
  end
  return pcall(file.open, path, options)
end

-- Opens the file on the disk, if it is there and whole.
local function open_kept(self)
  local meta, size = read_meta(self.path), size_of(self.path)
  if not size or size ~= meta.size and size ~= meta.size_before then
    return
  end
  local ok, source = open_file(self, self.path)
  if ok then
    self.table, self.meta = source, meta
  elseif type(source) ~= "string" then
    error(source, 0) -- a wait that was cancelled
  else
    self.error = source
  end
end

-- ---- a new version ----

local function verified(self, body)
  local url = self.url:gsub("%?.*", "") .. ".sig"
  local answer, text = http.request(self:request_of { url = url, max_body = SIGNATURE_MAX })
  if not answer or answer.status ~= 200 then
    return nil, ("the signature %s: %s"):format(url, text or "the server answers " .. answer.status)
  end
  local signature = answer.body
  if #signature ~= 64 then
    signature = hash.unbase64((signature:gsub("%s+", "")))
  end
  if not signature or #signature ~= 64 or not core.hash.verify(self.key, body, signature) then
    return nil, "the signature is not that of the key"
  end
  return true
end

-- Entries of a version that may serve; nil and why not.
local function entries_of(self, path)
  local ok, source = open_file(self, path)
  if not ok then
    if type(source) ~= "string" then
      error(source, 0)
    end
    return nil, source
  end
  local entries = source:info().entries or 0
  source:close()
  local before = self.meta.entries
  if entries == 0 then
    return nil, "the new version is empty"
  elseif before and entries < before * (1 - self.options.shrink) then
    return nil, ("the new version has %d entries, the last good one %d (option shrink)"):format(entries, before)
  end
  return entries
end

local function take(self, answer)
  local body, candidate = answer.body, self.path .. self.aside
  local ok, text
  if self.key then
    ok, text = verified(self, body)
    if not ok then
      return nil, text
    end
  end
  ok, text = write_whole(candidate, candidate, body)
  if not ok then
    return nil, text
  end
  local entries, why = entries_of(self, candidate)
  if not entries then
    os.remove(candidate)
    return nil, why
  end
  self.meta = { etag = answer.headers.etag, modified = answer.headers["last-modified"], size = #body,
    size_before = self.meta.size, entries = entries, checked_at = now() }
  ok, text = write_meta(self)
  if ok then
    ok, text = os.rename(candidate, self.path)
  end
  if not ok then
    os.remove(candidate)
  elseif not self.table then
    open_kept(self)
  end
  return ok, text
end

local function ask(self)
  local meta = self.table and self.meta or {}
  local answer, text = http.request(self:request_of { url = self.url,
    headers = { ["If-None-Match"] = meta.etag, ["If-Modified-Since"] = meta.modified } })
  if not answer then
    return nil, text
  elseif answer.status == 304 and self.table then
    self.meta.checked_at = now()
    return write_meta(self)
  elseif answer.status ~= 200 then
    return nil, "the server answers " .. answer.status
  end
  return take(self, answer)
end

-- Asks once. Says in the log when it fails, and when it works again, but not each time.
local function refresh(self)
  local began_at = now()
  local ok, text = ask(self)
  asked.note(self.service, began_at, ok, text)
  if ok then
    if self.failures > 0 then
      log.info("map %s: is up to date again", self.url)
    end
    self.failures, self.error = 0, nil
    return
  end
  self.failures, self.error = self.failures + 1, text
  if self.failures == 1 then
    log.warn("map %s: %s; %s", self.url, text, self.table and "the version of "
      .. os.date("!%Y-%m-%dT%H:%M:%SZ", self.meta.checked_at) .. " serves on" or "it has no version yet")
  end
end

local function next_delay(self)
  local seconds = self.every
  if self.failures > 0 then
    seconds = math.min(seconds, RETRY * 2 ^ math.min(self.failures - 1, 20))
  end
  return seconds * (0.9 + core.random() / 5)
end

local function keep_asking(self, seconds)
  self.timer = timer.at(seconds, function()
    refresh(self)
    keep_asking(self, next_delay(self))
  end)
end

-- ---- the source ----

-- Options of a request: those of the script, then ours.
function Source:request_of(ours)
  local request = { max_body = BODY_MAX, redirects = 3, timeout = 60 }
  for name, value in pairs(self.options.http or {}) do
    request[name] = value
  end
  for name, value in pairs(ours) do
    request[name] = value
  end
  return request
end

---@return string? value, string? text, string? code
function Source:get(key)
  if not self.table and now() >= self.look_at then
    self.look_at = now() + LOOK
    open_kept(self)
  end
  if not self.table then
    return nil, "no version has come yet: " .. (self.error or "another worker asks for it"), "down"
  end
  return self.table:get(key)
end

function Source:each()
  if not self.table then
    error("no version has come yet", 0)
  end
  return self.table:each()
end

function Source:info()
  local meta, info = read_meta(self.path), self.table and self.table:info() or {}
  info.version, info.path = meta.etag or meta.modified or info.version, self.path
  info.age = meta.checked_at and now() - meta.checked_at or nil
  info.error = self.error or info.error
  return info
end

function Source:close()
  if self.timer then
    self.timer:cancel()
  end
  if self.service then
    core.service.close(self.service)
    self.service = nil
  end
  if self.table then
    self.table:close()
    self.table = nil
  end
  if not self.is_kept then
    os.remove(self.path)
    os.remove(self.path .. ".about")
  end
end

-- ---- opening ----

-- SubjectPublicKeyInfo of Ed25519 (RFC 8410 4), before the key itself.
local DER_HEAD = "\48\42\48\5\6\3\43\101\112\3\33\0"

local function read_key(text)
  local inner = text:match "^%s*%-%-%-%-%-BEGIN PUBLIC KEY%-%-%-%-%-(.*)%-%-%-%-%-END" or text
  local bytes = hash.unbase64((inner:gsub("%s+", "")))
  if bytes and #bytes == 44 and bytes:sub(1, 12) == DER_HEAD then
    bytes = bytes:sub(13)
  end
  if not bytes or #bytes ~= 32 then
    error("key is no public key of Ed25519: give its 32 bytes in base64, or PEM", 0)
  end
  return bytes
end

-- Where the table is kept: in state_dir, named after milter, address and format; or, where there is none, in a file
-- that goes with the map.
local function place(self)
  local directory, text = core.store.directory()
  if directory then
    self.path = ("%s/map-%s.%s"):format(directory,
      hash.sha256(("%s %s %s"):format(directory, self.url, self.format)):sub(1, 24), self.format)
    self.is_kept = true
  elseif text then
    error(text, 0)
  else
    self.path, self.is_kept = os.tmpname(), false
    os.remove(self.path)
  end
  self.aside = (".new%d"):format(core.worker_index)
end

local function wait_for_other(self)
  local ends = now() + FIRST
  while not self.table and now() < ends do
    sleep(0.1)
    open_kept(self)
  end
end

--- Opens it: the version on the disk, or the first from the server. Raises a text when the argument, the format or the
--- key is wrong. A server that does not answer is no reason not to load.
---@param argument string  "//HOST/PATH#FORMAT"
---@param options moonmilter.map.Options
function https.open(argument, options)
  local rest, format = argument:match "^(//[^#]+)#?(.*)$"
  format = format ~= "" and format or options.format
  if not rest or not FORMATS[format] then
    error(("write https://HOST/PATH#FORMAT; FORMAT is cidr, list, texthash, csv, json, regexp or pcre%s"):format(
      format and format ~= "" and core.suggest(format, FORMATS) or ""), 0)
  end
  local self = setmetatable({ url = "https:" .. rest, format = format, options = options, meta = {}, failures = 0,
    every = options.every or EVERY, look_at = 0, row = kinds[format], key = options.key and read_key(options.key) },
    Source)
  place(self)
  local asks = core.worker_index == 0 or not self.is_kept
  self.service = asks and asked.open(options.label) or nil
  open_kept(self)
  if not self.table and not asks then
    wait_for_other(self)
  end
  if not self.table then
    refresh(self)
  end
  if asks then
    local age = now() - (self.meta.checked_at or now())
    local due = math.max(self.every - age, 1) * (0.9 + core.random() / 5)
    keep_asking(self, self.failures > 0 and next_delay(self) or due)
  end
  return self
end

return https
