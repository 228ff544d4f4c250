--- What `moonmilter check` finds in a script: everything that the first mail would, and nothing else.
local lfs = require "lfs"
local process = require "spec.support.process"
local seal = require "moonmilter.seal"

local directory

local program = os.getenv "MOONMILTER" or "build/moonmilter"

-- Output and exit status.
local function run(command)
  local output, status = process.run(command .. "; echo status=$?"):match "^(.*)status=(%d+)"
  return output, tonumber(status)
end

local function check(source, options)
  local path = directory .. "/10-script.lua"
  process.write_file(path, source)
  local output, status = run((program .. " check %s %s 2>&1"):format(options or "", path))
  local found = {}
  for line in output:gmatch "[^\n]+" do
    local text = line:match "^moonmilter: warning: .-10%-script%.lua:(%d+: .*)"
    found[#found + 1] = text
  end
  return found, output, status
end

-- source -> the warnings
local CASES = {
  -- members of ctx
  { "function on_mail(ctx) print(ctx.sendr) end", '1: ctx has no member "sendr"; did you mean "sender"?' },
  { "function on_mail(ctx) ctx:rejct() end", '1: ctx has no member "rejct"; did you mean "reject"?' },
  { "function on_mail(ctx)\n  local x = ctx.nothing_like_it\n  return x\nend",
    '2: ctx has no member "nothing_like_it"' },
  { "function on_mail(ctx) print(ctx:sender()) end", "1: ctx.sender is a value, not a method: write it without ()" },
  { "function on_mail(ctx) ctx.reject(550, 'x') end", "1: reject: call it with a colon: ctx:reject(…)" },
  { "function on_mail(ctx) ctx.seen = 1 end", "1: ctx.seen: ctx is read only; keep your own values in ctx.session (the "
    .. "connection) or ctx.message (this message)" },
  { "function on_mail(ctx) ctx.message.sender = 1 end",
    "1: sender is a member of ctx: write ctx.sender; ctx.message and ctx.session are for names of your own" },
  -- tables that are not shared
  { "local counts = {} function on_mail(ctx, s) counts[s] = 1 counts[s .. 1] = 2 end",
    "1: counts: each worker has a table of its own, and a reload empties it; to share values, use moonmilter.store" },
  { "local counts = {} local function note(s) counts[s] = 1 end function on_mail(ctx, s) note(s) end",
    "1: counts: each worker has a table of its own, and a reload empties it; to share values, use moonmilter.store" },
  { "local known = {} function on_load() for _, n in ipairs { 'a' } do known[n] = true end end function on_mail(ctx, s) "
    .. "return known[s] and 'reject' end" },
  { "local state = {} function on_mail(ctx) state.last = ctx.sender local mine = {} mine[ctx.sender] = 1 end" },
  -- wherever ctx goes
  { "local function f(c) c:rejct() end function on_mail(ctx) f(ctx) end",
    '1: ctx has no member "rejct"; did you mean "reject"?' },
  { "local function g(c) return c:rejct() end local function f(c) return g(c) end function on_mail(ctx) f(ctx) end",
    '1: ctx has no member "rejct"; did you mean "reject"?' },
  { "function on_mail(ctx) local function f() ctx:rejct() end f() end",
    '1: ctx has no member "rejct"; did you mean "reject"?' },
  { "function on_mail(c) local ctx = c ctx:rejct() end", '1: ctx has no member "rejct"; did you mean "reject"?' },
  { "return { on_mail = function(ctx) ctx:rejct() end }", '1: ctx has no member "rejct"; did you mean "reject"?' },
  { "local M = {} function M.on_mail(ctx) ctx:rejct() end return M",
    '1: ctx has no member "rejct"; did you mean "reject"?' },
  { "on_header = { Subject = function(ctx, value) ctx:rejct(value) end }",
    '1: ctx has no member "rejct"; did you mean "reject"?' },
  -- what ctx gives
  { "function on_mail(ctx) print(ctx.client.hots) end", '1: ctx.client has no member "hots"; did you mean "host"?' },
  { "function on_eoh(ctx) ctx.headers:gte 'Subject' end", '1: ctx.headers has no member "gte"; did you mean "get"?' },
  { "function on_eoh(ctx) ctx.headers:field 'To':adresses() end",
    '1: a field has no member "adresses"; did you mean "addresses"?' },
  { "function on_eoh(ctx) for _, f in ipairs(ctx.headers) do f:delte() end end",
    '1: a field has no member "delte"; did you mean "delete"?' },
  { "function on_eoh(ctx) for _, f in ipairs(ctx.headers:all 'X') do f:delte() end end",
    '1: a field has no member "delte"; did you mean "delete"?' },
  { "function on_eoh(ctx) for _, _, f in ctx.headers:each() do f:delte() end end",
    '1: a field has no member "delte"; did you mean "delete"?' },
  { "function on_data(ctx) for _, r in ipairs(ctx.recipients) do print(r.adress) end end",
    '1: a recipient has no member "adress"; did you mean "address"?' },
  { "function on_done(ctx, result) print(result.verdct) end",
    '1: the result has no member "verdct"; did you mean "verdict"?' },
  { "function on_mail(ctx, sender) print(sender:lowr()) end",
    '1: a string has no member "lowr"; did you mean "lower"?' },
  -- modules
  { "local dns = require 'moonmilter.dns' function on_mail(ctx) dns.mxx 'a' print(ctx) end",
    '1: moonmilter.dns has no member "mxx"; did you mean "mx"?' },
  { "function on_mail(ctx) require 'moonmilter.http'.gett 'a' print(ctx) end",
    '1: moonmilter.http has no member "gett"; did you mean "get"?' },
  { "function on_mail(ctx) print(ctx, require 'moonmilter.htttp') end",
    '1: there is no module "moonmilter.htttp"; did you mean "moonmilter.http"?' },
  { "local s = require 'moonmilter.socket' function on_mail(ctx) local c = s.connect { unix = '/x' } c:recieve() print(ctx) end",
    '1: a socket has no member "recieve"; did you mean "receive"?' },
  { "local c = require 'cjson' function on_mail(ctx) print(ctx, c.decod '1') end",
    '1: cjson has no member "decod"; did you mean "decode"?' },
  { "function on_mail(ctx) print(ctx, string.frmat 'x') end",
    '1: string has no member "frmat"; did you mean "format"?' },
  { "local dns = require 'moonmilter.dns' function on_mail(ctx) print(ctx, dns:mx 'a') end",
    "1: mx: call it with a dot: moonmilter.dns.mx(…)" },
  { "function on_eoh(ctx) print(ctx.headers.get 'Subject') end", "1: get: call it with a colon: ctx.headers:get(…)" },
  -- stages
  { "function on_mail(ctx) ctx:skip() end", "1: skip is not possible at mail" },
  { "function on_connect(ctx) return ctx:discard() end", "1: discard is not possible at connect" },
  { "function on_close(ctx) print(ctx) return 'reject' end", '1: "reject" is not possible at close' },
  { "function on_abort(ctx) ctx:tempfail 'x' end", "1: tempfail is not possible at abort" },
  { "function on_rcpt(ctx) return ctx:accept() end", "1: accept at rcpt is for the whole message, not for this "
    .. "recipient; to let a recipient pass, return nothing" },
  { "function on_rcpt(ctx) print(ctx) return 'accept' end", "1: accept at rcpt is for the whole message, not for this "
    .. "recipient; to let a recipient pass, return nothing" },
  { "function on_connect(ctx) ctx:add_header('A', 'b') end",
    "1: add_header: no message is open at connect; edits can be asked for from on_mail to on_eom" },
  { "local function f(c) c:quarantine 'x' end function on_helo(ctx) f(ctx) end",
    "1: quarantine: no message is open at helo; edits can be asked for from on_mail to on_eom" },
  { "function on_done(ctx) ctx.headers:field 'A':delete() end",
    "1: delete: no message is open at done; edits can be asked for from on_mail to on_eom" },
  { "function on_helo(ctx) ctx.message.x = 1 end",
    "1: ctx.message: no message is open at helo; keep what belongs to the connection in ctx.session" },
  { "function on_mail(ctx) ctx:progress() end", "1: progress: only at end of message, not at mail" },
  { "function on_connect(ctx) print(ctx:macro 'i') end",
    '1: ctx:macro "i" is always nil at connect: MTAs send it at mail at the earliest' },
  { "function on_mail(ctx) print(ctx:macro '{rcpt_addr}') end",
    '1: ctx:macro "{rcpt_addr}" is always nil at mail: MTAs send it at rcpt at the earliest' },
  -- what a handler returns
  { "function on_mail(ctx) print(ctx) return 'rejct' end",
    '1: the handler returns "rejct", which is no verdict; did you mean "reject"?' },
  { "function on_mail(ctx) print(ctx) return false end",
    "1: the handler returns a boolean; a verdict is a string, or nothing" },
  { "function on_mail(ctx) print(ctx) return 'reject', 'no' end",
    '1: the handler returns "reject" and more; to give a text, write return ctx:reject(text)' },
  -- handlers without effect
  { "function on_mail(ctx) end", "1: on_mail is empty: it has no effect, but the MTA is asked for its event" },
  { "local function on_mail(ctx) print(ctx) end",
    "1: on_mail is local, so the host does not call it; leave out local" },
  { "function on_mail(ctx) print(ctx) end\nfunction on_mail(ctx) print(ctx, 2) end",
    "1: on_mail has no effect: line 2 defines it again" },
  { "function onMail(ctx) print(ctx) end", '1: the host does not call onMail; did you mean "on_mail"?' },
  { "function eom(ctx) print(ctx) end", '1: the host does not call eom; did you mean "on_eom"?' },
  { "function on_eom(ctx, body) print(ctx, body) end", '1: on_eom gets 1 argument: "body" is always nil' },
  { "local options = { needs = { 'add_header' } } function on_eom(ctx) print(ctx) end",
    "1: options is local, so the host does not see it; leave out local" },
}

-- Right, or nobody can tell.
local CLEAN = {
  "function on_rcpt(ctx) if ctx.sender then return 'reject' end end",
  "local function skip(c) return c:skip() end function on_body(ctx) skip(ctx) end function on_mail(ctx) if ctx.helo == '' "
    .. "then skip(ctx) end end",
  "local function f(t) return t.sendr end function on_mail(ctx) f({}) f(ctx) end",
  "function on_mail(ctx) local ctx = {} ctx.sendr = 1 ctx:anything() end",
  "function on_mail(ctx) ctx.session.names = {} ctx.message.senders = 1 end",
  "function on_eom(ctx) pcall(function() ctx:add_header('A', 'b') end) end",
  "local milter = require 'moonmilter' function on_connect(ctx) milter.spawn(function() ctx.message.x = 1 end) end",
  "local dns = require 'moonmilter.dns' function on_mail(ctx) if dns.svcb then dns.svcb(ctx.sender) end end",
  "local redis = require 'moonmilter.redis'.new {} function on_mail(ctx) redis:anything(ctx.sender) end",
  "local walker = { on_data = function(a, b, c) return a, b, c end, on_part = function() end } function on_mail(ctx) "
    .. "print(walker, ctx) end",
  "function on_done(ctx, result) print(ctx.queue_id, result.verdict) return nil end",
  "function on_unknown(ctx, command) if command then return ctx:reject 'x' end end",
  "local verdict = 'reject' function on_mail(ctx) print(ctx) return verdict end",
  "function on_mail(ctx) local s = 'a' s = ctx.sender return s and ctx:reject(s:upper()) end",
  "function string.trim(s) return s:match '^%s*(.-)%s*$' end function on_mail(ctx, sender) print(ctx, sender:trim()) end",
  "function on_mail(ctx, sender) return ctx:reject(550, '5.7.1', ('%s'):format(sender)) end",
  "function on_eom(ctx) for i = 1, #ctx.headers do print(ctx.headers[i].name) end end",
  "function on_mail(ctx) goto done ::done:: print(ctx) end",
}

describe("check", function()
  local settings -- what the examples refuse to load without

  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    assert(lfs.mkdir(directory))
    process.write_file(directory .. "/key.pem", seal.new_key "ed25519")
    os.execute(("cd %s && chmod 600 key.pem && { [ $(id -u) -ne 0 ] || chown nobody key.pem; }"):format(directory))
    process.write_file(directory .. "/keys", "example.org s1 key.pem\n")
    settings = ([['--settings={ policy_url = "http://policy.example/", directory = "http://directory.example/",
      durable = false, dkim_keys = "%s/keys", report_file = "%s/rows", users = { ann = { "example.org" } },
      geo = "%s/spec/fixtures/country.mmdb", zone = "bl.example", file = "static:1", web = "static:1",
      domains = { "example.org" }, recipients = { "static:OK" }, logins = "static:ann", rules = "static:{}" }']]):format(directory, directory, lfs.currentdir())
  end)

  teardown(function()
    os.execute("rm -rf " .. directory)
  end)

  it("finds what the first mail would", function()
    for _, case in ipairs(CASES) do
      local found = check(case[1])
      assert.same({ case[2] }, found, case[1])
    end
  end)

  it("says nothing where all is right, or nobody can tell", function()
    for _, source in ipairs(CLEAN) do
      local found, output, status = check(source, "--strict")
      assert.same({}, found, source)
      assert.equal(0, status, output)
    end
  end)

  it("finds nothing in the examples and in the pages", function()
    local output, status = run((program .. " check --strict %s examples scripts 2>&1"):format(settings))
    assert.equal(0, status, output)
    local count = 0
    for name in lfs.dir "docs" do
      local page = name:match "%.md$" and process.read_file("docs/" .. name) or ""
      for snippet in page:gmatch "```lua\n(.-)```" do
        local found = check(snippet)
        assert.same({}, found, name)
        count = count + 1
      end
    end
    assert.is_true(count > 50)
  end)

  it("fails with --strict, and counts the warnings", function()
    local _, output, status = check("function on_mail(ctx) ctx:rejct() ctx:rejct() end")
    assert.equal(0, status)
    assert.matches("moonmilter: 2 warnings\n", output)
    _, output, status = check("function on_mail(ctx) count = ctx.sender end", "--strict") -- a line of the log
    assert.equal(78, status)
    assert.matches("moonmilter: 1 warning\n", output)
  end)

  it("names a directory without scripts", function()
    assert(lfs.mkdir(directory .. "/empty"))
    local output, status = run((program .. " check --strict %s examples %s/empty 2>&1"):format(settings,
      directory))
    assert.equal(78, status)
    assert.matches("warning: [^\n]*/empty: holds no script; the host loads files named %*%.lua", output)
  end)
end)

describe("options", function()
  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    assert(lfs.mkdir(directory))
  end)

  teardown(function()
    os.execute("rm -rf " .. directory)
  end)

  it("whose words nobody would read refuse to load", function()
    for options, text in pairs {
      ["needs = { add_header = true }"] = "options.needs: is a list of words; write { \"add_header\" }",
      ["macros = { i = true }"] = "options.macros: is a list of words; write { \"i\" }",
      ["macros = { eof = { 'j' } }"] = "options.macros: \"eof\" is no stage with macros",
      ["facts = { [0] = 'client' }"] = "options.facts: has a word at 0, but none before it",
      ["needs = { [3] = 'add_header' }"] = "options.needs: has a word at 3, but none before it",
      ["needs = { 'add_haeder' }"] = "options.needs: unknown word \"add_haeder\"; did you mean \"add_header\"?",
      ["needs = 'add_header'"] = "options.needs is a string; it must be a table",
      ["macros = { '{auth authen}' }"] = "is not a macro name",
      ["macros = { '{i' }"] = "is not a macro name",
    } do
      local _, output, status = check(("options = { %s } function on_mail(ctx) print(ctx) end"):format(options))
      assert.equal(78, status, options)
      assert.truthy(output:find(text, 1, true), output)
    end
  end)

  it("name macros by the stage at which to ask for them", function()
    local _, output = check "options = { macros = { 'i', eom = { 'my_own' } } } function on_mail(ctx) print(ctx) end"
    assert.matches("macros at eom: [^\n]*{my_own}", output)
    assert.is_nil(output:find("macros at mail: [^\n]*{my_own}"))
  end)

  it("name macros with and without braces, and calls of ctx:macro name them too", function()
    for _, source in ipairs { "options = { macros = { 'cert_md5' } } function on_mail(ctx) print(ctx) end",
      "options = { macros = { '{cert_md5}' } } function on_mail(ctx) print(ctx) end",
      "function on_mail(ctx) print(ctx:macro 'cert_md5') end",
      "function on_mail(ctx) print(ctx:macro '{cert_md5}') end" } do
      local _, output = check(source)
      assert.matches("macros at mail: [^\n]*{cert_md5}", output, source)
    end
  end)

  it("count beside a table of handlers, but not twice", function()
    local handlers = "return { %s on_mail = function(ctx) print(ctx:macro 'x') end }"
    local _, output = check("options = { lockstep = true, macros = { 'cert_md5' } } " .. handlers:format "")
    assert.matches("{cert_md5}", output)
    local _, twice, status = check("options = {} " .. handlers:format "options = {},")
    assert.equal(78, status)
    assert.matches("options are set twice", twice)
  end)
end)

describe("the kinds that check knows", function()
  -- class of lua/meta -> facts and methods
  local function classes()
    local found = {}
    for _, name in ipairs { "ctx", "address", "body", "http", "mime", "moonmilter", "process" } do
      local class
      for line in io.lines("lua/meta/" .. name .. ".lua") do
        class = line:match "^%-%-%-@class (%S+)" or class
        local entry = found[class or ""] or {}
        found[class or ""] = entry
        local field = line:match "^%-%-%-@field ([%w_]+)"
        local method = line:match "^function [%w_]+:([%w_]+)%("
        if field or method then
          entry[field or method] = true
        end
      end
    end
    return found
  end

  it("have the members that their stubs have", function()
    package.loaded["moonmilter.core"] = { socket = { class = {} }, datagram = { class = {} } }
    package.loaded["moonmilter.runtime.shapes"] = nil
    local shapes = require "moonmilter.runtime.shapes"
    package.loaded["moonmilter.core"], package.loaded["moonmilter.runtime.shapes"] = nil, nil
    local stubs = classes()
    for name, value in pairs(stubs["moonmilter.Part"]) do
      stubs["moonmilter.StoredPart"][name] = value
    end
    for kind, class in pairs { client = "Client", auth = "Auth", tls = "Tls", mta = "Mta", host = "Host",
      offer = "Offer", result = "Result", recipient = "Recipient", headers = "Headers", field = "Field", body =
      "Body", task = "Task",
      response = "Response", result_of_process = "process.Result", mailbox = "Mailbox", edit = "Edit",
      part = "StoredPart" } do
      local known = {}
      for _, names in pairs { shapes[kind].facts, shapes[kind].methods } do
        for name in pairs(names) do
          known[name] = true
        end
      end
      assert.same(stubs["moonmilter." .. class], known, kind)
    end
  end)
end)
