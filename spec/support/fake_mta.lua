--- An MTA in process: bytes to the library and back, no socket. The specs of the engine and the script API are based on
--- it.
--
--   local mta = fake_mta.start { script = [[ function on_rcpt(ctx, r) … end ]] }
--   mta:connect(); mta:helo(); mta:mail "<a@b>"
--   assert.equal("reject", mta:rcpt("<bob@x>").kind)
--
-- The bare player of moonmilter.testing makes the bytes and reads the replies: it sends no macros and draws no
-- consequences, so that a spec sends every packet itself, or feeds its own bytes.
-- Every byte from the filter passes spec/support/oracle.lua, which raises when an MTA would not accept it. Every stage
-- function returns the reply: kind ("continue", "reject", … or "none" when the step needs no answer or was switched
-- off), letter, text (of a reply code), edits (end of message only) and `raw`.
local ffi = require "ffi"
local oracle = require "spec.support.oracle"
local library = require "moonmilter.testing.library"
local player = require "moonmilter.testing.player"
local testlib = require "spec.support.testlib"

local fake_mta = {}

local lib = testlib.load "moonmilter.h"

local ALL_ACTIONS, ALL_STEPS = player.ALL_ACTIONS, player.ALL_STEPS
fake_mta.ALL_ACTIONS, fake_mta.ALL_STEPS = ALL_ACTIONS, ALL_STEPS

local function u32(n)
  return string.char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255),
    bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

local function read_u32(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

function fake_mta.packet(letter, data)
  return u32(#(data or "") + 1) .. letter .. (data or "")
end

fake_mta.u32 = u32

-- ---- the library ----

local function temporary(text, name)
  local directory = os.tmpname()
  os.remove(directory)
  assert(os.execute("mkdir -p " .. directory) == 0)
  local path = directory .. "/" .. (name or "script.lua")
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path, directory
end

local Host = {}
Host.__index = Host

--- A host without sockets. options: script (source),
--- paths (list of files and directories), files (sources by name, in one directory), set (list of key=value).
--- Returns nil and the error when the scripts do not load.
function fake_mta.host(options)
  local self = setmetatable({ directories = {}, sessions = 0 }, Host)
  local paths = {}
  if options.script then
    local path, directory = temporary(options.script)
    paths[1], self.directories[1] = path, directory
  end
  if options.files then -- name -> source, in one directory
    local _, directory = temporary("", ".keep")
    self.directories[#self.directories + 1] = directory
    for name, source in pairs(options.files) do
      local sub = name:match "^(.*)/[^/]+$"
      if sub then
        assert(os.execute(("mkdir -p %s/%s"):format(directory, sub)) == 0)
      end
      local file = assert(io.open(directory .. "/" .. name, "wb"))
      file:write(source)
      file:close()
    end
    paths[#paths + 1] = directory
    self.directory = directory
  end
  for _, path in ipairs(options.paths or {}) do
    paths[#paths + 1] = path
  end
  self.log_path = os.tmpname()
  local set = { "log=" .. self.log_path }
  for _, pair in ipairs(options.set or {}) do
    set[#set + 1] = pair
  end
  local o = ffi.new "struct mm_host_options"
  local err = ffi.new "struct mm_error"
  self.anchors = { library.strings(paths), library.strings(set), paths, set }
  o.size = ffi.sizeof(o)
  o.scripts, o.set = self.anchors[1], self.anchors[2]
  o.no_sockets = true
  self.host = lib.mm_host_new(o, err)
  if self.host == nil then
    local text = ffi.string(err.text)
    self:close()
    return nil, text
  end
  if not lib.mm_host_start(self.host, err) then
    local text = ffi.string(err.text)
    self:close()
    return nil, text
  end
  return self
end

function Host:turn(seconds)
  lib.mm_host_turn(self.host, seconds or 0)
end

function Host:log()
  local file = assert(io.open(self.log_path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- Lines of the log whose event is `event`.
function Host:log_lines(event)
  local found = {}
  for line in self:log():gmatch "[^\n]+" do
    if line:match("^%S+ %S+ (%S+)") == event then
      found[#found + 1] = line
    end
  end
  return found
end

function Host:write(name, source)
  local file = assert(io.open(self.directory .. "/" .. name, "wb"))
  file:write(source)
  file:close()
end

--- Reloads and turns the loop until it is done. Returns the generation that serves.
function Host:reload()
  lib.mm_host_reload(self.host, nil, nil)
  for _ = 1, 20 do
    self:turn(0)
  end
  return tonumber(lib.mm_host_generation(self.host))
end

function Host:close()
  if self.host ~= nil then
    lib.mm_host_free(self.host)
    self.host = nil
  end
  if self.log_path then
    os.remove(self.log_path)
  end
  for _, directory in ipairs(self.directories) do
    os.execute("rm -rf " .. directory)
  end
  self.directories = {}
end

-- ---- one milter connection ----

local MTA = {}
MTA.__index = MTA

local function open_player(self)
  local o = self.offer
  if self.player then
    self.player:close()
  end
  self.player = player.open { kind = "postfix", name = "mx.example", is_bare = true, version = o.version or 6,
    actions = o.actions or ALL_ACTIONS, steps = o.steps or ALL_STEPS }
end

--- options as fake_mta.host, and: host (share one), offer = { version, actions, steps, more }, split = bytes per feed,
--- negotiates = false to send nothing yet.
function fake_mta.start(options)
  if type(options) == "string" then
    options = { script = options }
  end
  local host = options.host
  if not host then
    local err
    host, err = fake_mta.host(options)
    if not host then
      error(err, 2)
    end
  end
  local self = setmetatable({
    owner = host, owns = not options.host, input = "", split = options.split, oracle = oracle.new(),
    said = {}, -- all bytes from the filter, in pieces
    told = {}, -- all bytes fed, in pieces
  }, MTA)
  local err = ffi.new "struct mm_error"
  self.session = lib.mm_feed_open(host.host, options.milter, err)
  if self.session == nil then
    error(ffi.string(err.text), 2)
  end
  self.offer = options.offer or {}
  open_player(self)
  if options.negotiates ~= false then
    self:negotiate()
  end
  return self
end

local function pull(self)
  local size = ffi.new "size_t[1]"
  local bytes = lib.mm_feed_output(self.session, size)
  if size[0] > 0 then
    local said = ffi.string(bytes, size[0])
    self.input = self.input .. said
    self.said[#self.said + 1] = said
    lib.mm_feed_consume(self.session, size[0])
    self.oracle:from_filter(said)
  end
  if self:is_finished() then
    self.oracle:hung_up()
  elseif not self:is_waiting() then
    self.oracle:at_rest()
  end
end

--- Feeds bytes, in pieces of `split` when set. Returns true, or nil and the error.
function MTA:feed(bytes)
  local err = ffi.new "struct mm_error"
  local step = math.max(self.split or #bytes, 1)
  self.told[#self.told + 1] = bytes
  for at = 1, #bytes, step do
    local piece = bytes:sub(at, at + step - 1)
    self.oracle:to_filter(piece)
    local ok = lib.mm_feed_bytes(self.session, piece, #piece, err)
    self.fault = not ok and ffi.string(err.text) or nil
    pull(self)
    if not ok then
      return nil, self.fault
    end
  end
  return true
end

--- The next packet of the filter, or nil when none comes within `seconds` (default 5) of turning the loop.
function MTA:receive(seconds)
  local deadline = os.time() + (seconds or 5) + 1
  while true do
    pull(self)
    if #self.input >= 5 then
      local length = read_u32(self.input, 1)
      if #self.input >= 4 + length then
        local letter, data = self.input:sub(5, 5), self.input:sub(6, 4 + length)
        self.input = self.input:sub(5 + length)
        return letter, data
      end
    end
    if self:is_finished() or not self:is_waiting() or os.time() >= deadline then
      return nil
    end
    self.owner:turn(0.05)
  end
end

function MTA:is_waiting()
  return lib.mm_feed_is_waiting(self.session)
end

function MTA:is_finished()
  return lib.mm_feed_is_finished(self.session)
end

--- The filter's unread packets, as a list of { letter, data }.
function MTA:output()
  local list = {}
  while true do
    local letter, data = self:receive(0)
    if not letter then
      return list
    end
    list[#list + 1] = { letter, data }
  end
end

--- Turns the loop until nothing waits, at most `seconds`.
function MTA:settle(seconds)
  local deadline = os.time() + (seconds or 5) + 1
  while self:is_waiting() and os.time() < deadline do
    self.owner:turn(0.05)
  end
end

-- In the packet's order: index first, a deletion is a change to an empty value.
local function edit_of(edit)
  if edit[1] == "change_header" or edit[1] == "delete_header" then
    return { "change_header", edit[3], edit[2], edit[4] or "" }
  end
  return edit
end

--- Reads up to the final reply, kind "none" when the filter sent nothing. command: of a packet that was fed by hand.
function MTA:reply(command)
  local raw, letter, data = {}, nil, nil
  if not self.player:is_waiting() then
    self.player:await(command or "E")
  end
  while self.player:is_waiting() do
    letter, data = self:receive()
    if not letter then
      break
    end
    raw[#raw + 1] = letter
    assert(self.player:hear(fake_mta.packet(letter, data)))
  end
  local reply = self.player:reply()
  for i, edit in ipairs(reply.edits) do
    reply.edits[i] = edit_of(edit)
  end
  return { kind = reply.verdict, letter = letter, text = letter == "y" and data:sub(1, -2) or nil, edits = reply.edits,
    raw = raw, progress = reply.progress }
end

-- Sends a packet to the filter, and reads its reply where one is due.
local function exchange(self, bytes, is_due)
  if bytes ~= "" and not self:feed(bytes) then
    return { kind = "fault", text = self.fault, edits = {}, raw = {} }
  elseif bytes == "" or not is_due then
    return { kind = "none", edits = {}, raw = {} }
  end
  return self:reply()
end

-- A stage; the reply, or kind "none" when the filter negotiated not to receive it or not to answer.
local function play(self, stage, first, second)
  self.player:play(stage, first, second)
  return exchange(self, self.player:take(), self.player:is_waiting())
end

--- A command with the spec's own payload.
function MTA:command(letter, data)
  self.player:await(letter)
  return exchange(self, fake_mta.packet(letter, data), true)
end

function MTA:negotiate()
  local o = self.offer
  open_player(self)
  self:feed(fake_mta.packet("O", u32(o.version or 6) .. u32(o.actions or ALL_ACTIONS) .. u32(o.steps or ALL_STEPS)
    .. (o.more or "")))
  local letter, data = self:receive()
  self.answer = letter == "O" and data or nil
  if self.answer then
    self.player:await "O"
    assert(self.player:hear(fake_mta.packet(letter, data)))
    self.version, self.actions, self.steps = self.player:agreed()
    self.lists = {}
    local at = 13
    while at + 4 <= #data do
      local text = data:match("^([^%z]*)%z", at + 4)
      self.lists[read_u32(data, at)] = text
      at = at + 4 + #text + 1
    end
  end
  return self.answer ~= nil
end

function MTA:macros(letter, macros)
  local parts = { letter }
  for _, pair in ipairs(macros) do
    parts[#parts + 1] = pair[1] .. "\0" .. pair[2] .. "\0"
  end
  return self:feed(fake_mta.packet("D", table.concat(parts)))
end

--- The macros with which Postfix or Sendmail introduces itself.
function MTA:introduce(kind)
  if kind == "postfix" then
    return self:macros("C", { { "j", "mx.example" }, { "v", "Postfix 3.7.11" }, { "{daemon_name}", "smtpd" } })
  end
  return self:macros("C", { { "j", "mx.example" }, { "{daemon_name}", "MTA" }, { "{if_name}", "mx.example" },
    { "v", "8.17.1.9" } }) -- v: as asked for by scripts to which it matters
end

function MTA:connect(host, ip, port)
  ip = ip or "192.0.2.1"
  local family = ip == "unknown" and ip or ip:find(":", 1, true) and "inet6" or ip:sub(1, 1) == "/" and "unix" or "inet"
  self.player:connect { family = family, host = host or "client.example", address = ip, port = port or 12345 }
  return exchange(self, self.player:take(), self.player:is_waiting())
end

function MTA:helo(name)
  return play(self, "helo", name or "client.example")
end

local function params(...)
  return select("#", ...) > 0 and table.concat({ ... }, "\0") .. "\0" or ""
end

function MTA:mail(address, ...)
  return play(self, "mail", address or "<sender@example.org>", params(...))
end

function MTA:rcpt(address, ...)
  return play(self, "rcpt", address or "<recipient@example.com>", params(...))
end

function MTA:data()
  return play(self, "data")
end

--- The value as it is after "Name: ".
function MTA:header(name, value)
  return play(self, "header", name, " " .. value)
end

function MTA:eoh()
  return play(self, "eoh")
end

function MTA:body(chunk)
  return play(self, "body", chunk)
end

function MTA:eom(chunk)
  return chunk and self:command("E", chunk) or play(self, "eom")
end

function MTA:unknown(line)
  return play(self, "unknown", line)
end

function MTA:abort()
  return self:feed(fake_mta.packet "A")
end

function MTA:quit()
  return self:feed(fake_mta.packet "Q")
end

--- connect and helo.
function MTA:begin()
  self:connect()
  return self:helo()
end

--- A whole message; options: from, to (list), headers (list of pairs), body. Returns the reply that ended it.
function MTA:message(options)
  options = options or {}
  local reply = self:mail(options.from)
  if reply.kind ~= "continue" and reply.kind ~= "none" then
    return reply
  end
  for _, to in ipairs(options.to or { "<recipient@example.com>" }) do
    reply = self:rcpt(to)
    if reply.kind == "accept" or reply.kind == "discard" then
      return reply
    end
  end
  local function goes_on(r)
    reply = r
    return r.kind == "continue" or r.kind == "none" or r.kind == "skip"
  end
  if not goes_on(self:data()) then
    return reply
  end
  for _, pair in ipairs(options.headers or { { "Subject", "hello" }, { "From", "<sender@example.org>" } }) do
    if not goes_on(self:header(pair[1], pair[2])) then
      return reply
    end
  end
  if not goes_on(self:eoh()) then
    return reply
  end
  local body = options.body or "hello\r\n"
  for at = 1, #body, 65535 do
    if not goes_on(self:body(body:sub(at, at + 65534))) then
      return reply
    end
    if reply.kind == "skip" then
      break
    end
  end
  return self:eom()
end

--- The MTA goes away without a notice.
function MTA:vanish()
  lib.mm_feed_hang_up(self.session)
end

function MTA:log_lines(event)
  return self.owner:log_lines(event)
end

function MTA:close()
  if self.session ~= nil then
    lib.mm_feed_close(self.session)
    self.session = nil
    self.player:close()
  end
  if self.owns then
    self.owner:close()
  end
end

-- Calls into the library run Lua in another state: keep them out of traces.
for _, fn in ipairs { fake_mta.host, Host.turn, Host.reload, Host.close, fake_mta.start, pull, MTA.feed, MTA.receive,
  MTA.vanish, MTA.close, MTA.settle } do
  jit.off(fn, true)
end

return fake_mta
