---@meta moonmilter.metric
-- require "moonmilter.metric", for editors (LuaLS). Never loaded. Manual: docs/metric.md.

--- Counters, gauges and histograms for Prometheus, shared by all workers of the host. Make them at the top level of a
--- script; an update allocates nothing and never waits.
---@class moonmilter.metric
local metric = {}

---@class moonmilter.metric.Options
---@field name string?         instead of the first argument
---@field help string?         a sentence for people
---@field by string[]?         names of its labels, at most 4; `milter` is there anyway
---@field max_series integer?  combinations of label values, 1 to 10000, default 50; further ones count as "other"

---@class moonmilter.metric.GaugeOptions: moonmilter.metric.Options
---@field of "worker"|"host"|nil  default "worker": the sum of what each worker has set; "host": what any set last

---@class moonmilter.metric.HistogramOptions: moonmilter.metric.Options
---@field buckets number[]?    upper bounds, growing, at most 24; default: seconds from 0.005 to 10

---@alias moonmilter.metric.Label string|number|boolean|nil

---@class moonmilter.Counter
local Counter = {}

--- Counts one. Give a value for each label, in the order of `by`. Raises at the caller's line when their number is
--- wrong.
---@param ... moonmilter.metric.Label
function Counter:inc(...) end

--- Adds a number. Raises when it is negative.
---@param number number
---@param ... moonmilter.metric.Label
function Counter:add(number, ...) end

--- What all workers have counted; nil: nothing yet.
---@param ... moonmilter.metric.Label
---@return number?
function Counter:value(...) end

---@class moonmilter.Gauge
local Gauge = {}

---@param number number
---@param ... moonmilter.metric.Label
function Gauge:set(number, ...) end

--- Adds one.
---@param ... moonmilter.metric.Label
function Gauge:inc(...) end

--- Adds a number, which may be negative.
---@param number number
---@param ... moonmilter.metric.Label
function Gauge:add(number, ...) end

--- As it is shown; nil: never set.
---@param ... moonmilter.metric.Label
---@return number?
function Gauge:value(...) end

---@class moonmilter.Histogram
local Histogram = {}

--- Counts a value in its bucket.
---@param number number
---@param ... moonmilter.metric.Label
function Histogram:observe(number, ...) end

--- How many values there were, and their sum; nil: none.
---@param ... moonmilter.metric.Label
---@return integer? count
---@return number? sum
function Histogram:value(...) end

--- A number that only grows; Prometheus sees it as NAME_total. Raises at the caller's line when a name or an option is
--- wrong, when a metric of another kind has the name, and when the host's table of metrics is full.
---@param name string|moonmilter.metric.Options  1 to 64 of a-z, 0-9 and "_", without _total
---@param options moonmilter.metric.Options?
---@return moonmilter.Counter
function metric.counter(name, options) end

--- A number that rises and falls. Raises as metric.counter does.
---@param name string|moonmilter.metric.GaugeOptions
---@param options moonmilter.metric.GaugeOptions?
---@return moonmilter.Gauge
function metric.gauge(name, options) end

--- How often values fell into which range. Raises as metric.counter does.
---@param name string|moonmilter.metric.HistogramOptions
---@param options moonmilter.metric.HistogramOptions?
---@return moonmilter.Histogram
function metric.histogram(name, options) end

return metric
