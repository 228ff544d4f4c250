--- Redis and Valkey, without blocking.
-- A command takes a connection from the server's pool for itself and returns it after the reply. So a command that
-- times out closes its connection and its reply cannot reach another command, a slow command delays no other, WATCH and
-- MULTI are safe, and TLS, time-outs, pools and cancellation are those of every socket. (hiredis 0.14, which Debian
-- has, lacks time-outs in its asynchronous half, blocks while it resolves names, and puts all commands on one
-- connection.)
--
-- A server that refuses or hangs is not tried again for a while, 0.1 s at first and up to 5 s; meanwhile calls fail at
-- once with "down".
local core = require "moonmilter.core"
local options_of = require "moonmilter.runtime.options"
local resp = require "moonmilter.net.resp"
local socket = require "moonmilter.socket"

local redis = {}

local now = core.now

-- name -> type and default
local OPTIONS = {
  host = { "string", "127.0.0.1" },
  port = { "number", 6379 },
  unix = { "string" }, -- path of a socket instead
  username = { "string" },
  password = { "string" },
  db = { "number", 0 },
  tls = { "table", also = "boolean" }, -- as for socket.connect; true for the defaults
  timeout = { "number", 1 }, -- seconds for the reply of a command
  connect_timeout = { "number", 1 }, -- seconds
  pool_size = { "number", 16 }, -- connections of one generation of scripts to this server
  queue_timeout = { "number", 1 }, -- seconds to wait for one of them
  idle = { "number", 60 }, -- seconds an unused connection is kept
}

-- Seconds before a server that is down is tried again, a quarter more or less: 5 at most.
local FIRST_DELAY, LONGEST_DELAY = 0.1, 4
local TIMEOUTS_TO_DOWN = 3 -- in a row

-- Commands that wait on purpose: the position of their time-out (from the end when negative), and its unit in seconds.
local BLOCKING = {
  BLPOP = { -1, 1 }, BRPOP = { -1, 1 }, BLMOVE = { -1, 1 }, BRPOPLPUSH = { -1, 1 }, BZPOPMIN = { -1, 1 },
  BZPOPMAX = { -1, 1 },
  BLMPOP = { 2, 1 }, BZMPOP = { 2, 1 }, WAIT = { -1, 0.001 }, XREAD = { "BLOCK", 0.001 },
  XREADGROUP = { "BLOCK", 0.001 },
}
-- Commands that change the state of a connection: it is not reused afterwards.
local STATEFUL = {
  WATCH = true, MULTI = true, SELECT = true, AUTH = true, CLIENT = true, HELLO = true, RESET = true, QUIT = true,
  READONLY = true, READWRITE = true, ASKING = true,
}
-- Commands after which the server sends unrequested replies.
local UNASKED = { SUBSCRIBE = true, PSUBSCRIBE = true, SSUBSCRIBE = true, MONITOR = true }

-- ---- a server that is down ----

local servers = {} -- name -> { failures, timeouts, not_before, why }

local function server_state(name)
  local state = servers[name]
  if not state then
    state = { failures = 0, timeouts = 0, not_before = 0 }
    servers[name] = state
  end
  return state
end

local function note_failure(state, why)
  state.failures = state.failures + 1
  state.timeouts = 0
  state.why = why
  local delay = math.min(FIRST_DELAY * 2 ^ (state.failures - 1), LONGEST_DELAY)
  state.not_before = now() + delay * (0.75 + math.random() / 2)
end

local function note_success(state)
  state.failures, state.timeouts, state.not_before = 0, 0, 0
end

local function note_timeout(state)
  state.timeouts = state.timeouts + 1
  if state.timeouts >= TIMEOUTS_TO_DOWN then
    note_failure(state, "no answers")
  end
end

-- Nil when the server may be tried. The first call to try it holds the others back until the outcome is known.
local function down(self)
  local state = self.state
  local left = state.not_before - now()
  if left > 0 then
    return ("redis %s is down (%s); next try in %.1f s"):format(self.name, state.why or "?", left)
  end
  if state.failures > 0 then
    state.not_before = now() + self.options.connect_timeout + self.options.timeout
  end
end

-- ---- connections ----

---@class moonmilter.redis.Connection
local Connection = {}
Connection.__index = Connection

local function new_connection(client, sock)
  local self = setmetatable({ client = client, sock = sock, deadline = 0 }, Connection)
  local function left()
    sock:settimeout(math.max(self.deadline - now(), 0), "t")
  end
  -- Even with a time-out of 0 it returns what has already arrived.
  self.reader = {
    line = function()
      left()
      local line, text, code = socket.whole_line(sock)
      if line and not line:find "^[^\r]*\r$" then
        return nil, "the server does not speak RESP: a line that does not end with CRLF", "protocol"
      end
      return line and line:sub(1, -2), text, code
    end,
    bytes = function(n)
      left()
      local bytes, text, _, code = sock:receive(n)
      return bytes, text, code
    end,
  }
  return self
end

-- Sends commands and reads as many replies. Afterwards the connection is between replies, or closed.
local function exchange(self, bytes, count, seconds)
  local sock = self.sock
  self.deadline = now() + seconds
  sock:settimeout(seconds, "t")
  local sent, text, _, code = sock:send(bytes)
  local replies = {}
  for i = 1, sent and count or 0 do
    local ok, value, why = resp.read(self.reader)
    if not ok then
      sent, text, code = nil, value, why
      break
    end
    replies[i] = value
  end
  if sent then
    return replies
  end
  sock:close()
  self.is_closed = true
  if code == "timeout" then
    note_timeout(self.client.state)
    text = ("redis %s: no reply within %g s"):format(self.client.name, seconds)
  end
  return nil, text, code
end

local function greet(self)
  local o = self.client.options
  local words, count = {}, 0
  if o.password then
    resp.encode(o.username and { "AUTH", o.username, o.password } or { "AUTH", o.password }, words, 1)
    count = count + 1
  end
  if o.db ~= 0 then
    resp.encode({ "SELECT", o.db }, words, 1)
    count = count + 1
  end
  if count == 0 then
    return true
  end
  local replies, text, code = exchange(self, table.concat(words), count, o.connect_timeout)
  for _, reply in ipairs(replies or {}) do
    if resp.is_error(reply) then
      return nil, reply.err, "reply"
    end
  end
  return replies and true, text, code
end

local function connect(client, pool)
  local why = down(client)
  if why then
    return nil, why, "down"
  end
  local o = client.options
  local sock, text, code = socket.connect {
    host = o.host, port = o.port, unix = o.unix, tls = o.tls, connect_timeout = o.connect_timeout, pool = pool,
  }
  if not sock then
    if code ~= "busy" then
      note_failure(client.state, text)
    end
    return nil, ("redis %s: %s"):format(client.name, text), code
  end
  local self = new_connection(client, sock)
  if sock:getreusedtimes() == 0 then
    local ok, refused, refused_code = greet(self)
    if not ok then
      sock:close()
      note_failure(client.state, refused)
      return nil, ("redis %s: %s"):format(client.name, refused), refused_code
    end
  end
  return self
end

local function release(self)
  if self.is_closed then
    return
  end
  self.is_closed = true
  if self.is_stateful then
    self.sock:close()
  else
    self.sock:setkeepalive(self.client.pool.name, self.client.options.idle, self.client.options.pool_size)
  end
end

-- ---- commands ----

local function encode(self, commands, level)
  local bytes = {}
  for _, words in ipairs(commands) do
    local verb = tostring(words[1]):upper()
    if UNASKED[verb] then
      error(("redis: %s: replies that come without a command are not supported"):format(verb), level + 1)
    end
    resp.encode(words, bytes, level + 1)
    self.is_stateful = self.is_stateful or STATEFUL[verb]
  end
  return table.concat(bytes)
end

-- Seconds that a blocking command may take by itself; nil for others.
local function blocking_seconds(words)
  local row = BLOCKING[tostring(words[1]):upper()]
  if not row then
    return nil
  end
  if row[1] ~= "BLOCK" then
    return (tonumber(words[row[1] < 0 and (words.n or #words) or row[1]]) or 0) * row[2]
  end
  for i = 2, #words - 1 do
    if tostring(words[i]):upper() == "BLOCK" then
      return (tonumber(words[i + 1]) or 0) * row[2]
    end
  end
end

local FOREVER = 86400 -- a blocking command's 0; the handler's deadline ends it

local function answer(value)
  if resp.is_error(value) then
    return nil, value.err, "reply"
  end
  return value
end

local function run(self, commands, level)
  if self.is_closed then
    return nil, "closed", "closed"
  end
  local seconds = self.client.options.timeout
  for _, words in ipairs(commands) do
    local extra = blocking_seconds(words)
    seconds = seconds + (extra == 0 and FOREVER or extra or 0)
  end
  local replies, text, code = exchange(self, encode(self, commands, level + 1), #commands, seconds)
  if replies then
    note_success(self.client.state)
  end
  return replies, text, code
end

--- On this connection: conn:call("GET", key).
function Connection:call(...)
  local replies, text, code = run(self, { { n = select("#", ...), ... } }, 2)
  if not replies then
    return nil, text, code
  end
  return answer(replies[1])
end

function Connection:pipeline(commands)
  return run(self, commands, 2)
end

---@class moonmilter.Redis
local Client = {}

-- Runs commands on a connection taken only for them.
local function once(self, commands, level)
  local bytes = {}
  for _, words in ipairs(commands) do -- find mistakes before taking a connection
    resp.encode(words, bytes, level + 1)
    local verb = tostring(words[1]):upper()
    if UNASKED[verb] or STATEFUL[verb] and verb ~= "CLIENT" then
      error(("redis: %s applies to one connection, and each command may get another: use "
        .. "client:with(function(conn) … end), or the options of redis.new"):format(verb), level + 1)
    end
  end
  local is_blocking = blocking_seconds(commands[1] or {}) ~= nil
  local conn, text, code = connect(self, not is_blocking and self.pool or nil)
  if not conn then
    return nil, text, code
  end
  conn.is_stateful = is_blocking -- a separate connection, outside the pool
  local replies, why, why_code = run(conn, commands, level + 1)
  release(conn)
  return replies, why, why_code
end

--- One command: client:call("SET", key, value). nil without a text: Redis replied nil. Inside lists nil is false.
---@return any reply, string? text, string? code
--- code: "reply" (the server's error, in text), "timeout", "down", "refused", "busy" (all connections in use),
--- "closed", … Any command is also a method: client:set(key, value).
function Client:call(...)
  local replies, text, code = once(self, { { n = select("#", ...), ... } }, 2)
  if not replies then
    return nil, text, code
  end
  return answer(replies[1])
end

--- Several commands at once, each a list of words. The replies in order; an error is a table { err = text }.
---@return any[]?, string? text, string? code
function Client:pipeline(commands)
  if #commands == 0 then
    return {}
  end
  return once(self, commands, 2)
end

local function exec(conn, commands, level)
  local all = { { "MULTI" } }
  for _, words in ipairs(commands) do
    all[#all + 1] = words
  end
  all[#all + 1] = { "EXEC" }
  local was_stateful = conn.is_stateful
  local replies, text, code = run(conn, all, level + 1)
  if not replies then
    return nil, text, code
  end
  local result = replies[#all]
  if resp.is_error(result) then
    return nil, result.err, "reply"
  end
  conn.is_stateful = was_stateful -- EXEC has ended MULTI and WATCH
  if result == nil then
    return nil, "a watched key was changed", "aborted"
  end
  return result
end

--- Several commands that take effect together or not at all (MULTI, EXEC).
---@return any[]?, string? text, string? code
function Client:transaction(commands)
  if #commands == 0 then
    return {}
  end
  local conn, text, code = connect(self, self.pool)
  if not conn then
    return nil, text, code
  end
  local replies, why, why_code = exec(conn, commands, 2)
  release(conn)
  return replies, why, why_code
end

--- Check and set: watches the keys, calls fn(conn), which reads and returns the commands, and executes them unless a
--- key was changed meanwhile ("aborted"). fn may return nil to do nothing.
---@param keys string[]
---@param fn fun(conn: moonmilter.redis.Connection): table?
function Client:watch(keys, fn)
  return self:with(function(conn)
    local watched, text, code = conn:call("WATCH", unpack(keys))
    if not watched then
      return nil, text, code
    end
    local commands = fn(conn)
    if not commands then
      return nil
    end
    return exec(conn, commands, 2)
  end)
end

local function ended(conn, ok, ...)
  if not ok then
    conn.sock:close()
    conn.is_closed = true
    error((...), 0)
  end
  release(conn)
  return ...
end

--- One connection for as long as fn(conn) runs; returns what fn returns.
function Client:with(fn)
  local conn, text, code = connect(self, self.pool)
  if not conn then
    return nil, text, code
  end
  return ended(conn, pcall(fn, conn))
end

local hashes = {} -- source -> SHA1, once a server has reported it

--- A Lua script on the server, sent once and then called by its hash: client:script(source, { keys }, { arguments }).
---@return any reply, string? text, string? code
function Client:script(source, keys, arguments)
  keys, arguments = keys or {}, arguments or {}
  local function command(verb, what)
    local words = { verb, what, #keys }
    for _, list in ipairs { keys, arguments } do
      for _, word in ipairs(list) do
        words[#words + 1] = word
      end
    end
    return words
  end
  if not hashes[source] then
    local hash, text, code = self:call("SCRIPT", "LOAD", source)
    if not hash then
      return nil, text, code
    end
    hashes[source] = hash
  end
  local reply, text, code = self:call(unpack(command("EVALSHA", hashes[source])))
  if code == "reply" and text:match "^NOSCRIPT" then -- the server was restarted
    return self:call(unpack(command("EVAL", source)))
  end
  return reply, text, code
end

-- ---- making a client ----

Client.__index = function(_, name)
  local method = rawget(Client, name)
  if method or type(name) ~= "string" then
    return method
  end
  local word = name:upper()
  method = function(self, ...)
    return self:call(word, ...)
  end
  Client[name] = method
  return method
end

local function check_options(options)
  if type(options) ~= "table" then
    error(("redis.new: options must be a table, { host = \"127.0.0.1\" }, not a %s"):format(type(options)), 3)
  end
  return options_of.check("redis.new", options, OPTIONS, 3)
end

--- A client. Does not connect yet: make it at a script's top level and use it in handlers. options: host, port, unix,
--- username, password, db, tls, timeout (1), connect_timeout (1), pool_size (16), queue_timeout (1), idle (60).
---@return moonmilter.Redis
function redis.new(options)
  local o = check_options(options or {})
  local name = o.unix or ("%s:%d"):format(o.host, o.port)
  local pool = { -- quoted, so that one user and password cannot look like another pair
    name = ("redis %s %d %q %q %s"):format(name, o.db, o.username or "", o.password or "", tostring(o.tls or "")),
    size = o.pool_size, queue_timeout = o.queue_timeout,
  }
  return setmetatable({ options = o, name = name, pool = pool, state = server_state(pool.name) }, Client)
end

--- Is this reply of a pipeline an error?
redis.is_error = resp.is_error

return redis
