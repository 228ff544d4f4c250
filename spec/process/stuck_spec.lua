--- A worker that the kernel does not let die: a file system that never answers keeps it in state D, and SIGKILL does
--- nothing. Where none can be mounted, the master's signals are lost on their way (deaf.c): to the master it looks the
--- same.
local host = require "spec.support.host"
local process = require "spec.support.process"

local HANG_TIMEOUT = 1
local STUCK_WITHIN = HANG_TIMEOUT + 2 + 5 + 4 -- seconds: for a core dump, for dying (docs/RELIABILITY.md), to spare

--- The sender "hang" makes a worker do something that does not end.
local function scripts(what, mark)
  return { ["10-hang.lua"] = ([[
    function on_mail(_, sender) if sender:find "hang" then %s end end
    function on_eom(ctx) ctx:add_header("X-Mark", "%s") end]]):format(what, mark) }
end

local MEANS = {}

function MEANS.silent_fs()
  local directory = process.directory()
  local output = os.tmpname()
  local server = process.start({ "luajit", "spec/support/silent_fs.lua", directory }, { output = output })
  local is_mounted = pcall(server.wait_text, server, "mounted", 3)
  local function let_go()
    server:stop()
    os.execute(("umount %s 2>/dev/null; rmdir %s; rm %s"):format(directory, directory, output))
  end
  if not is_mounted then return let_go() end
  return { what = ("io.open '%s/file'"):format(directory), let_go = let_go,
    state = "D" } -- uninterruptible
end

function MEANS.deaf()
  local directory = process.directory()
  local library, mark = directory .. "/deaf.so", process.write_file(directory .. "/mark", "")
  process.run(("chmod 755 %s; cc -shared -fPIC -o %s spec/process/deaf.c -ldl"):format(directory, library))
  return { what = "return (('a.'):rep(2000)):find '.-.-.-.-.-.-b'", env = { LD_PRELOAD = library, DEAF = mark },
    let_go = function() os.execute("rm -r " .. directory) end, state = "R" }
end

local function with_deaf_master() return MEANS.deaf() end
local function with_any() return MEANS.silent_fs() or MEANS.deaf() end

describe("a worker that cannot be killed", function()
  local h, means

  after_each(function()
    if means then means.let_go() end
    if h then h:stop() end
    h, means = nil, nil
  end)

  --- A host with two workers, one of which is stuck; its process id.
  local function start(make)
    means = make()
    h = host.start { workers = 2, scripts = scripts(means.what, "old"), env = means.env,
      arguments = { "--hang_timeout=" .. HANG_TIMEOUT } }
    local mta = assert(h:connect())
    mta:envelope "helo"
    local worker = h:sessions()[1].worker
    mta:send("M", "<hang@one.example>\0")
    assert.truthy(h:wait_log("worker_stuck pid=" .. worker, STUCK_WITHIN))
    assert.equal(means.state, process.read_file(("/proc/%d/stat"):format(worker)):match "%) (%a)")
    return worker
  end

  local function mark_of_a_message()
    local mta = assert(h:connect(5))
    local reply = mta:message()
    mta:quit()
    return (table.concat(reply.edits):match "X%-Mark%z *(%w+)")
  end

  local function state_of(pid)
    for _, row in ipairs(h:status()) do if row.pid == pid then return row.state end end
  end

  local function assert_set_aside(worker)
    assert.truthy(h:wait_serving(2, 5))
    assert.equal("stuck", state_of(worker))
    assert.equal("old", mark_of_a_message())
    h:write(scripts("error 'hang'", "new"))
    assert.same({ "generation 2 serves\n", 0 }, { h:ctl "reload" })
    assert.equal("new", mark_of_a_message())
  end

  it("is logged, shown, replaced, left out of reloads, and does not keep the host from ending", function()
    local worker, master = start(with_any), h:pid()
    assert_set_aside(worker)
    h:signal "SIGTERM"
    assert.truthy(host.wait_until(10, function() return not host.exists(master) end, "the master's end"))
    assert.is_true(host.exists(worker))
    means.let_go()
    means = nil
    assert.truthy(host.wait_until(5, function() return not host.exists(worker) end, "the worker's end"))
  end)

  for name, make in pairs { ["a system call"] = with_any, ["what seems to be one"] = with_deaf_master } do
    local title = ("that returns at last from %s ends, and no worker takes its place again"):format(name)
    local slow_it = os.getenv "SLOW" and it or function() pending(title .. " (SLOW=1 runs it)") end
    slow_it(title, function()
      local worker = start(make)
      assert_set_aside(worker)
      local serving = #h:workers()
      means.let_go()
      means = nil
      assert.truthy(h:wait_log("worker_ended pid=" .. worker, 10))
      host.sleep(1.5)
      assert.equal(serving - 1, #h:workers())
      assert.truthy(h:wait_serving(2))
      assert.equal("new", mark_of_a_message())
    end)
  end
end)
