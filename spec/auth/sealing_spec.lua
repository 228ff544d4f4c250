-- ctx:seal: an ARC set on the message as it leaves. dkimpy reads the result.
local codec = require "moonmilter.codec"
local dkimpy = require "spec.support.dkimpy"
local seal = require "moonmilter.seal"
local testing = require "moonmilter.testing"

local RSA = seal.new_key("rsa", 2048)
local NAME = "r._domainkey.example.org"
local RECORD = "v=DKIM1; k=rsa; p=" .. codec.base64_encode(seal.private_key(RSA):export())

local KEYS = ("local auth = { keys = require('moonmilter.identity.keys').new } require 'moonmilter.identity.sealing'\n"
  .. "require 'moonmilter.identity.signing'\n"
  .. "local keys = auth.keys { ['example.org'] = { { selector = 'r', key = %q } } }\n"):format(RSA)
local SEAL = KEYS .. "function on_eoh(ctx) ctx:seal(keys, { domain = 'example.org', authserv_id = 'mx' }) end"

local FIELDS = { { "From", "Ann <ann@example.org>" }, { "To", "bob@example.net" }, { "Subject", "hello" } }

local function start(script, dns)
  local mta = testing.start { files = { ["1.lua"] = script, ["2.lua"] = [[function on_eom(ctx)
    ctx:insert_header(0, "Authentication-Results", "mx; spf=pass smtp.mailfrom=example.org")
    ctx.headers:field("Subject"):set "[list] hello"
    ctx:replace_body("other  text\n\n\n")
  end]] }, dns = dns or { [NAME] = { TXT = { RECORD } } } }
  finally(function() mta:close() end)
  return mta
end

local function send(mta, fields)
  return mta:message { from = "ann@example.org", headers = fields or FIELDS, body = "one\r\n" }
end

local function judged(text)
  return dkimpy.chain((text:gsub("\r?\n", "\r\n")), { [NAME] = RECORD })
end

local function fields_of(result)
  local list = {}
  for _, field in ipairs(result.message.headers) do
    list[#list + 1] = { field[1], field[2] }
  end
  return list
end

describe("ctx:seal", function()
  it("adds a set on what leaves, with our results, on top", function()
    local mta = start(SEAL)
    local result = send(mta)
    assert.same({}, mta:complaints())
    assert.same({ "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results" }, { result.message.headers[1][1],
      result.message.headers[2][1], result.message.headers[3][1] })
    assert.equal("i=1; mx; spf=pass smtp.mailfrom=example.org", result.message:get "ARC-Authentication-Results")
    assert.equal("pass 11", judged(result.message.text))
  end)

  it("covers the DKIM signatures that we add", function()
    local mta = start(KEYS .. [[function on_eoh(ctx)
      ctx:seal(keys, { domain = "example.org", authserv_id = "mx" })
      ctx:sign(keys)
    end]])
    local result = send(mta)
    assert.equal("pass 11", judged(result.message.text))
    assert.truthy(result.message:get "ARC-Message-Signature":find "dkim%-signature")
    assert.equal("DKIM-Signature", result.message.headers[4][1])
  end)

  it("adds to a chain that passes, and says of one that does not that it is broken", function()
    local mta = start(SEAL)
    local first = send(mta)
    local mta2 = testing.start { script = SEAL, dns = { [NAME] = { TXT = { RECORD } } } }
    finally(function() mta2:close() end)
    local second = mta2:message { from = "ann@example.org", headers = fields_of(first), body = first.message.body }
    assert.same({}, mta2:complaints())
    assert.equal("pass 11 11", judged(second.message.text))
    local broken = mta2:message { from = "ann@example.org", headers = fields_of(first), body = "changed\r\n" }
    assert.truthy(broken.message:get "ARC-Seal":find "cv=fail")
    local ended = mta2:message { from = "ann@example.org", headers = fields_of(broken), body = "changed\r\n" }
    assert.equal(2, #ended.message:all "ARC-Seal")
  end)

  it("adds nothing when the chain's keys cannot be looked up", function()
    local first = send(start(SEAL))
    local mta = testing.start { script = SEAL, dns = { [NAME] = "servfail" } }
    finally(function() mta:close() end)
    local result = mta:message { from = "ann@example.org", headers = fields_of(first), body = first.message.body }
    assert.equal("accept", result.verdict)
    assert.equal(1, #result.message:all "ARC-Seal")
  end)

  it("shares the chain with a check of it", function()
    local first = send(start(SEAL))
    local mta = testing.start { script = KEYS .. [[
      local auth = { arc = require("moonmilter.identity.sealing").check }
      function on_eom(ctx)
        local r = auth.arc(ctx)
        ctx:reject(550, "5.7.1", require("moonmilter.authres").format { authserv_id = "mx", results = { r } } .. " "
          .. r.chain.sets[1].domain)
      end]], dns = { [NAME] = { TXT = { RECORD } } } }
    finally(function() mta:close() end)
    local result = mta:message { from = "ann@example.org", headers = fields_of(first), body = first.message.body }
    assert.equal("5507.1", (result.smtp:match "^(550) 5%.(7%.1)" or "") .. (result.smtp:match "^550 5%.(7%.1)" or ""))
    assert.truthy(result.text:find("arc=pass header.oldest-pass=0 example.org", 1, true), result.text)
  end)

  it("says what is wrong with a call", function()
    for text, call in pairs {
      ["the options are missing"] = "ctx:seal(keys)", ["domain is missing"] = "ctx:seal(keys, {})",
      ["the keys are a table"] = "ctx:seal({}, { domain = 'example.org' })",
      ["has no key for"] = "ctx:seal(keys, { domain = 'example.com' })",
      ["unknown option"] = "ctx:seal(keys, { domains = 'example.org' })",
    } do
      local mta = start(KEYS .. "function on_eoh(ctx) " .. call .. " end")
      assert.equal("tempfail", send(mta).verdict)
      assert.truthy(table.concat(mta:log "script_error", "\n"):find(text, 1, true), text)
    end
  end)
end)
