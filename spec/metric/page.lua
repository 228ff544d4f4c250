--- Reads the page that a Prometheus reads: samples by name and labels.
local page = {}

--- text -> { ['name{a="b"}'] = number }, and the kinds by name
function page.read(text)
  local samples, kinds = {}, {}
  for line in text:gmatch "[^\n]+" do
    local name, kind = line:match "^# TYPE (%S+) (%S+)$"
    local sample, value = line:match "^([^#].*) (%S+)$"
    if name then
      assert(not kinds[name], name .. " is there twice")
      kinds[name] = kind
    elseif sample then
      assert(not samples[sample], sample .. " is there twice")
      samples[sample] = tonumber(value) or value
    end
  end
  return samples, kinds
end

--- The page of `ctl metrics` of a host of spec.support.host.
function page.of(h)
  local text, status = h:ctl "metrics"
  assert(status == 0, text)
  return page.read(text)
end

return page
