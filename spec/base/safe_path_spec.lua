-- The walk that root takes to a file (host/base/safe_path.h).
local ffi = require "ffi"
local process = require "spec.support.process"
local testlib = require "spec.support.testlib"

ffi.cdef [[ int close(int fd); ]]
pcall(ffi.cdef, "enum { NAME_MAX = 255 };")
local C = testlib.load "base/safe_path.h"
local is_root = process.run("id -u"):match "^0%s"

describe("the way to a file, as root", function()
  if not is_root then
    pending "needs root"
    return
  end

  local directory
  before_each(function()
    directory = process.directory()
    process.run(([[cd %s; mkdir -p roots/inner theirs/inner groups open victim; chown -R nobody theirs
      chmod 775 groups; chmod 1777 open
      ln -s inner roots/link; ln -s ../roots roots/up; ln -s %s/roots/inner absolute; ln -s ring roots/ring
      ln -s ../victim theirs/link; ln -s ../../victim theirs/inner/link; ln -s ../victim groups/link
      ln -s ../victim open/link; ln -s %s/victim roots/foreign; chown -h nobody roots/foreign theirs/link]]):format(
      directory, directory, directory))
  end)
  after_each(function() process.run("rm -rf " .. directory) end)

  --- -> the directory found and the name; nil and the fault's text
  local function walk(path)
    local p, why = ffi.new "struct mm_safe_path", ffi.new "struct mm_fault"
    if not C.mm_safe_path_open(p, path, why) then return nil, ffi.string(why.text) end
    local found = process.run(("readlink /proc/%d/fd/%d"):format(require "posix.unistd".getpid(), p.directory))
    local name, trusted = ffi.string(p.name), p.is_trusted
    C.mm_safe_path_close(p)
    return (found:gsub("%s+$", "")) .. "/" .. name, trusted
  end

  for path, found in pairs {
    ["roots/file"] = "roots/file",
    ["roots//./inner/file"] = "roots/inner/file",
    ["roots/link/file"] = "roots/inner/file",
    ["roots/up/inner/file"] = "roots/inner/file",
    ["roots/inner/../file"] = "roots/file",
    ["absolute/file"] = "roots/inner/file",
    ["absolute"] = "roots/inner",
  } do
    it("goes through directories and links of root: " .. path, function()
      local where, trusted = walk(directory .. "/" .. path)
      assert.equal(directory .. "/" .. found, where)
      assert.is_true(trusted)
    end)
  end

  for _, path in ipairs { "theirs/file", "theirs/inner/file", "groups/file", "open/file" } do
    it("knows that others may change it: " .. path, function()
      local where, trusted = walk(directory .. "/" .. path)
      assert.equal(directory .. "/" .. path, where)
      assert.is_false(trusted)
    end)
  end

  for path, wrong in pairs {
    ["theirs/link/file"] = "theirs/link",
    ["theirs/link"] = "theirs/link",
    ["theirs/inner/link/file"] = "theirs/inner/link",       -- a link of root that nobody could have moved there
    ["groups/link/file"] = "groups/link",
    ["open/link/file"] = "open/link",
    ["roots/foreign/file"] = "roots/foreign",
  } do
    it("does not follow " .. path, function()
      local where, text = walk(directory .. "/" .. path)
      assert.is_nil(where)
      assert.matches(directory .. "/" .. wrong .. ": is a symbolic link of user", text, 1, true)
      assert.matches("which root does not follow", text, 1, true)
    end)
  end

  for path, why in pairs {
    ["theirs/../roots/file"] = '"..".*may move',
    ["missing/file"] = "missing: No such file or directory",
    ["roots/ring/file"] = "Too many levels of symbolic links",
    ["roots/"] = "does not end in the name of a file",
    ["roots/.."] = "does not end in the name of a file",
  } do
    it("refuses " .. path, function()
      local where, text = walk(directory .. "/" .. path)
      assert.is_nil(where)
      assert.matches(why, text)
    end)
  end

  it("reaches what the kernel's own links name", function()
    local where = walk "/dev/stdout"
    assert.matches("^/proc/%d+/fd/1$", where)
  end)

  it("starts a relative path at the working directory", function()
    local where = walk "spec/file"
    assert.equal(process.run("pwd -P"):gsub("%s+$", "") .. "/spec/file", where)
  end)
end)
