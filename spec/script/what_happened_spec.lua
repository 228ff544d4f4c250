--- What handlers are told of how a message or a session has ended, and of macros as they come.
local fake_mta = require "spec.support.fake_mta"
local host = require "spec.support.host"

local SCRIPT = [[
  local log = require "moonmilter.log"
  function on_helo() end
  function on_rcpt(ctx, recipient)
    if recipient:match "^no" then return ctx:reject "not here" end
    if recipient:match "^later" then return ctx:tempfail "later" end
  end
  function on_header() end
  function on_eoh() end
  function on_eom(ctx)
    ctx:add_recipient "new@example.org"
    ctx:delete_recipient "b@example.org"
    ctx:quarantine "odd"
    if ctx.headers:get "Subject" == "bad" then return ctx:reject "bad" end
  end
  function on_abort(ctx, stage, reason) log.info("abort %s %s %s", stage, reason, ctx.reason) end
  function on_close(ctx) log.info("close %s", ctx.reason) end
  function on_done(ctx, result)
    local refused = {}
    for i, one in ipairs(result.refused) do refused[i] = one.address .. "=" .. one.verdict end
    log.info("done %s at %s by %s, %d edits, +%s -%s, refused %s, quarantine %s, times %s", result.verdict, result.stage,
      result.decided_by, result.edits, table.concat(result.added, " "), table.concat(result.deleted, " "),
      table.concat(refused, " "), result.quarantine,
      result.seconds >= result.waited and result.waited == 0 and result.computed >= 0)
  end
]]

describe("the end of a message", function()
  local mta

  before_each(function()
    mta = fake_mta.start { script = SCRIPT }
    mta:connect "client.example"
    mta:helo "helo.example"
  end)
  after_each(function() mta:close() end)

  local function said(word)
    local lines = {}
    for text in mta.owner:log():gmatch("text=\"(" .. word .. " [^\"\n]+)") do lines[#lines + 1] = text end
    return lines
  end

  it("is told to on_abort with stage and reason: RSET, a new HELO, a new MAIL, QUIT", function()
    mta:mail()
    mta:abort()
    mta:mail()
    mta:rcpt "a@example.org"
    mta:helo "again.example"
    mta:mail()
    mta:mail()
    mta:quit()
    assert.same({ "abort mail abort abort", "abort rcpt helo helo", "abort mail new_message new_message",
      "abort mail quit quit" }, said "abort")
    assert.same({ "close quit" }, said "close")
  end)

  it("is told when the MTA has gone", function()
    mta:mail()
    mta:vanish()
    assert.same({ "abort mail disconnect disconnect" }, said "abort")
    assert.same({ "close disconnect" }, said "close")
  end)

  it("is told when the MTA's bytes break the protocol", function()
    mta:mail()
    pcall(mta.feed, mta, fake_mta.packet("O", "\0\0\0\6\0\0\0\0\0\0\0\0"))
    assert.same({ "abort mail protocol protocol" }, said "abort")
    assert.same({ "close protocol" }, said "close")
  end)

  it("is told to on_done in full", function()
    mta:mail()
    mta:rcpt "a@example.org"
    mta:rcpt "no@example.org"
    mta:rcpt "later@example.org"
    mta:rcpt "b@example.org"
    mta:data()
    mta:header("Subject", "good")
    mta:eoh()
    mta:eom()
    assert.same({ "done continue at eom by nil, 3 edits, +new@example.org -b@example.org, refused "
      .. "no@example.org=reject later@example.org=tempfail, quarantine odd, times true" }, said "done")
  end)

  it("is told without the edits that a refusal drops", function()
    mta:mail()
    mta:rcpt "a@example.org"
    mta:data()
    mta:header("Subject", "bad")
    mta:eoh()
    mta:eom()
    assert.matches("^done reject at eom by script.lua:%d+, 0 edits, %+ %-, refused , quarantine nil, times true$",
      said "done"[1])
  end)
end)

describe("the end of a message on a socket", function()
  local ENDS = [[
    local log = require "moonmilter.log"
    function on_rcpt() end
    function on_abort(ctx, stage, reason) log.info("abort %s %s", stage, reason) end
    function on_close(ctx) log.info("close %s", ctx.reason) end
  ]]

  it("is told when the MTA is silent for longer than idle_timeout", function()
    local h = host.start { scripts = { ["10-ends.lua"] = ENDS }, arguments = { "--idle_timeout=1" } }
    finally(function() h:stop() end)
    assert(h:connect()):envelope()
    assert.truthy(h:wait_log("abort rcpt timeout", 20))
    assert.truthy(h:wait_log "close timeout")
  end)

  it("is told when the host stops by force", function()
    local h = host.start { scripts = { ["10-ends.lua"] = ENDS }, arguments = { "--drain_timeout=0.2" } }
    finally(function() h:stop() end)
    assert(h:connect()):envelope()
    h:signal "SIGTERM"
    assert.truthy(h:wait_log "abort rcpt stop")
    assert.truthy(h:wait_log "close stop")
  end)
end)

describe("on_macros", function()
  local MACROS = [[
    local log = require "moonmilter.log"
    function on_macros(ctx, stage, macros)
      local names = {}
      for name, value in pairs(macros) do names[#names + 1] = name .. "=" .. value end
      table.sort(names)
      log.info("macros %s: %s, {i} %s, sender %s, message %s", stage, table.concat(names, " "), macros["{i}"],
        ctx.sender, ctx.in_message and ctx.message ~= nil)
      if macros.bad then error "oops" end
      if macros.edits then ctx:add_header("X", "y") end
      if macros.refuses then return "reject" end
      if macros.waits then require("moonmilter").sleep(0.01) end
    end
    function on_mail(ctx) log.info("macros end before on_mail of %s", ctx.sender) end
  ]]
  local mta

  local function start(script)
    mta = fake_mta.start { script = script }
  end
  after_each(function() mta:close() end)

  local function said()
    local lines = {}
    for text in mta.owner:log():gmatch 'text="(macros [^"\n]+)' do lines[#lines + 1] = text end
    return lines
  end

  it("runs before the handlers of the stage, with its macros by their bare names", function()
    start(MACROS)
    mta:macros("C", { { "j", "mx" }, { "{daemon_name}", "smtpd" } })
    mta:connect()
    mta:helo()
    mta:macros("M", { { "i", "Q1" }, { "{auth_authen}", "ann" } })
    mta:mail "<a@example.org>"
    mta:macros("R", { { "i", "Q1" } })
    mta:rcpt "<b@example.org>"
    mta:macros("E", { { "i", "Q1" } })
    mta:data()
    mta:eoh()
    assert.equal("continue", mta:eom("body").kind)
    assert.same({ "macros connect: daemon_name=smtpd j=mx, {i} nil, sender nil, message false",
      "macros mail: auth_authen=ann i=Q1, {i} Q1, sender a@example.org, message true",
      "macros end before on_mail of a@example.org",
      "macros rcpt: i=Q1, {i} Q1, sender a@example.org, message true",
      "macros eom: i=Q1, {i} Q1, sender a@example.org, message true" }, said())
  end)

  it("gets those of the next message only with it, and none twice", function()
    start(MACROS)
    mta:connect()
    mta:macros("M", { { "i", "Q1" } })
    mta:mail "<a@example.org>"
    mta:macros("M", { { "i", "Q2" } })
    mta:mail "<c@example.org>"
    mta:abort()
    mta:mail "<d@example.org>"
    assert.same({ "macros mail: i=Q1, {i} Q1, sender a@example.org, message true",
      "macros end before on_mail of a@example.org",
      "macros mail: i=Q2, {i} Q2, sender c@example.org, message true",
      "macros end before on_mail of c@example.org", "macros end before on_mail of d@example.org" }, said())
  end)

  for _, word in ipairs { "bad", "edits", "refuses" } do
    it("decides nothing: its error is logged, and the mail goes on: " .. word, function()
      start(MACROS)
      mta:connect()
      mta:macros("M", { { word, "1" } })
      assert.equal("continue", mta:mail().kind)
      assert.equal(1, #mta:log_lines "script_error")
      local line = mta:log_lines("script_error")[1]
      assert.truthy(line:find("handler=on_macros", 1, true), line)
      assert.truthy(line:find(({ bad = "oops", edits = "add_header: not possible at macros",
        refuses = "not possible at macros" })[word], 1, true), line)
    end)
  end

  it("may wait, and the command gets its one reply after it", function()
    start(MACROS)
    mta:connect()
    mta:macros("M", { { "waits", "1" } })
    assert.equal("continue", mta:mail("<w@example.org>").kind)
    assert.equal("macros end before on_mail of w@example.org", said()[2])
  end)

  it("ends with the message when the MTA aborts while it waits", function()
    start [[
      local log = require "moonmilter.log"
      function on_macros(ctx, stage) if stage == "rcpt" then require("moonmilter").sleep(60) end end
      function on_rcpt() log.info "macros on_rcpt" end
      function on_abort(ctx, stage, reason) log.info("macros abort %s %s", stage, reason) end
    ]]
    mta:connect()
    mta:mail()
    mta:macros("R", { { "i", "Q1" } })
    mta:feed(fake_mta.packet("R", "<b@example.org>\0"))
    assert.is_true(mta:is_waiting())
    mta:feed(fake_mta.packet "A")
    assert.is_false(mta:is_waiting())
    assert.same({ "macros abort rcpt abort" }, said())
    assert.equal("continue", mta:mail().kind)
  end)

  it("costs nothing when no script has it: the MTA is asked for no stage more", function()
    start "function on_rcpt() end"
    local without = mta.steps
    mta:close()
    start "function on_rcpt() end function on_macros() end"
    assert.is_true(bit.band(without, 0x1) ~= 0)     -- no connect
    assert.equal(0, bit.band(mta.steps, 0x24f))
  end)
end)

describe("options.macros", function()
  local function load(macros)
    local ok, text = pcall(fake_mta.start, {
      script = "options = { macros = " .. macros .. " }\nfunction on_eom() end",
    })
    if ok then text:close() end
    return ok, tostring(text)
  end

  it("takes names, and lists of names by stage", function()
    assert.is_true((load "{ 'i', '{client_ptr}', eom = { '{my_macro}', 'other' } }"))
  end)

  for given, says in pairs {
    ["{ eob = { 'i' } }"] = '"eob" is no stage with macros; did you mean "eo',
    ["{ header = { 'i' } }"] = '"header" is no stage with macros',
    ["{ mail = 'i' }"] = 'options.macros: is a list of words; write { "mail" }',
    ["{ mail = { 'a b' } }"] = 'options.macros.mail: "a b" is not a macro name',
    ["{ mail = { x = 'i' } }"] = "options.macros.mail: is a list of words",
  } do
    it("refuses " .. given, function()
      local ok, text = load(given)
      assert.is_false(ok)
      assert.truthy(text:find(says, 1, true), text)
    end)
  end
end)
