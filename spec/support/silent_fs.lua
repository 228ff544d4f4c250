-- A file system that never answers: whoever asks it for a file waits in the kernel and cannot be killed (state D) until
-- this program ends. It stands for a broken disk, or a file server that is gone.
--
--   luajit spec/support/silent_fs.lua DIRECTORY
--
-- Needs root and /dev/fuse. Prints "mounted" once the kernel asks it. SIGTERM ends it: the kernel gives whatever
-- waits an error then, and the directory can be unmounted.
local ffi = require "ffi"

ffi.cdef [[
int open(const char *path, int flags, ...);
long read(int fd, void *into, size_t size);
long write(int fd, const void *from, size_t size);
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
struct silent_in { uint32_t len, opcode; uint64_t unique, nodeid; uint32_t uid, gid, pid, padding; };
struct silent_init {
  uint32_t len; int32_t error; uint64_t unique;
  uint32_t major, minor, max_readahead, flags; uint16_t max_background, congestion;
  uint32_t max_write, time_gran, unused[9];
};
]]
local C = ffi.C
local O_RDWR, INIT = 2, 26

local directory = assert(arg[1], "usage: silent_fs.lua DIRECTORY")
local fd = C.open("/dev/fuse", O_RDWR)
assert(fd >= 0, "cannot open /dev/fuse")
local options = ("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other"):format(fd)
assert(C.mount("silent", directory, "fuse", 0, options) == 0, "cannot mount")

local buffer = ffi.new "char[1 << 18]"
while true do
  local n = C.read(fd, buffer, ffi.sizeof(buffer))
  if n < 0 then break end -- unmounted, or a signal
  local request = ffi.cast("struct silent_in *", buffer)
  if request.opcode == INIT then
    local reply = ffi.new("struct silent_init", { len = ffi.sizeof "struct silent_init", unique = request.unique,
      major = 7, minor = 31, max_background = 16, congestion = 12, max_write = 4096, time_gran = 1 })
    assert(C.write(fd, reply, reply.len) == reply.len, "the kernel refuses our answer to INIT")
    io.stdout:write "mounted\n"
    io.stdout:flush()
  end
end
