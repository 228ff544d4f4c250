-- authres.strip left fields whose authserv-id is ours in a quoted pair or an encoded word, which readers take for ours.
-- Since 0.1.0.
local authres = require "moonmilter.authres"
local header = require "moonmilter.header"

local ours = { '"mx.example"; spf=pass', '"mx\\.example"; spf=pass', "mx\\.example; spf=pass",
  "=?utf-8?q?mx.example?=; spf=pass", "mx.=?utf-8?q?example?=; spf=pass", "=?utf-8?b?bXguZXhhbXBsZTsgc3Bm?= =pass",
  "=?utf-8?q?=3D=3Futf-8=3Fq=3Fmx.example=3F=3D?=; none",
  "=?utf-8?q?mx.exam?=\n =?utf-8?q?ple?=; none", '"=?utf-8?q?mx=2Eexample?=" 1; none',
  "(=?utf-8?q?=29?= mx.example; none",
  "(a (b) \\) c) mx.example; none", "(a (b) mx.example; c) other.example; none", "(open mx.example; none",
  '"mx.example',
  "mx.example.; none", "MX.Example 1; none", "mx.example/1; none", "mx%2Eexample; none", "mx.example%x; none",
  "\n mx.example; none", "  mx.example ; none", "mx . example; none", "mx.(c)example; none", "mx.\n example; none",
  "mx.exam\n ple; none", "mx.example", "mx.example spf=pass", "mx.example 1 spf=pass", "mx.example garbage spf=pass",
  "mx.example=1; none", "mx.example: spf=pass", "mx.example, x; none", "<mx.example>; none", '"mx.example;"; none',
  "i=1; mx.example; none", "i=1 mx.example; none", "; mx.example; none", "mx.example\0.other; none",
  "mx.\0example; none",
  "mx\226\128\139.example; none", "\194\160mx.example; none", "\239\189\141\239\189\152.example; none",
  "mx\227\128\130example; none" }

local others = { "other.example; spf=pass smtp.mailfrom=mx.example", "other.example (mx.example); none",
  "(mx.example) other.example; none", "(a; mx.example) other.example; none", "xmx.example; none",
  "mx.example.org; none",
  "mx.example-2; none", "sub.mx.example; none", "other.example 1; spf=pass (mx.example: ok)",
  "postmaster@mx.example; none",
  "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=mx.example; dkim=pass", "i=1; other.example; mx.example",
  "=?utf-8?q?other.example?=; x=mx.example", '"other.example" 1; none', '"x mx.example"; none',
  "other.example;mx.example",
  "other.example spf=pass smtp.helo=mx.example", "m\195\188x.example; none", "", "()", ";;" }

describe("Authentication-Results", function()
  it("in any spelling that a reader could take for our id claim to be ours", function()
    for _, value in ipairs(ours) do
      assert.is_true(authres.claims(value, "mx.example"), value)
    end
    for _, id in ipairs { "xn--bcher-kva.example", "XN--bcher-kva.example", "bücher.example", "BÜCHER.example" } do
      for _, value in ipairs { "bücher.example; none", "BÜCHER.example.; none", "xn--bcher-kva.example; none",
        "b\252cher.example; none", "=?iso-8859-1?q?b=FCcher.example?=; none", "Xn--Bcher-kva.example 1; none" } do
        assert.is_true(authres.claims(value, id), value)
      end
    end
  end)

  it("of another host do not, wherever our name stands in them", function()
    for _, value in ipairs(others) do
      assert.is_false(authres.claims(value, "mx.example"), value)
    end
  end)

  it("that claim to be ours go, and no others", function()
    local lines = {}
    for _, list in ipairs { ours, others } do
      for _, value in ipairs(list) do
        lines[#lines + 1] = "Authentication-Results:" .. (value:find "^ " and "" or " ") .. value:gsub("%z", "")
      end
    end
    local block = header.block(table.concat(lines, "\n") .. "\nAuthentication-Results : mx.example; none\n\n")
    local before = #block
    block:field("Authentication-Results", -1).name = "authentication-results \t" -- as a milter may get it
    assert.equal(#ours - 1 + 1, authres.strip(block, { "mx.example", "unused.example" })) -- "mx.example.other" is none
    assert.equal(before - #ours, #block)
  end)

  it("are not stripped for no id", function()
    for _, id in ipairs { false, "", " " } do
      assert.has_error(function() authres.strip(header.block "A: b\n\n", id or nil) end)
      assert.has_error(function() authres.claims("x", id or nil) end)
    end
    assert.has_error(function() authres.strip(header.block "A: b\n\n", {}) end)
  end)
end)
