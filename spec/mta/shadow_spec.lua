--- A shadow behind real MTAs: mail is the same to the byte with a shadow that would change everything, and its canary
--- really decides (docs/shadow.md).
local lfs = require "lfs"

local exact_sink = require "spec.mta.exact_sink"
local filter = require "spec.mta.filter"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

local LIVE = [[
function on_rcpt(ctx, recipient)
  if recipient:find "closed" then return ctx:reject(550, "5.1.1", "closed") end
end
function on_eom(ctx)
  ctx:add_header("X-Live", "yes")
  ctx:insert_header(1, "X-First", "yes")
  ctx:change_header("Subject", 1, "live")
  if ctx.sender:find "spam" then return ctx:reject(550, "5.7.1", "spam") end
end]]

local function send(mta, sender, n)
  local client = smtp.connect(mta.port)
  local codes = {}
  local function note(reply) codes[#codes + 1] = reply.code .. " " .. (reply.text or ""):gsub("%s.*", "") end
  client:cmd "EHLO client.example"
  note(client:cmd(("MAIL FROM:<%s>"):format(sender)))
  note(client:cmd "RCPT TO:<closed@two.example>")
  note(client:cmd "RCPT TO:<bob@two.example>")
  client:cmd "DATA"
  client:send(("From: %s\r\nTo: bob@two.example\r\nSubject: s%d\r\nDate: Mon, 30 Nov 2026 10:00:00 +0000\r\n"
    .. "Message-ID: <%d@one.example>\r\nX-Old: a\r\n\r\nline\r\n..dot\r\n%s\r\n"):format(sender, n, n,
    ("long "):rep(2000)))
  note(client:cmd ".")
  client:quit()
  return table.concat(codes, ", ")
end

-- What the MTA itself writes differs with each message.
local function comparable(messages)
  local list = {}
  for i, message in ipairs(messages) do
    local data = message.data:gsub("^Received:.-\r\n(%u)", "%1")
    list[i] = { message.sender, table.concat(message.recipients, " "), data }
  end
  table.sort(list, function(a, b) return a[3] < b[3] end)
  return list
end

local function run(mta_module, arguments, ask)
  local host, mta
  local ok, result = pcall(function()
    host = filter.host({ ["10-live.lua"] = LIVE }, { arguments = arguments })
    mta = mta_module.start { sink = exact_sink, milters = { host.milter } }
    local replies = {}
    for i, sender in ipairs { "ann@one.example", "spam@one.example", "eve@one.example" } do
      replies[i] = send(mta, sender, i)
    end
    assert(mta:wait_idle(20))
    local got = comparable(mta.sink:take())
    if ask then ask(host, mta) end
    return { replies, got }
  end)
  if mta then mta:stop() end
  if host then host:stop() end
  return ok and result or error(result, 0)
end

for _, mta_module in ipairs { postfix, sendmail } do
  describe("a shadow behind " .. mta_module.kind, function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then
      pending(why)
      return
    end
    local directory
    setup(function()
      directory = process.directory()
      assert(lfs.mkdir(directory .. "/next"))
      process.run(("chown -R nobody %s; chmod 755 %s"):format(directory, directory))
      process.write_file(directory .. "/next/10-next.lua", assert(process.read_file "spec/ledger/shadow.lua"))
    end)
    teardown(function() process.run("rm -rf " .. directory) end)

    it("changes no byte of any mail", function()
      local control = directory .. "/control.sock"
      local alone = run(mta_module, { "--workers=2" })
      local with = run(mta_module, { "--workers=2", "--control=" .. control, "--shadow=" .. directory .. "/next" },
        function()
          process.wait_until(20, function()
            local pipe = io.popen(("%s ctl --control %s shadow 2>&1"):format(filter.host_program(), control))
            local text = pipe:read "*a"
            pipe:close()
            return text:find "compared 3, agree 0, differ 3"
          end, "three messages that differ")
        end)
      assert.equal(2, #alone[2])
      assert.same(alone, with)
    end)

    it("decides for all when its share is 100 per cent", function()
      process.write_file(directory .. "/next/10-next.lua",
        'function on_eom(ctx) ctx:add_header("X-Canary", "yes") end')
      local result = run(mta_module, { "--workers=2", "--share=100%", "--shadow=" .. directory .. "/next" })
      for _, message in ipairs(result[2]) do
        assert.matches("X%-Canary: yes", message[3])
        assert.not_matches("X%-Live", message[3])
      end
    end)
  end)
end
