--- What scripts hold, by kind: the members of each, and the kinds that members give. For moonmilter.runtime.lint; the
-- specs compare it with the stubs in lua/meta/. ctx itself is not here: the host knows its members.
local core = require "moonmilter.core"

local shapes = {}

local function set(words)
  local names = {}
  for word in words:gmatch "%S+" do
    names[word] = true
  end
  return names
end

-- kind -> facts, methods, and what to call it when it is no member of ctx
local rows = {
  client = { "family host ip path port", "" },
  auth = { "type authen author ssf", "" },
  tls = { "version cipher bits subject issuer", "" },
  mta = { "kind version actions steps address software host", "" },
  host = { "name version generation pid settings sessions statistics", "require_settings" },
  offer = { "version actions steps", "", "the offer" },
  result = { "verdict reply stage decided_by edits added deleted refused quarantine seconds waited computed",
    "", "the result" },
  recipient = { "address raw params refused", "", "a recipient" },
  headers = { "truncated", "get field all count each" },
  field = { "name value raw", "text addresses date params parsed set delete insert_before", "a field" },
  body = { "is_truncated", "feed finish restart size read chunks string lines close parts edit", "a body" },
  task = { "", "wait cancel is_over", "a task" },
  response = { "status headers header_list trailers trailer_list body url", "", "a response" },
  result_of_process = { "status signal stdout stderr", "", "the result" },
  mailbox = { "address local_part domain name comments group route start stop has_address_in_name needs_smtputf8 "
    .. "is_unbalanced", "", "a mailbox" },
  edit = { "changes", "remove append footer chunks string header_changes apply", "the rewrite" },
  part = { "path depth parent headers type params boundaries charset encoding disposition filename id is_multipart "
    .. "is_attachment is_sealed size kind defects header_start body_start body_stop parts content body",
    "raw chunks content text",
    "a part" },
}

for kind, row in pairs(rows) do
  shapes[kind] = { facts = set(row[1]), methods = set(row[2]), name = row[3] or "ctx." .. kind }
end

-- Lua's own: what it has now counts, as a script may have added to it.
shapes.string = { facts = {}, methods = string, name = "a string" }
shapes.socket = { facts = {}, class = core.socket.class, name = "a socket" }
shapes.datagram = { facts = {}, class = core.datagram.class, name = "a UDP socket" }

--- Lua's libraries, by the names of their globals.
shapes.libraries = set "string table math os io coroutine debug bit jit package"

--- What a member gives: "ctx.headers" the kind of ctx.headers, "headers:field" of headers:field(…).
shapes.gives = {
  ["ctx.client"] = "client", ["ctx.auth"] = "auth", ["ctx.tls"] = "tls", ["ctx.mta"] = "mta", ["ctx.host"] = "host",
  ["ctx.headers"] = "headers", ["ctx.session"] = "kept", ["ctx.message"] = "kept",
  ["ctx.id"] = "string", ["ctx.stage"] = "string", ["ctx.helo"] = "string", ["ctx.sender"] = "string",
  ["ctx.sender_raw"] = "string", ["ctx.queue_id"] = "string", ["ctx:macro"] = "string",
  ["client.host"] = "string", ["client.ip"] = "string", ["field.name"] = "string", ["field.value"] = "string",
  ["recipient.address"] = "string", ["headers:get"] = "string", ["field:text"] = "string",
  ["mailbox.address"] = "string", ["mailbox.domain"] = "string",
  ["ctx:body"] = "body", ["headers:field"] = "field", ["body:edit"] = "edit", ["part.body"] = "body",
  ["part.headers"] = "headers",
  ["=moonmilter.spawn"] = "task", ["=moonmilter.http.get"] = "response", ["=moonmilter.http.post"] = "response",
  ["=moonmilter.http.request"] = "response", ["=moonmilter.process.run"] = "result_of_process",
  ["=moonmilter.body.new"] = "body", ["=moonmilter.socket.connect"] = "socket", ["=moonmilter.socket.tcp"] = "socket",
  ["=moonmilter.socket.unix"] = "socket", ["=moonmilter.socket.udp"] = "datagram",
  ["=moonmilter.address.parse"] = "mailbox",
}

--- The elements of lists: of ipairs(ctx.recipients), ipairs(headers:all(…)).
shapes.elements = {
  ["ctx.recipients"] = "recipient", ["headers:all"] = "field", ["field:addresses"] = "mailbox", ["body:parts"] = "part",
}

--- What a handler's arguments after the first are.
shapes.arguments = {
  negotiate = { "offer" }, connect = { "string", "string" }, helo = { "string" }, mail = { "string" },
  rcpt = { "string" }, header = { "string", "string" }, body = { "string" }, unknown = { "string" },
  abort = { "string", "string" }, done = { "result" },
}

return shapes
