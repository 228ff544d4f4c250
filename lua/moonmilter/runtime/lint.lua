--- What the first mail would find in a script, found while it loads: members that do not exist, verdicts and edits that
-- their stage does not allow, handlers that nothing calls. Warnings only: the script loads. Says nothing where the text
-- leaves a doubt.
local core = require "moonmilter.core"
local flow = require "moonmilter.runtime.flow"
local macros = require "moonmilter.runtime.macros"
local members = require "moonmilter.runtime.members"
local shapes = require "moonmilter.runtime.shapes"
local syntax = require "moonmilter.runtime.syntax"

local lint = {}

local L = {}
L.__index = L

local EDITS = {}
for name in ("add_header insert_header change_header delete_header replace_body add_recipient delete_recipient "
  .. "change_from quarantine"):gmatch "%S+" do
  EDITS[name] = true
end
local FIELD_EDITS = { set = true, delete = true, insert_before = true }

-- Arguments of a handler, ctx included.
local ARGUMENTS = { negotiate = 2, connect = 3, helo = 2, mail = 3, rcpt = 3, data = 1, header = 3, eoh = 1, body = 2,
  eom = 1, unknown = 2, abort = 3, done = 2, close = 1, load = 1, unload = 1 }

-- The stages of a message in order, and those before it; the others come at any time.
local ORDER = { negotiate = 0, connect = 1, helo = 2, mail = 3, rcpt = 4, data = 5, header = 6, eoh = 6, body = 7,
  eom = 8 }

function L:warn(node, text, ...)
  table.insert(self.found, { line = node.line, text = select("#", ...) > 0 and text:format(...) or text })
end

-- ---- members ----

-- A member that is tested may be missing on purpose: `if dns.svcb then`.
local function is_tested(node)
  local up = node.up
  return up.k == "op" or up.k == "if" or up.k == "while"
end

-- Another project's module may get members later; to call what it has not is a mistake.
local function is_surely_wrong(node, kind)
  local up = node.up
  if kind == "string" then -- ("x").y is nil, and no error
    return false
  elseif kind:find "^=" and not kind:find "^=moonmilter%f[.%z]" then
    return up.k == "call" and up[1] == node
  end
  return true
end

-- The table of a module: of the host, or one that the script has loaded. A module that makes its members when they are
-- asked for is none.
local function module_of(kind)
  local name = kind:match "^=(.*)"
  local module = name and (package.loaded[name] or rawget(_G, name))
  if name and not module and package.preload[name] then
    local ok, made = pcall(require, name)
    module = ok and made
  end
  local is_plain = type(module) == "table" and type(getmetatable(module) or {}) == "table"
    and not (getmetatable(module) or {}).__index
  return is_plain and module or nil
end

-- The facts and methods of a kind: sets, or nil when they are not known.
local function members_of(kind)
  if kind == "ctx" then
    return members.facts, members.methods
  elseif shapes[kind] and shapes[kind].facts then
    return shapes[kind].facts, shapes[kind].methods or shapes[kind].class.__index
  end
  return module_of(kind), {}
end

local function both(a, b)
  local all = {}
  for _, names in ipairs { a, b } do
    for name in pairs(names) do
      all[name] = true
    end
  end
  return all
end

function L:check_member(node, kind, name, is_call)
  local facts, methods = members_of(kind)
  if not facts or name:sub(1, 1) == "_" or self.own[kind .. "." .. name] then
    return
  end
  local what = shapes[kind] and shapes[kind].name or kind:gsub("^=", "")
  if facts[name] == nil and not methods[name] then
    if kind == "ctx" or is_call or is_surely_wrong(node, kind) then
      self:warn(node, "%s has no member %q%s", what, name, core.suggest(name, both(facts, methods)))
    end
  elseif is_call and methods[name] == nil and node.k == "method" and (kind == "ctx" or shapes[kind]) then
    self:warn(node, "%s.%s is a value, not a method: write it without ()", kind == "ctx" and "ctx" or what, name)
  end
end

-- ctx.message.sender: the guard of moonmilter.runtime.members raises.
function L:check_kept(node, name)
  if members.facts[name] ~= nil or members.methods[name] then
    if name:sub(1, 1) ~= "_" then
      self:warn(node, "%s is a member of ctx: write ctx%s%s; ctx.message and ctx.session are for names of your own",
        name, members.methods[name] and ":" or ".", name)
    end
  end
end

local function is_target(node)
  local up = node.up
  if not up or up.k ~= "assign" then
    return false
  end
  for i = 1, up.targets do
    if up[i] == node then
      return true
    end
  end
end

function L:check_index(node, func)
  local key = node[2].k == "str" and node[2].value
  local kind = key and self.flow:kind(node[1])
  if not kind then
    return
  elseif kind == "kept" then
    self:check_kept(node, key)
  elseif kind == "ctx" and is_target(node) then
    self:warn(node, "ctx.%s: ctx is read only; keep your own values in ctx.session (the connection) or ctx.message "
      .. "(this message)", key)
  elseif not is_target(node) then
    self:check_member(node, kind, key)
  end
  if not is_target(node) then
    self:check_dot(node, kind, key)
  end
  if kind == "ctx" then
    self:check_message(node, key, func)
  end
end

-- ctx.reject(550, …): without the colon, ctx is not passed.
function L:check_dot(node, kind, name)
  local up = node.up
  local _, methods = members_of(kind)
  local is_called = up.k == "call" and up[1] == node and not (up[2] and self.flow:kind(up[2]) == kind)
  if is_called and kind ~= "string" and methods and methods[name] then
    self:warn(node, "%s: call it with a colon: %s:%s(…)", name, kind == "ctx" and kind or shapes[kind].name, name)
  end
end

-- dns:mx "example.org": with a colon, the module is passed.
function L:check_colon(node, kind)
  local module = kind:find "^=moonmilter%f[.%z]" and module_of(kind)
  if module and module[node.name] ~= nil then
    self:warn(node, "%s: call it with a dot: %s.%s(…)", node.name, kind:sub(2), node.name)
  end
end

-- ---- stages ----

-- The latest of a function's stages in their order; nil when one of them has no place there.
local function latest(stages)
  local last, name = -1, nil
  for stage in pairs(stages or { none = true }) do
    if not ORDER[stage] then
      return nil
    elseif ORDER[stage] > last then
      last, name = ORDER[stage], stage
    end
  end
  return last, name
end

-- A stage of the function, when the set allows none of them.
local function refused_at(func, allowed)
  local stages, one = flow.stages_of(func), nil
  for stage in pairs(stages or {}) do
    if allowed[stage] then
      return nil
    end
    one = stage
  end
  return one
end

function L:check_message(node, name, func)
  local last, stage = latest(flow.stages_of(func))
  if name == "message" and last and last < ORDER.mail then
    self:warn(node, "ctx.message: no message is open at %s; keep what belongs to the connection in ctx.session", stage)
  end
end

function L:check_accept(node, func)
  local stages = flow.stages_of(func)
  if stages and next(stages) == "rcpt" and next(stages, "rcpt") == nil then
    self:warn(node, "accept at rcpt is for the whole message, not for this recipient; to let a recipient pass, return "
      .. "nothing")
  end
end

function L:check_verdict(node, name, shown, func)
  local kind = name == "disconnect" and "tempfail" or name
  local stage = refused_at(func, core.verdicts[kind])
  if stage then
    self:warn(node, "%s is not possible at %s", shown, stage)
  elseif kind == "accept" then
    self:check_accept(node, func)
  end
end

function L:check_macro(node, func)
  local name = node[2] and node[2].k == "str" and node[2].value
  local first = name and macros.first_stage(name)
  local last, stage = latest(flow.stages_of(func))
  if name then
    self.macros[name] = true
  end
  if first and last and last < ORDER[first] then
    self:warn(node, "ctx:macro %q is always nil at %s: MTAs send it at %s at the earliest", name, stage, first)
  end
end

function L:check_ctx_call(node, func)
  local name = node.name
  if core.verdicts[name] or name == "disconnect" then
    self:check_verdict(node, name, name, func)
  elseif name == "macro" then
    self:check_macro(node, func)
  elseif name == "progress" then
    local stage = refused_at(func, { eom = true })
    if stage then
      self:warn(node, "progress: only at end of message, not at %s", stage)
    end
  elseif name == "body" then
    local last, stage = latest(flow.stages_of(func))
    if last and last < ORDER.mail then
      self:warn(node, "body: no message is open at %s", stage)
    end
  end
end

function L:check_edit(node, name, func)
  local stage = refused_at(func, core.edit_stages)
  if stage then
    self:warn(node, "%s: no message is open at %s; edits can be asked for from on_mail to on_eom", name, stage)
  end
end

function L:check_method(node, func)
  local kind = self.flow:kind(node[1])
  if not kind or kind == "kept" then
    return
  end
  self:check_member(node, kind, node.name, true)
  self:check_colon(node, kind)
  if kind == "ctx" then
    self:check_ctx_call(node, func)
  end
  if kind == "ctx" and EDITS[node.name] or kind == "field" and FIELD_EDITS[node.name] then
    self:check_edit(node, node.name, func)
  end
end

-- ---- what handlers return ----

local LITERALS = { ["true"] = "boolean", ["false"] = "boolean", number = "number", table = "table", func = "function" }

function L:check_return(node, func)
  local value = node[1]
  if not func or not func.handles or func.handles == "load" or func.handles == "unload" or not value then
    return
  end
  if LITERALS[value.k] then
    self:warn(node, "the handler returns a %s; a verdict is a string, or nothing", LITERALS[value.k])
  elseif value.k == "str" and not core.verdicts[value.value] then
    self:warn(node, "the handler returns %q, which is no verdict%s", value.value,
      core.suggest(value.value, core.verdicts))
  elseif value.k == "str" then
    self:check_verdict(node, value.value, ("%q"):format(value.value), func)
    if #node > 1 then
      self:warn(node, "the handler returns %q and more; to give a text, write return ctx:%s(text)", value.value,
        value.value)
    end
  end
end

-- ---- handlers that do nothing, or that nothing calls ----

local function plain(name)
  return (name:lower():gsub("_", ""))
end

function L:check_handler(handler)
  local func, name = handler.func, handler.name
  if #func[1] == 0 and not func.is_vararg and handler.stage ~= "load" and handler.stage ~= "unload" then
    self:warn(func, "%s is empty: it has no effect, but the MTA is asked for its event", name)
  end
  local most = ARGUMENTS[handler.stage] - (handler.is_field and 1 or 0)
  for position = most + 1, #func.params do
    if func.params[position].uses > 0 then
      self:warn(func, "%s gets %d argument%s: %q is always nil", name, most, most == 1 and "" or "s",
        func.params[position].name)
    end
  end
end

-- function onMail(ctx), function eom(ctx), which nothing in the script uses.
function L:check_global_function(name, values)
  if core.handlers[name] or self.reads[name] or #values ~= 1 or values[1].k ~= "func" then
    return
  end
  for handler, stage in pairs(core.handlers) do
    if plain(name) == plain(handler) or name == stage then
      self:warn(values[1], "the host does not call %s; did you mean %q?", name, handler)
    end
  end
end

-- local function on_mail(ctx), local options = { needs = … }
function L:check_local(node)
  if node.k == "localfunc" and core.handlers[node.var.name] and node.var.uses == 0 then
    self:warn(node, "%s is local, so the host does not call it; leave out local", node.var.name)
  elseif node.k == "local" and node.vars[1].name == "options" and node.vars[1].uses == 0 and node[1]
    and node[1].k == "table" then
    self:warn(node, "options is local, so the host does not see it; leave out local")
  end
end

-- A handler of the same name that is defined later, in the same list of statements, replaces this one.
function L:check_twice()
  local seen = {}
  for _, node in ipairs(self.flow.main[1]) do
    local target = node.k == "assign" and node.targets == 1 and node[1]
    local name = target and (target.k == "name" and not target.var and target.name
      or target.k == "index" and target[1].k == "name" and target[2].k == "str" and target[2].value)
    if name and core.handlers[name] then
      if seen[name] then
        self:warn(seen[name], "%s has no effect: line %d defines it again", name, node.line)
      end
      seen[name] = node
    end
  end
end

-- A table of the script that collects by keys which mail brings: counts[sender] = …
function L:is_collected(target)
  local var = target.k == "index" and target[1].k == "name" and target[1].var
  return var and var.owner == self.flow.main and var.writes == 0 and var.init and var.init.k == "table"
    and target[2].k ~= "str" and target[2].k ~= "number"
end

-- Each worker and each generation has a table of its own: a count in it is too small by the number of workers.
function L:check_shared(node, func)
  local stages = flow.stages_of(func)
  for stage in pairs(stages or {}) do
    if stage == "load" or stage == "unload" then
      return
    end
  end
  for i = 1, stages and node.targets or 0 do
    local target = node[i]
    if self:is_collected(target) and not self.shared[target[1].name] then
      self.shared[target[1].name] = true
      self:warn(node, "%s: each worker has a table of its own, and a reload empties it; to share values, use "
        .. "moonmilter.store", target[1].name)
    end
  end
end

function L:check_require(node)
  local name = node[1].k == "name" and node[1].name == "require" and not node[1].var and node[2] and node[2].k == "str"
    and node[2].value
  if name and name:match "^moonmilter%." and not package.preload[name] and not package.loaded[name] then
    self:warn(node, "there is no module %q%s", name, core.suggest(name, package.preload))
  end
end

-- ---- all of it ----

local checks = {
  index = L.check_index, method = L.check_method, ["return"] = L.check_return, localfunc = L.check_local,
  ["local"] = L.check_local, call = L.check_require, assign = L.check_shared,
}

-- Names that the script itself puts into what it holds, or whether it has them it asks: nothing to say about them.
local function note_own(self, node)
  if node.k == "assign" then
    for i = 1, node.targets do
      local target = node[i]
      local kind = target.k == "index" and target[2].k == "str" and self.flow:kind(target[1])
      if kind then
        self.own[kind .. "." .. target[2].value] = kind ~= "ctx"
      end
    end
  elseif node.k == "name" and not node.var and not is_target(node) then
    self.reads[node.name] = true
  elseif node.k == "index" and node[2].k == "str" and is_tested(node) then
    local kind = self.flow:kind(node[1])
    if kind and kind ~= "ctx" then
      self.own[kind .. "." .. node[2].value] = true
    end
  end
end

-- `return ctx:reject(…)` is a tail call, which leaves no trace of its line. `return (ctx:reject(…))` is none.
local function note_tail_call(self, node)
  local value = node.k == "return" and #node == 1 and node[1]
  if not value or value.k ~= "method" or not (core.verdicts[value.name] or value.name == "disconnect") then
    return
  end
  local object = value[1]
  local is_named_so = object.k == "name" and object.name == "ctx" and object.var and object.var.func
  if is_named_so or self.flow:kind(object) == "ctx" then
    table.insert(self.tail_calls, value)
  end
end

local function with_parentheses(source, calls)
  local pieces, at = {}, 1
  for _, call in ipairs(calls) do
    pieces[#pieces + 1] = source:sub(at, call.at - 1) .. "(" .. source:sub(call.at, call.after - 1) .. ")"
    at = call.after
  end
  pieces[#pieces + 1] = source:sub(at)
  return table.concat(pieces)
end

local function look(source)
  local self = setmetatable({
    flow = flow.of(source), found = {}, macros = {}, own = {}, reads = {}, tail_calls = {}, shared = {},
  }, L)
  syntax.walk(self.flow.main, function(node)
    note_own(self, node)
    note_tail_call(self, node)
  end)
  return self
end

local SOURCE_MAX = 256 * 1024 -- bytes: more would hold the loop too long, and its tree too much memory

--- Looks at a script that has compiled.
---@param source string
---@return table?  for lint.warnings; nil: the text could not be read
---@return string source  with the lines of its verdicts kept
function lint.read(source)
  if #source > SOURCE_MAX then
    return nil, source
  end
  local ok, self = pcall(look, source)
  if not ok then
    return nil, source
  end
  table.sort(self.tail_calls, function(a, b) return a.at < b.at end)
  return self, with_parentheses(source, self.tail_calls)
end

--- A module's main chunk with the lines of its verdicts kept, too: of a Lua file in which a function has a ctx.
---@param chunk function  as package.loaders give it
---@return function
function lint.keep_lines(chunk)
  local info = debug.getinfo(chunk, "S")
  local file = info.what == "main" and info.source:sub(1, 1) == "@" and io.open(info.source:sub(2), "rb")
  if not file then
    return chunk
  end
  local source = file:read "*a" or ""
  file:close()
  if source:byte() == 27 or not source:find "return%s+ctx:" then
    return chunk
  end
  local _, with_lines = lint.read(source)
  local kept = loadstring(with_lines, info.source)
  return kept and setfenv(kept, getfenv(chunk)) or chunk
end

--- Warnings by line, once the script's main chunk has run; and the macros that it asks ctx for, by name.
---@param self table?
---@return { line: integer, text: string }[]
---@return table<string, true>
function lint.warnings(self)
  if not self then
    return {}, {}
  end
  local ok = pcall(function()
    syntax.walk(self.flow.main, function(node, func)
      if checks[node.k] then
        checks[node.k](self, node, func)
      end
    end)
    for _, handler in ipairs(self.flow.handlers) do
      self:check_handler(handler)
    end
    for name, values in pairs(self.flow.globals) do
      self:check_global_function(name, values)
    end
    self:check_twice()
  end)
  table.sort(self.found, function(a, b)
    return a.line < b.line or a.line == b.line and a.text < b.text
  end)
  return ok and self.found or {}, self.macros
end

return lint
