--- One script: compiles it, runs it in its own environment, finds and checks its handlers and options.
local core = require "moonmilter.core"
local chunk = require "moonmilter.runtime.chunk"
local environment = require "moonmilter.runtime.environment"
local lint = require "moonmilter.runtime.lint"
local macros = require "moonmilter.runtime.macros"
local plan = require "moonmilter.runtime.plan"
local remedy = require "moonmilter.runtime.remedy"
local wait = require "moonmilter.runtime.wait"

local script = {}

local handlers, sleep = core.handlers, wait.wrap(core.sleep)

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
    error(("%s: cannot read the script: %s"):format(path, why), 0)
  end
  return source
end

local function line_of(value)
  return type(value) == "function" and debug.getinfo(value, "S").linedefined or 1
end

local function check_handler(path, name, value)
  local stage = handlers[name]
  if not stage then
    file_error(path, line_of(value), ("unknown handler %s%s"):format(name, core.suggest(name, handlers)))
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
      file_error(path, line_of(fn), ("on_header: %q is not a header name"):format(tostring(name)))
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

-- A word with a key, or after a hole, would be passed over.
local function check_keys(path, key, list)
  for at, word in pairs(list) do
    if type(at) ~= "number" then
      file_error(path, 1, ("options.%s: is a list of words; write { %q }, not { %s = %s }"):format(key, tostring(at),
        tostring(at), tostring(word)))
    elseif at < 1 or at > #list or at ~= math.floor(at) then
      file_error(path, 1, ("options.%s: has a word at %s, but none before it"):format(key, tostring(at)))
    end
  end
end

local function check_list(path, key, list, known)
  check_keys(path, key, list)
  for _, word in ipairs(list) do
    if type(word) ~= "string" then
      file_error(path, 1, ("options.%s: must be a list of words, not of a %s"):format(key, type(word)))
    end
    if known and not known[word] then
      file_error(path, 1, ("options.%s: unknown word %q%s"):format(key, word, core.suggest(word, known)))
    end
  end
end

local function check_macro_names(path, key, list)
  check_list(path, key, list)
  for _, name in ipairs(list) do
    if not (name:match("^{[%w_]+}$") or name:match("^[%w_]+$")) then
      file_error(path, 1, ("options.%s: %q is not a macro name; write names like i and {auth_authen}"):format(key,
        name))
    end
  end
end

-- Names, and lists of names by the stage at which to ask for them.
local function check_macros(path, given)
  local flat = {}
  for at, value in pairs(given) do
    if type(value) ~= "table" then
      flat[at] = value
    elseif not macros.is_stage(at) then
      file_error(path, 1, ("options.macros: %q is no stage with macros%s; these are %s"):format(tostring(at),
        core.suggest(tostring(at), macros.stages), macros.stage_names))
    else
      check_macro_names(path, "macros." .. at, value)
    end
  end
  check_macro_names(path, "macros", flat)
end

local function check_options(path, options)
  if type(options) ~= "table" then
    file_error(path, 1, ("options is a %s; it must be a table"):format(type(options)))
  end
  for key, value in pairs(options) do
    local wanted = options_known[key]
    if not wanted then
      file_error(path, 1, ("unknown option %q%s"):format(tostring(key), core.suggest(tostring(key), options_known)))
    end
    if type(value) ~= wanted then
      file_error(path, 1, ("options.%s is a %s; it must be a %s"):format(key, type(value), wanted))
    end
  end
  check_list(path, "needs", options.needs or {}, core.needs)
  check_list(path, "facts", options.facts or {}, plan.facts)
  check_macros(path, options.macros or {})
  return options
end

-- Handlers are the script's global on_… functions, or those of the table that it returns.
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
  return found, fields, source
end

-- A script that returns its handlers may set its options either way, but not in both.
local function options_of(path, env, source)
  local global, own = rawget(env, "options"), rawget(source, "options")
  if source ~= env and global ~= nil and own ~= nil then
    file_error(path, 1, "options are set twice: as a global, and in the table that the script returns")
  end
  local options = own == nil and global or own
  return options ~= nil and check_options(path, options) or {}
end

-- All sessions share a global that a function sets; nearly always it is a forgotten local.
local function report_globals(path, fn, env, returned)
  local reports, seen = {}, {}
  for _, use in ipairs(chunk.globals(fn)) do
    local text
    if use.sets and use.nested then
      text = ('global "%s" is set inside a function; every session shares it. Say "local %s", or keep it in '
        .. 'ctx.message or '
        .. 'ctx.session'):format(use.name, use.name)
    elseif not use.sets and rawget(env, use.name) == nil and _G[use.name] == nil then
      text = ('global "%s" is not defined%s'):format(use.name, core.suggest(use.name, env))
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

-- What lint finds, and the macros that the script asks ctx for.
local function report_text(path, text)
  local found, wanted = lint.warnings(text)
  for i, one in ipairs(found) do
    found[i] = ("%s:%d: %s"):format(path, one.line, one.text)
  end
  return found, wanted
end

-- How many arguments a function can see: the host does not build those that it cannot see. Three is the maximum.
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

local BREATH = 32 * 1024 -- bytes of source

local read_since = 0 -- bytes of source, read for lint

-- Lint takes a microsecond for a byte; at a reload the loop serves others meanwhile.
local function breathe(bytes)
  read_since = read_since + bytes
  if read_since > BREATH then
    read_since = 0
    sleep(0)
  end
end

--- Loads a script; raises an error with file and line when anything is wrong. May wait.
---@param path string
---@param source string?  the text of a script in memory
---@return table  handlers, what they see, options, and what its code mentions
function script.load(path, source)
  source = source or read_file(path)
  if source:sub(1, 1) == "\27" then
    error(path .. ": is bytecode; give the script's source", 0)
  end
  local env, loaded = environment.new(path)
  local name = "@" .. path -- appears in tracebacks
  local main_chunk, err = load(source, name, "t", env)
  if not main_chunk then
    error(remedy.of(err, source), 0)
  end
  local text, with_lines = lint.read(source)
  breathe(#source)
  main_chunk = load(with_lines, name, "t", env) or main_chunk
  local strings, methods = chunk.strings(main_chunk), chunk.methods(main_chunk)
  local returned = main_chunk()
  loaded()
  local found, fields, handlers_in = collect_handlers(path, env, returned)
  local findings, wanted = report_text(path, text)
  breathe(#source)
  return {
    path = path,
    name = ((path:match("^.*/(.*)$") or path):gsub("%.lua$", "")),
    handlers = found,
    seen = seen_by_all(found),
    fields = fields,
    options = options_of(path, env, handlers_in),
    macros = wanted,
    strings = strings,
    methods = methods,
    warnings = report_globals(path, main_chunk, env, returned),
    findings = findings,
  }
end

return script
