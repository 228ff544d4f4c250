-- Helpers that the specs of waiting share.
local lfs = require "lfs"
local process = require "spec.support.process"

local stdlib = require "posix.stdlib"

local support = {}

-- A sanitizer's preloaded library must not reach the programs that specs start: ps hangs under it.
stdlib.setenv("LD_PRELOAD", "")

--- The scripted name server of dns_server.lua, on this port of 127.0.0.1. Stop it with :stop().
function support.name_server(port, behaviour, log)
  local output = os.tmpname()
  local server = process.start({ "luajit", "spec/async/dns_server.lua", tostring(port), behaviour or "", log },
    { output = output, life = 120 })
  assert(process.wait_until(5, function() return process.read_file(output):find "ready" end, "the name server"))
  os.remove(output)
  return server
end

--- Open descriptors of this process.
function support.descriptors()
  local count = 0
  for _ in lfs.dir "/proc/self/fd" do count = count + 1 end
  return count
end

return support
