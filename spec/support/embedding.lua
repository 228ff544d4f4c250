--- Programs in C that embed a host: compiled with the public headers, linked with the library under test, and with its
--- sanitizer, if there is one.
local process = require "spec.support.process"

local library = os.getenv "MOONMILTER_TESTLIB" or "build/test/x"
local embedding = { build = library:match "^(.-)/test/" }

embedding.sanitizer = library:find("asan", 1, true) and "-fsanitize=address,undefined"
  or library:find("tsan", 1, true) and "-fsanitize=thread" or ""

--- Compiles a program and links it with the shared library.
---@param source string
---@param binary string
---@param more? string  further words for the compiler
function embedding.compile(source, binary, more)
  local build = embedding.build
  process.run(("ln -sf libmoonmilter.so %s/libmoonmilter.so.0"):format(build))
  process.run(("cc -std=gnu11 -Wall -Wextra -Werror -g %s -Ihost -o %s %s -L%s -lmoonmilter -Wl,-rpath,$PWD/%s "
    .. "-pthread %s"):format(embedding.sanitizer, binary, source, build, build, more or ""))
end

--- Runs a program to its end.
---@return string output, number status
function embedding.run(command)
  local pipe = assert(io.popen(("env -u LD_PRELOAD timeout 120 %s 2>&1; echo \"status $?\""):format(command)))
  local text, status = pipe:read "*a":match "^(.*)status (%d+)\n$"
  pipe:close()
  return text, tonumber(status)
end

return embedding
