---@meta moonmilter.redis
-- require "moonmilter.redis", for editors (LuaLS). Never loaded. Manual: docs/redis.md.

--- Redis and Valkey. Every command waits, and raises a moonmilter.Cancelled as every wait does.
---@class moonmilter.redis
local redis = {}

---@alias moonmilter.redis.Code
---| "reply"        # the server's own error, in text
---| "timeout"      # no reply within `timeout`: the command may or may not have taken effect
---| "down"         # it has failed recently and is not tried again for 0.1 to 5 seconds; or nobody says where it is
---| "busy"         # all connections were in use for `queue_timeout`
---| "refused"
---| "unreachable"
---| "closed"       # by the server: the command may or may not have taken effect
---| "tls"
---| "protocol"     # the server does not speak RESP
---| "aborted"      # a watched key was changed: try again
---| "limit"
---| "io"
---| "memory"
---| "nxdomain"     # this and the following: the host's name has no address (moonmilter.dns)
---| "nodata"
---| "servfail"
---| "badname"
---| "badanswer"

---@class moonmilter.redis.Options
---@field host string?             default "127.0.0.1"
---@field port integer?            default 6379
---@field unix string?             path of a socket, instead of both
---@field sentinels string[]?      instead: addresses of sentinels, "a.example", "a.example:26379"; needs master
---@field master string?           name of the Sentinel set
---@field cluster string[]?        instead: addresses of servers of a cluster, "a.example", "a.example:6379"
---@field username string?         of the server's ACL
---@field password string?
---@field db integer?              default 0
---@field tls boolean|moonmilter.socket.Tls|nil  default: none
---@field sentinel_username string?
---@field sentinel_password string?
---@field sentinel_tls boolean|moonmilter.socket.Tls|nil  default: as tls
---@field timeout number?          seconds for the reply of a command; default 1. A blocking command's own time is added
---@field connect_timeout number?  seconds; default 1
---@field pool_size integer?       connections of one worker to a server; default 2
---@field queue_timeout number?    seconds to wait for one of them; default 1
---@field idle number?             seconds an unused connection is kept; default 60
---@field hosts integer?           how many hosts use the server, for moonmilter doctor; default 1

--- A command: its words in order, strings and numbers. Anything else raises.
---@alias moonmilter.redis.Command (string|number)[]

--- The server's reply: a string, a number or a list; nil for Redis's nil, which inside a list is false. An integer of
--- 2^53 or more is a string of its digits.
---@alias moonmilter.redis.Reply any

--- Any command is a method: client:set(key, value) is client:call("SET", key, value). SSUBSCRIBE and MONITOR raise:
--- their replies come without a command. So do commands that apply to one connection (SELECT, AUTH, MULTI, WATCH,
--- HELLO, RESET, QUIT, READONLY, READWRITE, ASKING) outside with() and watch(), and in a cluster those that see keys
--- of one server only (SCAN, KEYS, DBSIZE, RANDOMKEY, FLUSHALL, FLUSHDB, SWAPDB, WAIT) but on masters().
---@class moonmilter.Redis
---@field [string] fun(self: moonmilter.Redis, ...: string|number): any, string?, moonmilter.redis.Code?
local Client = {}

--- One command. nil without a text: Redis replied nil.
---@param command string
---@param ... string|number
---@return moonmilter.redis.Reply reply
---@return string? text
---@return moonmilter.redis.Code? code
function Client:call(command, ...) end

--- Several commands in one round trip, their replies by number: redis.value(replies[i]) is what the command alone would
--- have returned. An error is a table { err = text, code = code } (is_error), Redis's nil is nil, so do not take the
--- length of the table.
---@param commands moonmilter.redis.Command[]
---@return table<integer, moonmilter.redis.Reply>? replies
---@return string? text
---@return moonmilter.redis.Code? code
function Client:pipeline(commands) end

--- Several commands that take effect together or not at all (MULTI, EXEC). In the list of replies Redis's nil is false.
---@param commands moonmilter.redis.Command[]
---@return moonmilter.redis.Reply[]? replies
---@return string? text
---@return moonmilter.redis.Code? code
function Client:transaction(commands) end

--- Check and set: watches the keys, calls fn(conn), which reads and returns the commands, and executes them unless a
--- key was changed meanwhile (code "aborted"). fn may return nil to do nothing; watch raises what fn raises.
---@param keys string[]
---@param fn fun(conn: moonmilter.redis.Connection): moonmilter.redis.Command[]?
---@return moonmilter.redis.Reply[]? replies
---@return string? text
---@return moonmilter.redis.Code? code
function Client:watch(keys, fn) end

--- One connection for as long as fn(conn) runs; in a cluster to the server of the key, which must be given. Raises what
--- fn raises.
---@param fn fun(conn: moonmilter.redis.Connection): ...
---@param key string|number|nil
---@return any ...  what fn returns; or nil, text, code when there is no connection
function Client:with(fn, key) end

--- A Lua script on the server, sent once and then called by its hash.
---@param source string
---@param keys (string|number)[]?
---@param arguments (string|number)[]?
---@return moonmilter.redis.Reply reply
---@return string? text
---@return moonmilter.redis.Code? code
function Client:script(source, keys, arguments) end

--- The same for several lists of keys, each { keys, arguments }, in one round trip; the replies as of a pipeline.
---@param source string
---@param calls { [1]: (string|number)[], [2]: (string|number)[]? }[]
---@return table<integer, moonmilter.redis.Reply>? replies
---@return string? text
---@return moonmilter.redis.Code? code
function Client:scripts(source, calls) end

--- A client for each server that has keys: of a cluster its masters, else the client itself.
---@return moonmilter.Redis[]? clients
---@return string? text
---@return moonmilter.redis.Code? code
function Client:masters() end

--- Messages of channels, on a connection of its own, which is closed when the message, client or task ends. Raises when
--- a channel is not a string.
---@param ... string
---@return moonmilter.redis.Subscription? subscription
---@return string? text
---@return moonmilter.redis.Code? code
function Client:subscribe(...) end

--- The same for patterns, "lists.*".
---@param ... string
---@return moonmilter.redis.Subscription? subscription
---@return string? text
---@return moonmilter.redis.Code? code
function Client:psubscribe(...) end

---@class moonmilter.redis.Subscription
local Subscription = {}

--- The next message, within so many seconds; without seconds until the handler's deadline.
---@param seconds number?
---@return string? channel
---@return string message_or_text
---@return string? pattern_or_code  of a failure: "timeout" (the subscription goes on), or why it has ended
function Subscription:receive(seconds) end

--- Ends it.
function Subscription:close() end

--- One connection, inside with() and watch() only.
---@class moonmilter.redis.Connection
local Connection = {}

--- One command on this connection.
---@param command string
---@param ... string|number
---@return moonmilter.redis.Reply reply
---@return string? text
---@return moonmilter.redis.Code? code
function Connection:call(command, ...) end

--- Several commands in one round trip, on this connection.
---@param commands moonmilter.redis.Command[]
---@return table<integer, moonmilter.redis.Reply>? replies
---@return string? text
---@return moonmilter.redis.Code? code
function Connection:pipeline(commands) end

--- A client. Does not connect yet and does not wait: make it at a script's top level. Raises at the caller's line when
--- an option is unknown or of another type.
---@param options moonmilter.redis.Options?  default: those of `redis` in moonmilter.conf, or a server at 127.0.0.1
---@return moonmilter.Redis
function redis.new(options) end

--- Is this reply of a pipeline an error of the server?
---@param reply any
---@return boolean
function redis.is_error(reply) end

--- A reply of a pipeline as a single command returns it: an error is nil, its text and its code.
---@param reply any
---@return moonmilter.redis.Reply value
---@return string? text
---@return moonmilter.redis.Code? code
function redis.value(reply) end

return redis
