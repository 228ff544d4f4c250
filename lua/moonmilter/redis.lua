--- Redis and Valkey, without blocking: one server, a Sentinel set, or a Cluster.
-- A command takes a connection from the server's pool for itself and returns it after the reply. So a command that
-- times out closes its connection and its reply cannot reach another command, a slow command delays no other, WATCH and
-- MULTI are safe, and TLS, time-outs, pools and cancellation are those of every socket. (hiredis 0.14, which Debian
-- has, lacks time-outs in its asynchronous half, blocks while it resolves names, and puts all commands on one
-- connection.)
--
-- Which server a command goes to is decided by the client's route: one server (below), the master that sentinels name
-- (net/sentinel.lua), or the one that has the slot of the key (net/cluster.lua).
local cluster = require "moonmilter.net.cluster"
local core = require "moonmilter.core"
local key_slot = require "moonmilter.net.key_slot"
local redis_node = require "moonmilter.net.redis_node"
local redis_options = require "moonmilter.net.redis_options"
local resp = require "moonmilter.net.resp"
local sentinel = require "moonmilter.net.sentinel"
local shadow = require "moonmilter.runtime.shadow"
local subscription = require "moonmilter.net.subscription"
local wait = require "moonmilter.runtime.wait"

local redis = {}

local sleep = wait.wrap(core.sleep)

local REDIRECTS_MAX = 5 -- of a command in a cluster
local TRY_AGAIN = 0.05 -- seconds, a half more or less, while keys of a command are being moved

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

local FOREVER = 86400 -- a blocking command's 0; the handler's deadline ends it

-- ---- commands to bytes ----

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

-- Seconds for the replies, and whether a command waits on purpose.
local function patience_of(options, commands)
  local seconds, is_blocking = options.timeout, false
  for _, words in ipairs(commands) do
    local extra = blocking_seconds(words)
    is_blocking = is_blocking or extra ~= nil
    seconds = seconds + (extra == 0 and FOREVER or extra or 0)
  end
  return seconds, is_blocking
end

local function check_verb(self, verb, level)
  if UNASKED[verb] then
    error(("redis: %s: its messages come without a command; use client:subscribe or client:psubscribe"):format(verb),
      level + 1)
  elseif STATEFUL[verb] and verb ~= "CLIENT" then
    error(("redis: %s applies to one connection, and each command may get another: use "
      .. "client:with(function(conn) … end), or the options of redis.new"):format(verb), level + 1)
  elseif self.route.is_cluster and key_slot.is_of_one_server(verb) then
    error(("redis: %s sees the keys of one server, and a cluster has several: use client:masters()"):format(verb),
      level + 1)
  end
end

-- The bytes of each command.
local function encode(self, commands, level)
  local list = {}
  for i, words in ipairs(commands) do
    local bytes = {}
    resp.encode(words, bytes, level + 1)
    check_verb(self, tostring(words[1]):upper(), level + 1)
    list[i] = table.concat(bytes)
  end
  return list
end

-- ---- to one server ----

-- What failed, or was refused, can mean that the route is wrong. Such a connection is not used again.
local function doubt(route, link, replies, text, code)
  if not route.doubt then
    return
  elseif not replies then
    route:doubt(link.node, text, code)
    return
  end
  for _, reply in ipairs(replies) do -- ends at the first nil: the rest hardly differs
    if resp.is_error(reply) and route:doubt(link.node, reply.err, "reply") then
      link.is_stateful = true
    end
  end
end

local function exchange(route, link, bytes, count, seconds)
  local replies, text, code = link:exchange(bytes, count, seconds)
  doubt(route, link, replies, text, code)
  return replies, text, code
end

-- A connection to the server of a slot.
local function connect(self, slot, is_own)
  local node, text, code = self.route:node_of(slot)
  if not node then
    return nil, text, code
  end
  local link
  link, text, code = node:connect(is_own)
  if not link and self.route.doubt then
    self.route:doubt(node, text, code)
  end
  return link, text, code
end

local function to_one(self, commands, encoded, slot)
  local seconds, is_blocking = patience_of(self.options, commands)
  local link, text, code = connect(self, slot, is_blocking)
  if not link then
    return nil, text, code
  end
  local replies
  replies, text, code = exchange(self.route, link, table.concat(encoded), #commands, seconds)
  link:release()
  return replies, text, code
end

-- ---- to the servers of a cluster ----

local ASKING = "*1\r\n$6\r\nASKING\r\n"

-- Commands by the server they go to, in their order. A command without a server has its reply: why.
local function group(self, items, replies)
  local groups, of_node = {}, {}
  for _, item in ipairs(items) do
    local node, text, code = item.node, nil, nil
    if not node then
      node, text, code = self.route:node_of(item.slot)
    end
    if not node then
      replies[item.at] = resp.error(text, code)
    elseif not of_node[node] then
      of_node[node] = { node = node, items = { item } }
      groups[#groups + 1] = of_node[node]
    else
      table.insert(of_node[node].items, item)
    end
  end
  return groups
end

local function fail_group(self, one, replies, text, code)
  self.route:doubt(one.node, text, code)
  for _, item in ipairs(one.items) do
    replies[item.at] = resp.error(text, code)
  end
  one.items = {}
end

local function send_group(self, one, replies)
  local commands, bytes = {}, {}
  for _, item in ipairs(one.items) do
    commands[#commands + 1] = item.words
    bytes[#bytes + 1] = item.is_ask and ASKING or ""
    bytes[#bytes + 1] = item.bytes
    one.count = (one.count or 0) + (item.is_ask and 2 or 1)
  end
  local seconds, is_blocking = patience_of(self.options, commands)
  local link, text, code = one.node:connect(is_blocking)
  local sent
  if link then
    sent, text, code = link:send(table.concat(bytes), seconds)
  end
  if not sent then
    return fail_group(self, one, replies, text, code)
  end
  one.link = link
end

-- Where a command has to go after this reply; nil: the reply is its own.
local function redirect(self, item, reply, node)
  local verb = resp.is_error(reply) and reply.err:match "^%u+"
  item.node, item.is_ask = nil, false
  if verb == "MOVED" or verb == "ASK" then
    item.node, item.is_ask = self.route:follow(reply.err, node)
    return item.node ~= nil
  elseif verb == "TRYAGAIN" then
    item.node = node
    return true
  elseif verb == "CROSSSLOT" then
    reply.err = reply.err .. "; give them a common {tag}, as in \"{user}:a\" and \"{user}:b\""
  end
end

local function receive_group(self, one, replies, again)
  local received, text, code = one.link:receive(one.count)
  if not received then
    return fail_group(self, one, replies, text, code)
  end
  doubt(self.route, one.link, received)
  one.link:release()
  local at, waits = 0, false
  for _, item in ipairs(one.items) do
    at = at + (item.is_ask and 2 or 1)
    local reply = received[at]
    replies[item.at] = reply
    if redirect(self, item, reply, one.node) then
      again[#again + 1] = item
      waits = waits or item.node == one.node
    end
  end
  return waits
end

-- All are sent before a reply is read, so that the servers work at the same time.
local function turn(self, items, replies)
  local groups, again, waits = group(self, items, replies), {}, false
  for _, one in ipairs(groups) do
    send_group(self, one, replies)
  end
  for _, one in ipairs(groups) do
    waits = one.link and receive_group(self, one, replies, again) or waits
  end
  return again, waits
end

local function to_cluster(self, commands, encoded, slot)
  local items, replies = {}, {}
  for i, words in ipairs(commands) do
    items[i] = { at = i, words = words, bytes = encoded[i], slot = slot or key_slot.of_command(words) }
  end
  local waits
  for _ = 0, REDIRECTS_MAX do
    items, waits = turn(self, items, replies)
    if not items[1] then
      return replies
    elseif waits then
      sleep(TRY_AGAIN * (0.5 + core.random()))
    end
  end
  for _, item in ipairs(items) do
    replies[item.at] = resp.error(("%s (after %d redirections)"):format(replies[item.at].err, REDIRECTS_MAX), "reply")
  end
  return replies
end

-- No command has a reply of a server: nil, the text and the code of the first.
local function reached(replies, count)
  for i = 1, count do
    local reply = replies[i]
    if not resp.is_error(reply) or reply.code == "reply" then
      return replies
    end
  end
  return nil, replies[1].err, replies[1].code
end

local function refuse(verb)
  return shadow.refuse("redis: " .. verb)
end

-- slot: where all of them go; default: by their keys.
local function once(self, commands, level, slot)
  local written = shadow.writing(commands)
  if written then
    return refuse(written)
  end
  local encoded = encode(self, commands, level + 1)
  if self.route.is_cluster then
    return reached(to_cluster(self, commands, encoded, slot), #commands)
  end
  return to_one(self, commands, encoded)
end

-- ---- one connection ----

---@class moonmilter.redis.Connection
local Connection = {}
Connection.__index = Connection

local function run(self, commands, level)
  local written = shadow.writing(commands)
  if self.link.is_closed then
    return nil, "closed", "closed"
  elseif written then
    return refuse(written)
  end
  local bytes = {}
  for _, words in ipairs(commands) do
    local verb = tostring(words[1]):upper()
    if UNASKED[verb] then
      check_verb(self.client, verb, level + 1)
    end
    resp.encode(words, bytes, level + 1)
    self.link.is_stateful = self.link.is_stateful or STATEFUL[verb]
  end
  return exchange(self.client.route, self.link, table.concat(bytes), #commands,
    (patience_of(self.client.options, commands)))
end

--- On this connection: conn:call("GET", key).
function Connection:call(...)
  local replies, text, code = run(self, { { n = select("#", ...), ... } }, 2)
  if not replies then
    return nil, text, code
  end
  return resp.value(replies[1])
end

function Connection:pipeline(commands)
  return run(self, commands, 2)
end

local function connection(self, slot)
  local link, text, code = connect(self, slot)
  if not link then
    return nil, text, code
  end
  return setmetatable({ client = self, link = link }, Connection)
end

---@class moonmilter.Redis
local Client = {}

--- One command: client:call("SET", key, value). nil without a text: Redis replied nil. Inside lists nil is false.
---@return any reply, string? text, string? code
--- code: "reply" (the server's error, in text), "timeout", "down", "refused", "busy" (all connections in use),
--- "closed", … Any command is also a method: client:set(key, value).
function Client:call(...)
  local replies, text, code = once(self, { { n = select("#", ...), ... } }, 2)
  if not replies then
    return nil, text, code
  end
  return resp.value(replies[1])
end

--- Several commands at once, each a list of words. The replies in order; redis.value(replies[i]) is what a single
--- command would have returned.
---@return any[]?, string? text, string? code
function Client:pipeline(commands)
  if #commands == 0 then
    return {}
  end
  return once(self, commands, 2)
end

-- ---- transactions ----

-- The slot of all keys; nil: there are none. False and a text: they differ.
local function common_slot(self, commands)
  local slot
  for _, words in ipairs(self.route.is_cluster and commands or {}) do
    local own = key_slot.of_command(words)
    if own and slot and own ~= slot then
      return false, "CROSSSLOT the keys of a transaction are in several slots; give them a common {tag}"
    end
    slot = slot or own
  end
  return slot
end

-- EXEC was refused because a slot is elsewhere, or between two servers.
local function moved(self, replies)
  for i = 1, self.route.is_cluster and #replies or 0 do
    local text = resp.is_error(replies[i]) and replies[i].err or ""
    if text:find "^MOVED " then
      self.route:follow(text, self.route.masters[1])
      return "moved"
    elseif text:find "^ASK " or text:find "^TRYAGAIN" then
      return "aborted"
    end
  end
end

local function exec(conn, commands, level)
  local all = { { "MULTI" } }
  for _, words in ipairs(commands) do
    all[#all + 1] = words
  end
  all[#all + 1] = { "EXEC" }
  local was_stateful = conn.link.is_stateful
  local replies, text, code = run(conn, all, level + 1)
  if not replies then
    return nil, text, code
  end
  local result = replies[#all]
  if resp.is_error(result) then
    return nil, result.err, moved(conn.client, replies) or "reply"
  end
  conn.link.is_stateful = was_stateful -- EXEC has ended MULTI and WATCH
  if result == nil then
    return nil, "a watched key was changed", "aborted"
  end
  return result
end

-- Calls fn(conn) with a connection to the server of the slot, again when the slot has moved.
local function with_slot(self, slot, fn)
  for _ = 0, REDIRECTS_MAX do
    local conn, text, code = connection(self, slot)
    if not conn then
      return nil, text, code
    end
    local result
    result, text, code = fn(conn)
    conn.link:release()
    if code ~= "moved" then
      return result, text, code
    end
  end
  return nil, "the keys are being moved between servers", "aborted"
end

--- Several commands that take effect together or not at all (MULTI, EXEC).
---@return any[]?, string? text, string? code
function Client:transaction(commands)
  if #commands == 0 then
    return {}
  end
  encode(self, commands, 2) -- finds mistakes before taking a connection
  local slot, text = common_slot(self, commands)
  if slot == false then
    return nil, text, "reply"
  end
  return with_slot(self, slot, function(conn)
    return exec(conn, commands, 2)
  end)
end

local function ended(conn, ok, ...)
  if not ok then
    conn.link:close()
    error((...), 0)
  end
  conn.link:release()
  return ...
end

--- One connection for as long as fn(conn) runs; returns what fn returns. In a cluster it is to the server of the key.
---@param fn fun(conn: moonmilter.redis.Connection): ...
---@param key string|number|nil
function Client:with(fn, key)
  if self.route.is_cluster and key == nil then
    error("redis: with: a cluster has several servers; give a key: client:with(fn, key)", 2)
  end
  local conn, text, code = connection(self, key ~= nil and key_slot.of(tostring(key)) or nil)
  if not conn then
    return nil, text, code
  end
  return ended(conn, pcall(fn, conn))
end

-- Watches keys on the server that has them: the slot may have moved.
local function watch_keys(self, slot, keys)
  for _ = 0, REDIRECTS_MAX do
    local conn, text, code = connection(self, slot)
    if not conn then
      return nil, text, code
    end
    local watched
    watched, text, code = conn:call("WATCH", unpack(keys))
    if watched then
      return conn
    end
    conn.link:close()
    if not (self.route.is_cluster and text:find "^MOVED " and self.route:follow(text, conn.link.node)) then
      return nil, text, code
    end
  end
  return nil, "the keys are being moved between servers", "aborted"
end

--- Check and set: watches the keys, calls fn(conn), which reads and returns the commands, and executes them unless a
--- key was changed meanwhile ("aborted"). fn may return nil to do nothing.
---@param keys string[]
---@param fn fun(conn: moonmilter.redis.Connection): table?
function Client:watch(keys, fn)
  local conn, text, code = watch_keys(self, key_slot.of(tostring(keys[1])), keys)
  if not conn then
    return nil, text, code
  end
  return ended(conn, pcall(function()
    local commands = fn(conn)
    if not commands then
      return nil
    end
    local result, why, why_code = exec(conn, commands, 2)
    return result, why, why_code == "moved" and "aborted" or why_code
  end))
end

-- ---- scripts on the server ----

local hashes = {} -- source -> SHA1, once a server has reported it

local function script_command(verb, what, keys, arguments)
  local words = { verb, what, #keys }
  for _, list in ipairs { keys, arguments } do
    for _, word in ipairs(list) do
      words[#words + 1] = word
    end
  end
  return words
end

local function hash_of(self, source, slot)
  if not hashes[source] then
    local replies, text, code = once(self, { { "SCRIPT", "LOAD", source } }, 3, slot)
    local hash
    if replies then
      hash, text, code = resp.value(replies[1])
    end
    if not hash then
      return nil, text, code
    end
    hashes[source] = hash
  end
  return hashes[source]
end

--- The same script for several keys or lists of keys, each by itself, in one round trip: { keys, arguments } each. The
--- replies as of a pipeline.
---@param source string
---@param calls { [1]: (string|number)[], [2]: (string|number)[]? }[]
---@return any[]?, string? text, string? code
function Client:scripts(source, calls)
  if #calls == 0 then
    return {}
  end
  local slot = self.route.is_cluster and calls[1][1][1] and key_slot.of(tostring(calls[1][1][1])) or nil
  local hash, text, code = hash_of(self, source, slot)
  if not hash then
    return nil, text, code
  end
  local commands = {}
  for i, call in ipairs(calls) do
    commands[i] = script_command("EVALSHA", hash, call[1], call[2] or {})
  end
  local replies
  replies, text, code = once(self, commands, 2)
  local again, at = {}, {}
  for i = 1, replies and #calls or 0 do
    if resp.is_error(replies[i]) and replies[i].err:find "^NOSCRIPT" then -- a server was restarted, or is new
      again[#again + 1] = script_command("EVAL", source, calls[i][1], calls[i][2] or {})
      at[#at + 1] = i
    end
  end
  if not again[1] then
    return replies, text, code
  end
  local later, why, why_code = once(self, again, 2)
  for i, number in ipairs(at) do
    if later then
      replies[number] = later[i]
    else
      replies[number] = resp.error(why, why_code)
    end
  end
  return reached(replies, #calls)
end

--- A Lua script on the server, sent once and then called by its hash: client:script(source, { keys }, { arguments }).
---@return any reply, string? text, string? code
function Client:script(source, keys, arguments)
  local replies, text, code = self:scripts(source, { { keys or {}, arguments } })
  if not replies then
    return nil, text, code
  end
  return resp.value(replies[1])
end

-- ---- channels ----

local function subscribe(self, verb, channels)
  for i, channel in ipairs(channels) do
    if type(channel) ~= "string" then
      error(("redis: %s: channel %d is a %s; give strings"):format(verb:lower(), i, type(channel)), 3)
    end
  end
  if #channels == 0 then
    error(("redis: %s: no channel; give one or more"):format(verb:lower()), 3)
  end
  local link, text, code = connect(self, nil, true)
  if not link then
    return nil, text, code
  end
  local opened
  opened, text, code = subscription.open(link, verb, channels)
  if not opened and self.route.doubt then
    self.route:doubt(link.node, text, code)
  end
  return opened, text, code
end

--- Messages of channels, on a connection of its own: client:subscribe("lists", "alarms"):receive(30).
---@return moonmilter.redis.Subscription?, string? text, string? code
function Client:subscribe(...)
  return subscribe(self, "SUBSCRIBE", { ... })
end

--- The same for all channels whose names match: client:psubscribe "lists.*".
---@return moonmilter.redis.Subscription?, string? text, string? code
function Client:psubscribe(...)
  return subscribe(self, "PSUBSCRIBE", { ... })
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

local function client_of(options, route)
  return setmetatable({ options = options, route = route, name = route.name }, Client)
end

local function one_server(node)
  return { name = node.name, node_of = function() return node end }
end

--- A client for each server that has keys: of a cluster its masters, else the client itself.
---@return moonmilter.Redis[]?, string? text, string? code
function Client:masters()
  if not self.route.is_cluster then
    return { self }
  end
  local nodes, text, code = self.route:all()
  if not nodes then
    return nil, text, code
  end
  local clients = {}
  for i, node in ipairs(nodes) do
    clients[i] = client_of(self.options, one_server(node))
  end
  return clients
end

local function make(o)
  if o.cluster then
    return client_of(o, cluster.new(o))
  elseif o.sentinels then
    return client_of(o, sentinel.new(o))
  end
  return client_of(o, one_server(redis_node.new(o, o)))
end

local of_configuration -- the client of `redis` in moonmilter.conf, one for all scripts

--- A client. Does not connect yet: make it at a script's top level and use it in handlers. options: host and port,
--- unix, sentinels and master, or cluster; username, password, db, tls, timeout (1), connect_timeout (1), pool_size
--- (2), queue_timeout (1), idle (60). Without options: those of `redis` in moonmilter.conf, or 127.0.0.1.
---@return moonmilter.Redis
function redis.new(options)
  if options ~= nil then
    return make(redis_options.check("redis.new", options, 2))
  end
  of_configuration = of_configuration or make(redis_options.check("redis", core.redis or {}, 2))
  return of_configuration
end

--- Is this reply of a pipeline an error?
redis.is_error = resp.is_error

--- A reply of a pipeline as a single command returns it: an error is nil, text, code.
redis.value = resp.value

return redis
