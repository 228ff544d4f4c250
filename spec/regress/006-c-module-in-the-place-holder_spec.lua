-- The mark for "is being loaded" in package.loaded was a table. C modules that register by name (luaL_register) took it
-- for their own: two of them shared one table, and a second require of either failed with "module cycle". Since 0.1.0.
local fake_mta = require "spec.support.fake_mta"

describe("C modules that register themselves by name", function()
  it("can be required again and do not share a table", function()
    local host, err = fake_mta.host {
      files = {
        ["10.lua"] = [[
          local lpeg, lfs = require "lpeg", require "lfs"
          assert(lpeg.P and lfs.dir)
          assert(lpeg ~= lfs and not lpeg.dir and not lfs.P)
          function on_mail() end]],
        ["20.lua"] = [[
          assert(require "lpeg" == package.loaded.lpeg and require "lpeg".P)
          function on_mail() end]],
      },
    }
    assert.is_nil(err)
    host:close()
  end)

  it("serve the mail modules, which require them several times", function()
    local host, err = fake_mta.host { script = [[
      require "moonmilter.mime"
      require "moonmilter.authres"
      require "moonmilter.body"
      function on_mail() end]] }
    assert.is_nil(err)
    host:close()
  end)
end)
