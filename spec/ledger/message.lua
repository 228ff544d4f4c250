--- The messages of the ledger: their text, the filter's task, and the expected result. All of it derives from the
--- message's name, so that client, filter and audit agree without communicating.
---
--- A name is the local part of the sender: token, kind, stage and attempt, "ledger-ab12-3-17.keep.rcpt.1". The token is
--- the same in all attempts of a message, and is its Message-Id.
local message = {}

--- The final reply to the client and the number of delivered copies, by kind of message.
---@type table<string, { code: integer, copies: integer, text?: string }>
message.KINDS = {
  keep = { code = 250, copies = 1 },
  refuse = { code = 550, copies = 0, text = "refused by the filter" },
  rcpt = { code = 550, copies = 0, text = "no such recipient" }, -- refused at rcpt
  discard = { code = 250, copies = 0 },
  later = { code = 250, copies = 1, first = 451 }, -- the filter itself replies 451 to the first attempt
  large = { code = 250, copies = 1 }, -- with a new body of 3 MB
  fields = { code = 250, copies = 1 }, -- with many fields, each of which costs the filter some time
  drop = { copies = 0 }, -- the client hangs up at the message's stage
  -- first attempts make trouble in the filter at the message's stage, later ones behave as "keep"
  loop = { code = 250, copies = 1, first = 451 },
  catch = { code = 250, copies = 1, first = 451 },
  stuck = { code = 250, copies = 1, first = 451 },
  poison = { code = 250, copies = 1, first = 451 },
  eat = { code = 250, copies = 1, first = 451 },
  raise = { code = 250, copies = 1, first = 451 },
  long = { code = 250, copies = 1, first = 451 },
}

function message.name(token, kind, stage, attempt)
  return ("%s.%s.%s.%d"):format(token, kind, stage, attempt)
end

--- The parts of a name in a sender or a log line's text; nil when there is none.
function message.parse(text)
  local name, token, kind, stage, attempt = text:match "((ledger%-[%w-]+)%.(%l+)%.(%l+)%.(%d+))@"
  if not name then return nil end
  return { name = name, token = token, kind = kind, stage = stage, attempt = tonumber(attempt) }
end

-- Every seventh message has a body of more than one packet.
local function body(token)
  local number = tonumber(token:match "%d+$")
  return ("body of %s, line after line\n"):format(token):rep(number % 7 == 0 and 2500 or 1 + number % 5)
end

-- The values of X-Field in a message, in order.
local function numbered(id)
  local values = {}
  for i = 1, id.kind == "fields" and 100 or 0 do values[i] = id.token .. " " .. i end
  return values
end

--- A message as smtp.lua sends it.
function message.compose(id)
  local lines = { "From: Ann <ann@one.example>", "To: Bob <bob@two.example>", "Date: Thu, 1 Jan 2026 00:00:00 +0000",
    ("Message-Id: <%s@one.example>"):format(id.token), "Subject: as sent" }
  for _, value in ipairs(numbered(id)) do lines[#lines + 1] = "X-Field: " .. value end
  lines[#lines + 1] = "\n" .. body(id.token)
  return {
    from = id.name .. "@one.example",
    to = { (id.kind == "rcpt" and "refuse-" or "") .. id.token .. "@two.example" },
    data = table.concat(lines, "\n"),
  }
end

-- Lines of the new body, after so many bytes of the old one.
local function new_lines(kind, bytes)
  if kind == "large" then return 80000 end
  return bytes > 65535 and 2000 or 1
end

-- Exactly the fields that the filter adds, each once.
local EDITS = { "X-First", "X-Echo", "X-Last" }

--- The filter's record of what it saw, from which it makes X-Echo: the fields are those that came in their order.
function message.echo(sender, recipient, bytes, fields)
  return ("%s %s %d %d"):format(sender, recipient, bytes, fields)
end

--- The filter's effect on a delivered message: "edited", "untouched", or nil and what is incomplete.
function message.state(id, delivered)
  local sent, fields = message.compose(id), numbered(id)
  if table.concat(delivered:all "X-Field", "\n") ~= table.concat(fields, "\n") then
    return nil, ("%d of %d fields"):format(#delivered:all "X-Field", #fields)
  end
  local sent_body = sent.data:match "\n\n(.*)$"
  local subject = delivered:get "Subject"
  local count = 0
  for _, name in ipairs(EDITS) do count = count + #delivered:all(name) end
  if count == 0 and subject == "as sent" and delivered.body == sent_body then return "untouched" end
  -- the filter counts bytes as an MTA sends them, with CRLF
  local bytes = #sent_body:gsub("\n", "\r\n")
  local echo = message.echo(sent.from, sent.to[1], bytes, #fields)
  if delivered:get "X-Echo" and delivered:get "X-Echo" ~= echo then
    return nil, ("the filter saw %q, sent was %q"):format(delivered:get "X-Echo", echo)
  end
  if count ~= #EDITS or delivered:get "X-Last" ~= "2" then return nil,
  ("%d of %d added fields"):format(count, #EDITS) end
  if not subject:match "^kept by " then return nil, "the subject was not changed" end
  local new_body = ("new body of %s\n"):format(id.token):rep(new_lines(id.kind, bytes))
  if delivered.body ~= new_body then return nil, "the body is not the new one" end
  return "edited"
end

return message
