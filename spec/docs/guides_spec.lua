-- The filters that docs/coming-from-*.md and docs/workers.md show do what the pages say, with mail that meets their
-- rule and with mail that does not.
local host = require "spec.support.host"
local read_file = require("spec.support.process").read_file
local testing = require "moonmilter.testing"

-- The n-th Lua block of a page.
local function block(page, nth)
  local count = 0
  for source in read_file("docs/" .. page .. ".md"):gmatch "\n```lua\n(.-\n)```" do
    count = count + 1
    if count == nth then
      return source
    end
  end
  error(page .. " has no block " .. nth)
end

local mta

local function start(page, options)
  options = options or {}
  options.files = { ["10-page.lua"] = block(page, 1) }
  mta = testing.start(options)
  return mta
end

after_each(function()
  if mta then
    assert.same({}, mta:complaints())
    mta:close()
    mta = nil
  end
end)

local function multipart(filename)
  return { headers = { { "From", "a@x.example" }, { "Content-Type", "multipart/mixed; boundary=b" } },
    body = "--b\r\n\r\nhello\r\n--b\r\nContent-Disposition: attachment; filename=" .. filename
      .. "\r\n\r\nMZ\r\n--b--\r\n" }
end

describe("the filter of", function()
  it("coming-from-libmilter counts recipients, and limits them for mail from outside", function()
    start "coming-from-libmilter"
    local to = { "a@x.example", "b@x.example", "c@x.example", "d@x.example" }
    local result = mta:message { to = to }
    assert.equal(452, result.refused["<d@x.example>"].code)
    assert.equal("4", result.message:get "X-Recipients")
    assert.equal("1", mta:message({}).message:get "X-Recipients")
    mta:connect { auth = "ann" }
    assert.equal(4, #mta:message({ to = to }).recipients)
  end)

  it("coming-from-pymilter refuses lotteries", function()
    start "coming-from-pymilter"
    assert.equal("reject", mta:message({ headers = { { "Subject", "=?utf-8?q?LOTTERY?=" } } }).verdict)
    assert.equal("accept", mta:message({}).verdict)
    assert.equal("accept", mta:message({ headers = { { "From", "lottery@x.example" } } }).verdict)
  end)

  it("coming-from-milter-manager refuses nobody and marks the rest", function()
    start "coming-from-milter-manager"
    assert.equal("5.1.1", mta:message({ to = "nobody@x.example" }).status)
    assert.equal("yes", mta:message({}).message:get "X-Seen")
  end)

  it("coming-from-opendkim-lua holds what has a bad signature", function()
    local example = testing.domain "example.org"
    start("coming-from-opendkim-lua", { dns = example.dns })
    local message = example:sign()
    assert.is_nil(mta:message(message).quarantined)
    assert.is_nil(mta:message({}).quarantined)
    message.body = "changed\r\n"
    assert.equal("bad signature", mta:message(message).quarantined)
  end)

  it("coming-from-opendkim refuses what is forged, and takes what is signed", function()
    local example = testing.domain "example.org"
    start("coming-from-opendkim", { dns = example.dns })
    assert.equal("5.7.26", mta:message({ from = "a@evil.example", headers = { { "From", "a@example.org" } } }).status)
    assert.truthy(mta:message(example:sign()).message:get "Authentication-Results")
  end)

  it("coming-from-rspamd marks clients without a name, but not when DNS is silent", function()
    start("coming-from-rspamd", {
      dns = { ["192.0.2.1"] = { PTR = { "mail.example.org" } }, ["192.0.2.3"] = "timeout" },
    })
    local function mark(client)
      mta:connect(client)
      return mta:message({}).message:get "X-Spam"
    end
    assert.equal("yes", mark { ip = "192.0.2.2" })
    assert.is_nil(mark { ip = "192.0.2.1" })
    assert.is_nil(mark { ip = "192.0.2.3" })
    assert.is_nil(mark { ip = "192.0.2.2", auth = "ann" })
  end)

  it("coming-from-mimedefang removes attachments by name", function()
    start "coming-from-mimedefang"
    local body = mta:message(multipart "a.EXE").message.body
    assert.truthy(body:find("An attachment was removed.", 1, true), body)
    assert.is_nil(body:find("MZ", 1, true))
    assert.same({}, mta:message(multipart "a.txt").edits)
  end)
end)

describe("docs/workers.md", function()
  it("shows what each worker, each session and each generation counts for itself", function()
    local h = host.start { workers = 2, scripts = { ["10-count.lua"] = block("workers", 1) } }
    finally(function() h:stop() end)
    local connections = {}
    for i = 1, 6 do
      connections[i] = assert(h:connect())
    end
    for _, connection in ipairs(connections) do
      assert.equal("continue", connection:message().kind)
      assert.equal("continue", connection:message().kind)
    end
    assert.truthy(h:wait_log("of this session", 2))
    local since_load, count, workers = {}, 0, 0
    for worker, n, of_session in h:log():gmatch "worker (%d+), generation 1: message (%d+) since load, (%d+) of" do
      workers = workers + (since_load[worker] and 0 or 1)
      count = count + 1
      assert.equal((since_load[worker] or 0) + 1, tonumber(n))
      assert.equal(count % 2 == 1 and 1 or 2, tonumber(of_session))
      since_load[worker] = tonumber(n)
    end
    assert.equal(12, count)
    assert.equal(2, workers)

    -- Open sessions keep their generation; the next one begins anew.
    local _, status = h:ctl "reload"
    assert.equal(0, status)
    connections[1]:message()
    local fresh = assert(h:connect())
    fresh:message()
    assert.truthy(h:wait_log("generation 2: message 1 since load, 1 of this session", 2))
    assert.truthy(h:wait_log("since load, 3 of this session", 2))
    assert.is_nil(h:log():find "generation 2: message 2")
  end)

  it("shows that other sessions run while a handler waits", function()
    local source = block("workers", 2):gsub("%-%- other sessions[^\n]*", "print('active: ' .. active)")
    local h = host.start { workers = 0, scripts = { ["10-active.lua"] = source } }
    finally(function() h:stop() end)
    local first, second = assert(h:connect()), assert(h:connect())
    for _, connection in ipairs { first, second } do
      connection:envelope "body"
      connection:send("E", "")
    end
    assert.truthy(h:wait_log("active: 2", 5))
    assert.truthy(h:wait_log("active: 1", 5))
  end)
end)
