--- What scripts hold, by kind: the members of each, and the kinds that members give. For moonmilter.runtime.lint; the
-- specs compare it with the stubs in lua/meta/. ctx itself is not here: the host knows its members.
local shapes = {}

local function set(words)
  local names = {}
  for word in words:gmatch "%S+" do
    names[word] = true
  end
  return names
end

-- kind -> facts, methods
local rows = {
  client = { "family host ip path port", "" },
  auth = { "type authen author ssf", "" },
  tls = { "version cipher bits subject issuer", "" },
  mta = { "kind version actions steps address software host", "" },
  host = { "name version generation pid settings", "" },
  offer = { "version actions steps", "" },
  result = { "verdict reply", "" },
  recipient = { "address raw params refused", "" },
  headers = { "truncated", "get field all count each" },
  field = { "name value raw", "text addresses date params parsed set delete insert_before" },
  body = { "is_truncated", "feed finish restart size read chunks string lines close parts edit" },
  task = { "", "wait cancel is_over" },
  response = { "status headers header_list trailers trailer_list body url", "" },
}

for kind, row in pairs(rows) do
  shapes[kind] = { facts = set(row[1]), methods = set(row[2]) }
end

--- What a member gives: "ctx.headers" the kind of ctx.headers, "headers:field" of headers:field(…).
shapes.gives = {
  ["ctx.client"] = "client", ["ctx.auth"] = "auth", ["ctx.tls"] = "tls", ["ctx.mta"] = "mta", ["ctx.host"] = "host",
  ["ctx.headers"] = "headers", ["ctx.session"] = "kept", ["ctx.message"] = "kept",
  ["ctx:body"] = "body", ["headers:field"] = "field",
  ["moonmilter.spawn"] = "task", ["moonmilter.http.get"] = "response", ["moonmilter.http.post"] = "response",
  ["moonmilter.http.request"] = "response", ["moonmilter.body.new"] = "body",
}

--- The elements of lists: of ipairs(ctx.recipients), ipairs(headers:all(…)).
shapes.elements = { ["ctx.recipients"] = "recipient", ["headers:all"] = "field" }

--- What a handler's second argument is.
shapes.second = { done = "result", negotiate = "offer" }

return shapes
