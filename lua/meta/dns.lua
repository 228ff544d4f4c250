---@meta moonmilter.dns
-- require "moonmilter.dns", for editors (LuaLS). Never loaded. Manual: docs/dns.md.

--- Queries to name servers. Functions that query wait, and raise a moonmilter.Cancelled as every wait does. They raise
--- at the caller's line when an option is unknown, a timeout is not above 0, or a type or an address is invalid.
---@class moonmilter.dns
local dns = {}

--- Why there is no answer. "nxdomain" and "nodata" are answers: there is none. With any other code the answer is
--- unknown.
---@alias moonmilter.dns.Code
---| "nxdomain"     # no such name
---| "nodata"       # the name has no record of this type
---| "servfail"     # the servers could not find out, refer to others, or do not know the zone
---| "refused"      # the server does not answer us
---| "timeout"      # nothing came in time
---| "unreachable"  # no name server listens there
---| "badname"      # no such name can exist
---| "badanswer"    # responses that cannot be read or do not fit the question, aliases in a circle
---| "busy"         # 4096 different questions are under way
---| "memory"

---@class moonmilter.dns.Options
---@field timeout number?  seconds, above 0; default: dns_timeout of the configuration (5)

--- A list of records, with facts about all of them.
---@class moonmilter.dns.Answer
---@field ttl number       seconds for which it may still be used
---@field name string      the name after all CNAMEs, lower case, without the last dot
---@field authentic true?  the server says that DNSSEC vouches for it
---@field [integer] any    by type: a string, or one of the tables below; of an unknown type the raw bytes

---@class moonmilter.dns.Strings : moonmilter.dns.Answer
---@field [integer] string

---@class moonmilter.dns.Mx
---@field preference integer  0..65535, the lowest first
---@field host string         "" for a null MX (RFC 7505)

---@class moonmilter.dns.MxAnswer : moonmilter.dns.Answer
---@field [integer] moonmilter.dns.Mx

---@class moonmilter.dns.Srv
---@field priority integer  0..65535, the lowest first
---@field weight integer    0..65535
---@field port integer      0..65535
---@field host string

---@class moonmilter.dns.SrvAnswer : moonmilter.dns.Answer
---@field [integer] moonmilter.dns.Srv

---@class moonmilter.dns.Soa
---@field primary string
---@field contact string
---@field serial integer
---@field refresh integer  seconds
---@field retry integer    seconds
---@field expire integer   seconds
---@field minimum integer  seconds

---@class moonmilter.dns.Caa
---@field flags integer
---@field tag string
---@field value string

---@class moonmilter.dns.Tlsa
---@field usage integer
---@field selector integer
---@field matching integer
---@field data string  bytes

--- The records of a name, of any type.
---@param name string  fully qualified, with or without the final dot; no search domain is tried
---@param kind string  "a", "aaaa", "mx", "txt", "ptr", "srv", "ns", "cname", "soa", "caa", "tlsa", "type65"; any case
---@param options moonmilter.dns.Options?
---@return moonmilter.dns.Answer? list
---@return string? text
---@return moonmilter.dns.Code? code
function dns.query(name, kind, options) end

--- IPv4 addresses of a name.
---@param name string
---@param options moonmilter.dns.Options?
---@return moonmilter.dns.Strings? addresses
---@return string? text
---@return moonmilter.dns.Code? code
function dns.a(name, options) end

--- IPv6 addresses of a name.
---@param name string
---@param options moonmilter.dns.Options?
---@return moonmilter.dns.Strings? addresses
---@return string? text
---@return moonmilter.dns.Code? code
function dns.aaaa(name, options) end

--- Mail exchangers, best first.
---@param name string
---@param options moonmilter.dns.Options?
---@return moonmilter.dns.MxAnswer? list
---@return string? text
---@return moonmilter.dns.Code? code
function dns.mx(name, options) end

--- Texts; the strings of one record are joined (RFC 7208 3.3).
---@param name string
---@param options moonmilter.dns.Options?
---@return moonmilter.dns.Strings? texts
---@return string? text
---@return moonmilter.dns.Code? code
function dns.txt(name, options) end

--- Services (RFC 2782), best priority first.
---@param name string  "_imap._tcp.example.org"
---@param options moonmilter.dns.Options?
---@return moonmilter.dns.SrvAnswer? list
---@return string? text
---@return moonmilter.dns.Code? code
function dns.srv(name, options) end

--- Names of an address, as its own network publishes them: the network may claim any name.
---@param ip string  IPv4 or IPv6; raises on anything else
---@param options moonmilter.dns.Options?
---@return moonmilter.dns.Strings? names
---@return string? text
---@return moonmilter.dns.Code? code
function dns.ptr(ip, options) end

--- The name under which facts about an address are kept: "1.2.0.192.in-addr.arpa". Sends no query.
---@param ip string     IPv4 or IPv6; raises on anything else
---@param zone string?  default "in-addr.arpa" or "ip6.arpa"
---@return string
function dns.reverse(ip, zone) end

--- Looks an address up in several block lists at once (RFC 5782). A list that does not know the address is in neither
--- table. An answer that is no listing is a failure: "refused" for 127.255.255.0/24 and 127.0.0.1, "badanswer" outside
--- 127/8.
---@param ip string       IPv4 or IPv6; raises on anything else
---@param zones string[]  "zen.example.org", …
---@param options moonmilter.dns.Options?
---@return table<string, moonmilter.dns.Strings> listed  by zone: the addresses it answers with, 127.0.0.2 and so on
---@return table<string, { text: string, code: moonmilter.dns.Code }> failures  by zone that did not answer
function dns.dnsbl(ip, zones, options) end

---@class moonmilter.dns.ListsOptions
---@field timeout number?   seconds for a question; default: dns_timeout of the configuration
---@field give_up integer?  questions in a row without an answer; default 5
---@field pause number?     seconds in which the list is then not asked; default 60
---@field test boolean?     before the lists count; default true

--- What lists say about an address or a domain. tostring() gives `why` in one line.
---@class moonmilter.Listed
---@field total number  the sum of the weights
---@field why { list: string, address: string, code: string?, weight: number }[]  the heaviest first
---@field failures table<string, { text: string, code: string }>  by list; also the codes "paused" and "selftest"

---@class moonmilter.Lists
local Lists = {}

--- Asks the lists of addresses, all at the same time. Waits. Raises when it is no address.
---@param ip string
---@param options moonmilter.dns.Options?
---@return moonmilter.Listed
function Lists:ip(ip, options) end

--- Asks the lists of names, all at the same time. Waits. Raises when it is no string.
---@param domain string
---@param options moonmilter.dns.Options?
---@return moonmilter.Listed? result
---@return string? text
---@return "badname"? code  an address
function Lists:domain(domain, options) end

--- Lists with weights by return code (RFC 5782), tested before they count. Call it while the script loads; raises at
--- the caller's line when a zone, a code, a weight or an option is wrong.
---@param zones table<string, table|number>  { ["zen.example"] = { ["127.0.0.2-11"] = 5, ["127.0.0.99"] = "error" } }
---@param options moonmilter.dns.ListsOptions?
---@return moonmilter.Lists
function dns.lists(zones, options) end

---@class moonmilter.dns.Settings
---@field servers string[]?    addresses, with or without ":port"; default: those of resolv_conf
---@field resolv_conf string?  a path
---@field timeout number?      seconds, above 0, at most 3600; default 5
---@field cache integer?       answers to keep, 0..10000000; default 10000

--- Replaces the resolver's settings for all scripts of this worker until the next reload, and empties its cache.
--- Settings that are left out take their defaults. Does not wait; raises when a setting is unknown, of another type or
--- out of range.
---@param options moonmilter.dns.Settings
function dns.configure(options) end

--- Since the worker started: how often scripts asked, how many queries were sent, how many responses did not fit their
--- question (forged, or from an odd server); and how many are in flight and cached
--- now. Does not wait.
---@return { asked: integer, sent: integer, misfits: integer, in_flight: integer, cached: integer }
function dns.count() end

return dns
