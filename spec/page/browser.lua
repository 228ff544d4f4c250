--- A real Chromium, driven by chromedriver over HTTP (WebDriver), as a user without rights: root's would run without
--- its sandbox.
local cjson = require "cjson"
local http = require "socket.http"
local ltn12 = require "ltn12"
local mime = require "mime"

local process = require "spec.support.process"

local browser = {}
local methods = {}
methods.__index = methods

local is_root = process.run("id -u"):match "^0%s" ~= nil

--- One command of WebDriver; its value, or an error.
function methods:ask(method, path, body)
  local answer = {}
  local text = method == "POST" and cjson.encode(body) or nil
  local _, status = http.request { method = method, url = ("http://127.0.0.1:%d%s"):format(self.port, path),
    headers = text and { ["Content-Type"] = "application/json", ["Content-Length"] = tostring(#text) } or nil,
    source = text and ltn12.source.string(text) or nil, sink = ltn12.sink.table(answer) }
  local ok, value = pcall(cjson.decode, table.concat(answer))
  if status ~= 200 or not ok then
    error(("chromedriver: %s %s: %s\n%s"):format(method, path, tostring(status), table.concat(answer):sub(1, 600)), 2)
  end
  return value.value
end

function methods:command(method, path, body) return self:ask(method, "/session/" .. self.session .. path, body) end

--- A command of Chromium's own protocol.
function methods:devtools(name, params)
  return self:command("POST", "/goog/cdp/execute", { cmd = name, params = params or { _ = 1 } })
end

function methods:open(url) return self:command("POST", "/url", { url = url }) end

--- The value of JavaScript that returns something: of the driver, not of the page, so no policy concerns it.
function methods:run(script)
  return self:command("POST", "/execute/sync", { script = script, args = { 0 } }) -- cjson writes an empty table as {}
end

--- Keys for what has the focus: "\u{E004}" is Tab, "\u{E007}" Enter (WebDriver 17.4.2).
function methods:keys(...)
  local actions = {}
  for _, key in ipairs { ... } do
    actions[#actions + 1] = { type = "keyDown", value = key }
    actions[#actions + 1] = { type = "keyUp", value = key }
  end
  self:command("POST", "/actions", { actions = { { type = "key", id = "keyboard", actions = actions } } })
end

browser.TAB, browser.ENTER = "\238\128\132", "\238\128\135"

--- width, height in CSS pixels; mobile: as a phone says it; dark: what the reader prefers.
function methods:look_as(width, height, mobile, dark)
  self:devtools("Emulation.setDeviceMetricsOverride", { width = width, height = height, deviceScaleFactor = mobile
    and 2 or 1, mobile = mobile or false })
  self:devtools("Emulation.setEmulatedMedia", { features = { { name = "prefers-color-scheme", value = dark and "dark"
    or "light" } } })
end

--- The whole page as a PNG. What is fixed to the window's edge stands at the end of the page, as high as that is.
function methods:screenshot(path, width, mobile)
  local height = self:run "return document.documentElement.scrollHeight"
  self:devtools("Emulation.setDeviceMetricsOverride", { width = width, height = math.min(height, 4000),
    deviceScaleFactor = mobile and 2 or 1, mobile = mobile or false })
  local answer = self:devtools("Page.captureScreenshot", { format = "png", captureBeyondViewport = true })
  process.write_file(path, (mime.unb64(answer.data)))
end

--- URLs that were asked for since the last call, and what the console says.
function methods:requests()
  local list = {}
  for _, entry in ipairs(self:command("POST", "/se/log", { type = "performance" })) do
    local message = cjson.decode(entry.message).message
    if message.method == "Network.requestWillBeSent" then list[#list + 1] = message.params.request.url end
  end
  return list
end

function methods:console()
  local list = {}
  for _, entry in ipairs(self:command("POST", "/se/log", { type = "browser" })) do list[#list + 1] = entry.message end
  return list
end

function methods:stop()
  if self.session then pcall(self.ask, self, "DELETE", "/session/" .. self.session) end
  self.driver:stop()
end

local function begin(self, arguments)
  return self:ask("POST", "/session", { capabilities = { alwaysMatch = { browserName = "chrome",
    ["goog:loggingPrefs"] = { performance = "ALL", browser = "ALL" },
    ["goog:chromeOptions"] = { binary = "/usr/bin/chromium", args = arguments } } } }).sessionId
end

--- Starts driver and browser; the browser resolves no name and asks nobody by itself.
function browser.start(options)
  options = options or {}
  local directory = process.directory()
  process.run("chmod 1777 " .. directory)
  local self = setmetatable({ port = process.free_port(), directory = directory }, methods)
  local argv = { "chromedriver", "--port=" .. self.port, "--silent" }
  if is_root then
    for i, word in ipairs { "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=" ..
      directory,
      "XDG_CONFIG_HOME=" .. directory, "XDG_CACHE_HOME=" .. directory } do table.insert(argv, i, word) end
  end
  self.driver = process.start(argv, { output = directory .. "/driver", remove = directory, life = options.life or 240,
    grace = 10 })
  assert(process.wait_port(self.port, 20))
  local arguments = { "--headless=new", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
      "--no-default-browser-check",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir=" .. directory .. "/profile",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost" }
  local ok, session = pcall(begin, self, arguments)
  if not ok then -- where the kernel gives no namespaces to users, the sandbox cannot be made
    arguments[#arguments + 1] = "--no-sandbox"
    ok, session = pcall(begin, self, arguments)
  end
  if not ok then
    self.driver:stop()
    error(session, 2)
  end
  self.session = session
  self:devtools "Network.enable"
  self:devtools "Page.enable"
  return self
end

return browser
