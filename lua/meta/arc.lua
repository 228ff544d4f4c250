---@meta moonmilter.arc
-- require "moonmilter.arc", for editors (LuaLS). Never loaded. Manual: docs/arc.md.

--- ARC (RFC 8617): what hosts on the way found out about a message, and seals on that.
---@class moonmilter.arc
local arc = {}

---@class moonmilter.arc.Set
---@field instance integer
---@field domain string    d= of the seal, lower case
---@field selector string
---@field cv "none"|"pass"|"fail"
---@field results string   what the host found out: the value of ARC-Authentication-Results after "i=…;"

---@class moonmilter.arc.Chain
---@field result "none"|"pass"|"fail"|"temperror"|"permerror"
---@field reason string?        why it is no pass
---@field instance integer      the highest; 0: no set
---@field oldest_pass integer?  of a pass: the first instance from which on all message signatures match; 0: all do
---@field is_ended boolean      the last host sealed cv=fail: nothing is to be added any more (RFC 8617 5.1.3)
---@field sets moonmilter.arc.Set[]  by instance, as far as they could be read
---@field properties moonmilter.AuthProperty[]

---@class moonmilter.arc.VerifierOptions
---@field headers moonmilter.Headers|table[]  as received, top first: fields with `raw`, or `name` and `value`
---@field dns fun(name: string, kind: string): string[]?, string?, string?  dns.query, or one like it
---@field all (fun(tasks: table): table)?  milter.all, or one like it; default: in turn
---@field exact_space boolean?  as in dkim.verifier

---@class moonmilter.arc.Verifier
---@field wants moonmilter.dkim.Want[]  hashes of the body that the message signatures need; empty: none
local Verifier = {}

--- Some of the body, CRLF at line ends, cut anywhere.
---@param chunk string
function Verifier:feed(chunk) end

--- Asks for the keys of all sets; finish calls it otherwise.
function Verifier:ask() end

--- Ends the body and evaluates. What mail or DNS say never raises.
---@param hashes { hash: string, length: number }[]?  by the numbers of `wants`; nil: of what was fed
---@return moonmilter.arc.Chain
function Verifier:finish(hashes) end

--- Reads the sets of a header. Raises when an option is missing.
---@param options moonmilter.arc.VerifierOptions
---@return moonmilter.arc.Verifier
function arc.verifier(options) end

---@class moonmilter.arc.VerifyOptions : moonmilter.arc.VerifierOptions
---@field body string  CRLF at line ends

--- Verifies the chain of a whole message.
---@param options moonmilter.arc.VerifyOptions
---@return moonmilter.arc.Chain
function arc.verify(options) end

--- The first set from which on every sealer is one that we trust.
---@param chain moonmilter.arc.Chain
---@param domains string[]  names of sealers; ".example.org" is every name below example.org
---@return moonmilter.arc.Set?  nil: the chain does not pass, or the last sealer is not trusted
function arc.trusted(chain, domains) end

---@class moonmilter.arc.SealOptions
---@field headers moonmilter.Headers|table[]  as the message leaves, top first
---@field body_hash string          raw, of the whole body as it leaves, in relaxed form
---@field chain moonmilter.arc.Chain  verified before own edits
---@field domain string             d=, A-labels
---@field selector string           s=
---@field key moonmilter.Keypair    private
---@field authserv_id string        whose results the set carries
---@field results string?           the results; default: those of the fields Authentication-Results of authserv_id
---@field names string[]?           of fields to sign, each once; default: see docs/arc.md
---@field fold boolean?             false: b= and h= in one line; default true
---@field now number?               seconds since 1970; default os.time()

--- Makes a set. Raises when an option is wrong.
---@param options moonmilter.arc.SealOptions
---@return { name: string, value: string }[]?  the three fields, to be put first in this order; nil: none is to be added
---@return string? text
---@return "ended"|"temperror"|"permerror"|"limit"|"key"|nil code
function arc.seal(options) end

return arc
