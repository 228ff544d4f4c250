-- Clients of the control socket that say nothing, or nonsense, or ask for what takes its time: the postmaster can still
-- ask.
local ffi = require "ffi"
local posix_pwd = require "posix.pwd"
local posix_socket = require "posix.sys.socket"
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local testlib = require "spec.support.testlib"

local channel = testlib.load "process/channel.h"

local PASS = { ["10-pass.lua"] = "function on_eom() end" }
local SLOW_TO_LOAD = { ["10-pass.lua"] = 'require("moonmilter").sleep(1) function on_eom() end' }

-- What ctl sends.
local function request(text)
  local note = ffi.new("struct mm_note", { kind = channel.MM_NOTE_REQUEST })
  ffi.copy(note.text, text)
  return ffi.string(note, ffi.sizeof(note))
end

for _, workers in ipairs { 0, 1 } do
  describe("a flood on the control socket, workers=" .. workers, function()
    local h, fds
    before_each(function() h, fds = host.start { workers = workers, scripts = PASS }, {} end)
    after_each(function()
      for _, fd in ipairs(fds) do posix_unistd.close(fd) end
      h:stop()
    end)

    local function knock(n)
      for _ = 1, n do
        local fd = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_STREAM, 0))
        assert(posix_socket.connect(fd, { family = posix_socket.AF_UNIX, path = h.control }))
        fds[#fds + 1] = fd
      end
    end

    it("of clients that say nothing or nonsense lets others ask, and keeps few descriptors", function()
      local before = host.descriptors(h:pid())
      for _ = 1, 3 do
        knock(40)
        host.sleep(0.1)
        local text, status = h:ctl "status"
        assert.equal(0, status, text)
      end
      assert.is_true(host.descriptors(h:pid()) - before <= 32)
      for i = #fds - 7, #fds do posix_socket.send(fds[i], ("\255"):rep((#fds - i) * 300 + 1)) end
      host.sleep(0.1)
      assert.equal(0, select(2, h:ctl "status"))
      assert.is_true(h.child:running())
    end)

    if workers == 0 then return end -- the rest is the same code

    it("of clients of our own user that wait leaves root its places", function()
      if posix_unistd.geteuid() ~= 0 then pending "needs root" return end
      h:write(SLOW_TO_LOAD)
      assert(posix_unistd.setpid("U", posix_pwd.getpwnam("nobody").pw_uid))
      local ok, why = pcall(knock, 40)
      posix_unistd.setpid("U", 0)
      assert(ok, why)
      for _, fd in ipairs(fds) do posix_socket.send(fd, request "reload") end
      host.sleep(0.3)
      local text, status = h:ctl "status"
      assert.equal(0, status, text)
      if workers > 0 then assert.matches("reload=running", text) end
    end)

    it("of clients that wait tells the next one so", function()
      h:write(SLOW_TO_LOAD)
      for i = 1, 32 do
        knock(1)
        posix_socket.send(fds[i], request "reload")
      end
      host.sleep(0.3)
      local text, status = h:ctl "status"
      assert.matches("too many clients wait for an answer", text)
      assert.equal(75, status)
    end)
  end)
end
