--- DMARC (RFC 9989): the vectors of fixtures/dmarc, what DNS errors do, and From fields that lie.
local dmarc = require "moonmilter.dmarc"
local lyaml = require "lyaml"

local function read_vectors()
  local file = assert(io.open "spec/auth/fixtures/dmarc/rfc9989-vectors.yml")
  local text = file:read "*a"
  file:close()
  return lyaml.load(text)
end

-- A world of names: zone[name] = texts, "servfail" or "timeout". `asked` notes the TXT questions.
local function world(zone, exists)
  local asked, is_there = {}, {}
  local function add(name)
    while name do -- what exists below a name makes it exist
      is_there[name] = true
      name = name:match "%.(.+)$"
    end
  end
  for name, answer in pairs(zone) do
    if type(answer) == "table" then
      add(name)
    end
  end
  for _, name in ipairs(exists or {}) do
    add(name)
  end
  local function dns(name, kind)
    if kind == "txt" then
      asked[#asked + 1] = name
    end
    local answer = zone[name .. "/" .. kind] or zone[name]
    if type(answer) == "string" then
      return nil, answer .. " of " .. name, answer
    elseif kind == "txt" and answer then
      local texts = {}
      for i, text in ipairs(answer) do
        texts[i] = type(text) == "table" and table.concat(text) or text
      end
      return texts
    end
    return nil, "none", is_there[name] and "nodata" or "nxdomain"
  end
  return dns, asked
end

local function identifiers(domains, result)
  local list = {}
  for i, domain in ipairs(domains or {}) do
    list[i] = { result = result or "pass", domain = domain }
  end
  return list
end

local function check(options)
  local dns, asked = world(options.zone or {}, options.exists)
  local from = options.from
  if type(from) == "string" and not from:find "@" then
    from = "Ann <ann@" .. from .. ">"
  end
  local r = dmarc.check {
    from = from, spf = identifiers(options.spf)[1], dkim = options.signatures or identifiers(options.dkim), dns = dns,
    all = options.all,
  }
  return r, asked
end

describe("the vectors of RFC 9989", function()
  local vectors = read_vectors()

  it("are 29", function()
    assert.equal(29, #vectors)
  end)

  for _, vector in ipairs(vectors) do
    it(("%s (%s)"):format(vector.id, vector.sec), function()
      local r, asked = check(vector)
      assert.equal(vector.result, r.result, r.reason)
      for key, got in pairs { policy = r.policy, org = r.organization, at = r.policy_domain, queries = asked } do
        if vector[key] then
          assert.same(vector[key], got, key)
        end
      end
      for key, got in pairs { spf_aligned = r.aligned.spf, dkim_aligned = r.aligned.dkim } do
        if vector[key] ~= nil then
          assert.equal(vector[key], got and true, key)
        end
      end
      assert.equal(r.result == "fail" and r.policy or "none", r.disposition)
      assert.is_true(#asked <= 8 * (1 + #(vector.spf or {}) + #(vector.dkim or {})))
    end)
  end

  it("give the same when all questions of a walk are asked at once", function()
    for _, vector in ipairs(vectors) do
      local rounds = 0
      vector.all = function(questions)
        rounds = rounds + 1
        local answers, failures = {}, {}
        for key, question in pairs(questions) do
          local answer, text, code = question()
          answers[key], failures[key] = answer, answer == nil and { text = text, code = code } or nil
        end
        return answers, failures
      end
      local r = check(vector)
      assert.equal(vector.result, r.result, vector.id)
      assert.equal(vector.policy or r.policy, r.policy, vector.id)
      assert.equal(vector.org or r.organization, r.organization, vector.id)
      assert.is_true(rounds <= 2, vector.id)
    end
  end)
end)

describe("a DNS error", function()
  local DEEP = "a.b.c.d.e.f.g.h.i.example.com"
  local STEPS = { DEEP, "e.f.g.h.i.example.com", "f.g.h.i.example.com", "g.h.i.example.com", "h.i.example.com",
    "i.example.com", "example.com", "com" }

  for step, name in ipairs(STEPS) do
    for _, code in ipairs { "servfail", "timeout", "refused", "busy" } do
      it(("at step %d of the walk is a temperror: %s"):format(step, code), function()
        local r = check { from = DEEP, dkim = { DEEP }, zone = { ["_dmarc." .. name] = code } }
        assert.equal("temperror", r.result)
        assert.equal("none", r.disposition)
        assert.is_nil(r.policy)
      end)
    end
  end

  it("above the record that a walk has found leaves the policy unknown, because it may not be the one", function()
    local zone = { ["_dmarc.mail.example.com"] = { "v=DMARC1; p=reject" }, ["_dmarc.com"] = "servfail" }
    local r = check { from = "a.mail.example.com", zone = zone }
    assert.same({ "temperror" }, { r.result, r.policy })
  end)

  it("does not matter where an aligned pass is found already", function()
    local zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject" }, ["_dmarc.com"] = "servfail" }
    local r = check { from = "example.com", dkim = { "example.com" }, zone = zone }
    assert.same({ "pass", "reject", "example.com" }, { r.result, r.policy, r.aligned.dkim })
  end)

  it("of one identifier does not matter when another one aligns", function()
    local zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject" }, ["_dmarc.mail.example.com"] = "timeout" }
    local r = check { from = "example.com", spf = { "bounces.example.com" }, dkim = { "mail.example.com" },
      zone = zone }
    assert.same({ "pass", "bounces.example.com", false }, { r.result, r.aligned.spf, r.aligned.dkim })
    r = check { from = "example.com", dkim = { "mail.example.com" }, zone = zone }
    assert.same({ "temperror", "reject", "none" }, { r.result, r.policy, r.disposition })
  end)

  it("does not matter when nothing could align anyway", function()
    local zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject" }, ["_dmarc.com"] = "servfail" }
    assert.equal("fail", check { from = "example.com", zone = zone }.result)
    zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject; adkim=s" }, ["_dmarc.mail.example.com"] = "servfail" }
    assert.equal("fail", check { from = "example.com", dkim = { "mail.example.com" }, zone = zone }.result)
    zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject" }, ["_dmarc.evil.example"] = "servfail" }
    assert.equal("fail", check { from = "example.com", dkim = { "evil.example" }, zone = zone }.result)
  end)

  it("of the question whether the name exists is a temperror, but not for what passes", function()
    local zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject; sp=none; np=quarantine" },
      ["sub.example.com/a"] = "servfail" }
    local r = check { from = "sub.example.com", zone = zone }
    assert.same({ "temperror" }, { r.result, r.policy })
    assert.equal("pass", check { from = "sub.example.com", dkim = { "example.com" }, zone = zone }.result)
  end)

  it("of DKIM or SPF for a domain that would align is a temperror, for any other a fail", function()
    local zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject" } }
    local function with(domain)
      return check { from = "example.com", zone = zone, signatures = identifiers({ domain }, "temperror") }.result
    end
    assert.equal("temperror", with "example.com")
    assert.equal("temperror", with "mail.example.com")
    assert.equal("fail", with "evil.example")
    local dns = world(zone)
    local r = dmarc.check { from = "a@example.com", dns = dns, spf = { result = "temperror", domain = "example.com" } }
    assert.equal("temperror", r.result)
  end)
end)

describe("alignment", function()
  local zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject" } }

  it("is asked of names below the organization only", function()
    local r, asked = check { from = "example.com", zone = zone, spf = { "bounces.esp.example.net" },
      dkim = { "esp.example.net", "notexample.com", "com" } }
    assert.equal("fail", r.result)
    assert.same({ "_dmarc.example.com", "_dmarc.com" }, asked)
  end)

  it("looks up at most eleven other names", function()
    local domains = {}
    for i = 1, 40 do
      domains[i] = ("s%d.psd%d.example.com"):format(i, i)
    end
    local strict = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject; psd=n" } }
    for i = 1, 40 do
      strict[("_dmarc.psd%d.example.com"):format(i)] = { "v=DMARC1; p=none; psd=n" }
    end
    local r, asked = check { from = "example.com", zone = strict, dkim = domains }
    assert.equal("fail", r.result)
    assert.equal(1 + 2 * 11, #asked)
    domains[41] = "example.com" -- the author's own needs no question
    assert.equal("pass", check({ from = "example.com", zone = strict, dkim = domains }).result)
  end)

  it("knows no case and no dot at the end", function()
    assert.equal("pass", check({ from = "EXAMPLE.Com", zone = zone, dkim = { "Mail.example.COM." } }).result)
  end)

  it("compares A-labels", function()
    local names = { ["_dmarc.xn--bcher-kva.example"] = { "v=DMARC1; p=reject" } }
    local r = check { from = "a@bücher.example", zone = names, dkim = { "xn--bcher-kva.example" } }
    assert.same({ "pass", "xn--bcher-kva.example" }, { r.result, r.domain })
  end)

  it("does not count what did not pass, nor a signature whose key says that it tests", function()
    for _, result in ipairs { "fail", "none", "neutral", "softfail", "policy", "permerror" } do
      local r = check { from = "example.com", zone = zone, signatures = identifiers({ "example.com" }, result) }
      assert.equal("fail", r.result, result)
    end
    local r = check { from = "example.com", zone = zone,
      signatures = { { result = "pass", domain = "example.com", testing = true } } }
    assert.equal("fail", r.result)
  end)

  it("does not accept what is no domain name", function()
    for _, domain in ipairs { "example.com\0.evil.example", "evil.example@example.com", "", "[192.0.2.1]",
      "example.com'" } do
      assert.equal("fail", check({ from = "example.com", zone = zone, dkim = { domain } }).result, domain)
    end
  end)
end)

describe("a policy record", function()
  local function policy_of(text, from)
    local r = check { from = from or "example.com", zone = { ["_dmarc.example.com"] = { text } } }
    return r.result .. " " .. tostring(r.policy), r.record
  end

  it("is ignored unless it begins with exactly v=DMARC1", function()
    for _, text in ipairs { "v=dmarc1; p=reject", "v=DMARC1x; p=reject", "v=DMARC1 p=reject", "p=reject; v=DMARC1",
      "DMARC1; p=reject", "v=DMARC1,p=reject", "" } do
      assert.equal("none nil", policy_of(text), text)
    end
    for _, text in ipairs { "v=DMARC1;p=reject", "v = DMARC1 ; p=reject;", "V=DMARC1;;;p=reject" } do
      assert.equal("fail reject", policy_of(text), text)
    end
  end)

  it("has defaults for values that are not valid, and no tag that is not registered", function()
    local _, record = policy_of "v=DMARC1; p=reject; adkim=x; aspf=S; psd=maybe; t=yes; pct=0; rf=afrf; ri=1; x y; =z"
    assert.same({ "r", "s", "u", "n", "0" }, { record.adkim, record.aspf, record.psd, record.t, record.fo })
    assert.same({}, { record.pct, record.rf, record.ri })
  end)

  it("with sp or np that are not valid asks for nothing, if it has an address for reports", function()
    assert.equal("none nil", policy_of "v=DMARC1; p=reject; sp=nope")
    assert.equal("none nil", policy_of "v=DMARC1; p=reject; np=")
    assert.equal("none nil", policy_of "v=DMARC1; p=reject; sp=nope; rua=dmarc@example.com, mailto:, mailto:x")
    assert.equal("fail none", policy_of "v=DMARC1; p=reject; sp=nope; rua=mailto:a@example.com")
    assert.equal("fail none", policy_of("v=DMARC1; p=reject; np=; rua=https://example.com/x", "sub.example.com"))
  end)

  it("of the Author Domain without a valid policy ends the search", function()
    local r = check { from = "mail.example.com", zone = { ["_dmarc.mail.example.com"] = { "v=DMARC1; adkim=s" },
      ["_dmarc.example.com"] = { "v=DMARC1; p=reject" } } }
    assert.equal("none", r.result)
  end)

  it("gives the addresses for reports without sizes", function()
    local _, record = policy_of("v=DMARC1; p=none; rua=mailto:a@Example.com!10m , mailto:b@example.com; "
      .. "ruf=mailto:c@x.example")
    assert.same({ "mailto:a@Example.com", "mailto:b@example.com" }, record.rua)
    assert.same({ "mailto:c@x.example" }, record.ruf)
  end)
end)

describe("From", function()
  -- The victim is legitimate.example, which rejects; attack.example authenticates with everything.
  local zone = { ["_dmarc.legitimate.example"] = { "v=DMARC1; p=reject" },
    ["_dmarc.attack.example"] = { "v=DMARC1; p=none" } }
  local function of(from, spf)
    return check { from = from, zone = zone, spf = { spf or "attack.example" },
      dkim = { "attack.example", "helo.attack.example" } }
  end

  it("passes when it is what it seems to be", function()
    for _, from in ipairs { "ann@attack.example", "Ann <ann@attack.example>", "<ann@attack.example >",
      '"Doe, J." <ann@attack.example>', '"bob@other.example via List" <list@attack.example>',
      "=?utf-8?q?J=C3=B6rg?= <ann@attack.example>", "=?utf-8?q?Doe=2C_John?= <ann@attack.example>",
      "ann@attack.example (Ann)", "ann@attack.example <ann@attack.example>", "a@attack.example, b@Attack.example",
      "Team: a@attack.example, b@attack.example;", "Doe, John <ann@attack.example>", "ann@mail.attack.example" } do
      local r = of(from)
      assert.same({ "pass" }, { r.result, r.doubt }, from)
    end
  end)

  -- The 22 shapes of "Composition Kills" (Chen, Paxson, Jiang; USENIX Security 2020) as public descriptions tell them;
  -- what SPF and DKIM make of A1 to A7 has its specs there: here they bring the identifier that would fool a checker.
  local BASE64 = "=?utf-8?B?PGFkbWluQGxlZ2l0aW1hdGUuZXhhbXBsZT4=?="
  local shapes = {
    { "A1, a subdomain that does not exist in MAIL FROM", "<admin@legitimate.example>", "helo.attack.example" },
    { "A2, an empty MAIL FROM, so that HELO passes", "<admin@legitimate.example>", "attack.example" },
    { "A3, NUL in the domain", "<admin@legitimate.example>", "legitimate.example\0.attack.example" },
    { "A4, a quote in d=", "<admin@legitimate.example>", "legitimate.example'a.attack.example" },
    { "A5, a parenthesis in MAIL FROM", "<admin@legitimate.example>", "legitimate.example(a.attack.example" },
    { "A6, a quote in MAIL FROM", "<admin@legitimate.example>", "legitimate.example'@any.attack.example" },
    { "A7, a route in MAIL FROM", "<admin@legitimate.example>", "legitimate.example,@any.example:'any@attack.example" },
    { "A8, two From", { "<first@attack.example>", "<admin@legitimate.example>" } },
    { "A9, two From, the first after a blank", { "<admin@legitimate.example>", "<first@attack.example>" } },
    { "A10, two From, one with a blank before its colon", { "<first@attack.example>", "<admin@legitimate.example>" } },
    { "A11, two From, one folded before its colon", { "<first@attack.example>", "<admin@legitimate.example>" } },
    { "A12, no From that can be read, but Sender", {} },
    { "A13, no From that can be read, but Resent-From", { "" } },
    { "A14, two addresses", "<first@attack.example>, <admin@legitimate.example>" },
    { "A15, an address in an encoded word", BASE64 .. ",<second@attack.example>" },
    { "A16, a route", "<@attack.example,@any.example:admin@legitimate.example>" },
    { "A17, a quoted comma", "<admin@legitimate.example>\\,<second@attack.example>" },
    { "A18, a comma without brackets", "admin@legitimate.example,<second@attack.example>" },
    { "A19, text after the brackets", "<any@attack.example>admin@legitimate.example" },
    { "client A1, two From of one service", { "<attacker@attack.example>", "<admin@attack.example>" } },
    { "client A2, two addresses, one of the service", "<attacker@attack.example>, <admin@legitimate.example>" },
    { "client A3, another user of another domain", "<admin@legitimate.example>" },
    -- the same, turned round, and what else is known
    { "a route through the victim", "<@legitimate.example:any@attack.example>" },
    { "an encoded word before the address", BASE64 .. " <second@attack.example>" },
    { "a bare address as the name", "admin@legitimate.example <any@attack.example>" },
    { "an address folded before another", "admin@legitimate.example\n <any@attack.example>" },
    { "an address in a comment", "any@attack.example (admin@legitimate.example)" },
    { "a comment first", "(<admin@legitimate.example>) any@attack.example" },
    { "an address as the local part", '"admin@legitimate.example>"@attack.example' },
    { "a quoted local part of the victim (OpenDMARC 243)", '"a <x@attack.example>"@legitimate.example' },
    { "a quote that is not closed", '"admin@legitimate.example <any@attack.example>' },
    { "NUL", "admin@legitimate.example\0<any@attack.example>" },
    { "two addresses without a comma", "<admin@legitimate.example> <any@attack.example>" },
    { "an @ too many", "admin@legitimate.example@attack.example" },
    { "an encoded domain", "admin@=?utf-8?q?attack.example?=" },
    { "a group of two domains", "x: admin@legitimate.example, any@attack.example;" },
    { "an empty group", "undisclosed-recipients:;" },
    { "an address literal", "admin@[192.0.2.1]" },
  }
  for _, shape in ipairs(shapes) do
    it("never passes: " .. shape[1], function()
      local r = of(shape[2], shape[3])
      assert.is_true(r.result == "permerror" or r.result == "fail", r.result)
    end)
  end

  it("that some readers see otherwise still fails for the domain that it is of", function()
    local r = of '"a <x@attack.example>"@legitimate.example'
    assert.same({ "fail", "reject", "legitimate.example" }, { r.result, r.policy, r.domain })
    assert.is_string(r.doubt)
  end)
end)

describe("a plain From", function()
  local author = require "moonmilter.identity.author"

  -- A second blank before "<" changes nothing for the grammar, but such a value is not plain.
  it("has the domain that the grammar reads", function()
    local names = { "", "Ann", '"Ann Lee"', "Ann B. Lee", ".", "-", '"A. - "', '"', '"Ann', 'Ann"', "<" }
    local mailboxes = { "ann@example.org", "a.b-c_d+9@A-1.Example.ORG", ".a@example.org", "a.@example.org",
      "a..b@example.org", "ann@.example.org", "ann@example.org.", "ann@example..org", "ann@-example.org",
      "ann@example-.org", "ann@example-", "ann@localhost", "ann@a@b.example", "@example.org", "ann@",
      "ann@" .. ("a"):rep(64) .. ".example", "ann@" .. ("a"):rep(63) .. ".example",
      "ann@" .. ("a."):rep(40) .. "example" }
    local plain = 0
    for _, name in ipairs(names) do
      for _, mailbox in ipairs(mailboxes) do
        local domain, why = author.domain(name .. " <" .. mailbox .. ">")
        local expected, expected_why = author.domain(name .. "  <" .. mailbox .. ">")
        assert.same({ expected, expected_why }, { domain, why }, name .. " <" .. mailbox .. ">")
        plain = plain + (domain and not why and 1 or 0)
      end
    end
    assert.is_true(plain > 30, plain)
  end)
end)

describe("dmarc.check", function()
  it("writes nothing but host names into the reason and the properties", function()
    for byte = 0, 255 do
      local bad = ("x%cy"):format(byte)
      local r = check { from = "a" .. bad .. "@example.com", zone = {} }
      assert.is_nil(r.reason:find "[%c\128-\255]", byte)
      local zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject; x=" .. bad } }
      r = check { from = "a@" .. bad .. ".example.com", zone = zone }
      assert.is_nil(r.reason:find "[%c\128-\255\"]", byte)
      for _, property in ipairs(r.properties) do
        assert.is_nil(property.value:find "[^%w._-]", byte)
      end
    end
  end)

  it("gives properties for Authentication-Results", function()
    local authres = require "moonmilter.authres"
    local r = check { from = "example.com", zone = { ["_dmarc.example.com"] = { "v=DMARC1; p=reject" } } }
    assert.equal("mx.example; dmarc=fail header.from=example.com policy.dmarc=reject", authres.format {
      authserv_id = "mx.example", results = { { method = "dmarc", result = r.result, properties = r.properties } } })
  end)

  it("names a mistake of its caller at the caller's line", function()
    local function refuses(options, text)
      local ok, why = pcall(function() dmarc.check(options) end)
      assert.is_false(ok)
      assert.truthy(why:find(text, 1, true), why)
      assert.truthy(why:find("dmarc_spec.lua", 1, true), why)
    end
    refuses(nil, "expected a table")
    refuses({ from = "a@b.example" }, "dns must be moonmilter.dns")
    refuses({ from = "a@b.example", dns = print, dkm = {} }, 'unknown option "dkm"')
    refuses({ from = "a@b.example", dns = print, spf = "pass" }, "spf must be")
  end)
end)
