--- Receivers of events: a web server that takes lines of JSON, a file, or a stream of a Redis server. Each sends a
--- batch and says what became of it:
--
--   "sent"
--   "refused", text       the receiver does not take these events, whenever they come: HTTP 400, 413, 415, 422
--   "failed", text, retry_after?       everything else: they are sent again, after so many seconds if it says so
--
-- Texts name a web server by its host alone, without user, password, path, query and token, because they go to the log:
-- the path may be a secret, too, as that of a webhook is.
local codec = require "moonmilter.codec"
local core = require "moonmilter.core"
local http = require "moonmilter.http"
local redis = require "moonmilter.redis"
local wait = require "moonmilter.runtime.wait"

local receiver = {}

local append = wait.wrap(core.event.append)

-- The request is at fault, not its sender's rights or the server's state. A wrong token (401, 403) or path (404) is a
-- mistake of the configuration: nothing may be lost by it.
local REFUSED = { [400] = true, [413] = true, [415] = true, [422] = true }

local TEXT_MAX = 200 -- bytes of an answer that are shown

-- ---- web servers ----

local Web = {}
Web.__index = Web

-- "3", or a date (RFC 9110 10.2.3) -> seconds
local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11,
  Dec = 12 }

local DATE = "^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$"

local function days_to(year, month, day) -- since 1970, of the Gregorian calendar
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

--- Seconds from now on.
---@param text string?
---@return number?
function receiver.retry_after(text, now)
  if not text or #text > 64 then
    return nil
  elseif text:find "^%d+$" then
    return tonumber(text)
  end
  local day, month, year, hour, minute, second = text:match(DATE)
  if not day or not MONTHS[month] then
    return nil
  end
  local at = days_to(tonumber(year), MONTHS[month], tonumber(day)) * 86400 + hour * 3600 + minute * 60 + second
  return math.max(0, at - now)
end

-- What a server says in its answer, as one short line.
local function first_words(body)
  local text = (body or ""):gsub("[%c%s]+", " "):gsub("^ ", ""):sub(1, TEXT_MAX)
  return text ~= "" and ": " .. text or ""
end

function Web:send(_, lines)
  local answer, text, code = http.request { url = self.url, method = "POST", headers = self.headers,
    body = table.concat(lines, "\n") .. "\n", timeout = self.timeout, connect_timeout = self.timeout, ca = self.ca,
    certificate = self.certificate, key = self.key, verify = self.verify }
  if not answer then
    return "failed", code == "timeout" and ("no answer within %g s"):format(self.timeout) or self:clean(text)
  end
  local status = answer.status
  if status >= 200 and status < 300 then
    return "sent"
  end
  local why = ("HTTP %d%s"):format(status, self:clean(first_words(answer.body)))
  if REFUSED[status] then
    return "refused", why
  end
  return "failed", why, receiver.retry_after(answer.headers["retry-after"], core.now())
end

-- A server may repeat what was sent, in its own words, too.
function Web:clean(text)
  for _, secret in ipairs(self.secrets) do
    local pieces, from = {}, 1
    local at, to = text:find(secret, 1, true)
    while at do
      pieces[#pieces + 1] = text:sub(from, at - 1)
      from = to + 1
      at, to = text:find(secret, from, true)
    end
    pieces[#pieces + 1] = text:sub(from)
    text = table.concat(pieces, "***")
  end
  return text
end

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- http(s)://[user[:password]@]host[/path][?query] -> without user and password, both, what may be shown, path, query
local function split_url(url)
  local scheme, rest = url:match "^(https?://)(.+)$"
  if not scheme then
    return nil
  end
  local authority, path = rest:match "^([^/?#]*)(.*)$"
  local user, host = authority:match "^(.*)@([^@]*)$"
  if (host or authority) == "" then
    return nil
  end
  return scheme .. (host or authority) .. path, user and decode(user), scheme .. (host or authority),
    path:match "^[^?#]*", path:match "%?([^#]+)"
end

local function new_web(o, fail)
  local url, user, shown, path, query = split_url(o.to)
  if not url then
    fail("to is no URL of a web server; write \"https://HOST/PATH\"")
  end
  local headers, secrets = { ["Content-Type"] = "application/x-ndjson" }, {}
  for name, value in pairs(o.headers or {}) do
    if type(name) ~= "string" or type(value) ~= "string" or value:find "[%c]" or not name:find "^[%w-]+$" then
      fail("headers is a table of strings, { [\"X-Name\"] = \"value\" }, without line breaks")
    end
    headers[name] = value
    secrets[#secrets + 1] = #value >= 8 and value or nil
  end
  if o.token and (o.token == "" or o.token:find "[%c%s]") then
    fail("token is empty, or has blanks or control characters")
  elseif o.token and user then
    fail("token and a user in the URL are both given; one of them says who we are")
  end
  if o.token then
    headers.Authorization = "Bearer " .. o.token
    secrets[#secrets + 1] = o.token
  elseif user then
    headers.Authorization = "Basic " .. codec.base64_encode(user)
    secrets[#secrets + 1] = user:match ":(.+)$"
  end
  secrets[#secrets + 1] = #path >= 8 and path or nil
  secrets[#secrets + 1] = query
  return setmetatable({ shown = shown, id = url, url = url, headers = headers, secrets = secrets, timeout = o.timeout,
    ca = o.ca, certificate = o.certificate, key = o.key, verify = o.verify }, Web)
end

-- ---- files ----

local File = {}
File.__index = File

function File:send(_, lines)
  local ok, text = append(self.path, table.concat(lines, "\n") .. "\n")
  if not ok then
    return "failed", text
  end
  return "sent"
end

local function new_file(o, fail)
  local path = o.to:match "^file:(/.*[^/])$"
  if not path or path:find "%z" then
    fail("to is %q; a file has an absolute path: \"file:/var/log/events.json\"", o.to)
  end
  return setmetatable({ shown = o.to, id = o.to, path = path }, File)
end

-- ---- streams ----

local Stream = {}
Stream.__index = Stream

function Stream:send(ids, lines)
  local commands = {}
  for i, line in ipairs(lines) do
    commands[i] = { "XADD", self.stream, "MAXLEN", "~", self.maxlen, "*", "id", ids[i], "event", line }
  end
  local replies, text = self.client:pipeline(commands)
  if not replies then
    return "failed", text
  end
  for i = 1, #commands do
    local ok, why = redis.value(replies[i])
    if not ok then
      return "failed", tostring(why)
    end
  end
  return "sent"
end

local function new_stream(o, fail)
  local scheme, authority, path = o.to:match "^(rediss?)://([^/]*)/(.+)$"
  if not scheme then
    fail("to is no stream of a Redis server; write \"redis://HOST:PORT/STREAM\", or \"redis:///STREAM\" for the server "
      .. "of moonmilter.conf")
  end
  local user, host = authority:match "^(.*)@([^@]*)$"
  host = host or authority
  local options
  if host ~= "" then
    local name, port = host:match "^(.-):(%d+)$"
    options = { host = (name or host):match "^%[(.*)%]$" or name or host, port = tonumber(port), timeout = o.timeout,
      connect_timeout = o.timeout, tls = scheme == "rediss" and { ca = o.ca, verify = o.verify } or nil, pool_size = 1 }
    local username, password = (user or ""):match "^([^:]*):?(.*)$"
    options.username = username ~= "" and decode(username) or nil
    options.password = password ~= "" and decode(password) or nil
  end
  local ok, client = pcall(redis.new, options)
  if not ok then
    fail("%s", (tostring(client):gsub("^.-:%d+: ", "")))
  end
  local shown = ("%s://%s/%s"):format(scheme, host, path)
  return setmetatable({ shown = shown, id = shown, client = client, stream = decode(path),
    maxlen = o.maxlen }, Stream)
end

local KINDS = { http = new_web, https = new_web, file = new_file, redis = new_stream, rediss = new_stream }

--- The receiver that `to` names. fail(format, …) raises.
---@param options table  checked options of event.sink
---@return table receiver  shown: for people; id: what tells it from others; :send(ids, lines)
function receiver.new(options, fail)
  local new = KINDS[options.to:match "^(%a+):" or ""]
  if not new then
    fail("to is no receiver; write \"https://…\", \"file:/PATH\" or \"redis://HOST/STREAM\"")
  end
  return new(options, fail)
end

return receiver
