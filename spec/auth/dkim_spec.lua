--- DKIM: published vectors, and each rule of verifying and signing with messages made here.
local codec = require "moonmilter.codec"
local dkim = require "moonmilter.dkim"
local seal = require "moonmilter.seal"
local stored = require "spec.auth.stored"

local FIXTURES = "spec/auth/fixtures/dkim/"

local function results_of(fields, body, dns, options)
  local all = { headers = fields, dns = dns }
  for key, value in pairs(options or {}) do all[key] = value end
  local verifier = dkim.verifier(all)
  verifier:feed(body)
  return verifier:finish(), verifier
end

local function summary(results)
  local out = {}
  for i, r in ipairs(results) do
    out[i] = r.result .. (r.reason and ": " .. r.reason or "")
  end
  return table.concat(out, " | ")
end

-- ---- published vectors ----

describe("dkim_verifier's message", function()
  local zone = {}
  for line in io.lines(FIXTURES .. "dkim_verifier/keys.tsv") do
    local name, text = line:match "^(%S+)\t(.*)$"
    if name then zone[name:lower()] = text end
  end

  for name, expected in pairs {
    ["rfc6376-A.2"] = "pass", ["rfc8463-A.3"] = "pass | pass",
    ["rfc6376-A.2-body_modified"] = "fail: body hash does not match",
    ["rfc6376-A.2-header_subject_modified"] = "fail: signature does not match",
    ["rfc6376-A.2-ill_formed-list_id"] = "pass", ["rfc6376-A.2-ill_formed-missing_v"] = "permerror: no v=",
    ["rfc8463-A.3-key_algo_mismatch"] = "permerror: key is for another algorithm | "
      .. "permerror: key is for another algorithm",
    ["ill_formed-from"] = "", ["dkim/header_with_non_ascii_char"] = "pass",
    ["dkim/added_header-from"] = "policy: a From field is not signed (RFC 6376 8.15)",
    ["dkim/added_header-subject"] = "pass", ["dkim/added_header-to"] = "pass", ["dkim/added_header-date"] = "pass",
    ["dkim/alignment-from_not_in_auid"] = "pass", ["dkim/alignment-from_not_in_sdid"] = "pass",
    ["dkim/alignment-signed_by_parent_domain"] = "pass", ["dkim/flags_s-auid_and_sdid_match"] = "pass",
    ["dkim/flags_s-auid_is_subdomain_of_sdid"] =
      "permerror: key does not allow i= below d= (t=s, RFC 6376 3.6.1)",
    ["dkim/time-received_after_creation"] = "pass", ["dkim/time-received_briefly_before_creation"] = "pass",
    ["dkim/unsigned_header-content-type"] = "pass", ["dkim/unsigned_header-reply_to-in_domain"] = "pass",
  } do
    it(name .. " is " .. (expected == "" and "unsigned" or expected), function()
      local fields, body = stored.split(stored.read(FIXTURES .. "dkim_verifier/" .. name .. ".eml"))
      assert.equal(expected, summary(results_of(fields, body, stored.dns(zone), { now = 2e9 })))
    end)
  end

  it("names the fields that may have been added", function()
    for name, unsigned in pairs { ["added_header-subject"] = "subject", ["added_header-to"] = "to",
      ["added_header-date"] = "date", ["unsigned_header-content-type"] = "content-type",
      ["unsigned_header-reply_to-invalid"] = "reply-to" } do
      local fields, body = stored.split(stored.read(FIXTURES .. "dkim_verifier/dkim/" .. name .. ".eml"))
      assert.same({ unsigned }, results_of(fields, body, stored.dns(zone), { now = 2e9 })[1].unsigned)
    end
  end)

  it("is mail-auth's copy of RFC 8463 A.3, which passes too", function()
    local keys, message = stored.read(FIXTURES .. "mail-auth/001.txt"):match "^(.-\n)\r?\n(.*)$"
    local own = {}
    for name, text in keys:gmatch "(%S+) ([^\n]*)\n" do own[name:lower()] = text:gsub("\r", "") end
    local fields, body = stored.split(message)
    assert.equal("pass | pass", summary(results_of(fields, body, stored.dns(own))))
  end)
end)

describe("dkimpy's", function()
  it("key records with a wrong version or type are refused", function()
    for name, why in pairs { badk = "key record: k= is unknown",
      badversion = "key record: v= is not DKIM1, or not the first tag" } do
      local text = stored.read(FIXTURES .. "dkimpy/" .. name .. ".txt"):gsub("%s+$", "")
      assert.same({ nil, why, "syntax" }, { dkim.key(text) })
    end
  end)
  it("signature made by Exim with Ed25519 passes", function()
    local fields, body = stored.split(stored.read(FIXTURES .. "dkimpy/ed25519test2.msg"))
    local record = stored.read(FIXTURES .. "dkimpy/eximtest.dns"):gsub("%s+$", "")
    assert.equal("pass", summary(results_of(fields, body, stored.dns { ["sed._domainkey.test.ex"] = record })))
  end)
end)

-- ---- messages made here ----

local RSA, ED25519, NEIGHBOUR = seal.new_key("rsa", 1024), seal.new_key "ed25519", seal.new_key "ed25519"
local HEADER = { "Received: by x", "From: Ann <ann@example.org>", "To: bob@example.net", "Subject:  a  subject",
  "Date: Mon, 1 Jan 2024 00:00:00 +0000" }
local BODY = "Good \t morning \r\n\r\n\r\n"

local function header()
  local list = {}
  for i, raw in ipairs(HEADER) do list[i] = { name = raw:match "^[^:]*", raw = raw } end
  return list
end

local function record_of(pem, more)
  local key = seal.private_key(pem)
  return ("v=DKIM1; k=%s;%s p=%s"):format(key:kind(), more or "", codec.base64_encode(key:export()))
end

local ZONE = { ["s._domainkey.example.org"] = record_of(ED25519) }

-- Signs, and puts the signature on top. options of dkim.signer; body and fields of the message.
local function sign(options, fields, body)
  local all = { domain = "example.org", selector = "s", key = ED25519 }
  for key, value in pairs(options or {}) do all[key] = value end
  fields, body = fields or header(), body or BODY
  local signer = dkim.signer(all)
  local hash = seal.body(signer.want.canon, signer.want.algorithm)
  hash:feed(body)
  local value = assert(signer:sign(fields, (hash:finish())))
  table.insert(fields, 1, { name = "DKIM-Signature", raw = "DKIM-Signature: " .. value })
  return fields, body
end

-- A signature over what `change` makes of the tags: { { "v", "1" }, … }, b= last and empty.
local function sign_tags(change, fields, body, pem)
  local hash = seal.body("relaxed", "sha256")
  fields, body = fields or header(), body or BODY
  hash:feed(body)
  local tags = { { "v", "1" }, { "a", "ed25519-sha256" }, { "c", "relaxed/relaxed" }, { "d", "example.org" },
    { "s", "s" }, { "h", "from:to" }, { "bh", codec.base64_encode((hash:finish())) } }
  local extra = {}
  for _, tag in ipairs(tags) do
    if change[tag[1]] ~= nil then tag[2] = change[tag[1]] end
    extra[tag[1]] = true
  end
  for name, value in pairs(change) do
    if not extra[name] then tags[#tags + 1] = { name, value } end
  end
  local parts = {}
  for _, tag in ipairs(tags) do
    if tag[2] then parts[#parts + 1] = tag[1] .. "=" .. tag[2] end
  end
  local raw = "DKIM-Signature: " .. table.concat(parts, "; ") .. "; b="
  local from, to
  for _, field in ipairs(fields) do
    if field.name == "From" then from = field.raw elseif field.name == "To" then to = field.raw end
  end
  local text = table.concat({ seal.header("relaxed", from), seal.header("relaxed", to), seal.header("relaxed", raw) },
    "\r\n")
  raw = raw .. codec.base64_encode(seal.private_key(pem or ED25519):sign(text))
  table.insert(fields, 1, { name = "DKIM-Signature", raw = raw })
  return fields, body
end

local function verdict(change, zone, options)
  local fields, body = sign_tags(change)
  return summary(results_of(fields, body, stored.dns(zone or ZONE), options))
end

describe("a signature of our own", function()
  for _, canon in ipairs { "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed" } do
    for name, pem in pairs { rsa = RSA, ed25519 = ED25519 } do
      it(("passes, and not after a change: %s %s"):format(canon, name), function()
        local fields, body = sign { canonicalization = canon, key = pem, identity = "@mail.example.org", expires = 60 }
        local dns = stored.dns { ["s._domainkey.example.org"] = record_of(pem) }
        local results = results_of(fields, body, dns)
        assert.equal("pass", summary(results))
        assert.same({ "example.org", "s", "@mail.example.org", name .. "-sha256", canon, true },
          { results[1].domain, results[1].selector, results[1].identity, results[1].algorithm,
            results[1].canonicalization, results[1].near_from })
        assert.equal("fail: body hash does not match", summary(results_of(fields, body .. "x", dns)))
        table.insert(fields, { name = "Subject", raw = "Subject: added" })
        assert.equal("fail: signature does not match", summary(results_of(fields, body, dns)))
      end)
    end
  end

  it("covers what was there once more than it was, so that nobody adds one", function()
    local fields = sign()
    assert.truthy(fields[1].raw:gsub("%s+", ""):find(
      "h=From:From:Reply-To:Subject:Subject:To:To:Cc:Date;", 1, true))
    fields = sign { oversign_missing = false }
    assert.truthy(fields[1].raw:gsub("%s+", ""):find("h=From:From:Subject:Subject:To:To:Date;", 1, true))
    fields = sign { headers = { "X-Missing", "Date" }, oversign = {} }
    assert.truthy(fields[1].raw:gsub("%s+", ""):find("h=From:Date;", 1, true))
  end)
  it("is folded in lines of at most 78 characters", function()
    for line in (sign { key = RSA }[1].raw .. "\n"):gmatch "(.-)\n" do assert.is_true(#line <= 78, line) end
  end)
  it("is not made for no From, and not for two", function()
    local signer = dkim.signer { domain = "example.org", selector = "s", key = ED25519 }
    local fields = header()
    table.insert(fields, { name = "From", raw = "From: x@y.example" })
    assert.same({ nil, "dkim: 2 From fields; exactly one is signed", "from" }, { signer:sign(fields, ("h"):rep(32)) })
    assert.same({ nil, "dkim: 0 From fields; exactly one is signed", "from" }, { signer:sign({}, ("h"):rep(32)) })
  end)
  it("has a second one beside it, and both pass", function()
    local fields, body = sign({ key = RSA, selector = "r" }, sign())
    local zone = { ["s._domainkey.example.org"] = record_of(ED25519), ["r._domainkey.example.org"] = record_of(RSA) }
    assert.equal("pass | pass", summary(results_of(fields, body, stored.dns(zone))))
  end)
  it("names U-labels as A-labels", function()
    local fields, body = sign { domain = "b\195\188cher.example" }
    assert.truthy(fields[1].raw:find("d=xn--bcher-kva.example;", 1, true))
    local zone = { ["s._domainkey.xn--bcher-kva.example"] = record_of(ED25519) }
    assert.equal("pass", summary(results_of(fields, body, stored.dns(zone))))
  end)

  for what, options in pairs {
    ['domain "nodots" is no domain name'] = { domain = "nodots" },
    ['selector "a b" is no selector'] = { selector = "a b" },
    ["headers: Received changes on the way, so a signature over it breaks (RFC 6376 5.4.1)"] =
      { headers = { "Received" } },
    ['oversign: "A B" is no field name'] = { oversign = { "A B" } },
    ['canonicalization is simple or relaxed, twice: "relaxed/simple"'] = { canonicalization = "relaxed" },
    ['identity "@other.example" is outside the domain example.org'] = { identity = "@other.example" },
    ["key: it is no private key in PEM (openssl genpkey writes one)"] = { key = "nonsense!" },
  } do
    it("is not prepared: " .. what, function()
      local all = { domain = "example.org", selector = "s", key = ED25519 }
      for key, value in pairs(options) do all[key] = value end
      local ok, why = pcall(dkim.signer, all)
      assert.is_false(ok)
      assert.equal("dkim.signer: " .. what, (why:gsub("^[^:]*:%d+: ", "")))
    end)
  end
end)

describe("a signature", function()
  it("passes with the tags that the other cases change", function() assert.equal("pass", verdict {}) end)

  for _, case in ipairs {
    { "permerror: no d=", { d = false } }, { "permerror: no h=", { h = false } },
    { "permerror: v= is not 1", { v = "2" } },
    { "policy: rsa-sha1 is no longer accepted (RFC 8301 3.1)", { a = "rsa-sha1" } },
    { "neutral: unknown algorithm", { a = "rsa-sha512" } }, { "permerror: a= is no algorithm", { a = "rsa sha256" } },
    { "permerror: d= is no domain name", { d = "org" } }, { "permerror: d= is no domain name", { d = "a\"b.example" } },
    { "permerror: d= is no domain name", { d = "example.org." } }, { "permerror: s= is no selector", { s = "a@b" } },
    { "permerror: i= is outside the domain d=", { i = "@example.net" } },
    { "permerror: i= is outside the domain d=", { i = "@evilexample.org" } },
    { "pass", { i = "ann@Mail.Example.ORG" } }, { "permerror: i= is no identity", { i = "ann" } },
    { "neutral: unknown canonicalization c=", { c = "nowsp" } },
    { "permerror: From is not signed", { h = "to:subject" } },
    { "permerror: h= has a name that no field has", { h = "from::to" } },
    { "permerror: more than 1000 names in h=", { h = "from" .. (":x"):rep(1000) } },
    { "permerror: t= is no number", { t = "-1" } }, { "permerror: x= is not after t=", { t = "5", x = "5" } },
    { "neutral: unknown query method q=", { q = "http" } }, { "pass", { q = "http:dns/txt" } },
    { "permerror: bh= is no SHA-256 hash in base64", { bh = "YQ==" } },
    { "permerror: tag list: d occurs twice", { s = "s; d=example.org" } },
    { "permerror: tag list: an empty tag", { s = "s;" } },
    { "fail: body hash does not match", { bh = codec.base64_encode(("x"):rep(32)) } },
    { "permerror: l= is more than the body has", { l = "99" } }, { "permerror: l= is no number", { l = "1x" } },
  } do
    it(("is %s: %s"):format(case[1], next(case[2]) .. "=" .. tostring(select(2, next(case[2]))):sub(1, 30)), function()
      assert.equal(case[1], verdict(case[2]))
    end)
  end

  it("has times, with five minutes of drift", function()
    for _, case in ipairs { { "pass", { t = "1000" }, 700 }, { "neutral: t= is in the future", { t = "1000" }, 699 },
      { "pass", { x = "1000" }, 1300 }, { "fail: expired", { x = "1000" }, 1301 } } do
      assert.equal(case[1], verdict(case[2], ZONE, { now = case[3] }))
    end
  end)

  it("that leaves bytes of the body unsigned is policy, unless the caller honors l=", function()
    local hash = codec.base64_encode(seal.hash("sha256", "Good"))
    assert.equal("policy: l= leaves 10 bytes of the body unsigned", verdict { l = "4", bh = hash })
    assert.equal("pass", verdict({ l = "4", bh = hash }, ZONE, { length = "honor" }))
    local all = codec.base64_encode(seal.hash("sha256", "Good morning\r\n"))
    assert.equal("pass", verdict { l = "14", bh = all })
  end)

  it("in simple form is neutral when blanks after the name were not kept", function()
    local fields, body = sign { canonicalization = "simple/relaxed" }
    fields[5].raw = fields[5].raw:gsub(":  ", ": ")
    assert.equal("fail: signature does not match", summary(results_of(fields, body, stored.dns(ZONE))))
    assert.equal("neutral: milter without leading space: simple form is not known",
      summary(results_of(fields, body, stored.dns(ZONE), { exact_space = false })))
  end)

  it("over two From fields passes only when both are signed (RFC 6376 8.15)", function()
    local fields, body = sign()
    table.insert(fields, { name = "From", raw = "From: x@evil.example" })
    assert.equal("fail: signature does not match", summary(results_of(fields, body, stored.dns(ZONE))))
    fields, body = sign { oversign = {} }
    table.insert(fields, 2, { name = "from", raw = "from : x@evil.example" })
    assert.equal("policy: a From field is not signed (RFC 6376 8.15)",
      summary(results_of(fields, body, stored.dns(ZONE))))
  end)

  it("in a header that the host did not keep whole is permerror", function()
    local fields, body = sign()
    fields.truncated = true
    assert.equal("permerror: header too large", summary(results_of(fields, body, stored.dns(ZONE))))
  end)
end)

describe("a key record", function()
  local RECORD = record_of(ED25519)
  local p = RECORD:match "p=.*"

  for text, expected in pairs {
    [p] = "permerror: key is for another algorithm", -- k= is rsa; 32 bytes are no RSA key
    ["k=ed25519; " .. p] = "pass", ["v=DKIM1; k=ed25519; x=unknown; " .. p .. ";"] = "pass",
    ["k=ed25519; v=DKIM1; " .. p] = "permerror: key record: v= is not DKIM1, or not the first tag",
    ["v=DKIM2; k=ed25519; " .. p] = "permerror: key record: v= is not DKIM1, or not the first tag",
    ["v=DKIM1; k=ed25519; h=sha1; " .. p] = "permerror: key record: h= has no sha256",
    ["v=DKIM1; k=ed25519; h=sha1 : sha256; s=tlsrpt:email; t=y:s; " .. p] =
      "neutral: key is in test mode (t=y): signature matches",
    ["v=DKIM1; k=ed25519; s=tlsrpt; " .. p] = "permerror: key record: s= is not for email",
    ["v=DKIM1; k=ed25519; p="] = "permerror: key is revoked", ["v=DKIM1; k=ed25519"] = "permerror: key record: no p=",
    ["v=DKIM1; k=ed25519; p=YQ=="] =
      "permerror: key record: p= has 1 bytes, not the 32 of an Ed25519 key (RFC 8463 4.2)",
    ["v=DKIM1; k=ed25519; p=:"] = "permerror: key record: p= is not base64",
    ["v=DKIM1; k=ed25519; g=x; g=y;" .. p] = "permerror: key record: tag list: g occurs twice",
    ["v=DKIM1; k=ed25519; n=" .. ("x"):rep(4096) .. ";" .. p] =
      "permerror: key record: 4165 bytes; at most 4096 are read",
  } do
    it(("%s: %q"):format(expected, text:sub(1, 60)), function()
      local said = verdict({}, { ["s._domainkey.example.org"] = text })
      if text == p then
        assert.equal("permerror: key record: p=: it is no DER sequence, or it is cut", said)
      else
        assert.equal(expected, said)
      end
    end)
  end

  it("is joined by others, of which the first that verifies decides, among three", function()
    local other, foreign = record_of(NEIGHBOUR), "google-site-verification=x"
    local name = "s._domainkey.example.org"
    assert.equal("pass", verdict({}, { [name] = { foreign, other, RECORD } }))
    assert.equal("fail: signature does not match", verdict({}, { [name] = { other, foreign, foreign, RECORD } }))
  end)

  it("that DNS does not tell is temperror; that there is none, permerror", function()
    local name = "s._domainkey.example.org"
    for _, code in ipairs { "servfail", "timeout", "refused", "busy", "badanswer", "unreachable", "memory" } do
      assert.equal("temperror: DNS: " .. code, verdict({}, { [name] = { code = code } }))
    end
    for _, code in ipairs { "nxdomain", "nodata", "badname" } do
      assert.equal("permerror: no key in DNS", verdict({}, { [name] = { code = code } }))
    end
  end)

  it("with a short or a huge RSA key is policy", function()
    local fields, body = sign_tags { a = "rsa-sha256" }
    local huge = "\48\130\2\11\2\130\2\2\0\255" .. ("\255"):rep(512) .. "\2\3\1\0\1"
    local short = "\48\72\2\65\0\255" .. ("\255"):rep(63) .. "\2\3\1\0\1"
    for der, expected in pairs { [huge] = "policy: key has more than 4096 bits",
      [short] = "policy: key has only 512 bits (RFC 8301 3.2)" } do
      assert.equal(expected, summary(results_of(fields, body,
        stored.dns { ["s._domainkey.example.org"] = "p=" .. codec.base64_encode(der) })))
    end
  end)
end)

describe("a verifier", function()
  it("wants each hash once, and none for signatures that cannot pass", function()
    local fields = sign({ selector = "x" }, sign({ canonicalization = "relaxed/simple" }, sign()))
    table.insert(fields, 1, { name = "DKIM-Signature", raw = "DKIM-Signature: v=1; nonsense" })
    local verifier = dkim.verifier { headers = fields, dns = stored.dns(ZONE) }
    assert.same({ { canon = "relaxed", algorithm = "sha256" }, { canon = "simple", algorithm = "sha256" } },
      verifier.wants)
    assert.same({}, dkim.verifier({ headers = { fields[1] }, dns = stored.dns {} }).wants)
    assert.same({}, dkim.verifier({ headers = header(), dns = stored.dns {} }):finish())
  end)

  it("takes hashes that the caller has made", function()
    local fields = sign()
    local verifier = dkim.verifier { headers = fields, dns = stored.dns(ZONE) }
    assert.equal("pass", summary(verifier:finish { { hash = seal.hash("sha256", "Good morning\r\n"), length = 14 } }))
    assert.has_error(function() verifier:finish {} end)
  end)

  it("asks for each key once, together, and not for signatures that failed already", function()
    local asked, together = {}, 0
    local fields, body = sign({ selector = "x" }, sign({}, sign()))
    local verifier = dkim.verifier { headers = fields, dns = stored.dns(ZONE, asked), all = function(tasks)
      local results = {}
      for key, task in pairs(tasks) do results[key], together = task(), together + 1 end
      return results
    end }
    verifier:ask()
    verifier:feed(body)
    verifier:finish()
    table.sort(asked)
    assert.same({ "s._domainkey.example.org", "x._domainkey.example.org" }, asked)
    assert.equal(2, together)
    asked = {}
    results_of(fields, "another body", stored.dns(ZONE, asked))
    assert.same({}, asked)
  end)

  it("evaluates ten signatures, those near From first, unreadable ones counted", function()
    local fields, body = sign()
    for i = 1, 12 do
      table.insert(fields, 1, { name = "DKIM-Signature", raw = i % 2 == 0 and "DKIM-Signature: v=1; nonsense"
        or "DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=x; h=from; bh=; b=" })
    end
    local results, verifier = results_of(fields, body, stored.dns(ZONE))
    assert.equal(10, #results)
    assert.equal(3, verifier.skipped)
    assert.same({ "pass", 13, true }, { results[1].result, results[1].position, results[1].near_from })
    assert.equal(2, #results_of(fields, body, stored.dns(ZONE), { max_signatures = 2 }))
  end)

  it("gives properties that authres.format can write, whatever the field says", function()
    local authres = require "moonmilter.authres"
    for byte = 0, 255 do
      for _, tag in ipairs { "d", "s", "i", "a" } do
        local values = { d = "a%sb.example", s = "a%sb", i = "a%sb@example.org", a = "rsa-sha256%s" }
        local fields, body = sign_tags { [tag] = values[tag]:gsub("%%s", function() return string.char(byte) end) }
        local r = results_of(fields, body, stored.dns(ZONE))[1]
        local value = authres.format { authserv_id = "mx", results = { { method = "dkim", result = r.result,
          reason = r.reason, properties = r.properties } } }
        assert.falsy(value:find "[%z\1-\31\127]")
        local back = authres.parse(value)
        assert.equal(1, #back.results, value)
        for i, property in ipairs(r.properties) do
          assert.same(property.value, back.results[1].properties[i].value)
        end
      end
    end
  end)

  it("names fields with lines that an MTA breaks", function()
    assert.same({ "X" }, dkim.long_lines { { name = "X", raw = "X: " .. ("x"):rep(996) }, { name = "Y", value = "y" },
      { name = "Z", raw = "Z: " .. ("x "):rep(400) .. "\n " .. ("x"):rep(500) } })
  end)
end)
