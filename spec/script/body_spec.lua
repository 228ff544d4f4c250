-- ctx:body{…}: the body kept for a script, and freed when its message ends. A leaked file descriptor is mail that stays
-- on the disk.
local fake_mta = require "spec.support.fake_mta"

local function start(script, options)
  options = options or {}
  options.script = script
  local mta = assert(fake_mta.start(options))
  finally(function() mta:close() end)
  mta:begin()
  return mta
end

-- Unnamed temporary files that this process holds open.
local function temporary_files()
  local pipe = io.popen "ls -l /proc/$PPID/fd"
  local text = pipe:read "*a"
  pipe:close()
  local _, unnamed = text:gsub("/moonmilter%.%w+ %(deleted%)", "")
  return unnamed
end

local function limited(over)
  return ([[
    local log = require "moonmilter.log"
    function on_eoh(ctx) ctx:body { max_size = 100, over = %q } end
    function on_eom(ctx)
      local body = ctx:body()
      ctx:add_header("X-Size", ("%%d %%s %%d"):format(body:size(), tostring(body.is_truncated), #body:string()))
    end
  ]]):format(over)
end

local function error_of(mta)
  return table.concat(mta:log_lines "script_error", "\n")
end

describe("ctx:body", function()
  it("keeps what comes after on_eoh, without an on_body handler, as string and lines", function()
    local mta = start [[
      function on_eoh(ctx) ctx:body {} end
      function on_eom(ctx)
        local body, lines = ctx:body(), {}
        for line in body:lines() do lines[#lines + 1] = line end
        ctx:add_header("X-Body", body:size() .. " " .. #body:string() .. " " .. table.concat(lines, "|"))
      end
    ]]
    assert.same({ { "add_header", "X-Body", "12 12 one|two|" } }, mta:message { body = "one\r\ntwo\r\n\r\n" }.edits)
    assert.same({ { "add_header", "X-Body", "0 0 " } }, mta:message { body = "" }.edits)
  end)

  it("begins in on_mail, on_rcpt, on_data, on_header and on_eoh, for this message only", function()
    for _, handler in ipairs { "on_mail", "on_rcpt", "on_data", "on_eoh" } do
      local mta = start(([[
        function %s(ctx) if not ctx.session.once then ctx.session.once = true; ctx:body() end end
        function on_eom(ctx)
          local ok, body = pcall(ctx.body, ctx)
          ctx:add_header("X-Body", ok and body:string() or "none")
        end
      ]]):format(handler), { })
      assert.same({ { "add_header", "X-Body", "first" } }, mta:message { body = "first" }.edits, handler)
      assert.same({ { "add_header", "X-Body", "none" } }, mta:message { body = "second" }.edits, handler)
    end
    local mta = start [[
      on_header = { Subject = function(ctx) ctx:body() end }
      function on_eom(ctx) ctx:add_header("X-Body", ctx:body():string()) end
    ]]
    assert.same({ { "add_header", "X-Body", "first" } }, mta:message { body = "first" }.edits)
  end)

  it("includes the piece in the end-of-message packet", function()
    local mta = start [[
      function on_eoh(ctx) ctx:body() end
      function on_eom(ctx) ctx:add_header("X-Body", ctx:body():string()) end
    ]]
    mta:mail()
    mta:rcpt()
    mta:data()
    mta:eoh()
    mta:body "one "
    assert.same({ { "add_header", "X-Body", "one two" } }, mta:eom("two").edits)
  end)

  it("gives parts, according to the message's own header", function()
    local mta = start [[
      function on_eoh(ctx) ctx:body() end
      function on_eom(ctx)
        local parts = assert(ctx:body():parts())
        for _, part in ipairs(parts) do
          ctx:add_header("X-Part", part.path .. " " .. part.type .. " " .. (part.is_multipart and "" or part:text()))
        end
      end
    ]]
    local reply = mta:message {
      headers = { { "Content-Type", 'multipart/mixed;\n\tboundary="b"' } },
      body = "--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: "
        .. "quoted-printable\r\n\r\nGr=FC=DFe\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
    }
    local parts = {}
    for i, edit in ipairs(reply.edits) do
      parts[i] = edit[#edit]
    end
    assert.same({ "1 multipart/mixed ", "1.1 text/plain Grüße", "1.2 text/plain two" }, parts)
  end)

  describe("past max_size", function()
    it("truncates", function()
      local mta = start(limited "truncate")
      assert.same({ { "add_header", "X-Size", "100 true 100" } }, mta:message { body = ("x"):rep(101) }.edits)
      assert.same({ { "add_header", "X-Size", "100 false 100" } }, mta:message { body = ("x"):rep(100) }.edits)
    end)
    it("accepts, and the script's on_eom does not run", function()
      local mta = start(limited "accept")
      local reply = mta:message { body = ("x"):rep(101) }
      assert.equal("accept", reply.kind)
      assert.same({}, reply.edits)
      assert.same({ { "add_header", "X-Size", "5 false 5" } }, mta:message { body = "small" }.edits)
    end)
    it("tempfails", function()
      local mta = start(limited "tempfail")
      assert.equal("452 4.3.4 Message too big for its filter, please try again later",
        mta:message { body = ("x"):rep(101) }.text)
      mta:abort()
      assert.equal(1, #mta:message { body = "small" }.edits)
    end)
    it("rejects, at the piece that exceeds it", function()
      local mta = start(limited "reject")
      mta:mail()
      mta:rcpt()
      mta:data()
      mta:eoh()
      assert.equal("continue", mta:body(("x"):rep(100)).kind)
      assert.equal("552 5.3.4 Message too big", mta:body("x").text)
    end)
    it("ends only the part of the script that accepts", function()
      local mta = start(nil, { files = {
        ["10-small.lua"] = limited "accept",
        ["20-all.lua"] = [[
          function on_eoh(ctx) ctx:body() end
          function on_eom(ctx) ctx:add_header("X-All", tostring(ctx:body():size())) end
        ]],
      } })
      assert.same({ { "add_header", "X-All", "101" } }, mta:message { body = ("x"):rep(101) }.edits)
      assert.same({ { "add_header", "X-Size", "5 false 5" }, { "add_header", "X-All", "5" } },
        mta:message { body = "small" }.edits)
    end)
  end)

  it("spills to one file without a name past max_memory, and closes it when the message ends, "
    .. "however it ends", function()
    local mta = start [[
      function on_mail(ctx, sender) ctx:body { max_memory = 1000 } end
      function on_eom(ctx)
        local body = ctx:body()
        ctx:add_header("X-Body", tostring(body.file ~= nil) .. " " .. #body:string())
        if ctx.sender == "raise@x" then error "oops" end
        if ctx.sender == "reject@x" then return ctx:reject() end
      end
      function on_done(ctx) ctx.session.kept = ctx:body() ctx.session.at_done = #ctx.session.kept:string() end
      function on_close(ctx)
        local ok, why = pcall(ctx.session.kept.string, ctx.session.kept)
        print("at done", ctx.session.at_done, "at close", why)
      end
    ]]
    local before = temporary_files()
    assert.same({ { "add_header", "X-Body", "false 1000" } }, mta:message { body = ("x"):rep(1000) }.edits)
    assert.same({ { "add_header", "X-Body", "true 200000" } }, mta:message { body = ("x"):rep(200000) }.edits)
    assert.equal(before, temporary_files())

    mta:mail()
    mta:rcpt()
    mta:data()
    mta:eoh()
    mta:body(("x"):rep(5000))
    assert.equal(before + 1, temporary_files())
    mta:abort()
    assert.equal(before, temporary_files())
    assert.equal("tempfail", mta:message({ from = "<raise@x>", body = ("x"):rep(5000) }).kind)
    assert.equal("reject", mta:message({ from = "<reject@x>", body = ("x"):rep(5000) }).kind)
    assert.equal(before, temporary_files())

    mta:mail()
    mta:rcpt()
    mta:data()
    mta:eoh()
    mta:body(("x"):rep(5000))
    assert.equal(before + 1, temporary_files())
    mta:mail "<another@x>" -- Sendmail after an early verdict: the previous message ended without a notice
    assert.equal(before, temporary_files())
    mta:rcpt()
    mta:data()
    mta:eoh()
    mta:body(("x"):rep(5000))
    mta:vanish()
    assert.equal(before, temporary_files())
    local log = mta.owner:log()
    assert.truthy(log:find("at done.-5000.-at close.*closed; it lasts as long as its message"), log)
  end)

  it("passes the file's descriptor to no program", function()
    local mta = start [[
      function on_mail(ctx) ctx:body { max_memory = 0 } end
      function on_eom(ctx)
        local pipe = io.popen "ls /proc/self/fd | wc -l"
        ctx.session.count = tonumber(pipe:read "*a")
        pipe:close()
        ctx:add_header("X-Open", tostring(ctx.session.count))
      end
    ]]
    local with = mta:message({ body = "x" }).edits[1][3]
    local without = mta:message({ body = "" }).edits[1][3]
    assert.equal(without, with)
  end)

  it("keeps the memory flat for 5 MB and for 20", function()
    local mta = start [[
      local most = 0
      function on_eoh(ctx) collectgarbage() collectgarbage() most = 0 ctx.message.base = collectgarbage "count"; ctx:body() end
      local function held(ctx) -- without pieces that the collector has not reached yet
        if collectgarbage "count" - ctx.message.base > 8 * 1024 then collectgarbage() end
        return collectgarbage "count" - ctx.message.base
      end
      function on_body(ctx) most = math.max(most, held(ctx)) end
      function on_eom(ctx)
        local n, sum = 0, 0
        for chunk in ctx:body():chunks() do n, sum = n + 1, sum + #chunk end
        for part in pairs(assert(ctx:body():parts())) do n = n + 1 end
        most = math.max(most, held(ctx))
        ctx:add_header("X-Memory", ("%d %d"):format(sum, most))
      end
    ]]
    local line = "a line of a body that goes on and on for all of the megabytes, a little different each time: %07d\r\n"
    local lines = {}
    for i = 1, 5 * 1024 * 1024 / 100 do
      lines[i] = line:format(i)
    end
    local body = table.concat(lines)
    for _, times in ipairs { 1, 4 } do
      local edits = mta:message({ body = body:rep(times) }).edits
      local size, kilobytes = edits[1][3]:match "^(%d+) (%d+)$"
      assert.equal(#body * times, tonumber(size))
      assert.is_true(tonumber(kilobytes) <= 8 * 1024, kilobytes .. " KiB of Lua memory")
    end
  end)

  it("goes on when the script's own on_body has returned skip", function()
    local mta = start [[
      function on_eoh(ctx) ctx:body() ctx.message.pieces = 0 end
      function on_body(ctx) ctx.message.pieces = ctx.message.pieces + 1 return "skip" end
      function on_eom(ctx) ctx:add_header("X-Body", ctx.message.pieces .. " " .. ctx:body():string()) end
    ]]
    mta:mail()
    mta:rcpt()
    mta:data()
    mta:eoh()
    assert.equal("continue", mta:body("one ").kind)
    assert.equal("continue", mta:body("two").kind)
    assert.same({ { "add_header", "X-Body", "1 one two" } }, mta:eom().edits)
  end)

  it("lets the MTA skip the body of messages for which no script keeps it", function()
    local mta = start [[
      function on_mail(ctx, sender) if sender == "keep@x" then ctx:body() end end
      function on_eom(ctx) end
    ]]
    mta:mail "<other@x>"
    mta:rcpt()
    mta:data()
    mta:eoh()
    assert.equal("skip", mta:body("one").kind)
    assert.equal("continue", mta:eom().kind)
    mta:mail "<keep@x>"
    mta:rcpt()
    mta:data()
    mta:eoh()
    assert.equal("continue", mta:body("one").kind)
    assert.equal("continue", mta:eom().kind)
  end)

  it("does not skip the body when a script counts it", function()
    local mta = start [[
      function on_mail(ctx, sender) if sender == "keep@x" then ctx:body() end end
      function on_body(ctx) return "skip" end
      function on_eom(ctx) ctx:add_header("X-Size", tostring(ctx.body_size)) end
    ]]
    assert.same({ { "add_header", "X-Size", "200000" } }, mta:message({ body = ("x"):rep(200000) }).edits)
  end)

  it("is recognized in a module beside the scripts", function()
    local mta = start(nil, { files = {
      ["10.lua"] = [[
        local helper = require "helper"
        function on_mail(ctx) helper.keep(ctx) end
        function on_eom(ctx) ctx:add_header("X-Body", ctx:body():string()) end
      ]],
      ["lib/helper.lua"] = [[ return { keep = function(ctx) ctx:body() end } ]],
    } })
    assert.same({ { "add_header", "X-Body", "x" } }, mta:message({ body = "x" }).edits)
  end)

  it("does not turn the body on for a field called body", function()
    local mta = start [[
      local response = { body = "x" }
      function on_eom(ctx) ctx:add_header("X", response.body) end
    ]]
    assert.equal("none", mta:body("x").kind)
  end)

  it("says where to call it when called too late, and what is wrong with an option", function()
    for script, wanted in pairs {
      [ [[function on_eom(ctx) ctx:body { max_size = 1 } end]] ] =
        "script.lua:1: body: too early or too late at eom; ask for it in on_mail, on_rcpt, on_data, on_header or on_eoh",
      [ [[function on_body(ctx) ctx:body() end]] ] = "script.lua:1: body: too early or too late at body",
      [ [[function on_mail(ctx) ctx:body { max = 1 } end]] ] = "script.lua:1: body: there is no option max; there are "
        .. "max_memory, max_size, over and headers",
      [ [[function on_mail(ctx) ctx:body { over = "skip" } end]] ] = 'script.lua:1: body: over = "skip"; use truncate',
      [ [[function on_mail(ctx) ctx:body { max_size = -1 } end]] ] = "script.lua:1: body: option max_size = -1; "
        .. "give bytes, 0 or more",
      [ [[function on_mail(ctx) ctx:body { headers = {} } end]] ] = "script.lua:1: body: headers come from the message",
      [ [[function on_mail(ctx) ctx:body() ctx:body {} end]] ] = "script.lua:1: body: the body of this message is "
        .. "already being kept",
      [ [[function on_eoh(ctx) ctx:body():string() end]] ] = "string: the body is not finished; read it at "
        .. "end of message",
      [ [[function on_mail(ctx) ctx["bo" .. "dy"](ctx) end]] ] = 'add options = { facts = { "body" } } to this script',
    } do
      local mta = start(script)
      assert.equal("tempfail", mta:message().kind)
      local text = error_of(mta):gsub('\\"', '"')
      assert.truthy(text:find(wanted, 1, true), wanted .. "\n" .. text)
    end
  end)

  it("can be declared by options.facts where the name is not in the script", function()
    local mta = start [[
      options = { facts = { "body" } }
      function on_mail(ctx) ctx["bo" .. "dy"](ctx) end
      function on_eom(ctx) ctx:add_header("X-Body", ctx["bo" .. "dy"](ctx):string()) end
    ]]
    assert.same({ { "add_header", "X-Body", "x" } }, mta:message({ body = "x" }).edits)
  end)

  it("gives a later script the body as an earlier one has changed it", function()
    local mta = start(nil, { files = {
      ["10.lua"] = [[
        function on_mail(ctx) ctx:body() end
        function on_eom(ctx)
          local edit = ctx:body():edit()
          edit:footer { text = "é" }
          edit:apply(ctx)
        end
      ]],
      ["20.lua"] = [[
        function on_mail(ctx) ctx:body { max_memory = 0 } end
        function on_eom(ctx)
          ctx:add_header("X-Seen", ctx:body():parts()[1]:text():gsub("\r\n", "|"):gsub("é", "e"))
          local edit = ctx:body():edit()
          edit:footer { text = "two" }
          edit:apply(ctx)
        end
      ]],
      ["30.lua"] = [[ function on_eom(ctx) if ctx.sender == "new@x" then ctx:replace_body "a" ctx:replace_body "b" end end ]],
    } })
    assert.same({ { "add_header", "MIME-Version", "1.0" },
      { "add_header", "Content-Transfer-Encoding", "quoted-printable" },
      { "add_header", "Content-Type", "text/plain; charset=utf-8" }, { "add_header", "X-Seen", "text|e" },
      { "replace_body", "text\r\n=C3=A9\r\ntwo" } }, mta:message({ body = "text\r\n" }).edits)
    local edits = mta:message({ from = "<new@x>", body = "text\r\n" }).edits
    assert.same({ "replace_body", "ab" }, edits[#edits])
  end)

  it("reads the header as received with the kept bytes, whatever another script's on_eom has changed", function()
    local mta = start(nil, { files = {
      ["10.lua"] = [[ function on_eom(ctx) ctx.headers:field("Content-Transfer-Encoding"):set "8bit" end ]],
      ["20.lua"] = [[
        function on_mail(ctx) ctx:body() end
        function on_eom(ctx) ctx:add_header("X-Text", ctx:body():parts()[1]:content()) end
      ]],
    } })
    local edits = mta:message({ headers = { { "Content-Transfer-Encoding", "base64" } }, body = "aGVsbG8=\r\n" }).edits
    assert.same({ "add_header", "X-Text", "hello" }, edits[2])
  end)
end)

describe("the fields of ctx.headers", function()
  it("decode and parse themselves", function()
    local mta = start [[
      function on_eom(ctx)
        local h = ctx.headers
        local from = h:field("From"):addresses()[1]
        ctx:add_header("X-From", from.name .. "|" .. from.address)
        ctx:add_header("X-Subject", (h:field("Subject"):text():gsub("ü", "ue"):gsub("ß", "ss")))
        ctx:add_header("X-Date", tostring(h:field("Date"):date().epoch))
        ctx:add_header("X-Received", tostring(h:field("Received"):date().epoch))
        ctx:add_header("X-Type", h:field("Content-Type"):params().params.charset)
        ctx:add_header("X-Refs", h:field("References"):parsed()[2])
        ctx:add_header("X-Raw", h:field("To").raw)
        ctx:add_header("X-None", tostring(h:field "Cc") .. tostring(h:get "Cc"))
      end
    ]]
    local edits = mta:message({ headers = {
      { "Received", "by x; Fri, 21 Nov 1997 09:55:06 -0600" },
      { "From", '"Ann, of X" <ann@x.example>' },
      { "To", "bob@x.example" },
      { "Subject", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=\n =?iso-8859-1?q?_an_alle?=" },
      { "Date", "Fri, 21 Nov 1997 09:55:06 -0600" },
      { "Content-Type", 'text/plain; charset="utf-8"' },
      { "References", "<a@b> <c@d>" },
    } }).edits
    local got = {}
    for _, edit in ipairs(edits) do
      got[edit[2]] = edit[3]
    end
    assert.same({ ["X-From"] = "Ann, of X|ann@x.example", ["X-Subject"] = "Gruesse an alle", ["X-Date"] = "880127706",
      ["X-Received"] = "880127706", ["X-Type"] = "utf-8", ["X-Refs"] = "c@d", ["X-Raw"] = "To: bob@x.example",
      ["X-None"] = "nilnil" }, got)
  end)

  it("accept a table, which goes through header.format, and edit only themselves", function()
    local mta = start [[
      function on_eom(ctx)
        local field = ctx.headers:field("Content-Type", 2)
        local parsed = field:parsed()
        parsed.params.charset = "utf-8"
        field:set(parsed)
        field:insert_before("X-Before", "1")
        ctx.headers:field("Content-Type"):delete()
      end
    ]]
    local edits = mta:message({ headers = { { "Content-Type", "text/html" },
      { "Content-Type", "text/plain; charset=us-ascii; format=flowed" } } }).edits
    assert.same({ "change_header", 2, "Content-Type", "text/plain; charset=utf-8; format=flowed" }, edits[1])
    assert.same({ "change_header", 1, "Content-Type", "" }, edits[2])
    assert.equal("X-Before", edits[3][3])
  end)
end)

describe("a body that cannot be kept", function()
  it("is a temporary failure when TMPDIR does not exist, and leaks nothing", function()
    local host = require "spec.support.host"
    local script, message = os.tmpname(), os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write "function on_eoh(ctx) ctx:body { max_memory = 0 } end"
    file:close()
    file = assert(io.open(message, "w"))
    file:write "From: a@example.org\nTo: b@example.org\n\nhello\n"
    file:close()
    local pipe = io.popen(("TMPDIR=/nowhere '%s' try '%s' '%s' 2>&1; TMPDIR=/tmp '%s' try --quiet --expect accept '%s' "
      .. "'%s' && echo kept")
      :format(host.program(), message, script, host.program(), message, script))
    local text = pipe:read "*a"
    pipe:close()
    os.remove(script)
    os.remove(message)
    assert.truthy(text:find("452 4.3.1 No room for the message", 1, true), text)
    assert.truthy(text:find("/nowhere/moonmilter.XXXXXX: No such file or directory", 1, true), text)
    assert.truthy(text:find("kept", 1, true), text)
  end)
end)
