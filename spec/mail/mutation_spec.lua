package.path = "spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
local address = require "moonmilter.address"
local authres = require "moonmilter.authres"
local body = require "moonmilter.body"
local codec = require "moonmilter.codec"
local datetime = require "moonmilter.datetime"
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
local portrait = require "portrait"
local generate = require "generate"
local hand = require "hand"

-- Messages of the corpus with bytes changed at random. No call may raise, and every result must be valid.
-- MOONMILTER_FUZZ=N: N rounds instead of the few of a normal run, with another seed.
local ROUNDS = tonumber(os.getenv "MOONMILTER_FUZZ") or 3

local seeds = {}
for _, case in ipairs(hand) do
  seeds[#seeds + 1] = portrait.read_file("spec/mail/corpus/hand/" .. case.name .. ".eml")
end
for _, case in ipairs(generate.all()) do
  seeds[#seeds + 1] = case.message
end

local interesting = { "\0", "\r", "\n", "\r\n", " ", "\"", "(", ")", "<", ">", "@", ",", ";", ":", "=", "=?", "?=",
  "--", "--b", "\255", "\195", "\\", "*", "%", "." }

local function mutate(text)
  for _ = 1, math.random(1, 6) do
    local at = math.random(1, #text)
    local choice = math.random(5)
    if choice == 1 then
      text = text:sub(1, at - 1) .. text:sub(at + math.random(1, 9))
    elseif choice == 2 then
      text = text:sub(1, at) .. interesting[math.random(#interesting)] .. text:sub(at + 1)
    elseif choice == 3 then
      text = text:sub(1, at - 1) .. string.char(math.random(0, 255)) .. text:sub(at + 1)
    elseif choice == 4 then
      local from = math.random(1, #text)
      text = text:sub(1, at) .. text:sub(from, from + math.random(1, 40)) .. text:sub(at + 1)
    else
      text = text:sub(1, at)
    end
    if text == "" then
      text = "x"
    end
  end
  return text
end

local function each(check)
  for _ = 1, ROUNDS do
    for _, seed in ipairs(seeds) do
      check(mutate(seed))
    end
  end
end

describe("mutated mail", function()
  before_each(function() math.randomseed(os.getenv "MOONMILTER_FUZZ" and os.time() or 7) end)

  it("goes through every header parser", function()
    each(function(message)
      for _, field in ipairs((header.block(message))) do
        local text = field:text()
        assert.is_true((codec.is_utf8(text)), "text() is not UTF-8")
        assert.is_nil(text:find("[%z\r\n]"))
        for _, mode in ipairs { "lenient", "strict" } do
          local list, why, position = address.mailboxes(field.value, { mode = mode })
          if list then
            for _, m in ipairs(list) do -- what was read can be written and read again
              local again = assert(address.parse(address.format { local_part = m.local_part, domain = m.domain }))
              assert.same({ m.local_part, m.domain }, { again.local_part, again.domain })
              assert.is_nil(m.address:find("[%z\r\n]"))
            end
          else
            assert.is_string(why)
            assert.is_true(position >= 1 and position <= #field.value + 1)
          end
        end
        address.path(field.value)
        datetime.parse(field.value)
        for _, name in ipairs { "Content-Type", "Content-Disposition", "Date", "Message-ID", "References",
          "List-Post", "List-Id", "Received", "Authentication-Results", "To" } do
          local parsed = header.parse(name, field.value)
          if parsed then
            assert.equal(field.value, header.format(name, parsed))
          end
        end
        authres.claims(field.value, "mx.example")
      end
    end)
  end)

  it("is walked alike in chunks of any size", function()
    each(function(message)
      local whole = portrait.streamed(message, #message)
      assert.equal(whole, portrait.streamed(message, math.random(1, 50)))
      assert.is_true(mime.parse(message) ~= nil or whole:sub(1, 1) == "!")
    end)
  end)

  it("is rewritten without changing other parts", function()
    each(function(message)
      local block, after = header.block(message)
      local b = body.new { headers = block, max_memory = math.random(1, 2000) }
      b:feed(message:sub(after))
      b:finish()
      local parts = b:parts()
      if parts then
        local edit = b:edit()
        assert.equal(message:sub(after), edit:string())
        edit:footer { text = "Fuß" }
        edit:remove(parts[math.random(#parts)], "gone")
        edit:string()
        for _, part in ipairs(parts) do
          assert.is_true((codec.is_utf8(part:text())))
        end
      end
      b:close()
    end)
  end)
end)
