--- How a script reads a member of ctx. In Lua, so that what every handler does most, ctx.message and the methods, stays
-- in compiled code; a fact is asked of the host.
local members = {}

--- Gives the __index of ctx.
---@param kept table<string, table>  by name of the member: a table by ctx; the host fills and clears it
---@param known table<string, any>   every member: methods are functions, a fact is something else
---@param fact function              (ctx, name): the value of a fact; raises when there is no such member
function members.index(kept, known, fact)
  local methods = {}
  for name, member in pairs(known) do
    methods[name] = type(member) == "function" and member or nil
  end
  return function(ctx, name)
    local by_ctx = kept[name]
    local value = by_ctx and by_ctx[ctx] or methods[name]
    if value then
      return value
    end
    return fact(ctx, name)
  end
end

return members
