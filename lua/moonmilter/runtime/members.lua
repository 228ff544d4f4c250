--- How a script reads a member of ctx. In Lua, so that the most frequent accesses, ctx.message and the methods, stay in
-- compiled code, even the first of a message, which makes its table; the host is asked for facts.
-- facts and methods: the names, for moonmilter.runtime.lint.
local members = { facts = {}, methods = {} }

local new_table = require "table.new"
local FIELDS = 2 -- that a script's table for a message has room for at once; most have no more

--- Returns the __index of ctx.
---@param kept table<string, table>  by name of the member: a table by ctx's number; the host clears it
---@param known table<string, any>   every member: methods are functions, a fact is something else
---@param fact function              (ctx, name): the value of a fact; raises when there is no such member
---@param now table                  [1] is the ctx of the session that runs: another one's is the host's to refuse;
---  [2]: it has a message; [3]: its number
---@param guard table                 metatable of ctx.message
function members.index(kept, known, fact, now, guard)
  local messages = kept.message
  local methods = {}
  for name, member in pairs(known) do
    methods[name] = type(member) == "function" and member or nil
    members[type(member) == "function" and "methods" or "facts"][name] = true
  end
  return function(ctx, name)
    local by_number = ctx == now[1] and kept[name]
    local value = by_number and by_number[now[3]] or methods[name]
    if value then
      return value
    end
    if by_number == messages and now[2] then
      value = setmetatable(new_table(0, FIELDS), guard)
      messages[now[3]] = value
      return value
    end
    return fact(ctx, name)
  end
end

--- Returns the metatable of ctx.message and ctx.session, which belong to the script. A name of ctx in one of them is a
-- mistake: read, it would silently be nil (ctx.message.sender); written, it would hide the fact.
---@param known table<string, any>  as above
---@return table
function members.guard(known)
  local hints = {}
  for name, member in pairs(known) do
    if name:sub(1, 1) ~= "_" then
      local form = type(member) == "function" and "ctx:%s(...)" or "ctx.%s"
      hints[name] = ("%s is a member of ctx: write " .. form .. "; ctx.message and ctx.session are for names of "
        .. "your own"):format(name, name)
    end
  end
  return {
    __index = function(_, name)
      local hint = hints[name]
      if hint then
        error(hint, 2)
      end
    end,
    __newindex = function(kept, name, value)
      local hint = hints[name]
      if hint then
        error(hint, 2)
      end
      rawset(kept, name, value)
    end,
  }
end

return members
