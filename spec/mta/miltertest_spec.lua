-- OpenDKIM's miltertest against the stand-in on libmilter and, unchanged, against moonmilter.
local lfs = require "lfs"

local filter = require "spec.mta.filter"
local process = require "spec.support.process"

local SCRIPTS = "spec/mta/miltertest/"
local TIME = 30 -- seconds for a script

local function run_script(name, defines)
  local words = { "timeout", tostring(TIME), "miltertest", "-s", SCRIPTS .. name .. ".lua",
    "-D", "library=" .. SCRIPTS .. "session.lua" }
  for key, value in pairs(defines) do
    words[#words + 1] = "-D"
    words[#words + 1] = ("'%s=%s'"):format(key, value)
  end
  local ok, output = pcall(process.run, table.concat(words, " "))
  if ok and not output:find("PASSED", 1, true) then ok, output = false, "ended early:\n" .. output end
  return ok, output
end

local function names()
  local list = {}
  for name in lfs.dir(SCRIPTS) do
    name = name:match "^(.*)%.lua$"
    if name and name ~= "session" and name ~= "started-by-miltertest" then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

local FILTERS = {
  { name = "libmilter", start = filter.stand_in, program = function() return "build/mta/stand_in" end },
  {
    name = "moonmilter", unavailable = filter.host_unavailable, program = filter.host_program,
    script = "spec/mta/stand_in.lua", start = function() return filter.host "spec/mta/stand_in.lua" end,
  },
}

for _, each in ipairs(FILTERS) do
  describe(("miltertest with %s:"):format(each.name), function()
    local why = each.unavailable and each.unavailable()
      or not process.which "miltertest" and "miltertest is not installed: run spec/mta/install"
    if why then return pending(why) end
    local running

    setup(function() running = each.start() end)
    teardown(function() if running then running:stop() end end)

    for _, name in ipairs(names()) do
      it(name:gsub("-", " "), function()
        local ok, output = run_script(name, { socket = running.spec })
        assert(ok, ("%s\nthe filter:\n%s"):format(output, running:log():sub(-2000)))
      end)
    end

    it("started and stopped by miltertest", function()
      local ok, output = run_script("started-by-miltertest", {
        program = each.program(), script = each.script, socket = ("inet:%d@127.0.0.1"):format(process.free_port()),
      })
      assert(ok, output)
    end)
  end)
end
