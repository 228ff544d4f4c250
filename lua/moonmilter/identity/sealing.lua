--- ctx:seal: adds an ARC set to the message as it leaves (RFC 8617 5.1). The chain is that of the message as it came,
--- verified before any edit counts.
local arc = require "moonmilter.arc"
local core = require "moonmilter.core"
local dns = require "moonmilter.dns"
local keys = require "moonmilter.identity.keys"
local leaving = require "moonmilter.identity.leaving"
local log = require "moonmilter.log"
local received = require "moonmilter.identity.received"
local tasks = require "moonmilter.runtime.tasks"

local sealing = {}

---@class identity.SealOptions
---@field domain string            of the sealer: the table has a key for it
---@field authserv_id string|nil   whose results the set carries; default: the MTA's own name
---@field headers string[]|nil     names of fields to sign; default: see docs/arc.md

local OPTIONS = { domain = "string", authserv_id = "string", headers = "table" }

-- nil, or what is wrong
local function fault_of(options, table_of)
  for key, value in pairs(options) do
    if not OPTIONS[key] then
      return ("unknown option %q%s"):format(tostring(key), core.suggest(tostring(key), OPTIONS))
    elseif type(value) ~= OPTIONS[key] then
      return ("%s is a %s; it must be a %s"):format(key, type(value), OPTIONS[key])
    end
  end
  if not options.domain then
    return "domain is missing: the name that seals"
  elseif not table_of:of(options.domain:lower()) then
    return ("the table has no key for %q"):format(options.domain)
  end
end

local SECONDS = 20 -- for the questions of a chain, if the caller does not say

-- dns.query that gives up at the deadline of the work.
local function asker(work)
  return function(name, kind)
    local left = work.deadline - core.now()
    if left <= 0 then
      return nil, "no time is left to ask for " .. name, "timeout"
    end
    return dns.query(name, kind, { timeout = math.min(left, core.dns_timeout()) })
  end
end

-- Begins to verify the chain as received, and asks for the hashes of the body that it needs.
local function begin(message)
  if message.notes.arc then
    return message.notes.arc
  end
  local work, fields = {}, message.fields
  fields.truncated = not message.complete or nil
  local verifier = arc.verifier { headers = fields, dns = asker(work), all = tasks.all,
    exact_space = message.leading_space }
  work.verifier = verifier
  for _, want in ipairs(verifier.fault and {} or verifier.wants) do
    local ok, why = message:want(want.canon, want.length)
    if not ok then
      verifier.fault, verifier.fault_result = why, "temperror" -- the chain may be good
    end
  end
  message.notes.arc = work
  return work
end

--- The chain of a message as received; in on_eom and later. Waits.
---@param message identity.Received
---@param deadline number?  of questions; default: in 20 seconds
---@return moonmilter.arc.Chain
function sealing.chain(message, deadline)
  local work = begin(message)
  work.deadline = deadline or core.now() + SECONDS
  if not work.chain then
    local hashes = {}
    for i, want in ipairs(work.verifier.fault and {} or work.verifier.wants) do
      local hash, length = message:hash(want.canon, want.length)
      if not hash then
        work.verifier.fault, work.verifier.fault_result = length, "temperror"
      end
      hashes[i] = { hash = hash, length = length }
    end
    work.chain = work.verifier:finish(hashes)
  end
  return work.chain
end

--- The chain as a result for Authentication-Results, in on_eom: for auth.arc. Waits.
---@param ctx table
---@param deadline number?  of questions
---@return table  method, result, reason, properties, as authres.format takes them, and chain
function sealing.check(ctx, deadline)
  local chain = sealing.chain(received.of(ctx), deadline)
  return { method = "arc", result = chain.result, reason = chain.reason, properties = chain.properties, chain = chain }
end

-- The key of the domain; RSA where there is one, because not every verifier knows Ed25519.
local function key_of(request)
  local chosen, chosen_one
  for _, one in ipairs(request.keys:of(request.options.domain:lower())) do
    local key, why = request.keys:key(one)
    if not key then
      error(why, 0)
    end
    if not chosen or chosen:kind() ~= "rsa" and key:kind() == "rsa" then
      chosen, chosen_one = key, one
    end
  end
  return chosen, chosen_one
end

local function add_set(message, request)
  local options = request.options
  local chain = sealing.chain(message.received)
  local key, one = key_of(request)
  message:breathe()
  local set, why, code = arc.seal { headers = message:fields(), body_hash = message:hash "relaxed", chain = chain,
    domain = one.domain, selector = one.selector, key = key, names = options.headers,
    authserv_id = options.authserv_id or message.ctx.mta.host or one.domain, now = core.now() }
  if not set and code == "key" then
    error(("%s: %s"):format(one.where, why), 0)
  elseif not set then
    return log.info("seal: not sealed: %s", why)
  end
  for i = #set, 1, -1 do
    message:insert(set[i].name, set[i].value)
  end
end

--- Queues a set. Up to on_eom; one of a message, however many scripts ask.
---@param ctx table
---@param table_of identity.Keys
---@param options identity.SealOptions
---@return boolean|nil ok
---@return string|nil text  what is wrong with the call
function sealing.ask(ctx, table_of, options)
  if not keys.is(table_of) then
    return nil, ("the keys are a %s; auth.keys makes them while the script loads"):format(type(table_of))
  elseif type(options) ~= "table" then
    return nil, 'the options are missing: { domain = "example.org" }'
  end
  local wrong = fault_of(options, table_of)
  if wrong then
    return nil, wrong
  end
  local message = received.of(ctx)
  local can_hash, why = message:want "relaxed"
  local _, _, has_new_body = ctx:_seals()
  if not (can_hash or message:wants "relaxed" or has_new_body) then
    return nil, ("the body was not hashed; ask in on_eoh or before (%s)"):format(why)
  elseif message.notes.is_sealed then
    return true
  end
  message.notes.is_sealed = true
  local request = { keys = table_of, options = options }
  return leaving.ask(message, leaving.SEAL, function(leaves) add_set(leaves, request) end)
end

-- A script may ask at any time, but the hashes of the body that the chain needs have to be asked for at end of header.
received.early("eoh", function(_, message)
  if received.mentions.seal then
    message:want "relaxed"
  end
  if received.mentions.seal or received.mentions.arc then
    begin(message)
  end
end)

return sealing
