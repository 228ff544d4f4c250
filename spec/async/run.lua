--- Runs Lua inside a handler of a host in process, for specs.
local fake_mta = require "spec.support.fake_mta"

local PRELUDE = [[
  local milter = require "moonmilter"
  local socket = require "moonmilter.socket"
  local P, DIR = { %s }, %q
  local function talk(verb, sock)
    sock = sock or assert(socket.connect{ host = "127.0.0.1", port = P.talk })
    assert(sock:send(verb .. "\n"))
    return sock
  end
  local function show(...)
    local words = {}
    for i = 1, select("#", ...) do
      words[i] = tostring((select(i, ...)))
    end
    return table.concat(words, "|")
  end
]]

local run = {}

--- The prelude of a script: the servers' ports in P, their directory in DIR, talk(verb) and show(...).
function run.prelude(servers)
  local ports = {}
  for name, port in pairs(servers) do
    if type(port) == "number" then
      ports[#ports + 1] = ("%s = %d"):format(name, port)
    end
  end
  return PRELUDE:format(table.concat(ports, ", "), servers.directory or "")
end

--- A script whose on_eom runs body and puts the result into its reply.
function run.script(servers, body)
  return run.prelude(servers) .. ([[
    local function test(ctx)
      %s
    end
    function on_eom(ctx)
      local results = { pcall(test, ctx) }
      local text = tostring(results[2]):gsub("\r", "<CR>"):gsub("\n", "<LF>"):sub(1, 900)
      ctx:reject(550, "5.7.1", text ~= "" and text or "(empty)")
    end
  ]]):format(body)
end

--- The result of the body of an on_eom handler, as text.
function run.body(servers, body, options)
  options = options or {}
  options.script = run.script(servers, body)
  local mta = fake_mta.start(options)
  mta:begin()
  local reply = mta:message()
  if not reply.text then
    print(mta.owner:log())
  end
  mta:close()
  return reply.text and (reply.text:gsub("^550 5.7.1 ", ""):gsub("%%%%", "%%")) or reply.kind
end

return run
