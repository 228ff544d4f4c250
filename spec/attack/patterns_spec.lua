-- Fields, parts and answers made for parsers that go back: before, each held a worker for ten seconds and more, in C,
-- where no budget of CPU time ends it, until the watchdog ended the worker with all its sessions.
local host = require "spec.support.host"
local process = require "spec.support.process"
local support = require "spec.async.support" -- luacheck: ignore 211

local SOON = 5 -- seconds; milliseconds are normal, and the worker of before needed 10 to 26

local function example(name)
  return process.read_file("examples/" .. name)
end

-- One worker that serves these scripts, without a wait between a worker's end and the next.
local function serve(scripts)
  local h = host.start { scripts = scripts, workers = 1 }
  finally(function() h:stop() end)
  return h, h:workers()[1]
end

-- One message: its last reply, after how many seconds.
local function deliver(h, fields, body)
  local mta = assert(h:connect(60))
  mta:macros("C", { j = "mx.example" })
  mta:greet()
  mta:helo()
  mta:mail()
  mta:rcpt()
  local begin, reply = host.now(), nil
  mta:data()
  for _, field in ipairs(fields) do mta:header(field[1], field[2]) end
  for _, step in ipairs { "eoh", "body", "eom" } do
    reply = mta[step](mta, step == "body" and body or nil)
    if reply.kind ~= "continue" then break end
  end
  mta:close()
  return reply, host.now() - begin
end

local function answers_soon(h, worker, fields, body)
  local reply, seconds = deliver(h, fields, body)
  assert.is_true(seconds < SOON, ("%s after %.1f s\n%s"):format(reply.kind, seconds, h:log()))
  assert.is_true(host.exists(worker), "the worker has ended:\n" .. h:log())
  assert.is_true(reply.kind == "continue" or reply.kind == "reply" and reply.text:find "^554" ~= nil,
    reply.kind .. " " .. (reply.text or "") .. "\n" .. h:log())
  return reply
end

-- Texts of some 60 KB on which patterns go back; each begins like a value of its field.
local function hostile(head)
  local texts = {}
  for _, piece in ipairs { "@", "1", " ", "<", "(", "=", ";", "=?a?q?" } do
    for _, tail in ipairs { " x", "_=x" } do
      texts[#texts + 1] = head .. piece:rep(math.floor(60000 / #piece)) .. tail
    end
  end
  return texts
end

-- Every row with every text; without SLOW=1 three of eight pairs, which reach every row, and every text in some.
-- linear_spec.lua tries every parser with more.
local function pairs_of(rows)
  local list = {}
  for k, row in ipairs(rows) do
    for i, text in ipairs(hostile(row.head or "")) do
      if os.getenv "SLOW" or (i + k) % 8 % 3 == 0 then list[#list + 1] = { row.name, text } end
    end
  end
  return list
end

describe("a worker stays alive and answers soon:", function()
  it("block-executables.lua, a part with a Content-ID of 60 KB", function()
    local h, worker = serve { ["10-block.lua"] = example "block-executables.lua" }
    local fields = { { "Content-Type", "multipart/mixed; boundary=b" } }
    local rows = { { name = "Content-ID" }, { name = "Content-Type" }, { name = "Content-Disposition" } }
    for _, pair in ipairs(pairs_of(rows)) do
      answers_soon(h, worker, fields, ("--b\r\n%s: %s\r\n\r\nx\r\n--b--\r\n"):format(unpack(pair)))
    end
    local program = "--b\r\nContent-ID: " .. ("@"):rep(60000) .. " x\r\n\r\nMZ\144\0\3\0\0\0\r\n--b--\r\n"
    assert.equal("reply", answers_soon(h, worker, fields, program).kind) -- it is refused
  end)

  it("strip-authres.lua, an Authentication-Results of 59 KB", function()
    local h, worker = serve { ["10-strip.lua"] = example "strip-authres.lua" }
    local rows = {}
    for i, head in ipairs { "", "mx; ", "mx; spf=pass " } do
      rows[i] = { name = "Authentication-Results", head = head }
    end
    for _, pair in ipairs(pairs_of(rows)) do answers_soon(h, worker, { pair }) end
    local reply = answers_soon(h, worker, { { "Authentication-Results", "mx.example; " .. ("1"):rep(59000) .. "_=x" } })
    assert.same({ "m", "h" }, { reply.edits[1]:sub(1, 1), reply.edits[2]:sub(1, 1) })
  end)

  it("every method of a field, on any field of 60 KB", function()
    local h, worker = serve { ["10-read.lua"] = [[
      options = { facts = { "headers" } }
      function on_eom(ctx)
        for _, field in ipairs(ctx.headers) do
          field:text() field:addresses() field:addresses { mode = "strict" } field:date() field:params() field:parsed()
        end
      end
    ]] }
    local rows = {}
    for i, name in ipairs { "From", "Message-ID", "Received", "List-Unsubscribe", "List-Id", "References" } do
      rows[i] = { name = name }
    end
    for _, field in ipairs(pairs_of(rows)) do
      assert.equal("continue", answers_soon(h, worker, { field }).kind)
    end
  end)

  it("an HTTP answer with lines of 90 KB", function()
    local server = require("socket").bind("127.0.0.1", 0)
    local _, port = server:getsockname()
    finally(function() server:close() end)
    server:settimeout(10)
    local h, worker = serve { ["10-http.lua"] = ([[
      local http = require "moonmilter.http"
      function on_eom(ctx)
        local response, text = http.get("http://127.0.0.1:%d/", { timeout = 5 })
        return ctx:reject(response and #response.headers.a .. " bytes" or text)
      end
    ]]):format(port) }
    local mta = assert(h:connect(60))
    mta:envelope "body"
    local begin = host.now()
    mta:send "E"
    local client = assert(server:accept())
    client:receive "*l"
    client:send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: x" .. (" "):rep(90000) .. "x\r\nConnection: close\r\n\r\n")
    local reply = mta:reply()
    client:close()
    mta:close()
    assert.matches("90002 bytes", reply.text)
    assert.is_true(host.now() - begin < SOON)
    assert.is_true(host.exists(worker))
    h:stop()
  end)
end)
