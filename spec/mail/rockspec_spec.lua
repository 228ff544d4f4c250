-- The modules are also available without the host: luarocks make builds and installs them from rockspec/, and plain
-- LuaJIT runs them. The spec works in a copy of the needed files, so that building leaves nothing in the source tree.
local function run(command)
  local pipe = io.popen("(" .. command .. ") 2>&1; echo \"status $?\"")
  local output = pipe:read "*a"
  pipe:close()
  return output:match "status (%d+)\n$" == "0", output
end

local has_luarocks = run "command -v luarocks"

describe("rockspec/moonmilter-scm-1.rockspec", function()
  local it_if = has_luarocks and it or pending

  it_if("installs modules that plain LuaJIT runs, the manual's examples included", function()
    local directory = os.tmpname()
    os.remove(directory)
    finally(function() os.execute("rm -rf " .. directory) end)
    assert(run(("mkdir -p %s/source/host %s/work && cp -r lua rockspec LICENSE %s/source && cp -r "
      .. "host/codec host/seal %s/source/host")
      :format(directory, directory, directory, directory)))
    local made, output = run(("cd %s/source && env -u LD_PRELOAD -u LUA_PATH -u LUA_CPATH HOME=%s luarocks "
      .. "--lua-version=5.1 make --deps-mode=none --tree=%s/tree rockspec/moonmilter-scm-1.rockspec"):format(directory,
      directory, directory))
    assert.is_true(made, output)
    -- only the tree's modules, and LPeg where the distribution installs it
    local script = assert(io.open(directory .. "/work/all.lua", "w"))
    script:write [[
      for _, name in ipairs { "address", "authres", "body", "charset", "codec", "seal", "dkim", "datetime", "encoded_word",
        "header", "mime", "scan", "spf", "arc", "cidr", "mail.token", "mail.folding", "mail.params", "mail.structured",
        "mail.fields", "mail.block", "mail.transfer",
        "mail.kind", "mail.parts", "mail.rewrite", "mail.addrspec", "mail.path", "mail.bound" } do
        require("moonmilter." .. name)
      end
      for i = 1, #arg do
        local file = assert(io.open(arg[i], "rb"))
        for code in file:read("*a"):gmatch "```lua\n(.-)```" do
          assert(loadstring(code, "=" .. arg[i]))()
        end
        file:close()
      end
      print "all ran"
    ]]
    script:close()
    local pages = {}
    for _, page in ipairs { "address", "header", "mime", "body", "authres", "scan", "codec", "seal" } do
      pages[#pages + 1] = "$OLDPWD/docs/mail-" .. page .. ".md"
    end
    pages[#pages + 1] = "$OLDPWD/docs/dkim.md"
    local ran, said = run(('cd %s/work && env -u LD_PRELOAD LUA_PATH="%s/tree/share/lua/5.1/?.lua;;" '
      .. 'LUA_CPATH="%s/tree/lib/lua/5.1/?.so;;" luajit all.lua %s'):format(directory, directory, directory,
      table.concat(pages, " ")))
    assert.is_true(ran, said)
    assert.truthy(said:find("all ran", 1, true), said)
  end)

  it("names every module that these modules require", function()
    local listed = {}
    local file = assert(io.open "rockspec/moonmilter-scm-1.rockspec")
    for name, path in file:read("*a"):gmatch '%["(moonmilter%.[%w_.]+)"%] = "?([%w_/.]*)' do
      listed[name] = path
    end
    file:close()
    for _, path in pairs(listed) do
      if path ~= "" then
        for line in io.lines(path) do
          local name = line:match 'require%s*%(?"(moonmilter%.[%w_.]+)"'
          assert.is_true(name == nil or listed[name] ~= nil, path .. " requires " .. tostring(name))
        end
      end
    end
  end)
end)
