local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local C = testlib.load "config/endpoint.h"

local function parse(text)
  local spec, why = ffi.new "struct mm_endpoint", ffi.new "struct mm_fault"
  if C.mm_endpoint_parse(text, spec, why) then return spec end
  return nil, ffi.string(why.text)
end

local function canonical(text)
  local spec, why = parse(text)
  assert.is_nil(why)
  local to = ffi.new "char[320]"
  return ffi.string(C.mm_endpoint_text(spec, to, 320))
end

local function fault(text)
  local spec, why = parse(text)
  assert.is_nil(spec, "accepted: " .. text)
  return why
end

local function postfix(text)
  local to = ffi.new "char[320]"
  return ffi.string(C.mm_endpoint_postfix(parse(text), to, 320))
end

local function sendmail(text, stage, eom)
  local to = ffi.new "char[512]"
  return ffi.string(C.mm_endpoint_sendmail(parse(text), "moonmilter", stage or 8, eom or 240, to, 512))
end

describe("every form of a listener", function()
  local forms = {
    ["unix:/run/m.sock"] = "unix:/run/m.sock",
    ["local:/run/m.sock"] = "unix:/run/m.sock",
    ["/run/m.sock"] = "unix:/run/m.sock",
    ["unix:run/m.sock"] = "unix:run/m.sock",
    ["inet:10025"] = "inet:10025@127.0.0.1",
    ["inet:10025@192.0.2.7"] = "inet:10025@192.0.2.7",
    ["inet:10025@[192.0.2.7]"] = "inet:10025@192.0.2.7",
    ["inet:10025@localhost"] = "inet:10025@127.0.0.1",
    ["inet:10025@0.0.0.0"] = "inet:10025@0.0.0.0",
    ["inet:10025@*"] = "inet:10025@0.0.0.0",
    ["inet:10025@[::1]"] = "inet6:10025@[::1]",
    ["inet:10025@2001:DB8::7"] = "inet6:10025@[2001:db8::7]",
    ["inet6:10025"] = "inet6:10025@[::1]",
    ["inet6:10025@localhost"] = "inet6:10025@[::1]",
    ["inet6:10025@*"] = "inet6:10025@[::]",
    ["inet6:10025@2001:db8::7"] = "inet6:10025@[2001:db8::7]",
    ["inet6:[::1]:10025"] = "inet6:10025@[::1]",
    ["inet:127.0.0.1:10025"] = "inet:10025@127.0.0.1",
    ["inet:localhost:10025"] = "inet:10025@127.0.0.1",
    ["inet:[::1]:10025"] = "inet6:10025@[::1]",
    ["inet:[127.0.0.1]:10025"] = "inet:10025@127.0.0.1",
    ["inet:*:10025"] = "inet:10025@0.0.0.0",
    ["inet:1"] = "inet:1@127.0.0.1",
    ["inet:65535"] = "inet:65535@127.0.0.1",
    ["fd:3"] = "fd:3",
    ["fd:0"] = "fd:0",
    ["systemd"] = "systemd",
    ["systemd:outbound"] = "systemd:outbound",
  }
  for text, meaning in pairs(forms) do
    it(("%s means %s, which means itself"):format(text, meaning), function()
      assert.equal(meaning, canonical(text))
      assert.equal(meaning, canonical(meaning))
    end)
  end

  it("fills the fields of its kind", function()
    local spec = parse "inet:10025"
    assert.equal(C.MM_ENDPOINT_INET, tonumber(spec.kind))
    assert.equal("127.0.0.1", ffi.string(spec.host))
    assert.equal(10025, spec.port)
    assert.equal(-1, spec.fd)
    assert.equal("out", ffi.string(parse("systemd:out").name))
    assert.equal(7, parse("fd:7").fd)
    assert.equal("/a", ffi.string(parse("/a").path))
  end)
end)

describe("a listener that is wrong", function()
  local forms = "write unix:PATH, inet:PORT, inet:PORT@HOST, inet6:PORT@HOST, fd:N or systemd"
  local numeric = 'is not a numeric address; write one such as 127.0.0.1 or [::1], "localhost" or "*": other '
    .. 'names are not '
    .. "looked up, because that could block"
  local cases = {
    [""] = '"": there is nowhere to listen; ' .. forms,
    ["inet:"] = '"inet:": the port is missing; write inet:10025',
    ["inet"] = '"inet": the port is missing; write inet:10025',
    ["inet:0"] = '"inet:0": port "0" is not a number from 1 to 65535',
    ["inet:65536"] = '"inet:65536": port "65536" is not a number from 1 to 65535',
    ["inet:+25"] = '"inet:+25": port "+25" is not a number from 1 to 65535',
    ["inet:smtp"] = '"inet:smtp": port "smtp" is not a number from 1 to 65535',
    ["inet:99999999999999999999"] = '"inet:99999999999999999999": port "99999999999999999999" is not a number '
      .. 'from 1 to 65535',
    ["inet:25@"] = '"inet:25@": the host is missing; write @127.0.0.1, @[::1], or leave "@" out for this machine only',
    ["inet:25@[]"] = '"inet:25@[]": the host is missing; write @127.0.0.1, @[::1], or leave "@" out for this '
      .. 'machine only',
    ["inet:@127.0.0.1"] = '"inet:@127.0.0.1": the port is missing; write inet:10025',
    ["inet:25@mail.example.org"] = '"inet:25@mail.example.org": host "mail.example.org" ' .. numeric,
    ["inet:mail:25"] = '"inet:mail:25": host "mail" ' .. numeric,
    ["inet:25@[localhost]"] = '"inet:25@[localhost]": host "[localhost]" ' .. numeric,
    ["inet:25@127.0.0.1:25"] = '"inet:25@127.0.0.1:25": host "127.0.0.1:25" ' .. numeric,
    ["inet6:25@fe80::1%eth0"] = '"inet6:25@fe80::1%eth0": host "fe80::1%eth0" ' .. numeric,
    ["inet6:25@127.0.0.1"] = '"inet6:25@127.0.0.1": "127.0.0.1" is an IPv4 address; write inet:25@127.0.0.1',
    ["inet:::1:25"] = '"inet:::1:25": an IPv6 address before a port needs brackets; write inet:[::1]:10025 or '
      .. 'inet6:10025@::1',
    ["inet:[::1]"] = '"inet:[::1]": the port is missing; write inet:[ADDR]:PORT',
    ["inet:["] = '"inet:[": the port is missing; write inet:[ADDR]:PORT',
    ["inet:[::1]:"] = '"inet:[::1]:": the port is missing; write inet:10025',
    ["inet:10025:127.0.0.1"] = '"inet:10025:127.0.0.1": the port comes first only before "@"; write '
      .. 'inet:10025@127.0.0.1',
    ["10025"] = '"10025": the kind of socket is missing; did you mean inet:10025?',
    ["127.0.0.1:10025"] = '"127.0.0.1:10025": the kind of socket is missing; did you mean inet:127.0.0.1:10025?',
    ["run/m.sock"] = '"run/m.sock": a path that does not begin with "/" needs its kind; did you mean unix:run/m.sock?',
    ["tcp:25"] = '"tcp:25": unknown kind of socket "tcp"; did you mean "inet"?',
    ["inet4:25"] = '"inet4:25": unknown kind of socket "inet4"; did you mean "inet"?',
    ["unxi:/a"] = '"unxi:/a": unknown kind of socket "unxi"; did you mean "unix"?',
    ["zebra:1"] = '"zebra:1": unknown kind of socket "zebra"; ' .. forms,
    ["unix:"] = '"unix:": the path is missing; write unix:/run/moonmilter/milter.sock',
    ["unix:/run/"] = '"unix:/run/": this names a directory; add the name of the socket: /run/milter.sock',
    ["/run/a b"] = '"/run/a b": the path holds " ", which cannot be written in main.cf or sendmail.mc; choose '
      .. 'another path',
    ["/run/a,b"] = '"/run/a,b": the path holds ",", which cannot be written in main.cf or sendmail.mc; choose '
      .. 'another path',
    ["fd:"] = '"fd:": "" is not a descriptor to listen on; write fd:3 for the first one handed over (1 and 2 '
      .. 'are for output)',
    ["fd:-1"] = '"fd:-1": "-1" is not a descriptor to listen on; write fd:3 for the first one handed over (1 and 2 '
      .. 'are for output)',
    ["fd:2"] = '"fd:2": "2" is not a descriptor to listen on; write fd:3 for the first one handed over (1 and 2 '
      .. 'are for output)',
    ["systemd:"] = '"systemd:": the name is missing; write systemd:NAME with the NAME of FileDescriptorName=, or '
      .. 'systemd for all '
      .. "sockets of the unit",
    ["systemd:a:b"] = '"systemd:a:b": the name holds ":"; systemd allows ASCII without control bytes and ":"',
  }
  for text, why in pairs(cases) do
    it(("is refused with a rule: %q"):format(text), function() assert.equal(why, fault(text)) end)
  end

  it("has a path of at most 107 bytes", function()
    assert.truthy(parse("unix:/" .. ("a"):rep(106)))
    assert.matches("the path has 108 bytes; a unix socket's has at most 107", fault("unix:/" .. ("a"):rep(107)))
  end)
end)

describe("what to paste into the MTA's configuration", function()
  it("is a value for smtpd_milters of Postfix", function()
    assert.equal("inet:127.0.0.1:10025", postfix "inet:10025")
    assert.equal("inet:[::1]:10025", postfix "inet6:10025")
    assert.equal("unix:/run/m.sock", postfix "local:/run/m.sock")
  end)

  it("is a line of sendmail.mc that fails safely", function()
    assert.equal("INPUT_MAIL_FILTER(`moonmilter', `S=inet:10025@127.0.0.1, F=T, T=C:1m;S:10s;R:10s;E:5m')dnl",
      sendmail "inet:10025")
    assert.equal("INPUT_MAIL_FILTER(`moonmilter', `S=inet6:10025@[::1], F=T, T=C:1m;S:10s;R:10s;E:5m')dnl",
      sendmail "inet6:10025")
    assert.equal("INPUT_MAIL_FILTER(`moonmilter', `S=unix:/run/m.sock, F=T, T=C:1m;S:10s;R:10s;E:5m')dnl",
      sendmail "/run/m.sock")
  end)

  it("lets Sendmail wait longer than our deadlines", function()
    assert.matches("R:33s;E:11m'", sendmail("inet:10025", 30, 600))
    assert.matches("R:11s;E:6m'", sendmail("inet:10025", 8.5, 241))
  end)

  it("names an address that can be connected to", function()
    assert.equal("inet:127.0.0.1:10025", postfix "inet:10025@0.0.0.0")
    assert.equal("inet:[::1]:10025", postfix "inet6:10025@*")
    assert.matches("S=inet:10025@127.0.0.1,", sendmail "inet:*:10025")
  end)

  it("is empty when only the open socket knows its address", function()
    for _, text in ipairs { "fd:3", "systemd", "systemd:x" } do
      assert.equal("", postfix(text))
      assert.equal("", sendmail(text))
    end
  end)
end)
