--- HTTP and HTTPS requests that do not block: libcurl sends them, after the host's own resolver has resolved the name.
local ascii_name = require "moonmilter.net.ascii_name"
local core = require "moonmilter.core"
local host_name = require "moonmilter.net.host_name"
local http_head = require "moonmilter.net.http_head"
local options_of = require "moonmilter.runtime.options"
local shadow = require "moonmilter.runtime.shadow"
local wait = require "moonmilter.runtime.wait"

local http = {}

local raw = core.http
local perform, result = wait.wrap(raw.perform), raw.result

local MEGABYTE = 1024 * 1024

-- name -> type and default
local OPTIONS = {
  url = { "string" },
  method = { "string" }, -- default GET, with a body POST
  headers = { "table" }, -- name = value, or name = { values }
  body = { "string" },
  timeout = { "number", 10 }, -- seconds in total, redirects included
  connect_timeout = { "number", 5 }, -- seconds, TLS handshake included
  max_body = { "number", MEGABYTE }, -- bytes of the response body
  verify = { "boolean", true }, -- the server's certificate
  ca = { "string" }, -- file or directory; default the system's
  certificate = { "string" }, -- PEM file to present to the server
  key = { "string" }, -- PEM file; default inside certificate
  unix_socket = { "string" }, -- path of a socket to connect to instead of the URL's host
  redirects = { "number", 0 }, -- how many to follow
  reads = { "boolean", false }, -- the request changes nothing, so that a shadow sends it, too
  allow_private = { "boolean", true }, -- false: only addresses of the public internet, for redirects as well
}

local REDIRECTS_MAX = 20

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- ---- arguments ----

local function check_options(given)
  if type(given) == "string" then
    given = { url = given }
  end
  local checked = options_of.check("http.request", given, OPTIONS, 3)
  if not checked.url then
    error("http.request: url is missing", 3)
  end
  checked.method = checked.method or checked.body and "POST" or "GET"
  if not checked.method:match "^%u+$" or checked.method == "CONNECT" then
    error(("http.request: method %q; use capital letters, and any method but CONNECT"):format(checked.method), 3)
  end
  if checked.body and checked.method == "HEAD" then
    error("http.request: a HEAD request has no body", 3)
  end
  if not (checked.redirects >= 0 and checked.redirects <= REDIRECTS_MAX) then
    error(("http.request: redirects = %g; give 0 to %d"):format(checked.redirects, REDIRECTS_MAX), 3)
  end
  if checked.unix_socket and not checked.allow_private then
    error("http.request: a unix socket is not on the public internet; leave out unix_socket or allow_private", 3)
  end
  return checked
end

-- Fields that say where a request ends or what becomes of its connection (RFC 9110 7.6.1, RFC 9112 6): the host writes
-- them. A Content-Length that is not the body's would make its rest the next request.
local FRAMING = {
  ["content-length"] = true, ["transfer-encoding"] = true, connection = true, ["keep-alive"] = true,
  ["proxy-connection"] = true, te = true, trailer = true, upgrade = true, expect = true, ["http2-settings"] = true,
}

-- RFC 9110 5.1 and 5.5; a line break in a value would start another header.
local function add_field(fields, name, value)
  value = tostring(value)
  if not name:match "^[%w!#$%%&'*+.^_`|~-]+$" then
    error(("http.request: header name %q is not a token (RFC 9110 5.1)"):format(name), 4)
  end
  if value:find "[%z\r\n]" then
    error(("http.request: header %s: the value has a line break or NUL"):format(name), 4)
  end
  fields[#fields + 1] = { name = name, value = value }
end

-- The name of a field that only the host may write, if there is one. A failure, no error: names may come from
-- elsewhere.
local function framing_field(fields)
  for _, field in ipairs(fields) do
    if FRAMING[field.name:lower()] then
      return field.name
    end
  end
end

local function check_headers(headers)
  local fields = {}
  for name, value in pairs(headers or {}) do
    if type(name) ~= "string" then
      error(('http.request: headers has a %s for a name; write { ["X-Name"] = "value" }'):format(type(name)), 3)
    end
    if type(value) == "table" and name:lower() == "host" then
      error("http.request: header Host: give one value", 3)
    end
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      add_field(fields, name, one)
    end
  end
  return fields
end

local function field_lines(fields)
  local lines = {}
  for i, field in ipairs(fields) do
    lines[i] = field.value == "" and field.name .. ";" or field.name .. ": " .. field.value
  end
  return lines
end

-- ---- one exchange ----

local function resolve(options, host, port, seconds)
  if options.unix_socket then
    return true
  end
  local addresses, text, code = host_name.addresses(host, seconds)
  if not addresses then
    return nil, text, code
  end
  if addresses[1] == (host:match "^%[(.*)%]$" or host) then
    return true
  end
  local list = {}
  for i, address in ipairs(addresses) do
    list[i] = address:find(":", 1, true) and "[" .. address .. "]" or address
  end
  return true, ("+%s:%d:%s"):format(host, port, table.concat(list, ","))
end

local function exchange(options, url, host, port, fields, deadline)
  local ok, entry, code = resolve(options, host, port,
    math.min(options.connect_timeout, math.max(deadline - core.now(), 0.001)))
  if not ok then
    return nil, entry, code
  end
  local left = deadline - core.now()
  if left <= 0 then
    return nil, "timeout", "timeout"
  end
  local handle, text, why = raw.new {
    url = url, method = options.method, fields = field_lines(fields), resolve = entry,
    unix_socket = options.unix_socket, body = options.body, verify = options.verify,
    allow_private = options.allow_private, ca = options.ca, certificate = options.certificate, key = options.key,
    timeout = left, connect_timeout = math.min(options.connect_timeout, left), max_body = options.max_body,
  }
  if not handle then
    return nil, text, why
  end
  perform(handle)
  local status, lines, body, trailer_lines = result(handle)
  raw.close(handle)
  if not status then
    return nil, lines, body
  end
  local headers, list = http_head.read(lines)
  local trailers, trailer_list = http_head.read(trailer_lines or "")
  return {
    status = status, headers = headers, header_list = list, trailers = trailers, trailer_list = trailer_list,
    body = body, url = url,
  }
end

-- ---- URLs ----

local function byte_of(digits)
  return string.char(tonumber(digits, 16))
end

-- Raw.url, for hosts with U-labels as well, as bytes or percent-encoded (RFC 3986 3.2.2): libcurl knows them only where
-- the process has a UTF-8 locale.
local function read_url(text, base)
  local slashes = text:find("//", 1, true)
  local first = slashes and not text:sub(1, slashes - 1):find "[/?#]" and slashes + 2
  local after = first and text:match("^[^/?#]*()", first)
  local authority = first and text:sub(first, after - 1) or ""
  local user = authority:match "^.*@" or ""
  local port = authority:match(":%d*$", #user + 1) or ""
  local host = authority:sub(#user + 1, #authority - #port)
  if host:find "[\128-\255%%]" then
    local ascii, why = ascii_name((host:gsub("%%(%x%x)", byte_of)))
    if not ascii then
      return nil, ("url %q: %s"):format(text, why), "url"
    end
    text = text:sub(1, first - 1) .. user .. ascii .. port .. text:sub(after)
  end
  return raw.url(text, base)
end

-- ---- redirects (RFC 9110 15.4) ----

local function without(fields, names)
  local kept = {}
  for _, field in ipairs(fields) do
    if not names[field.name:lower()] then
      kept[#kept + 1] = field
    end
  end
  return kept
end

local BODY_FIELDS = { ["content-type"] = true, ["content-encoding"] = true, ["content-language"] = true }
-- What is meant for one server: its secrets, and its name.
local SERVER_FIELDS = { authorization = true, cookie = true, ["proxy-authorization"] = true, host = true }

-- A redirected POST becomes a GET, unless the status says that the method stays.
local function change_method(options, status, fields)
  local becomes_get = status == 303 and options.method ~= "HEAD" or (status == 301 or status == 302)
    and options.method == "POST"
  if not becomes_get then
    return fields
  end
  options.method, options.body = "GET", nil
  return without(fields, BODY_FIELDS)
end

---@class moonmilter.Response
---@field status integer
---@field headers table<string, string>  by name, case-blind; values of the same name are joined with ", "
---@field header_list { name: string, value: string }[]  as received
---@field trailers table<string, string>  fields that came after the body, like headers; any server may send them late
---@field trailer_list { name: string, value: string }[]  as received
---@field body string
---@field url string  of the last request, when redirects were followed

--- One request. options: url, method, headers, body, timeout (10), connect_timeout (5), max_body (1 MB), verify (true),
--- ca, certificate, key, unix_socket, redirects (0), reads (false), allow_private (true). A string is a url. Any
--- status is an answer, not a failure.
---@param options table|string
---@return moonmilter.Response?, string? text, string? code
--- code: "timeout" "refused" "unreachable" "nxdomain" "tls" "closed" "limit" "protocol" "private" "redirect"
--- "url" "header" …
--- Raises, at the caller's line, when an option is unknown or of the wrong type, or a header would be split.
function http.request(options)
  options = check_options(options)
  local fields = check_headers(options.headers)
  local refused = framing_field(fields)
  if refused then
    return nil, ("http.request: header %s: the host writes it; leave it out"):format(refused), "header"
  end
  if shadow.is and not options.reads and options.method ~= "GET" and options.method ~= "HEAD" then
    return shadow.refuse("http.request: " .. options.method, "reads = true allows a request that only reads")
  end
  local deadline = core.now() + options.timeout
  local url, scheme, host, port = read_url(options.url)
  if not url then
    return nil, scheme, host
  end
  for followed = 0, options.redirects do
    local response, text, code = exchange(options, url, host, port, fields, deadline)
    local target = response and REDIRECTS[response.status] and response.headers.location
    if not target or options.redirects == 0 then
      return response, text, code
    end
    if followed == options.redirects then
      return nil, ("more than %d redirects"):format(options.redirects), "redirect"
    end
    local next_url, next_scheme, next_host, next_port = read_url(target, url)
    if not next_url then
      return nil, "redirected to an unusable URL: " .. next_scheme, "redirect"
    end
    if next_scheme ~= scheme then
      return nil, ("redirected from %s to %s"):format(scheme, next_scheme), "redirect"
    end
    fields = change_method(options, response.status, fields)
    if next_host ~= host or next_port ~= port then
      fields = without(fields, SERVER_FIELDS)
    end
    url, host, port = next_url, next_host, next_port
  end
end

--- http.get(url, options), http.post(url, body, options): shorthands for request.
function http.get(url, options)
  local copy = { url = url }
  for name, value in pairs(options or {}) do
    copy[name] = value
  end
  return http.request(copy)
end

function http.post(url, body, options)
  local copy = { url = url, body = body }
  for name, value in pairs(options or {}) do
    copy[name] = value
  end
  return http.request(copy)
end

return http
