-- moonmilter.http as a test sees it.
local ask = ...
local milter = require "moonmilter"

local http = {}

local function write(v)
  if type(v) == "table" then
    local out = {}
    for k, item in pairs(v) do
      out[#out + 1] = "[" .. write(k) .. "]=" .. write(item)
    end
    return "{" .. table.concat(out, ",") .. "}"
  elseif type(v) == "string" then
    return (("%q"):format(v):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\000"))
  end
  return tostring(v)
end

local function check(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local function wait(timeout, response, text, code, delay)
  if delay and timeout and delay > timeout then
    milter.sleep(timeout)
    return nil, "http: timeout", "timeout"
  elseif delay then
    milter.sleep(delay)
  end
  return response, text, code
end

--- request: { url = …, method = …, headers = …, body = …, timeout = … }, or the url.
function http.request(request)
  if type(request) == "string" then
    request = { url = request }
  end
  local told = {
    url = request.url or request[1], method = (request.method or "GET"):upper(), headers = request.headers or {},
    body = request.body,
  }
  return wait(request.timeout, check(loadstring("return " .. ask('"http",' .. write(told)), "=answer")()))
end

local function with(method, url, body, options)
  local request = { url = url, method = method, body = body }
  for key, v in pairs(options or {}) do
    request[key] = v
  end
  return http.request(request)
end

function http.get(url, options)
  return with("GET", url, nil, options)
end

function http.head(url, options)
  return with("HEAD", url, nil, options)
end

function http.post(url, body, options)
  return with("POST", url, body, options)
end

function http.put(url, body, options)
  return with("PUT", url, body, options)
end

function http.delete(url, options)
  return with("DELETE", url, nil, options)
end

return http
