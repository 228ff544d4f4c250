-- `moonmilter dkim-key`: a key, the line that publishes it, and what DNS says, told by dnsmasq.
local dkim = require "moonmilter.dkim"
local process = require "spec.support.process"
local seal = require "moonmilter.seal"

local program = os.getenv "MOONMILTER" or "build/moonmilter"
program = program:match "^/" and program or (os.getenv "PWD" .. "/" .. program)

describe("moonmilter dkim-key", function()
  local directory
  setup(function() directory = process.directory() end)
  teardown(function() process.run("rm -rf " .. directory) end)

  local function run(arguments)
    local pipe = assert(io.popen(("cd %s; %s dkim-key %s 2>&1; echo \"status $?\""):format(directory, program,
      arguments)))
    local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    return text, tonumber(status)
  end

  -- The strings of a zone line.
  local function strings_of(line)
    local list = {}
    for text in line:match("IN TXT.*"):gmatch '"([^"]*)"' do list[#list + 1] = text end
    return list
  end

  for _, case in ipairs { { "", "rsa", 2048 }, { "--bits 4096", "rsa", 4096 }, { "-t ed25519", "ed25519", 256 } } do
    it(("makes a key that its owner alone can read, and a record that verifiers read: %s %d"):format(case[2], case[3]),
      function()
      local file = ("%s/%d.pem"):format(directory, case[3])
      local text, status = run(("new %s example.org s %s"):format(case[1], file))
      assert.equal(0, status, text)
      assert.equal("600", (process.run("stat -c %a " .. file):gsub("%s", "")))
      local line = text:match "\n(s%._domainkey%.example%.org%. IN TXT %( [^\n]*)\n$"
      assert.equal(line .. "\n", (run("show example.org s " .. file)))
      local strings = strings_of(line)
      for _, part in ipairs(strings) do assert.is_true(#part <= 255) end
      local record = assert(dkim.key(table.concat(strings)))
      assert.same({ case[2], case[3] }, { record.kind, record.bits })
      local signature = seal.private_key(process.read_file(file)):sign "x"
      assert.is_true(record.key:verify("x", signature))
    end)
  end

  it("names the file after selector and domain, and overwrites nothing", function()
    assert.equal(0, (select(2, run "new -t ed25519 example.net a.b")))
    local before = process.read_file(directory .. "/a.b.example.net.pem")
    local text, status = run "new -t ed25519 example.net a.b"
    assert.same({ "moonmilter dkim-key: a.b.example.net.pem: File exists; choose another selector\n", 73 },
      { text, status })
    assert.equal(before, process.read_file(directory .. "/a.b.example.net.pem"))
  end)

  it("asks DNS whether it has the key", function()
    local port = process.free_port()
    local function strings(name)
      return table.concat(strings_of((run(("new -b 2048 example.com %s %s.pem"):format(name, name)))), ",")
    end
    local here, other = strings "here", strings "other"
    run "new example.com gone gone.pem"
    local server = process.start({ "dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
      "--pid-file=", "--listen-address=127.0.0.1", "--bind-interfaces", "--port=" .. port, "--local=/example.com/",
      "--txt-record=here._domainkey.example.com," .. here,
      "--txt-record=other._domainkey.example.com,v=DKIM1;p=YQ==" }, { output = directory .. "/dnsmasq" })
    assert(server:wait_text("started", 10))
    local function test(name)
      return run(("test --server 127.0.0.1:%d example.com %s %s.pem"):format(port, name, name))
    end
    assert.same({ "here._domainkey.example.com: DNS has this key\n", 0 }, { test "here" })
    local text, status = test "other"
    assert.equal(1, status)
    assert.matches("^other%._domainkey%.example%.com: DNS has another key; it should be:\n", text)
    assert.equal(other, table.concat(strings_of(text), ","))
    text, status = test "gone"
    assert.equal(1, status)
    assert.matches("DNS has no key; it should be:", text)
    server:stop(true)
    text, status = run(("test --server 127.0.0.1:%d example.com here here.pem"):format(port))
    assert.same({ "moonmilter dkim-key: here._domainkey.example.com: servfail\n", 75 }, { text, status })
  end)

  for arguments, said in pairs {
    ["new nodots s"] = "nodots is no domain name", ['new example.org "a b"'] = "a b is no selector; use letters",
    ["new -t dsa example.org s"] = "dsa: the type is rsa or ed25519",
    ["new -b 512 example.org s"] = "bits are 1024 to 4096",
    ["new example.org"] = "Usage:", ["make example.org s"] = "make: there is no such request\nUsage:",
    ["test --server x example.org s a.b.example.net.pem"] = "x is no name server; write 192.0.2.53",
  } do
    it("says what is wrong: " .. arguments, function()
      local text, status = run(arguments)
      assert.equal(64, status, text)
      assert.truthy(text:find(said, 1, true), text)
    end)
  end

  it("says what is wrong with a key", function()
    process.write_file(directory .. "/bad.pem", "nonsense!")
    local text, status = run "show example.org s bad.pem"
    assert.same({ "moonmilter dkim-key: bad.pem: it is no private key in PEM (openssl genpkey writes one)\n", 65 },
      { text, status })
    assert.equal(65, (select(2, run "show example.org s missing.pem")))
  end)
end)
