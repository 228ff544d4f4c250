-- moonmilter doctor predicts what happens to mail: it examines a configuration, and then the real MTA uses it.
local host = require "spec.support.host"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local sendmail = require "spec.mta.sendmail"
local smtp = require "spec.mta.smtp"

local PASS = { ["10-pass.lua"] = "function on_eom(ctx) ctx:add_header('X-Seen', 'yes') end" }

local function ask(h, arguments)
  local pipe = assert(io.popen(("%s doctor -s unix:%s --control %s %s 2>&1; echo \"status $?\""):format(host.program(),
    h.path, h.control, arguments)))
  local text = pipe:read "*a"
  pipe:close()
  local output, status = text:match "^(.*)status (%d+)\n$"
  return tonumber(status), output
end

local function reply_to_mail(mta)
  local client = smtp.connect(mta.port)
  local code = client:cmd("MAIL FROM:<a@one.example>").code
  client:drop()
  return code
end

describe("what moonmilter doctor says about Postfix", function()
  if postfix.unavailable() then return pending(postfix.unavailable()) end
  local h, mta

  before_each(function()
    h = host.start { unix = true, scripts = PASS }
    mta = postfix.start { milters = { "unix:" .. h.path } }
  end)
  after_each(function()
    if mta then mta:stop() end
    if h then h:stop() end
  end)

  it("is true: a socket that it may not open, and one that it may", function()
    process.run("chgrp nogroup " .. h.path)
    local status, text = ask(h, "--postfix-config " .. mta.directory .. "/etc")
    assert.equal(78, status)
    assert.matches("user postfix may not connect %(mode 0660, group nogroup%)", text)
    assert.equal(451, reply_to_mail(mta))
    process.run("chgrp postfix " .. h.path)
    status, text = ask(h, "--postfix-config " .. mta.directory .. "/etc")
    assert.equal(0, status, text)
    assert.equal(250, reply_to_mail(mta))
  end)
end)

describe("what moonmilter doctor says about Sendmail", function()
  if sendmail.unavailable() then return pending(sendmail.unavailable()) end
  local h

  before_each(function()
    h = host.start { unix = true, scripts = PASS }
  end)
  after_each(function() if h then h:stop() end end)

  it("is true: a directory that others may write to, and one that they may not", function()
    local mta = sendmail.start { milters = { "local:" .. h.path } }
    local cf = process.write_file(h.directory .. "/sendmail.cf", process.read_file(mta.directory .. "/sendmail.cf"))
    local status, text = ask(h, "--sendmail-cf " .. cf)
    assert.equal(0, status, text)
    assert.equal(250, reply_to_mail(mta))
    mta:stop()
    process.run("chmod g+w " .. h.directory)
    status, text = ask(h, "--sendmail-cf " .. cf)
    assert.equal(78, status)
    assert.matches("so Sendmail refuses", text)
    local starts, why = pcall(sendmail.start, { milters = { "local:" .. h.path } })
    assert.is_false(starts)
    assert.matches("unsafe: Group writable directory", tostring(why))
  end)
end)
