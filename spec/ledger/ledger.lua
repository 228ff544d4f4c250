--- The ledger: joins the client's replies, the filter's log, the MTA's log and the delivered mail, message by message
--- and attempt by attempt, and reports contradictions.
---
---   local wrong, sums = ledger.audit { attempts = …, lines = …, mta = …, delivered = …, policy = "tempfail" }
---   assert.same({}, wrong)
local json = require "cjson"

local message = require "spec.ledger.message"
local process = require "spec.support.process"

local ledger = {}

--- Attempts from the clients' files, and how many clients have finished.
---@return { id: table, code: integer?, text: string }[], integer
function ledger.read_clients(paths)
  local attempts, ended = {}, 0
  for _, path in ipairs(paths) do
    for line in (process.read_file(path) or ""):gmatch "([^\n]*)\n" do
      local name, code, text = line:match "^(%S+) (%S+) (.*)$"
      if name then
        attempts[#attempts + 1] = { id = message.parse(name .. "@"), code = tonumber(code), text = text }
      elseif line == "end" then
        ended = ended + 1
      end
    end
  end
  return attempts, ended
end

--- Our outcome lines (log_format = "json") by the attempt's name: a list for each. number: which line of all it is.
function ledger.read_log(text)
  local lines, count = {}, 0
  for line in text:gmatch "[^\n]+" do
    local ok, entry = pcall(json.decode, line)
    local id = ok and type(entry) == "table" and entry.event == "message" and message.parse(entry.from or "")
    if id then
      count = count + 1
      entry.number = count
      lines[id.name] = lines[id.name] or {}
      table.insert(lines[id.name], entry)
    end
  end
  return lines
end

local function entry_of(list, name)
  list[name] = list[name] or { sent = 0 }
  return list[name]
end

--- The fate of an attempt according to the MTA, by its name: queue_id, sent (how often delivered), refused (its text).
ledger.read_mta = {}

function ledger.read_mta.postfix(text)
  local list, name_of = {}, {}
  for line in text:gmatch "[^\n]+" do
    local id = message.parse(line:match "from=<(.-)>" or "")
    local queue_id = line:match "%]: (%x+): "
    if id and queue_id and line:find "qmgr%[" then
      name_of[queue_id] = id.name
      entry_of(list, id.name).queue_id = queue_id
    elseif id and line:find("milter-reject", 1, true) then
      entry_of(list, id.name).refused = line:match "milter%-reject: (.-); from="
    elseif id and line:find("milter-discard", 1, true) then
      entry_of(list, id.name).queue_id = queue_id
      entry_of(list, id.name).is_discarded = true
    elseif queue_id and line:find("status=sent", 1, true) and name_of[queue_id] then
      local entry = entry_of(list, name_of[queue_id])
      entry.sent = entry.sent + 1
    end
  end
  return list
end

-- There is no syslog where the specs run; Sendmail's own transcript of both its sides contains the same. "<<<" marks
-- what it read.
function ledger.read_mta.sendmail(text)
  local list, now = {}, {}
  for pid, arrow, rest in text:gmatch "(%d+) ([<>][<>][<>]) ([^\n]*)" do
    local p = now[pid] or {}
    now[pid] = p
    local sender = rest:match "^MAIL F[Rr][Oo][Mm]:<(.-)>"
    if sender then
      local id = message.parse(sender)
      p.name, p.is_out, p.is_sent = id and id.name, arrow == ">>>", false
    elseif p.name and p.is_out then
      local entry = entry_of(list, p.name)
      if arrow == ">>>" and rest == "." then
        p.is_sent = true
      elseif arrow == "<<<" and p.is_sent then
        if rest:match "^250" then entry.sent = entry.sent + 1 end
        p.name = nil
      end
    elseif p.name and arrow == ">>>" then
      local queue_id = rest:match "^250 2%.0%.0 (%w+) Message accepted"
      if queue_id then entry_of(list, p.name).queue_id = queue_id end
      if rest:match "^[45]%d%d " then
        entry_of(list, p.name).refused = rest
        p.name = nil
      end
    end
  end
  return list
end

-- ---- the audit ----

-- What a message that comes above a limit gets, whatever its kind (counts.lua judges whether it was above).
local ABOVE = { code = 550, copies = 0, text = "above the limit" }

local function kind_of(attempt, rules)
  if rules.is_limited and (attempt.text or ""):find(ABOVE.text, 1, true) then return ABOVE end
  return message.KINDS[attempt.id.kind]
end

-- A message's attempts in order, with the entries of the four sources for each.
local function join(sources, say)
  local messages, order = {}, {}
  local by_name = {}
  for _, attempt in ipairs(sources.attempts) do
    local token = attempt.id.token
    if not messages[token] then
      messages[token] = { token = token, kind = attempt.id.kind, attempts = {} }
      order[#order + 1] = messages[token]
    end
    attempt.copies, attempt.lines = {}, sources.lines[attempt.id.name] or {}
    attempt.mta = sources.mta[attempt.id.name] or { sent = 0 }
    by_name[attempt.id.name] = attempt
    table.insert(messages[token].attempts, attempt)
  end
  for _, copy in ipairs(sources.delivered) do
    local id = message.parse(copy.sender or "")
    local attempt = id and by_name[id.name]
    if not attempt then
      say("delivered, but no client has sent it: %s", tostring(copy.sender))
    elseif copy:get "Message-Id" ~= ("<%s@one.example>"):format(id.token) then
      say("%s: delivered with the Message-Id of another: %s", id.name, tostring(copy:get "Message-Id"))
    else
      table.insert(attempt.copies, copy)
    end
  end
  for name, lines in pairs(sources.lines) do
    if not by_name[name] then say("%s: logged %d times, but no client has sent it", name, #lines) end
  end
  return order
end

-- The outcome line with this attempt's verdict: the last that is not merely an abort.
local function verdict_line(attempt, say)
  local found
  for _, line in ipairs(attempt.lines) do
    if line.verdict ~= "none" then
      if found then say("%s: two outcome lines", attempt.id.name) end
      found = line
    end
  end
  return found
end

-- One attempt: do reply, our line, the MTA's log and the copies agree?
local function judge_attempt(attempt, rules, sums, say)
  local name, kind = attempt.id.name, kind_of(attempt, rules)
  local line = verdict_line(attempt, say)
  local code = attempt.code
  local is_taken = code == 250
  local state, why
  for _, copy in ipairs(attempt.copies) do
    state, why = message.state(attempt.id, copy)
    if not state then say("%s: half an edit: %s", name, why) end
    if state == "untouched" then
      sums.unfiltered = sums.unfiltered + 1
      if not rules.may_pass then say("%s: delivered unfiltered", name) end
      -- the worker died between its line and its reply
      if line and rules.may_pass then
        sums.untaken = sums.untaken + 1
      elseif line then
        say("%s: delivered unfiltered, but the log has a verdict: %s", name, line.verdict)
      end
    end
  end
  local has_passed = state == "untouched" and rules.may_pass
  if attempt.mta.sent ~= #attempt.copies then
    say("%s: the MTA's log says delivered %d times, the sink has %d", name, attempt.mta.sent, #attempt.copies)
  end
  if is_taken then
    local queue_id = attempt.text:match "queued as (%w+)" or attempt.text:match "2%.0%.0 (%w+) Message"
    if queue_id ~= attempt.mta.queue_id then
      say("%s: the client was told queue id %s, the MTA's log has %s", name, tostring(queue_id),
        tostring(attempt.mta.queue_id))
    elseif line and line.queue_id ~= queue_id then
      say("%s: the client was told queue id %s, our log has %s", name, queue_id, tostring(line.queue_id))
    end
    if not line and state ~= "untouched" then
      sums.unlogged = sums.unlogged + 1
    elseif line and not has_passed and line.verdict ~= (kind.copies == 0 and "discard" or "continue") then
      say("%s: the client was told 250, the log says %s", name, line.verdict)
    end
  elseif code and code >= 500 then
    if kind.code ~= code or not attempt.text:find(kind.text, 1, true) then
      say("%s: a fault became permanent: %d %s", name, code, attempt.text)
    elseif not (attempt.mta.refused or ""):find(kind.text, 1, true) then
      say("%s: the client was told %d, the MTA's log says %s", name, code, tostring(attempt.mta.refused))
    elseif line and line.verdict ~= "reject" then
      say("%s: the client was told %d, the log says %s", name, code, line.verdict)
    elseif not line and attempt.id.kind ~= "rcpt" then -- a refused recipient has no outcome line of its own
      sums.unlogged = sums.unlogged + 1
    end
  elseif code then
    sums.tempfail = sums.tempfail + 1
    -- as ordered; a recipient's refusal has no outcome line
    local is_ordered = kind.first == code and attempt.id.attempt == 1
    if is_ordered and (attempt.id.kind ~= "later" or line and line.verdict == "tempfail") then sums.put_off =
      sums.put_off + 1 end
    -- the filter's verdict did not reach the MTA: only a fault explains that
    if line and line.verdict ~= "tempfail" then sums.untaken = sums.untaken + 1 end
  elseif attempt.id.kind ~= "drop" then
    sums.unanswered = sums.unanswered + 1
  end
  if not is_taken and #attempt.copies > 0 and (code or not rules.may_break) then
    say("%s: delivered, but the client was told %s", name, tostring(code or attempt.text))
  end
end

-- The permitted outcomes of a message, with the filter present and, with may_pass, without it.
local function judge_message(m, rules, sums, say)
  local last = m.attempts[#m.attempts]
  local kind = kind_of(last, rules)
  local copies, broken, untouched = 0, 0, 0
  for _, attempt in ipairs(m.attempts) do
    copies = copies + #attempt.copies
    if not attempt.code then broken = broken + #attempt.copies end
    for _, copy in ipairs(attempt.copies) do
      if message.state(attempt.id, copy) == "untouched" then untouched = untouched + 1 end
    end
  end
  local wanted = kind.copies
  if rules.may_pass and untouched > 0 then wanted = 1 end
  if copies < wanted then
    say("%s: lost: the client was told %s, delivered %d times", m.token, tostring(last.code), copies)
  elseif copies - (rules.may_break and broken or 0) > wanted then
    say("%s: doubled: %s, delivered %d times", m.token, m.kind, copies)
  end
  if last.code ~= kind.code and not (rules.may_pass and last.code == 250 and untouched > 0) then
    say("%s: %s ended as %s %s", m.token, m.kind, tostring(last.code), last.text)
  end
  if kind.first and m.attempts[1].code == 250 and not (rules.may_pass and untouched > 0) then
    say("%s: %s, but its first attempt was taken", m.token, m.kind)
  end
  sums.messages = sums.messages + 1
  sums.attempts = sums.attempts + #m.attempts
  sums.delivered = sums.delivered + copies
  if kind.code == 550 and last.code == 550 then sums.refused = sums.refused + 1 end
  if m.kind == "discard" and copies == 0 then sums.discarded = sums.discarded + 1 end
  if m.kind == "drop" then sums.dropped = sums.dropped + 1 end
end

--- sources: attempts, lines, mta (as the readers return them), delivered (messages of the sink).
--- rules: may_pass (mail may go through untouched while the filter is away), may_break (sessions of clients may break,
--- so a message may be delivered without a reply to the client), is_limited (a limit may refuse any message),
--- lost (sessions that ended with a worker: so many messages may lack a line, or have a verdict that the MTA did not
--- take).
---@return string[] wrong, table sums
function ledger.audit(sources, rules)
  rules = rules or {}
  local wrong = {}
  local sums = { messages = 0, attempts = 0, delivered = 0, refused = 0, discarded = 0, dropped = 0,
    tempfail = 0, put_off = 0, unanswered = 0, unfiltered = 0, unlogged = 0, untaken = 0 }
  local function say(...) wrong[#wrong + 1] = (...):format(select(2, ...)) end
  for _, m in ipairs(join(sources, say)) do
    for _, attempt in ipairs(m.attempts) do judge_attempt(attempt, rules, sums, say) end
    judge_message(m, rules, sums, say)
  end
  local lost = rules.lost or 0
  if sums.unlogged > lost then say("%d outcomes without a line, %d is the most that faults explain",
    sums.unlogged, lost) end
  if sums.untaken > lost then say("%d verdicts did not reach the MTA, %d is the most that faults explain",
    sums.untaken, lost) end
  return wrong, sums
end

return ledger
