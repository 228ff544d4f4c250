--- Sets of real redis-servers on loopback: a master with a replica that sentinels watch, and a cluster.
local process = require "spec.support.process"
local world = require "spec.async.world"

local redis_sets = {}

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function wait_until(seconds, what, holds)
  for _ = 1, seconds * 20 do
    if holds() then
      return
    end
    os.execute "sleep 0.05"
  end
  error(what .. " within " .. seconds .. " s")
end

local function ask(port, words)
  return world.run(("redis-cli -p %d %s 2>&1"):format(port, words))
end
redis_sets.ask = ask

-- ---- sentinels ----

local SENTINEL = [[
port %d
bind 127.0.0.1
dir %s
sentinel monitor mymaster 127.0.0.1 %d 2
sentinel down-after-milliseconds mymaster 400
sentinel failover-timeout mymaster 3000
]]

local function start_sentinel(directory, number, master_port)
  local port = world.free_port()
  local path = ("%s/sentinel%d.conf"):format(directory, number)
  write(path, SENTINEL:format(port, directory, master_port))
  local pid = world.run(("sh -c 'redis-server %s --sentinel </dev/null >%s.log 2>&1 & echo $!'"):format(path, path))
  return { port = port, pid = pid }
end

--- A master and a replica, watched by three sentinels. set.servers; set.ports of the sentinels; set.addresses as Lua;
--- set.master(): the server that a sentinel names; set.wait_for_replica(); set.signal(number, name) for a sentinel;
--- set.close().
function redis_sets.sentinels()
  local set = { directory = world.temporary(), sentinels = {}, ports = {} }
  local first = world.redis "--repl-diskless-sync-delay 0"
  local second = world.redis("--repl-diskless-sync-delay 0 --replicaof 127.0.0.1 " .. first.port)
  set.servers = { first, second }
  wait_until(10, "no replica", function() return second.cli "info replication":find "master_link_status:up" end)
  local addresses = {}
  for i = 1, 3 do
    set.sentinels[i] = start_sentinel(set.directory, i, first.port)
    set.ports[i] = set.sentinels[i].port
    addresses[i] = ("%q"):format("127.0.0.1:" .. set.ports[i])
  end
  set.addresses = "{ " .. table.concat(addresses, ", ") .. " }"
  wait_until(15, "the sentinels do not know each other and the replica", function()
    local count = 0
    for _, port in ipairs(set.ports) do
      local text = ask(port, "info sentinel")
      count = count + (text:find "status=ok,.*slaves=1,sentinels=3" and 1 or 0)
    end
    return count == 3
  end)
  function set.wait_for_replica()
    wait_until(20, "the old master has not become a replica", function()
      for _, server in ipairs(set.servers) do
        if server.cli "info replication":find "master_link_status:up" then
          return true
        end
      end
    end)
  end
  -- They learn of a failover one after the other: waits until they agree.
  function set.master()
    local name = "sentinel get-master-addr-by-name mymaster"
    local found
    wait_until(10, "the sentinels do not agree", function()
      found = ask(set.ports[1], name)
      return found == ask(set.ports[2], name) and found == ask(set.ports[3], name)
    end)
    return tonumber(found:match "(%d+)$") == first.port and first or second
  end
  function set.signal(number, name)
    process.kill(set.sentinels[number].pid, name)
  end
  function set.close()
    for i = 1, 3 do
      set.signal(i, "SIGCONT")
      set.signal(i, "SIGKILL")
    end
    first.close()
    second.close()
    os.execute("rm -rf " .. set.directory)
  end
  return set
end

-- ---- a cluster ----

local SLOTS = { { 0, 5460 }, { 5461, 10922 }, { 10923, 16383 } }

local function start_node()
  local bus = world.free_port()
  local node = world.redis(("--cluster-enabled yes --cluster-port %d --cluster-node-timeout 1000 "
    .. "--cluster-replica-validity-factor 0 --repl-diskless-sync-delay 0"):format(bus))
  node.bus = bus
  node.id = node.cli "cluster myid"
  return node
end

-- A loop of redis-cli: each slot goes from one server to another, key by key.
local MOVER = [[
for s in %s; do
  redis-cli -p %d cluster setslot $s importing %s
  redis-cli -p %d cluster setslot $s migrating %s
  for turn in 1 2 3 4 5 6 7 8 9; do
    keys=$(redis-cli -p %d cluster getkeysinslot $s 100)
    test -n "$keys" || break
    redis-cli -p %d migrate 127.0.0.1 %d "" 0 5000 keys $keys
  done
  redis-cli -p %d cluster setslot $s node %s
  redis-cli -p %d cluster setslot $s node %s
done
]]

--- Three servers with a third of the slots each, without replicas. cluster.servers; cluster.addresses as Lua;
--- cluster.of(slot): the number of its server at first; cluster.move(slots, from, to): moves slots, in a process whose
--- id it returns; cluster.wait(pid) for it; cluster.add_replica(number); cluster.close().
function redis_sets.cluster()
  local cluster = { servers = {} }
  local addresses = {}
  for i, slots in ipairs(SLOTS) do
    local node = start_node()
    cluster.servers[i] = node
    addresses[i] = ("%q"):format("127.0.0.1:" .. node.port)
    node.cli(("cluster addslotsrange %d %d"):format(slots[1], slots[2]))
    node.cli("cluster set-config-epoch " .. i)
  end
  cluster.addresses = "{ " .. table.concat(addresses, ", ") .. " }"
  local function meet(node)
    node.cli(("cluster meet 127.0.0.1 %d %d"):format(cluster.servers[1].port, cluster.servers[1].bus))
  end
  local function wait_for_all()
    wait_until(20, "the cluster is not complete", function()
      local count = 0
      for _, node in ipairs(cluster.servers) do
        local text = node.cli "cluster info"
        local is_whole = text:find("cluster_known_nodes:" .. #cluster.servers)
        count = count + (text:find "cluster_state:ok" and is_whole and 1 or 0)
      end
      return count == #cluster.servers
    end)
  end
  meet(cluster.servers[2])
  meet(cluster.servers[3])
  wait_for_all()
  function cluster.add_replica(number)
    local node = start_node()
    cluster.servers[#cluster.servers + 1] = node
    meet(node)
    wait_for_all()
    node.cli("cluster replicate " .. cluster.servers[number].id)
    wait_until(10, "no replica", function() return node.cli "info replication":find "master_link_status:up" end)
    return node
  end
  function cluster.of(slot)
    return slot <= SLOTS[1][2] and 1 or slot <= SLOTS[2][2] and 2 or 3
  end
  function cluster.wait(pid)
    os.execute(("while kill -0 %s 2>/dev/null; do sleep 0.02; done"):format(pid))
  end
  function cluster.move(slots, from, to)
    local a, b = cluster.servers[from], cluster.servers[to]
    local path = a.unix .. ".mover"
    write(path, MOVER:format(table.concat(slots, " "), b.port, a.id, a.port, b.id, a.port, a.port, b.port, b.port, b.id,
      a.port, b.id))
    return world.run(("sh -c 'sh %s </dev/null >%s.log 2>&1 & echo $!'"):format(path, path))
  end
  function cluster.close()
    for _, node in ipairs(cluster.servers) do
      node.close()
    end
  end
  return cluster
end

return redis_sets
