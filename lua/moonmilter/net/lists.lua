--- DNS lists with weights: which to ask, when to leave one alone, what their answers add up to.
--
-- Each list is tested before it counts, and tested again while it is used (RFC 5782 5): a list that does not know its
-- own test entry is gone, and one that lists 127.0.0.1 lists the whole world. A list that leaves several questions in a
-- row without an answer is not asked for a while, because each message would wait for it.
local core = require "moonmilter.core"
local listing = require "moonmilter.net.listing"
local log = require "moonmilter.log"
local options_of = require "moonmilter.runtime.options"
local tasks = require "moonmilter.runtime.tasks"

local lists = {}

local now = core.now

local TEST_AGAIN = { passed = 3600, failed = 300, unknown = 60 } -- seconds after a test, by its outcome
local UNANSWERED = { timeout = true, unreachable = true, servfail = true }
local NONE = { nxdomain = true, nodata = true }

local OPTIONS = {
  timeout = { "number" }, -- seconds for a question
  give_up = { "number", 5 }, -- questions in a row without an answer
  pause = { "number", 60 }, -- seconds without questions after that
  test = { "boolean" }, -- before use
}

local LIST_OPTIONS = {
  kind = { "string", "ip" }, -- what it lists: "ip", "name" or "both"
  ipv6 = { "boolean", true }, -- asked for IPv6 addresses, too
  label = { "string" }, -- its name in results and logs
}

local KINDS = { ip = true, name = true, both = true }

---@class moonmilter.Lists
local Lists = {}
Lists.__index = Lists

-- ---- from the script's table ----

local function new_list(zone, row, level)
  if type(zone) ~= "string" or not zone:find "^[^%s%c.][^%s%c]*$" or #zone > 200 then
    error(('dns.lists: %s is no zone; write { ["zen.example"] = { ["127.0.0.2-11"] = 5 } }'):format(tostring(zone)),
      level + 1)
  end
  if type(row) == "number" then
    row = { ["127.0.0.0/8"] = row }
  elseif type(row) ~= "table" then
    error(("dns.lists: %s is a %s; give a weight, or a table of weights by return code"):format(zone, type(row)),
      level + 1)
  end
  local weights, given = {}, {}
  for name, value in pairs(row) do
    local is_code = type(name) ~= "string" or name:find "^[%d&]"
    local to = is_code and weights or given
    to[name] = value
  end
  local list = options_of.check("dns.lists: " .. zone, given, LIST_OPTIONS, level + 1)
  if not KINDS[list.kind] then
    error(('dns.lists: %s: kind is "%s"; there are "ip", "name" and "both"'):format(zone, list.kind), level + 1)
  elseif next(weights) == nil then
    error(('dns.lists: %s has no return codes; write { ["127.0.0.2-11"] = 5 }'):format(zone), level + 1)
  end
  local ok, codes = pcall(listing.codes, weights)
  if not ok then
    error(("dns.lists: %s: %s"):format(zone, codes), level + 1)
  end
  list.zone, list.codes, list.label = zone:gsub("%.$", ""), codes, list.label or zone
  list.unanswered, list.paused_until, list.outcome, list.tested_at = 0, 0, "untested", -math.huge
  return list
end

local function check_numbers(options, level)
  for _, name in ipairs { "timeout", "pause", "give_up" } do
    local value = options[name]
    if value and not (value > 0 and value <= 1e6) then
      error(("dns.lists: %s is %s; give more than 0"):format(name, tostring(value)), level + 1)
    end
  end
end

-- ---- the test of a list (RFC 5782 5) ----

local TESTS = {
  ip = { listed = "2.0.0.127", unlisted = "1.0.0.127", name = "127.0.0.1" },
  name = { listed = "TEST", unlisted = "INVALID", name = "INVALID" },
}

-- "passed"; "failed" with text and code; "unknown" when the list did not answer.
local function outcome_of(self, list, test)
  local addresses, _, code = self.query(test.unlisted .. "." .. list.zone, "a", self.timeout)
  if addresses then
    local ok, text, why_code = listing.weigh(list.codes, addresses)
    if not ok and why_code == "refused" then
      return "failed", text, why_code
    end
    return "failed", ("the list has %s, as one that lists the whole world does (RFC 5782 5)"):format(test.name),
      "selftest"
  elseif not NONE[code] then
    return "unknown"
  end
  addresses, _, code = self.query(test.listed .. "." .. list.zone, "a", self.timeout)
  if addresses then
    local ok, text, why_code = listing.weigh(list.codes, addresses)
    return ok and "passed" or "failed", text, why_code
  elseif NONE[code] then
    return "failed", "the list does not know its own test entry, as one that is gone (RFC 5782 5)", "selftest"
  end
  return "unknown"
end

local function test(self, list)
  local before = list.outcome
  for kind, rows in pairs(TESTS) do
    if list.kind == kind or list.kind == "both" then
      list.outcome, list.text, list.code = outcome_of(self, list, rows)
      if list.outcome ~= "passed" then
        break
      end
    end
  end
  list.tested_at = now()
  if list.outcome == "failed" and before ~= "failed" then
    log.warn("dns.lists: %s is not asked: %s", list.label, list.text)
  elseif list.outcome == "passed" and before == "failed" then
    log.info("dns.lists: %s is asked again", list.label)
  end
end

local function start_test(self, list)
  list.tested_at = now()
  list.test = tasks.detach("generation", test, self, list)
end

-- Waits for the first test only; later ones run beside the questions.
local function failed_test(self, list, seconds)
  if not self.test then
    return nil
  end
  if list.tested_at + (TEST_AGAIN[list.outcome] or 0) <= now() and (not list.test or list.test:is_over()) then
    start_test(self, list)
  end
  if list.outcome == "untested" then
    list.test:wait(seconds)
  end
  if list.outcome == "failed" then
    return list.text, list.code
  end
end

-- ---- one list ----

-- Lets one question through when the pause is over, and shuts the door again until its answer is there.
local function is_paused(self, list)
  if list.unanswered < self.give_up then
    return false
  elseif now() < list.paused_until then
    return true
  end
  list.paused_until = now() + self.pause
  return false
end

local function note(self, list, code)
  if not UNANSWERED[code] then
    if list.unanswered >= self.give_up then
      log.info("dns.lists: %s answers again", list.label)
    end
    list.unanswered = 0
    return
  end
  list.unanswered = list.unanswered + 1
  list.paused_until = now() + self.pause
  if list.unanswered == self.give_up then
    log.warn("dns.lists: %s is not asked for %g s: %d questions in a row without an answer (%s)", list.label,
      self.pause, self.give_up, code)
  end
end

local function ask(self, list, owner, seconds)
  local text, code = failed_test(self, list, seconds or self.timeout or core.dns_timeout())
  if text then
    return nil, text, code
  elseif is_paused(self, list) then
    return nil, ("not asked: %d questions in a row without an answer"):format(self.give_up), "paused"
  end
  local addresses
  addresses, text, code = self.query(owner .. "." .. list.zone, "a", seconds or self.timeout)
  note(self, list, code)
  if addresses then
    return listing.weigh(list.codes, addresses)
  elseif not NONE[code] then
    return nil, text, code
  end
end

-- ---- all of them ----

---@class moonmilter.Listed
---@field total number
---@field why { list: string, address: string, code: string?, weight: number }[]
---@field failures table<string, { text: string, code: string }>
local Listed = {}
Listed.__index = Listed

--- In one line, for logs: "zen.example 127.0.0.4 +5, wl.example 127.0.2.1 -2".
---@return string
function Listed:__tostring()
  local parts = {}
  for i, row in ipairs(self.why) do
    parts[i] = ("%s %s %+g"):format(row.list, row.address, row.weight)
  end
  return table.concat(parts, ", ")
end

local function heavier(a, b)
  if a.weight ~= b.weight then
    return a.weight > b.weight
  elseif a.list ~= b.list then
    return a.list < b.list
  end
  return a.address < b.address
end

local function ask_all(self, owner, is_asked, seconds)
  local questions = {}
  for _, list in ipairs(self.lists) do
    if is_asked(list) then
      questions[list] = function() return ask(self, list, owner, seconds) end
    end
  end
  local found, failed = tasks.all(questions)
  local result = setmetatable({ total = 0, why = {}, failures = {} }, Listed)
  for list, failure in pairs(failed) do
    result.failures[list.label] = failure
  end
  for list, rows in pairs(found) do
    for _, row in ipairs(rows) do
      row.list = list.label
      result.why[#result.why + 1] = row
      result.total = result.total + row.weight
    end
  end
  table.sort(result.why, heavier)
  return result
end

local function timeout_of(options, call)
  if options == nil then
    return nil
  end
  local seconds = options_of.check(call, options, { timeout = { "number" } }, 3).timeout
  if seconds and not (seconds > 0 and seconds <= 1e6) then
    error(("%s: timeout of %s seconds; give more than 0"):format(call, tostring(seconds)), 3)
  end
  return seconds
end

--- Asks the lists of addresses for one, all at the same time.
---@param ip string  raises at the caller's line when it is no address
---@param options moonmilter.dns.Options?
---@return moonmilter.Listed
function Lists:ip(ip, options)
  local owner, family = core.dns_reverse(ip)
  if not owner then
    error(("dns.lists: %q is not an IP address"):format(tostring(ip)), 2)
  end
  return ask_all(self, owner, function(list)
    return list.kind ~= "name" and (family == "inet" or list.ipv6)
  end, timeout_of(options, "lists:ip"))
end

--- Asks the lists of names for a domain, all at the same time.
---@param domain string
---@param options moonmilter.dns.Options?
---@return moonmilter.Listed? result
---@return string? text
---@return "badname"|nil code  an address, or no name of a domain
function Lists:domain(domain, options)
  if type(domain) ~= "string" then
    error(("dns.lists: a domain is a string, not a %s"):format(type(domain)), 2)
  end
  local seconds = timeout_of(options, "lists:domain")
  domain = domain:gsub("%.$", "")
  if core.dns_reverse(domain) or domain == "" or domain:find "^%[" then
    return nil, "lists of names know domains, not addresses", "badname"
  end
  return ask_all(self, domain, function(list) return list.kind ~= "ip" end, seconds)
end

--- Lists with their weights.
---@param zones table<string, table|number>
---@param options table?
---@param query fun(name: string, kind: string, seconds: number?): table?, string?, string?
---@return moonmilter.Lists
function lists.new(zones, options, query)
  if type(zones) ~= "table" or next(zones) == nil then
    error('dns.lists: give a table of lists, { ["zen.example"] = { ["127.0.0.2-11"] = 5 } }', 3)
  end
  local self = options_of.check("dns.lists", options or {}, OPTIONS, 3)
  check_numbers(self, 3)
  if self.test == nil then
    self.test = not core.dns_lists_untested
  end
  self.lists, self.query = {}, query
  for zone, row in pairs(zones) do
    self.lists[#self.lists + 1] = new_list(zone, row, 3)
  end
  table.sort(self.lists, function(a, b) return a.zone < b.zone end)
  if self.test then
    for _, list in ipairs(self.lists) do
      start_test(self, list)
    end
  end
  return setmetatable(self, Lists)
end

return lists
