--- A Redis Cluster: which server has which slot. It asks any server that it knows, when it begins, after a server has
--- said that a slot is elsewhere (MOVED), and after failures; in between MOVED corrects single slots.
local core = require "moonmilter.core"
local key_slot = require "moonmilter.net.key_slot"
local question = require "moonmilter.net.question"
local redis_node = require "moonmilter.net.redis_node"
local redis_options = require "moonmilter.net.redis_options"

local cluster = {}

local PAUSE, LONGEST_PAUSE = 1, 4 -- seconds between two questions, a quarter more or less
local NODES_MAX = 1000 -- the most that a Redis Cluster is made for
local ASKED_MAX = 5 -- servers that one question goes to
local PATIENCE = 0.3 -- seconds for each of them, unless connect_timeout says less

-- Replies after which the map may be wrong.
local OF_THE_MAP = { CLUSTERDOWN = true, MASTERDOWN = true, READONLY = true, LOADING = true }

local Cluster = {}
Cluster.__index = Cluster

-- ---- servers ----

local function node_at(self, host, port)
  local address = { host = host, port = port }
  local name = redis_options.spell(address)
  local node = self.nodes[name]
  if not node then
    if self.count >= NODES_MAX then
      return nil
    end
    node = redis_node.new(address, self.options)
    self.nodes[name], self.count = node, self.count + 1
  end
  return node
end

-- A server may leave its own host out ("", "?" or nil): then it is where we asked.
local function read_host(host, asked)
  if type(host) ~= "string" or host == "" or host == "?" then
    return asked.host
  end
  return #host <= 255 and host:find "^[%w_.:-]+$" and host or nil
end

-- ---- the map ----

-- A row of CLUSTER SLOTS: { first, last, { host, port, … }, replicas … }.
local function read_row(row, asked)
  local master = type(row) == "table" and row[3]
  if type(master) ~= "table" then
    return nil
  end
  local first, last, host, port = tonumber(row[1]), tonumber(row[2]), read_host(master[1], asked), tonumber(master[2])
  local is_good = first and last and first >= 0 and first <= last and last < key_slot.COUNT and host and port
    and port >= 1 and port <= 65535
  return is_good and { first = first, last = last, host = host, port = port } or nil
end

local function read_map(reply, asked)
  if type(reply) ~= "table" or #reply > key_slot.COUNT then
    return nil
  end
  local rows, left = {}, key_slot.COUNT
  for i, row in ipairs(reply) do
    rows[i] = read_row(row, asked)
    left = left - (rows[i] and rows[i].last - rows[i].first + 1 or math.huge)
    if left < 0 then -- a slot is named twice, or a row makes no sense
      return nil
    end
  end
  return rows[1] and rows
end

-- Servers that the new map does not name are forgotten; the others keep their state.
local function take_map(self, rows)
  local known, slots, masters, seen = self.nodes, {}, {}, {}
  self.nodes, self.count = {}, 0
  for _, row in ipairs(rows) do
    local name = redis_options.spell(row)
    self.nodes[name] = self.nodes[name] or known[name]
    local node = node_at(self, row.host, row.port)
    for slot = row.first, node and row.last or -1 do
      slots[slot] = node
    end
    if node and not seen[node] then
      seen[node] = true
      masters[#masters + 1] = node
    end
  end
  self.count = #masters
  self.slots, self.masters = slots, masters
end

local function ask_one(self, node)
  local reply, text = redis_node.new(node, self.of_questions):ask("CLUSTER", "SLOTS")
  if reply == nil then
    return nil, ("%s: %s"):format(node.name, text or "no reply")
  end
  local rows = read_map(reply, node)
  if not rows then
    return nil, ("%s: no slots in the reply"):format(node.name)
  end
  return rows
end

-- Some servers in a random order, then those of the options.
local function candidates(self)
  local list, seen = {}, {}
  local function add(nodes)
    local begin = math.floor(core.random() * #nodes)
    for i = 0, #nodes - 1 do
      local node = nodes[(begin + i) % #nodes + 1]
      if not seen[node.name] and #list < ASKED_MAX then
        seen[node.name] = true
        list[#list + 1] = node
      end
    end
  end
  local seeds_kept = math.min(#self.seeds, 2)
  add(self.masters)
  while #list > ASKED_MAX - seeds_kept do
    seen[table.remove(list).name] = nil
  end
  add(self.seeds)
  return list
end

local function find(self)
  local why = {}
  for _, node in ipairs(candidates(self)) do
    local rows, text = ask_one(self, node)
    if rows then
      take_map(self, rows)
      return true
    end
    why[#why + 1] = text
  end
  return nil, table.concat(why, "; "):sub(1, 400)
end

-- ---- for commands ----

local function known_node(self, slot)
  if slot then
    return self.slots[slot]
  end
  return self.masters[math.floor(core.random() * #self.masters) + 1]
end

--- The server of a slot; without a slot any server.
---@param slot integer?
---@return table? node, string? text, string? code
function Cluster:node_of(slot)
  local node = known_node(self, slot)
  if node then
    return node
  end
  local _, why = self.question:put(self.options.connect_timeout)
  node = known_node(self, slot)
  if node then
    return node
  end
  why = why or slot and ("no server has the slot %d"):format(slot) or "no servers"
  return nil, ("redis cluster %s: %s"):format(self.name, why), "down"
end

--- All servers that have slots.
---@return table[]? nodes, string? text, string? code
function Cluster:all()
  if not self.masters[1] then
    local node, text, code = self:node_of()
    if not node then
      return nil, text, code
    end
  end
  return self.masters
end

--- Where the reply "MOVED slot host:port" or "ASK slot host:port" of a server leads. MOVED corrects the map, and has
--- the whole of it asked for.
---@return table? node  nil: it makes no sense
---@return boolean? is_ask
function Cluster:follow(text, asked)
  local verb, slot, host, port = text:match "^(%u+) (%d+) (%S*):(%d+)"
  slot, port = tonumber(slot), tonumber(port)
  host = verb and read_host(host, asked)
  if not host or slot >= key_slot.COUNT or port < 1 or port > 65535 then
    return nil
  end
  local node = node_at(self, host, port)
  if node and verb == "MOVED" then
    self.slots[slot] = node
    self.question:begin()
  end
  return node, verb == "ASK"
end

--- A failure: the map is asked for in the background. Of replies only some are meant.
function Cluster:doubt(_, text, code)
  local is_meant = code ~= "busy" and (code ~= "reply" or OF_THE_MAP[tostring(text):match "^%u+"])
  if is_meant then
    self.question:begin()
  end
  return is_meant
end

--- options: checked, with cluster.
---@return table
function cluster.new(options)
  local patience = math.min(options.connect_timeout, PATIENCE)
  local of_questions = setmetatable({ timeout = patience, connect_timeout = patience }, { __index = options })
  local self = setmetatable({ options = options, of_questions = of_questions, is_cluster = true, nodes = {}, count = 0,
    slots = {}, masters = {}, seeds = {} }, Cluster)
  for i, address in ipairs(options.cluster) do
    self.seeds[i] = redis_node.new(address, options)
  end
  self.name = self.seeds[1].name
  self.question = question.new(function() return find(self) end, PAUSE, LONGEST_PAUSE)
  return self
end

return cluster
