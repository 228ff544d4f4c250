--- A next hop that keeps every byte: unlike smtp-sink it keeps line ends, lone CR and NUL as received. start(), port,
--- :take(), :stop(). A message has sender, sender_params, recipients (each with
--- its parameters) and data.
local lfs = require "lfs"

local process = require "spec.support.process"

local exact_sink = {}
local methods = {}
methods.__index = methods

local SERVER = (debug.getinfo(1, "S").source:match "^@(.*/)" or "./") .. "exact_sink_server.lua"

--- Starts the sink; its files are in `directory`, which must exist.
function exact_sink.start(directory)
  local self = setmetatable({ directory = directory .. "/sink", port = process.free_port() }, methods)
  assert(lfs.mkdir(self.directory))
  self.child = process.start({ "env", "-u", "LD_PRELOAD", "luajit", SERVER, tostring(self.port), self.directory },
    { output = directory .. "/sink.log" })
  assert(process.wait_port(self.port, 5, true))
  return self
end

local function parse(text)
  local message = { recipients = {} }
  local at = 1
  while true do
    local letter, address, params, after = text:match("^([SR]) <(.-)>([^\n]*)\n()", at)
    if not letter then break end
    at = after
    if letter == "S" then
      message.sender, message.sender_params = address, params
    else
      table.insert(message.recipients, address .. params)
    end
  end
  assert(text:sub(at, at) == "\n", "not a file of the sink")
  local data = text:sub(at + 1, -4) -- without the dot's line
  if data:sub(1, 1) == "." then data = data:sub(2) end
  message.data = data:gsub("\r\n%.", "\r\n")
  return message
end

--- Messages that are complete and that no call has returned yet.
function methods:take()
  local messages = {}
  for name in lfs.dir(self.directory) do
    if name:match "^m%.%d+$" then
      local path = self.directory .. "/" .. name
      messages[#messages + 1] = parse(assert(process.read_file(path)))
      os.remove(path)
    end
  end
  return messages
end

function methods:stop()
  self.child:stop()
end

return exact_sink
