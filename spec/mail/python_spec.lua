package.path = "spec/mail/?.lua;spec/mail/corpus/?.lua;" .. package.path
local header = require "moonmilter.header"
local mime = require "moonmilter.mime"
local portrait = require "portrait"
local disagreements = require "disagreements"

-- The same facets, in the notation of python_email.py.
local function ours(message)
  local block = header.block(message)
  local out = {}
  for _, name in ipairs { "From", "To" } do
    local field = block:field(name)
    if field then
      local list = field:addresses()
      local shown = {}
      for i, m in ipairs(list or {}) do
        shown[i] = (m.name and m.name ~= "" and m.name .. " " or "") .. "<" .. m.address .. ">"
      end
      out[name:lower()] = table.concat(shown, " | ")
    end
  end
  local subject = block:field "Subject"
  out.subject = subject and subject:text()
  local lines = {}
  local function walk(part)
    local line = part.path .. " " .. part.type .. (part.filename and " name=" .. part.filename or "")
    if not part.is_multipart and not part.parts[1] then
      line = line .. " size=" .. part.size
    end
    lines[#lines + 1] = line
    for _, child in ipairs(part.parts) do
      walk(child)
    end
  end
  walk(assert(mime.parse(message)))
  out.parts = table.concat(lines, "\n")
  return out
end

local function run_python(all)
  local directory = os.tmpname()
  os.remove(directory)
  assert(os.execute("mkdir " .. directory) == 0)
  for name, message in pairs(all) do
    local file = assert(io.open(directory .. "/" .. name, "wb"))
    file:write(message)
    file:close()
  end
  local pipe = io.popen("python3 spec/mail/python_email.py " .. directory)
  local text = pipe:read "*a"
  pipe:close()
  os.execute("rm -r " .. directory)
  return assert(loadstring(text))()
end

describe("Python's email package", function()
  if os.execute("python3 -c 'import email' 2>/dev/null") ~= 0 then
    pending("agrees on every message (python3 is not installed)")
    return
  end

  it("agrees on every message, except for listed disagreements with a reason", function()
    local all = portrait.corpus()
    local theirs = run_python(all)
    local compared, problems = 0, {}
    for name, message in pairs(all) do
      local mine = ours(message)
      for _, facet in ipairs { "from", "to", "subject", "parts" } do
        compared = compared + 1
        local reason = disagreements[name] and disagreements[name][facet]
        if mine[facet] ~= theirs[name][facet] then
          if not reason then
            problems[#problems + 1] = ("%s %s\n  ours:   %s\n  Python: %s"):format(name, facet, tostring(mine[facet]),
              tostring(theirs[name][facet]))
          end
        elseif reason and not reason:find("^varies") then
          problems[#problems + 1] = ("%s %s: listed as a disagreement, but both say %s"):format(name, facet,
            tostring(mine[facet]))
        end
      end
    end
    table.sort(problems)
    assert.equal("", table.concat(problems, "\n"))
    assert.is_true(compared >= 1200)
  end)
end)
