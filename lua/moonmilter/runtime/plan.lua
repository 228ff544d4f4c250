--- What the host negotiates for the scripts of a generation: steps, edits, macros. Derived from their handlers, their
-- options and what their code mentions.
local macros = require "moonmilter.runtime.macros"

local plan = {}

--- Loading this module asks for the body and the end of header: it checks and signs messages.
plan.IDENTITY = "moonmilter.identity.received"

-- What a script mentions, and the protocol steps that deliver it. A superfluous step costs a little time; a missing one
-- would leave a fact empty.
plan.facts = {
  client = { "connect" }, helo = { "helo" },
  sender = { "mail" }, sender_raw = { "mail" }, sender_params = { "mail" },
  recipients = { "rcpt" }, delete_recipient = { "rcpt" },
  headers = { "header" }, change_header = { "header" }, delete_header = { "header" },
  body_size = { "body" }, body = {},
}

-- An unknown command may arrive inside a message, and its handler may use ctx.message or request an edit.
local message_stages = { mail = true, rcpt = true, data = true, header = true, eoh = true, body = true, eom = true,
  unknown = true, abort = true, done = true }

local function note_stages(result, script)
  for stage in pairs(script.handlers) do
    result.handled[stage], result.stages[stage] = true, true
  end
  if script.fields then
    result.handled.header, result.stages.header = true, true
  end
end

local function note_facts(result, words)
  for word in pairs(words) do
    for _, stage in ipairs(plan.facts[word] or {}) do
      result.stages[stage] = true
    end
  end
end

-- ctx:body{…} keeps the body and may refuse it, so each piece needs a reply; its parts need the header. The modules for
-- ctx:body and the fields' methods are loaded now rather than at the first message; without LPeg the call reports it.
local function note_methods(result, methods)
  if methods.body then
    result.stages.body, result.handled.body, result.stages.header = true, true, true
    pcall(require, "moonmilter.body")
  end
  -- the body may be skipped, when nothing needs its hash
  if methods[plan.IDENTITY] then
    result.stages.header, result.stages.eoh, result.stages.body, result.handled.body = true, true, true, true
  end
  if methods.text or methods.addresses or methods.params or methods.date or methods.parsed then
    pcall(require, "moonmilter.header")
  end
end

-- For moonmilter.identity.received: what the code of scripts mentions.
local function note_mentions(into, words)
  for word in pairs(into and words or {}) do
    into[word] = true
  end
end

-- options.macros: names, and lists of names by stage.
local function note_macros(given, named, at)
  for key, value in pairs(given) do
    if type(value) == "table" then
      at[key] = at[key] or {}
      for _, name in ipairs(value) do
        at[key][name] = true
      end
    else
      named[value] = true
    end
  end
end

local function to_set(list)
  local set = {}
  for _, word in ipairs(list or {}) do
    set[word] = true
  end
  return set
end

-- The host must see a message from its beginning: without MAIL there is no ctx.message, and no abort from Sendmail
-- either (protocol 5.6).
local function complete_stages(result)
  for stage in pairs(message_stages) do
    if result.stages[stage] then
      result.stages.mail, result.stages.eom = true, true
    end
  end
  -- Macros come with the commands of their stages.
  for stage in pairs(result.handled.macros and macros.stages or {}) do
    result.stages[stage] = true
  end
  -- Sendmail reports a RSET only to milters that have answered MAIL: otherwise on_abort would run at the next MAIL or
  -- QUIT, and on_unknown would see a message that is gone.
  if result.stages.unknown or result.handled.abort then
    result.handled.mail = true
  end
end

--- The plan, which the host reads (host/script/).
---@param scripts table[]  as moonmilter.runtime.script makes them
---@param module_strings table<string, true>  what the modules they have loaded mention
---@param module_methods table<string, true>  and call
---@return table
function plan.of(scripts, module_strings, module_methods)
  local result = { scripts = scripts, stages = {}, handled = {}, needs = {}, lockstep = false,
    rejected_recipients = false }
  local named_macros, macros_at = macros.named(module_strings), {}
  local needs_version = macros.needs_version(module_strings) or macros.needs_version(module_methods)
  note_facts(result, module_strings)
  note_methods(result, module_methods)
  result.counts_body = module_strings.body_size == true
  local mentions = module_methods[plan.IDENTITY] and require("moonmilter.identity.received").mentions
  note_mentions(mentions, module_strings)
  note_mentions(mentions, module_methods)
  for _, script in ipairs(scripts) do
    local options = script.options
    note_stages(result, script)
    note_facts(result, script.strings)
    note_mentions(mentions, script.strings)
    note_mentions(mentions, script.methods)
    note_methods(result, script.methods)
    local declared = to_set(options.facts)
    note_facts(result, declared)
    note_methods(result, { body = declared.body })
    result.counts_body = result.counts_body or script.strings.body_size or declared.body_size or false
    for _, word in ipairs(options.needs or {}) do
      result.needs[#result.needs + 1] = word
    end
    for name in pairs(macros.named(script.strings)) do
      named_macros[name] = true
    end
    for name in pairs(script.macros) do
      named_macros[name] = true
    end
    note_macros(options.macros or {}, named_macros, macros_at)
    needs_version = needs_version or macros.needs_version(script.strings) or macros.needs_version(script.methods)
    result.lockstep = result.lockstep or options.lockstep == true
    result.rejected_recipients = result.rejected_recipients or options.rejected_recipients == true
    script.strings, script.methods, script.macros = nil, nil, nil
  end
  local keys = package.loaded["moonmilter.identity.keys"]
  result.signs = type(keys) == "table" and keys.summary() or nil
  local opened = package.loaded["moonmilter.maps.opened"]
  result.maps = type(opened) == "table" and opened.lines() or nil
  complete_stages(result)
  result.macros_named = macros.line(named_macros)
  named_macros.v = named_macros.v or needs_version or nil
  result.macro_lists = macros.lists(named_macros, macros_at)
  return result
end

return plan
