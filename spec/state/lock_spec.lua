-- The lock of a store: whoever holds it may be stopped or killed. And the directory: nobody else may have made it.
local ffi = require "ffi"
local host = require "spec.support.host"
local process = require "spec.support.process"
local testlib = require "spec.support.testlib"

local C = testlib.load "state/lock.h"

-- Takes the lock, says so, and stops.
local HOLDER = [[
  local testlib = require "spec.support.testlib"
  local C = testlib.load "state/lock.h"
  local ffi = require "ffi"
  local lock = C.mm_lock_open(arg[1], 64, ffi.new "struct mm_fault")
  assert(C.mm_lock_take(lock))
  ffi.cast("uint8_t *", C.mm_lock_guarded(lock))[0] = 7
  io.write("held\n") io.flush()
  while true do require "socket".sleep(1) end
]]

describe("the lock of a store", function()
  local directory, holder, lock

  before_each(function()
    directory = process.directory()
    process.write_file(directory .. "/holder.lua", HOLDER)
    holder = process.start({ "luajit", directory .. "/holder.lua", directory .. "/lock" },
      { output = directory .. "/output", life = 60 })
    holder:wait_text("held", 10)
    lock = C.mm_lock_open(directory .. "/lock", 64, ffi.new "struct mm_fault")
  end)
  after_each(function()
    holder:stop()
    C.mm_lock_close(lock)
    process.run("rm -rf " .. directory)
  end)

  it("is not waited for without end, and only once in a while", function()
    holder:signal "SIGSTOP"
    local began = host.now()
    assert.is_false(C.mm_lock_take(lock))
    local first = host.now() - began
    assert.is_true(first >= 0.09, "waited " .. first)
    began = host.now()
    for _ = 1, 1000 do assert.is_false(C.mm_lock_take(lock)) end
    assert.is_true(host.now() - began < first * 5) -- not a thousand waits
    holder:signal "SIGCONT"
  end)

  it("outlives its holder, with what it guards", function()
    holder:signal "SIGKILL"
    holder:stop()
    assert.is_true(C.mm_lock_take(lock))
    assert.equal(7, ffi.cast("uint8_t *", C.mm_lock_guarded(lock))[0])
    C.mm_lock_give(lock)
    assert.is_true(C.mm_lock_take(lock))
    C.mm_lock_give(lock)
  end)

  it("is not taken for one of another size", function()
    local why = ffi.new "struct mm_fault"
    assert.is_true(C.mm_lock_open(directory .. "/lock", 32, why) == nil)
    assert.matches("another version of moonmilter", ffi.string(why.text))
  end)
end)

describe("the directory of stores", function()
  it("is left alone by systemd when the unit stops", function()
    local unit = process.read_file "docs/systemd/moonmilter.service"
    assert.truthy(unit:find "\nUser=moonmilter\n") -- with a User=, RemoveIPC= empties /dev/shm of its files
    assert.is_nil(unit:find "\nRemoveIPC=yes")
    assert.is_nil(unit:find "\n[%a]+Paths=[^\n]*/dev/shm") -- ReadOnlyPaths=, InaccessiblePaths=
  end)

  local SCRIPT = { ["10-a.lua"] = [[ local store = require "moonmilter.store" local s = store.open "a"
    function on_mail() s:incr "n" end ]] }

  it("is refused when others may write to it", function()
    local state = process.directory()
    process.run("chown nobody " .. state .. " 2>/dev/null || true")
    local h = host.start { workers = 0, scripts = SCRIPT, arguments = { "--state_dir=" .. state } }
    local made = assert(h:memory_directory())
    h:stop()
    finally(function() process.run(("rm -rf %s %s"):format(state, made)) end)
    for _, change in ipairs { "chmod 777 " .. made, ("rm -rf %s; ln -s /tmp %s"):format(made, made) } do
      process.run(change)
      h = host.start { workers = 0, scripts = SCRIPT, arguments = { "--state_dir=" .. state }, unready = true }
      assert.truthy(h:wait_log("that nobody else may write to; remove it", 10))
      h:stop()
      process.run(("rm -rf %s"):format(made))
    end
  end)
end)
