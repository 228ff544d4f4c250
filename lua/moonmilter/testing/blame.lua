--- Reports errors at the test's line, however deep in the kit they occur; and what scripts logged meanwhile.
local blame = {}

local OWN = debug.getinfo(1, "S").source:match "^(.*/)" or "@"
local LINES_MAX = 5 -- the last lines of a failed test to show; exploration runs a test some hundred times

--- Raises with the test's line prefixed, unless the text already names a line.
function blame.raise(text)
  if not text:find "^[^%s:]+:%d+: " then
    for level = 2, math.huge do
      local frame = debug.getinfo(level, "Sl")
      if not frame then
        break
      elseif frame.currentline > 0 and frame.source:sub(1, #OWN) ~= OWN then
        text = ("%s:%d: %s"):format(frame.short_src, frame.currentline, text)
        break
      end
    end
  end
  error(text, 0)
end

--- An error's text with the test's own functions on its way; for xpcall.
function blame.traced(err)
  if type(err) ~= "string" then
    return err -- an assertion says everything
  end
  local lines = {}
  for level = 2, math.huge do
    local frame = debug.getinfo(level, "Sl")
    local is_own = not frame or frame.source:sub(1, #OWN) == OWN
    if is_own and (not frame or #lines > 0) then -- the kit again, which called the test
      break
    elseif not is_own and frame.currentline > 0 then
      lines[#lines + 1] = ("\n  called at %s:%d"):format(frame.short_src, frame.currentline)
    end
  end
  return err .. table.concat(lines, "", 2)
end

-- ---- below busted's own report ----

-- busted reloads modules for every spec file, and makes one run.
local shared = debug.getregistry()["moonmilter.testing.blame"]
if not shared then
  shared = { lines = {}, failed = {} }
  debug.getregistry()["moonmilter.testing.blame"] = shared
end

--- A warning or an error of a test's host.
function blame.note(line)
  shared.lines[#shared.lines + 1] = line
end

local function readable(line)
  return (line:gsub("\\n", "\n    "):gsub("\\x09", "  "))
end

local function name_of(busted, element)
  local name = {}
  while element and element.descriptor ~= "file" do
    name[#name + 1] = element.name
    element = busted.parent(element)
  end
  local words = {}
  for i = #name, 1, -1 do
    words[#words + 1] = name[i]
  end
  return table.concat(words, " ")
end

--- "tempfail" alone does not say why: the log of failed tests is printed below busted's report.
local function listen(busted)
  busted.subscribe({ "test", "end" }, function(element, _, status)
    if status ~= "success" and status ~= "pending" and #shared.lines > 0 then
      table.insert(shared.failed, { name = name_of(busted, element), lines = shared.lines })
    end
    shared.lines = {}
    return nil, true
  end)
  busted.subscribe({ "suite", "end" }, function()
    io.stdout:flush()
    for i, test in ipairs(shared.failed) do
      io.stderr:write(i == 1 and "\nLogged in tests that failed:\n" or "", "\n", test.name, "\n")
      for at = math.max(1, #test.lines - LINES_MAX + 1), #test.lines do
        io.stderr:write("  ", readable(test.lines[at]), "\n")
      end
    end
    shared.failed = {}
    return nil, true
  end)
end

if package.loaded.busted and not shared.listens then
  shared.listens = true
  listen(require "busted")
end

return blame
