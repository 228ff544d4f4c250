-- https: maps in a host with two workers: what serves while the server publishes, errs, is gone and comes back, and
-- what is left of it after a restart.
local host = require "spec.support.host"
local inside = require "spec.async.run"
local process = require "spec.support.process"

local SCRIPT = [[
  local map = require "moonmilter.map"
  local m = map.open("https://localhost:%d/%s", { every = 1, settle = 0.05, %s http = { ca = %q, timeout = 3 } })
  function on_mail(ctx, key)
    local value, text, code = m:get(key)
    local info = m:info()
    return ctx:reject(550, "5.7.1", ("%%s/%%s/%%s/%%s"):format(value, code, info.entries, info.error and "bad" or "good"))
  end ]]

describe("an https map", function()
  local directory, port, server, h

  local function start_server()
    local output = directory .. "/output"
    process.write_file(output, "")
    server = process.start({ "python3", "spec/map/https_server.py", directory, tostring(port) },
      { output = output, life = 300 })
    assert(process.wait_until(20, function() return process.read_file(output):find "ready" end, "the web server"))
  end

  setup(function()
    directory = process.directory()
    process.run("spec/async/certificates " .. directory)
    process.run("chmod 755 " .. directory)
    port = process.free_port()
  end)
  teardown(function() process.run("rm -rf " .. directory) end)

  before_each(start_server)
  after_each(function()
    if h then h:stop() end
    h = nil
    server:stop()
    process.run(("rm -rf %s/state %s/list* %s/log"):format(directory, directory, directory))
  end)

  -- A new version, in one step.
  local function publish(name, text)
    process.write_file(directory .. "/" .. name .. ".tmp", text)
    os.rename(directory .. "/" .. name .. ".tmp", directory .. "/" .. name)
  end

  local function start(name, options)
    process.run(("mkdir -p %s/state; chown nobody %s/state 2>/dev/null || true"):format(directory, directory))
    local script = SCRIPT:format(port, name, options or "", directory .. "/ca.pem")
    h = host.start { workers = 2, arguments = { "--state_dir=" .. directory .. "/state" },
      scripts = { ["10-map.lua"] = script } }
    h:wait_serving(2, 15)
  end

  local function ask(key)
    local mta = h:connect()
    mta:envelope "helo"
    local reply = mta:mail(key or "ann")
    mta:close()
    return (reply.text:match "5%.7%.1 (.*)$")
  end

  local function becomes(expected, key)
    local last
    process.wait_until(15, function()
      last = ask(key)
      return last == expected
    end, function() return expected .. ", not " .. tostring(last) end)
  end

  local function requests(pattern)
    local _, count = (process.read_file(directory .. "/log") or ""):gsub(pattern, "")
    return count
  end

  it("serves what the server publishes, and follows it", function()
    publish("list", "ann one\nbob two\n")
    start "list#texthash"
    becomes "one/nil/2/good"
    publish("list", "ann three\nbob two\ncy four\n")
    becomes "three/nil/3/good"
    assert.is_true(requests "/list 200" <= 6) -- one worker asks, but for the first time
    assert(process.wait_until(10, function() return requests "/list 304" >= 1 end, "a conditional request"))
  end)

  it("serves the last good version while the server errs or is gone, and warns once", function()
    publish("list", "ann one\nbob two\n")
    start "list#texthash"
    becomes "one/nil/2/good"
    publish("list.order", "status 500")
    assert(process.wait_until(10, function() return requests "/list 500" >= 1 end))
    assert.matches("^one/nil/2/", ask())
    server:stop()
    assert.matches("^one/nil/2/", ask())
    local _, warnings = h:log():gsub("the server answers 500; the version of", "")
    assert.equal(1, warnings)
    process.run("rm -f " .. directory .. "/list.order")
    start_server()
  end)

  it("refuses a version that is empty, cut off, or has lost too much", function()
    publish("list", "a 1\nb 2\nc 3\nd 4\n")
    start "list#texthash"
    becomes("1/nil/4/good", "a")
    local before = requests "/list 200"
    publish("list", "a 9\n")
    assert(process.wait_until(10, function() return requests "/list 200" > before end))
    local said = "the new version has 1 entries, the last good one 4"
    assert(process.wait_until(10, function() return h:log():find(said, 1, true) end, said))
    assert.matches("^1/nil/4/", ask "a")
  end)

  it("serves the last good version while a body is cut off, comes too slowly, is empty or is none, then the new one",
    function()
      publish("list", "ann 0\nbob two\n")
      start "list#texthash"
      becomes "0/nil/2/good"
      for i, row in ipairs { { order = "cut" }, { order = "slow 20" }, { text = "" }, { text = "# nothing\n" },
        { text = "\0\1\2" }, { order = "status 404" } } do
        local last = ("%d/nil/2/"):format(i - 1)
        if row.order then publish("list.order", row.order) end
        publish("list", row.text or ("ann %d\nbob two\n"):format(i))
        becomes(last .. "bad")
        for _ = 1, 4 do assert.matches("^%d+/nil/2/", ask()) end -- of either worker; one asks the server
        process.run("rm -f " .. directory .. "/list.order")
        publish("list", ("ann %d\nbob two\n"):format(i))
        becomes(i .. "/nil/2/good")
      end
    end)

  it("takes only what the key has signed", function()
    process.run(("cd %s && openssl genpkey -algorithm ed25519 -out sign.pem && openssl pkey -in sign.pem -pubout "
      .. "-out sign.pub"):format(directory))
    local function sign(name)
      process.run(("cd %s && openssl pkeyutl -sign -rawin -inkey sign.pem -in %s | base64 -w0 >%s.sig"):format(directory,
        name, name))
    end
    publish("list", "ann one\nbob two\n")
    sign "list"
    local key = process.read_file(directory .. "/sign.pub")
    start("list#texthash", ("key = %q,"):format(key))
    becomes "one/nil/2/good"
    publish("list", "ann forged\nbob two\n")
    assert(process.wait_until(10, function() return h:log():find "the signature is not that of the key" end))
    assert.matches("^one/nil/2/", ask())
    publish("list", "ann later\nbob two\n")
    sign "list"
    becomes "later/nil/2/good"
    publish("list.sig", "no signature")
    publish("list", "ann forged\nbob two\n")
    becomes "later/nil/2/bad"
    process.run("rm -f " .. directory .. "/list.sig")
    publish("list", "ann unsigned\nbob two\n")
    local before = requests "/list 200"
    assert(process.wait_until(10, function() return requests "/list 200" > before end))
    for _ = 1, 4 do assert.is_nil(ask():find "unsigned") end
    sign "list"
    becomes "unsigned/nil/2/good"
  end)

  it("serves the last good version after a restart, while the server is gone", function()
    publish("list", "ann one\nbob two\n")
    start "list#texthash"
    becomes "one/nil/2/good"
    h:stop()
    server:stop()
    start "list#texthash"
    assert.matches("^one/nil/2/", ask())
    start_server()
  end)

  it("is down, but loads, while no version has come", function()
    start "list.none#texthash"
    assert.equal("nil/down/nil/bad", ask())
    publish("list.none", "ann one\n")
  end)

  it("does not load when it is written wrongly", function()
    for spec, why in pairs { ["https://h/x"] = "write https://HOST/PATH#FORMAT",
      ["https://h/x#cird"] = 'did you mean "cidr"' } do
      local said = inside.body({}, ('return show(pcall(require "moonmilter.map".open, %q))'):format(spec))
      assert.matches(why, said, 1, true)
    end
    assert.matches("key is no public key of Ed25519", inside.body({}, [[
      return show(pcall(require "moonmilter.map".open, "https://h/x#list", { key = "abc" }))]]), 1, true)
  end)
end)
