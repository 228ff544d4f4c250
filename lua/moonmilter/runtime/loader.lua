--- Loads the scripts of one generation: compiles, runs each in an environment of its own, finds its handlers, and tells
-- the host what to negotiate. Runs as a task, so a script's top level and on_load may wait.
local core = require "moonmilter.core"
local chunk = require "moonmilter.runtime.chunk"
local coroutines = require "moonmilter.runtime.coroutines"
local log = require "moonmilter.log"
local luasec = require "moonmilter.net.luasec"
local luasocket = require "moonmilter.net.luasocket"
local macros = require "moonmilter.runtime.macros"
local modules = require "moonmilter.runtime.modules"
local suggest = require "moonmilter.runtime.suggest"

local loader = {}

local handlers = core.handlers

-- What a script mentions, and the steps of the protocol that bring it. Asking for a step too many costs a
-- little time; one too few would make a fact empty.
local facts = {
  client = { "connect" }, helo = { "helo" },
  sender = { "mail" }, sender_raw = { "mail" }, sender_params = { "mail" },
  recipients = { "rcpt" }, delete_recipient = { "rcpt" },
  headers = { "header" }, change_header = { "header" }, delete_header = { "header" },
  body_size = { "body" }, body = {},
}

local options_known = {
  needs = "table", facts = "table", macros = "table", lockstep = "boolean", rejected_recipients = "boolean",
}

local function file_error(path, line, text)
  error(("%s:%d: %s"):format(path, line, text), 0)
end

local function read_file(path)
  local file, err = io.open(path, "rb")
  if not file then
    error(err, 0)
  end
  local source, why = file:read("*a")
  file:close()
  if not source then
    error(("%s: cannot be read: %s"):format(path, why), 0)
  end
  return source
end

-- ---- the environment of a script ----

local function script_print(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  log.info("%s", table.concat(words, "\t"))
end

local function text_load(source, name, mode, env)
  if mode and mode ~= "t" then
    error(("load: mode %q; only text is loaded"):format(tostring(mode)), 2)
  end
  return load(source, name, "t", env or getfenv(2))
end

local function new_environment(path)
  local env, reported = {}, {}
  local is_loading = true
  setmetatable(env, {
    __index = _G,
    __newindex = function(_, name, value)
      if not is_loading and not reported[name] then
        reported[name] = true
        log.warn("%s: global \"%s\" is set while a handler runs; every session shares it. Use a local, ctx.message or "
          .. "ctx.session\n%s", path, tostring(name), debug.traceback("", 2))
      end
      rawset(env, name, value)
    end,
  })
  env._G = env
  env.print = script_print
  env.load = text_load
  env.loadstring = function(source, name)
    return text_load(source, name, "t", getfenv(2))
  end
  return env, function() is_loading = false end
end

-- ---- one script ----

local function line_of(value)
  return type(value) == "function" and debug.getinfo(value, "S").linedefined or 1
end

local function check_handler(path, name, value)
  local stage = handlers[name]
  if not stage then
    file_error(path, line_of(value), ("unknown handler %s%s"):format(name, suggest.hint(name, handlers)))
  end
  if type(value) == "function" or (name == "on_header" and type(value) == "table") then
    return stage
  end
  file_error(path, 1, ("%s is a %s; it must be a function%s"):format(name, type(value),
    name == "on_header" and " or a table of functions by header name" or ""))
end

local function check_fields(path, fields)
  local spelt = {}
  for name, fn in pairs(fields) do
    if type(name) ~= "string" or not name:match("^[!-9;-~]+$") then
      file_error(path, line_of(fn), ("on_header: %q is no header name"):format(tostring(name)))
    end
    if type(fn) ~= "function" then
      file_error(path, 1, ("on_header.%s is a %s; it must be a function"):format(name, type(fn)))
    end
    local other = spelt[name:lower()]
    if other then
      local first, second = math.min(line_of(fn), line_of(fields[other])), math.max(line_of(fn), line_of(fields[other]))
      local names = name < other and { name, other } or { other, name }
      file_error(path, second, ("on_header: %s and %s are the same header; names are case-blind. Keep one (the "
        .. "other function begins in line %d)"):format(names[1], names[2], first))
    end
    spelt[name:lower()] = name
  end
end

local function check_list(path, key, list, known)
  for _, word in ipairs(list) do
    if type(word) ~= "string" then
      file_error(path, 1, ("options.%s: a list of words, not a %s"):format(key, type(word)))
    end
    if known and not known[word] then
      file_error(path, 1, ("options.%s: unknown word %q%s"):format(key, word, suggest.hint(word, known)))
    end
  end
end

local function check_options(path, options)
  if type(options) ~= "table" then
    file_error(path, 1, ("options is a %s; it must be a table"):format(type(options)))
  end
  for key, value in pairs(options) do
    local wanted = options_known[key]
    if not wanted then
      file_error(path, 1, ("unknown option %q%s"):format(tostring(key), suggest.hint(tostring(key), options_known)))
    end
    if type(value) ~= wanted then
      file_error(path, 1, ("options.%s is a %s; it must be a %s"):format(key, type(value), wanted))
    end
  end
  check_list(path, "needs", options.needs or {}, core.needs)
  check_list(path, "facts", options.facts or {}, facts)
  check_list(path, "macros", options.macros or {})
  for _, name in ipairs(options.macros or {}) do
    if not (name:match("^{[%w_]+}$") or name:match("^[%w_]+$")) then
      file_error(path, 1, ("options.macros: %q is no macro name; names are like i and {auth_authen}"):format(name))
    end
  end
  return options
end

-- Handlers are the script's global on_… functions, or those of the table it returns.
local function collect_handlers(path, env, returned)
  local found, source = {}, env
  if type(returned) == "table" then
    source = returned
    for key, value in pairs(returned) do
      if key ~= "options" and not (type(key) == "string" and key:match("^on_")) then
        file_error(path, line_of(value),
          ("the table that the script returns has a key %q; it may hold on_… handlers and "
          .. "options"):format(tostring(key)))
      end
    end
  elseif returned ~= nil and returned ~= true then
    file_error(path, 1, ("the script returns a %s; it may return a table of handlers"):format(type(returned)))
  end
  local fields
  for key, value in pairs(source) do
    if type(key) == "string" and key:match("^on_") then
      local stage = check_handler(path, key, value)
      if type(value) == "table" then
        check_fields(path, value)
        fields = value
      else
        found[stage] = value
      end
    end
  end
  return found, fields, rawget(source, "options")
end

-- A global that is set in a function is shared by all sessions, and nearly always a forgotten local.
local function report_globals(path, fn, env, returned)
  local reports, seen = {}, {}
  for _, use in ipairs(chunk.globals(fn)) do
    local text
    if use.sets and use.nested then
      text = ('global "%s" is set inside a function; every session shares it. Say "local %s", or keep it in '
        .. 'ctx.message or '
        .. 'ctx.session'):format(use.name, use.name)
    elseif not use.sets and rawget(env, use.name) == nil and _G[use.name] == nil then
      text = ('global "%s" is not defined%s'):format(use.name, suggest.hint(use.name, env))
    elseif use.sets and returned ~= nil and use.name:match("^on_") then
      text = ('"%s" is not used: the script returns a table, whose handlers count'):format(use.name)
    end
    if text and not seen[text] then
      seen[text] = true
      reports[#reports + 1] = ("%s:%d: %s"):format(path, use.line, text)
    end
  end
  return reports
end

-- How many arguments a function can see: what no handler can see is not made for it. Three is the most there are.
local function seen_by(fn)
  local shape = debug.getinfo(fn, "u")
  return shape.isvararg and 3 or math.min(shape.nparams, 3)
end

local function seen_by_all(functions)
  local seen = {}
  for key, fn in pairs(functions) do
    seen[key] = seen_by(fn)
  end
  return seen
end

local function load_script(path)
  local source = read_file(path)
  if source:sub(1, 1) == "\27" then
    error(path .. ": is bytecode; scripts are loaded from text only", 0)
  end
  local env, loaded = new_environment(path)
  local main_chunk, err = load(source, "@" .. path, "t", env) -- the name stands in tracebacks
  if not main_chunk then
    error(err, 0)
  end
  local strings, methods = chunk.strings(main_chunk), chunk.methods(main_chunk)
  local returned = main_chunk()
  loaded()
  local found, fields, options = collect_handlers(path, env, returned)
  return {
    path = path,
    name = path:match("([^/]+)%.lua$") or path:match("[^/]+$"),
    handlers = found,
    seen = seen_by_all(found),
    fields = fields,
    options = options and check_options(path, options) or {},
    strings = strings,
    methods = methods,
    warnings = report_globals(path, main_chunk, env, returned),
  }
end

-- ---- what the host shall negotiate ----

-- An unknown command may come in a message, and its handler may keep something in ctx.message or ask for an edit.
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
    for _, stage in ipairs(facts[word] or {}) do
      result.stages[stage] = true
    end
  end
end

-- ctx:body{…} keeps the body and may refuse it, so pieces are answered; its parts need the header. The modules behind
-- ctx:body and the fields' methods are loaded now rather than at the first message; without LPeg the call says so.
local function note_methods(result, methods)
  if methods.body then
    result.stages.body, result.handled.body, result.stages.header = true, true, true
    pcall(require, "moonmilter.body")
  end
  if methods.text or methods.addresses or methods.params or methods.date or methods.parsed then
    pcall(require, "moonmilter.header")
  end
end

local function to_set(list)
  local set = {}
  for _, word in ipairs(list or {}) do
    set[word] = true
  end
  return set
end

-- A message must be told from its beginning: no MAIL, no ctx.message, and no abort from Sendmail either (protocol 5.6).
local function complete_stages(result)
  for stage in pairs(message_stages) do
    if result.stages[stage] then
      result.stages.mail, result.stages.eom = true, true
    end
  end
  -- Of a RSET Sendmail tells only those that have answered MAIL: on_abort would run at the next MAIL or QUIT, and
  -- on_unknown would see a message that is gone.
  if result.stages.unknown or result.handled.abort then
    result.handled.mail = true
  end
end

local function plan(scripts, module_strings, module_methods)
  local result = { scripts = scripts, stages = {}, handled = {}, needs = {}, lockstep = false,
    rejected_recipients = false }
  local wanted_macros = macros.wanted(module_strings)
  note_facts(result, module_strings)
  note_methods(result, module_methods)
  result.counts_body = module_strings.body_size == true
  for _, script in ipairs(scripts) do
    local options = script.options
    note_stages(result, script)
    note_facts(result, script.strings)
    note_methods(result, script.methods)
    local declared = to_set(options.facts)
    note_facts(result, declared)
    note_methods(result, { body = declared.body })
    result.counts_body = result.counts_body or script.strings.body_size or declared.body_size or false
    for _, word in ipairs(options.needs or {}) do
      result.needs[#result.needs + 1] = word
    end
    for name in pairs(macros.wanted(script.strings)) do
      wanted_macros[name] = true
    end
    for _, name in ipairs(options.macros or {}) do
      wanted_macros[name] = true
    end
    result.lockstep = result.lockstep or options.lockstep == true
    result.rejected_recipients = result.rejected_recipients or options.rejected_recipients == true
    script.strings, script.methods = nil, nil
  end
  complete_stages(result)
  result.macro_lists = macros.lists(wanted_macros)
  return result
end

--- Loads everything; raises an error with file and line when anything is wrong.
---@param paths string[]
---@param host table  what on_load gets and ctx.host is
function loader.load(paths, host)
  coroutines.install()
  modules.install()
  luasocket.install()
  luasec.install()
  _G.print = script_print
  os.exit = function() -- luacheck: ignore 122
    error("os.exit: a script cannot end the host; a verdict ends a handler, an error a load", 2)
  end
  local module_strings, module_methods = {}, {}
  modules.on_load = function(name, fn)
    if not name:match("^moonmilter%f[.%z]") then
      local ok, strings = pcall(chunk.strings, fn)
      for text in pairs(ok and strings or {}) do
        module_strings[text] = true
      end
      local found, methods = pcall(chunk.methods, fn)
      for method in pairs(found and methods or {}) do
        module_methods[method] = true
      end
    end
  end
  local scripts = {}
  for i, path in ipairs(paths) do
    core.loading(i)
    scripts[i] = load_script(path)
  end
  for i, script in ipairs(scripts) do
    core.loading(i)
    for _, warning in ipairs(script.warnings) do
      core.log("warn", warning)
    end
    local on_load = script.handlers.load
    if on_load then
      on_load(host)
    end
  end
  return plan(scripts, module_strings, module_methods)
end

return loader
