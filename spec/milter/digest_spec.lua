-- What events look like: the same message has the same digests however often it comes, another has others.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "milter/digest.h"

local LETTERS = { connect = "C", helo = "H", mail = "M", rcpt = "R", data = "T", header = "L", eoh = "N", body = "B",
  eom = "E", unknown = "U" }
local STAGE = {}
for i, name in ipairs { "negotiate", "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom",
  "unknown", "abort", "done", "close" } do STAGE[name] = i - 1 end

local kept = {} -- texts that C still reads
local function text(s)
  kept[#kept + 1] = s
  return { bytes = s, size = #s }
end

-- Plays commands: { "mail", "<a@b>" } and so on. Returns the digest of each event.
local function digests(commands, seed)
  local pool = ffi.new "struct mm_message *[1]"
  local session = ffi.new("struct mm_session", { seed = seed or 12345 })
  local list = {}
  for _, c in ipairs(commands) do
    local command = ffi.new("struct mm_command", { row = lib.mm_command_row(LETTERS[c[1]]:byte()),
      text = text(c[2] or ""), value = text(c[3] or ""), strings = text(c[4] or "") })
    if c[1] == "connect" then
      command.family = 2 -- inet
      assert(lib.mm_session_set_client(session, command))
    elseif c[1] == "mail" then
      assert(lib.mm_session_begin_message(session, pool))
      assert(lib.mm_message_set_sender(session.message, command.text, command.strings))
    end
    lib.mm_digest_note(session, command)
    list[#list + 1] = lib.mm_digest_of_event(session, STAGE[c[1]])
  end
  lib.mm_session_clear(session, pool)
  lib.mm_message_pool_free(pool)
  return list
end

local function message(changes)
  local m = { client = "192.0.2.1", sender = "<ann@one.example>", params = "SIZE=100\0", rcpt = "<bob@two.example>",
    received = "by a", id = "<1@one.example>", body = ("text\r\n"):rep(200) }
  for key, value in pairs(changes or {}) do m[key] = value end
  return { { "connect", "c.example", m.client }, { "helo", "c.example" }, { "mail", m.sender, "", m.params },
    { "rcpt", m.rcpt }, { "data" }, { "header", "Received", m.received }, { "header", "Message-Id", m.id },
    { "eoh" }, { "body", m.body }, { "eom" } }
end

local NAMES = { "connect", "helo", "mail", "rcpt", "data", "received", "header", "eoh", "body", "eom" }

-- The events whose digests differ between two messages, as one text.
local function differing(changes, before)
  local a, b = digests(message(before)), digests(message(changes))
  local list = {}
  for i, name in ipairs(NAMES) do if a[i] ~= b[i] then list[#list + 1] = name end end
  return table.concat(list, " ")
end

describe("the digest of an event", function()
  it("is the same when the same message comes again", function()
    assert.equal("", differing {})
  end)

  it("differs by what the event itself says, and by what came before it", function()
    assert.equal("header eoh body eom", differing { id = "<2@one.example>" })
    assert.equal("body eom", differing { body = ("text\r\n"):rep(201) })
    assert.equal("body eom", differing { body = ("text\r\n"):rep(199) .. "Text\r\n" })
    assert.equal("rcpt data", differing { rcpt = "<eve@two.example>" })
  end)

  it("knows a message's content again along another way, from another client and sender", function()
    assert.equal("received", differing { received = "by b" })
    assert.equal("connect helo mail rcpt data", differing { client = "192.0.2.2" })
    assert.equal("mail rcpt data received header", differing { sender = "<eve@one.example>" })
    assert.equal("mail rcpt data", differing { params = "SIZE=120\0" })
  end)

  it("differs for each event, client and seed, and is never 0", function()
    local seen, count = {}, 0
    for i = 1, 200 do
      local commands = { { "connect", "c" .. i, "192.0.2." .. i }, { "helo", "h" }, { "mail", "<a@b>" } }
      for n, digest in ipairs(digests(commands)) do
        local key = tostring(digest)
        assert.is_nil(seen[key], NAMES[n])
        assert.is_true(digest ~= 0)
        seen[key], count = true, count + 1
      end
    end
    assert.equal(600, count)
    assert.are_not.equal(digests(message(), 1)[10], digests(message(), 2)[10])
  end)

  it("is weak for what all messages of a client share", function()
    for i, digest in ipairs(digests(message())) do
      assert.equal(i <= 2 and 1 or 0, tonumber(digest % 2), NAMES[i])
    end
  end)

  it("falls back on sender and envelope when scripts ask for neither fields nor body", function()
    local function last(sender, rcpt, body)
      local commands = { { "mail", sender, "", "" }, { "rcpt", rcpt } }
      if body then commands[#commands + 1] = { "body", body } end
      commands[#commands + 1] = { "eom" }
      local list = digests(commands)
      return list[#list]
    end
    assert.are_not.equal(last("<a@b>", "<c@d>"), last("<e@b>", "<c@d>"))
    assert.are_not.equal(last("<a@b>", "<c@d>"), last("<a@b>", "<f@d>"))
    assert.are_not.equal(last("<a@b>", "<c@d>", "x"), last("<e@b>", "<c@d>", "x"))
    assert.equal(last("<a@b>", "<c@d>", "x"), last("<a@b>", "<f@d>", "x"))
  end)

  it("costs nothing when nobody compares", function()
    for _, digest in ipairs(digests(message(), 0)) do assert.is_true(digest == 0) end
  end)
end)
