--- `require "ssl"` inside a script against LuaSec itself: the same code, the same server, the same answers.
local inside = require "spec.async.run"
local world = require "spec.async.world"

-- Runs on either side. What differs from connection to connection (bytes, addresses) is shown as its kind.
local CODE = [[
  local ssl, socket = require "ssl", require "socket"
  local function kind(value)
    local text = tostring(value)
    if type(value) == "string" and text:find "[^ -~]" then
      return "bytes"
    end
    return type(value) == "userdata" and "userdata" or type(value) == "table" and "table of " .. #value or text
  end
  local function show(...)
    local words = {}
    for i = 1, select("#", ...) do
      words[i] = kind((select(i, ...)))
    end
    return #words == 0 and "nil" or table.concat(words, "|") -- a missing value is as good as nil
  end
  local function open(params, port)
    local plain = socket.tcp()
    plain:settimeout(3)
    assert(plain:connect("127.0.0.1", port or P.tls))
    params.mode, params.protocol = "client", "any"
    return assert(ssl.wrap(plain, params))
  end
  local out = {}
  local function note(name, ...)
    out[#out + 1] = name .. "=" .. show(...)
  end
  local function facts(c, when)
    for _, name in ipairs { "getalpn", "getfinished", "getpeercertificate", "getpeerchain", "getpeerverification", "dirty",
      "info", "want", "sni", "setstats", "settimeout" } do
      note(when .. " " .. name, c[name](c, name == "sni" and "mail.example" or nil))
    end
  end
  local c = open { verify = "none" }
  facts(c, "before")
  note("handshake", c:dohandshake())
  facts(c, "after")
  note("peer finished", c:getpeerfinished())
  note("exported", c:exportkeyingmaterial("EXPORTER-Channel-Binding", 32, ""))
  for _, name in ipairs { "cipher", "protocol", "bits", "algbits", "key", "authentication", "encryption", "mac", "export",
    "compression", "nonsense" } do
    note("info " .. name, c:info(name))
  end
  local cert = c:getpeercertificate()
  note("digest", cert:digest "sha256")
  note("valid", cert:validat(os.time()))
  note("second", (c:getpeercertificate(9)))
  note("index", c:getpeercertificate(0))
  note("name", c:getsniname())
  c:send "echo\nhello\n"
  note("line", (c:receive()))
  c:close()
  note("closed", (select(2, c:receive())))
  local trusted = open { verify = "none", cafile = DIR .. "/ca.pem" }
  trusted:dohandshake()
  note("trusted", trusted:getpeerverification())
  local expired = open({ verify = "none", cafile = DIR .. "/ca.pem" }, P.expired)
  expired:dohandshake()
  note("expired", expired:getpeerverification())
  note("refused", (open({ verify = "peer" }, P.tls):dohandshake()))
  note("going on", (open({ verify = "peer", verifyext = { "lsec_continue" } }, P.tls):dohandshake()))
  local cut = open { verify = "none" }
  cut:dohandshake()
  cut:send "part-reset\n"
  note("reset", (select(3, cut:receive "*a")))
]]

describe("ssl", function()
  local servers

  setup(function() servers = world.servers() end)
  teardown(function() servers.stop() end)

  local function luasec()
    local path = servers.directory .. "/luasec.lua"
    local file = assert(io.open(path, "w"))
    local prelude = inside.prelude(servers):gsub('local milter = [^\n]*', ""):gsub('local socket = [^\n]*', "")
    file:write(prelude)
    file:write(CODE, 'io.write(table.concat(out, "\\n"))')
    file:close()
    return world.run("env -u LUA_PATH -u LUA_CPATH luajit " .. path .. " 2>&1")
  end

  it("answers as LuaSec does", function()
    local file = assert(io.open(servers.directory .. "/inside.lua", "w"))
    file:write(inside.prelude(servers), CODE, 'return table.concat(out, "\\n")')
    file:close()
    local ours = {}
    local function part(first) -- a reply has room for some of them only
      return inside.body(servers, ([[
        local text = assert(loadfile(DIR .. "/inside.lua"))() .. "\n"
        return text:sub(%d, %d)
      ]]):format(first, first + 599))
    end
    for first = 1, 3000, 600 do
      ours[#ours + 1] = part(first)
    end
    local text = table.concat(ours):gsub("%(empty%)", ""):gsub("<LF>", "\n"):gsub("%s+$", "")
    assert.equal(luasec(), text)
    assert.matches("trusted=true", text)
  end)
end)
