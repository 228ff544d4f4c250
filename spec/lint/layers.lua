--- The one-way include rule (docs/ARCHITECTURE.md): a file of host/ includes only headers that stand before it here, so
-- cycles cannot happen. libev only where the loop is, Lua only in the script row, neither in any header.
-- Usage: luajit spec/lint/layers.lua; exit status 1 when a rule is broken.

-- "name" stands for name.h and name.c.
local rows = {
  { "ground", "bounds fault buffer cursor quote suggest value network log_output log clock watch holding census heap" },
  { "wire", "stage frame command reply negotiate" },
  { "model", "macro message verdict action session" },
  { "engine", "runtime engine" },
  { "outside", "dns_answer dns child tls stream pool datagram http" },
  { "script", "lua_sources profile script_files script_task budget sampler script_memory script_call task_group "
    .. "bind bind_settings bind_session bind_message bind_action bind_host bind_task bind_dns bind_process bind_socket bind_datagram bind_http codec script script_view" },
  { "io", "ev_stderr listen_spec recorder connection listener worker" },
  { "process", "config_syntax config_key config rights link service moonmilter host control measure "
    .. "follower fingerprint solo master" },
  { "client", "json answer_json control_client report_lines profile_report samples_report diff mta mail_file ear dialogue transcript replay trial "
    .. "bench_histogram bench_traffic bench_load bench_usage" },
  { "program", "doctor_finding doctor_reach doctor doctor_host doctor_postfix doctor_sendmail command_check command_profile "
    .. "command_ctl command_doctor command_try command_send command_replay command_test command_bench main" },
}

local allowed_ev = { clock = true, watch = true, connection = true, listener = true, worker = true, host = true }
local lua_rows = { script = true }

local position, row_of, count = {}, {}, 0
for _, row in ipairs(rows) do
  for name in row[2]:gmatch "%S+" do
    count = count + 1
    position[name], row_of[name] = count, row[1]
  end
end

local faults = {}
local function fault(path, line, text)
  faults[#faults + 1] = ("%s:%d: %s"):format(path, line, text)
end

local function check(path)
  local name, kind = path:match "([%w_]+)%.([ch])$"
  if not position[name] then
    fault(path, 1, "has no place in the rows of spec/lint/layers.lua; find its room")
    return
  end
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local own, system = line:match '^#include "([%w_]+)%.h"', line:match "^#include <([%w_./-]+)>"
    if own and not position[own] then
      fault(path, number, ("includes %s.h, which is in no row"):format(own))
    elseif own and own ~= name and position[own] >= position[name] then
      fault(path, number, ("includes %s.h, which stands behind it"):format(own))
    end
    if system == "ev.h" and (kind == "h" or not allowed_ev[name]) then
      fault(path, number, "includes ev.h; libev is for clock.c and the io row")
    end
    if system and system:match "^lua" and system ~= "luajit.h" or system == "lauxlib.h" then
      if kind == "h" or not lua_rows[row_of[name]] then
        fault(path, number, "includes Lua; that is for the script row")
      end
    end
  end
end

local list = io.popen "ls host/*.[ch]"
for path in list:lines() do
  check(path)
end
list:close()
for _, text in ipairs(faults) do
  print(text)
end
os.exit(#faults == 0 and 0 or 1)
