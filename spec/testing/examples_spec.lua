-- Every example holds at every split and behind every message given up: it does to a plain message what it does at first.
local testing = require "moonmilter.testing"

-- What comes of a message for which an example has something to do.
local message = {
  from = "ann@example.org", to = { "bob@example.com", "eve@example.com" },
  headers = { { "From", "Ann <ann@example.org>" }, { "To", "bob@example.com" }, { "Subject", "hello" },
    { "Content-Type", "text/plain; charset=utf-8" } },
  body = "line one\r\nline two\r\n",
}

local function portrait(result)
  return table.concat({ tostring(result), result.message and result.message.text or "", table.concat(result.recipients, " ") }, "\n")
end

-- What an example needs of the world; false: a server of its own kind, it has a spec of its own.
local WORLD = {
  ["examples/clamd.lua"] = false,
  ["examples/http-policy.lua"] = { settings = { policy_url = "http://policy.example/" }, http = function() return { body = "action=DUNNO\n\n" } end },
}

local examples = {}
local list = assert(io.popen "ls examples/*.lua scripts/*.lua")
for path in list:lines() do
  if WORLD[path] ~= false then
    examples[#examples + 1] = path
  end
end
list:close()

local function options_for(path, kind)
  local options = { scripts = path, mta = kind }
  for key, v in pairs(WORLD[path] or {}) do
    options[key] = v
  end
  return options
end

-- Those that ask somebody else, and have no world here, meet real servers in spec/examples; without any they only log that
-- nobody answers.
local function asks_outside(path)
  for line in io.lines(path) do
    local module = line:match 'require "moonmilter%.(%w+)"'
    if module and ("dns http process redis socket"):find(module, 1, true) then
      return "asks the outside world through moonmilter." .. module
    end
  end
end

for _, path in ipairs(examples) do
  describe(path, function()
    it("does the same to every message, whatever happened before", function()
      local missing = not WORLD[path] and asks_outside(path)
      if missing then
        pending(missing)
        return
      end
      for _, kind in ipairs { "postfix", "sendmail" } do
        local first
        testing.explore(options_for(path, kind), function(mta)
          local result = mta:message(message)
          local text = portrait(result)
          first = first or text
          assert.equal(first, text)
          assert.equal(first, portrait(mta:message(message)))
          assert.same({}, mta:complaints())
        end, 40)
      end
    end)
  end)
end
