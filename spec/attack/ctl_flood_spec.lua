-- Clients of the control socket that connect and say nothing, or nonsense: the postmaster can still ask.
local posix_socket = require "posix.sys.socket"
local posix_unistd = require "posix.unistd"

local host = require "spec.support.host"
local process = require "spec.support.process"

local PASS = { ["10-pass.lua"] = "function on_eom() end" }

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
        local fd = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_SEQPACKET or 5, 0))
        if not posix_socket.connect(fd, { family = posix_socket.AF_UNIX, path = h.control }) then
          posix_unistd.close(fd)
          fd = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_STREAM, 0))
          assert(posix_socket.connect(fd, { family = posix_socket.AF_UNIX, path = h.control }))
        end
        fds[#fds + 1] = fd
      end
    end

    it("of silent clients lets others ask", function()
      for _ = 1, 5 do
        knock(32)
        host.sleep(0.1)
        local text, status = h:ctl "status"
        assert.equal(0, status, text)
      end
    end)

    it("of silent clients keeps few descriptors", function()
      local before = host.descriptors(h:pid())
      knock(100)
      host.sleep(0.3)
      assert.is_true(host.descriptors(h:pid()) - before <= 32)
    end)

    it("of clients of our own user leaves root its places", function()
      if posix_unistd.geteuid() ~= 0 then pending "needs root" return end
      -- they ask for something that takes its time, and so are not silent
      h:write { ["10-pass.lua"] = 'require("moonmilter").sleep(4) function on_eom() end' }
      local script = h.directory .. "/flood.sh"
      process.write_file(script, ([[for i in $(seq 1 40); do %s ctl --control %s reload > /dev/null 2>&1 & done; wait]])
        :format(host.program():sub(1, 1) == "/" and host.program() or "$PWD/" .. host.program(), h.control))
      os.execute(("setpriv --reuid nobody --clear-groups sh %s > /dev/null 2>&1 &"):format(script))
      host.sleep(1)
      local text, status = h:ctl "status"
      assert.equal(0, status, text)
      host.wait_until(15, function() return (h:ctl "status"):find("reload=ok", 1, true) end)
    end)

    it("of nonsense ends each of its clients", function()
      knock(8)
      for i, fd in ipairs(fds) do posix_socket.send(fd, ("\255"):rep(i * 300)) end
      host.sleep(0.2)
      assert.equal(0, select(2, h:ctl "status"))
      assert.is_true(h.child:running())
    end)
  end)
end
