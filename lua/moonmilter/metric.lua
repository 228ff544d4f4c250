--- Counters, gauges and histograms for Prometheus: numbers that all workers of the host share, that survive reloads and
--- killed workers, and that are shown where `metrics` of moonmilter.conf says.
--
--   local attachments = metric.histogram("attachment_bytes", { by = { "type" }, buckets = { 1e4, 1e5, 1e6, 1e7 } })
--   attachments:observe(size, "pdf")
--
-- An update allocates nothing and never waits. Label values come from mail: beyond max_series combinations, all further
-- ones are counted as "other".
local core = require "moonmilter.core"
local options_of = require "moonmilter.runtime.options"

local metric = {}

local raw = core.metric

-- The host's functions are the methods themselves: an update calls no function of Lua. Each kind has all of them, so
-- that a wrong one says which are right.
---@class moonmilter.Counter
local Counter = {}
Counter.inc = raw.inc
Counter.add = raw.add
Counter.value = raw.value

---@class moonmilter.Gauge
local Gauge = {}
Gauge.set = raw.set
Gauge.inc = raw.inc
Gauge.add = raw.add
Gauge.value = raw.value

---@class moonmilter.Histogram
local Histogram = {}
Histogram.observe = raw.observe
Histogram.value = raw.value

local CLASSES = { counter = Counter, gauge = Gauge, histogram = Histogram }

-- "a counter has no set" is a better error than "attempt to call a nil value".
for _, class in pairs(CLASSES) do
  for _, name in ipairs { "inc", "add", "set", "observe" } do
    class[name] = class[name] or raw[name]
  end
end

local LABELS_MAX, BUCKETS_MAX, SERIES_MAX = 4, 24, 10000 -- ORDER METER: base/meter.h
local NAME_MAX, LABEL_MAX = 64, 31
-- seconds, as clients of Prometheus have them
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }
local RESERVED_ENDINGS = { "_total", "_bucket", "_count", "_sum", "_info", "_created" }
local RESERVED_LABELS = { milter = true, le = true, quantile = true, job = true, instance = true }

local ROWS = {
  name = { "string" },
  help = { "string", "" },
  by = { "table" }, -- names of the labels
  max_series = { "number", 50 }, -- combinations of label values
}
local GAUGE_ROWS = { name = ROWS.name, help = ROWS.help, by = ROWS.by, max_series = ROWS.max_series,
  of = { "string", "worker" } } -- whose value is shown: the sum of all workers', or the "host"'s, set by any of them
local HISTOGRAM_ROWS = { name = ROWS.name, help = ROWS.help, by = ROWS.by, max_series = ROWS.max_series,
  buckets = { "table" } } -- upper bounds

-- All checks raise at the line that calls metric.counter and the like.
local LEVEL = 4

local function check_name(call, name)
  if type(name) ~= "string" or not name:find "^[a-z][a-z0-9_]*$" or #name > NAME_MAX then
    error(("%s: the name is %s; write 1 to %d of a-z, 0-9 and \"_\", a letter first"):format(call,
      type(name) == "string" and ("%q"):format(name) or "a " .. type(name), NAME_MAX), LEVEL)
  end
  if name:find "^moonmilter_" then
    error(("%s: names that begin with moonmilter_ belong to the host; %q is free"):format(call,
      (name:gsub("^moonmilter_", ""))), LEVEL)
  end
  for _, ending in ipairs(RESERVED_ENDINGS) do
    if name:sub(-#ending) == ending then
      error(("%s: %q ends in %s, which Prometheus gives to samples; leave it out"):format(call, name, ending), LEVEL)
    end
  end
end

local function check_labels(call, labels)
  if #labels > LABELS_MAX then
    error(("%s: by has %d labels; there may be %d"):format(call, #labels, LABELS_MAX), LEVEL)
  end
  local seen = {}
  for key in pairs(labels) do
    if type(key) ~= "number" then
      error(("%s: by is a list of names, such as { \"type\" }; it has a field %q"):format(call, tostring(key)), LEVEL)
    end
  end
  for _, label in ipairs(labels) do
    if type(label) ~= "string" or not label:find "^[a-z][a-z0-9_]*$" or #label > LABEL_MAX then
      error(("%s: a label is %s; write 1 to %d of a-z, 0-9 and \"_\", a letter first"):format(call,
        type(label) == "string" and ("%q"):format(label) or "a " .. type(label), LABEL_MAX), LEVEL)
    end
    if RESERVED_LABELS[label] or seen[label] then
      error(("%s: the label %q %s"):format(call, label, seen[label] and "is there twice"
        or "is set by the host or by Prometheus; take another name"), LEVEL)
    end
    seen[label] = true
  end
end

local function check_buckets(call, buckets)
  if #buckets < 1 or #buckets > BUCKETS_MAX then
    error(("%s: buckets are a list of 1 to %d upper bounds"):format(call, BUCKETS_MAX), LEVEL - 1)
  end
  for i, bound in ipairs(buckets) do
    if type(bound) ~= "number" or bound ~= bound or math.abs(bound) == math.huge
      or (i > 1 and bound <= buckets[i - 1]) then
      error(("%s: bucket %d is %s; bounds are numbers that grow, without infinity, which is always there"):format(call,
        i, tostring(bound)), LEVEL - 1)
    end
  end
end

-- name, options or { name = …, … }: both forms.
local function check(call, name, given, rows)
  if type(name) == "table" and given == nil then
    given, name = name, name.name or name[1]
    local copy = {}
    for key, value in pairs(given) do
      if key ~= 1 and key ~= "name" then
        copy[key] = value
      end
    end
    given = copy
  end
  if given ~= nil and type(given) ~= "table" then
    error(("%s: expected a table of options, got a %s"):format(call, type(given)), LEVEL - 1)
  end
  check_name(call, name)
  local options = options_of.check(call, given or {}, rows, LEVEL - 1)
  options.by = options.by or {}
  check_labels(call, options.by)
  if not (options.max_series >= 1 and options.max_series <= SERIES_MAX and options.max_series % 1 == 0) then
    error(("%s: max_series is %s; give 1 to %d"):format(call, options.max_series, SERIES_MAX), LEVEL - 1)
  end
  options.name = name
  return options
end

local made = {} -- name -> what it was made as, in this generation

local function make(call, kind, options, is_of_host)
  local before = made[options.name]
  if before and before ~= kind then
    error(("%s: %q is a %s already"):format(call, options.name, before), LEVEL - 1)
  end
  made[options.name] = kind
  local new, text = raw.new(kind, options.name, options.help ~= "" and options.help or options.name, options.by,
    options.buckets or {}, #options.by > 0 and options.max_series or 1, is_of_host or false,
    CLASSES[kind])
  if not new then
    error(call .. ": " .. text, LEVEL - 1)
  end
  return new
end

--- A number that only grows: counter:inc(label…), counter:add(n, label…). It is shown as NAME_total.
---@param name string|table  a-z, 0-9, "_"; or the options with `name` among them
---@param options moonmilter.metric.Options?
---@return moonmilter.Counter
function metric.counter(name, options)
  local new = make("metric.counter", "counter", check("metric.counter", name, options, ROWS))
  return new -- not a tail call: errors name the caller's line
end

--- A number that rises and falls: gauge:set(n, label…), gauge:add(n, label…). What is shown is the sum of all workers'.
---@param name string|table
---@param options moonmilter.metric.GaugeOptions?
---@return moonmilter.Gauge
function metric.gauge(name, options)
  options = check("metric.gauge", name, options, GAUGE_ROWS)
  if options.of ~= "worker" and options.of ~= "host" then
    error(("metric.gauge: of is %q; it must be \"worker\" or \"host\""):format(options.of), 2)
  end
  local new = make("metric.gauge", "gauge", options, options.of == "host")
  return new
end

--- How often a value was in which range: histogram:observe(n, label…).
---@param name string|table
---@param options moonmilter.metric.HistogramOptions?
---@return moonmilter.Histogram
function metric.histogram(name, options)
  options = check("metric.histogram", name, options, HISTOGRAM_ROWS)
  options.buckets = options.buckets or BUCKETS
  check_buckets("metric.histogram", options.buckets)
  local new = make("metric.histogram", "histogram", options)
  return new
end

return metric
