--- The message as it leaves: the received header and body with the edits of all scripts. Seals are made of it: work that
--- scripts ask for at any time up to on_eom, and that the host runs after the last handler, when nothing can change any
--- more. A message that is refused is not sealed. Whatever a seal raises is a fault of the script that asked for it:
--- 451, unless on_error says otherwise, and never an unsealed message in silence.
--
--   leaving.ask(received.of(ctx), leaving.SIGN, function(message) … message:insert("DKIM-Signature", value) end)
--
-- Seals run by rank, then in the order in which they were asked for; each sees the fields that those before it have
-- inserted.
local core = require "moonmilter.core"
local wait = require "moonmilter.runtime.wait"

local leaving = {
  SIGN = 1, -- DKIM-Signature
  SEAL = 2, -- ARC: covers the signatures
}

local sleep = wait.wrap(core.sleep)

local LINE_MAX = 998 -- bytes of a line without its end (RFC 5322 2.1.1)

---@class moonmilter.Leaving
---@field ctx table
---@field mta "postfix"|"sendmail"|"unknown"
---@field received moonmilter.Received  the message as it came, and its notes
local Leaving = {}
Leaving.__index = Leaving

--- The fields from the top, as they will stand in the message.
---@return moonmilter.ReceivedField[]
function Leaving:fields()
  if not self.list then
    local complete
    self.list, complete = self.ctx:_fields(true)
    if not complete then
      local _ = self.ctx.headers -- raises, and the message gets the verdict of `over`
      error("the header has more than the host keeps, so it cannot be signed", 0)
    end
  end
  return self.list
end

--- The hash of the body that leaves, SHA-256: the received one, or the new one that scripts have set.
---@param canonical "simple"|"relaxed"
---@return string hash  32 bytes
function Leaving:hash(canonical)
  local hash, why = self.ctx:_new_body_hash(canonical)
  if not hash and not why then
    hash, why = self.received:hash(canonical)
  end
  return hash or error(why, 0)
end

--- Puts a field above all others.
---@param name string
---@param value string  folds as LF
function Leaving:insert(name, value)
  self.ctx:insert_header(0, name, value)
  self.list = nil
end

--- Lets other sessions have their turn. A signature takes up to some milliseconds, so there is one in a turn.
function Leaving:breathe()
  if self.has_worked then
    sleep(0)
  end
  self.has_worked = true
end

-- Does a line of the value have more than LINE_MAX bytes, with the field's name in the first? -> its size
local function long_line_of(field)
  local longest = 0
  for line in field.raw:gmatch "[^\r\n]+" do
    longest = math.max(longest, #line)
  end
  return longest > LINE_MAX and longest or nil
end

-- The value with a fold before a blank in each line that is too long; a line without blanks stays.
local function folded(field)
  local lines, room = {}, LINE_MAX - #field.name - 2
  for line in (field.value .. "\n"):gmatch "([^\n]*)\n" do
    while #line > room do
      local at
      for i = room, 2, -1 do
        local byte = line:byte(i)
        if (byte == 32 or byte == 9) and line:find("^[ \t]*[^ \t]", i) then
          at = i
          break
        end
      end
      if not at then
        break
      end
      lines[#lines + 1] = line:sub(1, at - 1)
      line = line:sub(at)
      room = LINE_MAX
    end
    lines[#lines + 1] = line
    room = LINE_MAX
  end
  return table.concat(lines, "\n")
end

--- Folds the fields with lines of more than 998 bytes at their blanks, which changes nothing for the relaxed form.
function Leaving:fold()
  for _, field in ipairs(self.ctx.headers) do
    if #field.value + #field.name > LINE_MAX - 2 and long_line_of { raw = field.raw } then
      field:set(folded(field))
      self.list = nil
    end
  end
end

--- What will break a signature on the way: Postfix, and others, break lines of more than 998 bytes when they send them
--- (RFC 5322 2.1.1). A text for each; an empty list if all is well.
---@return string[]
function Leaving:long_lines()
  local found = {}
  for _, field in ipairs(self:fields()) do
    local size = #field.raw > LINE_MAX and long_line_of(field)
    if size then
      found[#found + 1] = ("the field %s has a line of %d bytes"):format(field.name, size)
    end
  end
  local number, size = self.ctx:_long_line()
  if number then
    found[#found + 1] = ("line %d of the body has %d bytes"):format(number, size)
  end
  return found
end

--- Queues a seal. Up to on_eom.
---@param received moonmilter.Received
---@param rank integer  leaving.SIGN or leaving.SEAL
---@param work fun(message: moonmilter.Leaving)  may wait
---@return boolean|nil ok
---@return string|nil text  why not: no message is open, the MTA does not let us insert fields
function leaving.ask(received, rank, work)
  local number, why = received.ctx:_seal()
  if not number then
    return nil, why
  end
  received.seals = rawget(received, "seals") or {}
  received.seals[number] = { rank = rank, number = number, work = work } -- one that was taken back leaves its place
  return true
end

--- Makes all seals of a message. The host calls it after the last handler.
---@param ctx table
function leaving.make(ctx)
  local received = ctx:_received_table()
  local count, mta = ctx:_seals()
  local list = {}
  for number = 1, count do
    list[number] = received.seals[number]
  end
  table.sort(list, function(a, b)
    if a.rank ~= b.rank then
      return a.rank < b.rank
    end
    return a.number < b.number
  end)
  local message = setmetatable({ ctx = ctx, mta = mta, received = received }, Leaving)
  for _, seal in ipairs(list) do
    seal.work(message)
  end
end

return leaving
