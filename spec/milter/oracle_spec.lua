--- The oracle itself is tested: what spec/support/oracle.lua must refuse, since every other spec relies on it.
local fake_mta = require "spec.support.fake_mta"
local oracle = require "spec.support.oracle"

local packet, u32 = fake_mta.packet, fake_mta.u32

local function after(commands, offer)
  local o = oracle.new()
  offer = offer or {}
  o:to_filter(packet("O", u32(6) .. u32(offer.actions or 0x1ff) .. u32(offer.steps or 0x1fffff)))
  o:from_filter(packet("O", u32(6) .. u32(offer.took or 0xff) .. u32(offer.asked or 0x100400)))
  for letter in commands:gmatch "." do
    o:to_filter(packet(letter))
  end
  return o
end

local function verdict(o, bytes)
  return pcall(o.from_filter, o, bytes)
end

describe("the oracle accepts", function()
  for name, case in pairs {
    ["one answer to a command"] = { "M", packet "c" }, ["a reply with a text"] = { "R", packet("y", "550 5.1.1 no\0") },
    ["edits and the final reply"] = { "E", packet("h", "A\0 b\0") .. packet("b", "x\r") .. packet("b", "\n")
      .. packet("q", "r\0") .. packet "c" },
    ["progress at end of message"] = { "E", packet "p" .. packet "p" .. packet "a" },
    ["a skip of the body"] = { "B", packet "s" },
    ["nothing for an abort"] = { "MA", "" },
  } do
    it(name, function()
      local o = after(case[1])
      local ok, err = verdict(o, case[2])
      assert.is_true(ok, err)
      o:at_rest()
    end)
  end
end)

-- An answer after an abort may belong to the command that the abort gave up: they may have crossed on the way.
describe("after an abort the oracle", function()
  it("accepts progress of the next message when an answer was counted for a command that was given up", function()
    local o = after "RAMBE"
    local ok, err = verdict(o, packet "c" .. packet "c" .. packet "p" .. packet "c")
    assert.is_true(ok, err)
    o:at_rest()
  end)

  it("still reports a missing answer", function()
    assert.is_false(verdict(after "RAMBE", packet "c" .. packet "p"))
    local o = after "RAMBE"
    assert.is_true(verdict(o, packet "c" .. packet "c" .. packet "c"))
    assert.is_true(pcall(o.at_rest, o))
    o = after "RAMBE"
    assert.is_true(verdict(o, packet "c" .. packet "c"))
    assert.is_false(pcall(o.at_rest, o))
  end)
end)

describe("the oracle refuses", function()
  local bad = {
    ["a second answer"] = { "M", packet "c" .. packet "c" }, ["an answer to nothing"] = { "", packet "c" },
    ["an answer to an abort"] = { "A", packet "c" }, ["bytes after a bare reply"] = { "M", packet("c", "x") },
    ["a packet of length 0"] = { "M", "\0\0\0\0c" },
    ["an edit before end of message"] = { "M", packet("h", "A\0 b\0") },
    ["progress before end of message"] = { "R", packet "p" },
    ["edits before a refusal"] = { "E", packet("h", "A\0 b\0") .. packet "r" },
    ["skip elsewhere than in the body"] = { "L", packet "s" }, ["discard at connect"] = { "C", packet "d" },
    ["accept at unknown"] = { "U", packet "a" },
    ["an unknown letter"] = { "M", packet "z" },
    ["two groups of body packets"] = { "E", packet("b", "x") .. packet("q", "r\0") .. packet("b", "x") },
    ["a bare LF in the body"] = { "E", packet("b", "a\nb") }, ["a bare CR in the body"] = { "E", packet("b", "a\rb") },
    ["a body that ends in CR"] = { "E", packet("b", "a\r") .. packet "c" },
    ["a body packet too large"] = { "E", packet("b", ("x"):rep(65536)) },
    ["a header without its NUL"] = { "E", packet("h", "A\0 b") },
    ["a header of three strings"] = { "E", packet("h", "A\0 b\0c\0") },
    ["a header name with a colon"] = { "E", packet("h", "A:\0 b\0") },
    ["an empty header name"] = { "E", packet("h", "\0 b\0") },
    ["a header value without its space"] = { "E", packet("h", "A\0b\0") },
    ["CR in a value"] = { "E", packet("h", "A\0 b\r\n c\0") },
    ["an LF without a fold"] = { "E", packet("h", "A\0 b\nc\0") },
    ["an LF at the end"] = { "E", packet("h", "A\0 b\n\0") },
    ["a fold of blanks"] = { "E", packet("h", "A\0 b\n \n c\0") },
    ["index 0 of a change"] = { "E", packet("m", u32(0) .. "A\0 b\0") },
    ["a negative index"] = { "E", packet("i", u32(0x80000000) .. "A\0 b\0") },
    ["an address without brackets"] = { "E", packet("+", "a@b\0") },
    ["two addresses"] = { "E", packet("+", "<a@b>, <c@d>\0") }, ["a null recipient"] = { "E", packet("+", "<>\0") },
    ["CR in an address"] = { "E", packet("e", "<a\r@b>\0") },
    ["an unknown parameter"] = { "E", packet("2", "<a@b>\0FOO=1\0") },
    ["an empty quarantine reason"] = { "E", packet("q", "\0") },
    ["a reply without NUL"] = { "M", packet("y", "550 5.7.1 x") },
    ["a reply with two NULs"] = { "M", packet("y", "550 5.7.1 x\0y\0") },
    ["a reply of class 2"] = { "M", packet("y", "250 2.0.0 x\0") },
    ["a lone %"] = { "M", packet("y", "550 5.7.1 100% x\0") },
    ["a bare LF in a reply"] = { "M", packet("y", "550-5.7.1 a\n550 5.7.1 b\0") },
    ["two codes"] = { "M", packet("y", "550-5.7.1 a\r\n551 5.7.1 b\0") },
    ["a last line that goes on"] = { "M", packet("y", "550-5.7.1 a\0") },
    ["an enhanced code of another class"] = { "M", packet("y", "550 4.7.1 a\0") },
    ["a line too long"] = { "M", packet("y", "550 5.7.1 " .. ("x"):rep(981) .. "\0") },
    ["a code of two digits"] = { "M", packet("y", "55 x\0") },
  }
  for name, case in pairs(bad) do
    it(name, function()
      assert.is_false((verdict(after(case[1]), case[2])))
    end)
  end

  it("silence where an answer is due", function()
    assert.is_false((pcall(function() after("M"):at_rest() end)))
  end)
  it("an answer where silence was promised", function()
    assert.is_false((verdict(after("L", { asked = 0x100480 }), packet "c")))
  end)
  it("an action that was not negotiated", function()
    assert.is_false((verdict(after("E", { took = 0x10 }), packet("h", "A\0 b\0"))))
  end)
  it("skip that was not negotiated", function()
    assert.is_false((verdict(after("B", { asked = 0 }), packet "s")))
  end)
  for name, answer in pairs {
    ["a higher version"] = u32(7) .. u32(0) .. u32(0), ["a version of 0"] = u32(0) .. u32(0) .. u32(0),
    ["actions that were not offered"] = u32(6) .. u32(0x10) .. u32(0), ["steps that were not offered"] = u32(6)
      .. u32(0) .. u32(0x100),
    ["a list for end of message alone"] = u32(6) .. u32(0x100) .. u32(0) .. u32(5) .. "i\0",
    ["a list twice"] = u32(6) .. u32(0x100) .. u32(0) .. u32(1) .. "i\0" .. u32(1) .. "j\0",
    ["a list of 51"] = u32(6) .. u32(0x100) .. u32(0) .. u32(1) .. ("i "):rep(51) .. "\0",
    ["a list that was not offered"] = u32(6) .. u32(0) .. u32(0) .. u32(1) .. "i\0",
    ["a long name without braces"] = u32(6) .. u32(0x100) .. u32(0) .. u32(1) .. "daemon_name\0",
  } do
    it("an answer to the offer with " .. name, function()
      local o = oracle.new()
      o:to_filter(packet("O", u32(6) .. u32(0x101) .. u32(0x7f)))
      assert.is_false((verdict(o, packet("O", answer))))
    end)
  end
end)
