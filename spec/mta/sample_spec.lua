-- A sample filter of libmilter's kind, on libmilter (sample.c) and on moonmilter.h (examples/embed-sample.c): on both
-- MTAs the clients get the same replies, the next hop the same messages, and both filters print the same events.
local embedding = require "spec.support.embedding"
local exact_sink = require "spec.mta.exact_sink"
local filter = require "spec.mta.filter"
local passage = require "spec.mta.passage"
local postfix = require "spec.mta.postfix"
local process = require "spec.support.process"
local sendmail = require "spec.mta.sendmail"

local FIELDS = "From: Ann <ann@one.example>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n"

local function both(own) return { own, "nobody@two.example" } end

local MESSAGES = {
  { name = "plain", data = FIELDS .. "Message-Id: <1@one.example>\r\nSubject: hello\r\n\r\nbody\r\n.dot\r\n" },
  { name = "a recipient that is refused", to = both,
    data = FIELDS .. "Message-Id: <2@one.example>\r\nSubject: two\r\n\r\nbody\r\n" },
  { name = "none but a recipient that is refused", to = function() return { "nobody@two.example" } end, data = "" },
  { name = "a text that is refused",
    data = FIELDS .. "Message-Id: <4@one.example>\r\nSubject: make money fast, now\r\n\r\nbody\r\n" },
  { name = "folded, empty and repeated fields", data = FIELDS .. "Message-Id: <5@one.example>\r\nSubject: a\r\n b\r\n"
    .. "X-Empty:\r\nX-Sample-Remove: 1\r\nX-Sample-Remove: 2\r\nX-Tight:value\r\n\r\nbody\r\n" },
  { name = "no body", data = FIELDS .. "Message-Id: <6@one.example>\r\nSubject: none\r\n\r\n" },
  { name = "a large body", data = FIELDS .. "Message-Id: <7@one.example>\r\nSubject: large\r\n\r\n"
    .. ("seventy letters and so on, again and again, until the line is long.\r\n"):rep(3000) },
  { name = "bytes of every kind",
    data = FIELDS .. "Message-Id: <8@one.example>\r\nSubject: \195\164\r\n\r\n\1\2\200\255\r\n" },
  { name = "a null sender", from = "",
    data = FIELDS .. "Message-Id: <9@one.example>\r\nSubject: bounce\r\n\r\nbody\r\n" },
}

describe("a sample filter of libmilter's kind", function()
  local directory, binary
  setup(function()
    directory = process.directory()
    binary = directory .. "/embed-sample"
    embedding.compile("examples/embed-sample.c", binary)
  end)
  teardown(function() os.execute("rm -rf " .. directory) end)

  for _, mta_module in ipairs { postfix, sendmail } do
    it("does the same on moonmilter.h, with " .. mta_module.kind, function()
      local why = mta_module.unavailable()
      if why then return pending(why) end
      local mta = mta_module.start { sink = exact_sink }
      finally(function() mta:stop() end)

      local function outcome(f)
        mta:set_milters { f.milter }
        local ok, got = pcall(passage.run, mta, MESSAGES)
        -- every connection that the filter has printed is over
        process.wait_until(20, function()
          local text = "\n" .. f:log()
          return select(2, text:gsub("\nclose\n", "\n")) >= select(2, text:gsub("\nconnect ", "\n")) or nil
        end)
        -- without the host's own log
        local events = f:log():gsub("^.-listening[^\n]*\n", ""):gsub("%f[^\n]%d%d%d%d%-%d%d%-%d%dT[^\n]*\n", "")
        f:stop()
        assert(ok, got)
        -- The probe whether the MTA is there may be a session of its own, at any time beside the first.
        assert.matches("connect [^\n]*127.0.0.1\n", events)
        assert.matches("\nclose\n", events)
        return got, (events:gsub("%f[^\n%z]connect [^\n]*\n", ""):gsub("%f[^\n%z]close\n", ""))
      end

      local wanted, wanted_events = outcome(filter.sample { unix = mta_module.kind == "sendmail" })
      local got, events = outcome(filter.embedded(binary, { unix = mta_module.kind == "sendmail" }))
      assert.matches("550 5.1.1 ", wanted[2].replies)
      assert.matches("100 %% sure", wanted[4].replies)
      assert.matches("X%-Sample: seen", wanted[1].data)
      local differences, same = passage.compare(MESSAGES, got, wanted)
      assert.same({}, differences)
      assert.equal(#MESSAGES, same)
      assert.equal(wanted_events, events)
    end)
  end
end)
