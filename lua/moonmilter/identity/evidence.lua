--- What a verifier of DKIM or ARC needs beside the header: hashes of the body, and keys.
---
--- A verifier is a table with `wants` (moonmilter.dkim.Want[]), `keys` (by the name of the record; grows) and
--- `options` (dns, all: as in dkim.verifier).
local address = require "moonmilter.address"
local keyrecord = require "moonmilter.identity.keyrecord"
local seal = require "moonmilter.seal"

local evidence = {}

--- Hashes some of the body, CRLF at line ends, cut anywhere.
---@param chunk string
function evidence.feed(verifier, chunk)
  if not verifier.body then
    verifier.body = seal.body()
    for _, want in ipairs(verifier.wants) do
      verifier.body:want(want.canon, want.algorithm, want.length)
    end
  end
  verifier.body:feed(chunk)
end

--- The hashes by the numbers of `wants`: those given, else those of what was fed. Raises in the caller's caller when
--- one is missing.
---@param given { hash: string, length: number }[]|nil
---@param call string  "dkim" or "arc", for the error
---@return { hash: string, length: number }[]
function evidence.hashes(verifier, given, call)
  if verifier.wants[1] and not given and not verifier.body then
    evidence.feed(verifier, "")
  end
  local hashes = {}
  for i, want in ipairs(verifier.wants) do
    if given then
      hashes[i] = given[i]
    else
      local hash, length = verifier.body:hash(i)
      hashes[i] = { hash = hash, length = length }
    end
    if not hashes[i] then
      error(("%s: the hash of want %d (%s) is missing"):format(call, i, want.canon), 3)
    end
  end
  return hashes
end

--- The name of the key record of a signature (RFC 6376 3.6.2.1).
---@param s moonmilter.identity.Signature
---@return string
function evidence.key_name(s)
  return s.selector .. "._domainkey." .. (address.domain_to_ascii(s.domain) or s.domain)
end

local function in_turn(tasks)
  local results = {}
  for name, task in pairs(tasks) do
    results[name] = task()
  end
  return results
end

--- Asks for the keys that are not known yet, all at once where the caller gives a way.
---@param signatures moonmilter.identity.Signature[]  a list without those that have a fault
function evidence.ask(verifier, signatures)
  local options, tasks = verifier.options, {}
  for _, s in ipairs(signatures) do
    local name = evidence.key_name(s)
    if not verifier.keys[name] then
      tasks[name] = function() return keyrecord.fetch(options.dns, name) end
    end
  end
  if next(tasks) then
    for name, keys in pairs((options.all or in_turn)(tasks)) do
      verifier.keys[name] = keys
    end
  end
end

return evidence
