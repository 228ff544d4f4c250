-- A wait of a minute at end of message, with both MTAs' default time-outs: PROGRESS keeps them waiting. It takes more
-- than a minute: SLOW=1 runs it.
local socket = require "socket"

local cases = require "spec.mta.cases"
local filter = require "spec.mta.filter"
local postfix = require "spec.mta.postfix"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

local SECONDS = tonumber(os.getenv "SLOW_SECONDS") or 60

local SCRIPT = ([[
  local milter = require "moonmilter"
  function on_eom(ctx)
    local began = milter.now()
    milter.sleep(%d)
    ctx:add_header("X-Waited", ("%%.0f"):format(milter.now() - began))
  end
]]):format(SECONDS)

describe("a wait of " .. SECONDS .. " seconds in on_eom", function()
  local reason = filter.host_unavailable() or postfix.unavailable() or sendmail.unavailable()

  it("ends in a delivered message on Postfix and on Sendmail with their default time-outs", function()
    if not os.getenv "SLOW" then
      return pending "SLOW=1 runs it"
    elseif reason then
      return pending(reason)
    end
    local worlds = {}
    finally(function()
      for _, world in ipairs(worlds) do
        world.mta:stop()
        world.filter:stop()
      end
    end)
    for i, mta in ipairs(cases.mtas) do
      worlds[i] = cases.world(mta, filter.host({ ["10-slow.lua"] = SCRIPT }, { unix = mta.kind == "sendmail" }))
    end
    for _, world in ipairs(worlds) do
      local message = cases.compose {}
      world.token = message.token
      world.client = smtp.connect(world.mta.port, { timeout = SECONDS + 60 })
      assert.equal(250, world.client:cmd("MAIL FROM:<a@one.example>").code)
      assert.equal(250, world.client:cmd("RCPT TO:<b@two.example>").code)
      assert.equal(354, world.client:cmd("DATA").code)
      world.began = socket.gettime()
      world.client.socket:send(smtp.wire_form(message.data))
    end
    for _, world in ipairs(worlds) do
      local reply, text = world.client:reply()
      assert.equal(250, reply and reply.code, text or reply.text)
      assert.is_true(socket.gettime() - world.began >= SECONDS - 0.5)
      world.client:quit()
      assert.same({ tostring(SECONDS) }, assert(world.mta:wait_message(world.token, 15)):all "X-Waited")
    end
  end)
end)
