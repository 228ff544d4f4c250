-- moonmilter.map as a test sees it: the host's own, but a spec that the test names is answered by the test.
local ask_test, wait = ...
local spec = require "moonmilter.maps.spec"

local of_the_test = {}
local Source = {}
Source.__index = Source

function Source:get(key)
  local value, text, code, delay = ask_test("map", self.spec, key)
  return wait(self.spec, self.timeout, value, text, code, delay)
end

function Source:info()
  return { entries = self.count }
end

function Source:each()
  return next, (ask_test("map", "entries of the test", self.spec)), nil
end

function of_the_test.open(argument, options)
  return setmetatable({ spec = argument, timeout = options.timeout }, Source)
end

package.loaded["moonmilter.maps.of_the_test"] = of_the_test

local read = spec.read

function spec.read(text, ...)
  local found, why = read(text, ...)
  if found and ask_test("map", "specs of the test", text, found.kind, found.row.asks or false) then
    found.argument = text
    found.row = setmetatable({ module = "of_the_test" }, { __index = found.row })
  end
  return found, why
end

return require "host:moonmilter.map"
