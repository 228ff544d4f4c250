-- What a thousand scrapes a second cost the mail beside them: p50 and p99 of messages with and without, in turns, and
-- how many scrapes were answered. Run from the top, after make all: luajit spec/bench/exporter_bench.lua [rounds]
-- Two more processes run, the client of the scrapes and the load: on fewer than four cores they disturb the mail, too.
package.path = "./?.lua;" .. package.path
local cjson = require "cjson"
local host = require "spec.support.host"
local process = require "spec.support.process"
local socket = require "socket"

local ROUNDS = tonumber(arg and arg[1]) or 10
local SECONDS, RATE, SCRAPES = 4, 1000, 1000

-- ---- the client: SCRAPES requests a second, one after the other ----

local CLIENT = [[
  local socket = require "socket"
  local port, path, rate, tcp = tonumber(arg[1]), arg[2], tonumber(arg[3]), nil
  local began, count, failed = socket.gettime(), 0, 0
  while true do
    if not tcp then
      tcp = socket.tcp()
      tcp:settimeout(5)
      assert(tcp:connect("127.0.0.1", port))
      tcp:setoption("tcp-nodelay", true)
    end
    local ok = tcp:send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    local size, line, closes
    repeat
      line = ok and tcp:receive "*l"
      size = line and tonumber(line:match "^[Cc]ontent%-[Ll]ength: (%d+)") or size
      closes = line and line:lower() == "connection: close" or closes
    until not line or line == ""
    if line == "" and size and tcp:receive(size) then
      count = count + 1
      if closes then
        tcp:close()
        tcp = nil
      end
    else
      failed = failed + 1
      tcp:close()
      tcp = nil
    end
    local ahead = began + (count + failed) / rate - socket.gettime()
    if ahead > 0 then socket.sleep(ahead) end
    if (count + failed) % 100 == 0 then
      local file = io.open(path, "w")
      file:write(("%d %d %.3f\n"):format(count, failed, socket.gettime() - began))
      file:close()
    end
  end]]

local h, port

local function mail()
  local text = process.run(("%s bench --json --to %s --seconds %d --rate %d --connections 10 --pid %d"):format(
    host.program(), "unix:" .. h.path, SECONDS, RATE, h:pid()))
  return cjson.decode(text:match "{.*}")
end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

port = process.free_port()
h = host.start { workers = 1, unix = true, life = 3600,
  arguments = { "--metrics=inet:" .. port .. "@127.0.0.1", "--log_level=warn" },
  scripts = { ["a.lua"] = process.read_file "spec/bench/scripts/every_handler.lua" } }
h:wait_serving(1, 10)
process.write_file(h.directory .. "/client.lua", CLIENT)

local with, without = { p50 = {}, p99 = {} }, { p50 = {}, p99 = {} }
local scrapes, failures, seconds = 0, 0, 0

local function note(to, result)
  local times = result.message or result.messages or result.times.message
  to.p50[#to.p50 + 1], to.p99[#to.p99 + 1] = times.p50, times.p99
end

local function measure_with()
  local counts = h.directory .. "/counts"
  local client = process.start({ "luajit", h.directory .. "/client.lua", tostring(port), counts, tostring(SCRAPES) },
    { output = h.directory .. "/client.out", life = 60 })
  socket.sleep(0.3)
  note(with, mail())
  client:stop()
  local count, failed, took = (process.read_file(counts) or "0 0 0"):match "(%d+) (%d+) ([%d.]+)"
  scrapes, failures, seconds = scrapes + count, failures + failed, seconds + took
end

for round = 1, ROUNDS do
  if round % 2 == 0 then measure_with() end
  note(without, mail())
  if round % 2 == 1 then measure_with() end
end
h:stop()

print(("%d rounds of %d s in turns, %d messages/s: milliseconds, medians of the rounds"):format(ROUNDS, SECONDS, RATE))
for _, what in ipairs { "p50", "p99" } do
  local a, b = median(without[what]) / 1e3, median(with[what]) / 1e3
  print(("%s without %.3f, with scrapes %.3f: %.2f"):format(what, a, b, b / a))
end
print(("%.0f scrapes/s were answered, %d were not"):format(scrapes / seconds, failures))
