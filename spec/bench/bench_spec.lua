-- `moonmilter bench`: what it sends, seen by a filter that records every byte, and how it treats the answers.
local socket = require "socket"

local program = os.getenv "MOONMILTER" or "build/moonmilter"

local NR_HDR, NR_ALL = 0x80, 0xFF080
local ALL_BUT_RCPT = 0x377

local function u32(n)
  return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256, math.floor(n / 256) % 256, n % 256)
end

local function packet(letter, data)
  data = data or ""
  return u32(#data + 1) .. letter .. data
end

local NEVER_ANSWERED = { D = true, A = true, Q = true, K = true }
local SILENT = { C = 0x1000, H = 0x2000, M = 0x4000, R = 0x8000, T = 0x10000, L = 0x80, N = 0x40000, B = 0x80000 }

--- Splits the received bytes into letters, and keeps the rest.
local function letters_of(bytes)
  local letters = {}
  while #bytes >= 5 do
    local a, b, c, d = bytes:byte(1, 4)
    local length = ((a * 256 + b) * 256 + c) * 256 + d
    if #bytes < 4 + length then break end
    letters[#letters + 1] = bytes:sub(5, 5)
    bytes = bytes:sub(5 + length)
  end
  return letters, bytes
end

local bit = require "bit"

--- Answers everything with "continue", or with the entry of `answer` for a letter. Returns the letters of each read,
--- the bench's output, its exit status, and the first packet. The bench must open one connection only.
local function watch(arguments, steps, answer)
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  local pipe = assert(io.popen(("%s bench --to inet:%d@127.0.0.1 --warmup 0 --connections 1 %s 2>&1; echo "
    .. "\"status $?\"")
    :format(program, port, arguments)))
  listener:settimeout(5)
  local client = assert(listener:accept())
  client:settimeout(0)
  local reads, bytes, offer = {}, "", nil
  repeat
    socket.select({ client }, nil, 5)
    local got, why, part = client:receive(1000000)
    local text = got or part or ""
    offer = offer or text
    local letters
    letters, bytes = letters_of(bytes .. text)
    if #letters > 0 then reads[#reads + 1] = table.concat(letters) end
    for _, letter in ipairs(letters) do
      if letter == "O" then
        client:send(packet("O", u32(6) .. u32(1) .. u32(steps)))
      elseif not NEVER_ANSWERED[letter] and bit.band(SILENT[letter] or 0, steps) == 0 then
        client:send(answer and answer[letter] or packet "c")
      end
    end
  until why == "closed"
  client:close()
  listener:close()
  local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  return reads, output, tonumber(status), offer
end

describe("moonmilter bench", function()
  local found = io.open(program, "rb")
  if not found then
    pending("needs " .. program)
    return
  end
  found:close()

  local ONE = "--messages 1 --headers 3 --messages-per-connection 1 "

  it("waits for each answer when the filter answers everything", function()
    local reads, _, status = watch(ONE, 0)
    assert.same({ "O", "DC", "DH", "DM", "DR", "DT", "DL", "DL", "DL", "DN", "DB", "DE", "AQ" }, reads)
    assert.equal(0, status)
  end)

  it("sends commands without reply together with the next command that has one", function()
    local reads = watch(ONE, NR_HDR)
    assert.same({ "O", "DC", "DH", "DM", "DR", "DT", "DLDLDLDN", "DB", "DE", "AQ" }, reads)
  end)

  it("sends a whole session in one write when only the end needs an answer", function()
    local reads = watch(ONE, NR_ALL)
    assert.same({ "O", "DCDHDMDRDTDLDLDLDNDBDE", "AQ" }, reads)
  end)

  it("leaves out the steps that the filter declined, but not their macros", function()
    local reads = watch(ONE, ALL_BUT_RCPT)
    assert.same({ "O", "DDDDR", "DDE", "AQ" }, reads)
  end)

  it("plays Sendmail: no macros for content, no abort after a message", function()
    local reads = watch("--mta sendmail --messages 2 --headers 2 --messages-per-connection 2", NR_HDR)
    assert.same({ "O", "DC", "DH", "DM", "DR", "T", "LLN", "B", "DE", "DM", "DR", "T", "LLN", "B", "DE", "Q" }, reads)
  end)

  it("sends no more body after skip, which it accepts only when negotiated", function()
    local three = "--messages 1 --headers 0 --messages-per-connection 1 --body 3000 --chunk 1000 "
    local reads, _, status = watch(three, 0x400, { B = packet "s" })
    assert.same({ "DN", "DB", "DE" }, { reads[7], reads[8], reads[9] })
    assert.equal(0, status)
    local _, output, wrong = watch(three, 0, { B = packet "s" })
    assert.equal(76, wrong)
    assert.matches("body: answered 's'", output, 1, true)
  end)

  it("ends the message at a verdict, and goes on with the next", function()
    local reads, output, status = watch("--messages 2 --messages-per-connection 2", 0,
      { M = packet("y", "550 5.7.1 no\0") })
    assert.same({ "O", "DC", "DH", "DM", "ADM", "AQ" }, reads)
    assert.equal(76, status)
    assert.matches("mail: answered 'y' 550 5.7.1 no", output, 1, true)
  end)

  it("counts answers that --expect names as right", function()
    local _, output, status = watch("--messages 2 --messages-per-connection 2 --expect mail=tempfail/reject", 0,
      { M = packet("y", "550 5.7.1 no\0") })
    assert.equal(0, status)
    assert.matches("wrong answers: 0", output, 1, true)
  end)

  it("goes on with the other recipients when one is refused", function()
    local reads = watch(ONE .. "--recipients 2 --headers 0 --expect rcpt=any", 0, { R = packet "r" })
    assert.same({ "DM", "DR", "DR", "AQ" }, { reads[4], reads[5], reads[6], reads[7] })
  end)

  it("counts edits, a new body in many packets as one", function()
    local burst = packet("h", "X\0y\0") .. packet("b", ("x"):rep(60000)) .. packet("b", "x") .. packet "p" .. packet "c"
    local _, output, status = watch(ONE .. "--edits 2 --json", 0, { E = burst })
    assert.equal(0, status)
    assert.matches('"edits":2,"body_bytes":60001', output, 1, true)
    local _, _, wrong = watch(ONE .. "--edits 1", 0, { E = burst })
    assert.equal(76, wrong)
  end)

  it("aborts the given share of messages", function()
    local reads, output = watch("--messages 40 --messages-per-connection 40 --abort 50 --headers 0 --mta "
      .. "sendmail --json", 0)
    local aborted = tonumber(output:match '"aborted":(%d+)')
    assert.is_true(aborted > 8 and aborted < 32)
    assert.equal(40 - aborted, tonumber(output:match '"messages":(%d+)'))
    local _, aborts = table.concat(reads):gsub("A", "")
    assert.equal(aborted, aborts)
  end)

  it("offers no step without reply in lockstep, and the steps of an old MTA", function()
    local function offer(arguments) return select(4, watch(ONE .. arguments, 0)) end
    assert.equal(packet("O", u32(6) .. u32(0x1FF) .. u32(0x1FFFFF)), offer "")
    assert.equal(packet("O", u32(6) .. u32(0x1FF) .. u32(0x1FFFFF - 0xFF080)), offer "--lockstep")
    assert.equal(packet("O", u32(2) .. u32(0x1FF) .. u32(0x7F)), offer "--protocol 2")
  end)

  local function run(arguments)
    local pipe = io.popen(("%s bench %s 2>&1; echo \"status $?\""):format(program, arguments))
    local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    return output, tonumber(status)
  end

  it("reports that no filter listens", function()
    local output, status = run "--to unix:/nonexistent/socket"
    assert.equal(69, status)
    assert.matches("No such file", output, 1, true)
  end)

  it("refuses invalid options, and says what is valid", function()
    for arguments, text in pairs {
      [""] = "give --to SPEC",
      ["--to inet:1@127.0.0.1 --body 2G"] = "--body 2G: give a whole number",
      ["--to inet:1@127.0.0.1 --mta exim"] = "use postfix or sendmail",
      ["--to inet:1@127.0.0.1 --expect rcpt"] = "STAGE=VERDICT",
      ["--to fd:3"] = "not a socket to connect to",
      ["--tow x"] = "is not an option",
      ["--to"] = "needs an argument",
    } do
      local output, status = run(arguments)
      assert.equal(64, status)
      assert.matches(text, output, 1, true)
    end
  end)

  it("explains every option", function()
    local output, status = run "--help"
    assert.equal(0, status)
    for _, name in ipairs { "rate", "idle", "asleep", "expect", "pid", "lockstep" } do
      assert.matches("--" .. name, output, 1, true)
    end
  end)
end)
