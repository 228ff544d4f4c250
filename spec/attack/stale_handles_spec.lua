-- Whatever a script can keep from one message is used in the next one, by the next SMTP client of the connection, in
-- another session and after a reload. It raises, or it shows what it showed before: never another message's facts,
-- never an edit of another message.
local lfs = require "lfs"
local fake_mta = require "spec.support.fake_mta"

-- One row for each thing. make(ctx) runs in on_eoh or on_eom of the first message; each use gets the kept thing and the
-- present ctx. What a use returns must be what `is` holds for it: a pattern of its error, or of its result.
local SCRIPT = [==[
local milter = require "moonmilter"
local socket = require "moonmilter.socket"
local timer = require "moonmilter.timer"
local mime = require "moonmilter.mime"
local scan = require "moonmilter.scan"
local body = require "moonmilter.body"
local kept, parts_of = {}, {}

local make = {
  field = function(ctx) return ctx.headers:field "Subject" end,
  headers = function(ctx) return ctx.headers end,
  each = function(ctx) return ctx.headers:each() end,
  parsed = function(ctx) return ctx.headers:field("To"):addresses() end,
  ctx = function(ctx) return ctx end,
  session_table = function(ctx) ctx.session.mark = "1" return ctx.session end,
  message_table = function(ctx) ctx.message.mark = "1" return ctx.message end,
  recipients = function(ctx) return ctx.recipients end,
  sender_params = function(ctx) return ctx.sender_params end,
  client = function(ctx) return ctx.client end,
  mta = function(ctx) return ctx.mta end,
  task = function() local t = milter.spawn(function() return "one" end) t:wait() return t end,
  sleeping_task = function() return milter.spawn(function() milter.sleep(60) end) end,
  timer = function() return timer.at(3600, function() end) end,
  tcp = function() return socket.tcp() end,
  udp = function() local u = require("socket").udp() u:setsockname("127.0.0.1", 0)
    u:settimeout(0.01) return u end,
  walker = function() local w = mime.walker() w:eoh() w:body("abc") return w end,
  scanner = function() return scan.new { "needle" } end,
  process = function() return require("moonmilter.process").run { argv = { "/bin/echo", "one" } } end,
  own_body = function() local b = body.new() b:feed("mine") b:finish() return b end,
  cancelled = function()
    return select(2, pcall(milter.timeout, 0, function() milter.sleep(60) end)) or "none"
  end,
}
-- from ctx:body(), at end of message
local make_of_body = {
  body = function(ctx) return ctx:body() end,
  chunks = function(ctx) return ctx:body():chunks() end,
  lines = function(ctx) return ctx:body():lines() end,
  part = function(ctx) return ctx:body():parts()[1] end,
  part_reader = function(ctx) return ctx:body():parts()[1]:chunks() end,
  part_field = function(ctx) return ctx:body():parts()[1].headers:field "Subject" end,
  edit = function(ctx)
    local edit = ctx:body():edit()
    assert(edit:remove(ctx:body():parts()[1], "gone"))
    return edit
  end,
  edit_reader = function(ctx) return ctx:body():edit():chunks() end,
}

local use = {
  field = {
    set = function(f) f:set "STALE" end, delete = function(f) f:delete() end,
    insert_before = function(f) f:insert_before("X-Stale", "1") end,
    set_table = function() kept.field_to:set { { address = "stale@x" } } end,
    value = function(f) return f.value end, text = function(f) return f:text() end,
    raw = function(f) return f.raw end, string = function(f) return tostring(f) end,
    copy = function(f)
      local copy = setmetatable({}, getmetatable(f))
      for k, v in pairs(f) do copy[k] = v end
      copy:delete()
    end,
    -- no handle at all, made by hand: refused like one that has been kept
    without_message = function(f, ctx)
      setmetatable({ id = 1, ctx = ctx, name = "To" }, getmetatable(f)):delete()
    end,
    odd_id = function(f, ctx)
      local g = ctx.headers[1]
      setmetatable({ id = 0/0, ctx = ctx, name = "To", message = g and g.message }, getmetatable(f)):delete()
    end,
  },
  headers = {
    get = function(h) return h:get "Subject" end, count = function(h) return #h end,
    delete = function(h) for _, f in ipairs(h) do f:delete() end end,
    all = function(h) h:all("Subject")[1]:set "STALE" end,
    each = function(h) for _, _, f in h:each() do f:insert_before("X-Stale", "1") end end,
  },
  each = { next = function(next) return (next()) end, field = function(next) select(3, next()):delete() end },
  parsed = { value = function(list) return list[1].address end },
  session_table = {
    value = function(t) return t.mark end,
    write = function(t, ctx) t.written = "STALE" return tostring(t ~= ctx.session and ctx.session.written or nil) end,
  },
  message_table = {
    value = function(t) return t.mark end,
    write = function(t, ctx) t.written = "STALE" return tostring(rawget(ctx.message, "written")) end,
  },
  recipients = {
    value = function(r) return r[1].address end,
    write = function(r, ctx) r[1].address = "stale@x" r[2] = r[1] return ctx.recipients[1].address end,
  },
  sender_params = { value = function(p) return p.raw end,
    write = function(p, ctx) p.raw = "STALE" return ctx.sender_params.raw end },
  client = { value = function(c) return c.host end },
  mta = { write = function(m, ctx) m.kind = "STALE" return ctx.mta.kind end },
  task = {
    wait = function(t) return t:wait() end, is_over = function(t) return tostring(t:is_over()) end,
    cancel = function(t) return tostring(t:cancel()) end,
    all = function(t) return milter.all { t }[1] end,
  },
  sleeping_task = { wait = function(t) return table.concat({ tostring((t:wait())), select(3, t:wait()) }, " ") end,
    cancel = function(t) return tostring(t:cancel()) end },
  timer = { cancel = function(t) return type(t:cancel()) end },
  tcp = {
    send = function(s) return (select(2, s:send "x")) end, receive = function(s) return (select(2, s:receive())) end,
    connect = function(s) return (select(2, s:connect("127.0.0.1", 9))) end,
    close = function(s) return tostring(s:close()) end,
    name = function(s) return tostring(s:getpeername()) end, text = function(s) return tostring(s) end,
  },
  udp = {
    send = function(s) return (select(2, s:sendto("x", "127.0.0.1", 9))) end,
    receive = function(s) return (select(2, s:receive())) end,
    name = function(s) return (select(2, s:getsockname())) end, close = function(s) return type(s:close()) end,
  },
  walker = { eom = function(w) return tostring(w:eom().size) end },
  scanner = { feed = function(s) return type(s) end },
  process = { output = function(r) return r.stdout end },
  own_body = { string = function(b) return b:string() end },
  cancelled = { text = function(c) return tostring(c) end },
  body = {
    string = function(b) return b:string() end, read = function(b) return b:read(0, 1) end,
    chunks = function(b) return b:chunks() end, lines = function(b) return b:lines() end,
    parts = function(b) return b:parts() end, edit = function(b) return b:edit() end,
    feed = function(b) return b:feed "STALE" end, restart = function(b) return b:restart() end,
    size = function(b) return b:size() end, finish = function(b) return tostring(b:finish()) end,
    close = function(b) b:close() return "nil" end,
  },
  chunks = { next = function(next) return next() end },
  lines = {
    all = function(next) local out = {} for line in next do out[#out + 1] = line end return table.concat(out) end,
  },
  part = {
    raw = function(p) return p:raw() end, chunks = function(p) return p:chunks() end,
    content = function(p) return p:content() end, text = function(p) return p:text() end,
    type = function(p) return p.type end,
  },
  part_reader = { next = function(next) return next() end },
  part_field = { set = function(f) f:set "STALE" return f.value end, delete = function(f) f:delete() return f.name end },
  edit = {
    apply = function(e, ctx) return tostring(e:apply(ctx)) end, chunks = function(e) return e:chunks() end,
    string = function(e) return e:string() end, footer = function(e) return e:footer { text = "STALE" } end,
    append = function(e) return e:append(kept.part, "STALE") end,
    remove = function(e) return (select(2, e:remove(kept.part, "STALE"))) end,
    header_changes = function(e) return e:header_changes()[1].name end,
  },
  edit_reader = { next = function(next) return next() end },
}

-- Every member of ctx, as the host knows them; the arguments are good ones, so that nothing but the ctx is refused.
local function members(ctx)
  local _, hints = debug.getupvalue(debug.getmetatable(ctx.session).__index, 1)
  return hints
end
local good = { macro = { "i" }, can = { "add_header" }, add_header = { "X-Stale", "1" },
  insert_header = { 0, "X-Stale", "1" }, change_header = { "Subject", 1, "STALE" }, delete_header = { "Subject" },
  change_from = { "stale@x" }, add_recipient = { "stale@x" }, delete_recipient = { "stale@x" },
  replace_body = { "STALE" }, quarantine = { "STALE" }, reject = { "STALE" }, tempfail = { "STALE" } }
local function try_ctx(old, ctx)
  for name in pairs(members(ctx)) do
    local ok, why = pcall(function()
      local member = old[name]
      if type(member) == "function" then member(old, unpack(good[name] or {})) end
    end)
    milter.log.info("TRY ctx.%s=%s %s", name, tostring(ok), tostring(why))
  end
  local ok, why = pcall(function() old.message.mark = "STALE" end)
  milter.log.info("TRY ctx.message.mark=%s %s", tostring(ok), tostring(why))
end

local function keep(ctx, makers)
  for name, fn in pairs(makers) do kept[name] = fn(ctx) end
end

local function try(ctx)
  for name, uses in pairs(use) do
    for what, fn in pairs(uses) do
      if kept[name] == nil then milter.log.info("TRY %s.%s=missing", name, what) else
        local ok, result = pcall(fn, kept[name], ctx)
        milter.log.info("TRY %s.%s=%s %s", name, what, tostring(ok), tostring(result))
      end
    end
  end
  if kept.ctx ~= ctx then try_ctx(kept.ctx, ctx) end
end

function on_mail(ctx) if not kept.done then ctx:body {} end end
function on_eoh(ctx)
  if kept.done then return try(ctx) end
  keep(ctx, make)
  kept.field_to = ctx.headers:field "To"
end
function on_eom(ctx)
  if kept.done then return try(ctx) end
  keep(ctx, make_of_body)
  kept.done = true
  while WAITS and not kept.released do milter.sleep(0.01) end
end
function on_done() kept.released = kept.done end
function ROWS() return make, make_of_body, use end
]==]

local STALE_FIELD = "false .-this field \".-\" belongs to message 1 of %a+ session.-, which is over; keep"
local CLOSED = "false .-the body is closed"

-- By thing and use.
local RIGHT = {
  field = { set = STALE_FIELD, delete = STALE_FIELD, insert_before = STALE_FIELD, set_table = STALE_FIELD,
    copy = STALE_FIELD, value = "true s1", text = "true s1", raw = "true Subject: s1", string = "true s1",
    without_message = "false ", odd_id = "false " },
  headers = { get = "true s1", count = "true 2", delete = STALE_FIELD, all = STALE_FIELD, each = STALE_FIELD },
  each = { next = { "true Subject", "true To", "true nil" }, field = { STALE_FIELD, "false " } },
  parsed = { value = "true one@x" },
  session_table = { value = "true 1", write = "true nil" },
  message_table = { value = "true 1", write = "true nil" },
  recipients = { value = { "true one@x", "true stale@x" }, write = "true two@x" },
  sender_params = { value = { "true <one@x>", "true STALE" }, write = "true <two@x>" },
  client = { value = "true first.example" }, mta = { write = "true unknown" },
  task = { wait = "true one", is_over = "true true", cancel = "true false", all = "true one" },
  sleeping_task = { wait = "true nil cancelled", cancel = "true false" },
  timer = { cancel = "true boolean" },
  tcp = { send = "true closed", receive = "true closed", connect = "true closed", close = "true ", name = "true nil",
    text = "true tcp{closed}" },
  udp = { send = "true closed", receive = "true closed", name = "true closed", close = "true " },
  walker = { eom = "true 3" }, scanner = { feed = "true table" }, own_body = { string = "true mine" },
  process = { output = "true one" },
  cancelled = { text = "true " },
  body = { string = CLOSED, read = CLOSED, chunks = CLOSED, lines = CLOSED, parts = CLOSED, edit = CLOSED,
    feed = CLOSED, restart = CLOSED, size = "true 6", finish = "true true", close = "true nil" },
  chunks = { next = CLOSED }, lines = { all = { CLOSED, "true " } },
  part = { raw = CLOSED, chunks = CLOSED, content = CLOSED, text = CLOSED, type = "true text/plain" },
  part_reader = { next = CLOSED },
  part_field = { set = { "true STALE", "false " }, delete = { "true Subject", "false " } },
  edit = { apply = CLOSED, chunks = CLOSED, string = CLOSED, footer = CLOSED, append = "", remove = "",
    header_changes = "true " },
  edit_reader = { next = CLOSED },
}

-- Where the present session's own data are named differently.
local function start(host, waits)
  local script = (waits and "local WAITS = true\n" or "local WAITS = false\n") .. SCRIPT
  if host == nil then
    host = assert(fake_mta.host { files = { ["script.lua"] = script } })
    finally(function() host:close() end)
  end
  local mta = fake_mta.start { host = host }
  finally(function() mta:close() end)
  return mta, host
end

local function begin(mta, client)
  mta:connect(client)
  mta:helo()
end

local function message(mta, who)
  return mta:message { from = "<" .. who .. "@x>", to = { "<" .. who .. "@x>" },
    headers = { { "Subject", who == "one" and "s1" or "s2" }, { "To", who .. "@x" } }, body = "body\r\n" }
end

local function tries(host)
  local found = {}
  for line in host:log():gmatch "[^\n]+" do
    local what, result = line:match 'text="?TRY ([%w_.]+)=(.-)"?$'
    if what then found[#found + 1] = { what = what, result = (result:gsub('\\"', '"')) } end
  end
  return found
end

local function matches(result, right)
  for _, pattern in ipairs(type(right) == "table" and right or { right }) do
    if result:find("^" .. pattern) then return true end
  end
  return false
end

-- After the things have been used: every use was right, and the present message left as it came.
local function check(host, reply, scope)
  local seen = {}
  for _, try in ipairs(tries(host)) do
    local row, use = try.what:match "^([^.]+)%.(.+)$"
    seen[row] = true
    if row == "ctx" then
      assert.truthy(try.result:find "^false .-another session" or try.result:find "^false .-the session has ended",
        scope .. ": " .. try.what .. ": " .. try.result)
    else
      local right = assert(RIGHT[row] and RIGHT[row][use], "no right value for " .. try.what)
      assert.truthy(matches(try.result, right), scope .. ": " .. try.what .. ": " .. try.result)
    end
  end
  for row in pairs(RIGHT) do assert.truthy(seen[row], scope .. ": not tried: " .. row) end
  assert.equal("continue", reply.kind, reply.text)
  assert.same({}, reply.edits, scope)
  assert.same({}, host:log_lines "script_error")
  assert.same({}, host:log_lines "registry")
  return seen
end

describe("what a script keeps", function()
  it("edits nothing and shows nothing new in the next message", function()
    local mta, host = start()
    begin(mta, "first.example")
    assert.equal("continue", message(mta, "one").kind)
    check(host, message(mta, "two"), "message")
  end)
  it("nor for the next SMTP client of the connection", function()
    local mta, host = start()
    begin(mta, "first.example")
    message(mta, "one")
    mta:feed(fake_mta.packet "K")
    mta:connect "second.example"
    mta:helo()
    assert.truthy(check(host, message(mta, "two"), "client").ctx)
  end)
  it("nor in a session beside it, whose message goes on", function()
    local one, host = start(nil, true)
    local two = start(host)
    for _, mta in ipairs { one, two } do begin(mta, "first.example") end
    one:mail "<one@x>"
    one:rcpt "<one@x>"
    one:header("Subject", "s1")
    one:header("To", "one@x")
    one:eoh()
    one:body("body\r\n")
    one:feed(fake_mta.packet("E", ""))
    assert.is_true(one:is_waiting())
    local reply = message(two, "two")
    assert.same({}, reply.edits)
    local foreign = 0
    for _, try in ipairs(tries(host)) do
      if try.what:find "^ctx%." then
        foreign = foreign + 1
        assert.truthy(try.result:find "^false .-another session", try.what .. ": " .. try.result)
      elseif try.what:find "^body%." and not try.what:find "size" and not try.what:find "finish"
        or try.what:find "^part%." and not try.what:find "type" or try.what == "edit.apply"
        or try.what:find "reader" then
        assert.truthy(try.result:find "^false .-another session", try.what .. ": " .. try.result)
      elseif try.what:find "^field%.set" or try.what:find "%.delete$" and try.what:find "^field" then
        assert.truthy(try.result:find "^false .-another session", try.what .. ": " .. try.result)
      end
    end
    assert.is_true(foreign > 40)
    reply = one:reply()
    assert.equal("continue", reply.kind)
    assert.same({}, reply.edits)
  end)
  it("nor on the next connection", function()
    local mta, host = start()
    begin(mta, "first.example")
    message(mta, "one")
    mta:close()
    local after = start(host)
    begin(after, "second.example")
    assert.truthy(check(host, message(after, "two"), "connection").ctx)
  end)
  it("nor in its old generation while a new one serves", function()
    local mta, host = start()
    begin(mta, "first.example")
    message(mta, "one")
    assert.equal(2, host:reload())
    check(host, message(mta, "two"), "generation")
  end)
  it("nor after a collection of all garbage", function()
    local mta, host = start()
    begin(mta, "first.example")
    message(mta, "one")
    host:write("script.lua", "function on_load() collectgarbage() end")
    assert.equal(2, host:reload())
    check(host, message(mta, "two"), "generation")
  end)
end)

-- ---- everything has a row ----

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Files of a directory in which one of two patterns occurs.
local function files_with(directory, ending, pattern, other)
  local found = {}
  for name in lfs.dir(directory) do
    local text = name:sub(-#ending) == ending and read(directory .. "/" .. name) or ""
    if text:find(pattern) or other and text:find(other) then
      found[#found + 1] = directory:gsub("^host/", ""):gsub("^lua/moonmilter/?", "") .. "/" .. name
    end
  end
  return found
end

local function sorted(list)
  table.sort(list)
  return list
end

describe("every kind of thing that a script can keep is among them:", function()
  it("the userdata of the host", function()
    local found = {}
    for _, folder in ipairs { "task", "bind", "script", "codec", "seal", "io" } do
      for _, file in ipairs(files_with("host/" .. folder, ".c", "mm_tagged_new%(", "lua_newuserdata%(")) do
        found[#found + 1] = file
      end
    end
    -- vault.c makes them for the others; bind.c, core.c, database.c, event.c, hash.c and received.c: of one call;
    -- codec.c, metric.c, re.c and seal.c know no session
    assert.same({ "bind/bind.c", "bind/core.c", "bind/ctx.c", "bind/database.c", "bind/event.c", "bind/handle.c",
      "bind/hash.c", "bind/limit.c", "bind/metric.c", "bind/re.c", "bind/received.c", "bind/task.c",
      "codec/codec.c", "seal/seal.c", "task/vault.c" }, sorted(found))
    local numbers = {}
    for name in read("host/bind/handle.h"):match("enum mm_handle_number (%b{})"):gmatch "MM_HANDLE_(%w+)" do
      numbers[#numbers + 1] = name
    end
    -- rows tcp and udp; no script sees the handle of a request, a database, a map, a service or a sink's place
    assert.same({ "SOCKET", "DATAGRAM", "HTTP", "DATABASE", "MAP", "PLACE", "SERVICE" }, numbers)
  end)
  it("no userdata is recognised by its metatable, and nothing of the host's is in the registry", function()
    local found = {}
    for _, folder in ipairs { "task", "bind", "script", "codec", "seal" } do
      for _, pattern in ipairs { "luaL_checkudata", "luaL_newmetatable", "luaL_getmetatable", "LUA_REGISTRYINDEX" } do
        for _, file in ipairs(files_with("host/" .. folder, ".c", pattern)) do found[#found + 1] = file end
      end
    end
    assert.same({ "script/state.c", "task/vault.c" }, sorted(found)) -- making the vault; the shield of the registry
  end)
  it("the classes of the Lua modules", function()
    local found = {}
    for _, folder in ipairs { "", "/mail", "/net", "/runtime" } do
      for _, file in ipairs(files_with("lua/moonmilter" .. folder, ".lua", "setmetatable%(")) do
        found[#found + 1] = file
      end
    end
    assert.same(sorted {
      "/body.lua", "/mime.lua", "/scan.lua", "/timer.lua", "mail/fields.lua", "mail/parts.lua", "mail/rewrite.lua",
      "runtime/wait.lua", -- rows above
      "mail/block.lua", "mail/embedded.lua", -- fields of no session: row part_field; part of a walker
      "/socket.lua", -- a weak table by handle
      "net/http_head.lua", "net/resp.lua", -- headers of an answer, plain data
      "/arc.lua", "/dkim.lua", -- what a caller made of its own header
      "/cidr.lua", "/json.lua", "/map.lua", "/re.lua", -- plain data
      "/geo.lua", -- files, opened for all sessions
      "/redis.lua", "net/cluster.lua", "net/lists.lua", "net/question.lua", "net/redis_node.lua",
      "net/sentinel.lua", -- clients, made for all sessions
      "net/subscription.lua", -- a socket: row tcp
      "/event.lua", "net/receiver.lua", -- sinks, made for all sessions
      "/greylist.lua", "/limit.lua", "/memo.lua", "/store.lua", -- what all workers of the host share
      "/init.lua", "net/luasec.lua", "net/luasocket.lua", "runtime/environment.lua", -- modules and globals
      "runtime/members.lua", -- ctx.message, a table of the script's own values: a new one for each message
      "runtime/prompt.lua", -- the globals of moonmilter eval
      "runtime/syntax.lua", "runtime/flow.lua", "runtime/lint.lua", -- of a load; no script sees them
    }, sorted(found))
  end)
  it("the members of ctx", function()
    local mta, host = start()
    begin(mta, "first.example")
    message(mta, "one")
    mta:feed(fake_mta.packet "K")
    begin(mta, "second.example")
    message(mta, "two")
    local tried, described, count = {}, read("lua/meta/ctx.lua"), 0
    for _, try in ipairs(tries(host)) do tried[try.what:match "^ctx%.([%w_]+)$" or ""] = true end
    local facts = described:match "%-%-%-@class moonmilter%.ctx\n(.-)\n[^%-]"
    for name in facts:gmatch "%-%-%-@field ([%l_]+)" do
      assert.truthy(tried[name], name)
      count = count + 1
    end
    for name in described:gmatch "function ctx:([%l_]+)" do
      assert.truthy(tried[name], name)
      count = count + 1
    end
    assert.is_true(count > 35, count)
  end)
end)
