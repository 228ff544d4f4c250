-- The process that shows metrics: what an HTTP client, a Prometheus and the dashboard see.
local cjson = require "cjson"
local host = require "spec.support.host"
local http = require "socket.http"
local ltn12 = require "ltn12"
local page = require "spec.metric.page"
local process = require "spec.support.process"
local socket = require "socket"

local SCRIPT = [[
  local mails = require("moonmilter.metric").counter("mails", { by = { "kind" } })
  function on_eom(ctx) mails:inc 'quo"ted' end ]]

describe("a host with metrics", function()
  local h, port
  after_each(function() if h then h:stop() end h = nil end)

  local function start(workers)
    port = process.free_port()
    h = host.start { workers = workers, scripts = { ["a.lua"] = SCRIPT },
      arguments = { ("--metrics=inet:%d@127.0.0.1"):format(port) } }
  end

  local function get(path, options)
    local body = {}
    options = options or {}
    local _, status, headers = http.request { url = ("http://127.0.0.1:%d%s"):format(port, path or "/metrics"),
      method = options.method, headers = options.headers, sink = ltn12.sink.table(body) }
    return status, table.concat(body), headers
  end

  local function children()
    local text = process.read_file(("/proc/%d/task/%d/children"):format(h:pid(), h:pid())) or ""
    local pids = {}
    for pid in text:gmatch "%d+" do pids[#pids + 1] = tonumber(pid) end
    return pids
  end

  for workers, what in pairs { [0] = "in one process", [2] = "with workers" } do
    it("shows them over HTTP " .. what, function()
      start(workers)
      local mta = h:connect()
      mta:message()
      mta:quit()
      local status, text, headers = get()
      assert.equal(200, status)
      assert.equal("text/plain; version=0.0.4; charset=utf-8", headers["content-type"])
      local samples = page.read(text)
      assert.equal(1, samples['mails_total{milter="default",kind="quo\\"ted"}'])
      assert.equal(1, samples['moonmilter_messages_total{milter="default",verdict="continue",script=""}'])
      status, text, headers = get("/metrics", { headers = { Accept = "application/openmetrics-text;version=1.0.0" } })
      assert.equal(200, status)
      assert.truthy(headers["content-type"]:find("application/openmetrics-text", 1, true))
      assert.truthy(text:find "\n# TYPE mails counter\n" and text:find "# EOF\n$")
    end)
  end

  it("answers only GET and HEAD of /metrics", function()
    start(0)
    local status, text = get("/metrics", { method = "HEAD" })
    assert.same({ 200, "" }, { status, text })
    assert.equal(404, (get "/etc/passwd"))
    assert.equal(405, (get("/metrics", { method = "DELETE" })))
    local s = assert(socket.connect("127.0.0.1", port))
    s:settimeout(5)
    s:send "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    assert.equal("closed", (select(2, s:receive "*l")))
    s:close()
    for _, bytes in ipairs { "\0\0\0\0\r\n\r\n", "GET\r\n\r\n", ("A"):rep(100000), "GET /metrics HTTP/9.9\r\n\r\n" } do
      s = assert(socket.connect("127.0.0.1", port))
      s:settimeout(5)
      s:send(bytes)
      s:receive "*l"
      s:close()
    end
    assert.equal(200, (get()))
  end)

  it("answers several requests over one connection", function()
    start(0)
    local s = assert(socket.connect("127.0.0.1", port))
    s:settimeout(5)
    for _ = 1, 3 do
      s:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
      assert.equal("HTTP/1.1 200 OK", s:receive "*l")
      local size
      for line in function() return s:receive "*l" end do
        size = line:match "^Content%-Length: (%d+)" or size
        if line == "" then break end
      end
      assert.matches("^moonmilter: the metrics", s:receive(tonumber(size)))
    end
    s:close()
  end)

  it("starts the process again when it is killed, and ends it with itself", function()
    start(1)
    assert.equal(200, (get()))
    local function niceness(pid)
      local stat = (process.read_file(("/proc/%d/stat"):format(pid)) or ""):match "%) %S+ (.*)" or ""
      return tonumber(stat:match(("%S+ "):rep(15) .. "(%S+)"))
    end
    local exporter
    for _, pid in ipairs(children()) do
      if niceness(pid) > niceness(h:pid()) then exporter = pid end
    end
    assert.is_number(exporter)
    process.kill(exporter, "SIGKILL")
    host.wait_until(10, function() return get() == 200 end, "another process")
    local mta = h:connect()
    assert.equal("continue", mta:message().kind)
    mta:quit() -- a worker without its master serves those whom it has
    mta:close()
    local pids = children()
    h:signal "SIGKILL"
    host.wait_until(10, function()
      for _, pid in ipairs(pids) do
        if host.exists(pid) then return false end
      end
      return true
    end, "the end of all processes")
  end)

  it("passes promtool, in which nothing is odd", function()
    start(0)
    h:connect():message()
    local path = process.write_file(h.directory .. "/page", (select(2, get())))
    local pipe = assert(io.popen(("promtool check metrics < %s 2>&1; echo status $?"):format(path)))
    assert.equal("status 0\n", pipe:read "*a")
    pipe:close()
  end)

  it("is scraped by a Prometheus, and every query of the dashboard is answered from what it has", function()
    start(2)
    for _ = 1, 3 do
      local mta = h:connect()
      mta:message()
      mta:quit()
    end
    local web = process.free_port()
    local config = process.write_file(h.directory .. "/prometheus.yml", ([[
global: { scrape_interval: 1s }
scrape_configs: [ { job_name: moonmilter, static_configs: [ { targets: ["127.0.0.1:%d"] } ] } ]
]]):format(port))
    local prometheus = process.start({ "prometheus", "--config.file=" .. config, "--storage.tsdb.path=" .. h.directory
      .. "/tsdb", ("--web.listen-address=127.0.0.1:%d"):format(web) }, { output = h.directory .. "/prometheus.out",
      life = 60, grace = 10 })
    local function query(text)
      local escaped = text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
      local body = http.request(("http://127.0.0.1:%d/api/v1/query?query=%s"):format(web, escaped))
      local ok, answer = pcall(cjson.decode, body or "")
      return ok and answer or {}
    end
    local ok, why = pcall(function()
      host.wait_until(30, function()
        local answer = query 'sum(moonmilter_messages_total{verdict="continue"})'
        local result = answer.data and answer.data.result[1]
        return result and result.value[2] == "3"
      end, "three messages in Prometheus")
      local dashboard = cjson.decode(process.read_file "docs/grafana/moonmilter.json")
      local _, kinds = page.read((select(2, get())))
      local count = 0
      for _, panel in ipairs(dashboard.panels) do
        for _, target in ipairs(panel.targets) do
          local text = target.expr:gsub("%$__rate_interval", "1m"):gsub("%$instance", ".*")
          assert.equal("success", query(text).status, text)
          for name in text:gmatch "moonmilter_[%w_]+" do
            local base = name:gsub("_bucket$", ""):gsub("_sum$", "")
            assert.is_string(kinds[name] or kinds[base], name .. " is not exported")
            count = count + 1
          end
        end
      end
      assert.is_true(count > 15)
    end)
    prometheus:stop()
    assert(ok, why)
  end)

  it("every metric of the host's own is described in docs/metric.md", function()
    start(0)
    local told = process.read_file "docs/metric.md"
    local _, kinds = page.read((select(2, get())))
    local count = 0
    for name in pairs(kinds) do
      if name:find "^moonmilter_" then
        count = count + 1
        assert.truthy(told:find("`" .. name .. "`", 1, true), name)
      end
    end
    assert.is_true(count >= 20, tostring(count))
  end)
end)
