-- Without a descriptor for who knocks at the control socket, accept() failed, the socket stayed ready, and the loop turned as fast
-- as it could. Since 0.1.0.
local ffi = require "ffi"
local posix_socket = require "posix.sys.socket"
local poll = require "posix.poll"
local resource = require "posix.sys.resource"
local unistd = require "posix.unistd"

local testlib = require "spec.host.testlib"

local C = testlib.load "control.h"

local function is_readable(fd, milliseconds)
  return poll.rpoll(fd, milliseconds) == 1
end

it("who asks for a descriptor in vain waits, and so do we", function()
  local path = os.tmpname()
  os.remove(path)
  local listening = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_STREAM, 0))
  assert(posix_socket.bind(listening, { family = posix_socket.AF_UNIX, path = path }))
  assert(posix_socket.listen(listening, 5))
  local control = C.mm_control_new(listening, ffi.new "struct mm_control_owner")
  assert.is_true(control ~= nil)
  local ready = C.mm_control_descriptor(control)
  local client = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_STREAM, 0))
  local limit = resource.getrlimit(resource.RLIMIT_NOFILE)
  finally(function()
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    C.mm_control_free(control)
    unistd.close(client)
    unistd.close(listening)
    os.remove(path)
  end)
  assert(posix_socket.connect(client, { family = posix_socket.AF_UNIX, path = path }))
  assert.is_true(is_readable(ready, 0))

  local free = unistd.dup(client) -- the first number that is free
  unistd.close(free)
  assert(resource.setrlimit(resource.RLIMIT_NOFILE, { rlim_cur = free, rlim_max = limit.rlim_max }))
  C.mm_control_turn(control)
  assert.is_false(is_readable(ready, 0))
  assert.is_true(is_readable(ready, 5000))
  C.mm_control_turn(control) -- tries again,
  C.mm_control_turn(control) -- in vain
  assert.is_false(is_readable(ready, 0))

  assert(resource.setrlimit(resource.RLIMIT_NOFILE, limit))
  assert.is_true(is_readable(ready, 5000))
  C.mm_control_turn(control)
  C.mm_control_turn(control)
  assert(posix_socket.send(client, "no request"))
  assert.is_true(is_readable(ready, 5000))
  C.mm_control_turn(control)
  assert.is_true(is_readable(client, 5000))
  assert.equal("", posix_socket.recv(client, 10) or "")
end)
