--- The formats of tables that Postfix has, against Postfix's own: `postmap -q` and our tables say the same of each key.
-- ROUNDS=10000 makes so many tables of each kind, with up to 12 keys each; SEED chooses others.
local generate = require "spec.map.postmap_tables"
local tables = require "spec.support.tables"

local ROUNDS = tonumber(os.getenv "ROUNDS" or 25)
local SEED = tonumber(os.getenv "SEED" or 20261130)

local function run(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read "*a"
  pipe:close()
  return output
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

describe("postmap -q and our tables", function()
  local directory

  setup(function()
    assert(run("command -v postmap"):find "postmap", "Postfix is not installed: spec/mta/install")
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute("mkdir " .. directory) == 0)
    -- letters of ASCII only, as our tables have them (docs/map.md)
    write(directory .. "/main.cf", "compatibility_level = 3.6\nsmtputf8_enable = no\n")
  end)

  teardown(function()
    os.execute("rm -rf " .. directory)
  end)

  local function postmap(arguments)
    return run(("postmap -c %s %s 2>%s/errors"):format(directory, arguments, directory))
  end

  local function postmap_answers(spec, keys)
    write(directory .. "/keys", table.concat(keys, "\n") .. "\n")
    local answers = {}
    for line in postmap(("-q - '%s' <%s/keys"):format(spec, directory)):gmatch "[^\n]+" do
      local key, value = line:match "^(.-)\t(.*)$"
      answers[key] = value
    end
    return answers
  end

  local hits, refused = 0, 0 -- keys that Postfix finds; tables that have a limit here (docs/map.md), and none there
  local LIMIT = "costs the C library as much as more than 1000 characters"

  local function compare(kind, spec, argument, text, keys, options)
    local answers = postmap_answers(spec, keys)
    local t, why = tables.open(kind, argument, options)
    if not t and why:find(LIMIT, 1, true) then
      refused = refused + 1
      return nil
    elseif not t then
      return ("%s\ndoes not open: %s\nPostfix: %s"):format(text, why, run("cat " .. directory .. "/errors"))
    end
    local difference
    for _, key in ipairs(keys) do
      local value, words = t:get(key)
      hits = hits + (answers[key] and 1 or 0)
      if value ~= answers[key] and not difference then
        difference = ("%s\nkey %q: ours %q (%s), Postfix %q"):format(text, key, tostring(value), tostring(words),
          tostring(answers[key]))
      end
    end
    t:close()
    return difference
  end

  -- All rounds of a kind; a failure shows the first three differences and how many there are.
  local function rounds(kind, make_table)
    local differences, keys_asked = {}, 0
    hits, refused = 0, 0
    for round = 1, ROUNDS do
      local r = generate.random.new(SEED + round * 7919)
      for _ = 1, 5 do r:upto(2) end
      local difference, keys = make_table(r)
      keys_asked = keys_asked + keys
      differences[#differences + 1] = difference
    end
    if os.getenv "ROUNDS" then
      io.stderr:write(("%s: %d tables, %d keys, %d of them there; %d tables over a limit, %d with a difference\n"):format(
        kind, ROUNDS, keys_asked, hits, refused, #differences))
    end
    assert.equal("", table.concat(differences, "\n--\n", 1, math.min(3, #differences)), #differences .. " differences")
    assert.is_true(refused <= ROUNDS / 100, refused .. " tables are over a limit")
    assert.truthy(hits > keys_asked / 20, "hardly any key is there: this compares nothing")
  end

  local function text_kind(kind)
    it("agree about " .. kind, function()
      local path = directory .. "/" .. kind
      rounds(kind, function(r)
        local text, keys = generate[kind](r)
        write(path, text)
        os.execute("touch -d @1700000000 " .. path) -- of a texthash that is new, postmap waits for the next second
        return compare(kind, kind .. ":" .. path, path, text, keys), #keys
      end)
    end)
  end

  text_kind "texthash"
  text_kind "cidr"
  text_kind "regexp"
  text_kind "pcre"

  -- postmap makes the table of the same text
  for _, kind in ipairs { "hash", "btree", "lmdb", "cdb" } do
    it("agree about " .. kind, function()
      local path = directory .. "/" .. kind
      rounds(kind, function(r)
        local text, keys = generate.texthash(r)
        write(path, text)
        postmap(kind .. ":" .. path)
        return compare(kind, kind .. ":" .. path, path, text, keys), #keys
      end)
    end)
  end

  it("agree about inline", function()
    rounds("inline", function(r)
      local text, keys = generate.inline(r)
      return compare("inline", "inline:" .. text, "", text, keys, { source = text }), #keys
    end)
  end)
end)
