-- A short soak: flat memory and descriptors under mixed load and reloads. `make soak` is the long
-- one (SOAK_SECONDS, 600).
local function soak(seconds, environment)
  local pipe = io.popen(("SOAK_SECONDS=%d %s luajit spec/soak/soak.lua 2>&1; echo \"status $?\""):format(seconds,
    environment or ""))
  local text = pipe:read "*a"
  pipe:close()
  return tonumber(text:match "status (%d+)\n$"), text
end

describe("a soak", function()
  it("ends with the memory, descriptors and sessions of its beginning, and no wrong answer", function()
    local status, text = soak(25)
    assert.equal(0, status, text)
    assert.matches("\nflat\n", text)
    assert.is_true(tonumber(text:match "(%d+) messages %(") > 2000, text)
  end)

  it("fails when a script leaks memory and descriptors", function()
    local status, text = soak(10, "SOAK_LEAK=yes")
    assert.equal(1, status, text)
    assert.matches("NOT FLAT: worker 1: memory grew", text)
    assert.matches("NOT FLAT: something is left: descriptors", text)
  end)
end)
