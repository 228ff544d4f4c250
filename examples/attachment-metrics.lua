-- Counts attachments by their declared type, with their sizes, for Prometheus: docs/metric.md.
local metric = require "moonmilter.metric"

local sizes = metric.histogram("attachment_bytes", {
  by = { "type" }, max_series = 50, buckets = { 1e3, 1e4, 1e5, 1e6, 1e7 },
  help = "Size of attachments by their declared type",
})

function on_eoh(ctx)
  ctx:body {}
end

function on_eom(ctx)
  for _, part in ipairs(ctx:body():parts() or {}) do
    if part.is_attachment then
      sizes:observe(part.size, part.type)
    end
  end
end
