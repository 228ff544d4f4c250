--- Tables of databases: hash, btree, lmdb and cdb. That they answer as Postfix does is in postmap_spec.lua.
local cdb = require "spec.support.cdb"
local tables = require "spec.support.tables"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

local function execute(command)
  assert(os.execute(command) == 0, command)
end

describe("tables of databases", function()
  local directory, path

  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    execute("mkdir " .. directory)
    path = directory .. "/t"
    write(directory .. "/main.cf", "compatibility_level = 3.6\nsmtputf8_enable = no\n")
  end)

  teardown(function()
    execute("rm -rf " .. directory)
  end)

  local function postmap(kind, text)
    write(path, text)
    execute(("postmap -c %s %s:%s"):format(directory, kind, path))
  end

  for kind, suffix in pairs { hash = ".db", btree = ".db", lmdb = ".lmdb", cdb = ".cdb" } do
    it("of " .. kind .. " have entries, whatever the case of the key", function()
      postmap(kind, "Ann one\nbob two three\n")
      local t = assert(tables.open(kind, path))
      assert.equal("one", t:get "ANN")
      assert.equal("two three", t:get "bob")
      assert.is_nil(t:get "eve")
      assert.is_nil(t:get "")
      assert.equal(2, t:count())
      local all = t:all()
      table.sort(all)
      assert.same({ "ann=one", "bob=two three" }, all)
      t:close()
      t = assert(tables.open(kind, path, { keeps_case = true }))
      assert.equal("one", t:get "ann")
      assert.is_nil(t:get "Ann")
      t:close()
    end)

    it("of " .. kind .. " are refused when they are cut off or something else", function()
      local lines = {}
      for i = 1, 3000 do
        lines[i] = ("key%d value%d\n"):format(i, i)
      end
      postmap(kind, table.concat(lines))
      local whole = read(path .. suffix)
      local t = assert(tables.open(kind, path))
      assert.equal("value2999", t:get "key2999")
      t:close()
      local middle = math.floor(#whole / 2 / 4096) * 4096
      for _, size in ipairs { 0, 1, 100, 511, 512, 4095, 4096, 8192, middle, #whole - 4096 } do
        write(path .. suffix, whole:sub(1, size))
        local cut, why = tables.open(kind, path)
        assert.is_nil(cut, size)
        assert.truthy(why:find "^it " or why:find "^LMDB cannot read it" or why:find "^the cdb file is broken", why)
      end
      write(path .. suffix, ("no database"):rep(1000))
      assert.is_nil((tables.open(kind, path)))
      os.remove(path .. suffix)
    end)
  end

  it("take a NUL at the end of key and value as none, whichever program wrote them", function()
    write(path .. ".cdb", cdb.bytes { { "a\0", "one\0" }, { "b", "two" }, { "b\0", "three\0" } })
    local t = assert(tables.open("cdb", path))
    assert.equal("one", t:get "a")
    assert.equal("three", t:get "b")
    assert.same({ "a=one", "b=two", "b=three" }, t:all())
    t:close()
    for kind, type in pairs { hash = "$DB_HASH", btree = "$DB_BTREE" } do
      os.remove(path .. ".db")
      execute(([[perl -MDB_File -e 'tie %%h, "DB_File", "%s.db", O_CREAT|O_RDWR, 0644, %s or die; $h{"a\0"} = "one\0"; ]]
        .. [[$h{"b"} = "two"']]):format(path, type))
      t = assert(tables.open(kind, path))
      assert.equal("one", t:get "a")
      assert.equal("two", t:get "b")
      t:close()
    end
  end)

  it("of hash are not those of btree", function()
    postmap("hash", "a b\n")
    assert.same({ nil, "it is not a table of this kind of Berkeley DB, made on a machine with this order of bytes" },
      { tables.open("btree", path) })
  end)

  it("of cdb may be empty, and have long and binary values", function()
    write(path .. ".cdb", cdb.bytes {})
    local t = assert(tables.open("cdb", path))
    assert.is_nil(t:get "a")
    assert.same({}, t:all())
    t:close()
    local long = ("\1\0\255x"):rep(50000)
    write(path .. ".cdb", cdb.bytes { { "a", long }, { ("k"):rep(1000), "b" }, { "", "empty" } })
    t = assert(tables.open("cdb", path))
    assert.is_true(t:get "a" == long)
    assert.equal("b", t:get(("K"):rep(1000)))
    assert.equal("empty", t:get "")
    t:close()
  end)

  it("of cdb answer with an error, when the file is changed in its place", function()
    local records = {}
    for i = 1, 500 do
      records[i] = { "key" .. i, "value" .. i }
    end
    local whole = cdb.bytes(records)
    write(path .. ".cdb", whole)
    local t = assert(tables.open("cdb", path))
    write(path .. ".cdb", whole:sub(1, 3000))
    local errors = 0
    for i = 1, 500 do
      local value, why, code = t:get("key" .. i)
      errors = errors + (code and 1 or 0)
      assert.is_true(value == "value" .. i or why == "the cdb file is broken, or was changed in its place", why)
    end
    assert.is_true(errors > 400)
    t:close()
  end)
end)
