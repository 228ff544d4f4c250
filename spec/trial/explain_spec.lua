--- What happened to a message, without a host that has a control socket: try and send with --explain, and
--- replay --show.
local cjson = require "cjson"

local host = require "spec.support.host"
local process = require "spec.support.process"

local SCRIPTS = { ["10-auth.lua"] = [[
local milter = require "moonmilter"
function on_mail(ctx, from)
  milter.sleep(0.003)
  ctx:note("looked at " .. from)
end
function on_rcpt(ctx, to)
  if to:find "refused" then return ctx:reject(550, "5.7.1", "no such box") end
end
function on_eom(ctx)
  ctx:add_header("X-Seen", "yes")
  if ctx.sender:find "spam" then return ctx:tempfail("come back") end
end
function on_done(ctx) end]] }

local MESSAGE = "From: Ann <ann@one.example>\nTo: bob@two.example\nSubject: a \27[2Jsubject\n\nHello.\n"

local function run(...)
  local words = { host.program(), ... }
  for i, word in ipairs(words) do words[i] = "'" .. word .. "'" end
  local pipe = assert(io.popen(table.concat(words, " ") .. ' 2>&1; echo "status $?"'))
  local text, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  return text, tonumber(status)
end

local function decoded(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = cjson.decode(line) end
  return list
end

describe("a message is explained", function()
  local directory, file, scripts

  setup(function()
    directory = process.directory()
    scripts = directory .. "/scripts"
    assert(require("lfs").mkdir(scripts))
    for name, source in pairs(SCRIPTS) do process.write_file(scripts .. "/" .. name, source) end
    file = process.write_file(directory .. "/message.eml", MESSAGE)
  end)
  teardown(function() process.run("rm -rf " .. directory) end)

  it("by try, as ctl explain does it", function()
    local text, status = run("try", "--explain", "--from", "spam@one.example", file, scripts)
    assert.equal(0, status)
    for _, pattern in ipairs { "^tempfail at eom: 451 4%.7%.1 come back\n",
      "\nmessage %S+, session %x+%-%d+, number 1 in it\n", "\n  from +<spam@one%.example>\n",
      "\n  verdict +tempfail at eom by 10%-auth%.lua:11: 451 4%.7%.1 come back\n",
      "10%-auth%.lua:2 on_mail: [%d.]+ ms in 2 runs\n", "10%-auth%.lua:3 waits: sleep 0%.003 s, [%d.]+ ms\n",
      "10%-auth%.lua:4 note: looked at spam@one%.example\n", "10%-auth%.lua:10 edit: add_header X%-Seen yes\n" } do
      assert.matches(pattern, text)
    end
  end)

  it("by try, one by one, and as JSON", function()
    local text, status = run("try", "--explain", "--json", file, file, scripts)
    assert.equal(0, status)
    local list = decoded(text)
    assert.equal(4, #list)
    assert.equal(file, list[1].file)
    assert.equal("continue", list[2].verdict)
    assert.equal(1, list[2].message)
    assert.equal(2, list[4].message)
    local kinds = {}
    for _, item in ipairs(list[2].items) do kinds[item.kind] = item end
    assert.equal("add_header X-Seen yes", kinds.edit.text)
    assert.equal("sleep 0.003 s", kinds.wait.asked)
  end)

  it("by send, as far as the MTA's side sees it", function()
    local h = host.start { scripts = SCRIPTS }
    finally(function() h:stop() end)
    local text, status = run("send", "--explain", "--to", ("inet:%d@127.0.0.1"):format(h.port), "--from",
      "spam@one.example", "--rcpt", "bob@two.example", "--rcpt", "refused@two.example", file)
    assert.equal(0, status)
    for _, pattern in ipairs { "\n  client +192%.0%.2%.1 client%.example%.org, helo client%.example%.org\n",
      "\n +2 recipients, 1 of them refused\n", "\n  verdict +tempfail at eom: 451 4%.7%.1 come back\n",
      "ms  mail <spam@one%.example>\n +[%d.]+ ms    waits: the milter's answer, [%d.]+ ms %-> continue\n",
      "ms  rcpt <refused@two%.example>\n +[%d.]+ ms    waits: the milter's answer, [%d.]+ ms %-> reject\n"
      .. " +[%d.]+ ms    reject at rcpt: 550 5%.7%.1 no such box\n" } do
      assert.matches(pattern, text)
    end
    local list = decoded((run("send", "--explain", "--json", "--to", ("inet:%d@127.0.0.1"):format(h.port), file)))
    assert.equal("accept", list[2].verdict)
    assert.equal(1, list[2].edits)
  end)

  it("from a record, in the form of ctl trace", function()
    local records = directory .. "/records"
    assert(require("lfs").mkdir(records))
    process.run("chown nobody " .. records .. " 2>/dev/null || true")
    local h = host.start { scripts = SCRIPTS, arguments = { "--record=" .. records, "--record-redact=nothing" } }
    run("send", "--quiet", "--to", ("inet:%d@127.0.0.1"):format(h.port), "--steps", "none", file)
    h:stop()
    local text, status = run("replay", "--show", records)
    assert.equal(0, status)
    for _, pattern in ipairs { "^== record %S+%.record\n%-> negotiate %(12 bytes%) version=6 actions=0x1ff steps=0x0\n"
      .. "<%- negotiate ", "\n%-> connect %(%d+ bytes%) client%.example%.org 192%.0%.2%.1 family=inet port=40212\n"
      .. "<%- continue\n", "\n%-> mail %(%d+ bytes%) <ann@one%.example>\n<%- continue\n",
      '\n%-> header %(%d+ bytes%) Subject "a \\x1b%[2Jsubject"\n', "\n%-> body %(8 bytes%)\n",
      "\n%-> eom\n<%- add_header %(%d+ bytes%) X%-Seen yes\n<%- continue\n", "\n%-> quit\n$" } do
      assert.matches(pattern, text)
    end
    local names = {}
    for _, line in ipairs(decoded((run("replay", "--show", "--json", records)))) do
      names[#names + 1] = line.kind .. " " .. line.name
    end
    assert.equal("command negotiate", names[1])
    assert.equal("command quit", names[#names])
  end)

  it("never where the words make no sense", function()
    local text, status = run("replay", "--json", file)
    assert.equal(64, status)
    assert.matches("%-%-json goes with %-%-show", text)
    text, status = run("replay", "--show", file)
    assert.equal(65, status)
    assert.matches("not a record", text)
    text, status = run("replay", "--show", file, scripts)
    assert.equal(64, status)
    assert.matches("%-%-show takes one record or directory", text)
  end)
end)
