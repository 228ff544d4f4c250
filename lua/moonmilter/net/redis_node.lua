--- One Redis server and the connections to it. A command takes a connection from the server's pool for itself and
--- returns it after the reply.
---
--- A server that refuses or hangs is not tried again for a while, 0.1 s at first and up to 5 s; meanwhile calls fail at
--- once with "down".
local core = require "moonmilter.core"
local redis_options = require "moonmilter.net.redis_options"
local resp = require "moonmilter.net.resp"
local socket = require "moonmilter.socket"

local redis_node = {}

local now = core.now

-- Seconds before a server that is down is tried again, a quarter more or less: 5 at most.
local FIRST_DELAY, LONGEST_DELAY = 0.1, 4
local TIMEOUTS_TO_DOWN = 3 -- in a row

-- ---- a server that is down ----

-- name -> { failures, timeouts, not_before, why }, as long as a client uses it
local states = setmetatable({}, { __mode = "v" })

local function state_of(name)
  local state = states[name]
  if not state then
    state = { failures = 0, timeouts = 0, not_before = 0 }
    states[name] = state
  end
  return state
end

local function note_failure(state, why)
  state.failures = state.failures + 1
  state.timeouts = 0
  state.why = why
  local delay = math.min(FIRST_DELAY * 2 ^ (state.failures - 1), LONGEST_DELAY)
  state.not_before = now() + delay * (0.75 + core.random() / 2)
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

local Link = {}
Link.__index = Link

local function new_link(node, sock)
  local self = setmetatable({ node = node, sock = sock, deadline = 0 }, Link)
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

-- A connection that fails is closed: what comes on it later belongs to nobody.
local function fail(self, text, code, seconds)
  self:close()
  if code == "timeout" then
    note_timeout(self.node.state)
    text = ("redis %s: no reply within %g s"):format(self.node.name, seconds)
  end
  return nil, text, code
end

function Link:close()
  self.sock:close()
  self.is_closed = true
end

--- Sends commands; replies are to come within so many seconds.
---@return true? sent, string? text, string? code
function Link:send(bytes, seconds)
  if self.is_closed then
    return nil, "closed", "closed"
  end
  self.seconds, self.deadline = seconds, now() + seconds
  self.sock:settimeout(seconds, "t")
  local sent, text, _, code = self.sock:send(bytes)
  if not sent then
    return fail(self, text, code, seconds)
  end
  return true
end

--- Reads so many replies. Afterwards the connection is between replies, or closed.
---@return any[]? replies, string? text, string? code
function Link:receive(count)
  local replies = {}
  for i = 1, count do
    local ok, value, code = resp.read(self.reader)
    if not ok then
      return fail(self, value, code, self.seconds)
    end
    replies[i] = value
  end
  note_success(self.node.state)
  return replies
end

function Link:exchange(bytes, count, seconds)
  local sent, text, code = self:send(bytes, seconds)
  if not sent then
    return nil, text, code
  end
  return self:receive(count)
end

--- For others to use, unless a command has changed its state.
function Link:release()
  if self.is_closed then
    return
  end
  self.is_closed = true
  if self.is_stateful then
    self.sock:close()
  else
    self.sock:setkeepalive(self.node.pool.name, self.node.options.idle, self.node.options.pool_size)
  end
end

-- ---- connecting ----

-- Commands at the beginning of each connection, and how many they are.
local function greeting_of(self)
  local o = self.options
  local words, count = {}, 0
  local function say(command)
    resp.encode(command, words, 1)
    count = count + 1
  end
  if o.password then
    say(o.username and { "AUTH", o.username, o.password } or { "AUTH", o.password })
  end
  if o.db ~= 0 then
    say { "SELECT", o.db }
  end
  if self.is_master then
    say { "ROLE" }
  end
  return table.concat(words), count
end

-- Sentinels can name a server that is not the master yet, or no longer.
local function is_replica(self, reply)
  return self.is_master and type(reply) == "table" and (reply[1] == "slave" or reply[1] == "sentinel")
end

local function greet(self, link)
  local words, count = greeting_of(self)
  if count == 0 then
    return true
  end
  local replies, text, code = link:exchange(words, count, self.options.connect_timeout)
  if not replies then
    return nil, text, code
  end
  for i, reply in ipairs(replies) do
    if resp.is_error(reply) and not (self.is_master and i == count) then -- ROLE may be forbidden
      return nil, reply.err, "reply"
    end
  end
  if is_replica(self, replies[count]) then
    return nil, "is a replica and not the master that the sentinels named", "down"
  end
  return true
end

local Node = {}
Node.__index = Node

--- A connection from the pool; is_own: outside of it.
---@return table? link, string? text, string? code
function Node:connect(is_own)
  local why = down(self)
  if why then
    return nil, why, "down"
  end
  local o = self.options
  local sock, text, code = socket.connect {
    host = self.host, port = self.port, unix = self.unix, tls = o.tls, connect_timeout = o.connect_timeout,
    pool = not is_own and self.pool or nil, reads = true, -- a shadow's commands are judged by redis
  }
  if not sock then
    if code ~= "busy" then
      note_failure(self.state, text)
    end
    return nil, ("redis %s: %s"):format(self.name, text), code
  end
  local link = new_link(self, sock)
  link.is_stateful = is_own
  if sock:getreusedtimes() == 0 then
    local ok, refused, refused_code = greet(self, link)
    if not ok then
      link:close()
      note_failure(self.state, refused)
      return nil, ("redis %s: %s"):format(self.name, refused), refused_code
    end
  end
  return link
end

--- One command and its reply; an error of the server is nil, text, "reply".
function Node:ask(...)
  local link, text, code = self:connect()
  if not link then
    return nil, text, code
  end
  local bytes = {}
  resp.encode({ ... }, bytes, 1)
  local replies, why, why_code = link:exchange(table.concat(bytes), 1, self.options.timeout)
  link:release()
  if not replies then
    return nil, why, why_code
  end
  return resp.value(replies[1])
end

--- The server at an address.
---@param address { host: string?, port: integer?, unix: string? }
---@param options moonmilter.redis.Options
---@param is_master boolean?  each connection makes sure that it is one
---@return table
function redis_node.new(address, options, is_master)
  local name = redis_options.spell(address)
  local pool = { -- quoted, so that one user and password cannot look like another pair
    name = ("redis %s %d %q %q %s%s"):format(name, options.db, options.username or "", options.password or "",
      tostring(options.tls or ""), is_master and " master" or ""),
    size = options.pool_size, queue_timeout = options.queue_timeout,
  }
  return setmetatable({ host = address.host, port = address.port, unix = address.unix, options = options, name = name,
    pool = pool, state = state_of(pool.name), is_master = is_master }, Node)
end

return redis_node
