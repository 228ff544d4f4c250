---@meta moonmilter.dmarc
-- require "moonmilter.dmarc", for editors (LuaLS). Never loaded. Manual: docs/dmarc.md.

--- DMARC (RFC 9989), without a host.
---@class moonmilter.dmarc
local dmarc = {}

---@class moonmilter.DmarcIdentifier
---@field result string  of SPF (of the MAIL FROM identity), or of one DKIM signature
---@field domain string  that SPF checked; d= of the signature
---@field testing boolean?  the key has t=y: the signature does not count

---@class moonmilter.dmarc.Options
---@field from string|string[]  the values of all fields called From, as received
---@field spf moonmilter.DmarcIdentifier?
---@field dkim moonmilter.DmarcIdentifier[]?
---@field dns table|fun(name: string, type: string): table?, string?, string?  moonmilter.dns, or what answers as dns.query
---@field all function?  milter.all: asks the questions of a walk at once

---@class moonmilter.DmarcRecord
---@field p "none"|"quarantine"|"reject"|nil  nil: neither a valid policy nor an address for reports
---@field sp "none"|"quarantine"|"reject"|nil  for subdomains; nil: p
---@field np "none"|"quarantine"|"reject"|nil  for subdomains that do not exist; nil: sp
---@field adkim "r"|"s"
---@field aspf "r"|"s"
---@field psd "y"|"n"|"u"
---@field t "y"|"n"
---@field fo string
---@field rua string[]
---@field ruf string[]
---@field text string

---@class moonmilter.DmarcResult
---@field result "pass"|"fail"|"none"|"temperror"|"permerror"
---@field reason string
---@field domain string?        the Author Domain, in A-labels
---@field policy "none"|"quarantine"|"reject"|nil  after sp, np and t
---@field disposition "none"|"quarantine"|"reject"  the policy for a message that fails, else "none": advice
---@field aligned { spf: string|false, dkim: string|false }
---@field organization string?
---@field policy_domain string?
---@field record moonmilter.DmarcRecord?
---@field is_testing boolean
---@field doubt string?
---@field properties moonmilter.AuthProperty[]

--- Checks a message. Raises when the options are wrong, never for what mail or DNS say.
---@param options moonmilter.dmarc.Options
---@return moonmilter.DmarcResult
function dmarc.check(options) end

return dmarc
