-- Examples about who sent a message, each with both outcomes. Domains publish and sign what testing.domain gives them.
local sealed = require "spec.support.sealed"
local testing = require "moonmilter.testing"

local example = testing.domain "example.org"

local function start(name, options)
  options = options or {}
  options.scripts = { "examples/" .. name }
  options.dns = options.dns or example.dns
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

-- A message that claims to be of example.org, from a client that may not send for it.
local function forged(headers)
  headers = headers or {}
  headers.From = "Ann <ann@example.org>"
  return { from = "eve@evil.example", headers = headers }
end

describe("check-identity.lua", function()
  it("writes what is known, deletes what is forged, refuses nothing", function()
    local mta = start "check-identity.lua"
    local message = mta:message(example:sign()).message
    assert.truthy(message:get("Authentication-Results"):find("dmarc=pass", 1, true))
    message = mta:message(forged { ["Authentication-Results"] = "mx.example.net; dmarc=pass" }).message
    assert.same(1, #message:all "Authentication-Results")
    assert.truthy(message:get("Authentication-Results"):find("dmarc=fail", 1, true))
    assert.same({}, mta:complaints())
  end)

  it("leaves the mail of users alone", function()
    local mta = start "check-identity.lua"
    mta:connect { auth = "ann" }
    assert.is_nil(mta:message(forged()).message:get "Authentication-Results")
  end)
end)

describe("enforce-dmarc.lua", function()
  it("refuses a forged message, and takes one that the owner has sent", function()
    local mta = start "enforce-dmarc.lua"
    assert.equal("550 5.7.26 DMARC: this server may not send mail of example.org", mta:message(forged()).smtp)
    assert.equal("accept", mta:message(example:sign()).verdict)
    assert.same({}, mta:complaints())
  end)

  it("holds what the owner wants held", function()
    local other = testing.domain("example.org", { dmarc = "p=quarantine" })
    local mta = start("enforce-dmarc.lua", { dns = other.dns })
    assert.equal("DMARC policy of example.org", mta:message(forged()).quarantined)
    assert.is_nil(mta:message(other:sign()).quarantined)
  end)

  it("takes a message of a mailing list, and one of a forwarder that proves its name", function()
    local mta = start("enforce-dmarc.lua", { dns = testing.dns(example, { ["lists.example.net"] = {
      TXT = { "v=spf1 ip4:192.0.2.9 -all" } } }) })
    assert.equal("accept", mta:message(forged { ["List-Id"] = "<l.example.net>" }).verdict)
    mta:connect { ip = "192.0.2.9" }
    mta:helo "lists.example.net"
    assert.equal("accept", mta:message(forged()).verdict)
    mta:connect { ip = "192.0.2.10" } -- anybody can say so
    mta:helo "lists.example.net"
    assert.equal("reject", mta:message(forged()).verdict)
  end)

  it("asks to come back when DNS fails, and refuses two authors", function()
    local mta = start("enforce-dmarc.lua", { dns = testing.dns(example, { ["_dmarc.example.org"] = "servfail" }) })
    assert.equal("451 4.7.0 The sender cannot be checked now", mta:message(forged()).smtp)
    local two = { headers = { { "From", "ann@example.org" }, { "From", "eve@evil.example" } } }
    assert.equal("5.7.1", mta:message(two).status)
  end)
end)

describe("trust-arc.lua", function()
  local list = sealed.domain "lists.example.net"
  local world = testing.dns(example, list, sealed.domain "lists.evil.example")

  local function relayed(sealer, results)
    return sealed.message(sealer, results or "dkim=pass header.d=example.org; dmarc=pass header.from=example.org")
  end

  it("takes a message for which a list that we know vouches, and what its owner has sent", function()
    local mta = start("trust-arc.lua", { dns = world })
    local reply = mta:message(relayed "lists.example.net")
    assert.equal("accept", reply.verdict, tostring(reply))
    assert.truthy(reply.message:get("Authentication-Results"):find("arc=pass", 1, true))
    assert.truthy(reply.message:get("Authentication-Results"):find("dmarc=fail", 1, true))
    assert.same(1, #mta:log "lists.example.net vouches for the message")
    assert.equal("accept", mta:message(example:sign()).verdict)
    assert.same({}, mta:complaints())
  end)

  it("refuses the same from a sealer that we do not know, without a seal, and when the seal is broken", function()
    local mta = start("trust-arc.lua", { dns = world })
    local changed = relayed "lists.example.net"
    changed.body = "other\r\n"
    for name, message in pairs { stranger = relayed "lists.evil.example", none = forged(), changed = changed,
      list_id = forged { ["List-Id"] = "<l.example.net>" } } do
      assert.equal("550 5.7.26 DMARC: this server may not send mail of example.org", mta:message(message).smtp, name)
    end
    assert.same({}, mta:complaints())
  end)

  it("refuses what the list saw fail, or saw pass for another domain", function()
    local mta = start("trust-arc.lua", { dns = world })
    for _, results in ipairs { "dmarc=fail header.from=example.org", "dmarc=pass header.from=evil.example",
      "dmarc=pass", "none" } do
      assert.equal("5.7.26", mta:message(relayed("lists.example.net", results)).status, results)
    end
  end)

  it("asks to come back when the sealer's key cannot be looked up", function()
    local mta = start("trust-arc.lua", { dns = testing.dns(world, {
      ["test._domainkey.lists.example.net"] = "servfail" }) })
    assert.equal("451 4.7.0 The seals of this message cannot be checked now",
      mta:message(relayed "lists.example.net").smtp)
    assert.equal(550, mta:message(forged()).code) -- and says no where there is no seal
  end)

  it("holds what the owner wants held", function()
    local other = testing.domain("example.org", { dmarc = "p=quarantine" })
    local mta = start("trust-arc.lua", { dns = testing.dns(other, list) })
    assert.equal("DMARC policy of example.org", mta:message(forged()).quarantined)
    assert.is_nil(mta:message(relayed "lists.example.net").quarantined)
  end)

  it("leaves the mail of users alone", function()
    local mta = start "trust-arc.lua"
    mta:connect { auth = "ann" }
    assert.is_nil(mta:message(forged()).message:get "Authentication-Results")
  end)
end)

describe("report-rows.lua", function()
  it("appends one line of JSON for each message that it has checked", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local mta = start("report-rows.lua", { settings = { report_file = path } })
    mta:message(example:sign())
    local message = forged()
    message.from = '"e\\v;,e"@evil.example'
    mta:message(message)
    mta:connect { auth = "ann" }
    mta:message(forged())
    assert.same({}, mta:complaints())
    local cjson = require "cjson"
    local rows = {}
    for line in io.lines(path) do
      rows[#rows + 1] = cjson.decode(line)
    end
    assert.equal(2, #rows)
    assert.same({ "pass", "pass", "pass", "example.org", "test", "192.0.2.1" }, { rows[1].dmarc, rows[1].spf,
      rows[1].dkim, rows[1].dkim_domain, rows[1].dkim_selector, rows[1].source_ip })
    assert.same({ "fail", "reject", "evil.example", "treewalk" }, { rows[2].dmarc, rows[2].disposition,
      rows[2].envelope_from, rows[2].policy_discovery })
  end)
end)

describe("signing:", function()
  local codec = require "moonmilter.codec"
  local dkim = require "moonmilter.dkim"
  local seal = require "moonmilter.seal"

  -- A table of keys with one for example.org. -> its path, DNS
  local function keys()
    local pem = seal.new_key "ed25519"
    local key_path, path = os.tmpname(), os.tmpname()
    finally(function()
      os.remove(key_path)
      os.remove(path)
    end)
    for name, text in pairs { [key_path] = pem, [path] = "example.org s2026 " .. key_path .. "\n" } do
      local file = assert(io.open(name, "w"))
      file:write(text)
      file:close()
    end
    require("posix.sys.stat").chmod(key_path, tonumber("600", 8))
    local record = "v=DKIM1; k=ed25519; p=" .. codec.base64_encode(seal.private_key(pem):export())
    return path, function(name) return name == "s2026._domainkey.example.org" and { record } or nil end
  end

  local function results(message, dns)
    local fields = {}
    for i, field in ipairs(message.headers) do
      fields[i] = { name = field[1], value = field[2], raw = field[1] .. ": " .. field[2] }
    end
    local verifier = dkim.verifier { headers = fields, dns = dns }
    verifier:feed(message.body)
    return verifier:finish()
  end

  -- mta:close() runs before the key files go
  local function begin(name, options)
    options.scripts, options.dns = { "examples/" .. name }, options.dns or example.dns
    return testing.start(options)
  end

  it("sign-outgoing.lua signs what a user may write, and refuses the rest", function()
    local path, dns = keys()
    local mta = begin("sign-outgoing.lua", { settings = { dkim_keys = path, users = { ann = { "Example.org" } } } })
    mta:connect { auth = "ann" }
    local reply = mta:message { from = "ann@example.org", headers = { From = "Ann <ann@example.org>" } }
    local found = results(reply.message, dns)
    assert.same({ "pass", "example.org" }, { found[1].result, found[1].domain })
    assert.equal("5.7.1", mta:message { headers = { From = "boss@other.example" } }.status)
    assert.equal("5.6.0", mta:message { headers = { From = "a@example.org, b@example.org" } }.status)
    mta:connect {}
    assert.is_nil(mta:message { headers = { From = "Ann <ann@example.org>" } }.message:get "DKIM-Signature")
    assert.same({}, mta:complaints())
    mta:close()
  end)

  it("replace-opendkim.lua signs ours, and checks, stamps and refuses others'", function()
    local path, dns = keys()
    local mta = begin("replace-opendkim.lua", { settings = { dkim_keys = path, internal = { "198.51.100.0/24" } } })
    local ours = { headers = { From = "Ann <ann@example.org>" } }
    for _, client in ipairs { { auth = "ann" }, { ip = "198.51.100.7" } } do
      mta:connect(client)
      local message = mta:message(ours).message
      assert.equal("pass", results(message, dns)[1].result)
      assert.is_nil(message:get "Authentication-Results")
    end
    mta:connect {}
    assert.equal("5.7.26", mta:message(forged()).status)
    local message = mta:message(example:sign()).message
    assert.truthy(message:get("Authentication-Results"):find("dmarc=pass", 1, true))
    assert.equal(1, #message:all "DKIM-Signature")
    assert.same({}, mta:complaints())
    mta:close()
  end)

  it("replace-opendkim.lua refuses what SPF forbids where no DMARC policy is, and defers when DNS fails", function()
    local path = keys()
    local other = testing.domain("example.org", { dmarc = false, spf = "-all" })
    local mta = begin("replace-opendkim.lua", { settings = { dkim_keys = path }, dns = other.dns })
    assert.equal("550 5.7.23 SPF: this server may not send mail of example.org",
      mta:message({ from = "a@example.org", headers = { From = "a@example.org" } }).smtp)
    mta:close()
    mta = begin("replace-opendkim.lua", { settings = { dkim_keys = path }, dns = "servfail" })
    assert.equal(451, mta:message(forged()).code)
    mta:close()
  end)
end)
