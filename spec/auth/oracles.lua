--- Other implementations of DKIM, each a program that answers jobs: dkimpy, libopendkim, Mail::DKIM (RSA only).
---
--- A job is a line and a message with CRLF: "verify BYTES", or "sign HEADER_CANON BODY_CANON KEY BYTES", then the
--- bytes. The answer is "pass" or "fail WHY" in a line; to sign, the length of the field in a line and the field with
--- its CRLF, or "fail WHY". The domain is example.org, the selector the name of the key. The programs read
--- DIRECTORY/zone, lines of "name TAB text"; DIRECTORY/KEY.pem; for dkimpy DIRECTORY/ed25519.seed, base64.
local process = require "spec.support.process"

local oracles = { names = { "dkimpy", "libopendkim", "mail_dkim" } }

local PROGRAMS = {
  dkimpy = "/usr/bin/python3 spec/auth/oracles/dkimpy.py",
  mail_dkim = "perl spec/auth/oracles/mail_dkim.pl",
}

local function run(command)
  local status = os.execute(command)
  return status == 0 or status == true
end

--- What is missing of an oracle: a package; nil: it can be used.
function oracles.missing(name)
  if name == "dkimpy" then
    return not run "/usr/bin/python3 -c 'import dkim, nacl' 2>/dev/null" and "python3-dkim python3-nacl" or nil
  elseif name == "mail_dkim" then
    return not run "perl -MMail::DKIM -e 1 2>/dev/null" and "libmail-dkim-perl" or nil
  end
  return not run "echo '#include <stdio.h>\n#include <opendkim/dkim.h>' | cc -E -x c - >/dev/null 2>&1"
    and "libopendkim-dev" or nil
end

--- Runs jobs and returns their answers, in order: "pass", "fail WHY", or a field.
---@param name string
---@param directory string
---@param jobs { [1]: string, [2]: string }[]  the line without its length; the message
---@return string[]
function oracles.run(name, directory, jobs)
  local program = PROGRAMS[name]
  if not program then
    program = directory .. "/libopendkim"
    assert(run(("cc -D_GNU_SOURCE -Wall -Wextra -Werror -o %s spec/auth/oracles/libopendkim.c -lopendkim"):format(program)))
  end
  local input = {}
  for i, job in ipairs(jobs) do
    input[i] = ("%s %d\n%s"):format(job[1], #job[2], job[2])
  end
  process.write_file(directory .. "/jobs", table.concat(input))
  assert(run(("%s %s <%s/jobs >%s/answers"):format(program, directory, directory, directory)), name .. " failed")
  local file, answers = assert(io.open(directory .. "/answers", "rb")), {}
  for i = 1, #jobs do
    local line = assert(file:read "*l", name .. " gave too few answers")
    answers[i] = line:find "^%d+$" and file:read(tonumber(line)) or line
  end
  file:close()
  return answers
end

return oracles
