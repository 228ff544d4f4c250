--- moonmilter.hash inside the host. Values are those of the standards, and of openssl's command.
local fake_mta = require "spec.support.fake_mta"

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("moonmilter.hash", function()
  local host

  setup(function()
    host = assert(fake_mta.host { files = { ["10-ask.lua"] = "" } })
  end)

  teardown(function()
    host:close()
  end)

  local function check(expected, body)
    host:write("10-ask.lua", 'local hash = require "moonmilter.hash"\nfunction on_mail(ctx)\n'
      .. "local said = (function() " .. body .. " end)() return ctx:reject((tostring(said):gsub('[^ -~]', '?'))) end")
    host:reload()
    local mta = fake_mta.start { host = host }
    mta:begin()
    local reply = mta:mail()
    mta:close()
    assert.truthy(reply.text and not reply.text:find "^451", host:log())
    assert.equal(expected, (reply.text:gsub("^550 5.7.1 ", "")))
  end

  it("hashes, as FIPS 180-4 says", function()
    check("a9993e364706816aba3e25717850c26c9cd0d89d", 'return hash.sha1 "abc"')
    check("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 'return hash.sha256 "abc"')
    check("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 'return hash.sha256 ""')
    check("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", 'return hash.sha256("abc", "base64")')
    check("64", 'return #hash.sha512("abc", "raw")')
  end)

  it("hashes what openssl hashes, of any size", function()
    for _, algorithm in ipairs { "sha1", "sha256", "sha512" } do
      for _, size in ipairs { 1, 1000, 100000 } do
        local expected = output(("head -c %d /dev/zero | tr '\\0' '\\377' | openssl dgst -%s -r"):format(size,
          algorithm))
        check(expected:match "^%x+", ('return hash.%s(("\\255"):rep(%d))'):format(algorithm, size))
      end
    end
  end)

  it("makes a HMAC, as RFC 4231 says", function()
    check("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      'return hash.hmac("sha256", "Jefe", "what do ya want for nothing?")')
    check("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
      'return hash.hmac("sha1", "Jefe", "what do ya want for nothing?")')
    check("64", 'return #hash.hmac("sha512", "", "", "raw")')
    check("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
      'return hash.hmac("sha256", ("\\170"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First")')
  end)

  it("compares, and gives random bytes", function()
    check("true false false true", [[return ("%s %s %s %s"):format(tostring(hash.equal("a\0b", "a\0b")),
      tostring(hash.equal("a\0b", "a\0c")), tostring(hash.equal("a", "ab")), tostring(hash.equal("", "")))]])
    check("32 16 24 false", [[return ("%d %d %d %s"):format(#hash.random(16), #hash.random(16, "raw"),
      #hash.random(16, "base64"), tostring(hash.random(16) == hash.random(16)))]])
  end)

  it("writes and reads hexadecimal and base64, and reads nothing else", function()
    check("true", [[
      for size = 0, 300 do
        local bytes = hash.random(size + 1, "raw"):sub(2)
        if hash.unhex(hash.hex(bytes)) ~= bytes or hash.unbase64(hash.base64(bytes)) ~= bytes then return size end
        if hash.unhex(hash.hex(bytes):upper()) ~= bytes then return size end
      end
      return true]])
    check("00ff7f Zm8= fo", [[return hash.hex "\0\255\127" .. " " .. hash.base64 "fo" .. " " .. hash.unbase64 "Zm8="]])
    check("badhex badhex byte 2 is no hexadecimal digit", [[return (select(3, hash.unhex "abc")) .. " "
      .. select(3, hash.unhex "ag") .. " " .. select(2, hash.unhex "ag")]])
    for _, text in ipairs { "Zm8", "Zm9=", "Zm8=\\n", "Zm-_", "Z", "=", "Zm8==", "Zm8=Zm8=" } do
      check("badbase64", ('return (select(3, hash.unbase64 "%s"))'):format(text))
    end
  end)

  it("raises at the caller's line when an argument is wrong", function()
    for code, words in pairs {
      ["hash.sha256(nil)"] = "hash.sha256: the text must be a string, not a nil",
      ['hash.sha1("a", "hax")'] = "hash.sha1: form is hax",
      ['hash.hmac("md5", "k", "t")'] = "hash.hmac: the algorithm is md5",
      ['hash.hmac("sha1", nil, "t")'] = "hash.hmac: the key must be a string",
      ["hash.random(0)"] = "hash.random: 0 bytes",
      ["hash.random(1.5)"] = "hash.random: 1.5 bytes",
      ["hash.random(1e9)"] = "hash.random: 1000000000 bytes; give 1 to 65536",
      ['hash.equal("a", nil)'] = "hash.equal: the second must be a string",
      ["hash.unhex(5)"] = "hash.unhex: the text must be a string",
    } do
      check("true", ("local _, why = pcall(function()\n%s\nend) return why:find('10-ask.lua:4: %s', 1, true) and true or why")
        :format(code, words))
    end
  end)
end)
