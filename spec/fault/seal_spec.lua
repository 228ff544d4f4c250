-- seal/ when memory runs out, in the host and in libcrypto: spec/fault/seal_allocation.c.
local process = require "spec.support.process"
local seal = require "moonmilter.seal"

local build = (os.getenv "MOONMILTER" or "build/moonmilter"):match "^(.*)/moonmilter$"
local sanitized = build:find("asan", 1, true) ~= nil

describe("seal, when the n-th allocation fails", function()
  local directory
  setup(function()
    directory = process.directory()
    local wraps = ""
    for _, name in ipairs { "malloc", "calloc", "strndup", "free" } do
      wraps = wraps .. " -Wl,--wrap=" .. name
    end
    local text = process.run(("cc -std=c11 -D_GNU_SOURCE -O1 -g %s %s -Ihost -o %s/seal_allocation "
      .. "spec/fault/seal_allocation.c %s -lcrypto"):format(sanitized and "-fsanitize=address,undefined" or "", wraps,
      directory, ("B/canon.o B/der.o B/digest.o B/keypair.o B/method.o"):gsub("B", build .. "/obj/seal")))
    assert.equal("", text)
  end)
  teardown(function() process.run("rm -rf " .. directory) end)

  for _, kind in ipairs { "rsa", "ed25519" } do
    it("does without, or says so, and loses nothing: " .. kind, function()
      process.write_file(directory .. "/key.pem", seal.new_key(kind))
      local text = process.run(("env -u LD_PRELOAD %s/seal_allocation %s/key.pem 2>&1"):format(directory, directory))
      local rounds = text:match "^(%d+) rounds, 0 wrong, 0 lost\n$"
      assert.is_true(rounds ~= nil and tonumber(rounds) > 20, text)
    end)
  end
end)
