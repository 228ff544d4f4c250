--- A host with mail, and the page about it, for specs.
local http = require "socket.http"
local ltn12 = require "ltn12"

local host = require "spec.support.host"
local process = require "spec.support.process"

local page = {}
local methods = {}
methods.__index = methods

local is_root = process.run("id -u"):match "^0%s" ~= nil

page.SCRIPTS = {
  ["10-first.lua"] = [[
local milter = require "moonmilter"
function on_connect(ctx) milter.sleep(0.002) end
function on_mail(ctx, from)
  ctx:note("looked at it")
  if from:find "slow" then milter.sleep(30) end
end
function on_rcpt(ctx, to)
  if to:find "refused" then return ctx:reject(550, "5.7.1", "no such box here") end
end]],
  ["20-second.lua"] = [[
function on_header() end
function on_eom(ctx)
  ctx:add_header("X-Seen", "yes")
  if ctx.sender:find "raises" then error("broken on purpose") end
  if ctx.sender:find "spam" then return ctx:reject(554, "5.7.1", "spam <b>is</b> not wanted") end
  if ctx.sender:find "later" then return ctx:tempfail("come back") end
end
require("moonmilter.store").open("seen"):set("a", 1)
require("moonmilter.limit").new { name = "sent.a", rate = "9/h" }:take "ann"]],
}

--- options: workers, arguments (of the host), page (arguments of the page), unix (the page listens on a unix socket),
--- no_host (only the page, for a control socket on which nobody listens).
function page.start(options)
  options = options or {}
  local self = setmetatable({}, methods)
  local arguments = { "--history=500", "--history_redact=nothing" }
  if is_root then
    arguments[#arguments + 1] = "--user=daemon"
    arguments[#arguments + 1] = "--control_readers=games"
  end
  for _, argument in ipairs(options.arguments or {}) do arguments[#arguments + 1] = argument end
  self.directory = process.directory() -- outlives the host
  self.control = self.directory .. "/control.sock"
  arguments[#arguments + 1] = "--control=" .. self.control
  self.host = host.start { workers = options.workers or 0, scripts = options.scripts or page.SCRIPTS,
    arguments = arguments, life = options.life }
  self.host.control = self.control
  local ok, why = pcall(self.serve, self, options)
  if not ok then
    self:stop()
    error(why, 2)
  end
  return self
end

--- Starts the page itself.
function methods:serve(options)
  self.port = process.free_port()
  self.path = self.directory .. "/page.sock"
  local argv = { host.program(), "page", "--control", self.control, "--listen",
    options.unix and "unix:" .. self.path or ("inet:%d@127.0.0.1"):format(self.port) }
  if is_root then
    argv[#argv + 1] = "--user"
    argv[#argv + 1] = "games"
  end
  for _, argument in ipairs(options.page or {}) do argv[#argv + 1] = argument end
  self.child = process.start(argv, { output = self.directory .. "/output", remove = self.directory,
    life = options.life or 120 })
  assert(self.child:wait_text("moonmilter page: ready", 15))
end

function methods:stop()
  if self.child then self.child:stop() end
  if self.host then self.host:stop() end
end

function methods:url(path) return ("http://127.0.0.1:%d%s"):format(self.port, path) end

--- status, body, headers
function methods:get(path, options)
  local body = {}
  options = options or {}
  local _, status, headers = http.request { url = self:url(path), method = options.method, headers = options.headers,
    sink = ltn12.sink.table(body), redirect = false }
  return status, table.concat(body), headers or {}
end

--- The body once the condition holds for it: what the page shows is up to a second old.
function methods:wait(path, condition, seconds)
  local text
  local ok = host.try_until(seconds or 15, function()
    local status, body = self:get(path)
    text = body
    return condition(body, status)
  end)
  return ok and text or error(path .. " never shows it:\n" .. tostring(text):sub(1, 4000), 2)
end

--- One message; options: from, to, subject, helo, id, client. Returns the last reply.
function methods:mail(options)
  local mta = assert(self.host:connect())
  mta:greet()
  mta:helo(options.helo)
  local reply = mta:mail(options.from or "ann@one.example", options.id)
  if reply.kind == "continue" then reply = mta:rcpt(options.to or "eve@two.example") end
  if reply.kind == "continue" then
    mta:data()
    mta:header("Subject", options.subject or "hello")
    mta:header("From", "x@one.example")
    mta:eoh()
    mta:body()
    reply = mta:eom()
  else
    mta:abort()
  end
  mta:quit()
  return reply
end

page.is_root = is_root

return page
