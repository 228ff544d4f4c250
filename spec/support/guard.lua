-- Runs a command and ensures that none of its processes outlives the spec.
--
--   luajit spec/support/guard.lua SECONDS GRACE REMOVE COMMAND [ARGUMENT...]
--
-- The spec holds the other end of standard input. When that end closes (the spec stopped the command, ended or
-- crashed), or when SECONDS are over, every process below this one gets SIGTERM, and after GRACE seconds SIGKILL.
-- The guard is a subreaper: a process that becomes a daemon is reparented to it, in whatever session or process group
-- it is, so each one is ended by its own id. Finally the directory REMOVE is removed, unless it is "-" or the spec sent
-- a byte before it closed.
local ffi = require "ffi"

ffi.cdef [[
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int fork(void);
int setsid(void);
int getpid(void);
int open(const char *path, int flags, ...);
int dup2(int from, int to);
int close(int fd);
int kill(int pid, int signal);
int waitpid(int pid, int *status, int options);
int execvp(const char *file, const char *const *argv);
void _exit(int status);
struct pollfd { int fd; short events; short revents; };
int poll(struct pollfd *list, unsigned long count, int milliseconds);
long read(int fd, void *into, size_t size);
]]
local C = ffi.C
local PR_SET_CHILD_SUBREAPER, WNOHANG, SIGTERM, SIGKILL, POLLIN = 36, 1, 15, 9, 1
local TICK = 20 -- milliseconds

local seconds, grace, remove = tonumber(arg[1]), tonumber(arg[2]), arg[3]
assert(seconds and grace and remove and arg[4], "usage: guard.lua SECONDS GRACE REMOVE COMMAND [ARGUMENT...]")

for fd = 3, 255 do C.close(fd) end -- no descriptor of the spec may stay open from here
assert(C.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "guard.lua: cannot become a subreaper")
C.setsid() -- an interrupt key at the terminal reaches the spec, which then closes our standard input

local function start()
  local argv = ffi.new("const char *[?]", #arg - 2)
  for i = 4, #arg do argv[i - 4] = arg[i] end
  local pid = C.fork()
  if pid ~= 0 then return pid end
  C.setsid()
  C.dup2(C.open("/dev/null", 0), 0)
  C.execvp(arg[4], argv)
  io.stderr:write("guard.lua: cannot run ", arg[4], "\n")
  C._exit(127)
end

-- Direct children, orphans of the command included.
local function children()
  local me = C.getpid()
  local list = {}
  local file = io.open(("/proc/%d/task/%d/children"):format(me, me))
  if not file then return list end
  for pid in file:read("*a"):gmatch("%d+") do list[#list + 1] = tonumber(pid) end
  file:close()
  return list
end

-- Reaps ended children; true while some are left.
local function any_left()
  local status = ffi.new("int[1]")
  while true do
    local pid = C.waitpid(-1, status, WNOHANG)
    if pid == 0 then return true end
    if pid < 0 then return false end
  end
end

-- Waits until the spec closes standard input; true if it did within the given milliseconds.
local function released(milliseconds)
  local list = ffi.new("struct pollfd[1]", { { fd = 0, events = POLLIN } })
  if C.poll(list, 1, milliseconds) <= 0 then return false end
  if C.read(0, ffi.new("char[1]"), 1) == 1 then remove = "-" end
  return true
end


local left = seconds * 1000
start()
while any_left() and left > 0 and not released(TICK * 5) do left = left - TICK * 5 end

left = grace * 1000
local signal = SIGTERM
local signalled = {}
while any_left() do
  if left <= 0 then signal = SIGKILL end
  for _, pid in ipairs(children()) do
    if signal == SIGKILL or not signalled[pid] then C.kill(pid, signal) end
    signalled[pid] = true
  end
  C.poll(nil, 0, TICK)
  left = left - TICK
end
if remove ~= "-" then os.execute(("rm -rf -- '%s'"):format(remove)) end
