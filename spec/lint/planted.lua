--- A tree of a few files in a temporary directory, in which specs of the lints plant faults.
local assert = require "luassert"
local lfs = require "lfs"

local planted = {}

--- Makes an empty tree. Call it before each test, and planted.remove() after it.
function planted.make()
  planted.root = os.tmpname()
  os.remove(planted.root)
  lfs.mkdir(planted.root)
end

function planted.remove()
  os.execute("rm -rf " .. planted.root)
end

--- Writes a file of the tree, with its directories.
function planted.write(path, text)
  local directory = planted.root
  for part in path:gmatch "([^/]+)/" do
    directory = directory .. "/" .. part
    lfs.mkdir(directory)
  end
  local file = assert(io.open(planted.root .. "/" .. path, "wb"))
  file:write(text)
  file:close()
end

--- Runs a lint on the tree and asserts its whole report. "": it finds nothing and exits with 0; else it exits with 1.
function planted.finds(expected, name)
  local run = io.popen(("luajit spec/lint/%s.lua %s 2>&1; echo status=$?"):format(name, planted.root))
  local text, status = run:read("*a"):match "^(.*)status=(%d+)\n$"
  run:close()
  assert.equal(expected, text)
  assert.equal(expected == "" and "0" or "1", status)
end

return planted
