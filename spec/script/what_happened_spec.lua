--- What handlers are told of how a message or a session has ended.
local fake_mta = require "spec.support.fake_mta"

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

  it("is told when the MTA has gone, and when its bytes break the protocol", function()
    mta:mail()
    mta:vanish()
    assert.same({ "abort mail disconnect disconnect" }, said "abort")
    assert.same({ "close disconnect" }, said "close")
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
