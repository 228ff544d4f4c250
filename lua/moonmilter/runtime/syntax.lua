--- The syntax tree of a Lua source that has compiled, with its variables resolved: what moonmilter.runtime.lint reads.
-- A node is { k = kind, line =, at =, after =, [1], [2], … = nodes inside it }. at and after: its bytes in the source.
--   expressions: nil true false number vararg paren op   str (value)   name (name, var; no var: a global)
--     index (1 object, 2 key)   call (1 function, 2… arguments)   method (1 object, name, 2… arguments)
--     func (1 body, params = vars, is_vararg)   table (items; an item has key, a node, or none)
--   statements: block local (vars; values) assign (targets = count; targets, then values) call method do while repeat
--     if for forin (vars) localfunc (var) return break goto ::
-- A var is { name, line, writes = count of assignments after the declaration, init = node or nil, func = of a
-- parameter, loop = of a loop's, position = among these, uses = count }.
local tokens = require "moonmilter.runtime.tokens"

local syntax = {}

local P = {}
P.__index = P

local function peek(p)
  return p.list[p.i].kind
end

local function take(p, kind)
  local token = p.list[p.i]
  if kind and token.kind ~= kind then
    error(("line %d: %s expected, not %s"):format(token.line, kind, token.kind), 0)
  end
  p.i = p.i + 1
  return token
end

local function accept(p, kind)
  if peek(p) == kind then
    return take(p)
  end
end

local function node(p, kind, first)
  local token = first or p.list[p.i]
  return { k = kind, line = token.line, at = token.at }
end

local function close(p, made)
  made.after = p.list[p.i - 1].after
  return made
end

-- ---- variables ----

local function open_scope(p)
  p.scope = { outer = p.scope, vars = {}, func = p.func }
end

local function close_scope(p)
  p.scope = p.scope.outer
end

local function declare(p, name, line, init)
  local var = { name = name, line = line, writes = 0, uses = 0, init = init, owner = p.func }
  p.scope.vars[name] = var
  return var
end

local function find(p, name)
  local scope = p.scope
  while scope do
    if scope.vars[name] then
      return scope.vars[name]
    end
    scope = scope.outer
  end
end

-- ---- expressions ----

local expression, block

local function arguments(p, made)
  local kind = peek(p)
  if kind == "string" then
    local token = take(p)
    made[#made + 1] = close(p, { k = "str", value = token.value, line = token.line, at = token.at })
  elseif kind == "{" then
    made[#made + 1] = expression(p)
  else
    take(p, "(")
    while peek(p) ~= ")" do
      made[#made + 1] = expression(p)
      accept(p, ",")
    end
    take(p, ")")
  end
  return close(p, made)
end

local function name_node(p)
  local token = take(p, "name")
  local made = { k = "name", name = token.value, line = token.line, at = token.at, var = find(p, token.value) }
  if made.var then
    made.var.uses = made.var.uses + 1
  end
  return close(p, made)
end

local function string_key(p)
  local token = take(p, "name")
  return { k = "str", value = token.value, line = token.line, at = token.at, after = token.after }
end

local function paren_node(p)
  local made = node(p, "paren")
  take(p)
  made[1] = expression(p)
  take(p, ")")
  return close(p, made)
end

-- A name or a parenthesis, and what follows it.
local function suffixed(p)
  local first, made = p.list[p.i], peek(p) == "(" and paren_node(p) or name_node(p)
  while true do
    local kind = peek(p)
    local outer
    if kind == "." then
      take(p)
      outer = { k = "index", line = p.list[p.i].line, at = first.at, made, string_key(p) }
    elseif kind == "[" then
      outer = { k = "index", line = take(p).line, at = first.at, made }
      outer[2] = expression(p)
      take(p, "]")
    elseif kind == ":" then
      take(p)
      local token = take(p, "name")
      outer = arguments(p, { k = "method", name = token.value, line = token.line, at = first.at, made })
    elseif kind == "(" or kind == "string" or kind == "{" then
      outer = arguments(p, { k = "call", line = p.list[p.i].line, at = first.at, made })
    else
      return made
    end
    made = close(p, outer)
  end
end

local function table_node(p)
  local made = node(p, "table")
  take(p, "{")
  while peek(p) ~= "}" do
    local item = node(p, "item")
    if peek(p) == "[" then
      take(p)
      item.key = expression(p)
      take(p, "]")
      take(p, "=")
    elseif peek(p) == "name" and p.list[p.i + 1].kind == "=" then
      item.key = string_key(p)
      take(p)
    end
    item[1] = expression(p)
    item[2] = item.key
    made[#made + 1] = close(p, item)
    if not (accept(p, ",") or accept(p, ";")) then
      break
    end
  end
  take(p, "}")
  return close(p, made)
end

-- From the parameters to `end`. self: of function a:b().
local function function_body(p, first, self)
  local made, outer = node(p, "func", first), p.func
  made.params, made.outer = {}, outer
  p.func = made
  open_scope(p)
  if self then
    made.params[1] = declare(p, "self", first.line)
  end
  take(p, "(")
  while peek(p) ~= ")" do
    if accept(p, "...") then
      made.is_vararg = true
    else
      local token = take(p, "name")
      made.params[#made.params + 1] = declare(p, token.value, token.line)
    end
    accept(p, ",")
  end
  take(p, ")")
  for i, var in ipairs(made.params) do
    var.func, var.position = made, i
  end
  made[1] = block(p)
  take(p, "end")
  close_scope(p)
  p.func = outer
  return close(p, made)
end

local SIMPLE = { ["nil"] = true, ["true"] = true, ["false"] = true, number = true, ["..."] = true, string = true }
local UNARY = { ["not"] = true, ["-"] = true, ["#"] = true }
local BINARY = {}
for sign in ("+ - * / % ^ .. == ~= < <= > >= and or"):gmatch "%S+" do
  BINARY[sign] = true
end

local function operand(p)
  local kind = peek(p)
  if SIMPLE[kind] then
    local made, token = node(p, kind == "string" and "str" or kind), take(p)
    made.value = token.value
    return close(p, made)
  elseif kind == "{" then
    return table_node(p)
  elseif kind == "function" then
    return function_body(p, take(p))
  end
  return suffixed(p)
end

-- Without precedence: who reads the tree does not calculate.
function expression(p)
  local made = node(p, "op")
  while true do
    while UNARY[peek(p)] do
      take(p)
      made.is_op = true
    end
    made[#made + 1] = operand(p)
    if not BINARY[peek(p)] then
      break
    end
    made[#made + 1] = { k = "sign", value = take(p).kind }
    made.is_op = true
  end
  return made.is_op and close(p, made) or made[1]
end

local function expressions(p, made)
  repeat
    made[#made + 1] = expression(p)
  until not accept(p, ",")
  return made
end

-- ---- statements ----

local statements = {}

function statements.local_function(p, made)
  take(p, "function")
  local token = take(p, "name")
  made.k = "localfunc"
  made.var = declare(p, token.value, token.line)
  made[1] = function_body(p, token)
  made.var.init = made[1]
  return made
end

statements["local"] = function(p, made)
  take(p)
  if peek(p) == "function" then
    return statements.local_function(p, made)
  end
  local names = {}
  repeat
    names[#names + 1] = take(p, "name")
    if accept(p, "<") then
      take(p, "name")
      take(p, ">")
    end
  until not accept(p, ",")
  if accept(p, "=") then
    expressions(p, made)
  end
  made.vars = {}
  for i, token in ipairs(names) do
    made.vars[i] = declare(p, token.value, token.line, made[i])
  end
  return made
end

statements["function"] = function(p, made)
  take(p)
  local first = p.list[p.i]
  local target, is_method = name_node(p), false
  while peek(p) == "." or peek(p) == ":" do
    is_method = take(p).kind == ":"
    target = close(p, { k = "index", line = first.line, at = first.at, target, string_key(p) })
  end
  made.k, made.targets, made[1] = "assign", 1, target
  if target.var then
    target.var.writes, target.var.uses = target.var.writes + 1, target.var.uses - 1
  end
  made[2] = function_body(p, first, is_method)
  return made
end

statements["do"] = function(p, made)
  take(p)
  made[1] = block(p)
  take(p, "end")
  return made
end

statements["while"] = function(p, made)
  take(p)
  made[1] = expression(p)
  take(p, "do")
  made[2] = block(p)
  take(p, "end")
  return made
end

statements["repeat"] = function(p, made)
  take(p)
  open_scope(p)
  made[1] = block(p, true)
  take(p, "until")
  made[2] = expression(p)
  close_scope(p)
  return made
end

statements["if"] = function(p, made)
  repeat
    take(p)
    made[#made + 1] = expression(p)
    take(p, "then")
    made[#made + 1] = block(p)
  until peek(p) ~= "elseif"
  if accept(p, "else") then
    made[#made + 1] = block(p)
  end
  take(p, "end")
  return made
end

statements["for"] = function(p, made)
  take(p)
  local names = {}
  repeat
    names[#names + 1] = take(p, "name")
  until not accept(p, ",")
  made.k = accept(p, "in") and "forin" or "for"
  if made.k == "for" then
    take(p, "=")
  end
  expressions(p, made)
  take(p, "do")
  open_scope(p)
  made.vars = {}
  for i, token in ipairs(names) do
    made.vars[i] = declare(p, token.value, token.line)
    made.vars[i].loop, made.vars[i].position = made, i
  end
  made[#made + 1] = block(p)
  close_scope(p)
  take(p, "end")
  return made
end

local BLOCK_ENDS = { ["end"] = true, ["else"] = true, ["elseif"] = true, ["until"] = true, eof = true }

statements["return"] = function(p, made)
  take(p)
  if not BLOCK_ENDS[peek(p)] and peek(p) ~= ";" then
    expressions(p, made)
  end
  return made
end

statements["break"] = function(p, made)
  take(p)
  return made
end

statements["::"] = function(p, made)
  take(p)
  take(p, "name")
  take(p, "::")
  return made
end

statements["goto"] = function(p, made)
  take(p)
  take(p, "name")
  return made
end

local function assignment(p, made)
  made[1] = suffixed(p)
  if peek(p) ~= "=" and peek(p) ~= "," then
    return made[1]
  end
  made.k = "assign"
  while accept(p, ",") do
    made[#made + 1] = suffixed(p)
  end
  made.targets = #made
  for i = 1, made.targets do
    local var = made[i].var
    if var then
      var.writes, var.uses = var.writes + 1, var.uses - 1
    end
  end
  take(p, "=")
  return expressions(p, made)
end

function block(p, is_scope_open)
  local made = node(p, "block")
  if not is_scope_open then
    open_scope(p)
  end
  while not BLOCK_ENDS[peek(p)] do
    if not accept(p, ";") then
      local kind = peek(p)
      local read = statements[kind] or assignment
      made[#made + 1] = close(p, read(p, node(p, kind)))
    end
  end
  if not is_scope_open then
    close_scope(p)
  end
  return close(p, made)
end

--- The main chunk, a func node; its globals have no var. Raises when the source does not fit: it must have compiled.
---@param source string
---@return table
function syntax.read(source)
  local list = tokens.read(source)
  local p = setmetatable({ list = list, i = 1 }, P)
  local main = { k = "func", params = {}, is_vararg = true, line = 1, at = 1 }
  p.func = main
  open_scope(p)
  main[1] = block(p)
  if peek(p) ~= "eof" then
    error(("line %d: unexpected %s"):format(p.list[p.i].line, peek(p)), 0)
  end
  main.after = #source + 1
  return main
end

--- Calls visit(node, function) for the node and all inside it, outermost first; function: the innermost around the
--- node.
function syntax.walk(made, visit, func)
  visit(made, func)
  local inner = made.k == "func" and made or func
  for i = 1, #made do
    syntax.walk(made[i], visit, inner)
  end
end

return syntax
