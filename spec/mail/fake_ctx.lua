--- Runs an example over a message without a host: a ctx with only headers, body, edits and reject.
local body = require "moonmilter.body"
local header = require "moonmilter.header"

local fake_ctx = {}

--- @return { verdict: string|nil, reply: table|nil, message: string }
function fake_ctx.run(script, message, macros)
  local env = setmetatable({}, { __index = _G })
  setfenv(assert(loadfile(script)), env)()
  local block, after = header.block(message)
  local text = message:sub(after)
  local kept, replaced
  local ctx = { message = {}, session = {}, headers = block }
  function ctx.macro(_, name) return (macros or {})[name] end
  function ctx.add_header(_, name, value) block:add(name, value) end
  function ctx.body(_, options)
    options.headers = block
    kept = body.new(options)
    return kept
  end
  function ctx.replace_body(_, source)
    local out = {}
    for chunk in source do out[#out + 1] = chunk end
    replaced = table.concat(out)
  end
  function ctx.reject(_, ...) error({ verdict = "reject", reply = { ... } }, 0) end

  local function call(name, ...)
    if env[name] then env[name](ctx, ...) end
  end
  local ok, why = pcall(function()
    call "on_eoh"
    for i = 1, #text, 100 do
      local chunk = text:sub(i, i + 99)
      if kept then
        local fed, _, verdict = kept:feed(chunk)
        if not fed then error({ verdict = verdict }, 0) end
      end
      call("on_body", chunk)
    end
    if kept then kept:finish() end
    call "on_eom"
  end)
  if not ok and type(why) ~= "table" then
    error(why, 0)
  end
  why = not ok and why or {}
  return { verdict = why.verdict, reply = why.reply, message = block:bytes() .. "\r\n" .. (replaced or text) }
end

return fake_ctx
