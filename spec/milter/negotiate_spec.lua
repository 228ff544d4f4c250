--- What we request from an MTA, derived from the scripts, and never more than it offers.
local fake_mta = require "spec.support.fake_mta"

local band, bor = bit.band, bit.bor

local NO = { connect = 0x01, helo = 0x02, mail = 0x04, rcpt = 0x08, body = 0x10, header = 0x20, eoh = 0x40,
  unknown = 0x100, data = 0x200 }
local QUIET = { connect = 0x1000, helo = 0x2000, mail = 0x4000, rcpt = 0x8000, data = 0x10000, header = 0x80,
  eoh = 0x40000, body = 0x80000, unknown = 0x20000 }
local SKIP, RCPT_REJ, LEADING_SPACE, MDS_256K, MDS_1M = 0x400, 0x800, 0x100000, 0x10000000, 0x20000000

local function answer(script, offer)
  local mta = fake_mta.start { script = script, offer = offer }
  return mta
end

-- The steps in words: "mail" sent and answered, "mail(quiet)" sent without answer, "-" left out.
local function told(mta)
  local words = {}
  for _, stage in ipairs { "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "unknown" } do
    if band(mta.steps, NO[stage]) == 0 then
      words[#words + 1] = stage .. (band(mta.steps, QUIET[stage]) ~= 0 and "(quiet)" or "")
    end
  end
  return table.concat(words, " ")
end

local EVERYTHING = [[
  function on_connect() end function on_helo() end function on_mail() end function on_rcpt() end function on_data() end
  function on_header() end function on_eoh() end function on_body() end function on_eom() end function on_unknown() end
]]

describe("the requested steps", function()
  local cases = {
    { "function on_connect() end", "connect" },
    { "function on_helo() end", "helo" },
    { "function on_mail() end", "mail" },
    { "function on_rcpt() end", "mail(quiet) rcpt" },
    { "function on_data() end", "mail(quiet) data" },
    { "function on_header() end", "mail(quiet) header(quiet) eoh" },
    { "on_header = { Subject = function() end }", "mail(quiet) header(quiet) eoh" },
    { "function on_eoh() end", "mail(quiet) eoh" },
    { "function on_body() end", "mail(quiet) body" },
    { "function on_eom() end", "mail(quiet)" },
    { "function on_unknown() end", "mail unknown" },
    { "function on_abort() end", "mail" }, { "function on_done() end", "mail(quiet)" },
    { "function on_close() end", "" }, { "function on_load() end", "" },
    { "function on_negotiate() end", "" }, { "", "" },
    { "function on_eom(ctx) return ctx.sender and ctx.recipients[1] end", "mail(quiet) rcpt(quiet)" },
    { "function on_eom(ctx) return ctx.client.ip == ctx.helo end", "connect(quiet) helo(quiet) mail(quiet)" },
    { "function on_eom(ctx) if ctx.headers:get 'X' then ctx:add_header('X', 'y') end end",
      "mail(quiet) header(quiet)" },
    { "function on_eom(ctx) if ctx.body_size > 10 then return 'reject' end end", "mail(quiet) body(quiet)" },
    { "function on_eom(ctx) ctx:delete_recipient 'x@y' end", "mail(quiet) rcpt(quiet)" },
    { "function on_eom() end options = { facts = { 'client' } }", "connect(quiet) mail(quiet)" },
    { EVERYTHING, "connect helo mail rcpt data header(quiet) eoh body unknown" },
    { EVERYTHING .. "options = { lockstep = true }", "connect helo mail rcpt data header eoh body unknown" },
  }
  for _, case in ipairs(cases) do
    it(("for %q are: %s"):format(case[1]:sub(1, 60), case[2] == "" and "none" or case[2]), function()
      local mta = answer(case[1])
      assert.equal(case[2], told(mta))
      mta:close()
    end)
  end

  it("of several scripts add up", function()
    local mta = fake_mta.start { files = { ["a.lua"] = "function on_helo() end",
      ["b.lua"] = "function on_data() end" } }
    assert.equal("helo mail(quiet) data", told(mta))
    mta:close()
  end)

  it("of one script in lockstep apply to all", function()
    local mta = fake_mta.start { files = {
      ["a.lua"] = "function on_header() end", ["b.lua"] = "options = { lockstep = true } function on_eom() end" } }
    assert.equal("mail(quiet) header", told(mta))
    mta:close()
  end)

  it("include skip and the leading space where offered, and rejected recipients when a script wants them", function()
    local mta = answer(EVERYTHING)
    assert.equal(SKIP + LEADING_SPACE, band(mta.steps, SKIP + LEADING_SPACE + RCPT_REJ))
    mta:close()
    mta = answer(EVERYTHING .. "options = { rejected_recipients = true }")
    assert.equal(RCPT_REJ, band(mta.steps, RCPT_REJ))
    mta:close()
    mta = answer(EVERYTHING .. "options = { rejected_recipients = true }", { steps = 0x1ff })
    assert.equal(0, band(mta.steps, SKIP + LEADING_SPACE + RCPT_REJ))
    mta:close()
  end)

  it("take the largest packets the MTA offers", function()
    for _, case in ipairs { { 0, 0 }, { MDS_256K, MDS_256K }, { MDS_1M, MDS_1M }, { MDS_256K + MDS_1M, MDS_1M } } do
      local mta = answer(EVERYTHING, { steps = bor(0x1fffff, case[1]) })
      assert.equal(case[2], band(mta.steps, MDS_256K + MDS_1M))
      mta:close()
    end
  end)
end)

describe("a larger packet", function()
  local function helo_of(size, steps)
    local mta = answer("function on_helo(ctx, name) return ctx:reject('%d', #name) end",
      { steps = bor(0x1fffff, steps) })
    local reply = mta:helo(("x"):rep(size - 1))
    mta:close()
    return reply.kind
  end
  for name, case in pairs { ["64 KiB"] = { 0, 0xffff }, ["256 KiB"] = { MDS_256K, 0x3ffff },
    ["1 MiB"] = { MDS_1M, 0xfffff } } do
    it(("of up to %s is accepted when negotiated, not a byte more"):format(name), function()
      assert.equal("reject", helo_of(case[2], case[1]))
      assert.equal("fault", helo_of(case[2] + 1, case[1]))
    end)
  end
end)

describe("an MTA of version", function()
  for version, wanted in pairs { [2] = 2, [3] = 3, [4] = 4, [5] = 5, [6] = 6, [7] = 6, [99] = 6, [0x01000001] = 6 } do
    it(("%d is answered with %d"):format(version, wanted), function()
      local mta = answer(EVERYTHING, { version = version })
      assert.equal(wanted, mta.version)
      mta:close()
    end)
  end
  for _, version in ipairs { 0, 1, 0x80000000, 0xffffffff } do
    it(("%u is refused with a line that names the supported versions"):format(version), function()
      local mta = answer(EVERYTHING, { version = version })
      assert.is_nil(mta.answer)
      assert.is_true(mta:is_finished())
      local lines = mta:log_lines "connection_closed"
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("versions 2 to 6", 1, true), lines[1])
      mta:close()
    end)
  end
end)

describe("an old MTA", function()
  -- protocol 4.7; steps that cannot be switched off are answered "continue" without a handler
  local offers = {
    { version = 2, actions = 0x0f, steps = 0x3f }, { version = 2, actions = 0x3f, steps = 0x7f },
    { version = 2, actions = 0x1ff, steps = 0x7f }, { version = 2, actions = 0, steps = 0 },
    { version = 3, actions = 0x1ff, steps = 0x17f },
    { version = 4, actions = 0x1ff, steps = 0x37f }, { version = 4, actions = 0x1ff, steps = 0x3ff },
    { version = 6, actions = 0x1ff, steps = 0 }, { version = 6, actions = 0, steps = 0x1fffff },
  }
  local scripts = {
    EVERYTHING, "function on_eom(ctx) if ctx:can 'add_header' then ctx:add_header('X-A', 'b') end end",
    "function on_connect() end",
    "function on_header(ctx, n, v) if v == 'bad' then return 'reject' end end", "",
  }
  for _, offer in ipairs(offers) do
    it(("(version %d, actions 0x%x, steps 0x%x) is served whole messages"):format(offer.version, offer.actions,
      offer.steps), function()
      for _, script in ipairs(scripts) do
        local mta = answer(script, offer)
        assert.truthy(mta.answer)
        mta:connect()
        mta:helo()
        for _ = 1, 2 do
          assert.equal("continue", mta:message({ body = ("x"):rep(70000) }).kind)
        end
        mta:quit()
        assert.same({}, mta:log_lines "connection_closed")
        assert.same({}, mta:log_lines "script_error")
        mta:close()
      end
    end)
  end

  it("that expects an answer to every header gets the verdict at once", function()
    local mta = answer("function on_header(ctx, n, v) if v == 'bad' then return ctx:reject 'bad header' end end",
      { steps = 0x7f, version = 2 })
    mta:connect()
    mta:mail()
    mta:rcpt()
    assert.equal("continue", mta:header("A", "good").kind)
    assert.equal("550 5.7.1 bad header", mta:header("B", "bad").text)
    mta:close()
  end)

  it("without skip gets continue, and the handler is not called again", function()
    local mta = answer([[
      function on_body(ctx, chunk) ctx.message.n = (ctx.message.n or 0) + 1 return "skip" end
      function on_eom(ctx) return ctx:reject(tostring(ctx.message.n)) end
    ]], { steps = 0x7f, version = 2 })
    mta:connect()
    assert.equal("550 5.7.1 1", mta:message({ body = ("x"):rep(200000) }).text)
    mta:close()
  end)

  it("that strips the leading space gives the same values and gets the same edits", function()
    for _, steps in ipairs { 0x1fffff, 0x0fffff } do
      local mta = answer([[
        function on_eom(ctx)
          ctx:change_header("A", 1, ctx.headers:get "A" .. "!")
          ctx:add_header("B", "b")
        end
      ]], { steps = steps })
      mta:connect()
      local reply = mta:message({ headers = { { "A", " two spaces" } } })
      assert.same({ { "change_header", 1, "A", " two spaces!" }, { "add_header", "B", "b" } }, reply.edits)
      mta:close()
    end
  end)
end)

describe("actions", function()
  it("are all accepted that are offered, and never more", function()
    for actions = 0, 0x1ff, 7 do
      local mta = answer("function on_eom() end", { actions = actions }) -- the oracle compares
      if actions ~= 0 then
        assert.equal(band(actions, 0xff), mta.actions)
      end
      mta:close()
    end
  end)
  it("are accepted with any offer of steps", function()
    math.randomseed(7)
    for _ = 1, 300 do
      local steps = math.random(0, 0x1fffff)
      local mta = answer(EVERYTHING, { steps = steps, version = math.random(2, 7) })
      mta:connect()
      mta:helo()
      assert.equal("continue", mta:message().kind)
      mta:close()
    end
  end)
  it("that the MTA does not offer are an error at the call, and ctx:can reports them", function()
    local mta = answer([[
      function on_eom(ctx)
        assert(not ctx:can "replace_body" and ctx:can "add_header")
        return ctx:reject(tostring(select(2, pcall(ctx.replace_body, ctx, "x"))))
      end
    ]], { actions = 0x01 })
    mta:connect()
    assert.truthy(mta:message().text:find "not negotiated: replace_body was not offered by this MTA")
    mta:close()
  end)
end)

describe("options.needs", function()
  local script = "options = { needs = { 'replace_body', 'skip' } } function on_eom() end"
  it("have no effect when they are met", function()
    local mta = answer(script)
    assert.truthy(mta.answer)
    mta:close()
  end)
  for name, offer in pairs { replace_body = { actions = 0x1fd }, skip = { steps = 0x1ffbff } } do
    it(("when not met (%s) refuse the MTA with one line that names them"):format(name), function()
      local mta = answer(script, offer)
      assert.is_nil(mta.answer)
      assert.is_true(mta:is_finished())
      local lines = mta:log_lines "connection_closed"
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find(name, 1, true), lines[1])
      mta:close()
    end)
  end
  it("with an unknown name are refused when the script loads, with a suggestion", function()
    local _, err = fake_mta.host { script = "options = { needs = { 'replace_bdy' } }" }
    assert.truthy(err:find("replace_bdy", 1, true) and err:find('did you mean "replace_body"', 1, true), err)
  end)
end)

describe("on_negotiate", function()
  it("sees the offer", function()
    local mta = answer([[
      function on_negotiate(ctx, offer) o = offer end
      function on_helo(ctx) return ctx:reject(("%d %x %x"):format(o.version, o.actions, o.steps)) end
    ]], { version = 4, actions = 0x3f, steps = 0x37f })
    assert.equal("550 5.7.1 4 3f 37f", mta:helo().text)
    mta:close()
  end)
  it("that refuses closes the connection with one line and without an answer", function()
    for _, verdict in ipairs { "return 'reject'", "ctx:reject()", "return 'tempfail'" } do
      local mta = answer("function on_negotiate(ctx) " .. verdict .. " end "
        .. "function on_close() require 'moonmilter'.log.info 'close' end")
      assert.is_nil(mta.answer)
      assert.is_true(mta:is_finished())
      local lines = mta:log_lines "connection_closed"
      assert.equal(1, #lines)
      assert.truthy(lines[1]:find("on_negotiate", 1, true), lines[1])
      assert.equal(1, #mta:log_lines "script")
      mta:close()
    end
  end)
  it("may wait", function()
    local mta = answer "function on_negotiate(ctx) require 'moonmilter'.sleep(0.01) end function on_helo() end"
    assert.truthy(mta.answer)
    assert.equal("continue", mta:helo().kind)
    mta:close()
  end)
  it("that fails is logged, and the MTA is served", function()
    local mta = answer "function on_negotiate(ctx) error 'oops' end function on_helo() end"
    assert.truthy(mta.answer)
    assert.equal(1, #mta:log_lines "script_error")
    mta:close()
  end)
end)

describe("an offer with trailing bytes", function()
  it("is read as if they were not there", function()
    for _, more in ipairs { "x", "\0\0\0\0i\0", ("x"):rep(1000) } do
      local mta = answer("function on_helo() end", { more = more })
      assert.truthy(mta.answer)
      assert.equal("continue", mta:helo().kind)
      mta:close()
    end
  end)
end)

describe("macro lists", function()
  local function lists(script, offer)
    local mta = answer(script, offer)
    local found = mta.lists
    mta:close()
    return found
  end
  it("are left to the MTA when its own suffice", function()
    assert.same({}, lists "function on_eom(ctx) return ctx:macro 'i' == ctx:macro '{rcpt_addr}' and nil end")
  end)
  it("request macros outside the default lists, together with the defaults, for end of message and end of headers alike", function()
    local found = lists "function on_eom(ctx) return ctx:macro '{my_macro}' == 1 and nil end"
    assert.truthy(found[5]:find("{my_macro}", 1, true) and found[6]:find("{my_macro}", 1, true))
    assert.truthy(found[2]:find("{auth_authen}", 1, true))
    assert.equal("{msg_id} i {my_macro}", found[5])
  end)
  it("request a macro at the stage where it is first known", function()
    local found = lists "function on_connect(ctx) return ctx:macro 'client_ptr' == 1 and nil end"
    assert.truthy(found[0]:find("{client_ptr}", 1, true))
    assert.is_nil(found[5]) -- there, the MTA's own list stays
  end)
  it("contain the names of options.macros", function()
    local found = lists "options = { macros = { 'tls_sni', '{daemon_port}' } } function on_eom() end"
    assert.truthy(found[1]:find("{tls_sni}", 1, true) and found[0]:find("{daemon_port}", 1, true))
  end)
  it("are not sent to an MTA that does not offer to take them", function()
    local script = "options = { macros = { 'tls_sni' } } function on_eom() end"
    assert.same({}, lists(script, { actions = 0xff }))
    assert.same({}, lists(script, { version = 4 }))
  end)
  it("do not load with more than 50 names, at which Sendmail refuses every client", function()
    local names = {}
    for i = 1, 48 do
      names[i] = ("'own_macro_%d'"):format(i)
    end
    local _, err = fake_mta.host { script = "options = { macros = { " .. table.concat(names, ", ")
      .. " } } function on_eom() end" }
    assert.truthy(err and err:find("at most 50", 1, true), err)
  end)
  it("do not load with an invalid name", function()
    for _, name in ipairs { "a b", "{a", "a}", "", "{a} {b}" } do
      local _, err = fake_mta.host { script = ("options = { macros = { %q } } function on_eom() end"):format(name) }
      assert.truthy(err and err:find("is not a macro name", 1, true), err)
    end
  end)
end)

describe("a recipient that the MTA itself has refused", function()
  it("is marked as refused, and a verdict about it has no effect", function()
    local mta = answer([[
      options = { rejected_recipients = true }
      function on_rcpt(ctx, recipient) return "discard" end
      function on_eom(ctx)
        return ctx:reject(("%d %s"):format(#ctx.recipients, tostring(ctx.recipients[1].refused)))
      end
    ]])
    mta:connect()
    mta:mail()
    mta:macros("R", { { "{rcpt_mailer}", "error" }, { "{rcpt_host}", "5.1.1" }, { "{rcpt_addr}", "User unknown" } })
    assert.equal("continue", mta:rcpt("<nobody@x>").kind)
    assert.equal("550 5.7.1 1 true", mta:eom().text)
    mta:close()
  end)
end)
