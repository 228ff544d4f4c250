--- The web page about a host, as an HTTP client sees it.
local cjson = require "cjson"
local socket = require "socket"

local host = require "spec.support.host"
local page = require "spec.page.page"
local process = require "spec.support.process"

local POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
  .. "frame-ancestors 'none'; base-uri 'none'"

local function objects(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = cjson.decode(line) end
  return list
end

local function plain(text, what) return text:find(what, 1, true) ~= nil end

describe("moonmilter page", function()
  local p
  after_each(function() if p then p:stop() end p = nil end)

  --- A page of which the history holds these messages.
  local function with_mail(options, ...)
    p = page.start(options)
    local list = { ... }
    for i, message in ipairs(list) do
      message.id = message.id or ("Q%03d"):format(i)
      p:mail(message)
    end
    p:wait("/messages?json", function(text, status) return status == 200 and #objects(text) >= #list end)
    return p
  end

  --- Sends bytes as they are; the answer's first line, and all of it.
  local function raw(bytes, where)
    local s = assert(socket.connect("127.0.0.1", where or p.port))
    s:settimeout(20)
    s:send(bytes)
    local text, _, part = s:receive "*a"
    s:close()
    text = text or part or ""
    return text:match "^[^\r\n]*", text
  end

  it("answers each screen, and each as JSON, under a strict policy", function()
    with_mail({ workers = 1 }, { id = "QSEEN", subject = "a subject" }, { to = "refused@two.example" })
    for path, words in pairs {
      ["/"] = { "Verdicts", "Workers", "Waiting", "Last messages", "moonmilter ctl status" },
      ["/messages"] = { "a subject", "no such box here", "QSEEN", "moonmilter ctl history" },
      ["/message?id=QSEEN"] = { "20-second.lua", "on_eom", "X-Seen", "looked at", "moonmilter ctl explain QSEEN" },
      ["/scripts"] = { "10-first.lua", "20-second.lua", "on_rcpt", "moonmilter profile" },
      ["/state"] = { "Generations", "Maps", "Worker deaths", "ctl maps", "Stores", ">seen<",
        "Limits in use", ">sent.a</a>", "/state?limit=sent.a" },
    } do
      local status, text, headers = p:get(path)
      assert.equal(200, status, path)
      for _, word in ipairs(words) do assert.truthy(plain(text, word), path .. ": " .. word .. "\n" .. text) end
      assert.equal("text/html; charset=utf-8", headers["content-type"])
      assert.equal(POLICY, headers["content-security-policy"])
      assert.equal("nosniff", headers["x-content-type-options"])
      assert.equal("no-referrer", headers["referrer-policy"])
      assert.equal("no-store", headers["cache-control"])
      assert.equal("same-origin", headers["cross-origin-resource-policy"])
      assert.is_nil(text:find "<script>" or text:find " style=" or text:find " on%a+=")
      for url in text:gmatch '[hs][cre][crf][f]?="([^"]*)"' do assert.truthy(url:find "^[/#?]", url) end
      local with = path:find "?" and "&json" or "?json"
      status, text, headers = p:get(path .. with)
      assert.equal(200, status, path)
      assert.truthy(headers["content-type"]:find "json")
      assert.equal(POLICY, headers["content-security-policy"])
      assert.truthy(#objects(text) >= 1)
    end
    for path, kind in pairs { ["/page.css"] = "text/css", ["/page.js"] = "text/javascript" } do
      local status, _, headers = p:get(path)
      assert.equal(200, status)
      assert.truthy(headers["content-type"]:find(kind, 1, true))
    end
  end)

  it("says as JSON what ctl --json says", function()
    with_mail({ workers = 1 }, { id = "QA" }, { id = "QB", from = "spam@one.example" })
    assert.equal((p.host:ctl("history", "--json", "--count", "50")), (select(2, p:get "/messages?json")))
    assert.equal((p.host:ctl("history", "--json", "--verdict", "reject")), (select(2, p:get
      "/messages?json&verdict=reject")))
    assert.equal((p.host:ctl("explain", "--json", "QB")), (select(2, p:get "/message?json&id=QB")))
    p:wait("/scripts?json", function(text)
      local mine = cjson.decode(text)
      return mine.generations and #mine.generations.generations == 1
    end)
    local function still(value) -- what moves from one moment to the next
      for _, list in ipairs { value.processes or {}, value.generations or {} } do
        for _, item in ipairs(list) do
          for _, key in ipairs { "lua_bytes", "longest_collection_us", "held_bytes", "held_peak", "held_largest" } do
            item[key] = 0
          end
        end
      end
      value.uptime = 0
      return value
    end
    local function compare()
      local mine = cjson.decode((select(2, p:get "/state?json")))
      assert.same(still(cjson.decode((p.host:ctl("status", "--json")))), still(mine.status))
      assert.same(still(cjson.decode((p.host:ctl("generations", "--json")))), still(mine.generations))
      assert.same(cjson.decode((p.host:ctl("maps", "--json"))), mine.maps)
      assert.same(cjson.decode((p.host:ctl("store", "list", "--json"))), mine.stores)
      assert.same(cjson.decode((p.host:ctl("limit", "list", "--json"))), mine.limits)
    end
    local ok, why
    host.wait_until(15, function() -- what the page shows may be a second old
      ok, why = pcall(compare)
      return ok
    end)
    assert(ok, why)
  end)

  it("answers HEAD without a body, and no other method", function()
    with_mail({}, {})
    local status, text, headers = p:get("/", { method = "HEAD" })
    assert.same({ 200, "" }, { status, text })
    assert.is_true(tonumber(headers["content-length"]) > 1000)
    assert.same({ 200, "" }, { p:get("/live/now", { method = "HEAD" }), "" })
    for _, method in ipairs { "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE" } do
      local first, all = raw(method .. " / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      assert.truthy(first:find "^HTTP/1.1 405 ", method .. ": " .. first)
      assert.truthy(all:find "Allow: GET, HEAD\r\n")
    end
    assert.equal(404, (p:get "/etc/passwd"))
    assert.equal(404, (p:get "/messages/"))
    assert.equal(404, (p:get "/message?id=NOSUCH"))
  end)

  it("makes subjects, names and addresses of others harmless", function()
    local evil = '"><script>alert(1)</script>'
    with_mail({}, { id = "QEVIL", from = evil .. "@one.example", helo = "<img/src=x/onerror=alert(2)>",
      subject = "a\226\128\174gpj.exe \226\128\139\27[31m \255 &amp; '`" },
      { id = "Q'\"<b>", to = "</td><script>alert(3)</script>@two.example" })
    for _, path in ipairs { "/", "/messages", "/message?id=QEVIL", "/message?id=Q%27%22%3Cb%3E",
      "/messages?from=%22%3E%3Cscript%3E", "/messages?script=%3Cscript%3E&to=%22",
        "/messages?verdict=%22%3E%3Cscript%3E",
      "/state?limit=%22%3E%3Cscript%3E", "/state?store=%3Cscript%3E", "/message?id=%3Cscript%3Ealert(4)" } do
      local _, text = p:get(path)
      assert.is_nil(text:find("<script>", 1, true) or text:find("<img", 1, true), path .. "\n" .. text)
      assert.is_nil(text:find("[%z\1-\9\11-\31\127]"), path)
      assert.is_nil(text:find("\226\128\174", 1, true) or text:find("\226\128\139", 1, true) or text:find("\255", 1,
        true))
    end
    local _, text = p:get "/message?id=QEVIL"
    assert.truthy(plain(text, "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;@one.example"), text)
    assert.truthy(plain(text, "&lt;img/src=x/onerror=alert(2)&gt;"), text)
    assert.truthy(plain(text, "a\\u{202e}gpj.exe \\u{200b}\\x1b[31m"), text)
    assert.truthy(plain(text, "&amp;amp; &#39;&#96;"), text)
    local _, rows = p:get "/messages"
    assert.truthy(plain(rows, 'href="/message?id=Q%27%22%3Cb%3E"'), rows)
    local _, json = p:get "/messages?json"
    assert.is_nil(json:find "[%z\1-\9\11-\31]")
    assert.equal(2, #objects(json))
    assert.truthy(plain((select(2, p:get "/messages?from=a%27b")), "--from &#39;a&#39;\\&#39;&#39;b&#39;"))
  end)

  it("obeys what the history leaves out", function()
    with_mail({ arguments = { "--history_redact=addresses" } }, { id = "QA", from = "ann@one.example", subject =
      "secret" })
    for _, path in ipairs { "/messages", "/message?id=QA", "/messages?json" } do
      local _, text = p:get(path)
      assert.truthy(plain(text, "one.example"), text)
      assert.is_nil(text:find("ann@", 1, true) or text:find("secret", 1, true), text)
    end
  end)

  it("filters as ctl history does, and says which words are wrong", function()
    with_mail({}, { id = "QA", from = "ann@one.example" }, { id = "QB", from = "spam@x.example", to =
      "bob@three.example" },
      { id = "QC", from = "later@x.example" }, { id = "QD", from = "joe@one.example", to = "refused@two.example" }, {
        id = "QE", from = "raises@x.example" })
    for query, ids in pairs {
      ["from=ANN"] = "QA", ["to=three"] = "QB", ["id=QC"] = "QC", ["verdict=tempfail"] = "QC QE", ["verdict=reject"] =
        "QB QD",
      ["verdict=error"] = "QE", ["ip=192.0.2.0/24"] = "QA QB QC QD QE", ["ip=198.51.100.1"] = "",
        ["script=20-second.lua"] = "QA QB QC QE",
      ["since=1h"] = "QA QB QC QD QE", ["until=1h"] = "", ["from=x.example&verdict=reject"] = "QB",
        ["since=2001-01-01T00:00"] =
      "QA QB QC QD QE", ["nosuch=1"] = "QA QB QC QD QE", ["from=spam%40x"] = "QB", ["from="] = "QA QB QC QD QE",
        ["count=2"] = "QD QE",
    } do
      local status, text = p:get("/messages?json&" .. query)
      local found = {}
      for _, message in ipairs(objects(text)) do found[#found + 1] = message.queue_id end
      assert.same({ 200, ids }, { status, table.concat(found, " ") }, query)
      local _, rows = p:get("/messages?" .. query)
      local shown = {}
      for id in rows:gmatch 'href="/message%?id=(Q%u)"' do table.insert(shown, 1, id) end
      assert.equal(ids, table.concat(shown, " "), query)
    end
    for query, word in pairs { ["ip=banana"] = "ip: ", ["verdict=perhaps"] = "verdict: ", ["since=yesterday"] =
      "since: ",
      ["until=-"] = "until: ", ["before=x"] = "before: ", ["count=many"] = "count: ", ["from=" .. ("a"):rep(200)] =
        "from: " } do
      local status, text = p:get("/messages?" .. query)
      assert.equal(400, status, query)
      assert.truthy(plain(text, word), query .. text)
      assert.equal(400, (p:get("/messages?json&" .. query)))
    end
    assert.equal(400, (p:get "/messages?from=%zz"))
    assert.equal(400, (p:get "/messages?from=%00"))
    assert.equal(414, (p:get("/messages?from=" .. ("a"):rep(4000))))
  end)

  it("shows older messages on further pages", function()
    local list = {}
    for i = 1, 23 do list[i] = { id = ("Q%03d"):format(i) } end
    with_mail({}, unpack(list))
    local seen, path = {}, "/messages?count=10"
    for _ = 1, 5 do
      local _, text = p:get(path)
      for id in text:gmatch 'href="/message%?id=(Q%d+)"' do seen[#seen + 1] = id end
      local before = text:match 'rel="next" href="[^"]*before=(%d+)"'
      path = before and "/messages?count=10&before=" .. before
      if not path then break end
    end
    assert.equal(23, #seen)
    assert.same({ "Q023", "Q001" }, { seen[1], seen[23] })
  end)

  it("tells what is new by server-sent events, and lets a slow reader wait for nobody", function()
    with_mail({}, { id = "QOLD" })
    local s = assert(socket.connect("127.0.0.1", p.port))
    s:settimeout(20)
    s:send "GET /live/messages?verdict=reject&before=2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert.truthy(s:receive "*l":find "200 OK")
    local slow = {}
    for i = 1, 8 do -- they never read
      slow[i] = assert(socket.connect("127.0.0.1", p.port))
      slow[i]:send "GET /live/now HTTP/1.1\r\nHost: localhost\r\n\r\n"
    end
    p:mail { id = "QPASS" }
    p:mail { id = "QNEW", from = "spam@x.example" }
    local text, event = "", nil
    repeat
      local line = assert(s:receive "*l")
      text = text .. line .. "\n"
      event = line:match "^event: (%w+)" or event
    until line:find("QNEW", 1, true)
    assert.equal("rows", event)
    assert.is_nil(text:find("QPASS", 1, true) or text:find("QOLD", 1, true))
    assert.equal(200, (p:get "/"))
    s:close()
    for i = 1, 8 do slow[i]:close() end
  end)

  it("has a bound for readers of events, and takes back the places of those who leave", function()
    with_mail({}, {})
    local list = {}
    local function open()
      local s = assert(socket.connect("127.0.0.1", p.port))
      s:settimeout(20)
      s:send "GET /live/now HTTP/1.1\r\nHost: localhost\r\n\r\n"
      list[#list + 1] = s
      return (s:receive "*l")
    end
    for _ = 1, 16 do assert.truthy(open():find "200") end
    assert.truthy(open():find "503")
    assert.equal(200, (p:get "/"))
    for _, s in ipairs(list) do s:close() end
    list = {}
    assert(host.wait_until(15, function() return open():find "200" end, "a free place"))
    for _, s in ipairs(list) do s:close() end
  end)

  it("survives what is no HTTP, and bodies, and hangs up on clients that say nothing", function()
    with_mail({}, {})
    for _, bytes in ipairs { "\0\0\0\0\r\n\r\n", "GET\r\n\r\n", ("A"):rep(100000), "GET / HTTP/9.9\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: localhost\r\n" .. ("X-Long: " .. ("y"):rep(1000) .. "\r\n"):rep(40) .. "\r\n",
      "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n" } do
      local first = raw(bytes)
      assert.is_nil(first:find " 200 ", bytes:sub(1, 60))
    end
    local silent = {}
    for i = 1, 70 do -- more than are served at a time
      silent[i] = socket.tcp()
      silent[i]:settimeout(2)
      silent[i]:connect("127.0.0.1", p.port)
    end
    assert(host.wait_until(30, function() return p:get "/" == 200 end, "an answer after the silent ones"))
    for i = 1, 70 do silent[i]:close() end
    assert.equal(200, (p:get "/"))
  end)

  it("lets clients wait that come at the same moment, and answers each", function()
    with_mail({}, {})
    p.child:signal "SIGSTOP" -- nobody accepts
    local list = {}
    for i = 1, 32 do
      list[i] = socket.tcp()
      list[i]:settimeout(20)
      assert(list[i]:connect("127.0.0.1", p.port), "client " .. i)
      list[i]:send "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    end
    p.child:signal "SIGCONT"
    for i = 1, 32 do
      assert.equal("HTTP/1.1 200 OK", (list[i]:receive "*l"))
      list[i]:close()
    end
  end)

  it("answers only names of the loopback device, and those that it is told", function()
    with_mail({ page = { "--name", "page.example.org" } }, {})
    for name, status in pairs { ["localhost"] = 200, ["127.0.0.1:9926"] = 200, ["LOCALHOST:1"] = 200, ["[::1]:80"] =
      200,
      ["page.example.org"] = 200, ["Page.Example.ORG:443"] = 200, ["evil.example"] = 421, ["localhost.evil.example"] =
        421,
      ["127.0.0.1.evil.example"] = 421, ["[::2]"] = 421, ["[::1"] = 421, ["localhost:x"] = 421, [""] = 421,
        ["10.0.0.1"] = 421 } do
      local first = raw(("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(name))
      assert.truthy(first:find(" " .. status .. " ", 1, true), name .. ": " .. first)
    end
    assert.truthy(raw("GET / HTTP/1.0\r\n\r\n"):find " 421 ")
  end)

  it("listens on a unix socket of its user, for any name", function()
    p = page.start { unix = true, page = { "--mode", "0666" } }
    local s = require "socket.unix"
    s = (type(s) == "table" and s.stream or s)()
    s:settimeout(10)
    assert(s:connect(p.path))
    s:send "GET / HTTP/1.1\r\nHost: whatever.example\r\nConnection: close\r\n\r\n"
    assert.truthy(s:receive "*l":find " 200 ")
    s:close()
    assert.equal(page.is_root and "games 666\n" or "666\n", process.run("stat -c '" .. (page.is_root and "%U " or "")
      .. "%a' "
      .. p.path))
    p.child:signal "SIGTERM"
    assert(host.wait_until(10, function() return not p.child:running() end, "the end"))
  end)

  for arguments, why in pairs {
    ["--listen inet:9926@0.0.0.0"] = "other machines reach this address",
    ["--listen inet6:9926@[::]"] = "other machines reach this address",
    ["--listen banana"] = "--listen",
    ["--listen systemd"] = "write unix:PATH",
    ["--mode 999"] = "--mode",
    ["--name http://x"] = "--name",
    ["extra"] = "only options are allowed",
  } do
    it("does not start with " .. arguments, function()
      local pipe = io.popen(("%s page --control /nonexistent %s 2>&1; echo \"status $?\""):format(host.program(),
        arguments))
      local text = pipe:read "*a"
      pipe:close()
      assert.truthy(text:find("status 64", 1, true), text)
      assert.truthy(text:find(why, 1, true), text)
    end)
  end

  it("warns of an address that others reach, when told to listen there", function()
    p = page.start { page = { "--listen", ("inet:%d@0.0.0.0"):format(process.free_port()), "--anyone" } }
    assert.truthy(plain(p.child:text(), "warning: whoever reaches inet:"))
    assert.equal(200, (p:get "/"))
  end)

  it("says with status 503 that the host is down, and recovers by itself", function()
    with_mail({}, { id = "QLAST" })
    assert.equal(200, (p:get "/"))
    p.host:signal "SIGKILL"
    local text = p:wait("/", function(_, status) return status == 503 end)
    assert.truthy(plain(text, "The host does not answer"), text)
    for _, path in ipairs { "/messages", "/scripts", "/state", "/messages?json", "/?json", "/message?id=QLAST" } do
      assert.equal(503, (p:get(path)), path)
    end
    -- what it has seen last is still there to be read
    assert.truthy(plain((select(2, p:get "/messages")), "QLAST"))
    local scripts = process.write_file(p.directory .. "/10-other.lua", "function on_eom() end")
    local again = process.start({ host.program(), "run", "-s", ("inet:%d@127.0.0.1"):format(process.free_port()),
      "--control="
      .. p.control, "--history=10", page.is_root and "--user=daemon" or "--workers=0", page.is_root and
        "--control_readers=games"
      or "--workers=0", scripts }, { output = p.directory .. "/again", life = 60 })
    local ok, why = pcall(function()
      assert(again:wait_text("moonmilter: ready", 15))
      p:wait("/", function(_, status) return status == 200 end)
      p:wait("/messages", function(body) return not plain(body, "QLAST") end)
    end)
    again:stop()
    assert(ok, why)
  end)

  it("answers while the host stands still", function()
    with_mail({}, { id = "QLAST" })
    assert.equal(200, (p:get "/"))
    p.host:signal "SIGSTOP"
    local ok, why = pcall(function()
      local text = p:wait("/", function(_, status) return status == 503 end, 20)
      assert.truthy(plain(text, "has not answered") or plain(text, "is stopped"), text)
      local began = socket.gettime()
      for _ = 1, 10 do assert.equal(503, (p:get "/state")) end
      assert.is_true(socket.gettime() - began < 10)
    end)
    p.host:signal "SIGCONT"
    assert(ok, why)
    p:wait("/", function(_, status) return status == 200 end, 20)
  end)

  it("says what to do when the host keeps no history", function()
    p = page.start { arguments = { "--history=0" } }
    local status, text = p:get "/messages"
    assert.equal(200, status)
    assert.truthy(plain(text, "history = 10000"), text)
    assert.equal(503, (p:get "/messages?json"))
  end)

  it("shows sessions that wait, a failed reload and a worker that died", function()
    with_mail({ workers = 1 }, { id = "QA" })
    local mta = assert(p.host:connect())
    mta:greet()
    mta:helo()
    mta:send("M", "<slow@one.example>\0")
    p:wait("/", function(text) return plain(text, "<b>sleep</b>") and plain(text, "10-first.lua:5") end)
    p.host:write { ["30-bad.lua"] = "this is no Lua" }
    p.host:ctl "reload"
    p:wait("/", function(text) return plain(text, "last failure: ") and plain(text, "last reload failed") end)
    p:wait("/scripts", function(text) return plain(text, "The last reload failed") end)
    host.kill(p.host:workers()[1], "SIGKILL")
    p:wait("/", function(text) return plain(text, "worker has died") end)
    p:wait("/state", function(text) return text:find '<div class="alarming"><dt>Worker deaths</dt><dd>1</dd>' end)
    mta:close()
  end)

  if page.is_root then
    it("runs as its own user, without rights, and can change nothing", function()
      with_mail({}, {})
      local pid = p.child:pid()
      local text = process.read_file(("/proc/%d/status"):format(pid))
      local games = process.run "id -u games":match "%d+"
      assert.truthy(text:find(("Uid:\t%s\t%s\t%s\t%s\n"):format(games, games, games, games), 1, true), text)
      assert.truthy(text:find "CapEff:\t0+\n" and text:find "NoNewPrivs:\t1\n", text)
      local pipe =
        io.popen(("setpriv --reuid=games --regid=games --clear-groups %s ctl --control %s stop 2>&1; echo \"status $?\"")
        :format(host.program(), p.host.control))
      assert.truthy(pipe:read "*a":find "status 77\n$")
      pipe:close()
      assert.equal(200, (p:get "/"))
    end)
  end
end)
