-- The script of fuzz target "conversation": every handler, every edit and every verdict, as the mail says: a field
-- "Do-NAME: value" asks for the action NAME. Waits, keeps and reads what it can. What the host refuses is fine.
local milter = require "moonmilter"
local address = require "moonmilter.address"
local header = require "moonmilter.header"

options = {
  needs = { "add_header", "insert_header", "change_header", "delete_header", "replace_body", "add_recipient",
    "delete_recipient", "change_from", "quarantine" },
  facts = { "headers", "recipients", "client", "sender" },
}

local actions = {}
actions["do-add"] = function(ctx, value) ctx:add_header("X-Added", value) end
actions["do-name"] = function(ctx, value) ctx:add_header(value, "value") end
actions["do-insert"] = function(ctx, value) ctx:insert_header(#value % 8, "X-Inserted", value) end
actions["do-change"] = function(ctx, value) ctx:change_header("Subject", 1 + #value % 3, value) end
actions["do-delete"] = function(ctx, value) ctx:delete_header(value, 1) end
actions["do-from"] = function(ctx, value) ctx:change_from(value) end
actions["do-to"] = function(ctx, value) ctx:add_recipient(value) end
actions["do-not-to"] = function(ctx, value) ctx:delete_recipient(value) end
actions["do-body"] = function(ctx, value) ctx:replace_body(value .. "\r\n") end
actions["do-quarantine"] = function(ctx, value) ctx:quarantine(value) end
actions["do-progress"] = function(ctx) ctx:progress() end
actions["do-set"] = function(ctx, value) ctx.headers:field(1):set(value) end
actions["do-before"] = function(ctx, value) ctx.headers:field(1):insert_before("X-Before", value) end
actions["do-sleep"] = function(_, value) milter.sleep(#value % 20) end
actions["do-parse"] = function(_, value)
  address.list(value)
  header.message_id(value)
end

local verdicts = {
  ["do-accept"] = function(ctx) return ctx:accept() end,
  ["do-discard"] = function(ctx) return ctx:discard() end,
  ["do-reject"] = function(ctx, value) return ctx:reject(550, "5.7.1", value) end,
  ["do-tempfail"] = function(ctx, value) return ctx:tempfail(451, "4.7.1", value) end,
  ["do-disconnect"] = function(ctx) return ctx:disconnect() end,
  ["do-error"] = function(_, value) error(value, 0) end,
}

function on_negotiate(_, offer) assert(offer.version >= 2) end

function on_connect(ctx, hostname)
  ctx.session.hostname = hostname
  assert(ctx.client.family)
end

function on_helo(ctx, name)
  ctx.session.name = name
  if name == "wait" then
    milter.sleep(1)
  elseif name == "reject" then
    return ctx:reject(550, "5.7.1", "no")
  end
end

function on_mail(ctx, sender, params)
  ctx.message.from = sender
  return params.WAIT and milter.sleep(3) or nil
end

function on_rcpt(ctx, recipient)
  if recipient:sub(1, 2) == "no" then
    return ctx:reject(550, "5.1.1", "no " .. #ctx.recipients)
  end
end

function on_data(ctx) return ctx.sender == "wait" and milter.sleep(2) or nil end

function on_header(ctx, name, value) ctx.message.last = name .. value end

function on_eoh(ctx)
  ctx.message.fields = #ctx.headers
  for name, act in pairs { ["early-reject"] = verdicts["do-reject"], ["early-accept"] = verdicts["do-accept"] } do
    local value = ctx.headers:get(name)
    if value then
      return act(ctx, value)
    end
  end
end

function on_body(ctx, chunk)
  ctx.message.bytes = (ctx.message.bytes or 0) + #chunk
  return chunk:sub(1, 4) == "skip" and "skip" or nil
end

function on_eom(ctx)
  local asked = {}
  for _, field in ipairs(ctx.headers) do
    asked[#asked + 1] = { field.name:lower(), field.value }
  end
  for _, one in ipairs(asked) do
    if actions[one[1]] then
      pcall(actions[one[1]], ctx, one[2])
    end
  end
  for _, one in ipairs(asked) do
    if verdicts[one[1]] then
      return verdicts[one[1]](ctx, one[2])
    end
  end
end

function on_unknown(ctx, command) return command == "REJECT" and ctx:reject() or nil end
function on_abort(ctx) ctx.message.last = nil end
function on_macros(ctx, stage, macros)
  for name, value in pairs(macros) do assert(stage and value and ctx:macro(name)) end
end
function on_done(_, result) assert(result.verdict) end
function on_close(ctx) assert(ctx.session) end
