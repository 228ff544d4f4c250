--- Scripts for the specs of maps that ask a service: a handler's steps run one by one, while the spec stops and starts
--- servers in between.
local assert = require "luassert"
local fake_mta = require "spec.support.fake_mta"
local run = require "spec.async.run"

local inside = {}

-- Milliseconds of processor time that one turn of the loop may take; more for a build with sanitizers. Use LAG_MS=5 on
-- an otherwise idle machine.
local LAG_LIMIT = tonumber(os.getenv "LAG_MS") or os.getenv "MOONMILTER_BUILD" and 400 or 40

--- A step that measures how long a turn of the loop takes while it runs the text in its place: processor time of the
--- loop's thread, as connections begin on threads of their own.
inside.LAG = [[
  local ffi = require "ffi"
  pcall(ffi.cdef, "struct spec_time { long s, ns; }; int clock_gettime(int, struct spec_time *);")
  local spent, CLOCK_THREAD_CPUTIME_ID = ffi.new "struct spec_time", 3
  local function clock()
    ffi.C.clock_gettime(CLOCK_THREAD_CPUTIME_ID, ffi.cast("void *", spent))
    return tonumber(spent.s) + tonumber(spent.ns) / 1e9
  end
  local worst, latest, over = 0, 0, false
  local probe = milter.spawn(function()
    while not over do
      local cpu, wall = clock(), milter.now()
      milter.sleep(0.001)
      worst = math.max(worst, clock() - cpu)
      latest = math.max(latest, milter.now() - wall)
    end
  end)
  do %s end
  over = true
  probe:wait()
  return ("%%.1f %%.1f"):format(worst * 1000, latest * 1000)
]]

function inside.check_lag(text)
  local worst, latest = text:match "^([%d.]+) ([%d.]+)$"
  local what = text .. ": milliseconds of processor time, and on the clock"
  assert.is_true(tonumber(worst) < LAG_LIMIT, what)
  assert.is_true(tonumber(latest) < 250 + LAG_LIMIT, what)
end

--- open(parameters, options) opens a map of the kind; parameters are added to those of each. load_map(path) opens one
--- with a file.
---@param module string  below moonmilter.maps
---@param steps table<string, string>  bodies of functions that return a text
---@param load string?  what is run when the script loads
function inside.script(module, kind, ports, parameters, steps, load)
  local parts = { run.prelude(ports), ([[
    local module, kept, slow = require "moonmilter.maps.%s", nil, nil
    local function open(parameters, options)
      local own = { %s }
      for name, value in pairs(parameters) do own[name] = value end
      options = options or {}
      return module.open("", { kind = %q, parameters = own, timeout = options.timeout,
        pool_size = options.pool_size })
    end
    local function load_map(path)
      return module.open(path, { kind = %q })
    end
    local steps = {}
  ]]):format(module, parameters, kind, kind), load or "" }
  for name, body in pairs(steps) do
    parts[#parts + 1] = ("steps[%q] = function() %s end"):format(name, body)
  end
  parts[#parts + 1] = [[
    function on_mail(ctx, sender)
      local _, text = pcall(steps[sender:match "^[^@]+"])
      text = tostring(text):gsub("\r", "<CR>"):gsub("\n", "<LF>"):sub(1, 900)
      ctx:reject(550, "5.7.1", text ~= "" and text or "(empty)")
    end
  ]]
  return table.concat(parts, "\n")
end

--- A host that runs the script. :step(name) runs a step and returns its text.
function inside.start(script)
  local mta = fake_mta.start { script = script }
  mta:begin()
  function mta:step(name)
    local reply = self:mail("<" .. name .. "@example.org>")
    return reply.text and (reply.text:gsub("^550 5.7.1 ", ""):gsub("%%%%", "%%")) or reply.kind
  end
  return mta
end

--- The text of the step `test`.
function inside.run(script)
  local mta = inside.start(script)
  local text = mta:step "test"
  mta:close()
  return text
end

return inside
