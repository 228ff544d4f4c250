-- What the web page costs mail: the same rate of messages without readers of the page, and with 1000 requests a second
-- on it, in turns, so that other load on the machine affects both. Readers ask six pages in turn, a filter among them.
-- Run from the top, after make all: luajit spec/bench/page_bench.lua [messages a second] [requests a second] [rounds]
package.path = "./?.lua;" .. package.path
local cjson = require "cjson"
local host = require "spec.support.host"
local page = require "spec.page.page"
local socket = require "socket"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local MAIL = tonumber(arg and arg[1]) or 500
local RATE = tonumber(arg and arg[2]) or 1000
local ROUNDS = tonumber(arg and arg[3]) or 5
local SECONDS = 8
local PATHS = { "/", "/messages", "/messages?verdict=reject&from=nobody", "/messages?json&count=20", "/scripts",
  "/state" }

local SCRIPT = [[
function on_mail(ctx, from) end
function on_rcpt(ctx, to) end
function on_header(ctx, name, value) end
function on_eom(ctx) ctx:add_header("X-Seen", "yes") end]]

local p = page.start { workers = 1, life = 3600, scripts = { ["10-work.lua"] = SCRIPT },
  arguments = { "--history=10000", "--log_level=warn" } }

--- Requests at their times, over one connection that is kept; from when each was due to the end of its answer.
local function read_page(seconds, share, result)
  local s, times, failed, sent = nil, {}, 0, 0
  local begin, due = socket.gettime(), socket.gettime()
  while due - begin < seconds do
    local now = socket.gettime()
    if due > now then socket.sleep(due - now) end
    if not s then
      s = assert(socket.connect("127.0.0.1", p.port))
      s:settimeout(10)
    end
    sent = sent + 1
    s:send(("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"):format(PATHS[sent % #PATHS + 1]))
    local line, length, close = s:receive "*l", 0, false
    local status = line and line:match " (%d+)"
    while line and line ~= "" do
      length = tonumber(line:match "^Content%-Length: (%d+)") or length
      close = close or line:find "^Connection: close"
      line = s:receive "*l"
    end
    if not line or not s:receive(length) or status ~= "200" then failed = failed + 1 close = true end
    if close then
      s:close()
      s = nil
    end
    times[#times + 1] = socket.gettime() - due
    due = due + share
  end
  table.sort(times)
  local file = io.open(result, "w")
  file:write(("%d %d %.6f\n"):format(#times, failed, times[math.ceil(#times * 0.99)]))
  file:close()
end

local function one_round(with_page)
  local readers, paths = {}, {}
  for i = 1, with_page and 8 or 0 do
    paths[i] = p.directory .. "/reader" .. i
    local pid = unistd.fork()
    if pid == 0 then
      unistd.nice(40) -- readers are on other machines: they take nothing from mail
      read_page(SECONDS + 1.5, 8 / RATE, paths[i])
      unistd._exit(0)
    end
    readers[i] = pid
  end
  local before = host.cpu(p.child:pid())
  local pipe = io.popen(("%s bench --to inet:%d@127.0.0.1 --rate %d --seconds %d --warmup 0.5 --connections 40 --json")
    :format(host.program(), p.host.port, MAIL, SECONDS))
  local text = pipe:read "*a"
  pipe:close()
  local cpu = host.cpu(p.child:pid()) - before
  local asked, failed, slowest = 0, 0, 0
  for i, pid in ipairs(readers) do
    wait.wait(pid)
    for n, bad, p99 in io.open(paths[i]):read("*a"):gmatch "(%S+) (%S+) (%S+)" do
      asked, failed, slowest = asked + n, failed + bad, math.max(slowest, tonumber(p99))
    end
  end
  return text, asked / (SECONDS + 1.5), failed, slowest, cpu / SECONDS
end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

local without, with = {}, {}
for round = 1, ROUNDS do
  for _, has in ipairs { false, true } do
    local text, rate, failed, p99, cpu = one_round(has)
    local message = cjson.decode(text).message
    local to = has and with or without
    to[round] = message.p99 / 1e3
    io.write(("round %d %-9s p50 %.3f ms, p99 %.3f ms"):format(round, has and "with page" or "without",
      message.p50 / 1e3, message.p99 / 1e3))
    io.write(has and (", page %.0f requests/s, %d failed, p99 %.1f ms, %.0f %% CPU\n"):format(rate, failed, p99 * 1e3,
      cpu * 100) or "\n")
    io.flush()
  end
end
print(("median p99 of mail: %.3f ms without, %.3f ms with %d requests/s on the page: %.3f"):format(
  median(without), median(with), RATE, median(with) / median(without)))
p:stop()
