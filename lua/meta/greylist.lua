---@meta moonmilter.greylist
-- require "moonmilter.greylist", for editors (LuaLS). Never loaded. Manual: docs/greylist.md.

--- Greylisting, shared by all workers of the host, whose calls do not wait; with shared = "hosts" by all hosts, whose
--- calls wait for a Redis server.
---@class moonmilter.greylist
local greylist = {}

---@class moonmilter.greylist.Options
---@field delay number?         seconds before a retry counts; default 60
---@field retry_within number?  seconds in which it must come; default 2 days
---@field known_for number?     seconds that a sender stays known; default 36 days
---@field allow_after number?   sender domains that pass from one place until all its senders are known; 0: never; default 5
---@field durable boolean?      survives a restart of the system; default false
---@field max integer?          bytes of its store; default 256 MiB
---@field name string?          of its store; default "greylist"
---@field key (fun(ctx: moonmilter.ctx, recipient: string): string)?  what is asked instead of sender and recipient
---@field shared "host"|"hosts"|nil  default "host"
---@field redis moonmilter.redis.Options|moonmilter.Redis|nil  for "hosts"; then there are no durable and max
---@field on_down "open"|"tempfail"|nil  what check() answers when it cannot know; default "open"

---@class moonmilter.greylist.State
---@field reason "known"|"passed"|"new"|"early"|"own"|"down"
---@field wait number    seconds until a retry counts
---@field text string?   of a failure
---@field code string?

---@class moonmilter.Greylist
local Greylist = {}

--- Raises at the caller's line when an option is wrong.
---@param options moonmilter.greylist.Options?
---@return moonmilter.Greylist
function greylist.new(options) end

--- Asks for one recipient. A failure of the store or the server lets mail through unless on_down is "tempfail".
---@param ctx moonmilter.ctx
---@param recipient string
---@param facts { spf: string?, dkim: string? }?  domains that passed SPF or DKIM
---@return boolean ok
---@return moonmilter.greylist.State state
function Greylist:check(ctx, recipient, facts) end

--- Forgets everything.
---@return true?
---@return string? text
---@return moonmilter.store.Code|moonmilter.redis.Code|nil code
function Greylist:clear() end

return greylist
