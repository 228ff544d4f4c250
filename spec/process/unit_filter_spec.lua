--- The filter of system calls of the unit (SystemCallFilter=), as the systemd of this release understands its groups:
--- what the host calls has to be allowed, because a refused call may keep the service from starting.
local host = require "spec.support.host"
local process = require "spec.support.process"

-- All calls that a line of SystemCallFilter= names.
local function members(names)
  local set = {}
  for name in names:gmatch "%S+" do
    if name:find "^@" then
      local text = process.run("systemd-analyze syscall-filter " .. name)
      for inner in text:gmatch "\n%s+([@%w_-]+)" do
        for call in pairs(members(inner)) do set[call] = true end
      end
    else
      set[name] = true
    end
  end
  return set
end

local function allowed_by_unit()
  local allowed = {}
  for words in process.read_file("docs/systemd/moonmilter.service"):gmatch "\nSystemCallFilter=([^\n]+)" do
    local is_denial = words:find "^~"
    for call in pairs(members((words:gsub("^~", "")))) do allowed[call] = not is_denial or nil end
  end
  return allowed
end

-- name -> number of this machine's calls
local function numbers()
  local list = {}
  local text = process.run "echo '#include <sys/syscall.h>' | gcc -E -dM -"
  for name, number in text:gmatch "#define __NR_([%w_]+) (%d+)" do list[name] = tonumber(number) end
  return list
end

-- Words that run a command as a plain user without the calls that the unit refuses: they fail with EPERM.
local function filtered(calls, allowed)
  local refused = {}
  for name, number in pairs(calls) do
    if not allowed[name] then refused[#refused + 1] = number end
  end
  return { "setpriv", "--reuid", "nobody", "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all",
    "perl", "-e", ([[
    my ($prctl, @refused) = (%d, %s);
    my $filter = pack("SCCL", 0x20, 0, 0, 0);                           # the number of the call
    $filter .= pack("SCCL SCCL", 0x15, 0, 1, $_, 0x06, 0, 0, 0x00050001) for @refused;      # this one: EPERM
    $filter .= pack("SCCL", 0x06, 0, 0, 0x7fff0000);                    # others are allowed
    my $program = pack("S x![P] P", length($filter) / 8, $filter);
    syscall($prctl, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
    syscall($prctl, 22, 2, $program, 0, 0) == 0 or die "seccomp: $!";
    exec @ARGV or die "exec: $!";
  ]]):format(calls.prctl, table.concat(refused, ", ")) }
end

describe("under the unit's filter of system calls", function()
  local through

  setup(function()
    if not process.which "systemd-analyze" or process.run("id -u"):match "%d+" ~= "0" then return end
    local calls, allowed = numbers(), allowed_by_unit()
    assert.is_true(allowed.read and allowed.openat and allowed.capget)
    assert.is_nil(allowed.mount)
    assert.is_nil(allowed.setrlimit)
    through = filtered(calls, allowed)
  end)

  it("a refused call fails", function()
    if not through then pending "needs root and systemd-analyze" return end
    local words = {}
    for i, word in ipairs(through) do words[i] = "'" .. word .. "'" end
    local text = process.run(table.concat(words, " ") .. " perl -e 'print chroot(\"/\") ? 1 : $!' 2>&1")
    assert.matches("Operation not permitted", text)
  end)

  for _, workers in ipairs { 0, 2 } do
    it("the host starts, serves, runs programs, reloads and stops, workers=" .. workers, function()
      if not through then pending "needs root and systemd-analyze" return end
      local h = host.start { workers = workers, through = through, scripts = { ["10-run.lua"] = [[
        local process = require "moonmilter.process"
        local dns = require "moonmilter.dns"
        local http = require "moonmilter.http"
        function on_eom(ctx)
          dns.a("example.org", { timeout = 0.2 })
          http.get("http://127.0.0.1:9/", { timeout = 0.2 })
          local r = process.run { argv = { "sh", "-c", "echo it ran" } }
          ctx:add_header("X-Program", r and r.stdout:gsub("%s+$", "") or "none")
        end]] } }
      local function serves()
        local mta = assert(h:connect())
        mta:envelope "body"
        local edits = mta:eom().edits
        mta:quit()
        return edits[1] and edits[1]:find("it ran", 1, true) ~= nil
      end
      assert.is_true(serves(), h:log())
      h:write { ["20-more.lua"] = "function on_mail() end" }
      h:ctl "reload"
      assert.is_true(serves(), h:log())
      assert.falsy(h:log():find("not permitted", 1, true), h:log())
      h:stop()
    end)
  end
end)
