-- ctx:sign: the host signs the message as it leaves, after the last handler of all scripts. dkimpy reads the result.
local codec = require "moonmilter.codec"
local dkimpy = require "spec.support.dkimpy"
local host = require "spec.support.host"
local process = require "spec.support.process"
local seal = require "moonmilter.seal"
local testing = require "moonmilter.testing"

local RSA, ED25519 = seal.new_key("rsa", 2048), seal.new_key "ed25519"

local function record(pem)
  local key = seal.private_key(pem)
  return ("v=DKIM1; k=%s; p=%s"):format(key:kind(), codec.base64_encode(key:export()))
end

local RECORDS = { ["r._domainkey.example.org"] = record(RSA), ["e._domainkey.example.org"] = record(ED25519) }

local function write(path, text, mode)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  assert(os.execute(("chmod %s %s"):format(mode or "600", path)) == 0)
end

local function directory()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. path) == 0)
  finally(function() os.execute("rm -rf " .. path) end)
  write(path .. "/r.pem", RSA)
  write(path .. "/e.pem", ED25519)
  return path
end

local KEYS = "local auth = require 'moonmilter.auth'\n"
  .. "local keys = auth.keys { ['example.org'] = { { selector = 'r', key = %q }, { selector = 'e', key = %q } } }\n"
local BOTH = KEYS:format(RSA, ED25519)

local MAIL = { from = "ann@example.org", headers = { { "From", "Ann <ann@example.org>" }, { "To", "bob@example.net" },
  { "Subject", "hello" }, { "Date", "Mon, 30 Nov 2026 12:00:00 +0000" } }, body = "one  \r\n\r\ntwo\r\n\r\n\r\n" }

local function mail(with)
  local copy = {}
  for key, value in pairs(MAIL) do copy[key] = value end
  for key, value in pairs(with or {}) do copy[key] = value end
  return copy
end

local function start(options)
  local mta = testing.start(options)
  finally(function() mta:close() end)
  return mta
end

-- All signatures of a message are good; returns them.
local function assert_good(result)
  local found = dkimpy.verify(result.message.text, RECORDS)
  for _, one in ipairs(found) do
    assert.equal("True", one.ok, one.algorithm .. "\n" .. result.message.text)
  end
  return found
end

describe("ctx:sign", function()
  it("signs with every key of the domain, ed25519 first, and stands above all fields", function()
    local mta = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys) end" }
    local result = mta:message(mail())
    local found = assert_good(result)
    assert.equal(2, #found)
    assert.same({ "rsa-sha256", "ed25519-sha256" }, { found[1].algorithm, found[2].algorithm })
    assert.equal("DKIM-Signature", result.message.headers[1][1])
    assert.equal("From:From:Reply-To:Subject:Subject:To:To:Cc:Date", found[1].names)
  end)

  it("signs what leaves: the edits and the new body of later scripts", function()
    for _, canonical in ipairs { "relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed" } do
      local mta = start { files = {
        ["1.lua"] = BOTH .. ("function on_eoh(ctx) ctx:sign(keys, { canonicalization = %q }) end"):format(canonical),
        ["2.lua"] = [[function on_eom(ctx)
          ctx.headers:field("Subject"):set "[list]  new\n\tsubject"
          ctx:add_header("Reply-To", "list@example.org")
          ctx:delete_header("Date")
          ctx:replace_body("other   text\n\nfooter  \n\n\n")
        end]] } }
      assert.equal(2, #assert_good(mta:message(mail())))
    end
  end)

  it("may be asked for from on_mail to on_eom, and holds after an accept", function()
    for _, handler in ipairs { "on_mail", "on_rcpt", "on_data", "on_eoh", "on_body", "on_eom" } do
      local script = ("function %s(ctx) ctx:sign(keys); return ctx:accept() end"):format(handler)
      local mta = start { script = BOTH .. script }
      if handler == "on_rcpt" then
        mta = start { script = BOTH .. "function on_rcpt(ctx) ctx:sign(keys) end" }
      end
      local result = mta:message(mail())
      assert.equal(2, #assert_good(result), handler)
      assert.same({}, mta:complaints())
    end
  end)

  it("signs once with a key, however many scripts ask", function()
    local mta = start { files = { ["1.lua"] = BOTH .. "function on_eoh(ctx) ctx:sign(keys) ctx:sign(keys) end",
      ["2.lua"] = BOTH .. "function on_eom(ctx) ctx:sign(keys) end" } }
    assert.equal(2, #assert_good(mta:message(mail())))
  end)

  it("signs an empty body, bodies without an end of line, and headers with repeated fields", function()
    local mta = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys) end" }
    assert.equal(2, #assert_good(mta:message(mail { body = "" })))
    assert.equal(2, #assert_good(mta:message(mail { body = "x" })))
    assert.equal(2, #assert_good(mta:message(mail { headers = { { "Subject", "a" }, { "From", "ann@example.org" },
      { "Subject", "b" }, { "References", "<a@b>\n <c@d>" } } })))
  end)

  it("signs nothing for a From of another domain, and never for none or two", function()
    local mta = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys) end" }
    for _, headers in ipairs { { { "From", "x@example.com" } }, { { "Subject", "x" } },
      { { "From", "ann@example.org" }, { "From", "ann@example.org" } },
      { { "From", "ann@example.org, bob@example.com" } }, { { "From", "x@sub.example.org" } } } do
      local result = mta:message(mail { headers = headers })
      assert.equal("accept", result.verdict)
      assert.same({}, result.edits)
    end
    assert.truthy(mta:log "2 From fields")
  end)

  it("signs with the keys of `domain` when it is told to", function()
    local mta = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys, { domain = 'example.org', expires = 60 }) end" }
    local result = mta:message(mail { headers = { { "From", "x@example.com" } } })
    assert.equal(2, #assert_good(result))
    assert.truthy(result.message.headers[1][2]:match "x=%d+;")
  end)

  it("oversigns no field that Sendmail may still add", function()
    local mta = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys, { oversign = { 'Date', 'From', 'Cc' } }) end",
      mta = "sendmail" }
    local found = assert_good(mta:message(mail { headers = { { "From", "ann@example.org" } } }))
    assert.equal("From:From", found[1].names)
  end)

  it("refuses at the script's line what cannot be signed", function()
    local cases = {
      ["ctx:sign({})"] = "sign: the keys are a table; auth.keys makes them",
      ["ctx:sign(keys, { expire = 1 })"] = 'unknown option "expire"; did you mean "expires"?',
      ["ctx:sign(keys, { headers = { 'Received' } })"] = "Received changes on the way",
      ["ctx:sign(keys, { canonicalization = 'strict' })"] = 'canonicalization is simple or relaxed',
      ["ctx:sign(keys, { expires = 0 })"] = "expires is 0",
    }
    for code, wanted in pairs(cases) do
      local mta = start { script = BOTH .. "function on_eoh(ctx) " .. code .. " end" }
      local result = mta:message(mail())
      assert.equal(451, result.code)
      local log = table.concat(mta:log "script_error", "\n"):gsub('\\"', '"')
      assert.truthy(log:find(wanted, 1, true), log)
      assert.truthy(log:find "error=\"[^ ]+/script.lua:%d+: sign: ", log)
    end
  end)

  it("says that it is too late when the body of a foreign domain was not hashed", function()
    local mta = start { script = BOTH .. "function on_eom(ctx) ctx:sign(keys, { domain = 'example.org' }) end" }
    local result = mta:message(mail { headers = { { "From", "x@example.com" } } })
    assert.equal(451, result.code)
    assert.truthy(table.concat(mta:log "script_error"):find("ask in on_eoh or before", 1, true))
  end)

  it("is a 451 when a key is gone at run time, unless on_error says otherwise", function()
    local path = directory()
    local lines = {}
    for i = 1, 300 do
      write(("%s/%d.pem"):format(path, i), ED25519)
      lines[i] = ("%s e %d.pem"):format(i == 1 and "example.org" or "d" .. i .. ".example.org", i)
    end
    write(path .. "/table", table.concat(lines, "\n"))
    local script = ("local auth = require 'moonmilter.auth'\nlocal keys = auth.keys { file = %q }\n"
      .. "function on_eoh(ctx) ctx:sign(keys) end"):format(path .. "/table")
    local mta, other = start { script = script }, start { script = script, set = { on_error = "accept" } }
    os.remove(path .. "/1.pem")
    local result = mta:message(mail())
    assert.equal(451, result.code)
    local log = table.concat(mta:log "script_error")
    assert.truthy(log:find("/table:1: ", 1, true), log)
    assert.truthy(log:find("script.lua:3: sign", 1, true), log)
    assert.equal("accept", other:message(mail()).verdict)
  end)

  it("warns of lines that relays break, and folds those of the header when told to", function()
    local long = ("word "):rep(300)
    local mta = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys) end" }
    mta:message(mail { headers = { { "From", "ann@example.org" }, { "Subject", long } },
      body = "a\r\nb\r\n" .. ("x"):rep(2000) .. "\r\n" })
    local log = table.concat(mta:log "script", "\n")
    assert.truthy(log:find("the field Subject has a line of 1509 bytes", 1, true), log)
    assert.truthy(log:find("line 3 of the body has 2000 bytes", 1, true), log)

    local folding = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys, { fold = true }) end" }
    local result = folding:message(mail { headers = { { "From", "ann@example.org" }, { "Subject", long } } })
    assert.equal(2, #assert_good(result))
    for line in result.message.text:gmatch "[^\r\n]+" do assert.is_true(#line <= 998) end
    assert.equal(0, #folding:log "script")
  end)

  it("signs no header of which it has not seen all", function()
    local mta = start { script = BOTH .. "function on_eoh(ctx) ctx:sign(keys) end" }
    local headers = { { "From", "ann@example.org" } }
    for i = 1, 20 do headers[i + 1] = { "X-Large", ("x"):rep(59000) } end
    assert.equal(552, mta:message(mail { headers = headers }).code)
  end)

  it("lets other sessions work between two signatures, and stops when the MTA hangs up", function()
    local mta = start { script = BOTH .. [[
      local milter = require "moonmilter"
      function on_eoh(ctx) ctx:sign(keys) end
      function on_abort() require("moonmilter.log").info "aborted" end
    ]], clock = "real" }
    mta:connect() mta:helo() mta:mail "ann@example.org" mta:rcpt "bob@example.net" mta:data()
    mta:header("From", "ann@example.org")
    mta:eoh()
    mta:body "x\r\n"
    mta:feed(("\0\0\0\1E"))
    mta:abort()
    assert.same({}, mta:log "script_error")
  end)
end)

describe("auth.keys", function()
  local function refused(text, files, options)
    local path = directory()
    for name, content in pairs(files or {}) do write(path .. "/" .. name, content) end
    write(path .. "/table", text)
    options = options or {}
    options.script = ("local auth = require 'moonmilter.auth'\nlocal keys = auth.keys { file = %q }\n"
      .. "function on_eoh(ctx) ctx:sign(keys) end"):format(path .. "/table")
    local ok, result = pcall(testing.start, options)
    if ok then
      finally(function() result:close() end)
      return nil, result, path
    end
    return tostring(result), nil, path
  end

  it("reads a table file: relative paths, comments, names below a domain", function()
    local why, mta = refused("# keys\n\nexample.org  r  r.pem\n  example.org\te e.pem # no comment\n")
    assert.is_nil(mta)
    assert.truthy(why:find("table:4: write: domain selector keyfile", 1, true), why)
    why, mta = refused "# keys\n\nEXAMPLE.org  r  r.pem\r\n.example.org e e.pem\n"
    assert.is_nil(why)
    assert.equal("r", assert_good(mta:message(mail()))[1].selector)
    local found = assert_good(mta:message(mail { headers = { { "From", "x@a.b.example.org" } } }))
    assert.same({ "e", "example.org" }, { found[1].selector, found[1].domain })
  end)

  it("refuses the load with file and line", function()
    local cases = {
      ["example.org r gone.pem"] = ":1: .*/gone.pem: No such file",
      ["\nexample.org r bad.pem"] = ":2: .*/bad.pem: key: ",
      ["exam ple.org r r.pem"] = ":1: write: domain selector keyfile",
      ["-.. r r.pem"] = ":1: \"%-%.%.\" is not a domain",
      ["example.org r;x r.pem"] = ":1: \"r;x\" is not a selector",
    }
    for text, wanted in pairs(cases) do
      local why = refused(text, { ["bad.pem"] = "nothing" })
      assert.truthy(why and why:find("/table" .. wanted), why)
    end
  end)

  it("refuses a key that others may read, or that is not a file", function()
    local path = directory()
    for mode, wanted in pairs { ["644"] = "everybody may read", ["660"] = "its group may change" } do
      write(path .. "/key", RSA, mode)
      local why = refused("example.org r " .. path .. "/key")
      assert.truthy(why and why:find(wanted, 1, true), why)
    end
    local why = refused("example.org r " .. path)
    assert.truthy(why and why:find("is not a file", 1, true), why)
  end)

  it("is called while scripts load, not in a handler", function()
    local mta = start { script = KEYS:match "^[^\n]*\n" .. ("function on_mail() auth.keys { x = { selector = 's', "
      .. "key = %q } } end"):format(ED25519) }
    assert.equal(451, mta:message(mail()).code)
    assert.truthy(table.concat(mta:log "script_error"):find("call it while the script loads", 1, true))
  end)

  it("of many keys reads each when it is first used, and `check --keys` reads all", function()
    local path, lines = directory(), {}
    for i = 1, 300 do write(("%s/%d.pem"):format(path, i), ED25519) end
    for i = 1, 300 do lines[i] = ("d%d.example.org e %d.pem"):format(i, i) end
    write(path .. "/299.pem", "nothing")
    os.remove(path .. "/300.pem")
    write(path .. "/table", table.concat(lines, "\n"), "644")
    write(path .. "/sign.lua", KEYS:match "^[^\n]*\n" .. ("local keys = auth.keys { file = %q }\n"
      .. "function on_eoh(ctx) ctx:sign(keys) end"):format(path .. "/table"), "644")
    process.run(("chmod 755 %s; chmod 640 %s/*.pem; chown root:nogroup %s/*.pem 2>/dev/null || true"):format(path, path,
      path))
    local function check(option)
      local pipe = io.popen(("%s check %s %s/sign.lua 2>&1; echo status $?"):format(host.program(), option, path))
      local text = pipe:read "*a"
      pipe:close()
      return text
    end
    local text = check ""
    assert.truthy(text:find("signs mail: 300 keys", 1, true), text)
    assert.truthy(text:find("status 0", 1, true), text)
    text = check "--keys"
    assert.truthy(text:find("/table:299: " .. path .. "/299.pem: key: ", 1, true), text)
    assert.truthy(text:find("(and 1 more keys do not load)", 1, true), text)
    assert.truthy(text:find("status 78", 1, true), text)
  end)

  it("belongs to a generation: a reload takes the new table, or none of it", function()
    local _, mta, path = refused "example.org r r.pem"
    write(path .. "/table", "example.org e e.pem")
    mta:reload()
    mta = mta:another()
    assert.equal("e", assert_good(mta:message(mail()))[1].selector)
    write(path .. "/table", "example.org x x.pem")
    pcall(mta.reload, mta)
    assert.equal("e", assert_good(mta:another():message(mail()))[1].selector)
  end)
end)
