-- What a thousand scrapes a second cost the mail beside them: without scrapes, with them, and with as many on a server
-- that only answers the same bytes, in turns (readers.lua). Run from the top: make bench-readers, or after it
--   luajit spec/bench/exporter_bench.lua [rounds] [messages a second]
package.path = "./?.lua;" .. package.path
local host = require "spec.support.host"
local process = require "spec.support.process"
local readers = require "spec.bench.readers"

local ROUNDS = tonumber(arg and arg[1]) or 5
local MAIL = tonumber(arg and arg[2]) or 1000
local SECONDS = 4

local port = process.free_port()
local h = host.start { workers = 1, unix = true, life = 3600,
  arguments = { "--metrics=inet:" .. port .. "@127.0.0.1", "--log_level=warn" },
  scripts = { ["a.lua"] = process.read_file "spec/bench/scripts/every_handler.lua" } }
h:wait_serving(1, 10)

-- The master's child that is no worker.
local function exporter()
  local workers = {}
  for _, row in ipairs(h:status()) do workers[row.pid] = true end
  for _, pid in ipairs(h:workers()) do
    if not workers[pid] then return pid end
  end
end

local pid = assert(exporter(), "no process shows metrics")
readers.measure {
  port = port, targets = { "/metrics" }, rate = 1000, readers = 1, rounds = ROUNDS, seconds = SECONDS,
  directory = h.directory, still = os.getenv "STILL_SERVER" or "build/bench/still_server",
  load = ("%s bench --json --to unix:%s --seconds %d --rate %d --connections 10"):format(host.program(), h.path,
    SECONDS, MAIL),
  cpu = function() return host.cpu(pid) end,
}
h:stop()
