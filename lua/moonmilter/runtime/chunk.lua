--- What a compiled chunk mentions: its strings, and the globals it sets and reads, with lines. LuaJIT exposes its
-- bytecode through jit.util; the numbers of the relevant instructions are learnt from probes, so nothing here depends
-- on a build. Nested functions are followed.
local util = require "jit.util"
local bit = require "bit"

local chunk = {}

local function opcode(fn, at)
  local ins = util.funcbc(fn, at)
  return ins and bit.band(ins, 0xff), ins
end

-- The instruction that mentions a string constant: the last one before the return.
local function probe(source, wanted)
  local fn = assert(loadstring(source))
  for at = 1, 20 do
    local op, ins = opcode(fn, at)
    if not op then
      break
    end
    local ok, constant = pcall(util.funck, fn, -bit.rshift(ins, 16) - 1)
    if ok and constant == wanted then
      return op
    end
  end
end

local GSET, GGET = probe("zz = 1", "zz"), probe("return zz", "zz")

-- x:zz(…) is MOV x, then TGETS x "zz", where a field read has no such MOV. After 256 constants it is MOV, KSTR "zz",
-- TGETV; there a field read counts as a call too.
local METHOD, LONG_METHOD
do
  local short, long = assert(loadstring "local x = ... x:zz()"), { "local x = ..." }
  for i = 1, 300 do
    long[i + 1] = ("x = %d.5 x = \"%d\""):format(i, i)
  end
  long = assert(loadstring(table.concat(long, " ") .. " x:zz()"))
  local last = 1
  while opcode(long, last + 1) do
    last = last + 1
  end
  METHOD = { (opcode(short, 2)), (opcode(short, 3)) }
  LONG_METHOD = { (opcode(long, last - 3)), (opcode(long, last - 2)) } -- after them CALL, RET0
end

-- Calls visit(prototype) for fn and every function inside it.
local function each_prototype(fn, visit)
  visit(fn)
  local at = -1
  while true do
    local ok, constant = pcall(util.funck, fn, at)
    if not ok or constant == nil then
      return
    end
    if type(constant) == "proto" then
      each_prototype(constant, visit)
    end
    at = at - 1
  end
end

local function strings_of_table(t, strings)
  for key, value in pairs(t) do
    if type(key) == "string" then
      strings[key] = true
    end
    if type(value) == "string" then
      strings[value] = true
    end
  end
end

--- Every string constant of a function and the functions inside it, as a set.
---@param fn function
---@return table<string, true>
function chunk.strings(fn)
  local strings = {}
  each_prototype(fn, function(proto)
    local at = -1
    while true do
      local ok, constant = pcall(util.funck, proto, at)
      if not ok or constant == nil then
        return
      end
      if type(constant) == "string" then
        strings[constant] = true
      elseif type(constant) == "table" then
        strings_of_table(constant, strings)
      end
      at = at - 1
    end
  end)
  return strings
end

--- Names of the methods that a function and the functions inside it call, as a set: "zz" for anything:zz(…).
---@param fn function
---@return table<string, true>
function chunk.methods(fn)
  local methods = {}
  each_prototype(fn, function(proto)
    local at, before, ins_before = 1, nil, 0
    while true do
      local op, ins = opcode(proto, at)
      if not op then
        break
      end
      local constant
      if before == METHOD[1] and op == METHOD[2] and bit.rshift(ins_before, 16) == bit.rshift(ins, 24) then
        constant = bit.band(bit.rshift(ins, 16), 0xff)
      elseif before == LONG_METHOD[1] and op == LONG_METHOD[2] then
        constant = bit.rshift(ins_before, 16)
      end
      local name = constant and util.funck(proto, -constant - 1)
      if type(name) == "string" then
        methods[name] = true
      end
      before, ins_before = op, ins
      at = at + 1
    end
  end)
  return methods
end

---@class moonmilter.GlobalUse
---@field name string
---@field line integer
---@field sets boolean    false: it is read
---@field nested boolean  inside a function of the script, so it happens at run time

--- Uses of globals in a function and the functions inside it, ordered by line.
---@param fn function
---@return moonmilter.GlobalUse[]
function chunk.globals(fn)
  local uses = {}
  each_prototype(fn, function(proto)
    local at = 1
    while true do
      local op, ins = opcode(proto, at)
      if not op then
        break
      end
      if op == GSET or op == GGET then
        local name = util.funck(proto, -bit.rshift(ins, 16) - 1)
        uses[#uses + 1] = {
          name = name, line = util.funcinfo(proto, at).currentline or 0, sets = op == GSET, nested = proto ~= fn,
        }
      end
      at = at + 1
    end
  end)
  table.sort(uses, function(a, b) return a.line < b.line end)
  return uses
end

return chunk
