-- moonmilter.event as a test sees it: the host's own, with its checks, but nothing is kept or sent: the test gets what
-- is put, and says what becomes of it.
local ask_test = ...
local core = require "moonmilter.core"

local real = core.event
local fake = setmetatable({}, { __index = real })

function fake.open()
  return 1, false
end

function fake.show(sink, _, fields, id)
  local ok, text, code = ask_test("event", { sink = sink, event = fields })
  if not ok then
    return nil, text, code
  end
  return id
end

function fake.state()
  return 0, 0, nil, 0, nil
end

core.event = fake
local event = require "host:moonmilter.event"
core.event = real
return event
