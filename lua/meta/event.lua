---@meta moonmilter.event
-- require "moonmilter.event", for editors (LuaLS). Never loaded. Manual: docs/event.md.

--- Events for other systems, delivered at least once: a web server, a file or a stream of a Redis server. They wait in
--- a spool while the receiver is down.
---@class moonmilter.event
local event = {}

---@class moonmilter.event.Options
---@field to string          "https://HOST/PATH", "file:/PATH", "redis://HOST:PORT/STREAM"
---@field name string?       1 to 48 letters, digits, "_", "-" and "."; default: made of `to`
---@field max string|number|nil  of the spool, "64MB"; 1 MB to 64 GB
---@field spool boolean?     true: also on the disk, in state_dir; default: if there is one
---@field batch integer?     events that are sent at once, 1 to 10000, default 500
---@field flush number?      seconds between two looks for events, default 1
---@field timeout number?    seconds that a delivery may take, default 10
---@field retry number?      most seconds between two tries, default 60
---@field token string?      of a web server: Authorization: Bearer
---@field headers table<string, string>?  of a web server
---@field ca string?         file or directory of certificates; default: the system's
---@field certificate string?  PEM file to present to the server
---@field key string?        PEM file; default: in certificate
---@field verify boolean?    the server's certificate, default true
---@field maxlen integer?    entries that a stream keeps, about; default 1000000

---@class moonmilter.event.Info
---@field name string
---@field to string          without secrets
---@field waiting integer
---@field bytes integer      of the spool
---@field oldest number?     seconds since the first that waits was put; nil: none waits
---@field set_aside integer  events that the receiver does not take
---@field put integer        this and the following: of all workers, since the host began
---@field sent integer
---@field failed integer     the receiver does not take them
---@field dropped integer
---@field error string?      the last failure of the receiver, while it lasts

---@class moonmilter.event.Sink
---@field name string
---@field to string  the receiver, without secrets
local Sink = {}

--- Opens a sink, at the top level of a script or in on_load. Scripts that name the same sink share it. Raises, at the
--- caller's line, for a wrong option.
---@param options moonmilter.event.Options|string  a string: `to`
---@return moonmilter.event.Sink
function event.sink(options) end

--- Puts an event. Never waits, and a receiver that is down is no failure. Raises, at the caller's line, for values that
--- are no strings, numbers, booleans or tables of those, for tables deeper than 8, and for the fields `id`, `time` and
--- `host`, which the sink adds.
---@param fields table
---@return string? id    nil: it cannot be kept
---@return string? text
---@return "full"|"size"|"busy"|"io"|"memory"|nil code
function Sink:put(fields) end

--- What the sink is doing, for all workers.
---@return moonmilter.event.Info
function Sink:info() end

return event
