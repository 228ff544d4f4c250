-- A filter for moonmilter that runs the Lua in a message: header fields "X-Run: STAGE CODE", in order, where STAGE is
-- header, eoh, body or eom. CODE gets ctx and milter and may return a verdict. Before the header there are
-- "mail.error@…", "rcpt.error@…", "data.error@…", "helo.error.…" and the client 127.0.0.8: these raise an error.
-- luacheck: allow defined top, ignore 131
local milter = require "moonmilter"

local function run(ctx, stage, orders)
  for _, order in ipairs(orders or ctx.message.run or {}) do
    local at, code = order:match "^(%S+) (.*)$"
    if at == stage then
      local chunk = assert(loadstring("local ctx, milter = ... " .. code, "=" .. stage))
      local verdict = chunk(ctx, milter)
      if verdict then return verdict end
    end
  end
end

local function error_in(text, stage)
  if text:match("^" .. stage .. "%.error") then error("told to fail at " .. stage) end
end

function on_connect(ctx)
  if ctx.client.ip == "127.0.0.8" then error "told to fail at connect" end
  ctx.session.messages = 0
end

function on_helo(_, name)
  error_in(name, "helo")
end

function on_mail(ctx, sender)
  ctx.session.messages = ctx.session.messages + 1
  ctx.message.run = {}
  error_in(sender, "mail")
end

function on_rcpt(ctx, recipient)
  ctx.message.last_recipient = recipient
  error_in(recipient, "rcpt")
end

function on_data(ctx)
  error_in(ctx.message.last_recipient or "", "data")
end

function on_header(ctx, name, value)
  if name:lower() ~= "x-run" then return end
  table.insert(ctx.message.run, value)
  return run(ctx, "header", { value })
end

function on_eoh(ctx) return run(ctx, "eoh") end
function on_body(ctx) return run(ctx, "body") end
function on_eom(ctx) return run(ctx, "eom") end
