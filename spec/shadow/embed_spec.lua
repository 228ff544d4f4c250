--- A shadow in a host inside another program: connections without a socket, one process; and what the MTA is asked for.
local fake_mta = require "spec.support.fake_mta"
local process = require "spec.support.process"

local directories = {}

local function start(live, next_source, set)
  local directory = process.directory() .. "-next"
  directories[#directories + 1] = directory
  process.run("mkdir -p " .. directory)
  process.write_file(directory .. "/10-next.lua", next_source)
  local all = { "shadow=" .. directory }
  for _, pair in ipairs(set or {}) do all[#all + 1] = pair end
  local host = assert(fake_mta.host { script = live, set = all })
  return host, fake_mta.start { host = host }
end

local function message(mta)
  mta:begin()
  mta:mail()
  mta:rcpt()
  mta:data()
  mta:header("Subject", "x")
  mta:eoh()
  mta:body("text\r\n")
  return mta:eom()
end

-- The lines of the log about differences, once there are so many.
local function differences(host, count)
  local lines
  process.wait_until(10, function()
    host:turn(0)
    lines = host:log_lines "shadow"
    return #lines >= count
  end, "lines about the shadow in\n" .. host:log())
  return lines
end

describe("a shadow in an embedded host", function()
  local host, mta
  after_each(function()
    if mta then mta:close() end
    if host then host:close() end
    host, mta = nil, nil
    for _, directory in ipairs(directories) do process.run("rm -rf " .. directory) end
    directories = {}
  end)

  it("is compared, with more steps and body than the live scripts ask for", function()
    host, mta = start("function on_mail(ctx) end", [[
local size, fields = 0, 0
function on_header(ctx, name) fields = fields + 1 end
function on_body(ctx, chunk) size = size + #chunk end
function on_eom(ctx) ctx:add_header("X-Seen", fields .. " " .. size) end]])
    local reply = message(mta)
    assert.equal("continue", reply.kind)
    assert.same({}, reply.edits or {})
    assert.matches("differs=headers", differences(host, 1)[1])
  end)

  it("gets the whole body although live scripts skip it", function()
    host, mta = start([[
function on_body(ctx) return ctx:skip() end]], [[
function on_body(ctx, chunk) if chunk:find "second" then return ctx:reject(550, "5.7.1", "second") end end]])
    mta:begin()
    mta:mail()
    mta:rcpt()
    mta:data()
    mta:header("Subject", "x")
    mta:eoh()
    assert.equal("continue", mta:body("first\r\n").kind)
    mta:body("second\r\n")
    mta:eom()
    local line = differences(host, 1)[1]
    assert.matches("differs=verdict", line)
    assert.matches("shadow=reject shadow_by=10%-next%.lua:1", line)
  end)

  it("ends with the connection and with the host, whatever it waits for", function()
    host, mta = start("function on_eom(ctx) end", [[
local milter = require "moonmilter"
function on_mail(ctx) milter.sleep(30) end]])
    message(mta)
    host:turn(0)
    mta:close()
    mta = nil
    host:turn(0)
    host:close()
    host = nil
  end)

  it("does not keep the host from starting or reloading when it does not load", function()
    host, mta = start("function on_eom(ctx) end", "no Lua at all")
    assert.matches("result=failed error=.*10%-next%.lua:1", host:log_lines("shadow")[1])
    assert.equal("continue", message(mta).kind)
    assert.equal(2, host:reload())
  end)

  it("is refused as a share without a shadow", function()
    local h, why = fake_mta.host { script = "function on_eom(ctx) end", set = { "share=101%" } }
    assert.is_nil(h)
    assert.matches("share: .*0 to 100 per cent", why)
  end)
end)
