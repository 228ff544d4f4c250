-- The player of moonmilter_testing.h, with a filter of a few lines in place of a real one.
local player = require "moonmilter.testing.player"

local function u32(n)
  return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256, math.floor(n / 256) % 256, n % 256)
end

local function packet(letter, data)
  return u32(1 + #(data or "")) .. letter .. (data or "")
end

local LEADING_SPACE = 0x100000

--- A player, and `say`: a stage played against answers by letter of the command ("c" where there is none). The filter's
--- bytes arrive in pieces of `step`.
local function start(options)
  local p = player.open { kind = options.kind or "postfix", name = "mx.example", version = 6, actions = 0x1ff,
    steps = 0x1fffff, is_bare = options.is_bare, macros = options.macros }
  finally(function() p:close() end)
  local s = { player = p, log = "", told = "" }
  local function answer(bytes)
    local out, at = "", 1
    while at <= #bytes do
      local a, b, c, d = bytes:byte(at, at + 3)
      local size = ((a * 256 + b) * 256 + c) * 256 + d
      local letter, data = bytes:sub(at + 4, at + 4), bytes:sub(at + 5, at + 3 + size)
      at = at + 4 + size
      s.log = s.log .. (letter == "D" and "D" .. data:sub(1, 1) or letter) .. " "
      if letter == "O" then
        out = out .. packet("O", u32(6) .. u32(0x1ff) .. u32(options.steps or 0))
      elseif not ("DAQK"):find(letter, 1, true) then
        out = out .. ((options.answers or {})[letter] or packet "c")
      end
    end
    return out
  end
  function s.settle()
    local bytes = p:take()
    s.told = s.told .. bytes
    local out, step = answer(bytes), options.step or 1e6
    for at = 1, #out, step do
      assert(p:hear(out:sub(at, at + step - 1)))
    end
    return p:reply()
  end
  function s.say(stage, ...)
    p:play(stage, ...)
    return s.settle()
  end
  s.say "negotiate"
  p:connect { family = "inet", host = "client.example", address = "192.0.2.1", port = 4711 }
  s.settle()
  s.say("helo", "client.example")
  return s
end

local function message(s)
  s.say("mail", "<ann@example.org>", "SIZE=100\0")
  s.say("rcpt", "<bob@example.com>", "")
  s.say "data"
  s.say("header", "Subject", " hello")
  s.say "eoh"
  s.say("body", "one\ntwo")
  return s.say "eom"
end

local EDITS = packet("h", "X-Tag\0 yes\0") .. packet("m", u32(1) .. "Subject\0\0") .. packet("p")
  .. packet("+", "<eve@example.com>\0") .. packet("q", "why\0") .. packet("c")

describe("a played MTA", function()
  it("has the same result wherever the filter's bytes are cut", function()
    for _, kind in ipairs { "postfix", "sendmail" } do
      local told
      for _, step in ipairs { 1e6, 1, 3 } do
        local s = start { kind = kind, step = step, steps = LEADING_SPACE, answers = { E = EDITS } }
        local reply, more = message(s)
        assert.same({ "accept", 250, 1 }, { reply.verdict, reply.code, reply.progress })
        assert.same({ { "add_header", "X-Tag", "yes" }, { "delete_header", "Subject", 1 },
          { "add_recipient", "<eve@example.com>" }, { "quarantine", "why" } }, reply.edits)
        assert.is_true(more.ends_message)
        assert.same({ text = "X-Tag: yes\r\n\r\none\r\ntwo\r\n", sender = "<ann@example.org>", quarantined = "why",
          recipients = { "<bob@example.com>", "<eve@example.com>" } }, s.player:outcome())
        told = told or s.told
        assert.equal(told, s.told)
      end
    end
  end)

  it("sends exactly what each of the two MTAs sends", function()
    local s = start {}
    message(s)
    s.say "quit"
    assert.equal("O DC C DH H DM M DR R DT T DL L DN N DB B DE E A A Q ", s.log)
    s = start { kind = "sendmail" }
    message(s)
    s.say "quit"
    assert.equal("O DC C DH H DM M DR R T L N B DE E Q ", s.log)
    s = start { is_bare = true }
    message(s)
    assert.equal("O C H M R T L N B E ", s.log)
  end)

  it("ends a message when no recipient is left, and Sendmail's RSET comes with the next", function()
    local s = start { kind = "sendmail", answers = { R = packet("y", "550 5.1.1 100%% no\0") } }
    s.say("mail", "<ann@example.org>", "")
    local reply, more = s.say("rcpt", "<bob@example.com>", "")
    assert.same({ "reject", "550 5.1.1 100% no", false }, { reply.verdict, reply.smtp, more.ends_message })
    reply, more = s.say "no_recipients"
    assert.same({ "reject", "550 5.1.1 100% no", true }, { reply.verdict, reply.smtp, more.ends_message })
    assert.matches("DR R $", s.log)
    s.say("mail", "<ann@example.org>", "")
    assert.matches("DR R A DM M $", s.log)
  end)

  it("sends nothing more to a filter that has accepted the client", function()
    local s = start { answers = { C = packet "a" } }
    local reply = message(s)
    assert.same({ "accept", "250 2.0.0 Ok" }, { reply.verdict, reply.smtp })
    assert.equal("Subject: hello\r\n\r\none\r\ntwo\r\n", s.player:outcome().text)
    s.say "quit"
    assert.equal("O DC C ", s.log)
  end)

  it("takes a superfluous reply for the next command's, and complains at the end at the latest", function()
    local s = start { answers = { H = packet "c" .. packet "t" } }
    local reply = s.say("mail", "<ann@example.org>", "")
    assert.same({ "tempfail", "451 4.7.1 Service unavailable - try again later" }, { reply.verdict, reply.smtp })
    local _, more = s.say "quit"
    assert.matches("a reply without a command", more.complaint)
  end)

  it("accepts what only one of the MTAs would accept, and fails where none could go on", function()
    local s = start { answers = { M = packet "s", R = packet "?" } }
    local _, more = s.say("mail", "<ann@example.org>", "")
    assert.matches("SKIP: may not answer mail", more.complaint)
    s.player:play("rcpt", "<bob@example.com>", "")
    local ok, why = s.player:hear(packet "?")
    assert.is_nil(ok)
    assert.matches("in answer to rcpt: reply '%?'", why)
  end)

  it("sends macros set by the test, and omits those set to false", function()
    local s = start { macros = { tag = "mine", mail_host = false } }
    s.say("mail", "<ann@example.org>", "")
    assert.matches("{tag}%zmine%z", s.told)
    assert.matches("{mail_addr}%zann@example.org%z", s.told)
    assert.falsy(s.told:find("{mail_host}", 1, true))
  end)
end)
