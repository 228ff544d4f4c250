--- Greylisting: a sender whom nobody knows gets a temporary failure; a mail server tries again later, most spam
--- programs do not. All workers of the host share what is known.
--
--   local grey = greylist.new { delay = 60, durable = true }
--   function on_rcpt(ctx, recipient)
--     local ok, state = grey:check(ctx, recipient)
--     if not ok then
--       return ctx:tempfail(451, "4.7.1", ("Greylisted; try again in %d s"):format(state.wait))
--     end
--   end
--
-- What is asked: has this pair of sender and recipient been tried at least `delay` seconds ago? The network is not
-- part of the question, because large providers retry from other networks; only the null sender is asked together with
-- its network. Whoever has retried is known by where it came from and by the domain of its sender, and is not asked
-- again. Where it came from is the SPF or DKIM domain if the script passes one, else the verified name of the client
-- without its first label, else its network (/24, /64).
local address = require "moonmilter.address"
local core = require "moonmilter.core"
local log = require "moonmilter.log"
local options_of = require "moonmilter.runtime.options"
local store = require "moonmilter.store"

local greylist = {}

local now = core.now

local OPTIONS = {
  name = { "string", "greylist" }, -- of its store
  delay = { "number", 60 }, -- seconds before a retry counts
  retry_within = { "number", 2 * 86400 }, -- seconds in which it must come
  known_for = { "number", 36 * 86400 }, -- seconds that a sender stays known after its last message
  allow_after = { "number", 5 }, -- sender domains that pass from one place until all its senders are known; 0: never
  durable = { "boolean", false }, -- survives a restart of the system (state_dir)
  max = { "number", 256 * 2 ^ 20 }, -- bytes of the store
  key = { "function" }, -- fn(ctx, recipient) -> what is asked instead of sender and recipient
}

---@class moonmilter.Greylist
local Greylist = {}
Greylist.__index = Greylist

--- A greylist.
---@param options moonmilter.greylist.Options?
---@return moonmilter.Greylist
function greylist.new(options)
  options = options_of.check("greylist.new", options or {}, OPTIONS, 2)
  for _, name in ipairs { "delay", "retry_within", "known_for", "allow_after" } do
    if not (options[name] >= 0 and options[name] <= 1e9) then
      error(("greylist.new: %s is %s; give 0 or more"):format(name, tostring(options[name])), 2)
    end
  end
  if options.delay >= options.retry_within then
    error(("greylist.new: delay (%g s) must be less than retry_within (%g s)"):format(options.delay,
      options.retry_within), 2)
  end
  options.kept = store.open(options.name, { durable = options.durable, max = options.max, when_full = "evict" })
  return setmetatable(options, Greylist)
end

-- ---- where a client comes from ----

-- The first four groups of an IPv6 address as text.
local function network_of_ipv6(ip)
  local head, tail = ip:match "^(.-)::(.*)$"
  local groups = {}
  for group in (head or ip):gmatch "[^:]+" do
    groups[#groups + 1] = group
  end
  if head then
    local _, after = tail:gsub("[^:]+", "")
    for _ = 1, 8 - #groups - after do
      groups[#groups + 1] = "0"
    end
    for group in tail:gmatch "[^:]+" do
      groups[#groups + 1] = group
    end
  end
  return table.concat(groups, ":", 1, math.min(4, #groups)):lower()
end

local function network_of(ip)
  ip = ip:match "^::[fF][fF][fF][fF]:(%d+%.%d+%.%d+%.%d+)$" or ip
  return ip:match "^%d+%.%d+%.%d+" or network_of_ipv6(ip)
end

-- "mail-ej1-f46.google.com" -> "google.com"; nothing for a name in which that would be a top-level domain.
local function pool_of(name)
  return name and not name:find "^%[" and name:lower():match "^[^.]+%.([^.]+%.[^%s]+)$" or nil
end

-- A domain has two spellings, of letters and of xn--.
local function domain_of(sender)
  local domain = sender:match "@([^@]*)$" or ""
  return address.domain_to_ascii(domain) or domain:lower()
end

local function check_arguments(ctx, recipient, facts)
  if type(recipient) ~= "string" then
    error(("check: the recipient is a %s; it must be a string"):format(type(recipient)), 3)
  elseif type(ctx.sender) ~= "string" then
    error("check: there is no sender yet; call it in on_rcpt", 3)
  elseif facts ~= nil and type(facts) ~= "table" then
    error(("check: facts is a %s; it must be a table"):format(type(facts)), 3)
  end
  for _, name in ipairs { "spf", "dkim" } do
    local domain = facts and facts[name]
    if domain ~= nil and type(domain) ~= "string" then
      error(("check: facts.%s is a %s; give the domain that passed, or nil"):format(name, type(domain)), 3)
    end
  end
end

local function place_of(ctx, facts)
  local domain = facts and (facts.spf or facts.dkim)
  if domain and domain ~= "" then
    return "domain " .. domain:lower(), true
  end
  local name = pool_of(ctx.client.host)
  if name then
    return "name " .. name, false
  end
  return "net " .. network_of(ctx.client.ip), true
end

-- ---- check ----

local function asked(self, ctx, recipient)
  if self.key then
    local key = self.key(ctx, recipient)
    if type(key) ~= "string" then
      error(("greylist: the key function returned a %s; it must return a string"):format(type(key)), 3)
    end
    return key
  end
  local sender = ctx.sender:lower()
  if sender == "" then
    sender = "<> " .. network_of(ctx.client.ip)
  end
  return ("%s\n%s"):format(sender, recipient:lower())
end

-- The place has proved for several domains that it retries: all that comes from there is known from now on. Not for
-- a name: a provider's name stands for its customers' machines, too.
local function count_domain(self, place, is_exact)
  if self.allow_after == 0 or not is_exact then
    return
  end
  local count = self.kept:incr("count\n" .. place, 1, self.known_for)
  if count and count >= self.allow_after then
    self.kept:set("place\n" .. place, true, self.known_for)
  end
end

local function down(text)
  log.warn("greylist: %s; mail goes through", text)
  return true, { reason = "down", wait = 0 }
end

local function is_known(self, place, known)
  for _, key in ipairs { "place\n" .. place, known } do
    local found, text = self.kept:get(key)
    if found then
      self.kept:set(key, true, self.known_for)
      return true
    elseif text then
      return nil, text
    end
  end
  return false
end

--- Asks for one recipient. What fails lets mail through: a greylist that is down must not stop mail.
---@param ctx moonmilter.ctx
---@param recipient string
---@param facts { spf: string?, dkim: string? }?  domains that passed SPF or DKIM
---@return boolean ok
---@return { reason: "known"|"passed"|"new"|"early"|"own"|"down", wait: number } state  wait: seconds until a retry counts
function Greylist:check(ctx, recipient, facts)
  check_arguments(ctx, recipient, facts)
  if not ctx.client.ip then -- over a unix socket: a program of this machine
    return true, { reason = "own", wait = 0 }
  end
  local place, is_exact = place_of(ctx, facts)
  local known_key = ("known\n%s\n%s"):format(place, domain_of(ctx.sender))
  local known, text = is_known(self, place, known_key)
  if known then
    return true, { reason = "known", wait = 0 }
  elseif known == nil then
    return down(text)
  end
  local wait_key = "wait\n" .. asked(self, ctx, recipient)
  local added, why = self.kept:add(wait_key, now(), self.retry_within)
  if added then
    return false, { reason = "new", wait = self.delay }
  elseif added == nil then
    return down(why)
  end
  local since = self.kept:get(wait_key) or now()
  local left = since + self.delay - now()
  if left > 0 then
    return false, { reason = "early", wait = math.ceil(left) }
  end
  -- the record stays: the other recipients' retries of this message come one after the other
  self.kept:set(known_key, true, self.known_for)
  count_domain(self, place, is_exact)
  return true, { reason = "passed", wait = 0 }
end

--- Forgets everything.
function Greylist:clear()
  return self.kept:clear()
end

return greylist
