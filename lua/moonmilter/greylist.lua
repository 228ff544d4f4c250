--- Greylisting: a sender whom nobody knows gets a temporary failure; a mail server tries again later, most spam
--- programs do not. All workers of the host share what is known, or, by a Redis server, those of all hosts.
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
local remote_known = require "moonmilter.state.remote_known"
local server = require "moonmilter.state.server"
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
  shared = { "string", "host" }, -- by all workers of the "host", or by all "hosts"
  redis = { "table" }, -- a client, or the options of redis.new; for "hosts"
  on_down = { "string", "open" }, -- what check() answers when it cannot know: "open" lets pass, "tempfail" defers
}

-- Options that only one kind has.
local OF_HOST, OF_HOSTS = { "durable", "max" }, { "redis" }

---@class moonmilter.Greylist
local Greylist = {}
Greylist.__index = Greylist

local function check_sharing(given, options)
  if options.shared ~= "host" and options.shared ~= "hosts" then
    error(("greylist.new: shared is %q; it must be \"host\" or \"hosts\""):format(options.shared), 4)
  elseif options.on_down ~= "open" and options.on_down ~= "tempfail" then
    error(("greylist.new: on_down is %q; it must be \"open\" or \"tempfail\""):format(options.on_down), 4)
  end
  for _, name in ipairs(options.shared == "host" and OF_HOSTS or OF_HOST) do
    if given[name] ~= nil then
      error(("greylist.new: with shared = %q there is no option %s"):format(options.shared, name), 4)
    end
  end
  if options.shared == "hosts" and (#options.name > 58 or not options.name:find "^[%w_.-]+$") then
    error("greylist.new: name must be 1 to 58 letters, digits, \"_\", \"-\" and \".\"", 4)
  end
end

local function check(given)
  local options = options_of.check("greylist.new", given, OPTIONS, 3)
  for _, name in ipairs { "delay", "retry_within", "known_for", "allow_after" } do
    if not (options[name] >= 0 and options[name] <= 1e9) then
      error(("greylist.new: %s is %s; give 0 or more"):format(name, tostring(options[name])), 3)
    end
  end
  if options.delay >= options.retry_within then
    error(("greylist.new: delay (%g s) must be less than retry_within (%g s)"):format(options.delay,
      options.retry_within), 3)
  end
  check_sharing(given, options)
  return options
end

-- What is known, of this host.
local Known = {}
Known.__index = Known

--- A greylist.
---@param options moonmilter.greylist.Options?
---@return moonmilter.Greylist
function greylist.new(options)
  options = check(options or {})
  local of = { name = options.name, delay = options.delay, retry_within = options.retry_within,
    known_for = options.known_for, allow_after = options.allow_after }
  if options.shared == "hosts" and not core.shadow then -- a shadow's list is its own
    local used, text = server.of(options.redis)
    if not used then
      error("greylist.new: " .. text, 2)
    end
    of.server = used
    of = remote_known.new(of)
  else
    of.kept = store.open(options.name, { durable = options.durable, max = options.max, when_full = "evict" })
    of = setmetatable(of, Known)
  end
  return setmetatable({ known = of, key = options.key, on_down = options.on_down }, Greylist)
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

-- The place has proved for several domains that it retries: all that comes from there is known from now on.
local function count_domain(self, place)
  local count = self.kept:incr("count\n" .. place, 1, self.known_for)
  if count and count >= self.allow_after then
    self.kept:set("place\n" .. place, true, self.known_for)
  end
end

local function is_known(self, place, known)
  for _, key in ipairs { "place\n" .. place, known } do
    local found, text, code = self.kept:get(key)
    if found then
      self.kept:set(key, true, self.known_for)
      return true
    elseif text then
      return nil, text, code
    end
  end
  return false
end

-- As remote_known.ask, without a wait.
function Known:ask(place, sender, try, counts)
  local known_key = ("known\n%s\n%s"):format(place, sender)
  local known, text, code = is_known(self, place, known_key)
  if known then
    return "known", 0
  elseif known == nil then
    return nil, text, code
  end
  local added
  added, text, code = self.kept:add("wait\n" .. try, now(), self.retry_within)
  if added then
    return "new", self.delay
  elseif added == nil then
    return nil, text, code
  end
  local left = (self.kept:get("wait\n" .. try) or now()) + self.delay - now()
  if left > 0 then
    return "early", math.ceil(left)
  end
  -- the record stays: the other recipients' retries of this message come one after the other
  self.kept:set(known_key, true, self.known_for)
  if counts and self.allow_after > 0 then
    count_domain(self, place)
  end
  return "passed", 0
end

function Known:clear()
  return self.kept:clear()
end

local OK = { known = true, passed = true }

-- What fails is logged, but a server that is down is not at each message.
local function down(self, text, code)
  local is_open = self.on_down == "open"
  log[code == "down" and "debug" or "warn"]("greylist: %s; mail %s", text, is_open and "goes through" or "is deferred")
  return is_open, { reason = "down", wait = 0, text = text, code = code }
end

--- Asks for one recipient. With shared = "hosts" it waits for the server.
---@param ctx moonmilter.ctx
---@param recipient string
---@param facts { spf: string?, dkim: string? }?  domains that passed SPF or DKIM
---@return boolean ok
---@return moonmilter.greylist.State state  wait: seconds until a retry counts
function Greylist:check(ctx, recipient, facts)
  check_arguments(ctx, recipient, facts)
  if not ctx.client.ip then -- over a unix socket: a program of this machine
    return true, { reason = "own", wait = 0 }
  end
  -- a provider's name stands for its customers' machines, too, so it is never known for all senders
  local place, is_exact = place_of(ctx, facts)
  local reason, seconds, code = self.known:ask(place, domain_of(ctx.sender), asked(self, ctx, recipient), is_exact)
  if not reason then
    return down(self, seconds, code)
  end
  return OK[reason] or false, { reason = reason, wait = seconds }
end

--- Forgets everything.
---@return true? done
---@return string? text
---@return string? code
function Greylist:clear()
  return self.known:clear()
end

return greylist
