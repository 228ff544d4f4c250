-- Every example does what its first line says.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"
local socket = require "socket"
local support = require "spec.async.support"

local function with(name, options)
  options = options or {}
  options.paths = { "examples/" .. name }
  local mta = fake_mta.start(options)
  finally(function() mta:close() end)
  mta:connect("client.example", "192.0.2.1")
  mta:helo()
  return mta
end

describe("examples", function()
  it("rcpt-count.lua counts the recipients of each message", function()
    local mta = with "rcpt-count.lua"
    assert.same({ { "add_header", "X-Rcpt-Count", "3" } }, mta:message { to = { "<a@x>", "<b@x>", "<c@x>" } }.edits)
    assert.same({ { "add_header", "X-Rcpt-Count", "1" } }, mta:message().edits)
  end)

  it("tag-subject.lua marks mail from outside, once", function()
    local mta = with "tag-subject.lua"
    local edits = mta:message { headers = { { "Subject", "hello" } } }.edits
    assert.same({ { "change_header", 1, "Subject", "[external] hello" } }, edits)
    assert.same({}, mta:message { headers = { { "Subject", "Re: [external] hello" } } }.edits)
    assert.same({ { "add_header", "Subject", "[external]" } }, mta:message { headers = { { "To", "x" } } }.edits)
    assert.same({}, mta:message { from = "<me@Example.com>" }.edits)
  end)

  it("reject-header.lua refuses by one header and does not run for others", function()
    local mta = with "reject-header.lua"
    assert.equal("continue", mta:message().kind)
    local reply = mta:message { headers = { { "Subject", "x" }, { "x-mailer", "SuperSender 2000 pro" } } }
    assert.equal("554 5.7.1 Mail sent with SuperSender 2000 is not accepted here", reply.text)
  end)

  it("footer.lua appends to plain text and leaves other mail unchanged", function()
    local mta = with "footer.lua"
    assert.same({ { "replace_body", "hello\r\n\r\n-- \r\nExample Ltd, 1 Mail Street\r\n" } }, mta:message().edits)
    assert.same({}, mta:message { headers = { { "Content-Type", "text/html" } } }.edits)
    assert.same({}, mta:message { body = ("x"):rep(78):rep(20000) }.edits)
  end)

  it("recipient-policy.lua refuses one recipient and keeps the others", function()
    local mta = with "recipient-policy.lua"
    mta:mail("<a@elsewhere.example>", "SIZE=200000")
    assert.equal("550 5.7.1 This mailbox takes mail from partners only", mta:rcpt("<CEO@example.com>").text)
    assert.equal("552 5.2.3 This mailbox takes messages up to 100 KB", mta:rcpt("<small@example.com>").text)
    assert.equal("continue", mta:rcpt("<eve@example.com>").kind)
    mta:abort()
    mta:mail("<b@partner.example>")
    assert.equal("continue", mta:rcpt("<ceo@example.com>").kind)
  end)

  it("multi-line-reply.lua replies in three lines, with the per cent sign doubled for the MTA", function()
    local mta = with "multi-line-reply.lua"
    local text = mta:mail("<x@Spammer.example>").text
    assert.equal("550-5.7.1 Mail from this domain is refused.\r\n550-5.7.1 100%% of what we got from it was "
      .. "unwanted.\r\n550 5.7.1 Questions: https://example.com/postmaster", text)
    assert.equal("continue", mta:mail("<x@other.example>").kind)
  end)

  it("quarantine.lua finds a name that is split between chunks", function()
    local mta = with "quarantine.lua"
    mta:mail()
    mta:rcpt()
    mta:data()
    mta:eoh()
    assert.equal("continue", mta:body('Content-Disposition: attachment; filena').kind)
    assert.equal("skip", mta:body('me="Report.EXE"\r\n').kind)
    assert.same({ { "add_header", "X-Quarantine", "executable name" },
      { "quarantine", "attachment with an executable name" } }, mta:eom().edits)
    assert.same({}, mta:message().edits)
  end)

  it("log-everything.lua logs every event", function()
    local mta = with "log-everything.lua"
    mta:unknown "WIZ"
    mta:message()
    mta:mail()
    mta:abort()
    mta:quit()
    local log = mta.owner:log()
    for _, word in ipairs { "negotiate: version 6", "connect: client.example [192.0.2.1]", "helo:", "mail:",
      "rcpt:", "data,", "header: Subject: hello", "end of headers", "body: 7 bytes", "end of message, 2 headers",
      "unknown command: WIZ",
      "abort", "done: continue", "close" } do
      assert.truthy(log:find(word, 1, true), word .. " is in the log:\n" .. log)
    end
  end)

  it("embed.c is built with the public header only, and runs two hosts, a C module and bytes without "
    .. "a socket", function()
    local directory = os.tmpname()
    os.remove(directory)
    assert.equal(0, os.execute("mkdir -p " .. directory))
    finally(function() os.execute("rm -rf " .. directory) end)
    local sanitizer = (os.getenv "MOONMILTER_TESTLIB" or ""):find("asan", 1, true)
      and "-fsanitize=address,undefined" or ""
    local build = (os.getenv "MOONMILTER_TESTLIB" or "build/test/x"):match "^(.-)/test/"
    local compile = ("cc -std=c11 -Wall -Wextra -Werror %s -Ihost $(pkg-config --cflags luajit) -o %s/embed "
      .. "examples/embed.c -L%s -lmoonmilter $(pkg-config --libs luajit) -Wl,-rpath,$PWD/%s 2>&1"):format(sanitizer,
      directory, build, build)
    assert.equal(0, os.execute(("ln -sf libmoonmilter.so %s/libmoonmilter.so.0"):format(build)))
    local pipe = io.popen(compile .. (" && env -u LD_PRELOAD %s/embed spec/examples/rate.lua 2>&1"):format(directory))
    local output = pipe:read "*a"
    pipe:close()
    assert.truthy(output:find("first: script ", 1, true), output)
    assert.truthy(output:find("second: asks the MTA for: mail eom", 1, true), output)
    assert.truthy(output:find("O -> O\nM -> c\nE -> c\nM -> y 550-5.7.1 rated\r\n550 5.7.1 out", 1, true), output)
    assert.truthy(output:find("finished: yes", 1, true), output)
  end)

  it("dnsbl.lua queries at connect and refuses listed clients at the first recipient", function()
    local port = process.free_port()
    local server = support.name_server(port)
    local host = assert(fake_mta.host { paths = { "examples/dnsbl.lua" }, set = { "dns_servers=127.0.0.1:" .. port } })
    finally(function()
      host:close()
      server:stop()
    end)
    local function answer_to(ip)
      local mta = fake_mta.start { host = host }
      mta:connect("client.example", ip)
      assert.is_false(mta:is_waiting())
      mta:helo()
      mta:mail()
      local reply = mta:rcpt()
      assert.equal(reply.text, mta:rcpt().text)
      mta:close()
      return reply.text or reply.kind
    end
    assert.matches("^550 5.7.1 127.0.0.2 is listed by .*bl.example$", answer_to "127.0.0.2")
    assert.equal("continue", answer_to "192.0.2.1")
    assert.equal("continue", answer_to "2001:db8::1")
    assert.equal("continue", answer_to "unknown")
  end)

  it("tarpit.lua makes many recipients wait, each longer", function()
    local mta = with("tarpit.lua", { set = { "settings={ tarpit_step = 0.05 }" } })
    mta:mail()
    local took = {}
    for i = 1, 6 do
      local began = socket.gettime()
      assert.equal("continue", mta:rcpt(("<r%d@x>"):format(i)).kind)
      took[i] = socket.gettime() - began
    end
    assert.is_true(took[3] < 0.04 and took[4] > 0.04 and took[6] > 0.14, table.concat(took, " "))
  end)
end)
