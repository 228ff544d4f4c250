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

-- As the host's own: numbers in any spelling, localhost, and names with the addresses of the test's `dns`. A name
-- without any is taken for one of the public internet.
local function is_private(host)
  local bare = (host:match "^%[(.*)%]$" or host):lower():gsub("%.$", "")
  if core.socket.is_address(bare) then
    return core.socket.is_private(bare)
  end
  if bare == "localhost" or bare:match "%.localhost$" then -- RFC 6761 6.3
    return true
  end
  local addresses = ask_test("http", "addresses of the test", bare)
  for _, address in ipairs(addresses) do
    if not core.socket.is_private(address) then
      return false
    end
  end
  return addresses[1] ~= nil
end

function fake.perform(order)
  local _, _, host = real.url(order.url)
  if order.allow_private == false and is_private(host) then
    order.text, order.code = "the server's address is private, and allow_private is false", "private"
    return
  end
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
