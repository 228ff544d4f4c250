--- A postmaster's questions (docs/operating.md), each answered by one command after real mail through Postfix.
local cjson = require "cjson"

local filter = require "spec.mta.filter"
local host_kit = require "spec.support.host"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local smtp = require "spec.mta.smtp"

local SCRIPTS = { ["10-lists.lua"] = [[
local dns = require "moonmilter.dns"
local log = require "moonmilter.log"
function on_connect(ctx)
  local found = dns.a("2.0.0.127.bl.example")
  log.debug("found %s", found and found[1] or "nothing")
end
function on_rcpt(ctx, recipient)
  if recipient:find "nobody" then
    return ctx:reject(550, "5.1.1", "there is no such box")
  end
end
]], ["20-content.lua"] = [[
local milter = require "moonmilter"
function on_header(ctx, name, value)
  if name == "Subject" and value:find "lottery" then
    return ctx:reject(550, "5.7.1", "we do not play")
  end
end
function on_eom(ctx)
  if ctx.sender:find "slow" then milter.sleep(20) end
  ctx:add_header("X-Checked", "yes")
  if ctx.sender:find "raises" then error("broken on purpose") end
  local sum = 0
  for i = 1, 2e6 do sum = (sum + i) % 7 end
end
]] }

describe("a postmaster's question behind Postfix:", function()
  local why = postfix.unavailable() or filter.host_unavailable() or not process.which "dnsmasq" and "dnsmasq is missing"
  if why then
    pending(why)
    return
  end
  local host, mta, control, resolver, trace

  local function ctl(...)
    local pipe = assert(io.popen(("%s ctl --control %s %s 2>&1; echo \"status $?\""):format(filter.host_program(),
      control, table.concat({ ... }, " "))))
    local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    return text, tonumber(status)
  end

  local function start_mail(sender, recipient, subject)
    local client = smtp.connect(mta.port)
    client:cmd "EHLO client.example"
    client:cmd(("MAIL FROM:<%s>"):format(sender))
    local reply = client:cmd(("RCPT TO:<%s>"):format(recipient))
    if reply.code ~= 250 then return client, reply end
    client:cmd "DATA"
    client:send(("From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\ntext\r\n"):format(sender, recipient, subject))
    return client
  end

  local function send(sender, recipient, subject)
    local client, reply = start_mail(sender, recipient, subject)
    reply = reply or client:cmd "."
    client:quit()
    return reply.code
  end

  local function history(...)
    local list = {}
    for line in ctl("history", "--json", ...):gmatch "[^\n]+" do list[#list + 1] = cjson.decode(line) end
    return list
  end

  setup(function()
    local directory, port = process.directory(), process.free_port()
    process.run("chown nobody " .. directory)
    control = directory .. "/control.sock"
    resolver = process.start({ process.which "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts",
      "--conf-file=/dev/null", "--pid-file=", "--user=root", "--listen-address=127.0.0.1", "--bind-interfaces",
      "--port=" .. port, "--address=/2.0.0.127.bl.example/127.0.0.4" }, { output = directory .. "/dns" })
    process.wait_port(port, 10)
    host = filter.host(SCRIPTS, { arguments = { "--workers=2", "--control=" .. control,
      "--dns-servers=127.0.0.1:" .. port } })
    mta = postfix.start { milters = { host.milter } }
    trace = process.start({ filter.host_program(), "ctl", "--control", control, "trace", "--client", "127.0.0.0/8" },
      { output = directory .. "/trace", life = 110 })
    assert(process.wait_until(10, function() return select(2, trace:text():gsub(" watches", "")) == 2 end,
      "two workers that watch"))
    assert.equal(250, send("ann@one.example", "bob@two.example", "hello"))
    assert.equal(550, send("eve@evil.example", "nobody@two.example", "hello"))
    assert.equal(550, send("win@lottery.example", "bob@two.example", "lottery"))
    assert.equal(451, send("raises@one.example", "bob@two.example", "hello"))
    local client = start_mail("slow@one.example", "bob@two.example", "hello")
    client:send ".\r\n"
    local waiting = process.wait_until(15, function()
      local worker
      for line in ctl("sessions"):gmatch "[^\n]+" do
        worker = line:match "^worker pid=(%d+)" or worker
        if line:find("waits_for=sleep", 1, true) then return worker end
      end
    end, function() return "the slow message, but:\n" .. ctl "sessions" end)
    host_kit.kill(tonumber(waiting), "SIGKILL")
    client.socket:close()
    assert(process.wait_until(15, function() return #history() >= 5 end, "five messages"))
  end)
  teardown(function()
    if trace then trace:stop() end
    if mta then mta:stop() end
    if host then host:stop() end
    if resolver then resolver:stop() end
  end)

  local function explain(...)
    local message = history(...)[1]
    local output, status = ctl("explain", message.queue_id or message.session)
    assert.equal(0, status)
    return output, message
  end

  it("why was this message refused, and by which line?", function()
    local id = mta:log():match "(%w+): milter%-reject:[^\n]+we do not play"
    local output = ctl("explain", id)
    assert.matches("\n  verdict +reject at %w+ by 20%-content%.lua:4: 550 5%.7%.1 we do not play\n", output)
  end)

  it("which mail to this box was refused today?", function()
    local list = history("--to", "nobody@two.example", "--verdict", "reject", "--since", "1d")
    assert.equal(1, #list)
    assert.equal("<eve@evil.example>", list[1].from)
  end)

  it("what has this client sent?", function()
    local senders = {}
    for _, message in ipairs(history("--ip", "127.0.0.0/8", "--count", "0")) do senders[#senders + 1] = message.from end
    table.sort(senders)
    assert.same({ "<ann@one.example>", "<eve@evil.example>", "<raises@one.example>", "<slow@one.example>",
      "<win@lottery.example>" }, senders)
    assert.equal(0, #history("--ip", "192.0.2.0/24"))
  end)

  it("which list said so, and how long did DNS take?", function()
    local output, message = explain("--from", "ann@one.example")
    local ms = output:match "10%-lists%.lua:4 waits: dns a 2%.0%.0%.127%.bl%.example, ([%d.]+) ms %-> 1 record: 127%.0%.0%.4\n"
    assert.is_string(ms, output)
    local waits = 0
    for _, item in ipairs(message.items) do
      if item.kind == "wait" then waits = waits + item.seconds end
    end
    assert.near(tonumber(ms) / 1000, waits, 0.0006)
  end)

  it("which handler was slow?", function()
    local output = explain("--from", "ann@one.example")
    local slow = tonumber(output:match "20%-content%.lua:7 on_eom: ([%d.]+) ms")
    local quick = tonumber(output:match "10%-lists%.lua:7 on_rcpt: ([%d.]+) ms")
    assert.is_true(slow > quick, output)
    assert.equal(250, send("ann@one.example", "bob@two.example", "once more"))     -- by a worker that lives
    assert.matches("\n\nscript[^\n]+\n20%-content%.lua on_eom ", (ctl "profile"))
  end)

  it("what did our scripts change in it?", function()
    assert.matches("20%-content%.lua:9 edit: add_header X%-Checked yes\n", (explain("--from", "ann@one.example")))
  end)

  it("which messages met an error of a script?", function()
    local output, message = explain("--verdict", "error")
    assert.equal("<raises@one.example>", message.from)
    assert.matches("error: %S+20%-content%.lua:10: broken on purpose\n", output)
  end)

  it("which messages did the dead worker have?", function()
    local list = history("--verdict", "unfinished")
    assert.equal(1, #list)
    assert.equal("<slow@one.example>", list[1].from)
  end)

  it("what is refused right now, by which script?", function()
    local tail = process.start({ filter.host_program(), "ctl", "--control", control, "tail", "--verdict", "reject",
      "--count", "1" }, { output = os.tmpname(), life = 60 })
    finally(function() tail:stop() end)
    assert(process.wait_until(30, function()
      return send("win@lottery.example", "bob@two.example", "lottery now") == 550
        and tail:text():find("lottery.example", 1, true)
    end, "a refused message in the tail"))
    assert.matches("reject +%w+ .-<win@lottery%.example> .-20%-content%.lua:4", tail:text())
  end)

  it("what does this MTA send, and what do we answer?", function()
    local text = trace:text()
    assert.matches("%-> connect %(%d+ bytes%) %S+ 127%.0%.0%.1 family=inet port=%d+\n", text)
    assert.matches("%-> mail %(%d+ bytes%) <ann@one%.example>", text)
    assert.matches('<%- reject %(%d+ bytes%) "550 5%.7%.1 we do not play", by 20%-content%.lua:4\n', text)
    assert.matches("<%- add_header %(%d+ bytes%) X%-Checked yes\n", text)
  end)

  it("which macros does it send?", function()
    local text = trace:text()
    assert.matches("%-> macros %(%d+ bytes%) for=mail [^\n]*{mail_addr}=ann@one%.example", text)
    assert.matches("%-> macros %(%d+ bytes%) for=[%w]+ [^\n]*i=%w+", text)
  end)

  it("what is this session waiting for?", function()
    local session = history("--from", "slow@one.example")[1].session
    local last
    for line in trace:text():gmatch "[^\n]+" do
      if line:find(" " .. session .. " ", 1, true) then last = line:find("asks:", 1, true) and line or last end
    end
    assert.matches("20%-content%.lua:8 asks: sleep 20%.000 s$", last)
  end)

  it("what does log.debug say about this client?", function()
    assert.matches("   log debug: script session=%S+ script=10%-lists stage=connect text=\"found 127%.0%.0%.4\"\n",
      trace:text())
    assert.is_nil(host:log():find("found 127.0.0.4", 1, true))
  end)
end)
