-- What `try` and `send` show of an identity check: the field that auth.stamp inserts is an edit like others.
local filter = require "spec.mta.filter"
local process = require "spec.support.process"
local testing = require "moonmilter.testing"
local zone = require "spec.auth.zone"

local program = os.getenv "MOONMILTER" or "build/moonmilter"

describe("an identity check", function()
  if filter.host_unavailable() then
    pending(filter.host_unavailable())
    return
  end

  local domain, directory, server, message = testing.domain "example.org", nil, nil, nil

  setup(function()
    local records = {}
    for name, entry in pairs(domain.dns) do
      records[name] = { { TXT = entry.TXT[1] } }
    end
    server, directory = zone.serve(zone.of(records)), process.directory()
    local lines, signed = {}, domain:sign()
    for _, field in ipairs(signed.headers) do
      lines[#lines + 1] = field[1] .. ": " .. field[2]
    end
    message = process.write_file(directory .. "/message.eml", table.concat(lines, "\n") .. "\n\nhello\n")
  end)

  teardown(function()
    server.stop()
    process.run("rm -rf " .. directory)
  end)

  local FIELD = "insert_header 0 Authentication%-Results: mx%.example%.net; spf=pass"

  local function shows(text)
    assert.matches(FIELD, text)
    assert.matches("dkim=pass header%.d=example%.org", text)
    assert.matches("dmarc=pass header%.from=example%.org", text)
  end

  local function run(arguments)
    return process.run(("%s %s --from ann@example.org --client 192.0.2.1 --macro j=mx.example.net %s 2>&1"):format(
      program, arguments, message))
  end

  it("of try is shown with its results", function()
    local text = run(("try --set dns_servers=127.0.0.1:%d examples/check-identity.lua"):format(server.port))
    shows(text)
  end)

  it("of a filter that send asks is shown with its results", function()
    local host = filter.host("examples/check-identity.lua", { arguments = { "--dns_servers",
      "127.0.0.1:" .. server.port } })
    finally(function() host:stop() end)
    shows((run("send --to " .. host.milter)))
  end)
end)
