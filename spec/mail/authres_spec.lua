local authres = require "moonmilter.authres"
local header = require "moonmilter.header"

describe("Authentication-Results", function()
  it("reads the examples of RFC 8601 B", function()
    local cases = {
      { "example.org 1; none", 0 },
      { "example.com; spf=pass smtp.mailfrom=example.net", 1 },
      { "example.com;\n auth=pass (cram-md5) smtp.auth=sender@example.net;\n spf=pass smtp.mailfrom=example.net", 2 },
      { "example.com;\n sender-id=fail header.from=example.com;\n dkim=pass (good signature) header.d=example.com", 2 },
      { "foo.example.net (foobar) 1 (baz);\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\n "
        .. "policy (A dot can go here) . (like that) expired\n (this surprised me) = (as I wasn't expecting it) "
        .. "1362471462", 1 },
    }
    for _, case in ipairs(cases) do
      local t, why = authres.parse(case[1])
      assert.is_table(t, why)
      assert.equal(case[2], #t.results)
    end
    local last = authres.parse(cases[5][1])
    assert.equal("foo.example.net", last.authserv_id)
    local r = last.results[1]
    assert.same({ "dkim", 1, "fail" }, { r.method, r.method_version, r.result })
    assert.same({ { type = "policy", property = "expired", value = "1362471462" } }, r.properties)
  end)

  it("writes what it reads", function()
    local t = { authserv_id = "mx.example", version = 1, results = {
      { method = "spf", result = "pass", comment = "a (b) \\", properties = { { type = "smtp", property = "mailfrom",
        value = "ann@x.example" } } },
      { method = "dkim", result = "fail", reason = 'bad "body" hash', properties = { { type = "header",
        property = "b", value = "ab/c+=" } } },
      { method = "iprev", result = "none", properties = {} },
    } }
    local again = assert(authres.parse(authres.format(t)))
    again.raw = nil
    assert.same(t, again)
    assert.equal("mx.example; none", authres.format { authserv_id = "mx.example", results = {} })
  end)

  it("refuses to write a value that would be read as more than intended", function()
    for _, r in ipairs { { method = "spf", result = "pass; dkim=pass" },
      { method = "spf", result = "pass", comment = "a\nb" },
      { method = "s p", result = "x" }, { method = "spf", result = "pass", properties = { { type = "smtp",
        property = "a=b", value = "" } } } } do
      assert.has_error(function() authres.format { authserv_id = "x", results = { r } } end)
    end
  end)

  it("claims an id as it is written, and without its brackets", function()
    for _, id in ipairs { "mx.[a].example[", "mx.a.example[" } do
      assert.is_true(authres.claims("mx.[a].example[; none", id), id)
    end
    local value = "mx.[a]b[c d; none"
    assert.is_true(authres.claims(value, authres.parse(value).authserv_id))
  end)

  it("strips fields that claim to be ours or could be taken for ours, and no others", function()
    local block = header.block(table.concat({
      "Authentication-Results: mx.example; spf=pass smtp.mailfrom=x", "authentication-results: MX.Example 1; none",
      "Authentication-Results: (hi) \"mx.example\"; dkim=pass", "Authentication-Results: mx.example garbage spf=pass",
      "Authentication-Results: other.example; spf=pass", "ARC-Authentication-Results: i=1; mx.example; spf=pass",
      "Authentication-Results: mx.example", "Authentication-Results: xmx.example.org; none", "",
    }, "\r\n"))
    assert.equal(5, authres.strip(block, "mx.example"))
    assert.equal("other.example; spf=pass", block[1].value)
    assert.equal("ARC-Authentication-Results", block[2].name)
    assert.equal("xmx.example.org; none", block[3].value)
  end)
end)
