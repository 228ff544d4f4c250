--- ARC: the public suites of RFC 8617's authors, and what they do not see.
local arc = require "moonmilter.arc"
local cjson = require "cjson"
local codec = require "moonmilter.codec"
local process = require "spec.support.process"
local seal = require "moonmilter.seal"
local taglist = require "moonmilter.identity.taglist"
local zone = require "spec.auth.zone"

local FOLDER = "spec/auth/fixtures/arc/"

-- A message of the suite, which has LF: fields, and the body with CRLF.
local function message_of(text)
  local head, body = text, ""
  local at = text:find("\n\n", 1, true)
  if text:sub(1, 1) == "\n" then
    head, body = "", text:sub(2)
  elseif at then
    head, body = text:sub(1, at), text:sub(at + 2)
  end
  local fields = {}
  for line in (head:gsub("\n$", "") .. "\n"):gmatch "([^\n]*)\n" do
    if line:find "^[ \t]" and fields[1] then
      fields[#fields] = fields[#fields] .. "\n" .. line
    elseif line ~= "" then
      fields[#fields + 1] = line
    end
  end
  for i, raw in ipairs(fields) do
    fields[i] = { raw = raw, name = raw:match "^[^:]*" }
  end
  return fields, (body:gsub("\n", "\r\n"))
end

local function dns_of(records)
  return function(name, kind)
    local text = kind == "txt" and records[name:lower()]
    if text then
      return { (text:gsub("\n%s*", "")) }
    end
    return nil, "none", "nxdomain"
  end
end

describe("the suite of validation", function()
  -- By RFC 8617 5.2 a chain that says cv=fail is "fail"; the suite of draft 18 says nothing.
  local OVERRIDES = { cv_fail_i1_as_cv_fail = "fail", cv_fail_i2_as2_fail = "fail", cv_fail_i2_as1_fail = "fail" }

  it("agrees in 171 of 171 cases, 3 of them by name", function()
    local wrong, count, overridden = {}, 0, 0
    for _, scenario in ipairs(zone.documents(FOLDER .. "arc-draft-validation-tests.yml")) do
      local dns = dns_of(scenario["txt-records"])
      for name, test in pairs(scenario.tests) do
        local wanted = (tostring(test.cv):match "%a+" or ""):lower()
        if OVERRIDES[name] then
          assert.equal("", wanted, name)
          wanted, overridden = OVERRIDES[name], overridden + 1
        end
        local fields, body = message_of(test.message)
        local chain = arc.verify { headers = fields, body = body, dns = dns }
        count = count + 1
        wrong[name] = chain.result ~= wanted and ("%s (%s), wanted %s"):format(chain.result, tostring(chain.reason),
          wanted) or nil
      end
    end
    assert.same({}, wrong)
    assert.same({ 171, 3 }, { count, overridden })
  end)
end)

-- ---- sealing ----

local function lines_of(fields)
  local out = {}
  for i, field in ipairs(fields) do
    out[i] = (field.raw or field.name .. ": " .. field.value):gsub("\r?\n", "\r\n") .. "\r\n"
  end
  return table.concat(out)
end

-- What dkimpy says of messages: { text, keys }.
local function dkimpy(cases)
  local input, output = os.tmpname(), os.tmpname()
  local file = assert(io.open(input, "w"))
  for _, case in ipairs(cases) do
    file:write(cjson.encode { message = case[1], keys = case[2] }, "\n")
  end
  file:close()
  assert.equal(0, os.execute(("/usr/bin/python3 spec/auth/dkimpy_arc.py <%s >%s"):format(input, output)))
  local verdicts = {}
  for line in process.read_file(output):gmatch "[^\n]+" do
    verdicts[#verdicts + 1] = line
  end
  os.remove(input)
  os.remove(output)
  return verdicts
end

local function body_hash(body)
  local hash = seal.body("relaxed", "sha256")
  hash:feed(body)
  return (hash:finish())
end

local function tags_of(value)
  local tags = assert(taglist.parse((value:gsub("%s+$", ""))))
  for name, text in pairs(tags) do
    tags[name] = taglist.solid(text)
  end
  return tags
end

local function plain(text)
  return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

describe("the suite of signing", function()
  it("agrees in 17 of 17 cases in every tag, and dkimpy accepts each", function()
    local count, cases, names = 0, {}, {}
    for _, scenario in ipairs(zone.documents(FOLDER .. "arc-draft-sign-tests.yml")) do
      local pem = scenario.privatekey:gsub("PEM%-(%u+)", "-----%1 RSA PRIVATE KEY-----")
      local key = assert(seal.private_key(pem))
      local keys = {}
      for name, text in pairs(scenario["txt-records"]) do
        keys[name] = text:gsub("\n%s*", "")
      end
      for name, test in pairs(scenario.tests) do
        count = count + 1
        local fields, body = message_of(test.message)
        local signed_names = {}
        for one in test["sig-headers"]:gmatch "[^:]+" do
          signed_names[#signed_names + 1] = one
        end
        local chain = arc.verify { headers = fields, body = body, dns = dns_of(scenario["txt-records"]) }
        local set, _, code = arc.seal { headers = fields, body_hash = body_hash(body), key = key,
          domain = scenario.domain, selector = scenario.sel, authserv_id = test["srv-id"], names = signed_names,
          now = test.t, fold = false, chain = chain }
        if plain(test.AS) == "" then
          assert.same({ nil, "ended" }, { set, code }, name)
          cases[#cases + 1], names[#names + 1] = { lines_of(fields) .. "\r\n" .. body, keys }, name
        else
          assert.same(tags_of(test.AMS), tags_of(set[2].value), name)
          assert.equal(plain(test.AAR), plain(set[3].value), name)
          assert.same(tags_of(test.AS), tags_of(set[1].value), name)
          assert.same(tags_of(test.AMS), tags_of(set[2].value), name)
          assert.equal(plain(test.AAR), plain(set[3].value), name)
          cases[#cases + 1], names[#names + 1] = { lines_of(set) .. lines_of(fields) .. "\r\n" .. body, keys }, name
        end
      end
    end
    assert.equal(17, count)
    for i, verdict in ipairs(dkimpy(cases)) do
      local wanted = (names[i]:find "fail$" or names[i] == "no_additional_sig") and "^ended" or "^pass 11"
      assert.truthy(verdict:find(wanted), names[i] .. ": " .. verdict)
    end
  end)
end)

-- ---- what the suites do not see ----

local PEM, OTHER = seal.new_key("rsa", 1024), seal.new_key "ed25519"
local KEY, OTHER_KEY = seal.private_key(PEM), seal.private_key(OTHER)
local KEYS = {
  ["s._domainkey.example.org"] = "k=rsa; p=" .. codec.base64_encode(KEY:export()),
  ["e._domainkey.lists.example"] = "k=ed25519; p=" .. codec.base64_encode(OTHER_KEY:export()),
}
local BODY = "Hello\r\n"

local function message()
  return { { name = "From", raw = "From: ann@example.org" }, { name = "Subject", raw = "Subject: hello" } }
end

-- The fields with a set more, by one of our two sealers.
local function sealed(fields, options)
  options = options or {}
  local chain = options.chain or arc.verify { headers = fields, body = options.body or BODY, dns = dns_of(KEYS) }
  local set, why, code = arc.seal { headers = fields, body_hash = body_hash(options.body or BODY), chain = chain,
    key = options.key or KEY, domain = options.domain or "example.org", selector = options.selector or "s",
    authserv_id = "mx.example.org", results = options.results or "spf=pass", now = 1000 }
  if not set then
    return nil, why, code
  end
  local out = {}
  for _, field in ipairs(set) do
    out[#out + 1] = { name = field.name, raw = field.name .. ": " .. field.value }
  end
  for _, field in ipairs(fields) do
    out[#out + 1] = field
  end
  return out
end

local function verify(fields, body, dns)
  return arc.verify { headers = fields, body = body or BODY, dns = dns or dns_of(KEYS) }
end

describe("a chain", function()
  it("of several sealers passes, here and, folded as by default, in dkimpy", function()
    local fields, cases = message(), {}
    for i = 1, 5 do
      local is_other = i == 3
      fields = sealed(fields, is_other and { key = OTHER_KEY, domain = "lists.example", selector = "e" } or {})
      local chain = verify(fields)
      assert.same({ "pass", i, 0 }, { chain.result, chain.instance, chain.oldest_pass })
      cases[i] = i < 3 and { lines_of(fields) .. "\r\n" .. BODY, KEYS } or nil
    end
    assert.same({ "pass 11", "pass 11 11" }, dkimpy(cases))
  end)

  it("remembers from which set on the message is unchanged", function()
    local fields = sealed(sealed(message()))
    fields[#fields] = { name = "Subject", raw = "Subject: [list] hello" }
    local chain = verify(fields)
    assert.same({ "fail", "ARC-Message-Signature 2: no key verifies it" }, { chain.result, chain.reason })
    -- a host that edits after it has verified
    local third = sealed(sealed(message()))
    local passing = verify(third)
    third[#third] = { name = "Subject", raw = "Subject: [list] hello" }
    third = sealed(third, { chain = passing })
    chain = verify(third)
    assert.same({ "pass", 3 }, { chain.result, chain.oldest_pass })
    assert.same({ { type = "header", property = "oldest-pass", value = "3" } }, chain.properties)
  end)

  it("that is newly broken is sealed as broken, over the own set alone (RFC 8617 5.1.2)", function()
    local fields = sealed(sealed(message()))
    local broken = sealed(fields, { body = "changed\r\n" })
    assert.truthy(broken[1].raw:find("cv=fail", 1, true))
    assert.truthy(broken[1].raw:find(" i=3;", 1, true))
    local value = broken[1].raw:match ":(.*)"
    local tags, spans = taglist.parse(value)
    local own = { seal.header("relaxed", broken[3].raw), seal.header("relaxed", broken[2].raw),
      seal.header("relaxed", "ARC-Seal:" .. taglist.remove(value, spans, "b")) }
    local public = seal.public_key("rsa", KEY:export())
    assert.is_true(public:verify(table.concat(own, "\r\n"), codec.base64_decode((taglist.solid(tags.b)))))
    local chain = verify(broken, "changed\r\n")
    assert.same({ "fail", true }, { chain.result, chain.is_ended })
    assert.same({ nil, "ended" }, { (sealed(broken)), (select(3, sealed(broken))) })
  end)

  it("whose sets are not complete is sealed as broken after its highest instance", function()
    local fields = sealed(sealed(message()))
    table.remove(fields, 5)
    local chain = verify(fields)
    assert.same({ "fail", 2 }, { chain.result, chain.instance })
    assert.truthy(sealed(fields, { chain = chain })[1].raw:find(" i=3;", 1, true))
  end)

  it("has at most 50 sets", function()
    local fields = message()
    assert.same({ nil, "limit" }, { (sealed(fields, { chain = { result = "pass", instance = 50 } })),
      (select(3, sealed(fields, { chain = { result = "pass", instance = 50 } }))) })
    for i = 1, 51 do
      for _, name in ipairs { "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results" } do
        table.insert(fields, 1, { name = name, raw = name .. ": i=" .. i .. "; a=x" })
      end
    end
    local chain = verify(fields)
    assert.same({ "fail", "more than 50 sets" }, { chain.result, chain.reason })
  end)

  it("hashes the body at most twice, whatever lengths its sets name, and accepts none", function()
    local fields = message()
    for i = 1, 50 do
      local tags = ("i=%d; a=rsa-sha256; d=example.org; s=s; b=YQ==; "):format(i)
      table.insert(fields, 1, { raw = "ARC-Authentication-Results: i=" .. i .. "; mx; none" })
      table.insert(fields, 1, { raw = ("ARC-Message-Signature: %sh=from; bh=%s; l=%d; c=relaxed/%s"):format(tags,
        codec.base64_encode(("x"):rep(32)), i, i % 2 == 0 and "simple" or "relaxed") })
      table.insert(fields, 1, { raw = "ARC-Seal: " .. tags .. "cv=" .. (i == 1 and "none" or "pass") })
    end
    local verifier = arc.verifier { headers = fields, dns = dns_of(KEYS) }
    assert.equal(2, #verifier.wants)
    verifier:feed(BODY)
    local chain = verifier:finish()
    assert.same({ "fail", "ARC-Message-Signature 50: l= is not accepted" }, { chain.result, chain.reason })
  end)

  it("is not known when DNS fails, and then nothing is sealed", function()
    local fields = sealed(sealed(message()))
    for _, code in ipairs { "servfail", "timeout", "refused", "busy" } do
      local chain = verify(fields, BODY, function() return nil, "x", code end)
      assert.equal("temperror", chain.result)
      assert.same({ nil, "temperror" }, { (sealed(fields, { chain = chain })),
        (select(3, sealed(fields, { chain = chain }))) })
    end
    assert.equal("fail", verify(fields, BODY, function() return nil, "x", "nxdomain" end).result)
  end)
end)

describe("arc.trusted", function()
  local fields
  setup(function()
    fields = sealed(message(), { results = "spf=pass smtp.mailfrom=a.example" })
    fields = sealed(fields, { key = OTHER_KEY, domain = "lists.example", selector = "e" })
  end)

  it("finds the first set after which nobody but trusted sealers had the message", function()
    local chain = verify(fields)
    assert.equal(1, arc.trusted(chain, { "example.org", "LISTS.example" }).instance)
    assert.equal(" mx.example.org; spf=pass smtp.mailfrom=a.example", arc.trusted(chain, { "example.org",
      "lists.example" }).results)
    assert.equal(2, arc.trusted(chain, { "lists.example" }).instance)
    assert.equal(2, arc.trusted(chain, { ".example" }).instance)
    assert.is_nil(arc.trusted(chain, { "example.org" }))
    assert.is_nil(arc.trusted(chain, {}))
  end)

  it("finds none in a chain that does not pass", function()
    assert.is_nil(arc.trusted(verify(fields, "changed\r\n"), { "example.org", "lists.example" }))
    assert.is_nil(arc.trusted(verify(message()), { "example.org" }))
  end)
end)

describe("arc.seal", function()
  it("carries only the results of its own authserv-id", function()
    local fields = message()
    table.insert(fields, 1, { name = "Authentication-Results", raw = "Authentication-Results: MX.example.org 1;\n"
      .. "\tspf=fail;" })
    table.insert(fields, 1, { name = "Authentication-Results", raw = "Authentication-Results: evil; dkim=pass" })
    local function results(id)
      return arc.seal { headers = fields, body_hash = body_hash(BODY), chain = verify(message()), key = KEY,
        domain = "example.org", selector = "s", authserv_id = id }[3].value
    end
    assert.equal("i=1; mx.example.org; spf=fail", results "mx.example.org")
    assert.equal("i=1; other; none", results "other")
  end)

  it("raises for wrong options, at the caller's line", function()
    for text, with in pairs {
      ["domain is a nil"] = {}, ["is no name"] = { domain = "a.b", authserv_id = "a b" },
      ["no private key"] = { domain = "a.b", key = false }, ["cannot be signed"] = { domain = "a.b",
        names = { "ARC-Seal" } },
    } do
      local ok, why = pcall(arc.seal, { headers = message(), body_hash = "x", chain = { result = "none", instance = 0 },
        domain = with.domain, selector = "s", authserv_id = with.authserv_id or "a",
        key = with.key == nil and KEY or nil, names = with.names })
      assert.is_false(ok)
      assert.truthy(why:find(text, 1, true), why)
    end
  end)
end)
