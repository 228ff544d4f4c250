--- Canonical forms against a definition that reads the whole text step by step, keys and signatures against OpenSSL's
--- program.
local seal = require "moonmilter.seal"
local codec = require "moonmilter.codec"
local process = require "spec.support.process"

-- ---- bodies ----

-- RFC 6376 3.4.3, 3.4.4, step by step over the whole body.
local function canonical(canon, body)
  local text, lines = body, {}
  if text:sub(-2) ~= "\r\n" and text ~= "" then
    text = text .. "\r\n"
  end
  for line in text:gsub("\r\n", "\1"):gmatch "([^\1]*)\1" do
    if canon == "relaxed" then
      line = line:gsub("[ \t]+", " "):gsub(" $", "")
    end
    lines[#lines + 1] = line
  end
  while lines[#lines] == "" do
    lines[#lines] = nil
  end
  local whole = table.concat(lines, "\r\n")
  return (lines[1] or canon == "simple") and whole .. "\r\n" or ""
end

local NASTY = {
  "", "\r\n", "\r\n\r\n", "\r", "\n", " ", "\t", "\r\r\n", "\n\r\n", "\r\n\r", "\r\n ", " \r\n", " \r\n\r\n", "a",
  "a\r\n",
  "a\r\n\r\n", "a\r\n\r\n\r\nb", "a \r\n \r\n\t\r\nb", "a \r b", "a\rb\nc\r\n", "a \t b\t\tc  \r\n", " a\r\n  b\r\n",
  "\r\n\r\na", "\r\n \r\n", "a\r\n \t \r\n\r\n", "a\r", "a \r", "a\r\n\r", "a \r\r\n", "a\r\n\n", "a \n \r\n",
  "\t\r\n\ta",
  "a  ", "\r\n\r\n \r\n\r\n", "a\0b \0\r\n", "a\r\n.\r\n\r\n", "  \r\n a  a \r\n\r\n \r\n", "\n\n\n", "\r\r\r",
  "a\r\n\r\n\r\r\n",
  ("line with some words in it\r\n"):rep(9), (" x\t"):rep(40) .. "\r\n",
}

local function hash_of(canon, pieces, length)
  local body = seal.body(canon, "sha256", length)
  for _, piece in ipairs(pieces) do
    body:feed(piece)
  end
  return body:finish()
end

local function assert_hash(canon, text, pieces)
  local wanted = canonical(canon, text)
  local hash, length = hash_of(canon, pieces)
  assert.equal(#wanted, length, ("%s %q"):format(canon, text))
  assert.equal(seal.hash("sha256", wanted), hash, ("%s %q"):format(canon, text))
end

describe("a body", function()
  for _, canon in ipairs { "simple", "relaxed" } do
    it("has one hash wherever it is cut: " .. canon, function()
      for _, text in ipairs(NASTY) do
        for cut = 0, #text do
          assert_hash(canon, text, { text:sub(1, cut), text:sub(cut + 1) })
        end
        local bytes = {}
        for i = 1, #text do bytes[i] = text:sub(i, i) end
        assert_hash(canon, text, bytes)
      end
    end)

    it("has one hash however it is made and cut: " .. canon, function()
      math.randomseed(7)
      local alphabet = { "\r\n", "\r\n", " ", "\t", "a", "b", "\r", "\n", "word", ("long "):rep(20), ("x"):rep(300) }
      for _ = 1, 500 do
        local parts = {}
        for i = 1, math.random(0, 40) do parts[i] = alphabet[math.random(#alphabet)] end
        local text, pieces, at = table.concat(parts), {}, 1
        while at <= #text do
          local stop = at + math.random(0, 40)
          pieces[#pieces + 1], at = text:sub(at, stop), stop + 1
        end
        assert_hash(canon, text, pieces)
      end
    end)
  end

  it("that is empty is a line end in simple form and nothing in relaxed form, RFC 6376 3.4.3, 3.4.4", function()
    local sha256 = { simple = "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=",
      relaxed = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
    for canon, expected in pairs(sha256) do
      assert.equal(expected, codec.base64_encode((hash_of(canon, {}))))
    end
  end)

  it("is hashed up to a limit, and its whole length is known", function()
    local hash, length = hash_of("relaxed", { "a  b\r\n", "c\r\n\r\n" }, 5)
    assert.same({ seal.hash("sha256", "a b\r\n"), 8 }, { hash, length })
    hash, length = hash_of("relaxed", { "a" }, 0)
    assert.same({ seal.hash("sha256", ""), 3 }, { hash, length })
    hash, length = hash_of("simple", { "a" }, 100)
    assert.same({ seal.hash("sha256", "a\r\n"), 3 }, { hash, length })
  end)

  it("has all hashes that a message needs in one pass, equal ones once", function()
    local body = seal.body()
    assert.equal(1, body:want("simple", "sha256"))
    assert.equal(2, body:want("relaxed", "sha256", 2))
    assert.equal(1, body:want("simple", "sha256"))
    body:feed("xxa \r\nxx", 3, 6)
    assert.same({ seal.hash("sha256", "a \r\n"), 4 }, { body:finish() })
    assert.same({ seal.hash("sha256", "a\r"), 3 }, { body:hash(2) })
    assert.equal(0, select("#", body:hash(3)))
    assert.has_error(function() body:want("relaxed", "sha256") end)
  end)

  it("has at most 32 hashes", function()
    local body = seal.body()
    for i = 1, 32 do assert.equal(i, body:want("simple", "sha256", i)) end
    assert.has_error(function() body:want("simple", "sha256", 33) end,
      "seal: no room for another hash (at most 32, all before the first feed)")
  end)
end)

describe("a header field", function()
  it("in relaxed form, RFC 6376 3.4.2 and 3.4.5", function()
    assert.equal("a:X", seal.header("relaxed", "A: X"))
    assert.equal("b:Y Z", seal.header("relaxed", "B : Y\t\r\n\tZ  \r\n"))
    assert.equal("b:Y Z", seal.header("relaxed", "B : Y\t\n\tZ  \n"))
    assert.equal("x:", seal.header("relaxed", "X: \t "))
    assert.equal("x:: : a", seal.header("relaxed", "X: :  : a"))
    assert.equal("x:ab\r", seal.header("relaxed", "X:a\nb\r"))
  end)
  it("in simple form is as it came, with CRLF in its folds", function()
    assert.equal("B : Y\t\r\n\tZ  ", seal.header("simple", "B : Y\t\n\tZ  "))
    assert.equal("B : Y\t\r\n\tZ  ", seal.header("simple", "B : Y\t\r\n\tZ  \r\n"))
  end)
  it("may be long", function()
    assert.equal("x:" .. ("a "):rep(50000) .. "a", seal.header("relaxed", "X:" .. ("a\n\t"):rep(50000) .. "a"))
  end)
end)

-- ---- keys ----

local function output(command)
  local pipe = io.popen(command .. " 2>/dev/null")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function der_of(pem)
  return (codec.base64_decode((pem:gsub("%-%-%-%-%-[^\n]*\n", ""))))
end

describe("a key that OpenSSL wrote", function()
  local directory
  setup(function() directory = process.directory() end)

  local function write(name, text)
    process.write_file(directory .. "/" .. name, text)
    return directory .. "/" .. name
  end

  -- -> PEM of the private key in the form, DER of its public half
  local function key_pair(kind, bits, form)
    local options = kind == "rsa" and "RSA -pkeyopt rsa_keygen_bits:" .. bits or "ED25519"
    local file = write("key", output("openssl genpkey -algorithm " .. options))
    local pem = form == "pkcs1" and output("openssl pkey -traditional -in " .. file) or output("cat " .. file)
    return pem, der_of(output("openssl pkey -pubout -in " .. file)), file
  end

  for _, case in ipairs { { "rsa", 1024 }, { "rsa", 2048, "pkcs1" }, { "rsa", 2048 }, { "rsa", 1536 },
    { "ed25519", 256 } } do
    it(("signs and verifies: %s %d %s"):format(case[1], case[2], case[3] or "pkcs8"), function()
      local pem, der, file = key_pair(unpack(case))
      local private = assert(seal.private_key(pem))
      local public = assert(seal.public_key(case[1], der))
      assert.same({ case[1], case[2], true, false },
        { private:kind(), private:bits(), private:is_private(), public:is_private() })
      local signature = assert(private:sign "a text")
      assert.is_true(public:verify("a text", signature))
      assert.is_false(public:verify("a Text", signature))
      assert.is_false(public:verify("a text", signature:sub(2) .. "\0"))
      assert.is_false(public:verify("a text", ""))
      assert.equal(case[1] == "rsa" and der or der:sub(-32), private:export())
      assert.has_error(function() public:sign "x" end, "sign: this is a public key")
      assert.has_error(function() private:verify("x", "y") end, "verify: this is a private key")
      -- and OpenSSL reads the signature
      local data = write("data", case[1] == "rsa" and "a text" or seal.hash("sha256", "a text"))
      write("signature", signature)
      local how = case[1] == "rsa" and "-digest sha256" or ""
      assert.truthy(output(("openssl pkeyutl -verify -rawin %s -inkey %s -in %s -sigfile %s/signature"):format(how,
        file, data, directory)):find "Verified Successfully")
    end)
  end

  it("with 512 bits is read, and neither signs nor verifies (RFC 8301 3.2)", function()
    local pem, der = key_pair("rsa", 512)
    local private, public = assert(seal.private_key(pem)), assert(seal.public_key("rsa", der))
    assert.equal(512, public:bits())
    assert.same({ nil, "sign: the key has fewer than 1024 bits, or the crypto library failed", "key" },
      { private:sign "x" })
    local hash = write("hash", seal.hash("sha256", "x"))
    write("key", pem)
    local signature = output(("openssl pkeyutl -sign -inkey %s/key -in %s -pkeyopt digest:sha256"):format(directory,
      hash))
    assert.equal(64, #signature)
    assert.is_false(public:verify("x", signature))
  end)

  it("with 4104 bits is refused", function()
    local der = "\48\130\2\11\2\130\2\2\0\255" .. ("\255"):rep(512) .. "\2\3\1\0\1"
    assert.same({ nil, "key: it has more than 4096 bits, and using it would hold up all other mail", "too-large" },
      { seal.public_key("rsa", der) })
  end)

  it("may be a bare RSAPublicKey, as the DER of p= (RFC 6376 3.6.1)", function()
    local pem, der = key_pair("rsa", 1024)
    local bare = der_of(output(("openssl pkey -in %s | openssl rsa -RSAPublicKey_out"):format(write("key", pem))))
    assert.is_true(#bare < #der)
    assert.is_true(seal.public_key("rsa", bare):verify("x", seal.private_key(pem):sign "x"))
  end)

  it("is refused when it is encrypted, cut, followed by bytes or of the other kind", function()
    local pem, der = key_pair("rsa", 1024)
    local locked = output(("openssl pkey -in %s -aes128 -passout pass:x"):format(write("key", pem)))
    assert.same({ nil, "key: it is encrypted; decrypt it with: openssl pkey -in FILE", "encrypted" },
      { seal.private_key(locked) })
    for cut = 0, #der - 1 do
      assert.is_nil((seal.public_key("rsa", der:sub(1, cut))))
    end
    assert.same({ nil, "key: bytes follow the key", "syntax" }, { seal.public_key("rsa", der .. "\0") })
    assert.same({ nil, "key: it is a key of the other algorithm", "syntax" }, { seal.public_key("ed25519", der) })
    assert.same({ nil, "key: it is no private key in PEM (openssl genpkey writes one)", "syntax" },
      { seal.private_key "nonsense!" })
  end)
end)

describe("a key of our own", function()
  it("is read by OpenSSL, and is new each time", function()
    local first = seal.new_key "ed25519"
    assert.truthy(first:find("^%-%-%-%-%-BEGIN PRIVATE KEY%-%-%-%-%-\n"))
    assert.not_equal(first, seal.new_key "ed25519")
    assert.equal(1024, seal.private_key(seal.new_key("rsa", 1024)):bits())
    assert.has_error(function() seal.new_key("rsa", 512) end)
  end)
  it("may be an Ed25519 seed in base64, RFC 8463 A.2", function()
    local key = assert(seal.private_key "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n")
    assert.equal("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", codec.base64_encode(key:export()))
  end)
end)

describe("a userdata of another kind", function()
  it("is no body and no key", function()
    local body, key = seal.body("simple", "sha256"), seal.public_key("ed25519", ("k"):rep(32))
    assert.has_error(function() body.feed(key, "x") end, "seal: a body is expected before \":\", not a userdata")
    assert.has_error(function() key.verify(body, "x", "y") end, "seal: a key is expected before \":\", not a userdata")
  end)
end)
