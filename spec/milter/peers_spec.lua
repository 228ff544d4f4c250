--- MTAs as people configure them, and programs that speak the MTA's side of the protocol in their own way.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"

-- Postfix's offers (protocol 4.4), by milter_protocol.
local OFFERS = {
  [2] = { version = 2, actions = 0x1ff, steps = 0x7f }, [3] = { version = 3, actions = 0x1ff, steps = 0x17f },
  [4] = { version = 4, actions = 0x1ff, steps = 0x37f }, [6] = { version = 6 },
}

local function with(script, options, run)
  options.script = script
  local mta = assert(fake_mta.start(options))
  local ok, why = pcall(run, mta)
  local lines = mta:log_lines "mta"
  mta:close()
  assert(ok, why)
  return lines
end

describe("a fact made of macros", function()
  local SCRIPT = [[
    local function show(t)
      local list = {}
      for k, v in pairs(t or {}) do list[#list + 1] = k .. "=" .. v end
      table.sort(list)
      return t and "{" .. table.concat(list, " ") .. "}" or "nil"
    end
    function on_mail(ctx) return ctx:reject(550, "5.7.1", show(ctx.auth) .. show(ctx.tls)) end]]

  local function facts(macros)
    local text
    with(SCRIPT, {}, function(mta)
      mta:begin()
      mta:macros("M", macros)
      text = mta:mail().text
    end)
    return text
  end

  it("is there when any of its macros came", function()
    assert.equal("550 5.7.1 {authen=bob}nil", facts { { "{auth_authen}", "bob" } })
    assert.equal("550 5.7.1 {type=PLAIN}nil", facts { { "{auth_type}", "PLAIN" }, { "{auth_authen}", "" } })
    assert.equal("550 5.7.1 {ssf=128}nil", facts { { "{auth_ssf}", "128" } })
    for key, macro in pairs { version = "{tls_version}", cipher = "{cipher}", bits = "{cipher_bits}",
      subject = "{cert_subject}", issuer = "{cert_issuer}" } do
      assert.equal(("550 5.7.1 nil{%s=x}"):format(key), facts { { macro, "x" } })
    end
    assert.equal("550 5.7.1 nilnil", facts { { "i", "x" }, { "{auth_authen}", "" }, { "{cipher}", "" } })
  end)

  it("of HELO holds until the end of the message, although no later list names it", function()
    with([[function on_eom(ctx) return ctx:reject(550, "5.7.1", ctx.tls and ctx.tls.version or "nil") end]], {},
      function(mta)
        mta:connect()
        for _, version in ipairs { "TLSv1.3", "TLSv1.2" } do
          mta:macros("H", { { "{tls_version}", version } })
          mta:helo()
          for _ = 1, 2 do
            mta:macros("M", { { "i", "x" } })
            mta:mail()
            mta:rcpt()
            mta:macros("E", { { "i", "x" } })
            assert.equal("550 5.7.1 " .. version, mta:eom().text)
          end
        end
      end)
  end)

  it("is not there for what a client that nobody has authenticated says of itself", function()
    assert.equal("550 5.7.1 nilnil", facts { { "{auth_author}", "boss@example.org" } })
    assert.equal("550 5.7.1 {authen=bob author=x}nil", facts { { "{auth_author}", "x" }, { "{auth_authen}", "bob" } })
  end)
end)

describe("the kind of an MTA", function()
  local INSERTS = [[function on_eom(ctx)
    ctx:insert_header(1, "X-New", ctx.mta.kind)
  end
  on_header = { Subject = function() end }]]
  local ADDS = [[function on_eom(ctx) ctx:add_header("X-New", ctx["m" .. "ta"].kind) end]]

  local function added(script, macros, offer)
    local edit
    local lines = with(script, { offer = offer }, function(mta)
      mta:macros("C", macros)
      mta:begin()
      edit = mta:message().edits[1]
    end)
    return edit, lines
  end

  local cases = {
    { "postfix", 1, { { "v", "Postfix 3.7.11" }, { "{daemon_name}", "smtpd" } } },
    { "sendmail", 8, { { "v", "8.17.1.9" }, { "{daemon_name}", "MTA" }, { "{if_name}", "mx" } } },
    -- Postfix without v
    { "unknown", 1, { { "j", "mx" }, { "{daemon_name}", "smtpd" }, { "{daemon_addr}", "192.0.2.1" } } },
    { "unknown", 1, { { "v", "Stalwart 0.11" }, { "{daemon_name}", "x" }, { "{if_name}", "x" } } },
    { "unknown", 1, { { "{daemon_name}", "x" }, { "{if_name}", "x" } } }, -- asked for v, and does not know it
    { "unknown", 1, {} },
  }
  for i, case in ipairs(cases) do
    it(("%d: %s, by its macros; positions follow it"):format(i, case[1]), function()
      local edit, lines = added(INSERTS, case[3])
      assert.same({ "insert_header", case[2], "X-New", case[1] }, edit)
      assert.equal(case[1] == "unknown" and 1 or 0, #lines)
    end)
  end

  it("is told by Sendmail's own macros where no version could be asked for, or nobody wanted it", function()
    local sendmail = { { "j", "mx" }, { "{daemon_name}", "MTA" }, { "{if_name}", "mx" } }
    assert.equal("sendmail", added(INSERTS, sendmail, OFFERS[2])[4])
    assert.equal("sendmail", added(ADDS, sendmail)[4] or added(ADDS, sendmail)[3])
  end)

  it("needs macro v: it is asked for when positions matter, and only at connect", function()
    with(INSERTS, {}, function(mta)
      assert.same({ [0] = "j _ {daemon_name} {if_name} {if_addr} {daemon_addr} v" }, mta.lists)
    end)
    with(ADDS, {}, function(mta) assert.same({}, mta.lists) end)
  end)
end)

describe("a macro that only one MTA sends by itself", function()
  local DEFAULT = "j _ {daemon_name} {if_name} {if_addr} {daemon_addr} v"
  local cases = {
    [ [[function on_mail(ctx) return ctx:macro "daemon_addr" and nil end]] ] = { [0] = DEFAULT },
    [ [[function on_mail(ctx) return ctx:macro "v" and nil end]] ] = { [0] = DEFAULT },
    [ [[function on_mail(ctx) return ctx:macro "{if_name}" and nil end]] ] = { [0] = DEFAULT },
    [ [[options = { macros = { "v", "{v}", "daemon_addr", "{daemon_addr}", "client_ptr", "{client_ptr}" } }
      function on_mail(ctx) return ctx:macro "{client_ptr}" and nil end]] ] = { [0] = DEFAULT .. " {client_ptr}" },
    [ [[options = { macros = { "msg_id" } } function on_mail() end]] ] = { [5] = "{msg_id} i", [6] = "i" },
    [ [[options = { macros = { "i", "auth_authen" } } function on_mail() end]] ] = {}, -- both send them
  }
  for script, lists in pairs(cases) do
    it("is asked for once when it is named: " .. script:match "macro.*", function()
      with(script, {}, function(mta) assert.same(lists, mta.lists) end)
    end)
  end
end)

describe("with an older protocol,", function()
  local REFUSES = [[function on_data(ctx) return ctx:reject(550, "5.7.1", "no " .. ctx.stage .. #ctx.recipients) end
    function on_unknown() end]]
  for _, version in ipairs { 2, 3 } do
    it(("%d: what on_data says counts when the content begins"):format(version), function()
      local lines = with(REFUSES, { offer = OFFERS[version] }, function(mta)
        mta:begin()
        assert.equal("550 5.7.1 no data1", mta:message().text)
        assert.equal("550 5.7.1 no data1", mta:message().text)
        mta:mail()
        mta:rcpt()
        assert.equal("550 5.7.1 no data1", mta:eom("no header, and no body\r\n").text)
      end)
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("on_data runs when the content begins", 1, true))
      assert.equal(version == 2, lines[1]:find("on_unknown never runs", 1, true) ~= nil)
    end)
  end

  it("an on_data that waits, edits, accepts or lets pass does so as ever, once a message", function()
    for _, header_reply in ipairs { 0, 0x80 } do
      with([[
        local milter = require "moonmilter"
        function on_data(ctx)
          milter.sleep(0.01)
          ctx.message.count = (ctx.message.count or 0) + 1
          ctx:add_header("X-Data", "1")
          if ctx.sender == "accept" then return ctx:accept() end
        end
        function on_header() end
        function on_eom(ctx) ctx:add_header("X-Count", ctx.message.count) end]],
        { offer = { version = 2, actions = 0x1ff, steps = 0x7f + header_reply } }, function(mta)
          mta:begin()
          assert.same({ { "add_header", "X-Data", "1" }, { "add_header", "X-Count", "1" } }, mta:message().edits)
          assert.same({ { "add_header", "X-Data", "1" } }, mta:message({ from = "<accept>" }).edits)
          mta:mail()
          mta:rcpt()
          mta:abort()
          assert.same({ { "add_header", "X-Data", "1" }, { "add_header", "X-Count", "1" } }, mta:message().edits)
        end)
    end
  end)

  it("what it cannot have is said once a connection, and nothing when nothing is missing", function()
    local script = [[options = { macros = { "client_ptr" }, rejected_recipients = true } function on_rcpt() end]]
    local lines = with(script, { offer = OFFERS[4] }, function(mta) mta:begin() end)
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find("macros cannot be asked for", 1, true))
    assert.truthy(lines[1]:find("rejected_recipients has no effect", 1, true))
    assert.same({}, with(script, {}, function(mta) mta:begin() end))
    assert.same({}, with("function on_rcpt() end", { offer = OFFERS[2] }, function(mta) mta:begin() end))
  end)

  it("a client of protocol 6 that leaves out DATA is served, too", function()
    local lines = with(REFUSES, {}, function(mta)
      mta:begin()
      mta:mail()
      mta:rcpt()
      assert.equal("550 5.7.1 no data1", mta:command("E", "").text)
    end)
    assert.equal(1, #lines)
  end)
end)

describe("a client that is not quite an MTA", function()
  it("may have bytes after a client's address", function()
    for _, bytes in ipairs { "a\0U\0", "a\0U\0\25" .. "192.0.2.1\0", "a\0004\0\25" .. "192.0.2.1\0more\0",
      "a\0006\0\25::1\0\0\0x", "a\0L\0\0/run/x\0\0" } do
      local lines = with([[function on_connect(ctx, host) return ctx:reject(550, "5.7.1", host) end]], {}, function(mta)
        assert.equal("550 5.7.1 a", mta:command("C", bytes).text)
      end)
      assert.equal(1, #lines)
    end
  end)

  it("may send the macros of MAIL inside a message, which goes on", function()
    local lines = with([[
      function on_eom(ctx) return ctx:reject(550, "5.7.1", ("%s %s %d"):format(ctx.queue_id, ctx.sender, #ctx.recipients)) end
      function on_abort(ctx) ctx.session.aborted = true end]], {}, function(mta)
      mta:begin()
      for _ = 1, 2 do
        mta:macros("M", { { "i", "one" } })
        mta:mail "<a@b>"
        mta:macros("M", { { "i", "two" } })
        mta:rcpt()
        mta:macros("M", { { "i", "three" } })
        mta:macros("M", { { "i", "four" } })
        assert.equal("550 5.7.1 four a@b 1", mta:eom().text)
      end
    end)
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find("macros of MAIL inside a message", 1, true))
  end)

  it("gives a new message its macros, and the old one keeps its own, as ever", function()
    local seen = os.tmpname()
    local lines = with(([[
      local function note(what, ctx)
        local file = io.open(%q, "a")
        file:write(what, " ", ctx.queue_id or "nil", "\n")
        file:close()
      end
      function on_mail(ctx) note("mail", ctx) end
      function on_abort(ctx) note("abort", ctx) end]]):format(seen), {}, function(mta)
      mta:begin()
      for _, id in ipairs { "one", "two" } do -- as Sendmail does after RSET when MAIL needs no answer
        mta:macros("M", { { "i", id } })
        mta:mail()
      end
      mta:macros("M", { { "i", "three" } })
      mta:abort()
      mta:mail()
      mta:quit()
    end)
    assert.equal("mail one\nabort one\nmail two\nabort two\nmail three\nabort three\n", process.read_file(seen))
    os.remove(seen)
    assert.same({}, lines)
  end)

  it("may fold header fields with CRLF: they arrive with LF, as from an MTA", function()
    local script = [[function on_header(ctx, name, value) ctx.message.seen = value end
      function on_eom(ctx) return ctx:reject(550, "5.7.1", (("%q %q"):format(ctx.message.seen, ctx.headers:get "X"):gsub("\n",
        "<LF>"))) end]]
    local function seen(macros, value)
      local text
      local lines = with(script, {}, function(mta)
        mta:macros("C", macros)
        mta:begin()
        text = mta:message({ headers = { { "X", value } } }).text
      end)
      return text, #lines
    end
    assert.same({ [[550 5.7.1 "a\<LF>\9b\<LF> c\<LF>" "a\<LF>\9b\<LF> c\<LF>"]], 1 }, { seen({}, "a\r\n\tb\n c\r\n") })
    assert.same({ [[550 5.7.1 "\<LF> a\13b" "\<LF> a\13b"]], 1 }, { seen({}, "\r\n a\rb") })
    -- from these a CR is one of the message's own
    local text, lines = seen({ { "v", "Postfix 3.7" } }, "a\r\n\tb")
    assert.truthy(text:find([[a\13\<LF>]], 1, true))
    assert.equal(0, lines)
  end)
end)

describe("the last line of a new body", function()
  local function body(kind, text)
    local chunks = {}
    with(("function on_eom(ctx) ctx:replace_body(%q) end"):format(text), {}, function(mta)
      mta:introduce(kind)
      mta:begin()
      for _, edit in ipairs(mta:message().edits) do
        chunks[#chunks + 1] = edit[2]
      end
    end)
    return table.concat(chunks)
  end
  it("is ended for Sendmail, whose later milters get the body as it is", function()
    assert.equal("a\r\nb\r\n", body("sendmail", "a\nb"))
    assert.equal("a\r\n", body("sendmail", "a\n"))
    assert.equal("a\r\n", body("sendmail", "a\r"))
    assert.equal("", body("sendmail", ""))
    assert.equal(("x"):rep(65535) .. "\r\n", body("sendmail", ("x"):rep(65535)))
    assert.equal(("x"):rep(65534) .. "\r\n", body("sendmail", ("x"):rep(65534)))
    assert.equal("a\r\nb", body("postfix", "a\nb"))
  end)
end)
