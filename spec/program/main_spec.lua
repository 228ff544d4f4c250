-- The command line as a whole: help, unknown words, and the manual page's list of commands.
local program = os.getenv "MOONMILTER" or "build/moonmilter"

local function run(arguments)
  local pipe = assert(io.popen(("%s %s 2>&1; echo \"status $?\""):format(program, arguments)))
  local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  return text, tonumber(status)
end

local function commands()
  local list = {}
  for name in run("--help"):match("\nCommands:\n(.-)\n\n"):gmatch "  (%l[%l-]*) [^\n]*" do list[#list + 1] = name end
  return list
end

describe("moonmilter help", function()
  it("refuses a word that is no command, with a suggestion", function()
    for _, word in ipairs { "nonsense", "scripts", "x" } do
      local text, status = run("help " .. word)
      assert.equal(64, status)
      assert.matches("moonmilter: ", text)
      assert.is_nil(text:find("Commands:", 1, true))
    end
    assert.matches('did you mean "try"', (run "help tri"))
  end)

  it("shows the help of every command", function()
    assert.is_true(#commands() > 8)
    for _, name in ipairs(commands()) do
      local text, status = run("help " .. name)
      assert.equal(0, status, name)
      assert.matches("[Uu]sage:", text)
      assert.equal(text, (run(name .. " --help")), name)
    end
    assert.equal(0, (select(2, run "help")))
    assert.equal(0, (select(2, run "help config")))
  end)
end)

describe("the manual page", function()
  it("has every command in its SYNOPSIS, in the order of --help, and in its list of commands", function()
    local file = assert(io.open "docs/moonmilter.8")
    local page = file:read "*a"
    file:close()
    local synopsis = page:match "%.Sh SYNOPSIS\n(.-)%.Sh"
    local list = page:match "%.Sh COMMANDS\n(.-)%.Ss"
    local at = 1
    for _, command in ipairs(commands()) do
      local name = command:gsub("%-", "%%-")
      local found = synopsis:find("\n%.[CO][mp]? ?C?m? " .. name .. "%f[%W]", at) or synopsis:find("%.Cm " .. name
        .. "%f[%W]", at) or synopsis:find(".Op Cm " .. command, at, true)
      assert.truthy(found, name .. " in SYNOPSIS, in its place")
      at = found
      assert.truthy(list:find("\n%.It Cm " .. name .. "%f[%W]"), name .. " under COMMANDS")
    end
  end)
end)
