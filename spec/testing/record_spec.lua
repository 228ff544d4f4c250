-- Conversations that a server records, replayed through other scripts.
local moonmilter = os.getenv "MOONMILTER" or "build/moonmilter"

local directory

local function write(name, text)
  local file = assert(io.open(directory .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  return directory .. "/" .. name
end

local function run(command)
  local pipe = io.popen(command .. " 2>&1; echo \"status $?\"")
  local text = pipe:read "*a"
  pipe:close()
  local output, status = text:match "^(.*)status (%d+)\n$"
  return tonumber(status), output
end

local SCRIPT = [[
  function on_rcpt(ctx, address) if address == "bob@example.com" then return ctx:reject(550, "5.1.1", "no bobs") end end
  function on_body(ctx, chunk) end
  function on_eom(ctx) ctx:add_header("X-Tag", "old") if ctx.sender == "bad@example.org" then return ctx:reject(550, "5.7.1", "bad") end end
]]

-- Serves SCRIPT with `set` while message files are sent.
local function record(set, ...)
  local socket = directory .. "/milter.sock"
  local script = write("filter.lua", SCRIPT)
  -- root becomes nobody, and takes scripts only from a directory that no other user may write to
  os.execute(("mkdir -p %s/records; chmod 755 %s; chown nobody %s/records 2>/dev/null"):format(directory, directory,
    directory))
  local pid = io.popen(("%s run -s unix:%s %s --record=%s/records %s >%s/log 2>&1 & echo $!"):format(moonmilter,
    socket, script, directory, set, directory)):read "*n"
  for _ = 1, 100 do
    if os.execute(("test -S %s"):format(socket)) == 0 then
      break
    end
    os.execute "sleep 0.05"
  end
  for _, from in ipairs { ... } do
    local eml = write("m.eml", ("From: %s\nTo: eve@example.com\nSubject: secret subject\n\nsecret body\n"):format(from))
    local status, text = run(("%s send --to unix:%s --quiet --rcpt eve@example.com --rcpt bob@example.com "
      .. "--from %s %s"):format(moonmilter, socket, from, eml))
    assert.equal(0, status, text)
  end
  os.execute(("kill %d; while kill -0 %d 2>/dev/null; do sleep 0.02; done"):format(pid, pid))
  local pipe = io.popen("cat " .. directory .. "/records/*.record")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("records", function()
  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
    os.execute("mkdir " .. directory)
  end)
  after_each(function() os.execute("rm -rf " .. directory) end)

  it("contain the conversation, without bodies, and replay alike through the same scripts", function()
    local text = record("", "ann@example.org", "bad@example.org")
    assert.truthy(text:find("moonmilter-record 1 redact=body", 1, true))
    assert.truthy(text:find("ann@example.org", 1, true))
    assert.falsy(text:find("secret body", 1, true))
    local status, output = run(("%s replay %s/records %s/filter.lua"):format(moonmilter, directory, directory))
    assert.equal("2 records, 2 messages: 0 differ\n", output)
    assert.equal(0, status)
  end)

  it("show what other scripts would have done", function()
    record("", "ann@example.org", "bad@example.org")
    local other = write("other.lua",
      [[ function on_eom(ctx) ctx:add_header("X-Tag", "new") end function on_helo() end ]])
    local status, output = run(("%s replay %s/records %s"):format(moonmilter, directory, other))
    assert.equal(1, status)
    assert.truthy(output:find("- add_header X-Tag: old", 1, true), output)
    assert.truthy(output:find("+ add_header X-Tag: new", 1, true), output)
    assert.truthy(output:find("- reject 550 5.7.1 bad at eom", 1, true), output)
    assert.truthy(output:find("- <bob@example.com>: reject 550 5.1.1 no bobs at rcpt", 1, true), output)
    assert.truthy(output:find("want helo, which the recorded ones did not", 1, true), output)
    assert.truthy(output:find("2 records, 2 messages: 2 differ", 1, true), output)
    local early = write("early.lua", [[ function on_mail(ctx) return ctx:tempfail("later") end ]])
    status, output = run(("%s replay %s/records %s"):format(moonmilter, directory, early))
    assert.equal(1, status)
    assert.truthy(output:find("+ tempfail 451 4.7.1 later at mail", 1, true), output)
  end)

  it("may hide all personal data, and are cut at their limit", function()
    local text = record("--record-redact=all", "ann@example.org")
    assert.falsy(text:find("ann", 1, true))
    assert.falsy(text:find("secret", 1, true))
    assert.truthy(text:find("<xxx@xxxxxxx.xxx>", 1, true))
    local status, output = run(("%s replay -q %s/records %s/filter.lua"):format(moonmilter, directory, directory))
    assert.equal("1 record, 1 message: 1 differ\n", output) -- bob is nobody now
    assert.equal(1, status)
  end)

  it("name the message that differs, without control characters for a terminal", function()
    record("", "'bad\27[2J@example.org'")
    local other = write("other.lua", "function on_eom(ctx) end")
    local _, output = run(("%s replay %s/records %s"):format(moonmilter, directory, other))
    assert.matches("%.record: message 1 from <bad\\x1b%[2J@example.org>\n  %- <bob@example.com>: reject", output)
    assert.is_nil(output:find("\27", 1, true))
  end)

  it("cover one connection in this many", function()
    local senders = {}
    for i = 1, 60 do
      senders[i] = "ann@example.org"
    end
    local _, count = record("--record-sample=4", unpack(senders)):gsub("moonmilter%-record 1", "")
    assert.is_true(count > 0 and count < 60, count .. " of 60") -- by chance: all or none once in 30 million runs
  end)

  it("end at their size limit, which replay reports", function()
    local long = write("long.lua", (SCRIPT:gsub('"old"', 'string.rep("old", 300)')))
    record("--record-max=1024 " .. long, "ann@example.org")
    local pipe = io.popen("cat " .. directory .. "/records/*.record | wc -c")
    local size = pipe:read "*n"
    pipe:close()
    assert.is_true(size > 200 and size <= 1025, size)
    local status, output = run(("%s replay %s/records %s"):format(moonmilter, directory, directory .. "/filter.lua"))
    assert.matches("record: cut at record_max; the rest is not compared\n1 record, 1 message: 0 "
      .. "differ\n$", output)
    assert.equal(0, status)
    local early = write("early.lua", [[ function on_mail(ctx) return ctx:tempfail("later") end ]])
    assert.matches("1 record, 1 message: 0 differ\n$",
      (select(2, run(("%s replay %s/records %s"):format(moonmilter, directory, early)))))
  end)

  it("are refused where they cannot be written, and distinguished from other files", function()
    local script = write("filter.lua", SCRIPT)
    local status, output = run(("%s run -s unix:%s/s.sock --record=/nowhere/at/all %s"):format(moonmilter,
      directory, script))
    assert.equal(78, status)
    assert.truthy(output:find("record: /nowhere/at/all: not a directory", 1, true), output)
    status, output = run(("%s replay %s %s"):format(moonmilter, script, script))
    assert.equal(65, status)
    assert.matches('filter.lua: not a record: its first line does not begin with "moonmilter%-record 1"\n$', output)
    local cut = write("x.record", "moonmilter-record 1 "
      .. "redact=body\n>\0\0\0\13O\0\0\0\6\0\0\1\255\0\31\255\255>\0\0\9\9")
    status, output = run(("%s replay %s %s"):format(moonmilter, cut, script))
    assert.equal(65, status)
    assert.truthy(output:find("not a whole packet", 1, true), output)
  end)
end)
