-- Errors that name a path said what the system says of it, and not what to do: "replay: x.record: No such file or
-- directory". Each says what, where, what to do.
local host = require "spec.support.host"
local process = require "spec.support.process"

describe("an error that names a path says what to do:", function()
  local directory

  setup(function()
    directory = process.directory()
    process.run(("mkdir %s/empty"):format(directory))
    process.write_file(directory .. "/tag.lua", "function on_mail() end\n")
    process.write_file(directory .. "/mail.eml", "From: ann@one.example\n\ntext\n")
  end)
  teardown(function() process.run("rm -rf " .. directory) end)

  local NEW = "No such file or directory; make the directory first, or give another path"
  local OLD = "No such file or directory; check the name"
  for arguments, expected in pairs {
    ["run --pid_file=none/pid -s unix:s tag.lua"] = "pid_file: %S+/none/pid cannot be opened: %S+/none: " .. NEW,
    ["run --log=/nowhere/log -s unix:s tag.lua"] = "log: /nowhere/log cannot be opened: /nowhere: " .. NEW,
    ["run --record=none -s unix:s tag.lua"] = "record: %S+/none: not a directory that user %d+ can write to: %S+/none: "
      .. NEW,
    ["run -s unix:s none.lua"] = "none.lua: no such script or directory; check the name",
    ["run -c none.conf"] = "none.conf cannot be read: No such file or directory; name the file with %-c FILE",
    ["replay none.record tag.lua"] = "replay: none.record: " .. OLD,
    ["replay empty tag.lua"] = "replay: empty: holds no %*.record; name the directory of `record`, or a file",
    ["try none.eml tag.lua"] = "try: none.eml: " .. OLD,
    ["try --output none/x mail.eml tag.lua"] = "try: %S+/none: " .. NEW,
    ["send --to unix:none none.eml"] = "send: none.eml: " .. OLD,
    ["dkim-key show one.example s none.pem"] = "dkim%-key: none.pem: " .. OLD,
    ["dkim-key new one.example s none/key.pem"] = "dkim%-key: none/key.pem: " .. NEW,
    ["dkim-key new one.example s mail.eml"] = "dkim%-key: mail.eml: File exists; choose another selector",
    ["init tag.lua/project"] = "init: tag.lua/project: Not a directory; a part of this path is no directory: give another "
      .. "one",
    ["map a texthash:none"] = "No such file or directory; write it, or correct its name",
    ["test none_spec.lua"] = "test: none_spec.lua: " .. OLD,
    ["ctl --control none status"] = "No such file or directory; no host with this control socket is running",
  } do
    it(arguments, function()
      local text, status = host.until_ready(directory, arguments)
      assert.is_true(status ~= 0 and status ~= 124, tostring(status))
      assert.matches(expected, text)
    end)
  end

  it("no command prints the system's word alone", function()
    local found = process.run("grep -rnE '%s: %s(\\\\n)?\", *(path|file)[^,]*, *strerror' "
      .. "host/program host/trial host/ctl host/bench host/embed || true")
    assert.equal("", found)
  end)
end)
