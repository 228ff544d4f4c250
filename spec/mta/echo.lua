-- The filter of echo.c for moonmilter: changes nothing and records all that it receives.
-- luacheck: allow defined top, ignore 131
local bit = require "bit"

local MACROS = {
  "j", "_", "i", "v", "{daemon_name}", "{daemon_addr}", "{if_name}", "{if_addr}", "{mail_addr}", "{mail_host}",
  "{mail_mailer}", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}", "{auth_type}", "{auth_authen}", "{auth_author}",
  "{auth_ssf}", "{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}", "{msg_id}",
}

local function quoted(text)
  return (text:gsub("[%c \\\128-\255]", function(c) return ("\\x%02X"):format(c:byte()) end))
end

local function note(ctx, event, ...)
  local parts = { "ECHO", ctx.id, event }
  for i = 1, select("#", ...) do parts[#parts + 1] = quoted((select(i, ...))) end
  io.stderr:write(table.concat(parts, " ") .. "\n")
end

local function note_all(ctx, event, ...)
  local parts = { "ECHO", ctx.id, event }
  for i = 1, select("#", ...) do parts[#parts + 1] = quoted((select(i, ...))) end
  parts[#parts + 1] = "|"
  for _, name in ipairs(MACROS) do
    local value = ctx:macro(name)
    if value then parts[#parts + 1] = name .. "=" .. quoted(value) end
  end
  io.stderr:write(table.concat(parts, " ") .. "\n")
end

local function joined(params)
  local list = { params.raw }
  for _, param in ipairs(params) do list[#list + 1] = param end
  return table.concat(list, "\n") .. "\n"
end

-- FNV-1a, 32 bits.
local function digest(bytes)
  local hash = bit.tobit(2166136261)
  for i = 1, #bytes do
    hash = bit.bxor(hash, bytes:byte(i))
    hash = bit.tobit((hash % 4294967296) * 403 + bit.lshift(hash, 24))
  end
  return bit.tohex(hash)
end

function on_connect(ctx, hostname, address)
  local port = ctx.client.port
  note_all(ctx, "connect", hostname, ctx.client.family, address or "-", not port and "-" or port > 0 and "port" or "0")
end

function on_helo(ctx, name) note_all(ctx, "helo", name) end
function on_mail(ctx, _, params) note_all(ctx, "mail", joined(params)) end
function on_rcpt(ctx, _, params) note_all(ctx, "rcpt", joined(params)) end
function on_data(ctx) note_all(ctx, "data") end
function on_header(ctx, name, value) note(ctx, "header", name, value) end
function on_eoh(ctx) note_all(ctx, "eoh") end
function on_body(ctx, chunk) note(ctx, "body", #chunk .. " " .. digest(chunk)) end
function on_eom(ctx) note_all(ctx, "eom") end
function on_abort(ctx) note(ctx, "abort") end
function on_unknown(ctx, command) note(ctx, "unknown", command) end
function on_close(ctx) note(ctx, "close") end
