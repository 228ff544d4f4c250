--- What the expressions of a script are, as far as its text tells for certain: ctx, a module of the host, a header
-- field; and at which stages each function runs. What is not certain is unknown, and nothing is said about it.
local core = require "moonmilter.core"
local shapes = require "moonmilter.runtime.shapes"
local syntax = require "moonmilter.runtime.syntax"

local flow = {}

local F = {}
F.__index = F

local DEPTH_MAX = 12 -- of definitions that follow from one another

-- ---- who is a function ----

--- The function that an expression is, when it can be no other.
function F:function_of(expr, depth)
  depth = depth or 0
  if not expr or depth > DEPTH_MAX then
    return nil
  elseif expr.k == "func" then
    return expr
  elseif expr.k == "paren" then
    return self:function_of(expr[1], depth + 1)
  elseif expr.k ~= "name" then
    return nil
  end
  local var = expr.var
  if var then
    return var.writes == 0 and self:function_of(var.init, depth + 1) or nil
  end
  local sets = self.globals[expr.name]
  return sets and #sets == 1 and self:function_of(sets[1], depth + 1) or nil
end

-- ---- what kind is an expression ----

local kind_of = {}

local function key_of(expr)
  return expr[2].k == "str" and expr[2].value or nil
end

function kind_of.paren(self, expr, depth)
  return self:kind(expr[1], depth)
end

function kind_of.index(self, expr, depth)
  local kind, key = self:kind(expr[1], depth), key_of(expr)
  if kind == "headers" and not key then
    return "field"
  end
  return kind and key and shapes.gives[kind .. "." .. key] or nil
end

function kind_of.method(self, expr, depth)
  local kind = self:kind(expr[1], depth)
  return kind and shapes.gives[kind .. ":" .. expr.name] or nil
end

function kind_of.call(self, expr, depth)
  local called, first = expr[1], expr[2]
  if called.k == "name" and not called.var and first then
    if called.name == "require" and first.k == "str" then
      return "=" .. first.value
    elseif called.name == "assert" then
      return self:kind(first, depth)
    end
  end
  local key = called.k == "index" and key_of(called)
  local kind = key and self:kind(called[1], depth)
  return kind and shapes.gives[kind .. "." .. key] or nil
end

local element_kind
function element_kind(self, expr, depth)
  if expr.k == "index" and key_of(expr) then
    local kind = self:kind(expr[1], depth)
    local member = tostring(kind) .. "." .. key_of(expr)
    return member == "ctx.headers" and "field" or shapes.elements[member]
  elseif expr.k == "name" and expr.var and expr.var.init and expr.var.writes == 0 and depth < DEPTH_MAX then
    return element_kind(self, expr.var.init, depth + 1)
  elseif expr.k == "method" then
    return shapes.elements[tostring(self:kind(expr[1], depth)) .. ":" .. expr.name]
  end
  return self:kind(expr, depth) == "headers" and "field" or nil
end

-- for _, x in ipairs(list), for name, value, x in headers:each()
local function loop_kind(self, var, depth)
  local from = var.loop.k == "forin" and var.loop[1]
  if not from then
    return nil
  elseif from.k == "method" and from.name == "each" and var.position == 3 then
    return self:kind(from[1], depth) == "headers" and "field" or nil
  elseif from.k == "call" and from[1].k == "name" and from[1].name == "ipairs" and not from[1].var and from[2]
    and var.position == 2 then
    return element_kind(self, from[2], depth)
  end
end

function kind_of.name(self, expr, depth)
  local var = expr.var
  if not var then
    local sets = self.globals[expr.name]
    if not sets and shapes.libraries[expr.name] then
      return "=" .. expr.name
    end
    return sets and #sets == 1 and sets[1].is_at_top and self:kind(sets[1], depth) or nil
  elseif var.writes > 0 then
    return nil
  elseif var.func then
    return var.func.given and var.func.given[var.position]
  elseif var.loop then
    return loop_kind(self, var, depth)
  end
  return var.init and self:kind(var.init, depth)
end

--- "ctx", "=" and the name of a module, a kind of moonmilter.runtime.shapes, or nil.
function F:kind(expr, depth)
  depth = (depth or 0) + 1
  local of = kind_of[expr.k]
  if of and depth <= DEPTH_MAX then
    return of(self, expr, depth)
  end
end

-- ---- the handlers ----

local function add_handler(self, name, fn, is_field)
  if not fn then
    return
  end
  local stage = core.handlers[name]
  self.handlers[#self.handlers + 1] = { name = name, stage = stage, func = fn, is_field = is_field }
  fn.handles = fn.handles or stage
  fn.stages = fn.stages or {}
  fn.stages[stage] = true
  fn.given = fn.given or {}
  fn.given[1] = (stage == "load" or stage == "unload") and "host" or "ctx"
  for i, kind in ipairs(is_field and { "string" } or shapes.arguments[stage] or {}) do
    fn.given[i + 1] = kind
  end
end

local function note_handler(self, name, value)
  if name == "on_header" and value.k == "table" then
    for _, item in ipairs(value) do
      add_handler(self, name, self:function_of(item[1]), true)
    end
  elseif core.handlers[name] then
    add_handler(self, name, self:function_of(value))
  end
end

-- What the script returns: a table, or a variable that was made as one. Its handlers count then, and no globals.
local function find_returned(self)
  local last = self.main[1][#self.main[1] ]
  local value = last and last.k == "return" and last[1]
  if not value then
    return
  end
  self.returns = true
  local var = value.k == "name" and value.var
  if value.k == "table" then
    self.returned = value
  elseif var and var.writes == 0 and var.init and var.init.k == "table" then
    self.returned, self.returned_var = var.init, var
  end
end

-- The handler that an assignment to a target defines.
local function handler_of_target(self, target)
  local name
  if target.k == "name" and not target.var and not self.returns then
    name = target.name
  elseif target.k == "index" and target[1].k == "name" and target[1].var and target[1].var == self.returned_var then
    name = key_of(target)
  end
  return name and core.handlers[name] and name
end

local function each_assignment(node, visit)
  if node.k == "assign" then
    for i = 1, node.targets do
      visit(node[i], node[node.targets + i])
    end
  end
end

local function link(node)
  for i = 1, #node do
    node[i].up = node
    link(node[i])
  end
end

local function collect_globals(self, node, func)
  each_assignment(node, function(target, value)
    if target.k == "name" and not target.var then
      local sets = self.globals[target.name] or {}
      self.globals[target.name] = sets
      sets[#sets + 1] = value or { k = "unknown" }
      if value then
        value.is_at_top = func == self.main
      end
    end
  end)
end

local function collect_handlers(self, node)
  each_assignment(node, function(target, value)
    local name = handler_of_target(self, target)
    if name and value then
      note_handler(self, name, value)
    end
  end)
  if node == self.returned then
    for _, item in ipairs(node) do
      if item.key and item.key.k == "str" then
        note_handler(self, item.key.value, item[1])
      end
    end
  end
end

-- ---- who calls whom ----

-- A call of a function that we know; or a function that goes elsewhere as a value, to run we do not know when.
local function collect_calls(self, node, func)
  if node.k == "call" then
    local called = self:function_of(node[1])
    if called and called ~= node[1] then
      called.calls = called.calls or {}
      table.insert(called.calls, { node = node, from = func })
    end
  elseif node.k == "name" then
    local fn, up = self:function_of(node), node.up
    local is_called = up.k == "call" and up[1] == node
    local is_defined = up.k == "assign" and (up[1] == node or handler_of_target(self, up[1]))
    local is_exported = up.k == "item" and up.up == self.returned
    if fn and not (is_called or is_defined or is_exported) then
      fn.escapes = true
    end
  end
end

-- The kind that all calls pass as an argument. A function that passes its own parameter on to itself says nothing.
local function argument_kind(self, fn, position)
  local kind
  for _, call in ipairs(fn.calls) do
    local argument = call.node[position + 1]
    local is_own = argument and argument.k == "name" and argument.var == fn.params[position]
    local this = argument and not is_own and self:kind(argument)
    if not is_own and (not this or kind and kind ~= this) then
      return nil
    end
    kind = this or kind
  end
  return kind
end

-- One round. True: something new is known.
local function spread(self, fn)
  local is_new = false
  fn.given = fn.given or {}
  for position = 1, #fn.params do
    if not fn.handles and not fn.given[position] then
      fn.given[position] = argument_kind(self, fn, position)
      is_new = is_new or fn.given[position] ~= nil
    end
  end
  for _, call in ipairs(fn.calls) do
    fn.stages = fn.stages or {}
    for stage in pairs(call.from.stages or { unknown_caller = true }) do
      is_new = is_new or not fn.stages[stage]
      fn.stages[stage] = true
    end
  end
  return is_new
end

--- The stages at which a function runs, nil when it may run at others.
function flow.stages_of(fn)
  if not fn or fn.escapes or not fn.stages or fn.stages.unknown_caller then
    return nil
  end
  return fn.stages
end

--- Everything about a script. .main, .handlers = { name, stage, func, is_field }, .globals = values by name.
---@param source string  which has compiled
function flow.of(source)
  local self = setmetatable({ main = syntax.read(source), handlers = {}, globals = {} }, F)
  link(self.main)
  find_returned(self)
  syntax.walk(self.main, function(node, func) collect_globals(self, node, func) end)
  syntax.walk(self.main, function(node) collect_handlers(self, node) end)
  local called = {}
  syntax.walk(self.main, function(node, func) collect_calls(self, node, func) end)
  syntax.walk(self.main, function(node)
    if node.k == "func" and node.calls then
      called[#called + 1] = node
    end
  end)
  repeat
    local is_new = false
    for _, fn in ipairs(called) do
      is_new = spread(self, fn) or is_new
    end
  until not is_new
  return self
end

return flow
