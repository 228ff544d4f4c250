--- Zones of the public suites as DNS: a table that answers as moonmilter.dns does, and the same for a name server of
--- its own (spec/auth/name_server.lua).
---
--- A zone is, by name, a list of { TYPE, value }: a string; for MX { preference, host }; for TXT a list of strings; and
--- { "TIMEOUT" }: types that are not there are never answered; { TYPE, "TIMEOUT" }: this one is not.
local lyaml = require "lyaml"

local zone = {}

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- lyaml ends a string at a NUL: the escape goes through as a private character.
local NUL, NUL_ESCAPE = "\238\128\128", "\\uE000"

local function with_nul(value)
  if type(value) == "string" then
    return (value:gsub(NUL, "\0"))
  elseif type(value) == "table" then
    for key, member in pairs(value) do
      value[key] = with_nul(member)
    end
  end
  return value
end

--- The documents of a YAML file.
function zone.documents(path)
  local text = read_file(path):gsub('\\0"', NUL_ESCAPE .. '"')
  return with_nul(lyaml.load(text, { all = true }))
end

-- A record as the SPF suite has it: a map of one type, or a bare TIMEOUT.
local function add(list, record)
  if record == "TIMEOUT" then
    list[#list + 1] = { "TIMEOUT" }
    return
  end
  for kind, value in pairs(record) do
    if (kind == "TXT" or kind == "SPF") and type(value) == "string" and value ~= "TIMEOUT" then
      value = { value }
    end
    list[#list + 1] = { kind, value }
  end
end

-- Records of type SPF are served as TXT unless the name has TXT of its own; "TXT: NONE" is none, but stops that.
local function with_txt(list)
  local out, has_txt = {}, false
  for _, record in ipairs(list) do
    has_txt = has_txt or record[1] == "TXT"
  end
  for _, record in ipairs(list) do
    local is_none = record[1] == "TXT" and record[2][1] == "NONE"
    if record[1] == "SPF" and not has_txt then
      out[#out + 1] = { "TXT", record[2] }
    elseif record[1] ~= "SPF" and not is_none then
      out[#out + 1] = record
    end
  end
  return out
end

--- A zone from the `zonedata` of the SPF suite.
function zone.of(zonedata)
  local made = {}
  for name, records in pairs(zonedata) do
    local list = {}
    for _, record in ipairs(records) do
      add(list, record)
    end
    made[name:lower()] = with_txt(list)
  end
  return made
end

-- A record as moonmilter.dns hands it over.
local function handed_over(kind, value)
  if kind == "TXT" then
    return table.concat(value)
  elseif kind == "MX" then
    return { preference = value[1], host = (value[2]:lower():gsub("%.$", "")) }
  elseif kind == "PTR" then
    return (value:lower():gsub("%.$", ""))
  end
  return value
end

local function look_up(made, name, kind, depth)
  local records = made[name:lower():gsub("%.$", "")]
  if not records then
    return nil, name .. ": no such name", "nxdomain"
  elseif depth > 10 then
    return nil, name .. ": aliases in a circle", "badanswer"
  end
  local list, is_silent, alias = { ttl = 300, name = name }, false, nil
  for _, record in ipairs(records) do
    if record[1] == kind and record[2] == "TIMEOUT" then
      return nil, name .. ": no answer", "timeout"
    elseif record[1] == kind then
      list[#list + 1] = handed_over(kind, record[2])
    elseif record[1] == "CNAME" then
      alias = record[2]
    end
    is_silent = is_silent or record[1] == "TIMEOUT"
  end
  if alias and not list[1] then
    return look_up(made, alias, kind, depth + 1)
  elseif not list[1] then
    return nil, name .. ": no such record", is_silent and "timeout" or "nodata"
  end
  return list
end

--- A function that answers as moonmilter.dns.query does.
---@param made table  a zone
---@param asked table?  gets { name, type } of each question
function zone.dns(made, asked)
  return function(name, kind)
    if asked then
      asked[#asked + 1] = { name, kind }
    end
    return look_up(made, name, kind:upper(), 0)
  end
end

-- ---- for the name server ----

local function written(value)
  if type(value) ~= "table" then
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
  end
  local parts = {}
  for key, member in pairs(value) do
    parts[#parts + 1] = ("[%s]=%s"):format(written(key), written(member))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- Writes a zone into a file, for load().
function zone.save(made, path)
  local file = assert(io.open(path, "wb"))
  file:write("return ", written(made))
  file:close()
end

function zone.load(path)
  return dofile(path)
end

--- Starts a name server for a zone: its port, and stop().
function zone.serve(made)
  local process = require "spec.support.process"
  local path, output, port = os.tmpname(), os.tmpname(), process.free_port()
  zone.save(made, path)
  local server = process.start({ "luajit", "spec/auth/name_server.lua", tostring(port), path },
    { output = output, life = 120 })
  assert(process.wait_until(10, function() return process.read_file(output):find "ready" end, "the name server"))
  return {
    port = port,
    stop = function()
      server:stop()
      os.remove(path)
      os.remove(output)
    end,
  }
end

return zone
