---@meta moonmilter.cidr
-- require "moonmilter.cidr", for editors (LuaLS). Never loaded. Manual: docs/cidr.md.

--- IP addresses and networks in CIDR notation, and sets of networks. IPv4 mapped into IPv6 counts as IPv4. No call
--- waits.
---@class moonmilter.cidr
local cidr = {}

---@alias moonmilter.cidr.Code
---| "badaddress"  # not an address, or not a network
---| "badprefix"   # the prefix is not a number of bits within 0..32 or 0..128
---| "hostbits"    # bits are set after the prefix

---@class moonmilter.cidr.Options
---@field strict boolean?  false: bits after the prefix are cleared; default true: they are an error

---@class moonmilter.Network
---@field family "inet"|"inet6"
---@field address string  its first address, in its one spelling (RFC 5952)
---@field prefix integer  bits, 0..32 or 0..128
---@field text string     "10.0.0.0/8"; a single address without its prefix. tostring() gives the same
local Network = {}

--- Is the address in the network? nil, text, code when it is no address.
---@param ip string
---@return boolean?
---@return string? text
---@return moonmilter.cidr.Code? code
function Network:contains(ip) end

--- Is the other network inside this one, or the same? Raises at the caller's line when it is no network.
---@param other string|moonmilter.Network
---@return boolean
function Network:covers(other) end

---@class moonmilter.NetworkSet
local Set = {}

--- The value of the longest network around an address, and that network; nil alone when no network contains it.
---@param ip string
---@return any? value
---@return moonmilter.Network|string|nil network_or_text
---@return moonmilter.cidr.Code? code  the text is no address
function Set:get(ip) end

--- Is the address in a network of the set? nil, text, code when it is no address.
---@param ip string
---@return boolean?
---@return string? text
---@return moonmilter.cidr.Code? code
function Set:contains(ip) end

--- Adds a network, or replaces its value.
---@param network string|moonmilter.Network
---@param value any?  default true
---@return true?
---@return string? text
---@return moonmilter.cidr.Code? code
function Set:add(network, value) end

--- Takes a network out; those inside it stay. Raises at the caller's line when it is no network.
---@param network string|moonmilter.Network
---@return boolean is_removed  false: it was not in the set
function Set:remove(network) end

--- How many networks are in the set.
---@return integer
function Set:count() end

--- A set of networks: of a list, each with the value true, or of a table from network to value. Raises at the caller's
--- line when one is no network, and when two texts of a table name the same.
---@param networks (string|moonmilter.Network)[]|table<string|moonmilter.Network, any>|nil
---@return moonmilter.NetworkSet
function cidr.set(networks) end

--- A network from its text; an address alone is a network of one address.
---@param text string  "10.0.0.0/8", "2001:db8::/32", "192.0.2.7"
---@param options moonmilter.cidr.Options?
---@return moonmilter.Network?
---@return string? text
---@return moonmilter.cidr.Code? code
function cidr.parse(text, options) end

--- Is the address in the network? Raises at the caller's line when the first is no network; nil, text, code when the
--- second is no address.
---@param network string|moonmilter.Network
---@param ip string
---@return boolean?
---@return string? text
---@return moonmilter.cidr.Code? code
function cidr.contains(network, ip) end

--- An address in its one spelling (RFC 5952).
---@param text string
---@return string? address
---@return string family_or_text  "inet" or "inet6"
---@return moonmilter.cidr.Code? code
function cidr.address(text) end

--- The network around an address. Raises at the caller's line when a prefix is out of range.
---@param ip string
---@param inet integer?   0..32; default 24
---@param inet6 integer?  0..128; default 64
---@return moonmilter.Network?
---@return string? text
---@return moonmilter.cidr.Code? code
function cidr.network(ip, inet, inet6) end

return cidr
