---@meta moonmilter.address
-- require "moonmilter.address", for editors (LuaLS). Never loaded. Manual: docs/mail-address.md.

--- Header addresses (RFC 5322 3.4, groups in From: RFC 6854, UTF-8: RFC 6532) and envelope paths (RFC 5321 4.1.2). In
--- neither mode does a text that names two addresses give one. Linear in the length of the text.
---@class moonmilter.address
local address = {}

---@class moonmilter.address.Options
---@field mode "lenient"|"strict"|nil  default "lenient"; "strict": what the RFCs let a writer generate

---@alias moonmilter.address.Code
---| "syntax"
---| "obsolete"   # strict: a form of RFC 5322 4.4
---| "length"     # strict: local part over 64 octets, domain over 255 (RFC 5321 4.5.3.1)
---| "domain"     # strict: neither a host name nor an address literal
---| "charset"    # strict: 8-bit that is not UTF-8 (RFC 6532 3.1)
---| "empty"
---| "no-domain"  # the text ends where "@" is expected
---| "several"    # parse: a group, or more than one address

---@class moonmilter.Mailbox
---@field address string      local part, "@", domain: quoted only where it must be
---@field local_part string   meaning: without quotes; case kept (RFC 5321 2.4)
---@field domain string       as written, without a final dot
---@field name string?        display name, decoded to UTF-8
---@field comments string[]?  decoded to UTF-8
---@field group string?       name of the group it belongs to
---@field route string[]?     domains of a source route
---@field start integer       first byte in the text, from 1
---@field stop integer        last byte
---@field has_address_in_name true?  the display name holds an "@", perhaps a fullwidth one
---@field is_unbalanced true?        a quote, parenthesis or bracket in it has no partner (lenient)
---@field needs_smtputf8 true?       the local part is not ASCII (RFC 6531)

---@class moonmilter.Group
---@field group string
---@field members moonmilter.Mailbox[]
---@field start integer
---@field stop integer

--- An entry left out of a list that was read leniently.
---@class moonmilter.AddressError
---@field text string
---@field position integer
---@field code moonmilter.address.Code
---@field source string  the bytes that were left out

---@class moonmilter.AddressList
---@field [integer] moonmilter.Mailbox|moonmilter.Group
---@field errors moonmilter.AddressError[]  empty in strict mode
---@field raw string?  of header.parse only

---@class moonmilter.Mailboxes
---@field [integer] moonmilter.Mailbox
---@field errors moonmilter.AddressError[]

---@class moonmilter.Path
---@field address string    "" for the null path
---@field local_part string
---@field domain string?    nil: null path, "postmaster" (RFC 5321 4.1.1.3), when lenient any local part alone
---@field route string[]?
---@field is_null true?
---@field needs_smtputf8 true?

--- Exactly one mailbox, as in Sender. Raises when text is not a string or mode is neither of the two.
---@param text string
---@param options moonmilter.address.Options?
---@return moonmilter.Mailbox? mailbox
---@return string? text
---@return integer? position  byte at which the text ceases to be an address
---@return moonmilter.address.Code? code
function address.parse(text, options) end

--- A list of mailboxes and groups, as in To. Lenient: what cannot be read is left out and reported in `errors`; strict:
--- the first fault is returned instead of a list. Raises when text is not a string or mode is neither of the two.
---@param text string
---@param options moonmilter.address.Options?
---@return moonmilter.AddressList? list
---@return string? text
---@return integer? position
---@return moonmilter.address.Code? code
function address.list(text, options) end

--- As list, but with groups expanded: a flat list, where the mailboxes of a group have `group` set.
---@param text string
---@param options moonmilter.address.Options?
---@return moonmilter.Mailboxes? list
---@return string? text
---@return integer? position
---@return moonmilter.address.Code? code
function address.mailboxes(text, options) end

--- An envelope address: the argument of MAIL or RCPT, with or without its angle brackets. Neither comments nor a
--- display name, in either mode. Raises when text is not a string or mode is neither of the two.
---@param text string  "<ann@example.org>", "ann@example.org", "<@a.example,@b.example:ann@example.org>", "<>", ""
---@param options moonmilter.address.Options?
---@return moonmilter.Path? path
---@return string? text
---@return integer? position
---@return moonmilter.address.Code? code
function address.path(text, options) end

--- Writes a mailbox or a group. What parse returned keeps its meaning; comments are not written. Raises when a part has
--- a control character, or local part and domain do not form an address.
---@param item moonmilter.Mailbox|moonmilter.Group|{ name: string?, address: string }
---@param options { utf8: boolean? }?  utf8: names as UTF-8 (RFC 6532), for a transport that has SMTPUTF8
---@return string
function address.format(item, options) end

--- Writes a list, elements separated by ", ": header.fold breaks there. Raises as format does.
---@param list table[]  mailboxes and groups, as for format
---@param options { utf8: boolean? }?
---@return string
function address.format_list(list, options) end

--- The domain as it goes into DNS and into mail without SMTPUTF8: A-labels, lower case (RFC 5890 2.3.2.1).
---@param domain string
---@return string? domain
---@return string? text
---@return "idna"? code
function address.domain_to_ascii(domain) end

--- The domain as people read it: U-labels. An invalid A-label is an error.
---@param domain string
---@return string? domain
---@return string? text
---@return "idna"? code
function address.domain_to_unicode(domain) end

--- Do two domains have the same meaning? Neither case nor the two spellings of IDNA matter.
---@param a string
---@param b string
---@return boolean
function address.same_domain(a, b) end

--- Same mailbox? Local parts are compared byte by byte: only the receiving host may know better (RFC 5321 2.4).
---@param a moonmilter.Mailbox|moonmilter.Path
---@param b moonmilter.Mailbox|moonmilter.Path
---@return boolean
function address.same(a, b) end

return address
