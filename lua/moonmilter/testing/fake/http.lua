-- moonmilter.http as a test sees it: the host's own, with its checks and redirects, but the test answers the requests.
local ask_test, wait = ...
local core = require "moonmilter.core"

local real = core.http
local fake = { url = real.url, close = function() end }
core.http = fake

function fake.new(order)
  local headers = {}
  for _, line in ipairs(order.fields) do
    local name, value = line:match "^(.-)[:;] ?(.*)$"
    headers[name:lower()] = value
  end
  order.told = { url = order.url, method = order.method, headers = headers, body = order.body }
  return order
end

function fake.perform(order)
  local response, text, code, delay = ask_test("http", order.told)
  order.response, order.text, order.code = wait(order.url, order.timeout, response, text, code, delay)
end

function fake.result(order)
  local response = order.response
  if response == nil then
    return nil, order.text, order.code
  end
  local lines = {}
  for name, value in pairs(response.headers or {}) do
    lines[#lines + 1] = name .. ": " .. tostring(value)
  end
  if #(response.body or "") > order.max_body then
    return nil, ("the answer is over %d bytes"):format(order.max_body), "limit"
  end
  return response.status or 200, table.concat(lines, "\r\n"), response.body or ""
end

-- No name is looked up: the test answers for the URL.
local host_name = package.loaded["moonmilter.net.host_name"]
package.loaded["moonmilter.net.host_name"] = { addresses = function(host) return { host:match "^%[(.*)%]$"
  or host } end }
local http = require "host:moonmilter.http"
package.loaded["moonmilter.net.host_name"] = host_name
core.http = real
return http
