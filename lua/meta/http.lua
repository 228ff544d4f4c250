---@meta moonmilter.http
-- require "moonmilter.http", for editors (LuaLS). Never loaded. Manual: docs/http.md.

--- HTTP and HTTPS requests (HTTP/1.1). Each waits, and raises a moonmilter.Cancelled as every wait does. Any status is
--- an answer, not a failure. Ignores proxies and the environment.
---@class moonmilter.http
local http = {}

---@alias moonmilter.http.Code
---| "timeout"      # of a name server too
---| "refused"      # nothing listens there, or the name server refuses
---| "unreachable"
---| "closed"       # before the answer was complete
---| "tls"          # handshake or certificate
---| "limit"        # more than max_body, more than 256 KiB of header, or more than 100 KiB in one field
---| "protocol"     # the response is not HTTP, or nobody can tell where it ends
---| "private"      # the server's address, with allow_private = false
---| "redirect"     # too many, to another scheme or to no URL
---| "url"          # not a URL with http or https
---| "header"       # Content-Length or another field that only the host may write
---| "io"
---| "memory"
---| "nxdomain"     # this and the following: the host's name has no address (moonmilter.dns)
---| "nodata"
---| "servfail"
---| "badname"
---| "badanswer"
---| "busy"

---@class moonmilter.http.Options
---@field url string               http or https
---@field method string?           capital letters, not CONNECT; default "GET", with a body "POST"
---@field headers table<string, string|number|(string|number)[]>?  name = value, or name = list of values (RFC 9110 5.5);
--- not Content-Length, Connection and what else frames a request: the host writes it
---@field body string?             not with HEAD
---@field timeout number?          seconds in total: name, connection, redirects, answer; default 10
---@field connect_timeout number?  seconds, TLS handshake included; default 5
---@field max_body integer?        bytes of the response body; default 1048576
---@field verify boolean?          the server's certificate; default true
---@field ca string?               file or directory of authorities; default: the system's
---@field certificate string?      PEM file to present to the server
---@field key string?              PEM file; default: inside certificate
---@field unix_socket string?      path of a socket to connect to instead of the URL's host
---@field redirects integer?       how many to follow, at most 20; default 0
---@field reads boolean?           the request changes nothing, so that a shadow sends it, too; default false
---@field allow_private boolean?   false: connect only to addresses of the public internet; default true

---@class moonmilter.Response
---@field status integer
---@field headers table<string, string>  by name in any case; values of the same name are joined with ", " (RFC 9110 5.3)
---@field header_list { name: string, value: string }[]  as received
---@field trailers table<string, string>  fields that came after the body (RFC 9110 6.5), like headers
---@field trailer_list { name: string, value: string }[]
---@field body string
---@field url string  of the last request, when redirects were followed

--- One request. Raises at the caller's line when an option is unknown or of another type, url is missing, the method
--- has characters other than capital letters, a header's name is not a token, its value has a line break or NUL, or
--- another option has a NUL.
---@param options moonmilter.http.Options|string  a string is the url
---@return moonmilter.Response? response
---@return string? text
---@return moonmilter.http.Code? code
function http.request(options) end

--- Shorthand for request. Takes its options, without url; raises as request does.
---@param url string
---@param options table?
---@return moonmilter.Response? response
---@return string? text
---@return moonmilter.http.Code? code
function http.get(url, options) end

--- Shorthand for request. Takes its options, without url and body; raises as request does.
---@param url string
---@param body string
---@param options table?
---@return moonmilter.Response? response
---@return string? text
---@return moonmilter.http.Code? code
function http.post(url, body, options) end

return http
