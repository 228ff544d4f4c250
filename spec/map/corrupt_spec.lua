-- Damaged files of every kind, opened and asked in a process of its own: none may crash it or hold it up for long.
-- FILES=1000 makes so many of each kind. (libdb reads some in circles, which costs two seconds of CPU each.)
local process = require "spec.support.process"

local FILES = tonumber(os.getenv "FILES" or 60)
local SUFFIX = { hash = ".db", btree = ".db", lmdb = ".lmdb", cdb = ".cdb" }

local function lines(format)
  local list = {}
  for i = 1, 400 do list[i] = format:format(i, i) end
  return table.concat(list)
end

local TEXTS = {
  texthash = lines "key%d value%d\n", list = lines "key%d #%d\n", csv = lines 'key%d,"value, %d"\n',
  cidr = lines "192.0.2.%d/32 value%d\n" .. "if 10.0.0.0/8\n10.1.0.0/16 x\nendif\n",
  json = "{" .. lines '"key%d":["value%d"],\n' .. '"last":"\\u00e9"}',
  regexp = lines "/^key%d$/ value%d\n" .. "if /x/\n!/(a)(b)/i no\nendif\n",
  pcre = lines "/^key%d$/ value%d\n" .. "if /x/\n/(a)(?<n>b)/i ${1}\nendif\n",
}

describe("a damaged table", function()
  local directory

  setup(function() directory = process.directory() end)
  teardown(function() process.run("rm -rf " .. directory) end)

  local function make(kind)
    local path = directory .. "/" .. kind
    process.write_file(path, TEXTS[kind] or TEXTS.texthash)
    if SUFFIX[kind] then
      process.write_file(directory .. "/main.cf", "compatibility_level = 3.6\n")
      process.run(("postmap -c %s %s:%s"):format(directory, kind, path))
    end
    process.write_file(path .. ".good", process.read_file(path .. (SUFFIX[kind] or "")))
    return path
  end

  for _, kind in ipairs { "texthash", "list", "csv", "cidr", "json", "regexp", "pcre", "hash", "btree", "lmdb",
    "cdb" } do
    it("of " .. kind .. " crashes nothing, and is refused or read", function()
      local path, output = make(kind), directory .. "/output"
      local status = os.execute(("timeout 600 luajit spec/map/corrupter.lua %s %s 1 %d >%s 2>&1"):format(kind, path,
        FILES, output))
      local said = process.read_file(output)
      assert.equal(0, status, ("%s: it ended at number %s"):format(kind, said:sub(-300)))
      local refused = tonumber(said:match "refused (%d+)\n$")
      assert.is_true(refused <= FILES)
      if os.getenv "FILES" then io.stderr:write(("%s: %d files, %d refused\n"):format(kind, FILES, refused)) end
    end)
  end
end)
