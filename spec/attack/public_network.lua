-- The host of public_network.py.   luajit spec/attack/public_network.lua ADDRESS
local inside = require "spec.async.run"

print((inside.body({}, ([[
  local http = require "moonmilter.http"
  local function ask(path, public)
    local response, _, code = http.get("http://%s:8080" .. path, { redirects = 2, allow_private = not public })
    return response and response.status .. " " .. response.body or "nil " .. code
  end
  return "allowed: " .. ask "/in" .. ", forbidden: " .. ask("/in", true) .. ", public: " .. ask("/", true)
]]):format(arg[1]))))
