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
  if name ~= "replay_corpus" and name ~= "watch" then targets[#targets + 1] = name end
end
list:close()

local FLAGS = "-std=c11 -D_GNU_SOURCE -O1 -g -no-pie -Wl,--wrap=LLVMFuzzerTestOneInput " .. sanitizer
  .. " -Ihost $(pkg-config --cflags luajit) host/fuzz/replay_corpus.c host/fuzz/watch.c"

describe("fuzz corpus", function()
  for _, target in ipairs(targets) do
    it("of " .. target .. " passes", function()
      local program = os.tmpname()
      finally(function() os.remove(program) end)
      local status, output = run(("cc %s -o %s host/fuzz/%s.c %s/test/program.a %s/test/library.a $(make -s "
        .. "program-libs)"):format(FLAGS, program, target, build, build))
      assert.equal(0, status, output)
      status, output = run(("env -u LD_PRELOAD %s host/fuzz/corpus/%s"):format(program, target))
      assert.equal(0, status, output:sub(-2000))
      assert.is_true(tonumber(output:match "(%d+) inputs") > 0, "the corpus is empty")
    end)
  end
end)

describe("the watch of a target's time", function()
  -- Goes over its input once, or for each byte over all that follow.
  local SOURCE = [[
    #include "fuzz/watch.h"
    #include <stdint.h>
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
      volatile unsigned sum = 0;
      mm_fuzz_made(16384);
      for (size_t i = 0; i < (data[0] == 'q' ? 16384 : 1); i++)
        for (size_t j = i; j < 16384 * 8; j++)
          sum += data[j %% size];
      return 0;
    }
  ]]
  for input, expected in pairs { linear = "1 inputs", quadratic = "too slow" } do
    it(("says %q of work that is %s"):format(expected, input), function()
      local directory = os.tmpname()
      os.remove(directory)
      assert(os.execute("mkdir -p " .. directory .. "/corpus") == 0)
      finally(function() os.execute("rm -rf " .. directory) end)
      for name, text in pairs { ["target.c"] = SOURCE:gsub("%%%%", "%%"), ["corpus/input"] = input } do
        local file = assert(io.open(directory .. "/" .. name, "wb"))
        file:write(text)
        file:close()
      end
      local status, output = run(("cc %s -o %s/target %s/target.c"):format(FLAGS, directory, directory))
      assert.equal(0, status, output)
      status, output = run(("env -u LD_PRELOAD %s/target %s/corpus"):format(directory, directory))
      assert.matches(expected, output, 1, true)
      assert.equal(expected == "too slow", status ~= 0)
    end)
  end
end)
