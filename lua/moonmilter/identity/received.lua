--- The message of a session as the MTA has sent it, for what checks mail, and as it leaves, for what signs it.
--
-- A check must not see the edits of scripts: of(ctx).fields are the fields as received, hashes are those of the body
-- as received. The host calls begin() before the handlers of MAIL and of end of header, so that look-ups run while the
-- message still arrives:
--
--   received.early("mail", function(ctx, message)       -- must not wait
--     message.notes.spf = tasks.spawn(check, ctx)
--   end)
--   received.early("eoh", function(ctx, message)
--     message:want("relaxed")                           -- else no body is asked for
--   end)
--   … in on_eom:
--   local hash, length = received.of(ctx):hash("relaxed")
--
-- What is done to the message as it leaves (signing, sealing) waits in a queue for the last handler:
-- moonmilter.identity.leaving.
local core = require "moonmilter.core"
local leaving = require "moonmilter.identity.leaving"

local received = {}

---@class identity.ReceivedField
---@field name string   as written
---@field value string  folds as LF, without the space after the colon, as in ctx.headers
---@field raw string    "Name: value" as in the message: folds as CRLF, without the line end

---@class identity.Received
---@field fields identity.ReceivedField[]  from the top, as received; complete from the end of header on
---@field complete boolean       false: the header has more than is kept (1 MiB, 16,384 fields)
---@field leading_space boolean  false: this MTA does not say how many spaces follow a colon, so `raw` guesses one and
--- the simple form of a field is luck
---@field notes table            for the modules of mail identity: tasks that began early, results

local Message = {}

---@class identity.BodyHash
---@field canonical "simple"|"relaxed"
---@field limit integer|nil  bytes of the canonical body that count (l=)

-- The fields are read once the header is complete, and while it is not each time.
local reading = {}
for key, at in pairs { fields = 1, complete = 2, leading_space = 3 } do
  reading[key] = function(self)
    local values = { self.ctx:_fields(false) }
    if self.is_complete then
      self.fields, self.complete, self.leading_space = values[1], values[2], values[3]
    end
    return values[at]
  end
end

local metatable = {
  __index = function(self, key)
    local read = reading[key]
    if read then
      return read(self)
    end
    return Message[key]
  end,
}

--- The message of ctx. The same table for all scripts, up to the end of the message.
---@param ctx table
---@return identity.Received
function received.of(ctx)
  local message, is_new = ctx:_received_table()
  if is_new then
    message.ctx, message.notes, message.wanted = ctx, {}, {}
    setmetatable(message, metatable)
  end
  return message
end

local function key_of(canonical, limit)
  return canonical .. (limit or "")
end

--- Asks for a hash of the body, SHA-256. Possible up to on_eoh; nobody asks: the MTA need not send the body.
---@param canonical "simple"|"relaxed"
---@param limit integer|nil  only so many bytes of the canonical body (l=)
---@param lines boolean|nil  also look for lines that are too long (leaving)
---@return boolean|nil ok
---@return string|nil text  why not: too late, too many
function Message:want(canonical, limit, lines)
  local number, why = self.ctx:_hash_body(canonical, limit, lines)
  if not number then
    return nil, why
  end
  self.wanted[key_of(canonical, limit)] = number
  return true
end

--- Is the hash asked for?
---@param canonical "simple"|"relaxed"
---@param limit integer|nil
---@return boolean
function Message:wants(canonical, limit)
  return self.wanted[key_of(canonical, limit)] ~= nil
end

--- The hash of the body as received; in on_eom.
---@param canonical "simple"|"relaxed"
---@param limit integer|nil  as wanted
---@return string|nil hash  32 bytes
---@return integer|string length  bytes of the whole body in that form; or why there is no hash
function Message:hash(canonical, limit)
  local number = self.wanted[key_of(canonical, limit)]
  if not number then
    return nil, "the body was not hashed in this form"
  end
  return self.ctx:_body_hash(number)
end

-- ---- early work ----

local early = { mail = {}, eoh = {} }

--- Registers work that begins before the handlers of a stage: fn(ctx, message). It must not wait, but may spawn tasks,
--- which end with the message. What it raises is a fault of the message's first script.
---@param stage "mail"|"eoh"
---@param fn fun(ctx: table, message: identity.Received)
function received.early(stage, fn)
  local list = early[stage]
  list[#list + 1] = fn
end

--- What the scripts of this generation and their modules mention, strings and methods, as far as it shows in their
--- code: `received.mentions.check` is false when no script can call auth.check. Set when the scripts are loaded.
---@type table<string, true>
received.mentions = {}

-- The host calls it before the handlers of MAIL and end of header.
local function begin(ctx, stage)
  local message = received.of(ctx)
  message.is_complete = stage == "eoh"
  for _, fn in ipairs(early[stage]) do
    fn(ctx, message)
  end
end

core.identity(begin, leaving.make)

return received
