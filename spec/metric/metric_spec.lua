-- moonmilter.metric: what scripts see, in one process.
local page = require "spec.metric.page"
local host = require "spec.support.host"

describe("a script's metric", function()
  local h
  after_each(function() if h then h:stop() end h = nil end)

  local function start(source) h = host.start { scripts = { ["a.lua"] = source }, unix = true } end

  local function mail(count)
    for _ = 1, count or 1 do
      local mta = h:connect()
      mta:message()
      mta:quit()
    end
  end

  it("is shown with its value, its labels and its milter", function()
    start [[
      local metric = require "moonmilter.metric"
      local mails = metric.counter("mails", { by = { "kind", "size" }, help = "Mails" })
      local bytes = metric.counter "some_bytes"
      local queue = metric.gauge("queue", { by = { "name" } })
      local sizes = metric.histogram { name = "sizes", buckets = { 10, 100 } }
      function on_eom(ctx)
        mails:inc("spam", 3)
        mails:add(2, "ham", true)
        mails:inc(nil, "x")
        bytes:add(2.5)
        queue:set(7, "in")
        queue:add(-2, "in")
        sizes:observe(10)
        sizes:observe(11)
        sizes:observe(1e6)
      end ]]
    mail(2)
    local samples, kinds = page.of(h)
    assert.equal(2, samples['mails_total{milter="default",kind="spam",size="3"}'])
    assert.equal(4, samples['mails_total{milter="default",kind="ham",size="true"}'])
    assert.equal(2, samples['mails_total{milter="default",kind="",size="x"}'])
    assert.equal(5, samples['some_bytes_total{milter="default"}'])
    assert.equal(5, samples['queue{milter="default",name="in"}'])
    assert.equal(2, samples['sizes_bucket{milter="default",le="10.0"}'])
    assert.equal(4, samples['sizes_bucket{milter="default",le="100.0"}'])
    assert.equal(6, samples['sizes_bucket{milter="default",le="+Inf"}'])
    assert.equal(6, samples['sizes_count{milter="default"}'])
    assert.equal(2000042, samples['sizes_sum{milter="default"}'])
    assert.same({ "counter", "gauge", "histogram" }, { kinds.mails_total, kinds.queue, kinds.sizes })
  end)

  it("is shown with 0 before it is used, when it has no labels", function()
    start [[ require("moonmilter.metric").counter "never"  function on_mail() end ]]
    assert.equal(0, (page.of(h))['never_total{milter="default"}'])
  end)

  it("counts what comes after max_series under other, and says how often", function()
    start [[
      local seen = require("moonmilter.metric").counter("seen", { by = { "what" }, max_series = 3 })
      function on_eom(ctx)
        for i = 1, 10 do seen:inc(i) end
        seen:inc(1)
      end ]]
    mail(2)
    local samples = page.of(h)
    assert.equal(4, samples['seen_total{milter="default",what="1"}'])
    assert.equal(2, samples['seen_total{milter="default",what="3"}'])
    assert.is_nil(samples['seen_total{milter="default",what="4"}'])
    assert.equal(14, samples['seen_total{milter="default",what="other"}'])
    assert.equal(14, samples['moonmilter_metric_overflows_total{metric="seen",milter="default"}'])
  end)

  it("shows hostile label values as valid UTF-8 on one line, and cuts long ones between characters", function()
    start [[
      local seen = require("moonmilter.metric").counter("seen", { by = { "what" } })
      function on_eom(ctx)
        seen:inc 'a"b\\c\nd\255\0e'
        seen:inc(("x"):rep(62) .. "\195\164tail")
        seen:inc(("x"):rep(62) .. "\195\164other tail")
      end ]]
    mail()
    local samples = page.of(h)
    assert.equal(1, samples['seen_total{milter="default",what="a\\"b\\\\c\\nd\239\191\189\0e"}'])
    assert.equal(2, samples['seen_total{milter="default",what="' .. ("x"):rep(62) .. '"}'])
  end)

  it("can be read by the script", function()
    start [[
      local metric = require "moonmilter.metric"
      local seen = metric.counter("seen", { by = { "what" } })
      local sizes = metric.histogram("sizes", { buckets = { 1 } })
      function on_eom(ctx)
        assert(seen:value "a" == nil)
        seen:add(3, "a")
        sizes:observe(0.5)
        sizes:observe(8)
        local count, sum = sizes:value()
        return ctx:reject(("%s %s %s"):format(seen:value "a", count, sum))
      end ]]
    local reply = h:connect():message()
    assert.truthy(reply.text:find("3 2 8.5", 1, true), reply.text)
  end)

  describe("that is used wrongly", function()
    -- source -> the error that the log has
    local function error_of(source)
      start([[ local metric = require "moonmilter.metric"
        local counter = metric.counter("counter", { by = { "a" } })
        local gauge, histogram = metric.gauge "gauge", metric.histogram "histogram"
        function on_eom(ctx) ]] .. source .. " end")
      h:connect():message()
      local text = h:log():match "a.lua:%d+: ([^\n]*)"
      h:stop()
      h = nil
      return text or "no error"
    end

    for source, expected in pairs {
      ["counter:inc()"] = "metric: 0 label values are given, and the metric has 1 labels",
      ["counter:inc('a', 'b')"] = "metric: 2 label values are given, and the metric has 1 labels",
      ["counter:inc({})"] = "metric: the value of a label is a table",
      ["counter:add(-1, 'a')"] = "metric: a counter only grows",
      ["counter:add(0/0, 'a')"] = "metric: add takes a finite number, not this one",
      ["counter:add('1', 'a')"] = "metric: add takes a finite number, not string",
      ["counter:set(1, 'a')"] = "metric: a counter has no set; it has inc and add",
      ["gauge:observe(1)"] = "metric: a gauge has no observe; it has set and add",
      ["histogram:inc()"] = "metric: a histogram has no inc; it has observe",
      ["counter.inc('a')"] = "metric: inc is called on a string; write metric:inc(…), with a colon",
    } do
      it(("raises at the script's line: %s"):format(source), function()
        assert.truthy(error_of(source):find(expected, 1, true), error_of(source))
      end)
    end
  end)

  describe("that is made wrongly", function()
    for source, expected in pairs {
      ["metric.counter 'Mails'"] = 'the name is "Mails"; write 1 to 64 of a-z',
      ["metric.counter 'mails_total'"] = '"mails_total" ends in _total',
      ["metric.counter 'moonmilter_x'"] = "names that begin with moonmilter_ belong to the host",
      ["metric.counter('m', { by = { 'a', 'a' } })"] = 'the label "a" is there twice',
      ["metric.counter('m', { by = { 'milter' } })"] = 'the label "milter" is set by the host',
      ["metric.counter('m', { by = { 'a', 'b', 'c', 'd', 'e' } })"] = "by has 5 labels; there may be 4",
      ["metric.counter('m', { max_series = 0 })"] = "max_series is 0; give 1 to 10000",
      ["metric.counter('m', { bucket = {} })"] = 'unknown option "bucket"',
      ["metric.gauge('m', { of = 'hosts' })"] = 'of is "hosts"; it must be "worker" or "host"',
      ["metric.histogram('m', { buckets = { 1, 1 } })"] = "bucket 2 is 1; bounds are numbers that grow",
      ["metric.histogram('m', { buckets = {} })"] = "buckets are a list of 1 to 24 upper bounds",
      ["metric.counter 'm' metric.gauge 'm'"] = '"m" is a counter already',
    } do
      it(("does not load: %s"):format(source), function()
        h = host.start { unready = true, unix = true, scripts = {
          ["a.lua"] = "local metric = require 'moonmilter.metric' " .. source } }
        host.wait_until(10, function() return h:log():find("a.lua:1: ", 1, true) end, "an error with a line")
        assert.truthy(h:log():find(expected, 1, true), h:log())
      end)
    end
  end)
end)

describe("over a reload", function()
  local h
  after_each(function() if h then h:stop() end h = nil end)

  local SCRIPT = [[ local m = require("moonmilter.metric").%s
    function on_eom() m:inc(%s) end ]]

  local function serve(declaration, value)
    h:write { ["a.lua"] = SCRIPT:format(declaration, value or "") }
    local text, status = h:ctl "reload"
    if status == 0 then h:connect():message() end
    return text, status
  end

  it("metrics keep their counts, another set of labels gets its own, and another kind does not load", function()
    h = host.start { scripts = { ["a.lua"] = SCRIPT:format("counter 'm'", "") }, unix = true, workers = 2 }
    h:connect():message()
    assert.equal(0, select(2, serve "counter 'm'"))
    assert.equal(2, (page.of(h))['m_total{milter="default"}'])
    assert.equal(0, select(2, serve("counter('m', { by = { 'a' } })", "'x'")))
    local samples = page.of(h)
    assert.equal(2, samples['m_total{milter="default"}'])
    assert.equal(1, samples['m_total{milter="default",a="x"}'])
    local text, status = serve "gauge 'm'"
    assert.equal(78, status)
    assert.truthy(text:find("m is a counter already in milter default; give this gauge another name", 1, true), text)
    assert.equal(1, (page.of(h))['moonmilter_reloads_total{result="failed"}'])
    assert.equal(2, (page.of(h))['moonmilter_reloads_total{result="ok"}'])
  end)

  it("a kind that only scripts had that did not load does not matter", function()
    h = host.start { scripts = { ["a.lua"] = "function on_eom() end" }, unix = true }
    assert.equal(78, select(2, serve "counter 'm' error 'not yet'"))
    assert.equal(0, select(2, serve "gauge 'm'"))
    assert.equal(1, (page.of(h))['m{milter="default"}'])
  end)
end)
