--- The history behind a real Postfix: the questions that a postmaster asks at night, each answered by one command
--- (docs/operating.md, "What happened to a message").
local filter = require "spec.mta.filter"
local host_kit = require "spec.support.host"
local postfix = require "spec.mta.postfix"
local smtp = require "spec.mta.smtp"

local SCRIPTS = { ["10-lists.lua"] = [[
local milter = require "moonmilter"
function on_connect(ctx)
  milter.sleep(0.02)
end
function on_rcpt(ctx, recipient)
  if recipient:find "nobody" then
    return ctx:reject(550, "5.1.1", "there is no such box")
  end
end
]], ["20-content.lua"] = [[
function on_header(ctx, name, value)
  if name == "Subject" and value:find "lottery" then
    ctx:note("subject has a bad word")
    return ctx:reject(550, "5.7.1", "we do not play")
  end
end
function on_eom(ctx)
  ctx:add_header("X-Checked", "yes")
  if ctx.sender:find "raises" then error("broken on purpose") end
end
]] }

describe("the history behind Postfix", function()
  local why = postfix.unavailable() or filter.host_unavailable()
  if why then
    pending(why)
    return
  end
  local host, mta, control

  local function ctl(...)
    local pipe = assert(io.popen(("%s ctl --control %s %s 2>&1; echo \"status $?\""):format(filter.host_program(),
      control, table.concat({ ... }, " "))))
    local text = pipe:read "*a"
    pipe:close()
    local output, status = text:match "^(.*)status (%d+)\n$"
    return output, tonumber(status)
  end

  local function send(sender, recipient, subject)
    local client = smtp.connect(mta.port)
    client:cmd "EHLO client.example"
    client:cmd(("MAIL FROM:<%s>"):format(sender))
    local reply = client:cmd(("RCPT TO:<%s>"):format(recipient))
    if reply.code == 250 then
      client:cmd "DATA"
      client:send(("From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\ntext\r\n"):format(sender, recipient, subject))
      reply = client:cmd "."
    end
    client:quit()
    return reply
  end

  setup(function()
    local process = require "spec.support.process"
    local directory = process.directory()
    process.run("chown nobody " .. directory)
    control = directory .. "/control.sock"
    host = filter.host(SCRIPTS, { arguments = { "--workers=2", "--control=" .. control } })
    mta = postfix.start { milters = { host.milter } }
    assert.equal(250, send("ann@one.example", "bob@two.example", "hello").code)
    assert.equal(550, send("eve@evil.example", "nobody@two.example", "hello").code)
    assert.equal(550, send("win@lottery.example", "bob@two.example", "lottery").code)
    assert.equal(451, send("raises@one.example", "bob@two.example", "hello").code)
    host_kit.wait_until(10, function() return select(2, ctl("history"):gsub("\n", "")) >= 5 end, "four messages")
  end)
  teardown(function()
    if mta then mta:stop() end
    if host then host:stop() end
  end)

  it("explains, by the queue id of Postfix' log, which script line refused a message", function()
    local id = mta:log():match "(%w+): milter%-reject: END%-OF%-MESSAGE[^\n]+we do not play"
      or mta:log():match "(%w+): milter%-reject:[^\n]+we do not play"
    assert.is_string(id)
    local output, status = ctl("explain", id)
    assert.equal(0, status)
    assert.matches("^message " .. id .. ", session ", output)
    assert.matches("\n  verdict +reject at %w+ by 20%-content%.lua:4: 550 5%.7%.1 we do not play\n", output)
    assert.matches("20%-content%.lua:3 note: subject has a bad word\n", output)
    assert.matches("10%-lists%.lua:3 waits: sleep 0%.020 s, %d+ ms\n", output)
  end)

  it("answers the postmaster's other questions, each by one command", function()
    local function answer(pattern, ...)
      local output, status = ctl(...)
      assert.equal(0, status)
      assert.matches(pattern, output)
    end
    answer("none +rcpt .-reject at rcpt by 10%-lists%.lua:7: 550 5%.1%.1 there is no such box", "history", "--to",
      "nobody@two.example")
    answer("raises@one%.example", "history", "--verdict", "error")
    answer("lottery%.example.-20%-content%.lua:4", "history", "--script", "20-content", "--verdict", "reject")
    answer("evil%.example", "history", "--ip", "127.0.0.1", "--since", "10m", "--count", "3")
    answer("continue +eom +%w+ +%S+ +<ann@one%.example> %-> <bob@two%.example>", "history", "--from", "ann@one.example")
    answer('"kind":"edit".-"text":"add_header X%-Checked yes"', "history", "--json", "--from", "ann@one.example")
  end)
end)
