--- A Redis server that a Sentinel set watches: the sentinels say where the master is, when a client begins and whenever
--- something goes wrong there.
local core = require "moonmilter.core"
local question = require "moonmilter.net.question"
local redis_node = require "moonmilter.net.redis_node"
local redis_options = require "moonmilter.net.redis_options"

local sentinel = {}

local PAUSE, LONGEST_PAUSE = 0.1, 1 -- seconds between two questions, a quarter more or less
local LEAST_PATIENCE = 0.1 -- seconds for each sentinel

-- After these replies the server is not what the sentinels promised.
local OF_NO_MASTER = { READONLY = true, MASTERDOWN = true, LOADING = true, UNBLOCKED = true }

local Sentinels = {}
Sentinels.__index = Sentinels

local function read_reply(reply)
  local host, port = reply[1], tonumber(reply[2])
  if type(host) == "string" and host ~= "" and port and port >= 1 and port <= 65535 then
    return { host = host, port = port }
  end
end

-- One sentinel's word; nil: why there is none.
local function ask_one(self, node)
  local reply, text = node:ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master)
  if reply == nil then
    return nil, text or ("%s knows no master %q"):format(node.name, self.master)
  end
  local address = type(reply) == "table" and read_reply(reply)
  if not address then
    return nil, ("%s: no address in the reply"):format(node.name)
  end
  return address
end

-- Beginning with the one that answered last.
local function ask_all(self)
  local why = {}
  for i = 0, #self.nodes - 1 do
    local at = (self.first + i - 1) % #self.nodes + 1
    local address, text = ask_one(self, self.nodes[at])
    if address then
      self.first = at
      return address
    end
    why[#why + 1] = text
  end
  return nil, table.concat(why, "; "):sub(1, 400)
end

local function find(self)
  local address, why = ask_all(self)
  if not address then
    return nil, why
  end
  if not self.node or redis_options.spell(address) ~= self.node.name then
    self.node = redis_node.new(address, self.options, true)
  end
  self.is_doubted = false
  return true
end

--- The master as far as it is known.
---@return table? node, string? text, string? code
function Sentinels:node_of()
  if self.node and not self.is_doubted then
    return self.node
  end
  local ok, why = self.question:put(self.options.connect_timeout)
  if ok and self.node then
    return self.node
  end
  return nil, ("redis %s: the sentinels do not say where it is: %s"):format(self.name, why or "no answer"), "down"
end

--- A failure at the master: the sentinels are asked before the next command. Of replies only some are meant.
function Sentinels:doubt(node, text, code)
  local is_meant = code ~= "busy" and (code ~= "reply" or OF_NO_MASTER[tostring(text):match "^%u+"])
  if is_meant and node == self.node then
    self.is_doubted = true
  end
  return is_meant
end

--- options: checked, with sentinels and master.
---@return table
function sentinel.new(options)
  local patience = math.max(options.connect_timeout / #options.sentinels, LEAST_PATIENCE)
  local of_sentinels = {
    username = options.sentinel_username, password = options.sentinel_password, db = 0,
    tls = options.sentinel_tls == nil and options.tls or options.sentinel_tls,
    timeout = patience, connect_timeout = patience, pool_size = 1, queue_timeout = patience, idle = options.idle,
  }
  local self = setmetatable({ options = options, master = options.master, name = options.master, nodes = {} },
    Sentinels)
  for i, address in ipairs(options.sentinels) do
    self.nodes[i] = redis_node.new(address, of_sentinels)
  end
  self.first = math.floor(core.random() * #self.nodes) + 1 -- so that workers spread over them
  self.question = question.new(function() return find(self) end, PAUSE, LONGEST_PAUSE)
  return self
end

return sentinel
