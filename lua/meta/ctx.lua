---@meta moonmilter.ctx
-- What a filter sees, for editors (LuaLS). Never loaded. docs/scripting.md explains each name.

---@alias moonmilter.Verdict
---| "continue"
---| "accept"
---| "reject"
---| "tempfail"
---| "discard"
---| "skip"

---@alias moonmilter.Action
---| "add_header"
---| "insert_header"
---| "change_header"
---| "delete_header"
---| "replace_body"
---| "add_recipient"
---| "add_recipient_params"
---| "delete_recipient"
---| "change_from"
---| "quarantine"

--- The SMTP client. A table even when the MTA knows nothing.
---@class moonmilter.Client
---@field family "inet"|"inet6"|"unix"|"unknown"
---@field host string?  verified name, "[192.0.2.7]" without one
---@field ip string?    inet, inet6; never with an "IPv6:" prefix
---@field path string?  unix
---@field port integer? inet, inet6; 0: the MTA does not know

--- ESMTP parameters: params.SIZE is "1000", params.SMTPUTF8 is true, params[1] is "SIZE=1000".
---@class moonmilter.Params
---@field raw string?  the address with its angle brackets, in on_mail and on_rcpt
---@field [integer] string
---@field [string] string|true

---@class moonmilter.Recipient
---@field address string   without angle brackets
---@field raw string       as the client gave it
---@field params moonmilter.Params
---@field refused boolean  by the MTA or by a verdict

--- All recipients in order. `truncated` is true when there are more than the list has (over = "truncate").
---@class moonmilter.Recipients
---@field [integer] moonmilter.Recipient
---@field truncated true?

---@class moonmilter.Auth
---@field type string?
---@field authen string?
---@field author string?  what the client says with AUTH= of MAIL
---@field ssf string?  not on Postfix

---@class moonmilter.Tls
---@field version string?
---@field cipher string?
---@field bits string?
---@field subject string?
---@field issuer string?

---@class moonmilter.Mta
---@field kind "postfix"|"sendmail"|"unknown"
---@field version integer  of the milter protocol
---@field actions table<string, true>  offered in on_negotiate, negotiated later
---@field steps table<string, true>
---@field address string?  nil on a unix socket
---@field software string? macro v
---@field host string?     macro j

---@class moonmilter.Host
---@field name string         of the milter
---@field version string
---@field generation integer  counts reloads, from 1
---@field pid integer
---@field settings table      settings = { … } of moonmilter.conf
---@field sessions fun(): moonmilter.SessionCopy[], integer  those of this worker's scripts: at most 1,000, and how many there are
---@field statistics fun(): moonmilter.Statistics  what this worker has counted
local host = {}

--- Checks, while the script loads, that its settings are there: a missing one, or one of another type, makes the start
--- or the reload fail with an error that names each. Raises at the caller's line.
---@param wanted table  names; or keys with types, "?" for one that may be missing: { "clamd", delay = "number?" }
---@return table settings  host.settings
function host:require_settings(wanted) end

--- A session as it was when host.sessions() was called.
---@class moonmilter.SessionCopy
---@field id string
---@field milter string
---@field generation integer
---@field mta string?       the MTA's address; nil on a unix socket
---@field client string?    host name
---@field address string?
---@field helo string?
---@field queue_id string?
---@field sender string?    nil: no message is open
---@field recipients integer?
---@field messages integer  that this client has begun
---@field stage string      of the handler that runs or waits; else "negotiate", "idle" or "message"
---@field waits_for string?
---@field age number        seconds
---@field held number       bytes

--- What a worker has counted since it was started.
---@class moonmilter.Statistics
---@field sessions integer  open now
---@field sessions_begun integer
---@field messages integer  that have got a final verdict
---@field verdicts table<string, integer>  of these, by verdict
---@field aborted integer   messages without one
---@field script_errors integer
---@field held_bytes number

--- What an MTA offers, as it sent it.
---@class moonmilter.Offer
---@field version integer
---@field actions integer
---@field steps integer

---@alias moonmilter.End "abort"|"helo"|"new_message"|"quit"|"disconnect"|"timeout"|"stop"|"protocol"

---@class moonmilter.Result
---@field verdict "continue"|"accept"|"reject"|"tempfail"|"discard"
---@field reply string?  as on the wire: lines joined by CRLF, % doubled
---@field stage string  at which the message was decided
---@field decided_by string?  script and line; nil: no script did
---@field edits integer  how many were sent
---@field added string[]  recipients, without angle brackets
---@field deleted string[]
---@field refused moonmilter.RefusedRecipient[]
---@field quarantine string?  the reason
---@field seconds number  from MAIL to the verdict
---@field waited number  of these, handlers waited
---@field computed number  seconds in which handlers computed

---@class moonmilter.RefusedRecipient
---@field address string
---@field verdict "reject"|"tempfail"|"mta"  mta: the MTA itself has refused it

--- One header field.
---@class moonmilter.Field
---@field name string   as written
---@field value string  folds as LF, without the space after the colon
---@field raw string    name, colon, space and value
local field = {}

--- Decoded text in UTF-8: folds undone, encoded words decoded.
---@return string
function field:text() end

--- Mailboxes, with groups expanded; lenient by default.
---@param options { mode: "lenient"|"strict" }?
---@return moonmilter.Mailbox[]|nil, string|nil text, integer|nil position, string|nil code
function field:addresses(options) end

--- Of Received: what follows its last ";".
---@return moonmilter.Date|nil, string|nil text, integer|nil position
function field:date() end

--- Content-Type, Content-Disposition: value and parameters, decoded.
---@return moonmilter.Parameters
function field:params() end

--- The result of moonmilter.header.parse; nil where the field has no structure.
---@return table|nil, string|nil text, integer|nil position, string|nil code
function field:parsed() end

--- Sets a new value in wire form (header.encode makes it from text); a table from parsed() is formatted; "" deletes.
---@param value string|table
function field:set(value) end

--- Deletes the field.
function field:delete() end

--- Puts a new field before this one.
---@param name string
---@param value string
function field:insert_before(name, value) end

--- The header with queued edits applied.
---@class moonmilter.Headers
---@field [integer] moonmilter.Field
---@field truncated boolean  there are more fields than the list has (over = "truncate")
local headers = {}

--- Value of the n-th field of a name (any case); n from 1, negative from the end.
---@param name string
---@param n integer?  default 1
---@return string?
function headers:get(name, n) end

--- The n-th field of a name.
---@param name string
---@param n integer?  default 1
---@return moonmilter.Field?
function headers:field(name, n) end

--- All fields of a name.
---@param name string
---@return moonmilter.Field[]
function headers:all(name) end

--- How many fields of a name there are.
---@param name string
---@return integer
function headers:count(name) end

--- for name, value, field in ctx.headers:each() do … end
---@return fun(): string?, string?, moonmilter.Field?
function headers:each() end

--- The session, as a handler sees it. Facts are read only.
---@class moonmilter.ctx
---@field id string  of the session, as in every log line
---@field stage string  the running handler: "rcpt" for on_rcpt
---@field client moonmilter.Client  from connect on
---@field helo string?  last HELO or EHLO argument
---@field sender string?  without angle brackets, "" for the null sender; nil outside a message
---@field sender_raw string?  as the client gave it
---@field sender_params moonmilter.Params?
---@field recipients moonmilter.Recipients  in order, refused ones too
---@field headers moonmilter.Headers  queued edits applied; complete from on_eoh on
---@field body_size integer  bytes of body so far
---@field queue_id string?  on Postfix from the second recipient or data on
---@field auth moonmilter.Auth?  nil without SMTP AUTH; any of type, authen and ssf makes it
---@field tls moonmilter.Tls?  nil without TLS; any of its members makes it
---@field mta moonmilter.Mta  the MTA of this connection
---@field host moonmilter.Host
---@field in_message boolean  a message is open
---@field deadline number  when the handlers of this event must have ended, in milter.now() time
---@field reason moonmilter.End?  in on_close and on_abort: what ended the session or the message
---@field message_number integer?  counts the messages of this session, from 1
---@field error_code "not_granted"|"wrong_stage"|"bad_value"|"too_large"|"too_late"|"memory"|nil  why the last call raised
---@field session table<any, any>  yours, for the SMTP session; shared by the milter's scripts; names of ctx raise in it
---@field message table<any, any>  yours, for the message; an error outside one; names of ctx raise in it
local ctx = {}

--- Value of a macro, nil when the MTA has not sent it. Braces are optional.
---@param name string
---@return string?
function ctx:macro(name) end

--- Whether an edit is negotiated with this MTA.
---@param action moonmilter.Action|string
---@return boolean
function ctx:can(action) end

--- Go on. Ends the handler.
function ctx:continue() end

--- This script is done with the message; at connect and helo with the SMTP session. Ends the handler.
function ctx:accept() end

--- Refuses for good: reject([code,] [status,] text…). Ends the handler.
---@param code integer|string?  500..599, default 550; or the first of the texts
---@param status string?  "5.x.y", default "5.7.1"; or a text
---@param ... string  lines: at most 32, 980 bytes each; UTF-8 only for a client that said SMTPUTF8, else "?"
function ctx:reject(code, status, ...) end

--- Refuses for now: tempfail([code,] [status,] text…). Ends the handler.
---@param code integer|string?  400..499, default 451; or the first of the texts
---@param status string?  "4.x.y", default "4.7.1"; or a text
---@param ... string  lines: at most 32, 980 bytes each
function ctx:tempfail(code, status, ...) end

--- 421: the MTA ends the SMTP session. Ends the handler.
---@param ... string  lines
function ctx:disconnect(...) end

--- Accepts the message towards the client and drops it. From on_mail to on_eom. Ends the handler.
function ctx:discard() end

--- No more headers, or no more of the body, of this message. In on_header and on_body. Ends the handler.
function ctx:skip() end

--- Notes a reason for the history of the host: `moonmilter ctl explain` shows it with file, line and time. Changes
--- nothing; at most 200 bytes are kept. May be called in any handler and in tasks.
---@param text string
function ctx:note(text) end

--- A field at the end of the header.
---@param name string
---@param value string|number
function ctx:add_header(name, value) end

--- The wire form of field:insert_before. 0: above everything, 1: below the MTA's own Received, beyond the end: at the
--- end.
---@param position integer
---@param name string
---@param value string|number
function ctx:insert_header(position, name, value) end

--- The wire form of field:set: sets the n-th field of a name, or adds it when there is none. nil or "" deletes.
---@param name string
---@param n integer  from 1, negative from the end
---@param value string|number|nil
function ctx:change_header(name, n, value) end

--- The wire form of field:delete: deletes the n-th field of a name, without n all of them.
---@param name string
---@param n integer?  from 1, negative from the end
function ctx:delete_header(name, n) end

--- A new envelope sender; "" is the null sender.
---@param address string
---@param params string|table?  RET= ENVID= AUTH= SIZE= BODY= SMTPUTF8
function ctx:change_from(address, params) end

--- Adds a recipient. Raises when params are given and the MTA does not offer add_recipient_params.
---@param address string
---@param params string|table?  NOTIFY= ORCPT=
function ctx:add_recipient(address, params) end

--- Deletes a recipient. Write the domain in any case, the mailbox as the client wrote it.
---@param address string
function ctx:delete_recipient(address) end

--- A new body; several calls of a script append to one another, those of a later script start again. Line ends become
--- CRLF.
---@param body string|fun(): string?
function ctx:replace_body(body) end

--- Has the message signed (DKIM) as it leaves, after the last handler of all scripts. From on_mail to on_eom. A message
--- whose From is of no domain in the table is not signed.
---@param keys table  of auth.keys
---@param options { domain: string?, headers: string[]?, oversign: string[]?, expires: number?, canonicalization: string?, fold: boolean? }?
function ctx:sign(keys, options) end

--- Has an ARC set added to the message as it leaves, after the last handler of all scripts. From on_mail to on_eom.
---@param keys table  of auth.keys
---@param options { domain: string, authserv_id: string?, headers: string[]? }
function ctx:seal(keys, options) end

--- Keeps the body: call it in on_mail, on_rcpt, on_data, on_header or on_eoh to begin, read the body in on_eom and
--- on_done. Each script has its own. Without options it returns the kept body.
---@param options { max_memory: integer?, max_size: integer?, over: "truncate"|"accept"|"tempfail"|"reject"? }?
---@return moonmilter.Body
function ctx:body(options) end

--- The MTA accepts the mail and holds it. Not a verdict: the handler goes on.
---@param reason string  1 to 100 bytes
function ctx:quarantine(reason) end

--- Sends progress to the MTA now, so that it keeps waiting; at end of message only. The host does so automatically
--- while a handler waits.
function ctx:progress() end

--- The options that a script may set.
---@class moonmilter.Options
---@field needs string[]?   edits and steps without which an MTA is refused
---@field facts string[]?   facts whose names are known only at run time
---@field macros string[]?  macros to request from the MTA, braces optional
---@field lockstep boolean? the MTA waits for an answer to each header
---@field rejected_recipients boolean?  call on_rcpt also for recipients that the MTA refuses

--- The table that a script may return.
---@class moonmilter.Handlers
---@field options moonmilter.Options?
---@field on_negotiate (fun(ctx: moonmilter.ctx, offer: moonmilter.Offer): moonmilter.Verdict?)?
---@field on_connect (fun(ctx: moonmilter.ctx, hostname: string, address: string?): moonmilter.Verdict?)?
---@field on_helo (fun(ctx: moonmilter.ctx, name: string): moonmilter.Verdict?)?
---@field on_mail (fun(ctx: moonmilter.ctx, sender: string, params: moonmilter.Params): moonmilter.Verdict?)?
---@field on_rcpt (fun(ctx: moonmilter.ctx, recipient: string, params: moonmilter.Params): moonmilter.Verdict?)?
---@field on_data (fun(ctx: moonmilter.ctx): moonmilter.Verdict?)?
---@field on_header (fun(ctx: moonmilter.ctx, name: string, value: string): moonmilter.Verdict?)|table<string, fun(ctx: moonmilter.ctx, value: string): moonmilter.Verdict?>|nil
---@field on_eoh (fun(ctx: moonmilter.ctx): moonmilter.Verdict?)?
---@field on_body (fun(ctx: moonmilter.ctx, chunk: string): moonmilter.Verdict?)?
---@field on_eom (fun(ctx: moonmilter.ctx): moonmilter.Verdict?)?
---@field on_unknown (fun(ctx: moonmilter.ctx, command: string): moonmilter.Verdict?)?
---@field on_abort fun(ctx: moonmilter.ctx, stage: string, reason: moonmilter.End)?
---@field on_done fun(ctx: moonmilter.ctx, result: moonmilter.Result)?
---@field on_close fun(ctx: moonmilter.ctx)?
---@field on_macros fun(ctx: moonmilter.ctx, stage: string, macros: table<string, string>)?
---@field on_load fun(host: moonmilter.Host)?
---@field on_unload fun(host: moonmilter.Host)?

-- Handlers are globals of the script: these lines type their parameters where a script defines them.

---@type moonmilter.Options?
options = nil
---@type (fun(ctx: moonmilter.ctx, offer: moonmilter.Offer): moonmilter.Verdict?)?
on_negotiate = nil
---@type (fun(ctx: moonmilter.ctx, hostname: string, address: string?): moonmilter.Verdict?)?
on_connect = nil
---@type (fun(ctx: moonmilter.ctx, name: string): moonmilter.Verdict?)?
on_helo = nil
---@type (fun(ctx: moonmilter.ctx, sender: string, params: moonmilter.Params): moonmilter.Verdict?)?
on_mail = nil
---@type (fun(ctx: moonmilter.ctx, recipient: string, params: moonmilter.Params): moonmilter.Verdict?)?
on_rcpt = nil
---@type (fun(ctx: moonmilter.ctx): moonmilter.Verdict?)?
on_data = nil
---@type (fun(ctx: moonmilter.ctx, name: string, value: string): moonmilter.Verdict?)|table<string, fun(ctx: moonmilter.ctx, value: string): moonmilter.Verdict?>|nil
on_header = nil
---@type (fun(ctx: moonmilter.ctx): moonmilter.Verdict?)?
on_eoh = nil
---@type (fun(ctx: moonmilter.ctx, chunk: string): moonmilter.Verdict?)?
on_body = nil
---@type (fun(ctx: moonmilter.ctx): moonmilter.Verdict?)?
on_eom = nil
---@type (fun(ctx: moonmilter.ctx, command: string): moonmilter.Verdict?)?
on_unknown = nil
---@type fun(ctx: moonmilter.ctx, stage: string, reason: moonmilter.End)?
on_abort = nil
---@type fun(ctx: moonmilter.ctx, result: moonmilter.Result)?
on_done = nil
---@type fun(ctx: moonmilter.ctx)?
on_close = nil
---@type fun(ctx: moonmilter.ctx, stage: string, macros: table<string, string>)?
on_macros = nil
---@type fun(host: moonmilter.Host)?
on_load = nil
---@type fun(host: moonmilter.Host)?
on_unload = nil
