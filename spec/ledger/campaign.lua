--- Plays every fault of the ledger in its long form, round after round, until so many messages were sent, then prints
--- the table of docs/RELIABILITY.md. It may be ended at any time: the next call goes on where the last one was.
---
---   luajit spec/ledger/campaign.lua ROWS MESSAGES [WORD…]
---
--- ROWS: file with a row for each fault and MTA that was played, as LEDGER_FIGURES writes it; a fault whose spec failed
--- is noted in ROWS.failed with its output. WORD…: a command to run each round through, such as "nice".
local FAULTS = require "spec.ledger.faults"
local process = require "spec.support.process"

local rows_file, goal = arg[1], tonumber(arg[2])
assert(rows_file and goal, "usage: luajit spec/ledger/campaign.lua ROWS MESSAGES [WORD…]")
local through = table.concat(arg, " ", 3)

-- Sums by MTA and fault, how often each fault was played, and the sum of all messages.
local function read_rows()
  local sums, played, messages = {}, {}, 0
  for line in (process.read_file(rows_file) or ""):gmatch "[^\n]+" do
    local name, mta, figures = line:match "^| (.-) | (%l+) | (.*) |$"
    local key = mta .. " " .. name
    local row = sums[key] or { 0, 0, 0, 0, 0, 0, 0, 0, 0 }
    local i = 0
    for number in figures:gmatch "%d+" do
      i = i + 1
      row[i] = row[i] + tonumber(number)
      if i == 3 then messages = messages + tonumber(number) end
    end
    sums[key], played[key] = row, (played[key] or 0) + 1
  end
  return sums, played, messages
end

-- The fault that was played least often, and how often.
local function next_fault(played, failed)
  local chosen, least
  for _, fault in ipairs(FAULTS) do
    local name = fault.name:gsub("^while ", "")
    local count = math.max(played["postfix " .. name] or 0, played["sendmail " .. name] or 0, failed[name] or 0)
    if not least or count < least then chosen, least = fault, count end
  end
  return chosen
end

local function play(fault, failed)
  local command = ("SLOW=1 LEDGER_ONLY='=%s' LEDGER_FIGURES='%s' %s spec/run spec/ledger/faults_spec.lua 2>&1"):format(
    fault.name:gsub("'", "'\\''"), rows_file, through)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  local name = fault.name:gsub("^while ", "")
  if text:find("\n2 passed, 0 failed, 0 skipped", 1, true) then return end
  failed[name] = (failed[name] or 0) + 1
  local file = assert(io.open(rows_file .. ".failed", "a"))
  file:write("== ", os.date "!%F %T", " ", name, "\n", text, "\n")
  file:close()
end

local function print_table(sums)
  local all = { 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  for _, mta in ipairs { "postfix", "sendmail" } do
    for _, fault in ipairs(FAULTS) do
      local name = fault.name:gsub("^while ", "")
      local row = sums[mta .. " " .. name]
      if row then
        print(("| %s | %s | %s |"):format(name, mta, table.concat(row, " | ")))
        for i, number in ipairs(row) do all[i] = all[i] + number end
      end
    end
  end
  print(("| **all** | | %s |"):format(table.concat(all, " | ")))
end

local failed = {}
for name in (process.read_file(rows_file .. ".failed") or ""):gmatch "== %S+ %S+ ([^\n]+)" do
  failed[name] = (failed[name] or 0) + 1
end
local sums, played, messages = read_rows()
while messages < goal or next_fault(played, failed) ~= FAULTS[1] do -- whole rounds
  play(next_fault(played, failed), failed)
  sums, played, messages = read_rows()
end
print_table(sums)
