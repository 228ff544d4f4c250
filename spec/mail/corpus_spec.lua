package.path = "spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
local portrait = require "portrait"
local generate = require "generate"
local hand = require "hand"

describe("the corpus", function()
  local generated = generate.all()

  it("has at least 300 messages, the same in every run", function()
    assert.is_true(#hand + #generated >= 300)
    local again = generate.all()
    for i, case in ipairs(generated) do
      assert.equal(case.message, again[i].message)
    end
  end)

  for _, case in ipairs(hand) do
    it("reads " .. case.name .. ": " .. case.source, function()
      local message = portrait.read_file("spec/mail/corpus/hand/" .. case.name .. ".eml")
      assert.equal(case.expect, portrait.message(message))
    end)
  end

  it("reads every generated message as intended", function()
    for _, case in ipairs(generated) do
      assert.equal(case.name .. "\n" .. case.expect, case.name .. "\n" .. portrait.message(case.message))
    end
  end)

  it("finds the same parts at the same offsets however the message is cut into chunks", function()
    local all = {}
    for _, case in ipairs(hand) do
      all[#all + 1] = portrait.read_file("spec/mail/corpus/hand/" .. case.name .. ".eml")
    end
    for _, case in ipairs(generated) do
      all[#all + 1] = case.message
    end
    for i, message in ipairs(all) do
      local whole = portrait.streamed(message, #message + 1)
      for _, size in ipairs { 1, 2, 3, 7, 64 + i % 50 } do
        assert.equal(whole, portrait.streamed(message, size))
      end
    end
  end)
end)
