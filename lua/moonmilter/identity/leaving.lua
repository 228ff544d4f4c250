--- The message as it leaves: the received header and body with the edits of all scripts. Seals are made of it: work
--- that scripts ask for at any time up to on_eom, and that the host runs after the last handler, when nothing can
--- change any more. A message that is refused is not sealed. Whatever a seal raises is a fault of the script that asked
--- for it: 451, unless on_error says otherwise, and never an unsealed message in silence.
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

---@class identity.Leaving
---@field ctx table
---@field mta "postfix"|"sendmail"|"unknown"
---@field received identity.Received  the message as it came, and its notes

local Leaving = {}
Leaving.__index = Leaving

--- The fields from the top, as they will stand in the message.
---@return identity.ReceivedField[]
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

-- The size of the first line that is too long; nil: none is.
local function long_line_of(raw)
  local at = 1
  while #raw - at >= LINE_MAX do
    local stop = raw:find("\n", at, true) or #raw + 1
    local size = stop - at - (raw:byte(stop - 1) == 13 and 1 or 0)
    if size > LINE_MAX then
      return size
    end
    at = stop + 1
  end
end

local function is_blank(byte)
  return byte == 32 or byte == 9
end

-- The last place up to `last` where a line may be folded: at a blank that text comes before and after. nil: none.
local function fold_at(value, first, last, stop)
  for i = last, first + 1, -1 do
    local begins = i < stop and is_blank(value:byte(i)) and not is_blank(value:byte(i - 1))
    if begins and value:find("^[ \t]+[^ \t\n]", i) then
      return i
    end
  end
end

-- The value with a fold before a blank in each line that is too long; what has no blanks stays.
local function folded(name, value)
  local parts, at, room = {}, 1, LINE_MAX - #name - 2
  while at <= #value do
    local stop = value:find("\n", at, true) or #value + 1
    local fold = stop - at > room and fold_at(value, at, at + room - 1, stop)
    if fold then
      parts[#parts + 1] = value:sub(at, fold - 1)
      at = fold
    else
      parts[#parts + 1] = value:sub(at, stop - 1)
      at = stop + 1
    end
    room = LINE_MAX
  end
  return table.concat(parts, "\n")
end

--- Folds the fields with lines of more than 998 bytes at their blanks, which changes nothing for the relaxed form.
function Leaving:fold()
  for _, field in ipairs(self.ctx.headers) do
    if long_line_of(field.raw) then
      field:set(folded(field.name, field.value))
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
    local size = long_line_of(field.raw)
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
---@param received identity.Received
---@param rank integer  leaving.SIGN or leaving.SEAL
---@param work fun(message: identity.Leaving)  may wait
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
