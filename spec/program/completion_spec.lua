-- Completion in real shells. It reads --help when it is used; here that reading is compared with --help itself.
local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
local directory

local function output(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function lines(text)
  local list, seen = {}, {}
  for line in text:gmatch "[^\n]+" do
    if not seen[line] then list[#list + 1] = line end
    seen[line] = true
  end
  table.sort(list)
  return list
end

local function quoted(words)
  local list = {}
  for i, word in ipairs(words) do list[i] = ("%q"):format(word) end
  return table.concat(list, " ")
end

-- Each completes the last word of a command line: what the shell would offer, before it compares it with that word.
local shells = {}

function shells.bash(words)
  return output(([[bash --norc -c 'source debian/completions/moonmilter.bash; COMP_WORDS=(%s); COMP_CWORD=%d
    _moonmilter; printf "%%s\n" "${COMPREPLY[@]}"']]):format(quoted(words), #words - 1))
end

-- zsh offers through builtins that exist only while it completes: ours print instead.
function shells.zsh(words)
  return output(([[zsh -f -c '
    compadd() { shift $(( ${@[(i)--]} )) 2>/dev/null || true; print -l -- "$@" }
    _files() { print -l -- *(N) }
    _describe() { print -l -- "${(@)${(P)2}%%%%:*}" }
    complete_it() { local -a words=(%s); local CURRENT=%d PREFIX=%q
      source debian/completions/_moonmilter }
    complete_it | grep -e "^${PREFIX}" ; true']]):format(quoted(words), #words, words[#words]))
end

function shells.fish(words)
  local line = table.concat(words, " ")
  return (output(([[fish --no-config -c 'source debian/completions/moonmilter.fish; complete -C %q']]):format(line))
    :gsub("\t[^\n]*", ""))
end

local function matching(shell, words)
  local word, list = words[#words], {}
  for _, offer in ipairs(lines(shells[shell](words))) do
    if offer:sub(1, #word) == word then list[#list + 1] = offer end
  end
  return list
end

-- Options as --help has them: at the beginning of a line, before its explanation.
local function options(words)
  local list = {}
  for line in output(program .. " " .. words .. " --help"):gmatch "[^\n]+" do
    local given = line:match "^ +(%-[%l-].*)"
    for option in (given and " " .. given:gsub("   *.*", "") or ""):gmatch "[ ,](%-%-?%l[%w_-]*)" do
      list[#list + 1] = option
    end
  end
  return lines(table.concat(list, "\n"))
end

local function first_words(text, pattern)
  local list = {}
  for word in text:gmatch(pattern) do list[#list + 1] = word end
  return lines(table.concat(list, "\n"))
end

for _, shell in ipairs { "bash", "zsh", "fish" } do
  describe("completion in " .. shell, function()
    local path = os.getenv "PATH"

    setup(function()
      assert.truthy(process.which(shell), shell .. " is missing: make packages-test")
      directory = process.directory()
      assert(os.execute(("ln -s $(readlink -f %s) %s/moonmilter"):format(program, directory)))
      require("posix.stdlib").setenv("PATH", directory .. ":" .. path)
    end)
    teardown(function() require("posix.stdlib").setenv("PATH", path) end)

    local function offers(...) return matching(shell, { "moonmilter", ... }) end

    it("offers the commands", function()
      local commands = first_words(output(program .. " --help"):match "\nCommands:\n(.-)\n\n", "  (%l[%l-]*) [^\n]*")
      assert.is_true(#commands > 10)
      assert.same({ "check", "ctl" }, offers "c")
      for _, command in ipairs(commands) do assert.same({ command }, offers(command)) end
    end)

    it("offers the requests of ctl, behind its options too", function()
      local requests = first_words(output(program .. " ctl --help"), "\n  (%l%l+) [^\n]*")
      assert.is_true(#requests > 8)
      assert.same(requests, offers("ctl", ""))
      assert.same({ "sessions", "shadow", "status", "stop", "store" }, offers("ctl", "--json", "s"))
    end)

    it("offers the options that the help of each command lists", function()
      for _, words in ipairs { "run", "check", "ctl", "profile", "doctor", "try", "send", "replay", "eval", "map",
        "page",
        "bench", "dkim-key" } do
        local expected = options(words)
        assert.is_true(#expected > 3, words)
        assert.same(expected, offers(words, "-"), words)
      end
      assert.same(options "ctl top", offers("ctl", "top", "-"))
    end)

    it("offers the options of run where no command is given", function()
      assert.same({ "--log", "--log_format", "--log_level", "--log_rate" }, offers "--log")
    end)

    it("offers files where a command takes them", function()
      assert.same({ "CHANGELOG.md" }, offers("try", "CHANGE"))
      assert.same({ "CHANGELOG.md" }, offers("check", "--config", "CHANGE"))
    end)
  end)
end
