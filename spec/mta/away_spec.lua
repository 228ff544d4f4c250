-- What a client sees and what is delivered when moonmilter is away: not running, running but silent, and killed during
-- work, at each stage, under each setting of both MTAs. With every setting, no message is half edited, doubled or
-- silently lost; and once a worker is back, new sessions are filtered.
-- Without SLOW=1 the settings that refuse or hold are tried at end of message only, and silence at the start only.
local cases = require "spec.mta.cases"
local filter = require "spec.mta.filter"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

local compose = cases.compose

local STAGES = { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "eom" }

-- Waits at one stage of a message from wait.STAGE.example (or at connect, from 127.0.0.9), with edits
-- queued that must not show.
local SCRIPT = [[
  local milter = require "moonmilter"
  local function at(ctx, stage)
    if ctx.helo ~= "wait." .. stage .. ".example" and not (stage == "connect" and ctx.client.ip == "127.0.0.9") then return end
    if ctx.in_message then
      ctx:add_header("X-Half", "edited")
      ctx:replace_body("half edited\r\n")
      ctx:add_recipient "half@two.example"
    end
    io.stderr:write("REACHED ", stage, "\n")
    milter.sleep(100)
  end
]] .. (function()
  local handlers = {}
  for _, stage in ipairs(STAGES) do
    handlers[#handlers + 1] = ("function on_%s(ctx) at(ctx, %q) %s end"):format(stage, stage,
      stage == "eom" and "ctx:add_header('X-Filtered', 'yes')" or "")
  end
  return table.concat(handlers, "\n")
end)()

-- The effect of a setting on mail while the filter is away. `closes`: the MTA ends the session.
-- `is_usual`: tried at each stage.
local SETTINGS = {
  { postfix, "milter_default_action = tempfail", { default_action = "tempfail" }, code = 4, is_usual = true },
  { postfix, "milter_default_action = accept", { default_action = "accept" }, passes = true, is_usual = true },
  { postfix, "milter_default_action = reject", { default_action = "reject" }, code = 5 },
  { postfix, "milter_default_action = quarantine", { default_action = "quarantine" }, holds = true },
  { sendmail, "F=T", { F = "T" }, code = 4, is_usual = true },
  { sendmail, "no flag", { F = "" }, passes = true, is_usual = true },
  { sendmail, "F=R", { F = "R" }, code = 5 },
  { sendmail, "F=4", { F = "4" }, code = 4, closes = true },
}

-- Short times for a filter that is silent.
local TIMES = {
  postfix = { connect_timeout = "1s", command_timeout = "1s", content_timeout = "1s" },
  sendmail = { T = "C:1s;S:1s;R:1s;E:2s" },
}

local function milter_of(where, setting, times)
  local item = { where }
  for key, value in pairs(setting[3]) do item[key] = value end
  for key, value in pairs(times or {}) do item[key] = value end
  return item
end

-- The worst reply to a client for a message: the first refusal, or the last reply.
local function outcome(client, sent)
  if not client.greeting or client.greeting.code ~= 220 then return client.greeting and client.greeting.code or 421 end
  if client.ehlo and client.ehlo.code ~= 250 then return client.ehlo.code end
  local result = client:send_message(sent)
  return result.last and result.last.code or 421
end

for _, setting in ipairs(SETTINGS) do
  local mta_module = setting[1]
  local kind = mta_module.kind
  describe(("%s with %s, when moonmilter"):format(kind, setting[2]), function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then return pending(why) end
    local mta, port

    setup(function()
      port = process.free_port()
      mta = mta_module.start { milters = { milter_of(("inet:127.0.0.1:%d"):format(port), setting) } }
    end)
    teardown(function()
      if mta then mta:stop() end
    end)

    -- A message sent while the filter is away: treated as the setting says, and if delivered, complete, once and
    -- unchanged.
    local function settled(code, sent, where)
      if setting.code then
        assert.equal(setting.code, math.floor(code / 100), where)
        assert(mta:wait_idle(15))
        assert.is_nil((mta:message(sent.token)), where)
        return
      end
      assert.equal(250, code, where)
      if setting.holds then
        assert(process.wait_until(5, function() return #mta:held() > 0 end, "a held message"))
        mta:release()
      end
      local message = assert(mta:wait_message(sent.token, 15))
      assert.same({ "bob@two.example" }, message.recipients, where)
      assert.equal("first line\n.second line\n", message.body, where)
      assert.is_nil(message:get "X-Half", where)
      assert.is_nil(message:get "X-Filtered", where)
      assert(mta:wait_idle(15))
      assert.is_nil((mta:message(sent.token)), where)
    end

    local function filtered(where)
      local client = smtp.connect(mta.port)
      local sent = compose {}
      assert.equal(250, outcome(client, sent), where)
      client:quit()
      assert.equal("yes", assert(mta:wait_message(sent.token, 15)):get "X-Filtered", where)
    end

    it("is not running", function()
      local client, sent = smtp.connect(mta.port), compose {}
      settled(outcome(client, sent), sent, "first")
      if not setting.closes then
        sent = compose {}
        settled(outcome(client, sent), sent, "second")
      end
      client:drop()
    end)

    it("comes back between two sessions", function()
      local host = filter.host({ ["10-wait.lua"] = SCRIPT }, { port = port })
      finally(function() host:stop() end)
      filtered "after its start"
    end)

    for _, stage in ipairs((setting.is_usual or os.getenv "SLOW") and STAGES or { "eom" }) do
      it("is killed at " .. stage, function()
        local host = filter.host({ ["10-wait.lua"] = SCRIPT }, { port = port, arguments = { "--workers=1" } })
        finally(function() host:stop() end)
        local killer = process.start({ "sh", "-c", ([[
          until grep -q "REACHED %s" "%s"; do sleep 0.01; done
          kill -9 $(cat /proc/%d/task/%d/children)
        ]]):format(stage, host.directory .. "/output", host.child:pid(), host.child:pid()) },
          { output = host.directory .. "/killer", life = 20 })
        local client = smtp.connect(mta.port, { helo = ("wait.%s.example"):format(stage),
          address = stage == "connect" and "127.0.0.9" or nil })
        local sent = compose {}
        settled(outcome(client, sent), sent, "this message")
        assert(process.wait_until(5, function() return not killer:running() end, "the killer's end"))
        if not setting.closes then
          sent = compose {}
          settled(outcome(client, sent), sent, "the next message")
        end
        client:drop()
        filtered "a new session"
      end)
    end

    it("accepts connections and sends nothing", function()
      local stages = os.getenv "SLOW" and { "start", "mail", "rcpt", "eom" } or { "start" }
      local host = filter.host({ ["10-wait.lua"] = SCRIPT }, { port = port, arguments = { "--workers=0" } })
      mta:set_milters { milter_of(host.milter, setting, TIMES[kind]) }
      finally(function() host:stop() end)
      for _, stage in ipairs(stages) do
        local client, sent, code
        if stage == "start" then host.child:signal "SIGSTOP" end
        if stage == "start" or stage == "mail" then
          client, sent = smtp.connect(mta.port), compose {}
          host.child:signal "SIGSTOP"
          code = outcome(client, sent)
        else
          client, sent = smtp.connect(mta.port, { helo = ("wait.%s.example"):format(stage) }), compose {}
          code = outcome(client, sent)
        end
        host.child:signal "SIGCONT"
        settled(code, sent, stage)
        client:drop()
        filtered("a new session after silence at " .. stage)
      end
    end)
  end)
end
