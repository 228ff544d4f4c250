-- moonmilter.process as a test sees it: the host's own, but nothing is run; the test gives the result.
local ask_test, wait = ...
local core = require "moonmilter.core"

function core.process_run(argv, env, cwd, stdin, timeout, max_output)
  local result, text, code, delay = ask_test("process", { argv = argv, env = env, cwd = cwd, stdin = stdin })
  result, text, code = wait(argv[1], timeout, result, text, code, delay)
  if result == nil then
    return nil, text, code
  end
  local out = { status = result.status or not result.signal and 0 or nil, signal = result.signal,
    stdout = result.stdout or "", stderr = result.stderr or "" }
  if #out.stdout > max_output or #out.stderr > max_output then
    return nil, ("%s: more than %d bytes of output"):format(argv[1], max_output), "limit"
  end
  return out
end

return require "host:moonmilter.process"
