-- os.tmpname below TMPDIR, where spec/run removes what specs leave behind. spec/run loads this into every LuaJIT that
-- it starts (LUA_INIT); Lua's own knows only /tmp.
local directory = os.getenv "TMPDIR"

if directory then
  os.tmpname = function() -- luacheck: ignore 122
    local random = assert(io.open("/dev/urandom", "rb"))
    local digits = random:read(6):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
    local name = ("%s/lua_%s"):format(directory, digits)
    random:close()
    assert(io.open(name, "wb")):close()
    return name
  end
end
