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

local examples = {}
local list = assert(io.popen "ls examples/*.lua scripts/*.lua")
for path in list:lines() do
  examples[#examples + 1] = path
end
list:close()

-- Examples about mail as data need modules that the host does not carry yet.
local function lacks(path)
  local why = testing.load_error { scripts = path }
  if why then
    return why:match "module 'moonmilter%.%w+' not found" or error(why)
  end
  local mta = testing.start { scripts = path }
  mta:message(message)
  why = mta:complaints()[1]
  mta:close()
  return why and why:match 'ctx has no member \\"body'
end

for _, path in ipairs(examples) do
  describe(path, function()
    it("does the same to every message, whatever happened before", function()
      local missing = lacks(path)
      if missing then
        pending(missing)
        return
      end
      for _, kind in ipairs { "postfix", "sendmail" } do
        local first
        testing.explore({ scripts = path, mta = kind }, function(mta)
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
