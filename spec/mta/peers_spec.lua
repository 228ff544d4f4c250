--- MTAs as people configure them: lists of macros of their own, old protocols, other milters after ours.
local cases = require "spec.mta.cases"
local filter = require "spec.mta.filter"
local postfix = require "spec.mta.postfix"
local sendmail = require "spec.mta.sendmail"

local function unavailable()
  return filter.host_unavailable() or postfix.unavailable() or sendmail.unavailable()
end

-- Runs check(world) with one MTA and one host.
local function with(mta_module, script, settings, check)
  local host = filter.host({ ["10-script.lua"] = script }, { unix = mta_module.kind == "sendmail" })
  local world
  local ok, why = xpcall(function()
    world = cases.world(mta_module, host, { settings = settings })
    check(world)
  end, debug.traceback)
  local log = host:log()
  if world then world.mta:stop() end
  host:stop()
  assert(ok, ("%s\n%s"):format(tostring(why), log:sub(-2000)))
  return log
end

describe("an MTA with macro lists of its own", function()
  if unavailable() then return pending(unavailable()) end

  local INSERTS = [[function on_eom(ctx)
    ctx:insert_header(1, "X-New", ctx.mta.kind)
  end]]
  local ADDS = [[function on_eom(ctx) ctx:add_header("X-New", ctx.mta.kind) end]]

  local function place(world)
    local message = world:arrives { fields = { "X-A: 1" } }
    return message:get "X-New", message:position "X-New" < message:position "X-A"
  end

  it("is known, and positions are right, when its list lacks v", function()
    for mta_module, settings in pairs {
      [postfix] = { milter_connect_macros = "j {daemon_name} {daemon_addr} _" },
      [sendmail] = { confMILTER_MACROS_CONNECT = "j, {daemon_name}" },
    } do
      for _, script in ipairs { INSERTS, ADDS } do
        with(mta_module, script, settings, function(world)
          local kind, is_above = place(world)
          assert.equal(mta_module.kind, kind)
          assert.equal(script == INSERTS, is_above)
        end)
      end
    end
  end)

  it("that does not say that it is Postfix is unknown: positions are the protocol's, and one line says so", function()
    local log = with(postfix, INSERTS, { milter_macro_v = "Mail 1.0" }, function(world)
      local kind, is_above = place(world)
      assert.same({ "unknown", true }, { kind, is_above })
    end)
    assert.equal(1, select(2, log:gsub(" warn mta ", "")))
  end)

  it("has ctx.auth by whichever of its macros the list names", function()
    with(postfix, [[function on_eom(ctx) ctx:add_header("X-Auth", (ctx.auth or {}).authen or "none") end]],
      { milter_mail_macros = "i {auth_authen}", milter_macro_defaults = "{auth_authen}=bob" }, function(world)
        assert.equal("bob", (world:arrives {}):get "X-Auth")
      end)
  end)

  it("makes nobody authenticated who only says so himself", function()
    for _, mta_module in ipairs(cases.mtas) do
      with(mta_module, [[function on_mail(ctx) return ctx:reject(550, "5.7.1", tostring(ctx.auth)) end]], {}, function(world)
        local client = world:connect()
        client:cmd "EHLO client.example"
        local reply = client:cmd "MAIL FROM:<ann@one.example> AUTH=boss@one.example"
        assert.is_nil(reply.text:find("table", 1, true), mta_module.kind)
        client:quit()
      end)
    end
  end)
end)

describe("Postfix with an older milter_protocol", function()
  if unavailable() then return pending(unavailable()) end
  for _, version in ipairs { "2", "3", "4" } do
    it(version .. " gets what on_data decides", function()
      local log = with(postfix, [[
        function on_data(ctx) return ctx:reject(550, "5.7.1", "on_data says no") end
        function on_unknown() end]], { milter_protocol = version }, function(world)
          local sent = world:send {}
          assert.equal(550, (sent.final or sent.data).code)
          assert.truthy((sent.final or sent.data).text:find("on_data says no", 1, true))
        end)
      local says_data = log:find("on_data runs when the content begins", 1, true) ~= nil
      assert.equal(version ~= "4", says_data)
      assert.equal(version == "2", log:find("on_unknown never runs", 1, true) ~= nil)
    end)
  end
end)

describe("Sendmail's <address>... before a text", function()
  if unavailable() then return pending(unavailable()) end
  it("comes with 450, 550 and 553, and with no other code", function()
    with(sendmail, [[
      function on_rcpt(ctx, recipient)
        local code = recipient:match "^c(%d+)@"
        return ctx[code < "5" and "tempfail" or "reject"](ctx, tonumber(code), code:sub(1, 1) .. ".7.1", "text")
      end]], {}, function(world)
      local client = world:connect()
      client:cmd "EHLO client.example"
      client:cmd "MAIL FROM:<ann@one.example>"
      for _, code in ipairs { 450, 451, 452, 454, 550, 551, 552, 553, 554 } do
        local text = client:cmd(("RCPT TO:<c%d@two.example>"):format(code)).text
        assert.truthy(text:find("text", 1, true), text)
        assert.equal(code == 450 or code == 550 or code == 553, text:find("...", 1, true) ~= nil, text)
      end
      client:quit()
    end)
  end)
end)

describe("a new body without an end of its last line", function()
  if unavailable() then return pending(unavailable()) end
  it("has one when the next milter gets it", function()
    for _, mta_module in ipairs(cases.mtas) do
      local options = { unix = mta_module.kind == "sendmail" }
      local first = filter.host({ ["10-new.lua"] = [[
        function on_eom(ctx) ctx:replace_body("first\r\nlast") end]] }, options)
      local second = filter.host({ ["10-see.lua"] = [[
        function on_body(ctx, chunk) ctx.message.seen = (ctx.message.seen or "") .. chunk end
        function on_eom(ctx) ctx:add_header("X-Saw", (("%q"):format(ctx.message.seen):gsub("[\r\n]", "|"))) end]] }, options)
      local world = cases.world(mta_module, first)
      local ok, why = pcall(function()
        world.mta:set_milters { first.milter, second.milter }
        assert.equal([["first\13\|last\13\|"]], (world:arrives {}):get "X-Saw", mta_module.kind)
      end)
      world.mta:stop()
      first:stop()
      second:stop()
      assert(ok, why)
    end
  end)
end)
