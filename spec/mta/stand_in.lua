-- The filter of stand_in.c for moonmilter: it follows orders in a message, which are described there. luacheck: allow
-- defined top, ignore 131
local milter = require "moonmilter"

local BY_LAST_BYTE = {
  ["2"] = "reject", ["3"] = "tempfail", ["4"] = "accept", ["5"] = "reply550", ["6"] = "reply451", ["7"] = "reply421",
}

local function unescape(text, line_end)
  return ((text or ""):gsub("\\n", line_end))
end

-- "CODE XCODE LINE|LINE..."
local function reply(ctx, text)
  local code, xcode, rest = text:match "^(%d+) (%S+) (.*)$"
  local lines = {}
  for line in rest:gmatch "[^|]+" do lines[#lines + 1] = line end
  if code:sub(1, 1) == "4" then return ctx:tempfail(tonumber(code), xcode, unpack(lines)) end
  return ctx:reject(tonumber(code), xcode, unpack(lines))
end

local REPLIES = {
  reply550 = "550 5.7.1 not wanted here",
  reply451 = "451 4.7.1 come back later",
  reply421 = "421 4.7.1 going away",
  lines = "550 5.7.1 first line|second line|third line",
}
local VERDICTS = { continue = true, reject = true, tempfail = true, discard = true, accept = true, skip = true }

-- True for a verdict's name; a reply ends the handler here.
local function verdict(ctx, name)
  if REPLIES[name] then return reply(ctx, REPLIES[name]) end
  return VERDICTS[name] and name or nil
end

local function verdict_in(ctx, text, stage)
  local name = text:match("^" .. stage .. "%.([^@.]+)")
  return name and verdict(ctx, name)
end

local function raw(address, params)
  local list = { "<" .. address .. ">" }
  for _, param in ipairs(params or {}) do list[#list + 1] = param end
  return table.concat(list, " ")
end

local EDITS = {
  add = function(ctx, text)
    local name, value = text:match "^(%S+) ?(.*)$"
    ctx:add_header(name, unescape(value, "\n"))
  end,
  insert = function(ctx, text)
    local index, name, value = text:match "^(%S+) (%S+) ?(.*)$"
    ctx:insert_header(tonumber(index), name, unescape(value, "\n"))
  end,
  change = function(ctx, text)
    local n, name, value = text:match "^(%S+) (%S+) ?(.*)$"
    ctx:change_header(name, tonumber(n), unescape(value, "\n"))
  end,
  delete = function(ctx, text)
    local n, name = text:match "^(%S+) (%S+)$"
    ctx:delete_header(name, tonumber(n))
  end,
  from = function(ctx, text)
    local address, params = text:match "^(%S+) ?(.*)$"
    ctx:change_from(address, params ~= "" and params or nil)
  end,
  addrcpt = function(ctx, text)
    local address, params = text:match "^(%S+) ?(.*)$"
    ctx:add_recipient(address, params ~= "" and params or nil)
  end,
  delrcpt = function(ctx, text) ctx:delete_recipient(text) end,
  body = function(ctx, text) ctx:replace_body(unescape(text, "\r\n")) end,
  bigbody = function(ctx, text)
    local line = ("0123456789"):rep(7) .. "012345678\r\n"
    ctx:replace_body(line:rep(math.floor(tonumber(text) / #line)))
  end,
  quarantine = function(ctx, text) ctx:quarantine(text) end,
  progress = function(ctx) ctx:progress() end,
  sleep = function(_, text) milter.sleep(tonumber(text)) end,
  facts = function(ctx)
    local function fact(name, value)
      value = value and tostring(value) or ""
      ctx:add_header("X-Facts-" .. name, value ~= "" and value or "-")
    end
    fact("Client", ctx.client.host .. " " .. ctx.client.ip)
    fact("Helo", ctx.helo)
    fact("Sender", ctx.message.from)
    fact("Recipients", table.concat(ctx.message.to, " "))
    fact("Headers", ctx.message.fields)
    fact("Body", ctx.message.bytes)
    fact("Queue-Id", ctx.queue_id)
  end,
}

-- Carries out the orders for a stage, up to the first verdict.
local function carry_out(ctx, orders, stage)
  for _, order in ipairs(orders) do
    local at, name, rest = order:match "^(%S+) (%S+) ?(.*)$"
    if at == stage then
      if name == "reply" then return reply(ctx, rest) end
      local word = verdict(ctx, name)
      if word then return word end
      EDITS[name](ctx, rest)
    end
  end
end

function on_connect(ctx)
  local last = ctx.client.ip and ctx.client.ip:match "^%d+%.%d+%.%d+%.(%d+)$"
  local name = BY_LAST_BYTE[last]
  return name and verdict(ctx, name)
end

function on_helo(ctx, name)
  return verdict_in(ctx, name, "helo")
end

function on_mail(ctx, sender, params)
  ctx.message.from = raw(sender, params)
  ctx.message.to = {}
  ctx.message.orders = {}
  ctx.message.fields = 0
  ctx.message.bytes = 0
  return verdict_in(ctx, sender, "mail")
end

function on_rcpt(ctx, recipient, params)
  table.insert(ctx.message.to, raw(recipient, params))
  if recipient:match "^data%." then ctx.message.at_data = recipient end
  return verdict_in(ctx, recipient, "rcpt")
end

function on_data(ctx)
  return ctx.message.at_data and verdict_in(ctx, ctx.message.at_data, "data")
end

function on_header(ctx, name, value)
  ctx.message.fields = ctx.message.fields + 1
  if name:lower() == "x-do" then
    table.insert(ctx.message.orders, value)
    return carry_out(ctx, { value }, "header")
  end
end

function on_eoh(ctx)
  return carry_out(ctx, ctx.message.orders, "eoh")
end

function on_body(ctx, chunk)
  ctx.message.bytes = ctx.message.bytes + #chunk
  return carry_out(ctx, ctx.message.orders, "body")
end

function on_eom(ctx)
  return carry_out(ctx, ctx.message.orders, "eom")
end

function on_unknown(_, command)
  return command:match "^XREJECT" and "reject" or nil
end
