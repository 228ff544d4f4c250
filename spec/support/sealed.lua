--- A message that a mailing list has changed, and sealed (ARC) with what it had found before.
local arc = require "moonmilter.arc"
local seal = require "moonmilter.seal"
local testing = require "moonmilter.testing"

local sealed = {}

local PEM = seal.new_key "rsa"
local BODY = "hello\r\n"

--- A domain whose key seals; for testing.dns.
---@param name string
---@return moonmilter.testing.Domain
function sealed.domain(name)
  return testing.domain(name, { key = PEM })
end

--- A message from ann@example.org that `sealer` has passed on, for mta:message.
---@param sealer string   a domain of sealed.domain
---@param results string  that it found: "dmarc=pass header.from=example.org"
---@return table
function sealed.message(sealer, results)
  local fields, headers = { { "From", "Ann <ann@example.org>" }, { "Subject", "[list] hello" } }, {}
  for i, field in ipairs(fields) do
    headers[i] = { name = field[1], value = field[2], raw = field[1] .. ": " .. field[2] }
  end
  local body = seal.body("relaxed", "sha256")
  body:feed(BODY)
  local set = assert(arc.seal { headers = headers, body_hash = (body:finish()), domain = sealer, selector = "test",
    key = seal.private_key(PEM), chain = { result = "none", instance = 0, sets = {} }, authserv_id = "mx." .. sealer,
    results = results })
  for i = #set, 1, -1 do
    table.insert(fields, 1, { set[i].name, set[i].value })
  end
  return { from = "list-bounces@" .. sealer, headers = fields, body = BODY }
end

return sealed
