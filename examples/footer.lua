-- Appends a footer to plain-text mail. The body is collected, then replaced as a whole: a milter cannot append.
-- Multipart mail passes unchanged here; examples/footer-text-html.lua handles it.
local FOOTER = "\r\n-- \r\nExample Ltd, 1 Mail Street\r\n"
local LIMIT = 1024 * 1024 -- bytes; larger mail passes unchanged

function on_header(ctx, name, value)
  if name:lower() == "content-type" then
    ctx.message.type = value:lower()
  elseif name:lower() == "content-transfer-encoding" then
    ctx.message.encoding = value:lower()
  end
end

function on_body(ctx, chunk)
  local m = ctx.message
  m.size = (m.size or 0) + #chunk
  if m.size > LIMIT then
    m.chunks = nil
    return "skip"
  end
  m.chunks = m.chunks or {}
  table.insert(m.chunks, chunk)
end

function on_eom(ctx)
  local m = ctx.message
  local is_plain = not m.type or m.type:find("^text/plain")
  local is_readable = not m.encoding or m.encoding:find("^7bit") or m.encoding:find("^8bit")
  if m.chunks and is_plain and is_readable then
    ctx:replace_body(table.concat(m.chunks) .. FOOTER)
  end
end
