--- Who sent this message? SPF, DKIM and DMARC of the session's message in one call, and the field that says so.
---
---   local auth = require "moonmilter.auth"
---
---   function on_eom(ctx)
---     local r = auth.check(ctx)
---     auth.stamp(ctx, r)
---     if r.dmarc.result == "fail" and r.dmarc.policy == "reject" and not r.is_list then
---       return ctx:reject(550, "5.7.26", "DMARC: not authorised by " .. r.dmarc.domain)
---     end
---   end
---
--- Results are advice: nothing happens to a message without a script's line. No function raises for what mail or DNS
--- say; what cannot be known now is "temperror", never "fail".
local authres = require "moonmilter.authres"
local core = require "moonmilter.core"
local author = require "moonmilter.identity.author"
local dkim = require "moonmilter.dkim"
local dmarc = require "moonmilter.dmarc"
local dns = require "moonmilter.dns"
local keys = require "moonmilter.identity.keys"
local options_of = require "moonmilter.runtime.options"
local received = require "moonmilter.identity.received"
local row = require "moonmilter.identity.row"
local sealing = require "moonmilter.identity.sealing"
local spf = require "moonmilter.spf"
local stamp = require "moonmilter.identity.stamp"
local tasks = require "moonmilter.runtime.tasks"
local time_left = require "moonmilter.identity.time_left"
local tree = require "moonmilter.identity.tree"

local auth = {}

require "moonmilter.identity.signing" -- ctx:sign

--- The private keys by domain that ctx:sign takes, while the script loads: moonmilter.identity.keys.
---@param given { file: string }|table<string, table>
---@return moonmilter.Keys
function auth.keys(given)
  local made = keys.new(given) -- no tail call: errors name the caller's line
  return made
end

---@class moonmilter.AuthFound
---@field result string
---@field reason string
---@field properties moonmilter.AuthProperty[]  for moonmilter.authres
---@field domain string?

---@class moonmilter.AuthCheck
---@field spf moonmilter.AuthFound?    of MAIL FROM; of HELO for the null sender (RFC 7208 2.4)
---@field helo moonmilter.AuthFound?   of HELO alone
---@field dkim moonmilter.AuthFound[]? one for each signature, with domain, selector, testing
---@field dmarc moonmilter.DmarcResult?
---@field arc moonmilter.AuthFound?
---@field is_list boolean              the message has a List-Id, so a list may have changed it

-- ---- time ----

local SECONDS = 20 -- for everything; RFC 7208 4.6.4 allows SPF so many

-- When a check must be over: `timeout` seconds from now, but before the deadline of the stage.
local function end_of(ctx, timeout)
  local now = core.now()
  return now + time_left.of(ctx.deadline, now, timeout or SECONDS)
end

-- ---- what is known about the message ----

---@class moonmilter.AuthState
---@field deadline number  of questions to DNS, and of waiting for what began early
---@field answers table<string, table>  by type and name: what DNS said, failures too, so that nothing is asked twice
---@field tasks table<string, moonmilter.Task>  that began early
---@field walk moonmilter.Task[]  that ask for the policies above the Author Domain
---@field verifier moonmilter.dkim.Verifier?
---@field found table<string, any>  results, by check

---@return moonmilter.AuthState
local function state_of(message)
  local state = message.notes.auth
  if not state then
    state = { deadline = 0, answers = {}, tasks = {}, walk = {}, found = {} }
    message.notes.auth = state
  end
  return state
end

-- dns.query that gives up at the deadline.
local function asker(state)
  return function(name, kind)
    local key = kind .. " " .. name
    local answer = state.answers[key]
    if not answer then
      local left = state.deadline - core.now()
      if left <= 0 then
        return nil, "no time is left to ask for " .. name, "timeout"
      end
      answer = { dns.query(name, kind, { timeout = math.min(left, core.dns_timeout()) }) }
      state.answers[key] = answer
    end
    return answer[1], answer[2], answer[3]
  end
end

-- milter.all for questions; a single one needs no task of its own.
local function ask_all(questions)
  local name, question = next(questions)
  if name ~= nil and next(questions, name) == nil then
    return { [name] = question() }
  end
  return tasks.all(questions)
end

local function fields_called(message, name)
  local list, size = {}, #name
  for _, field in ipairs(message.fields) do
    local written = field.name
    if #written > size then -- some MTAs leave blanks before the colon
      written = written:match "^[^ \t]*"
    end
    if #written == size and written:lower() == name then
      list[#list + 1] = field.value
    end
  end
  return list
end

-- ---- what begins before a script asks ----

-- Does some script of this generation ask for this check?
local function is_wanted(check)
  local mentions = received.mentions
  return mentions.check or mentions.dmarc or mentions[check]
end

local function spf_of(ctx, check, deadline)
  return check(ctx, { limits = { seconds = math.max(deadline - core.now(), 0) }, all = tasks.all })
end

local function begin_spf(ctx, message)
  if not is_wanted "spf" or ctx.auth then
    return
  end
  local state, deadline = state_of(message), core.now() + SECONDS
  state.tasks.spf = tasks.spawn(spf_of, ctx, spf.mailfrom, deadline)
  if ctx.sender ~= "" then
    state.tasks.helo = tasks.spawn(spf_of, ctx, spf.helo, deadline)
  end
end

-- Which hashes of the body will be needed, and the questions for keys and policies.
local function begin_rest(_, message)
  if not is_wanted "dkim" then
    return
  end
  local state = state_of(message)
  local ask = asker(state)
  state.deadline = core.now() + SECONDS
  local fields = message.fields
  fields.truncated = not message.complete or nil
  state.verifier = dkim.verifier { headers = fields, dns = ask, all = ask_all, now = core.now(),
    exact_space = message.leading_space }
  for _, want in ipairs(state.verifier.wants) do
    message:want(want.canon, want.length)
  end
  if state.verifier.wants[1] then
    state.tasks.keys = tasks.spawn(state.verifier.ask, state.verifier)
  end
  local domain = is_wanted "dmarc" and author.domain(fields_called(message, "from"))
  for i, name in ipairs(domain and tree.names(domain) or {}) do
    state.walk[i] = tasks.spawn(ask, "_dmarc." .. name, "txt")
  end
end

received.early("mail", begin_spf)
received.early("eoh", begin_rest)

-- Waits for a task that began early. -> what it returned; nil when there is none, or it takes too long
local function wait_for(state, task)
  return task and task:wait(math.max(state.deadline - core.now(), 0.001))
end

-- ---- SPF ----

local LATE = "DNS did not answer in time"

local function check_spf(ctx, name, check, deadline)
  local state = state_of(received.of(ctx))
  state.deadline = deadline
  local found = state.found[name]
  if not found then
    found = wait_for(state, state.tasks[name])
    if not found and state.tasks[name] then
      found = { method = "spf", result = "temperror", reason = LATE, properties = {} }
    end
    found = found or spf_of(ctx, check, deadline)
    state.found[name] = found
  end
  return found
end

--- SPF of MAIL FROM, from on_mail on; of the null sender, of HELO (RFC 7208 2.4).
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound
function auth.spf(ctx)
  return check_spf(ctx, "spf", spf.mailfrom, end_of(ctx))
end

--- SPF of HELO alone, from on_mail on (RFC 7208 2.3).
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound
function auth.helo(ctx)
  return check_spf(ctx, "helo", spf.helo, end_of(ctx))
end

-- ---- DKIM ----

local function check_stage(ctx, call, level)
  if ctx.stage ~= "eom" then
    error(("auth.%s: call it in on_eom: the message has not arrived at %s"):format(call, ctx.stage), level + 1)
  end
end

local function hashes_of(message, wants, level)
  local hashes = {}
  for i, want in ipairs(wants) do
    local hash, length = message:hash(want.canon, want.length)
    if not hash then
      error("auth: no hash of the body: " .. length, level + 1)
    end
    hashes[i] = { hash = hash, length = length }
  end
  return hashes
end

local function check_dkim(ctx, deadline, level)
  local message = received.of(ctx)
  local state = state_of(message)
  state.deadline = deadline
  if not state.found.dkim then
    local verifier = state.verifier
    if not verifier then
      error("auth: write auth.check or auth.dkim in the script itself, so that the host sees before the body that "
        .. "signatures will be checked", level + 1)
    end
    wait_for(state, state.tasks.keys)
    state.found.dkim = verifier:finish(hashes_of(message, verifier.wants, level + 1))
  end
  return state.found.dkim
end

--- The signatures of the message, in on_eom.
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound[]  empty: there is none
function auth.dkim(ctx)
  check_stage(ctx, "dkim", 2)
  return check_dkim(ctx, end_of(ctx), 2)
end

-- ---- DMARC ----

local function check_dmarc(ctx, deadline, level)
  local message = received.of(ctx)
  local state = state_of(message)
  if state.found.dmarc then
    return state.found.dmarc
  end
  local signatures, from_spf = check_dkim(ctx, deadline, level + 1), check_spf(ctx, "spf", spf.mailfrom, deadline)
  local found
  if message.complete then
    for _, task in ipairs(state.walk) do
      wait_for(state, task)
    end
    found = dmarc.check { from = fields_called(message, "from"), spf = from_spf, dkim = signatures,
      dns = asker(state), all = not state.walk[1] and ask_all or nil }
  else
    found = { result = "permerror", reason = "the header has more fields or bytes than the host keeps",
      properties = {}, disposition = "none", aligned = { spf = false, dkim = false }, is_testing = false }
  end
  state.found.dmarc = found
  return found
end

--- DMARC of the message, in on_eom.
---@param ctx moonmilter.ctx
---@return moonmilter.DmarcResult
function auth.dmarc(ctx)
  check_stage(ctx, "dmarc", 2)
  return check_dmarc(ctx, end_of(ctx), 2)
end

-- ---- ARC ----

local function check_arc(ctx, deadline)
  local state = state_of(received.of(ctx))
  state.found.arc = state.found.arc or sealing.check(ctx, deadline)
  return state.found.arc
end

--- The chain of ARC sets, in on_eom (RFC 8617 5.2).
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound  with chain
function auth.arc(ctx)
  check_stage(ctx, "arc", 2)
  return check_arc(ctx, end_of(ctx))
end

-- ---- all of it ----

local OPTIONS = {
  spf = { "boolean", true }, dkim = { "boolean", true }, dmarc = { "boolean", true }, arc = { "boolean", false },
  timeout = { "number", SECONDS },
}

--- Checks the message, in on_eom.
---@param ctx moonmilter.ctx
---@param options { spf: boolean?, dkim: boolean?, dmarc: boolean?, arc: boolean?, timeout: number? }?
---@return moonmilter.AuthCheck
function auth.check(ctx, options)
  check_stage(ctx, "check", 2)
  options = options_of.check("auth.check", options or {}, OPTIONS, 1)
  local deadline, r = end_of(ctx, options.timeout), {}
  r.is_list = fields_called(received.of(ctx), "list-id")[1] ~= nil
  r.spf = options.spf and check_spf(ctx, "spf", spf.mailfrom, deadline) or nil
  r.helo = options.spf and ctx.sender ~= "" and check_spf(ctx, "helo", spf.helo, deadline) or nil
  r.dkim = options.dkim and check_dkim(ctx, deadline, 2) or nil
  r.dmarc = options.dmarc and check_dmarc(ctx, deadline, 2) or nil
  r.arc = options.arc and check_arc(ctx, deadline) or nil
  return r
end

-- ---- what is done with it ----

local STAMP_OPTIONS = { id = { "string", also = "table" }, comments = { "boolean", false } }

--- Deletes Authentication-Results that claim to be ours, and inserts one with these results above all fields
--- (RFC 8601 5). Raises when the list of fields is truncated, or there is no id.
---@param ctx moonmilter.ctx
---@param r moonmilter.AuthCheck
---@param options { id: string|string[]|nil, comments: boolean? }?  id: the authserv-id; of a list, the first is
--- written and all are deleted; default: macro j, the MTA's name
function auth.stamp(ctx, r, options)
  options = options_of.check("auth.stamp", options or {}, STAMP_OPTIONS, 1)
  local ids = options.id or ctx:macro "j"
  if not ids then
    error("auth.stamp: the MTA does not say its name (macro j); give { id = \"mx.example.org\" }", 2)
  end
  authres.strip(ctx.headers, ids)
  ctx:insert_header(0, "Authentication-Results", stamp.value(r, type(ids) == "table" and ids[1] or ids,
    options.comments))
end

--- The message as one flat row, for a log or a report (RFC 9990).
---@param ctx moonmilter.ctx
---@param r moonmilter.AuthCheck
---@return table<string, string|number|boolean>
function auth.row(ctx, r)
  return row.of(ctx, r)
end

return auth
