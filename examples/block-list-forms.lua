-- A block list in each of its three forms: asked in the DNS, a file of ours, and a file that its web server publishes.
-- Each adds a weight; the sum refuses or marks. A form that cannot be asked adds nothing, whatever it would have said.
-- moonmilter.conf: settings = { zone = "bl.example", file = "cidr:/etc/moonmilter/clients.cidr",
--   web = "https://lists.example/drop.txt#cidr" }
local dns = require "moonmilter.dns"
local log = require "moonmilter.log"
local map = require "moonmilter.map"

local REFUSE_FROM, MARK_FROM = 5, 2
local WEB_WEIGHT = 3 -- its values are words of others: what they weigh is for us to say

local zones, ours, web

function on_load(host)
  local settings = host:require_settings { zone = "string", file = "string", web = "string" }
  zones = dns.lists { [settings.zone] = { ["127.0.0.2-9"] = 4, ["127.0.0.10-11"] = 2, ["127.255.255.0/24"] = "error" } }
  ours = map.open(settings.file) -- "192.0.2.0/24 5" refuses, "192.0.2.7 -9" trusts
  web = map.open(settings.web, { every = 3600 })
end

-- The weight of a client, and which forms have it.
local function weigh(ip)
  local total, where = 0, {}
  local function add(form, weight)
    total = total + weight
    where[#where + 1] = ("%s %+d"):format(form, weight)
  end

  local found = zones:ip(ip, { timeout = 4 })
  for zone, failure in pairs(found.failures) do
    log.warn("%s: %s", zone, failure.text)
  end
  for _, why in ipairs(found.why) do
    add(why.list, why.weight)
  end
  for form, list in pairs { file = ours, web = web } do
    local value, text, code = list:network(ip)
    if code then
      log.warn("%s: %s", form, text)
    elseif value then
      add(form, list == web and WEB_WEIGHT or tonumber(value) or REFUSE_FROM)
    end
  end
  table.sort(where)
  return total, table.concat(where, ", ")
end

function on_mail(ctx)
  local ip = ctx.client.ip
  if not ip or ctx.auth then -- a local program, or one of our users
    return
  end
  local total, where = weigh(ip)
  if total >= REFUSE_FROM then
    log.info("%s: %s", ip, where)
    return ctx:reject(550, "5.7.1", ("%s is on a block list"):format(ip))
  elseif total >= MARK_FROM then
    ctx.message.listed = where
  end
end

function on_eom(ctx)
  ctx:delete_header "X-Block-List"
  if ctx.message.listed then
    ctx:add_header("X-Block-List", ctx.message.listed)
  end
end
