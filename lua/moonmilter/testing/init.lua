--- Tests for filters, without an MTA: require "moonmilter.testing" in a busted spec.
--
--   local testing = require "moonmilter.testing"
--
--   describe("tag-subject.lua", function()
--     it("marks mail from outside", function()
--       local mta = testing.start { scripts = "examples/tag-subject.lua" }
--       finally(function() mta:close() end)
--       local result = mta:message { from = "ann@example.org", headers = { Subject = "hello" } }
--       assert.equal("accept", result.verdict)
--       assert.equal("[external] hello", result.message:get "Subject")
--     end)
--   end)
--
-- The scripts run in this process, in their own Lua; the packets are real; the test provides DNS, HTTP, Redis,
-- processes and the time. docs/TESTING.md is the manual.
local blame = require "moonmilter.testing.blame"
local domain = require "moonmilter.testing.domain"
local explore = require "moonmilter.testing.explore"
local host = require "moonmilter.testing.host"
local library = require "moonmilter.testing.library"
local mta = require "moonmilter.testing.mta"
local fakes = require "moonmilter.testing.fakes"
local ffi = require "ffi"

local testing = {}

local MTA_OPTIONS = {
  mta = "string", name = "string", version = "number", actions = "number", steps = "number", macros = "table",
  split = "string, number or table", seed = "number", modules = "table",
}

local function suggestion(name)
  local words = {}
  for _, known in ipairs { host.OPTIONS, MTA_OPTIONS, fakes.KINDS } do
    for word in pairs(known) do words[#words + 1] = word end
  end
  table.sort(words)
  local meant = library.testing_suggest(tostring(name), library.strings(words))
  return meant ~= nil and ("; did you mean %s?"):format(ffi.string(meant)) or "; docs/TESTING.md lists them"
end

local function check(options)
  for name, v in pairs(options) do
    local kinds = host.OPTIONS[name] or MTA_OPTIONS[name] or (fakes.KINDS[name] and "table, function or string")
    if not kinds then
      blame.raise(("there is no option %s%s"):format(tostring(name), suggestion(name)))
    elseif not kinds:find(type(v), 1, true) then
      blame.raise(("%s: expected a %s, got a %s"):format(name, kinds, type(v)))
    end
  end
  if not (options.script or options.scripts or options.files or options.config) then
    blame.raise "there is nothing to test; give script, scripts, files or config"
  end
end

--- Starts scripts, and an MTA that talks to them.
---@param options table|string  a string is a script's source
--- script: source · scripts: files and directories · files: { ["a.lua"] = source, … } as a directory · config: a
--- moonmilter.conf · milter: which of it · set: { on_error = "reject" } keys of the configuration · settings:
--- host.settings · mta: "postfix" or "sendmail" · name: its name · version, actions, steps: what it offers · macros: {
--- auth_authen = "ann" }, false: not known to the MTA · split: "random" (default), "whole", or bytes per piece · seed:
--- of the random pieces · clock: "virtual" (default) or "real" · now: seconds since 1970 · dns, http, redis, process,
--- map: fakes · modules: { name = source }
---@return table  the MTA
function testing.start(options)
  if type(options) == "string" then
    options = { script = options }
  end
  check(options)
  local owner, why = host.new(options)
  if not owner then
    blame.raise("the scripts do not load: " .. why)
  end
  local ok, result = pcall(mta.new, owner, options)
  if not ok then
    owner:close()
    error(result, 0)
  end
  result.owns = true
  return result
end

--- The error with which scripts refuse to load; nil when they load.
---@return string?
function testing.load_error(options)
  if type(options) == "string" then
    options = { script = options }
  end
  check(options)
  local owner, why = host.new(options)
  if owner then
    owner:close()
  end
  return why
end

--- Runs fn(mta) again and again: whole packets, byte by byte, cut at every byte, after a message given up at every
--- stage, beside a session that went away at every stage. Scripts are freshly loaded each time. Returns the number of
--- runs.
---@param options table|string   as for testing.start()
---@param fn fun(mta: table)
---@param limit? integer  cuts at most, default 200; more bytes are cut at evenly spread places
---@return integer
function testing.explore(options, fn, limit)
  if type(options) == "string" then
    options = { script = options }
  end
  return explore.run(testing.start, options, fn, limit or 200)
end

--- A domain that sends mail, with what it publishes: moonmilter.testing.domain.
function testing.domain(name, options)
  return domain.new(name, options)
end

--- The names of several domains, and others, as one world for the option dns.
function testing.dns(...)
  return domain.dns(...)
end

--- Version of the library, "0.1.0".
testing.version = ffi.string(library.version())

return testing
