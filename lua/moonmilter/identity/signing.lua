--- ctx:sign: who is signed, with which keys, and what is said about it (RFC 6376 5).
local author = require "moonmilter.identity.author"
local core = require "moonmilter.core"
local dkim = require "moonmilter.dkim"
local keys = require "moonmilter.identity.keys"
local leaving = require "moonmilter.identity.leaving"
local log = require "moonmilter.log"
local received = require "moonmilter.identity.received"
local seal = require "moonmilter.seal"

local signing = {}

---@class identity.SignOptions
---@field domain string|nil      signs with the keys of this domain instead of that of From
---@field headers string[]|nil   names of fields to sign; default: see docs/dkim.md
---@field oversign string[]|nil  names of which nobody may add a field later
---@field expires number|nil     seconds after which the signature is void (x=)
---@field canonicalization string|nil  default "relaxed/relaxed"
---@field fold boolean|nil       folds header lines of more than 998 bytes at their blanks

local OPTIONS = { domain = "string", headers = "table", oversign = "table", expires = "number",
  canonicalization = "string", fold = "boolean" }

local function signer_of(options, domain, selector, key, mta)
  return dkim.signer {
    domain = domain, selector = selector, key = key, headers = options.headers, oversign = options.oversign,
    canonicalization = options.canonicalization, expires = options.expires,
    -- Postfix shows what it adds; Sendmail adds Date, Message-Id, From and more behind every milter's back
    oversign_missing = mta == "postfix",
  }
end

local SAMPLE = seal.private_key(seal.new_key "ed25519") -- dkim.signer checks options only together with a key

-- -> the body's canonical form; or nil, what is wrong
local function check(options)
  for key, value in pairs(options) do
    if not OPTIONS[key] then
      return nil, ("unknown option %q%s"):format(tostring(key), core.suggest(tostring(key), OPTIONS))
    elseif type(value) ~= OPTIONS[key] then
      return nil, ("%s is a %s; it must be a %s"):format(key, type(value), OPTIONS[key])
    end
  end
  if options.expires and not (options.expires >= 1 and options.expires <= 1e9) then
    return nil, ("expires is %s; give seconds from now"):format(tostring(options.expires))
  elseif options.domain and not author.name_of(options.domain) then
    return nil, ("%q is not a domain"):format(options.domain)
  end
  local ok, signer = pcall(signer_of, options, "example.org", "s", SAMPLE)
  if not ok then
    return nil, (tostring(signer):gsub("^.-dkim%.signer: ", ""))
  end
  return signer.want.canon
end

-- The domain whose keys sign; nil: text says why none.
local function domain_of(fields, options)
  local values = {}
  for _, field in ipairs(fields) do
    if field.name:lower() == "from" then
      values[#values + 1] = field.value
    end
  end
  if #values ~= 1 then
    return nil, ("the message has %s From fields, and no verifier accepts that"):format(#values == 0 and "no"
      or tostring(#values))
  elseif options.domain then
    return author.name_of(options.domain)
  end
  return author.domain(values)
end

-- The signers for keys that have not signed this message yet; Ed25519 first, because it takes a tenth of RSA's time.
local function signers_for(list, request, message)
  local quick, slow = {}, {}
  local done = message.received.notes.signed or {}
  message.received.notes.signed = done
  for _, one in ipairs(list) do
    local id = one.selector .. "." .. one.domain
    if not done[id] then
      done[id] = true
      local key, why = request.keys:key(one)
      if not key then
        error(why, 0)
      end
      local target = key:kind() == "ed25519" and quick or slow
      target[#target + 1] = { signer_of(request.options, one.domain, one.selector, key, message.mta), one }
    end
  end
  for _, item in ipairs(slow) do
    quick[#quick + 1] = item
  end
  return quick
end

local SHOWN = 3 -- warnings of one message

local function warn_of_long_lines(message)
  local notes = message.received.notes
  if notes.has_warned then
    return
  end
  notes.has_warned = true
  for i, text in ipairs(message:long_lines()) do
    if i <= SHOWN then
      log.warn("sign: %s; relays break lines of more than 998 bytes, and with them the signature", text)
    end
  end
end

local function sign(message, request)
  local options = request.options
  if options.fold then
    message:fold()
  end
  local domain, why = domain_of(message:fields(), options)
  if not domain then
    return log.warn("sign: not signed: %s", why)
  end
  local list = request.keys:of(domain)
  if not list then
    return log.debug("sign: not signed: no key for %s", domain)
  end
  warn_of_long_lines(message)
  for _, item in ipairs(signers_for(list, request, message)) do
    local signer, one = item[1], item[2]
    message:breathe()
    local value, problem = signer:sign(message:fields(), message:hash(signer.want.canon), core.now())
    if not value then
      error(("%s: %s"):format(one.where, problem), 0)
    end
    message:insert("DKIM-Signature", value)
  end
end

-- "10-sign.lua:12: sign", of the script that asks.
local function where()
  local level = 5 -- this, ask here and in runtime.edits, ctx:sign, the script
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return "sign"
    elseif info.what ~= "C" and info.currentline > 0 then
      return ("%s:%d: sign"):format(info.short_src, info.currentline)
    end
    level = level + 1
  end
end

--- Queues a signature.
---@param ctx table
---@param table_of identity.Keys
---@param options identity.SignOptions|nil
---@return boolean|nil ok
---@return string|nil text  what is wrong with the call
function signing.ask(ctx, table_of, options)
  if not keys.is(table_of) then
    return nil, ("the keys are a %s; auth.keys makes them while the script loads"):format(type(table_of))
  end
  options = options or {}
  local canon, wrong = check(options)
  if not canon then
    return nil, wrong
  end
  local request = { keys = table_of, options = options }
  local place, message = where(), received.of(ctx)
  local can_hash, why = message:want(canon, nil, true)
  local _, _, has_new_body = ctx:_seals()
  if not (can_hash or message:wants(canon) or has_new_body) then
    return nil, ("the body was not hashed in the %s form, because no table has a key for the domain of From; ask in "
      .. "on_eoh or before (%s)"):format(canon, why)
  end
  return leaving.ask(message, leaving.SIGN, function(leaves)
    local ok, problem = pcall(sign, leaves, request)
    if not ok then
      error(type(problem) == "string" and place .. ": " .. problem or problem, 0)
    end
  end)
end

-- A script may still ask in on_eom. So where one may, and From is of a domain that signs, the body is hashed.
received.early("eoh", function(_, message)
  if not received.mentions.sign then
    return
  end
  local domain = domain_of(message.fields, {})
  if domain and keys.sign_for(domain) then
    message:want("relaxed", nil, true)
  end
end)

return signing
