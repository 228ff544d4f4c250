-- Takes long.
--- Our signatures read by dkimpy, libopendkim and Mail::DKIM, and theirs by us, over generated messages, all forms and
--- kinds of keys; the same after a change, which no one may accept. A round trip with oneself proves nothing.
--- Differences are only in spec/auth/disagreements.lua, each with its section. SLOW=1: 2,000 messages, and RSA of 4096
--- bits.
local codec = require "moonmilter.codec"
local disagreements = require "spec.auth.disagreements"
local dkim = require "moonmilter.dkim"
local messages = require "spec.auth.messages"
local oracles = require "spec.auth.oracles"
local process = require "spec.support.process"
local seal = require "moonmilter.seal"
local stored = require "spec.auth.stored"

local IS_SLOW = os.getenv "SLOW" ~= nil
local COUNT = tonumber(os.getenv "DKIM_MESSAGES") or (IS_SLOW and 2000 or 200)
local KEYS = { { "rsa1024", "rsa", 1024 }, { "rsa2048", "rsa", 2048 }, { "ed25519", "ed25519" } }
if IS_SLOW then
  table.insert(KEYS, { "rsa4096", "rsa", 4096 })
end
local CANONS = { "simple", "relaxed" }

-- ---- keys and cases ----

-- Writes the keys of oracles into a directory. -> signing keys by name, DNS
local function make_keys(directory)
  local keys, zone, lines = {}, {}, {}
  for _, row in ipairs(KEYS) do
    local pem = seal.new_key(row[2], row[3])
    local key = assert(seal.private_key(pem))
    local name = row[1] .. "._domainkey.example.org"
    zone[name] = ("v=DKIM1; k=%s; p=%s"):format(row[2], codec.base64_encode(key:export()))
    lines[#lines + 1] = name .. "\t" .. zone[name] .. "\n"
    keys[row[1]] = key
    process.write_file(("%s/%s.pem"):format(directory, row[1]), pem)
    if row[2] == "ed25519" then
      local der = codec.base64_decode((pem:gsub("%-%-%-%-%-[^\n]*\n", "")))
      process.write_file(("%s/%s.seed"):format(directory, row[1]), (codec.base64_encode(der:sub(-32))))
    end
  end
  process.write_file(directory .. "/zone", table.concat(lines))
  return keys, stored.dns(zone)
end

-- calls use(fields, body, header_canon, body_canon, key name, number)
local function each_case(count, use)
  for number = 1, count do
    local fields, body = messages.make(number)
    for _, header_canon in ipairs(CANONS) do
      for _, body_canon in ipairs(CANONS) do
        for _, row in ipairs(KEYS) do
          use(fields, body, header_canon, body_canon, row[1], number)
        end
      end
    end
  end
end

local function signed_by_us(signers, fields, body, header_canon, body_canon, key_name)
  local id = header_canon .. body_canon .. key_name
  signers[id] = signers[id] or dkim.signer { domain = "example.org", selector = key_name, key = signers.keys[key_name],
    canonicalization = header_canon .. "/" .. body_canon }
  local hash = seal.body(body_canon, "sha256")
  hash:feed(body)
  local value = assert(signers[id]:sign(fields, (hash:finish())))
  return { { name = "DKIM-Signature", raw = "DKIM-Signature: " .. value }, unpack(fields) }
end

-- ---- disagreements ----

local used = {}

local function is_expected(oracle, job, answer, case)
  for i, row in ipairs(disagreements) do
    if row.oracle == oracle and row.job == job and answer:find(row.answer) and row.when(case) then
      used[i] = true
      return true
    end
  end
  return false
end

local function described(case, answer)
  return ("message %d, %s/%s, %s: %s\n%q"):format(case.number, case.header_canon, case.body_canon, case.key, answer,
    case.text)
end

local function case_of(fields, body, header_canon, body_canon, key, number)
  return { fields = fields, body = body, header_canon = header_canon, body_canon = body_canon, key = key,
    number = number, text = stored.join(fields, body) }
end

local function can_read(oracle, key)
  return oracle ~= "mail_dkim" or key:find "^rsa" ~= nil
end

-- ---- changes that no one may accept ----

-- A byte of the body, or of a signed field, becomes another one.
local function tampered(case)
  if #case.body > 0 and case.number % 2 == 0 then
    local at = case.number % #case.body + 1
    local byte = case.body:sub(at, at)
    if byte:find "[%w\128-\255]" then
      return stored.join(case.fields, case.body:sub(1, at - 1) .. "~" .. case.body:sub(at + 1))
    end
  end
  local fields = {}
  for i, field in ipairs(case.fields) do
    fields[i] = field.name:lower() == "from" and { name = field.name, raw = field.raw:gsub("ann@", "bob@") } or field
  end
  return stored.join(fields, case.body)
end

local function verdict_of_ours(text, dns)
  local fields, body = stored.split(text)
  local verifier = dkim.verifier { headers = fields, dns = dns }
  verifier:feed(body)
  local r = verifier:finish()[1]
  return r.result == "pass" and "pass" or "fail " .. r.result .. " " .. tostring(r.reason)
end

for _, oracle in ipairs(oracles.names) do
  local missing = oracles.missing(oracle)

  describe(oracle, function()
    if missing then
      return pending("is not installed: " .. missing .. " (make packages-test)")
    end
    local directory, keys, dns

    setup(function()
      directory = process.directory()
      keys, dns = make_keys(directory)
    end)
    teardown(function() os.execute("rm -rf " .. directory) end)

    it(("accepts our signatures of %d messages, and none after a change"):format(COUNT), function()
      local jobs, cases, signers = {}, {}, { keys = keys }
      each_case(COUNT, function(fields, body, header_canon, body_canon, key, number)
        if can_read(oracle, key) then
          local all = signed_by_us(signers, fields, body, header_canon, body_canon, key)
          local case = case_of(all, body, header_canon, body_canon, key, number)
          jobs[#jobs + 1], cases[#cases + 1] = { "verify", case.text }, case
          assert.equal("pass", verdict_of_ours(case.text, dns), described(case, "ours"))
          if key ~= "rsa4096" and header_canon == body_canon then
            local changed = tampered(case)
            jobs[#jobs + 1], cases[#cases + 1] = { "verify", changed }, { is_changed = true, text = changed }
            assert.matches("^fail", verdict_of_ours(changed, dns))
          end
        end
      end)
      for i, answer in ipairs(oracles.run(oracle, directory, jobs)) do
        local case = cases[i]
        if case.is_changed then
          assert.matches("^fail", answer)
        elseif answer ~= "pass" then
          assert.is_true(is_expected(oracle, "verify", answer, case), described(case, answer))
        end
      end
    end)

    it(("makes signatures of %d messages that we accept, and none after a change"):format(COUNT), function()
      local jobs, cases = {}, {}
      each_case(COUNT, function(fields, body, header_canon, body_canon, key, number)
        if can_read(oracle, key) and (key ~= "rsa4096" or number % 10 == 0) then
          local case = case_of(fields, body, header_canon, body_canon, key, number)
          jobs[#jobs + 1] = { ("sign %s %s %s"):format(header_canon, body_canon, key), case.text }
          cases[#cases + 1] = case
        end
      end)
      for i, answer in ipairs(oracles.run(oracle, directory, jobs)) do
        local case = cases[i]
        local verdict = answer:find "^fail" and answer or verdict_of_ours(answer .. case.text, dns)
        if verdict ~= "pass" then
          assert.is_true(is_expected(oracle, "sign", verdict, case), described(case, verdict .. "\n" .. answer))
        else
          local body = case.body .. "more\r\n"
          assert.matches("^fail", verdict_of_ours(answer .. stored.join(case.fields, body), dns))
        end
      end
    end)
  end)
end

describe("the list of disagreements", function()
  it("has a section for each row, and no row that is not needed", function()
    for i, row in ipairs(disagreements) do
      assert.truthy(row.section:find "^RFC %d+ %d", row.why)
      if not oracles.missing(row.oracle) then
        assert.is_true(used[i] == true, row.oracle .. ": " .. row.why)
      end
    end
  end)
end)
