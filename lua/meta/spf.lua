---@meta moonmilter.spf
-- require "moonmilter.spf", for editors (LuaLS). Never loaded. Manual: docs/spf.md.

--- SPF (RFC 7208): may this client send mail for this domain? Nothing raises for what mail or DNS say.
---@class moonmilter.spf
local spf = {}

---@alias moonmilter.spf.Result
---| "pass"       # the domain allows this client
---| "fail"       # the domain forbids it
---| "softfail"   # the domain thinks that it does not allow it
---| "neutral"    # the domain does not say
---| "none"       # no domain, or no record
---| "temperror"  # not known now: DNS failed, or took too long
---| "permerror"  # the record is wrong, or asks too much

---@class moonmilter.spf.Limits
---@field lookups number?  terms of all records together that ask; default 10
---@field voids number?    of them without an answer; default 2
---@field mx number?       names of one mx; default 10
---@field ptr number?      names of the client that are looked at; default 10
---@field seconds number?  of the whole check; default 6, in mailfrom() and helo() less when the stage has less left

---@class moonmilter.spf.Options
---@field dns (fun(name: string, type: string, options: { timeout: number }): table?, string?, string?)?  answers as
--- moonmilter.dns.query does, which is the default inside the host
---@field all (fun(tasks: table): table)?  milter.all, or one like it, so that the hosts of an mx are asked for at once;
--- default: in turn
---@field limits moonmilter.spf.Limits?
---@field receiver string?  this host's name, for %{r} of explanations; default "unknown"
---@field explain boolean?  ask for the explanation of a "fail"; default true in check(), false in the others
---@field now (fun(): number)?  a clock in seconds; default: the host's, or os.time

---@class moonmilter.spf.Facts : moonmilter.spf.Options
---@field ip string       the client's IPv4 or IPv6 address; raises when it is none
---@field sender string?  the address of MAIL FROM; nil or "": postmaster at HELO
---@field helo string?

---@class moonmilter.spf.Trace
---@field identity "mailfrom"|"helo"
---@field domain string?      whose record was asked for first: A-labels, lower case
---@field matched string?     the term that decided, as written
---@field matched_in string?  the domain whose record has it
---@field lookups integer     terms that asked
---@field voids integer       of them without an answer
---@field queries { name: string, type: string, code: string }[]  in order; code "ok", or that of moonmilter.dns

--- Evaluates the policy of a domain for a client. Waits inside the host; pure elsewhere. Raises at the caller's line
--- when an option is wrong.
---@param options moonmilter.spf.Facts
---@return moonmilter.spf.Result result
---@return string reason        printable ASCII, for people
---@return string? explanation  of a "fail": the text of its domain (exp=), printable ASCII, up to 1,000 bytes
---@return moonmilter.spf.Trace trace
function spf.check(options) end

--- As moonmilter.authres.format takes a result, and more.
---@class moonmilter.spf.Check
---@field method "spf"
---@field result moonmilter.spf.Result
---@field reason string
---@field explanation string?  with explain = true
---@field domain string?       that was checked
---@field properties moonmilter.AuthProperty[]  smtp.mailfrom, or smtp.helo
---@field trace moonmilter.spf.Trace?  nil: the client has no IP address

--- Checks the sender of the message, from on_mail on; of the null sender, postmaster at HELO (RFC 7208 2.4). Waits.
---@param ctx moonmilter.ctx
---@param options moonmilter.spf.Options?
---@return moonmilter.spf.Check
function spf.mailfrom(ctx, options) end

--- Checks HELO, from on_helo on (RFC 7208 2.3). Waits.
---@param ctx moonmilter.ctx
---@param options moonmilter.spf.Options?
---@return moonmilter.spf.Check
function spf.helo(ctx, options) end

return spf
