-- Rules that each recipient's domain sets for itself, in a table that may change while mail flows:
--   { "example.com": { "tls": true, "max_size": 10485760, "mark": "sales" }, "ann@example.com": { "mark": "ann" } }
-- A key is a mailbox, a domain, or ".parent"; the most special one counts, alone. A message with several recipients has
-- one body and one verdict. So what can be refused to one of them is (tls, in on_rcpt); of limits for all the strictest
-- counts (max_size); and where one value is needed, it is that of the first recipient who has one (mark).
-- moonmilter.conf: settings = { rules = "json:/etc/moonmilter/domains.json" }
local json = require "moonmilter.json"
local log = require "moonmilter.log"
local map = require "moonmilter.map"

local KINDS = { tls = "boolean", max_size = "number", mark = "string" }

local rules

function on_load(host)
  rules = map.open(host:require_settings({ rules = "string" }).rules)
end

-- The rule of a recipient, {} without one; nil and a text: nobody knows. A rule with a mistake is no rule to ignore.
local function rule_of(recipient)
  local value, key, code = rules:address(recipient)
  if code then
    return nil, key
  elseif not value then
    return {}
  end
  local rule, text = json.decode(value)
  if type(rule) ~= "table" then
    return nil, ("%s: %s"):format(key, text or "not an object")
  end
  for name, member in pairs(rule) do
    if type(member) ~= KINDS[name] then
      return nil, ("%s: %s is no rule, or no %s"):format(key, tostring(name), KINDS[name] or "such")
    end
  end
  return rule
end

function on_rcpt(ctx, recipient)
  local rule, text = rule_of(recipient)
  if not rule then
    log.error("rules: %s", text)
    return ctx:tempfail(451, "4.3.0", "The rules of this mailbox cannot be read now, please try again later")
  elseif rule.tls and not ctx.tls then
    return ctx:reject(550, "5.7.10", "This domain takes mail over TLS only")
  end
  local m = ctx.message
  m.max_size = math.min(m.max_size or math.huge, rule.max_size or math.huge)
  m.mark = m.mark or rule.mark
end

function on_eom(ctx)
  local m = ctx.message
  if ctx.body_size > m.max_size then
    return ctx:reject(552, "5.3.4", ("One of the recipients takes messages up to %d bytes"):format(m.max_size))
  end
  ctx:delete_header "X-Mark"
  if m.mark then
    ctx:add_header("X-Mark", m.mark)
  end
end
