---@meta moonmilter.auth
-- require "moonmilter.auth", for editors (LuaLS). Never loaded. Manual: docs/auth.md.

--- Who sent this message? No function raises for what mail or DNS say, and none decides anything.
---@class moonmilter.auth
local auth = {}

---@class moonmilter.AuthFound
---@field result string  "pass", "fail", "none", "temperror", …
---@field reason string?
---@field properties moonmilter.AuthProperty[]  for moonmilter.authres
---@field domain string?
---@field selector string?  of a signature
---@field testing boolean?  of a signature: its key has t=y

---@class moonmilter.AuthCheck
---@field spf moonmilter.AuthFound?    of MAIL FROM; of HELO for the null sender (RFC 7208 2.4)
---@field helo moonmilter.AuthFound?   of HELO alone; nil for the null sender
---@field dkim moonmilter.AuthFound[]? one for each signature
---@field dmarc moonmilter.DmarcResult?
---@field arc moonmilter.AuthFound?
---@field is_list boolean              the message has a List-Id

--- The private keys by domain that ctx:sign takes. While the script loads; what is wrong refuses the start or the
--- reload.
---@param given { file: string }|table<string, { selector: string, key: string }[]>  file: lines of domain, selector and
--- key file; or keys by domain: key is a file or PEM
---@return table keys
function auth.keys(given) end

--- Checks the message. In on_eom.
---@param ctx moonmilter.ctx
---@param options { spf: boolean?, dkim: boolean?, dmarc: boolean?, arc: boolean?, timeout: number? }?  arc: default false;
--- timeout: seconds, default 20
---@return moonmilter.AuthCheck
function auth.check(ctx, options) end

--- SPF of MAIL FROM; of the null sender, of HELO. From on_mail on.
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound
function auth.spf(ctx) end

--- SPF of HELO alone. From on_mail on.
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound
function auth.helo(ctx) end

--- The signatures. In on_eom.
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound[]
function auth.dkim(ctx) end

--- DMARC. In on_eom.
---@param ctx moonmilter.ctx
---@return moonmilter.DmarcResult
function auth.dmarc(ctx) end

--- The chain of ARC sets. In on_eom.
---@param ctx moonmilter.ctx
---@return moonmilter.AuthFound  with chain, as moonmilter.arc gives it
function auth.arc(ctx) end

--- Deletes Authentication-Results that claim to be ours and inserts one above all fields. In on_eom. Raises when the
--- list of fields is truncated, or there is no id.
---@param ctx moonmilter.ctx
---@param r moonmilter.AuthCheck
---@param options { id: string|string[]|nil, comments: boolean? }?  id: default macro j
function auth.stamp(ctx, r, options) end

--- The message as one flat row, for a log or a report (RFC 9990).
---@param ctx moonmilter.ctx
---@param r moonmilter.AuthCheck
---@return table<string, string|number|boolean>
function auth.row(ctx, r) end

return auth
