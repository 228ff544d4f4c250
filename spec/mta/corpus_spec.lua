-- Hundreds of messages of every shape (corpus.lua) through both MTAs: without a milter, through a filter on libmilter
-- that changes nothing, through the same filter on moonmilter under each setting of the MTA for milters that fail, and
-- through one that sets everything to its present value. The delivered message is the same, byte by byte, the client
-- sees the same replies, and both filters receive the same. SLOW=1 takes all messages, otherwise the first of each
-- kind.
local corpus = require "spec.mta.corpus"
local exact_sink = require "spec.mta.exact_sink"
local filter = require "spec.mta.filter"
local passage = require "spec.mta.passage"
local postfix = require "spec.mta.postfix"
local sendmail = require "spec.mta.sendmail"

local messages = corpus.all(not os.getenv "SLOW")
local sessions = math.ceil(#messages / 30)

-- Where any milter makes the MTA treat a message differently: by MTA and name.
local BY_ANY_MILTER = {
  postfix = {
    -- header_size_limit is lowered to 60000 bytes as soon as there is a milter
    ["field: a folded value of 70200 bytes"] = true,
    ["field: a folded value of 109200 bytes"] = true,
  },
  sendmail = {},
}

-- Where setting values to themselves is a change: by MTA and name.
local BY_SAME_EDITS = {
  postfix = {
    -- a new body, even an empty one, follows the empty line that the client left out
    ["cut: nothing at all"] = true,
    ["cut: header without blank line"] = true,
    ["cut: header without its last line end"] = true,
    ["cut: a field that ends in a fold"] = true,
  },
  sendmail = {},
}

-- Sets every field and the body to their present values. Values that the host refuses to send stay untouched.
local SAME_EDITS = [[
  function on_mail(ctx) ctx:body { max_memory = 8 * 1024 * 1024 } end
  function on_eom(ctx)
    local nth = {}
    for _, field in ipairs(ctx.headers) do
      local key = field.name:lower()
      nth[key] = (nth[key] or 0) + 1
      if field.value ~= "" then pcall(ctx.change_header, ctx, field.name, nth[key], field.value) end
    end
    ctx:replace_body(ctx:body():string())
  end
]]

-- As sentences: unknown differences, and known differences that did not occur.
local function surprises(differences, known)
  local list = {}
  for _, message in ipairs(messages) do
    local name = message.name
    if differences[name] and not known[name] then list[#list + 1] = name .. ": " .. differences[name] end
    if known[name] and not differences[name] then list[#list + 1] = name .. ": is the same" end
  end
  return list
end

local SETTINGS = {
  postfix = { { "milter_default_action = tempfail", { default_action = "tempfail" } },
    { "milter_default_action = accept", { default_action = "accept" } } },
  sendmail = { { "F=T", { F = "T" } }, { "no flag", { F = "" } } },
}

for _, mta_module in ipairs { postfix, sendmail } do
  local kind = mta_module.kind
  describe(("%d messages through %s"):format(#messages, kind), function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then return pending(why) end

    local mta, plain, with_libmilter, libmilter_diaries

    local function milter_with(f, setting)
      local item = { f.milter }
      for key, value in pairs(setting) do item[key] = value end
      return item
    end

    -- Through a filter: the outcomes, and what the filter received.
    local function through(f, setting)
      finally(function() f:stop() end)
      mta:set_milters { milter_with(f, setting) }
      local outcomes = passage.run(mta, messages)
      return outcomes, assert(passage.wait_diaries(f, sessions))
    end

    setup(function()
      mta = mta_module.start { sink = exact_sink, settings = kind == "sendmail" and { confMAX_HOP = "70" } or nil }
      plain = passage.run(mta, messages)
    end)

    teardown(function()
      if mta then mta:stop() end
    end)

    it("arrive without a milter, except those that the MTA itself refuses", function()
      local arrived, refused = 0, 0
      for at, outcome in ipairs(plain) do
        if outcome.data then arrived = arrived + 1 end
        if outcome.replies:find "\n?[45]%d%d[^\n]*$" then refused = refused + 1 end
        assert.is_true((outcome.data ~= nil) == (outcome.replies:find "\n250[^\n]*$" ~= nil),
          messages[at].name .. ": " .. outcome.replies)
      end
      assert.equal(#messages, arrived + refused)
      assert.is_true(arrived > #messages * 0.8, ("%d of %d"):format(arrived, #messages))
    end)

    it("are the same through a filter on libmilter", function()
      local f = filter.echo { unix = kind == "sendmail" }
      with_libmilter, libmilter_diaries = through(f, {})
      local differences = passage.compare(messages, with_libmilter, plain)
      assert.same({}, surprises(differences, BY_ANY_MILTER[kind]))
    end)

    for _, setting in ipairs(SETTINGS[kind]) do
      it(("are the same through moonmilter, %s, which receives what libmilter receives"):format(setting[1]), function()
        local f = filter.host("spec/mta/echo.lua", { unix = kind == "sendmail" })
        local outcomes, diaries = through(f, setting[2])
        assert.same({}, surprises(passage.compare(messages, outcomes, plain), BY_ANY_MILTER[kind]))
        assert.same({}, passage.compare(messages, outcomes, with_libmilter))
        local parted = {}
        for helo, text in pairs(libmilter_diaries) do
          if diaries[helo] ~= text then parted[#parted + 1] = helo .. " " .. passage.parting(diaries[helo], text) end
        end
        assert.same({}, parted)
      end)
    end

    it("stay the same when their fields and body are set to their present values", function()
      local f = filter.host({ ["10-same.lua"] = SAME_EDITS }, { unix = kind == "sendmail" })
      finally(function() f:stop() end)
      mta:set_milters { f.milter }
      local outcomes = passage.run(mta, messages)
      assert.same({}, surprises(passage.compare(messages, outcomes, with_libmilter), BY_SAME_EDITS[kind]))
    end)
  end)
end
