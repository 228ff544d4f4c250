-- Hosts on loops of the program that embeds them: examples/embed-*.c, each with the shared and the static library. The
-- script waits in its handler, so a message passes only when the host's timers fire; its deadline is a timer, too.
local process = require "spec.support.process"

local build = (os.getenv "MOONMILTER_TESTLIB" or "build/test/x"):match "^(.-)/test/"
local sanitizer = require "spec.support.embedding".sanitizer
local program = os.getenv "MOONMILTER" or "build/moonmilter"

local SCRIPT = [[
  local milter = require "moonmilter"
  function on_mail(ctx) if ctx.sender == "late@example.org" then milter.sleep(60) end end
  function on_eom(ctx)
    local before = milter.now()
    milter.sleep(0.05)
    ctx:add_header("X-Waited", milter.now() - before >= 0.04 and "yes" or "no")
  end
]]

--- What an example is linked with besides the library.
local LOOPS = {
  { "embed-poll", "-pthread" },
  { "embed-ev", "-lev", "libev's shared library" },
  { "embed-ev", "-l:libev.a", "libev's static library" },
  { "embed-glib", "$(pkg-config --cflags --libs glib-2.0)" },
  { "embed-uv", "$(pkg-config --cflags --libs libuv)" },
}

local LIBRARIES = {
  { "shared", "-lmoonmilter -Wl,-rpath,$PWD/%s" },
  { "static", "-l:libmoonmilter.a $(make -s libs)" },
}

local function send(socket, sender)
  local file = os.tmpname()
  finally(function() os.remove(file) end)
  process.write_file(file, "From: a@example.org\nSubject: hello\n\nbody\n")
  local pipe = io.popen(("env -u LD_PRELOAD timeout 60 %s send --to unix:%s --from %s %s 2>&1"):format(program, socket,
    sender, file))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("a host on the program's loop", function()
  local directory

  setup(function()
    directory = process.directory()
    process.write_file(directory .. "/waits.lua", SCRIPT)
    process.run(("ln -sf libmoonmilter.so %s/libmoonmilter.so.0"):format(build))
  end)
  teardown(function() process.run("rm -rf " .. directory) end)

  for _, loop in ipairs(LOOPS) do
    for _, library in ipairs(LIBRARIES) do
      local example, links, with = unpack(loop)
      it(("serves, waits and stops in examples/%s.c with the %s library%s"):format(example, library[1],
        with and " and " .. with or ""), function()
        local binary, socket = directory .. "/" .. example, directory .. "/socket"
        os.remove(binary)
        process.run(("cc -std=gnu11 -Wall -Wextra -Werror -g %s -Ihost -o %s examples/%s.c -L%s %s %s -lm"):format(
          sanitizer, binary, example, build, (library[2]:gsub("%%s", build)), links))
        local child = process.start({ "env", "-u", "LD_PRELOAD", binary, "unix:" .. socket, directory .. "/waits.lua" },
          { output = directory .. "/output", life = 120 })
        finally(function() child:stop() end)
        assert(child:wait_text("serving", 20))
        local text = send(socket, "a@example.org")
        assert.truthy(text:find("X-Waited: yes", 1, true), text .. child:text())
        text = send(socket, "late@example.org")
        assert.truthy(text:find("451", 1, true), text .. child:text())
        if example == "embed-poll" then assert(child:wait_text("the thread has finished", 5)) end
        if example == "embed-ev" then assert(child:wait_text("a timer of the program", 5)) end
        child:signal "SIGTERM"
        assert(child:wait_text("stopped", 10))
      end)
    end
  end
end)
