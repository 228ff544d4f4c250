--- Signatures through real MTAs: what the next hop receives, signed by us before a script that adds a footer, is good
--- for dkimpy, byte for byte; and what an MTA shows us of a header with odd spacing is what its sender has signed.
local codec = require "moonmilter.codec"
local dkimpy = require "spec.support.dkimpy"
local exact_sink = require "spec.mta.exact_sink"
local filter = require "spec.mta.filter"
local passage = require "spec.mta.passage"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local seal = require "moonmilter.seal"
local sendmail = require "spec.mta.sendmail"

local RSA, ED25519 = seal.new_key("rsa", 2048), seal.new_key "ed25519"

local function record(pem)
  local key = seal.private_key(pem)
  return ("v=DKIM1; k=%s; p=%s"):format(key:kind(), codec.base64_encode(key:export()))
end

local RECORDS = {
  ["r._domainkey.one.example"] = record(RSA), ["e._domainkey.one.example"] = record(ED25519),
  ["odd._domainkey.one.example"] = record(RSA),
}

local SIGN = ([[
local auth = require "moonmilter.auth"
local relaxed = auth.keys { ["one.example"] = { { selector = "r", key = %q }, { selector = "e", key = %q } } }
local simple = auth.keys { ["one.example"] = { { selector = "odd", key = %q } } }
function on_eoh(ctx)
  ctx:sign(relaxed)
  ctx:sign(simple, { canonicalization = "simple/simple" })
end
]]):format(RSA, ED25519, RSA)

local SEAL = ([[
local auth = require "moonmilter.auth"
local keys = auth.keys { ["one.example"] = { { selector = "r", key = %q } } }
function on_eoh(ctx)
  ctx:sign(keys)
  ctx:seal(keys, { domain = "one.example", authserv_id = "mx.one.example" })
end
function on_eom(ctx)
  ctx:insert_header(0, "Authentication-Results", "mx.one.example; spf=pass smtp.mailfrom=ann@one.example")
end
]]):format(RSA)

local FOOTER = [[
function on_eoh(ctx) ctx:body() end
function on_eom(ctx)
  ctx.headers:field("Subject"):set("[list] " .. ctx.headers:field("Subject").value)
  ctx:add_header("List-Id", "<list.one.example>")
  ctx:delete_header("X-Drop")
  ctx:replace_body(ctx:body():string() .. "\r\n-- \r\nthe  footer \t\r\n\r\n\r\n")
end
]]

-- Verifies the message as received; writes its header to a file, and the canonical hash of its body into a field.
local DUMP = [[
local dkim = require "moonmilter.dkim"
local received = require "moonmilter.identity.received"
local function dns() return { %q } end
received.early("eoh", function(_, m)
  m.notes.verifier = dkim.verifier { headers = m.fields, dns = dns, exact_space = m.leading_space }
  m:want "simple"
end)
function on_eom(ctx)
  local m = received.of(ctx)
  local hash, length = m:hash "simple"
  local result = m.notes.verifier:finish({ { hash = hash, length = length } })[1]
  ctx:add_header("X-Dkim", result.result .. " " .. tostring(result.reason))
  local file = io.open(%q .. ctx.recipients[1].address:match "m%%d+", "wb")
  for _, field in ipairs(m.fields) do file:write(field.raw, "\r\n") end
  file:write("\r\n")
  file:close()
  ctx:add_header("X-Hash", (m:hash "simple"):gsub(".", function(c) return ("%%02x"):format(c:byte()) end))
end
]]

local HEAD = "From: ann@one.example\r\nTo: bob@two.example\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\n"
  .. "Message-ID: <1@one.example>\r\n"

-- Some bodies that canonical forms and MTAs treat with care.
local BODIES = {
  "one\r\n", "", "\r\n", "a  b\t \r\n \r\n\r\n", ".\r\n..\r\n", ("long text "):rep(90) .. "\r\n",
  ("line\r\n"):rep(20000), "gr\195\188n \255\r\n", " \r\n\ta\r\n\r\n\r\n",
}

local ODD = {
  "Subject:none\r\n", "Subject:  two\r\n", "Subject:\ttab\r\n", "Subject: \r\n folded at once\r\n",
  "Subject: trailing  \t\r\n", "Subject: a\r\n\t  b\r\n c  d\r\n", "X-Empty:\r\nSubject: x\r\n",
  "X-Empty: \r\nSubject:x\r\n",
}

local function messages_of(list, make)
  local messages = {}
  for i, one in ipairs(list) do
    messages[i] = { data = make(one), from = "ann@one.example", mail_params = one.params }
  end
  return messages
end

for _, mta_module in ipairs { postfix, sendmail } do
  local kind = mta_module.kind
  describe("through " .. kind, function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then
      pending(why)
      return
    end

    local function start(scripts, protocol)
      local host = filter.host(scripts, { unix = kind == "sendmail" })
      finally(function() host:stop() end)
      local mta = mta_module.start { sink = exact_sink, milters = { host.milter }, protocol = protocol }
      finally(function() mta:stop() host:stop() end)
      return mta, host
    end

    it("what leaves is signed as it leaves, after a later script's footer", function()
      local mta, host = start { ["10-sign.lua"] = SIGN, ["20-footer.lua"] = FOOTER }
      local messages = messages_of(BODIES, function(body)
        return HEAD .. "X-Drop: 1\r\nSubject: hello  world\r\nMIME-Version: 1.0\r\n"
          .. "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" .. body
      end)
      local replies = passage.send(mta, messages)
      assert(mta:wait_idle(60))
      local found = 0
      for _, delivery in ipairs(mta.sink:take()) do
        found = found + 1
        local verified = dkimpy.verify(delivery.data, RECORDS)
        assert.equal(3, #verified, delivery.data)
        for _, one in ipairs(verified) do
          assert.equal("True", one.ok, ("%s %s\n%s"):format(kind, one.selector, delivery.data:sub(1, 4000)))
        end
      end
      assert.equal(#BODIES, found, table.concat(replies[1] or {}, "|") .. host:log())
    end)

    it("what leaves is sealed as it leaves, after a later script's footer", function()
      local mta, host = start { ["10-seal.lua"] = SEAL, ["20-footer.lua"] = FOOTER }
      passage.send(mta, messages_of(BODIES, function(body)
        return HEAD .. "X-Drop: 1\r\nSubject: hello  world\r\nMIME-Version: 1.0\r\n"
          .. "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" .. body
      end))
      assert(mta:wait_idle(60))
      local deliveries = mta.sink:take()
      assert.equal(#BODIES, #deliveries, host:log())
      for _, delivery in ipairs(deliveries) do
        assert.equal("pass 11", dkimpy.chain(delivery.data, RECORDS), delivery.data:sub(1, 4000))
        assert.matches("ARC%-Authentication%-Results: i=1; mx%.one%.example;%s+spf=pass", delivery.data)
        assert.equal("True", dkimpy.verify(delivery.data, RECORDS)[1].ok)
      end
    end)

    it("the header comes as its sender has signed it, simple/simple with odd spacing", function()
      local directory = process.directory()
      finally(function() process.run("rm -rf " .. directory) end)
      process.run("chmod 777 " .. directory)
      local mta = start { ["10-dump.lua"] = DUMP:format(RECORDS["odd._domainkey.one.example"], directory .. "/") }
      local signed = {}
      local messages = messages_of(ODD, function(fields)
        local message = dkimpy.sign(HEAD .. fields .. "\r\nbody  \r\n\r\n\r\n", { key = RSA, domain = "one.example",
          selector = "odd", header = "simple", body = "simple", names = "From:To:Subject:X-Empty" })
        signed[#signed + 1] = message
        return message
      end)
      passage.send(mta, messages)
      assert(mta:wait_idle(60))
      local hash = seal.body("simple", "sha256")
      hash:feed "body  \r\n"
      local hex = (hash:finish()):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
      local deliveries = mta.sink:take()
      assert.equal(#ODD, #deliveries)
      for _, delivery in ipairs(deliveries) do
        assert.truthy(delivery.data:find("X-Hash: " .. hex, 1, true), delivery.data)
        assert.equal("pass nil", delivery.data:match "\r\nX%-Dkim: ([^\r]*)", delivery.data)
      end
      for i, message in ipairs(signed) do
        local header = assert(process.read_file(("%s/m%04d"):format(directory, i)))
        local seen = header .. message:match "\r\n\r\n(.*)$"
        assert.equal("True", dkimpy.verify(seen, RECORDS)[1].ok, seen)
      end
    end)

    if kind ~= "postfix" then return end -- Sendmail always offers the spaces

    it("without the spaces after colons the simple form is neutral where it does not match, never a fail", function()
      local directory = process.directory()
      finally(function() process.run("rm -rf " .. directory) end)
      process.run("chmod 777 " .. directory)
      local mta = start({ ["10-dump.lua"] = DUMP:format(RECORDS["odd._domainkey.one.example"], directory .. "/") }, "4")
      passage.send(mta, messages_of({ "Subject:none\r\n", "Subject: one\r\n" }, function(fields)
        return dkimpy.sign(HEAD .. fields .. "\r\nbody\r\n", { key = RSA, domain = "one.example", selector = "odd",
          header = "simple", body = "simple", names = "From:To:Subject" })
      end))
      assert(mta:wait_idle(60))
      local results = {}
      for _, delivery in ipairs(mta.sink:take()) do
        results[delivery.data:match "Subject: ?(%l+)"] = delivery.data:match "\r\nX%-Dkim: ([^\r]*)"
      end
      assert.same({ none = "neutral milter without leading space: simple form is not known", one = "pass nil" },
        results)
    end)
  end)
end
