-- moonmilter map: keys from the command line and from standard input, exit statuses, and that it answers as
-- `postmap -q` does.
local socket = require "socket"

local process = require "spec.support.process"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
local directory

setup(function()
  directory = process.directory()
  process.write_file(directory .. "/main.cf", "")
  process.write_file(directory .. "/access", [[
# who may
ann@example.org     OK
Bob@example.org     REJECT  no
  more of it
bad.example         REJECT
]])
  process.write_file(directory .. "/nets", "192.0.2.0/24 OK\n198.51.100.0/24 other\n2001:db8::/32 six\n")
  process.write_file(directory .. "/words", "/^x(.*)y$/ found $1\n!/[a-z]/ NUMBERS\nif /q/\n/^q\\d+$/ queue\nendif\n")
end)

-- Standard output, exit status and standard error of a command of the shell, run where the tables are.
local function run(command, input)
  local path = process.write_file(directory .. "/input", input or "")
  local pipe = assert(io.popen(("cd %s && %s <%s 2>errors; echo \"status $?\""):format(directory, command, path)))
  local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  return text, tonumber(status), process.read_file(directory .. "/errors")
end

local absolute = program:sub(1, 1) == "/" and program or require("posix.unistd").getcwd() .. "/" .. program

local function map(words, input) return run(absolute .. " map " .. words, input) end

describe("moonmilter map", function()
  it("prints the value of a key that is there, and exits with 0", function()
    for words, value in pairs {
      ["bob@Example.org texthash:access"] = "REJECT  no  more of it",
      ["192.0.2.9 cidr:nets"] = "OK",
      ["x--y pcre:words"] = "found --",
      ["a 'inline:{ a=b, { c=d e } }'"] = "b",
      ["anything 'static:{ two words }'"] = "two words",
      ["bad.example cidr:" .. directory .. "/nets proxy:texthash:" .. directory .. "/access"] = "REJECT",
      ["--address ann+news@bad.example texthash:access"] = "REJECT",
      ["--address '' 'inline:{ <>=null }'"] = "null",
      ["--network 10.1.2.3 'inline:{ 10.1=net }'"] = "net",
      ["-s log_level=debug a inline:{a=b}"] = "b",
    } do
      assert.same({ value .. "\n", 0, "" }, { map(words) }, words)
    end
  end)

  it("exits with 1 and says nothing when the key is not there", function()
    for _, words in ipairs { "nobody texthash:access", "192.0.3.1 cidr:nets", "abc pcre:words", "'' texthash:access",
      "--address eve@example.net texthash:access", "--network 192.0.3.1 cidr:nets", "bad.example 'inline:{a=b}'" } do
      assert.same({ "", 1, "" }, { map(words) }, words)
    end
  end)

  it("exits with 75 and says why when the map cannot be opened or cannot answer", function()
    process.write_file(directory .. "/wrong", "/(/ x\n")
    for words, sentence in pairs {
      ["a texthash:nowhere"] = "^moonmilter map: texthash:/[^\n]+/nowhere: No such file or directory; write it, or "
        .. "correct its name in the script\n$",
      ["a hash:nowhere"] = "^moonmilter map: hash:/[^\n]+/nowhere: No such file or directory; "
        .. '"postmap hash:/[^\n]+/nowhere" makes it of a text\n$',
      ["a pcre:wrong"] = "^moonmilter map: pcre:/[^\n]+/wrong: [^\n]+\n$",
      ["a tcp:127.0.0.1:1"] = "^moonmilter map: tcp:127.0.0.1:1: [^\n]+ %(down%)\n$",
      ["a 'inline:{a=b' "] = "^moonmilter map: inline:{a=b: [^\n]+\n$",
      ["--network nonsense cidr:nets"] = '^moonmilter map: "nonsense" is not an IP address %(bad_key%)\n$',
    } do
      local text, status, errors = map(words)
      assert.same({ "", 75 }, { text, status }, words)
      assert.matches(sentence, errors)
    end
  end)

  it("exits with 64 when it is called wrongly", function()
    for words, sentence in pairs {
      [""] = "write QUERY SPEC", ["a"] = "write QUERY SPEC", ["--nonsense a inline:{a=b}"] = "map %-%-help",
      ["a access"] = '"access" has no kind', ["a texthsh:access"] = 'did you mean "texthash"',
      ["a texthash:access cidr:"] = "nothing follows the kind",
    } do
      local text, status, errors = map(words)
      assert.same({ "", 64 }, { text, status }, words)
      assert.matches(sentence, errors)
    end
  end)

  it("shows no password", function()
    local _, status, errors = map "a redis://user:secret@127.0.0.1"
    assert.not_equal(0, status)
    assert.is_nil(errors:find("secret", 1, true), errors)
  end)

  it("asks a service, and waits for it", function()
    local server = assert(socket.bind("127.0.0.1", 0))
    local _, port = server:getsockname()
    local pipe = assert(io.popen(("%s map 'a key' tcp:127.0.0.1:%d 2>&1"):format(program, port)))
    server:settimeout(10)
    local client = assert(server:accept())
    assert.equal("get a%20key", (client:receive()))
    client:send "200 a%20value\n"
    assert.equal("a value\n", pipe:read "*a")
    pipe:close()
    client:close()
    server:close()
  end)

  it("takes settings of a configuration, but no scripts", function()
    process.write_file(directory .. "/moonmilter.conf", 'scripts = "nowhere"\nredis = { port = 1 }\n')
    local _, status, errors = map "-c moonmilter.conf a redis:get:x"
    assert.equal(75, status)
    assert.matches("127.0.0.1:1: ", errors, 1, true)
    process.write_file(directory .. "/moonmilter.conf", "scripts = \n")
    assert.equal(78, (select(2, map "-c moonmilter.conf a inline:{a=b}")))
  end)

  it("reads keys from standard input", function()
    assert.same({ "ann@example.org\tOK\nbad.example\tREJECT\n", 0, "" },
      { map("- texthash:access", "ann@example.org\nnobody\n\nbad.example") })
    assert.same({ "", 1, "" }, { map("- texthash:access", "nobody\n") })
    assert.same({ "", 1, "" }, { map("- texthash:access", "") })
    assert.same({ "ann@bad.example\tREJECT\n", 0, "" }, { map("--address - texthash:access", "ann@bad.example\n") })
  end)

  it("ends at the first key of standard input that fails", function()
    local text, status, errors = map("--network - cidr:nets", "192.0.2.1\nnonsense\n192.0.2.2\n")
    assert.same({ "192.0.2.1\tOK\n", 75 }, { text, status })
    assert.matches("nonsense", errors)
    assert.equal(75, (select(2, map("- texthash:access", "a\0b\n"))))
    assert.equal(75, (select(2, map("- texthash:access", ("x"):rep(70000) .. "\n"))))
  end)

  it("looks up many keys, one after another", function()
    local keys, lines = {}, {}
    for i = 1, 20000 do
      keys[i], lines[i] = i .. "\n", ("%d\tvalue %d\n"):format(i, i)
    end
    process.write_file(directory .. "/many", (table.concat(lines)))
    assert.same({ table.concat(lines), 0, "" }, { map("- texthash:many", table.concat(keys)) })
  end)
end)

describe("moonmilter check and maps", function()
  local function check(script)
    os.execute(("mkdir -p %s/scripts"):format(directory))
    process.write_file(directory .. "/scripts/10.lua", 'local map = require "moonmilter.map"\n' .. script)
    return run(absolute .. " check scripts")
  end

  -- The lines about maps, without "moonmilter: map ".
  local function maps(output)
    local list = {}
    for line in output:gmatch "moonmilter: map ([^\n]+)" do list[#list + 1] = line end
    return list
  end

  it("shows each map that a script opens, in order: spec, entries, age", function()
    os.execute(("cp %s/access %s/scripts-access; touch -d '3 hours ago' %s/scripts-access"):format(directory, directory,
      directory))
    local output, status, errors = check [[
      a = map.open { "texthash:../scripts-access", "inline:{a=b}" }
      local closed = map.open "inline:{c=d}" closed:close()
      function on_load() b = map.open "tcp:127.0.0.1:1" end
      function on_mail(ctx, sender) a:get(sender) b:get(sender) end]]
    assert.equal(0, status, errors)
    local list = maps(output)
    assert.matches("^texthash:/.*access: 3 entries, 3 hours old$", list[1])
    assert.same({ "inline:{a=b}: 1 entry", "tcp:127.0.0.1:1" }, { list[2], list[3] })
    assert.equal(3, #list)
  end)

  it("says nothing where scripts open none", function()
    assert.same({}, maps((check "function on_mail() end")))
  end)

  it("shows no password", function()
    local output, status, errors = check [[
      a = map.open("pgsql:", { parameters = { hosts = "127.0.0.1", user = "u", password = "secret", dbname = "d",
        query = "SELECT v FROM t WHERE k = '%s'" } })
      b = map.open("redis:get:x", { redis = { host = "127.0.0.1", password = "secret" } })
      function on_mail(ctx, sender) a:get(sender) b:get(sender) end]]
    assert.equal(0, status, errors)
    assert.same({ "pgsql:", "redis:get:x" }, maps(output))
    assert.is_nil((output .. errors):find("secret", 1, true))
  end)

  it("fails when a map cannot be opened", function()
    local _, status, errors = check 'a = map.open "texthash:nowhere"'
    assert.equal(78, status)
    assert.matches("scripts/10.lua:2: map.open: texthash:[^\n]*/nowhere: No such file", errors)
  end)
end)

describe("moonmilter map and postmap -q", function()
  setup(function() assert(process.which "postmap", "Postfix is not installed: spec/mta/install") end)

  for spec, keys in pairs {
    ["texthash:access"] = { "ann@example.org", "BOB@EXAMPLE.ORG", "nobody", "bad.example", "example.org", "#", "who" },
    ["cidr:nets"] = { "192.0.2.0", "192.0.2.255", "192.0.3.0", "198.51.100.7", "2001:db8::1", "2001:db9::1" },
    ["pcre:words"] = { "xy", "x$1y", "XabcY", "123", "q12", "q", "Q7", "abc" },
  } do
    it("say the same of keys in " .. spec, function()
      local postmap = ("postmap -c %s -q %%s %s"):format(directory, spec)
      for _, key in ipairs(keys) do
        local own, own_status = map(("'%s' %s"):format(key, spec))
        local other, other_status = run(postmap:format("'" .. key .. "'"))
        assert.same({ other, other_status }, { own, own_status }, key)
      end
      local input = table.concat(keys, "\n") .. "\n"
      local other, other_status = run(postmap:format "-", input)
      local own, own_status = map("- " .. spec, input)
      assert.same({ other, other_status }, { own, own_status })
      assert.matches("\t", own)
    end)
  end
end)
