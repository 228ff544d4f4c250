-- Without a free descriptor for a client at the control socket, accept() failed, the socket stayed ready, and the loop
-- spun. Since 0.1.0.
local ffi = require "ffi"
local posix_socket = require "posix.sys.socket"
local poll = require "posix.poll"
local resource = require "posix.sys.resource"
local unistd = require "posix.unistd"

local testlib = require "spec.support.testlib"

local C = testlib.load "process/control.h"

local function is_readable(fd, milliseconds)
  return poll.rpoll(fd, milliseconds) == 1
end

local UNIX, STREAM = posix_socket.AF_UNIX, posix_socket.SOCK_STREAM

-- A control socket with a client in its queue: the control, its descriptor, the other end.
local function knocked_at()
  local path = os.tmpname()
  os.remove(path)
  local listening, client = assert(posix_socket.socket(UNIX, STREAM, 0)), assert(posix_socket.socket(UNIX, STREAM, 0))
  assert(posix_socket.bind(listening, { family = UNIX, path = path }))
  assert(posix_socket.listen(listening, 5))
  local control = C.mm_control_new(listening, ffi.new "struct mm_control_owner")
  assert.is_true(control ~= nil)
  finally(function()
    C.mm_control_free(control)
    unistd.close(client)
    unistd.close(listening)
    os.remove(path)
  end)
  assert(posix_socket.connect(client, { family = UNIX, path = path }))
  local ready = C.mm_control_descriptor(control)
  assert.is_true(is_readable(ready, 0))
  return control, ready, client
end

-- The number that the next descriptor will have.
local function next_descriptor()
  local free = unistd.dup(0)
  unistd.close(free)
  return free
end

-- valgrind accepts the connection, drops it, and reports that there is no descriptor
local lacks_descriptors = (os.getenv "LD_PRELOAD" or ""):find "vgpreload" and pending or it
lacks_descriptors("a client that comes when there is no descriptor waits, and so does the loop", function()
  local control, ready, client = knocked_at()
  local limit = resource.getrlimit(resource.RLIMIT_NOFILE)
  assert(resource.setrlimit(resource.RLIMIT_NOFILE, { rlim_cur = next_descriptor(), rlim_max = limit.rlim_max }))
  C.mm_control_turn(control)
  local is_ready_at_once, is_ready_later = is_readable(ready, 0), is_readable(ready, 5000)
  C.mm_control_turn(control) -- tries again,
  C.mm_control_turn(control) -- in vain
  local is_ready_again = is_readable(ready, 0)
  assert(resource.setrlimit(resource.RLIMIT_NOFILE, limit))
  assert.same({ false, true, false }, { is_ready_at_once, is_ready_later, is_ready_again })

  assert.is_true(is_readable(ready, 5000))
  C.mm_control_turn(control)
  C.mm_control_turn(control)
  assert(posix_socket.send(client, "no request"))
  assert.is_true(is_readable(ready, 5000))
  C.mm_control_turn(control)
  assert.is_true(is_readable(client, 5000))
  assert.equal("", posix_socket.recv(client, 10) or "")
end)

-- While a worker that had just been forked had a copy of a client's descriptor, the master still got events for it, and
-- looked for the client, whose memory was freed. Since 0.1.0.
it("the master gets no events for a client that is gone, even if another process has its descriptor", function()
  local control, ready, client = knocked_at()
  local accepted = next_descriptor()
  C.mm_control_turn(control)
  local copy = unistd.dup(accepted)
  assert(posix_socket.send(client, "no request"))
  assert.is_true(is_readable(ready, 5000))
  C.mm_control_turn(control)
  assert.equal(accepted, next_descriptor()) -- closed
  assert(posix_socket.send(client, "and more"))
  local is_told = is_readable(ready, 100)
  unistd.close(copy)
  assert.is_false(is_told)
end)
