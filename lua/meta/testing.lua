---@meta moonmilter.testing
-- require "moonmilter.testing" in a busted spec, for editors (LuaLS). Never loaded. Manual: docs/TESTING.md.

--- Tests for filters, without an MTA: scripts run in this process, the packets are real; the test provides DNS, HTTP,
--- Redis, programs and the time. Mistakes of the test raise at its line.
---@class moonmilter.testing
---@field version string  of the library, "0.1.0"
local testing = {}

--- What a fake answers; "real": scripts get the real module. A string is the code with which every question fails.
---@alias moonmilter.testing.World table<string, any>|string|fun(...: any): any, string?, string?, number?

---@class moonmilter.testing.Options
---@field script string?            a script's source
---@field scripts string|string[]?  files and directories
---@field files table<string, string>?  name and source: a directory of scripts
---@field config string?            path of a moonmilter.conf
---@field milter string?            which milter of it
---@field set table<string, any>?   keys of the configuration: { on_error = "reject" }
---@field settings table?           the value of host.settings
---@field mta "postfix"|"sendmail"|nil  default "postfix"
---@field name string?              of the MTA, macro j; default "mx.example.net"
---@field version integer?          of the protocol that it offers; default 6
---@field actions integer?          milter bits it offers; default: all
---@field steps integer?            milter bits it offers; default: all
---@field macros table<string, string|false>?  false: not known to the MTA
---@field split "random"|"whole"|integer|{ at: integer }|nil  how bytes are cut; default "random"
---@field seed integer?             of the random cuts; default 1
---@field clock "virtual"|"real"|nil  default "virtual": time passes at once when all that scripts do is wait
---@field now number?               seconds since 1970 at which the virtual clock begins; default: now
---@field dns moonmilter.testing.World?      { ["example.org"] = { MX = { { 10, "mx.example.org" } }, delay = 2 } }
---@field http moonmilter.testing.World?     { ["GET https://x.example/"] = { status = 200, body = "", headers = {} } }
---@field redis moonmilter.testing.World?    { key = "value" }
---@field process moonmilter.testing.World?  { ["/usr/bin/check -x"] = { status = 0, stdout = "" } }
---@field event string|(fun(put: table): boolean?, string?, string?)?  "full" makes every put fail
---@field map moonmilter.testing.World?      { ["texthash:/etc/postfix/access"] = { ["ann@example.org"] = "OK" } }
---@field modules table<string, string|table>?  source, or a table of plain values, in place of a module

--- The outcome of a stage; tostring shows it as the SMTP client would see it.
---@class moonmilter.testing.Reply
---@field verdict "continue"|"accept"|"reject"|"tempfail"|"discard"|"skip"|"none"  "none": no script was asked
---@field stage "connect"|"helo"|"mail"|"rcpt"|"data"|"header"|"eoh"|"body"|"eom"|"unknown"
---@field code integer?     the code that the SMTP client gets, if any: 550
---@field status string?    "5.7.1"
---@field text string?      the words without code and status, lines separated by "\n"
---@field smtp string?      the whole reply, lines separated by "\n"
---@field edits table[]     { "add_header", "X-Tag", "yes" }, … in the order sent
---@field progress integer  how often the filter sent progress
---@field sender string?    with angle brackets, after edits; like the following fields only at the end of a message
---@field recipients string[]?  with angle brackets, after edits
---@field refused table<string, moonmilter.testing.Reply>?  by address with angle brackets
---@field quarantined string?  the reason
---@field message moonmilter.testing.Message?  when it was accepted: what the MTA would deliver

---@class moonmilter.testing.Message
---@field text string      all of it, lines end in CRLF
---@field headers table[]  { name, value } each, the value without the space after the colon, folds as LF
---@field body string
local Message = {}

--- The n-th field of a name.
---@param name string  in any case
---@param n integer?   from 1, the default
---@return string?
function Message:get(name, n) end

--- All values of a name, top to bottom.
---@param name string  in any case
---@return string[]
function Message:all(name) end

---@class moonmilter.testing.Client
---@field host string|false?  default "client.example.org"; false: no name
---@field ip string|false?    default "192.0.2.1"; "2001:db8::1", "/path"; false: not known
---@field port integer?       default 12345
---@field family "inet"|"inet6"|"unix"|"unknown"|nil  default: by ip
---@field auth string?        the authenticated user
---@field tls true|table|nil

--- An MTA and its client. Steps that the test leaves out are filled in: connect and HELO before the first MAIL, DATA
--- before the first header, the empty line before the body. Actions that no client could take raise at the test's line,
--- and so does a reply that no MTA would accept.
---@class moonmilter.testing.MTA
local MTA = {}

--- A client connects. Over a used connection the MTA opens a new one to the filter, as MTAs do.
---@param client moonmilter.testing.Client?
---@return moonmilter.testing.Reply
function MTA:connect(client) end

--- HELO or EHLO; inside a message it is also an RSET.
---@param name string?  default: the client's host
---@return moonmilter.testing.Reply
function MTA:helo(name) end

--- MAIL FROM.
---@param address string?  with or without angle brackets; default "<ann@example.org>"
---@param params table?    { "SIZE=100" } or { SIZE = 100, SMTPUTF8 = true }
---@return moonmilter.testing.Reply
function MTA:mail(address, params) end

--- RCPT TO. A refusal is for this recipient; the message goes on with the others.
---@param address string?  default "<bob@example.com>"
---@param params table?    as for mail
---@return moonmilter.testing.Reply
function MTA:rcpt(address, params) end

--- DATA.
---@return moonmilter.testing.Reply
function MTA:data() end

--- One header field.
---@param name string
---@param value string  as it is after "Name: "
---@return moonmilter.testing.Reply
function MTA:header(name, value) end

--- The empty line after the header.
---@return moonmilter.testing.Reply
function MTA:eoh() end

--- A piece of the body, in packets of at most 65535 bytes.
---@param text string
---@return moonmilter.testing.Reply
function MTA:body(text) end

--- End of the message.
---@return moonmilter.testing.Reply
function MTA:eom() end

---@class moonmilter.testing.Mail
---@field from string?
---@field to string|string[]?
---@field params table?   of MAIL
---@field headers table?  { { name, value }, … } or { Name = value }
---@field body string?
---@field eml string?     a file for what is left out

--- A whole message: the name of a file, its text (with line ends), or a table.
---@param message string|moonmilter.testing.Mail|nil
---@return moonmilter.testing.Reply  the one that ended it; the last refusal when every recipient is refused
function MTA:message(message) end

--- The client gives up the message: RSET.
function MTA:abort() end

--- A command line that the MTA does not know.
---@param line string
---@return moonmilter.testing.Reply
function MTA:unknown(line) end

--- The client leaves; the MTA closes the filter's connection.
function MTA:quit() end

--- The MTA goes away without a word.
function MTA:vanish() end

--- Another connection to the same scripts, in parallel to this one; close() of this one closes it too.
---@param options moonmilter.testing.Options?  options that differ: mta, name, version, actions, steps, macros, split, seed
---@return moonmilter.testing.MTA
function MTA:another(options) end

--- The host's log lines, or those that contain a plain string.
---@param has_word string?
---@return string[]
function MTA:log(has_word) end

--- All metrics of the host, its own and those of its scripts.
---@return table<string, number>  by name and labels: mails_total{milter="default",kind="spam"}
function MTA:metrics() end

--- Warnings and errors of the log.
---@return string[]
function MTA:complaints() end

--- What scripts asked a fake. Raises on another kind.
---@param kind "dns"|"http"|"redis"|"process"|"map"|"event"
---@return table[]
function MTA:asked(kind) end

--- Sends a message to a channel of the fake Redis, for scripts that subscribe to it.
---@param channel string
---@param message string|number
function MTA:publish(channel, message) end

--- Lets time pass for handlers and tasks that wait. On a virtual clock that takes no time.
---@param seconds number
function MTA:pass(seconds) end

--- Reloads the scripts, as SIGHUP does.
---@return true? ok
---@return string? text  why they do not load
function MTA:reload() end

--- Changes a script of `files`, or "script.lua", for reload().
---@param name string
---@param source string
function MTA:write(name, source) end

--- Ends the sessions and the host, and removes its temporary files.
function MTA:close() end

--- Bytes as they go over the wire, in pieces as `split` says.
---@param bytes string
function MTA:feed(bytes) end

--- The MTA's offer and its answer: start() and connect() call it.
---@private
function MTA:negotiate() end

--- Starts scripts, and an MTA that talks to them. Raises when they do not load, when an option is unknown or of another
--- type, and when there is nothing to test.
---@param options moonmilter.testing.Options|string  a string is a script's source
---@return moonmilter.testing.MTA
function testing.start(options) end

--- The error with which scripts refuse to load; nil when they load.
---@param options moonmilter.testing.Options|string
---@return string? text
function testing.load_error(options) end

--- Runs fn(mta) again and again, each time with freshly loaded scripts: packets whole, byte by byte, cut at every byte,
--- after a message given up at every stage, beside a session that went away at every stage. Raises what fn raises, with
--- the place named.
---@param options moonmilter.testing.Options|string
---@param fn fun(mta: moonmilter.testing.MTA)
---@param limit integer?  cuts at most, evenly spread; default 200
---@return integer runs
function testing.explore(options, fn, limit) end

--- A domain that sends mail: what it publishes, and messages that it has signed.
---@class moonmilter.testing.Domain
---@field name string
---@field dns table  for the option dns: SPF, the key, DMARC
---@field signer moonmilter.dkim.Signer
local Domain = {}

--- A message that the domain has signed, for mta:message.
---@param message table?  from, to, params, headers, body; default: From and envelope of the domain
---@return table
function Domain:sign(message) end

--- Makes a domain with SPF, a DKIM key and DMARC.
---@param name string
---@param options { selector: string?, key: string?, spf: string|false|nil, dmarc: string|false|nil }?  key: "ed25519"
--- (default), "rsa", or PEM; spf: what follows v=spf1, default "ip4:192.0.2.0/24 -all"; dmarc: what follows v=DMARC1,
--- default "p=reject"; false: no such record
---@return moonmilter.testing.Domain
function testing.domain(name, options) end

--- The names of several domains, and others, as one world for the option dns.
---@param ... moonmilter.testing.Domain|table<string, any>
---@return table<string, any>
function testing.dns(...) end

return testing
