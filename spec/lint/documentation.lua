--- Nothing that a script can use is undocumented: every member of ctx and every handler stands in docs/scripting.md and in
-- lua/meta/, every configuration key in the manual page, and links between documents lead somewhere.
-- Usage: luajit spec/lint/documentation.lua; exit status 1 when something is missing.

local faults = {}

local function fault(...)
  faults[#faults + 1] = string.format(...)
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then
    fault("%s: is missing", path)
    return ""
  end
  local text = file:read "*a"
  file:close()
  return text
end

local function members()
  local names = {}
  for _, path in ipairs { "host/bind/ctx.c", "host/bind/headers.c", "host/bind/edits.c", "host/script/generation.c" } do
    local text = read(path)
    for kind, block in text:gmatch "static const (%S+ ?%S*) [%w_]+%[%] = (%b{});" do
      if kind:find "luaL_Reg" or kind:find "mm_ctx_fact" then
        for name in block:gmatch '{ "([%w_]+)"' do
          if not name:match "^_" then
            names[name] = kind:find "luaL_Reg" and "method" or "fact"
          end
        end
      end
    end
  end
  for name in read("lua/moonmilter/runtime/edits.lua"):gmatch "\nfunction edits%.([%w_]+)" do
    names[name] = "method"
  end
  return names
end

local scripting, meta = read "docs/scripting.md", read "lua/meta/ctx.lua"

for name, kind in pairs(members()) do
  local form = kind == "method" and "ctx:" .. name or "ctx." .. name
  if not scripting:find(form .. "%f[^%w_]") then
    fault("docs/scripting.md: %s is not described", form)
  end
  local declared = kind == "method" and "function ctx:" .. name .. "%(" or "@field " .. name .. "%f[^%w_]"
  if not meta:find(declared) then
    fault("lua/meta/ctx.lua: %s is not declared", form)
  end
end

for handler in read("host/milter/stage.h"):gmatch '"(on_[%w_]+)"' do
  if not scripting:find("`" .. handler, 1, true) then
    fault("docs/scripting.md: %s is not described", handler)
  end
end

local manual = read "docs/moonmilter.8"
for key in read("host/config/config.c"):gmatch '\n%s*{ %.?n?a?m?e?%s*=?%s*"([%l_]+)",' do
  if not manual:find(key, 1, true) then
    fault("docs/moonmilter.8: key %s is not described", key)
  end
end

local list = io.popen "ls docs/*.md *.md"
for path in list:lines() do
  local directory = path:match "^(.*/)" or ""
  for target in read(path):gmatch "%]%(([^)#]+)[^)]*%)" do
    if not target:find "^%a+://" then
      local file = io.open(directory .. target, "rb")
      if file then
        file:close()
      else
        fault("%s: link to %s leads nowhere", path, target)
      end
    end
  end
end
list:close()

table.sort(faults)
for _, text in ipairs(faults) do
  print(text)
end
os.exit(#faults == 0 and 0 or 1)
