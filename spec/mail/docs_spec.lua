-- A false doc is a bug: every Lua example in docs/mail-*.md runs, and its assertions hold.
local portrait = dofile "spec/mail/portrait.lua"

describe("the examples in the manual", function()
  for _, page in ipairs { "address", "header", "mime", "body", "authres", "scan", "codec", "charset", "datetime",
    "encoded_word" } do
    local path = "docs/mail-" .. page .. ".md"
    local number = 0
    for code in portrait.read_file(path):gmatch "```lua\n(.-)```" do
      number = number + 1
      it(("run: %s, number %d"):format(path, number), function()
        assert(loadstring(code, "=" .. path))()
      end)
    end
  end
end)
