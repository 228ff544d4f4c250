--- An MTA at one milter connection, played by the library: what Postfix or Sendmail sends stage by stage, and what it
--- makes of the answers (moonmilter_testing.h). Independent of the filter: the caller carries the bytes in both
--- directions.
local ffi = require "ffi"
local blame = require "moonmilter.testing.blame"
local library = require "moonmilter.testing.library"

local player = {}

player.ALL_ACTIONS, player.ALL_STEPS = 0x1ff, 0x1fffff

local Player = {}
Player.__index = Player

-- "tag" in a test, "{tag}" on the wire
local function on_the_wire(name)
  return #name == 1 and name or "{" .. (name:match "^{(.*)}$" or name) .. "}"
end

-- The rows of macros that the test sets, and the strings they point to.
local function macro_rows(macros)
  local names, kept = {}, {}
  for name in pairs(macros) do
    names[#names + 1] = name
  end
  table.sort(names)
  local rows = ffi.new("struct moonmilter_test_player_macro[?]", #names + 1)
  for i, name in ipairs(names) do
    local row = { name = on_the_wire(name), value = macros[name] and tostring(macros[name]) or nil }
    kept[i] = row
    rows[i - 1].name, rows[i - 1].value = row.name, row.value
  end
  return rows, kept
end

--- options: kind, name, version, actions, steps, macros { name = value, or false: the MTA does not know it }, is_bare.
function player.open(options)
  local rows, kept = macro_rows(options.macros or {})
  local err, profile = library.new_error(), ffi.new "struct moonmilter_test_player_profile"
  profile.kind, profile.name = options.kind, options.name
  profile.version, profile.actions, profile.steps = options.version, options.actions, options.steps
  profile.macros, profile.is_bare = rows, options.is_bare or false
  local pointer = library.player_open(profile, err)
  if pointer == nil then
    blame.raise(library.text(err))
  end
  return setmetatable({ pointer = pointer, anchors = { options, rows, kept } }, Player)
end

function Player:close()
  library.player_close(self.pointer)
  self.pointer = nil
end

local CLIENT = { "family", "host", "address", "port", "auth_user", "tls_version", "cipher", "cipher_bits",
  "cert_subject", "cert_issuer" }

--- client: has the keys of CLIENT.
function Player:connect(client)
  local c = ffi.new "struct moonmilter_test_player_client"
  for _, name in ipairs(CLIENT) do
    if client[name] then
      c[name] = client[name]
    end
  end
  self.anchors.client = client
  library.player_connect(self.pointer, c)
end

--- Another stage, by its name in moonmilter_testing.h, with strings where it takes any.
function Player:play(stage, first, second)
  local fn = library["player_" .. stage]
  if second then
    fn(self.pointer, first, #first, second, #second)
  elseif first then
    fn(self.pointer, first, #first)
  else
    fn(self.pointer)
  end
end

--- Takes the bytes for the filter.
function Player:take()
  local size = ffi.new "size_t[1]"
  local bytes = library.player_output(self.pointer, size)
  local taken = size[0] > 0 and ffi.string(bytes, size[0]) or ""
  library.player_consume(self.pointer, size[0])
  return taken
end

--- Bytes from the filter, a string or a pointer and a size. nil and the error when no MTA could go on.
function Player:hear(bytes, size)
  if library.player_hear(self.pointer, bytes, size or #bytes) then
    return true
  end
  return nil, ffi.string(library.player_error(self.pointer).text)
end

--- For a bare player, whose caller has written such a command itself.
function Player:await(command)
  library.player_await(self.pointer, command:byte())
end

--- Version, actions and steps that the filter has agreed to.
function Player:agreed()
  local n = ffi.new "unsigned[3]"
  library.player_agreed(self.pointer, n, n + 1, n + 2)
  return n[0], n[1], n[2]
end

function Player:is_waiting()
  return library.player_is_waiting(self.pointer)
end

local function text_of(pointer, size)
  return pointer ~= nil and ffi.string(pointer, size) or nil
end

-- An edit as a script would write it: its name, then the arguments.
local function edit_of(self, i)
  local e = ffi.new "struct moonmilter_test_player_edit"
  library.player_edit(self.pointer, i, e)
  local name, first, second = ffi.string(e.name), text_of(e.first, e.first_size), text_of(e.second, e.second_size)
  if name == "insert_header" then
    return { name, e.index, first, second }
  elseif name == "delete_header" then
    return { name, first, e.index }
  elseif name == "change_header" then
    return { name, first, e.index, second }
  end
  return { name, first, second }
end

--- The outcome of the stage, with smtp: the whole reply to the SMTP client, lines separated by CRLF.
function Player:reply()
  local r = library.player_reply(self.pointer)
  local reply = {
    stage = ffi.string(r.stage), verdict = ffi.string(r.verdict), edits = {}, progress = r.progress,
    code = r.code > 0 and r.code or nil, smtp = text_of(r.text, r.text_size),
  }
  for i = 1, r.edit_count do
    reply.edits[i] = edit_of(self, i - 1)
  end
  return reply, { complaint = r.complaint ~= nil and ffi.string(r.complaint) or nil,
    ends_message = r.ends_message, ends_session = r.ends_session }
end

--- The message's outcome: sender, recipients, quarantined (the reason), text.
function Player:outcome()
  local size = ffi.new "size_t[1]"
  local function text(fn, ...)
    local bytes = fn(self.pointer, ...)
    return bytes ~= nil and ffi.string(bytes, size[0]) or nil
  end
  local outcome = { text = text(library.player_message, size), sender = text(library.player_sender, size),
    quarantined = text(library.player_quarantine, size), recipients = {} }
  repeat
    local address = text(library.player_recipient, #outcome.recipients, size)
    outcome.recipients[#outcome.recipients + 1] = address
  until not address
  return outcome
end

return player
