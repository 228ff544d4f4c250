-- Every corpus of host/fuzz is a separate test: each target, built without a fuzzer, passes on its inputs.
local build = (os.getenv "MOONMILTER_TESTLIB" or "build/test/x"):match "^(.-)/test/"
local sanitizer = build:find("asan", 1, true) and "-fsanitize=address,undefined" or ""

local function run(command)
  local pipe = io.popen(command .. " 2>&1; echo \"status $?\"")
  local text = pipe:read "*a"
  pipe:close()
  local output, status = text:match "^(.*)status (%d+)\n$"
  return tonumber(status), output
end

local targets = {}
local list = assert(io.popen "ls host/fuzz/*.c")
for path in list:lines() do
  local name = path:match "([%w_]+)%.c$"
  if name ~= "replay_corpus" then targets[#targets + 1] = name end
end
list:close()

describe("fuzz corpus", function()
  for _, target in ipairs(targets) do
    it("of " .. target .. " passes", function()
      local program = os.tmpname()
      finally(function() os.remove(program) end)
      local status, output = run(("cc -std=c11 -D_GNU_SOURCE -O1 -g -no-pie %s -Ihost $(pkg-config --cflags luajit) -o "
        .. "%s host/fuzz/%s.c host/fuzz/replay_corpus.c %s/test/program.a %s/ev.o %s/libmoonmilter.a $(make "
        .. "-s libs)"):format(sanitizer, program, target, build,
        build, build))
      assert.equal(0, status, output)
      status, output = run(("env -u LD_PRELOAD %s host/fuzz/corpus/%s"):format(program, target))
      assert.equal(0, status, output:sub(-2000))
      assert.is_true(tonumber(output:match "(%d+) inputs") > 0, "the corpus is empty")
    end)
  end
end)
