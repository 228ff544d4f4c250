-- Refuses mail from countries from which this site gets none, unless the client has logged in, and notes the country of
-- all other mail for later filters. An address that nobody knows, and a file that cannot be read, refuse nothing.
-- moonmilter.conf: settings = { geo = "/var/lib/GeoIP/GeoLite2-Country.mmdb", refuse = { "XX", "YY" } }
local geo = require "moonmilter.geo"
local log = require "moonmilter.log"

local countries
local is_refused = {}

function on_load(host)
  local settings = host:require_settings { geo = "string", refuse = "table?" }
  countries = geo.open(settings.geo)
  for _, country in ipairs(settings.refuse or {}) do
    is_refused[country:upper()] = true
  end
end

local function country_of(ip)
  if not ip then -- a local program
    return nil
  end
  local found, text, code = countries:get(ip)
  if code then
    log.warn("%s: %s", ip, text)
  end
  return found and found.country
end

function on_mail(ctx)
  local country = country_of(ctx.client.ip)
  ctx.message.country = country
  if country and is_refused[country] and not ctx.auth then
    return ctx:reject("5.7.1", ("No mail from %s"):format(country))
  end
end

function on_eom(ctx)
  ctx:delete_header "X-Client-Country"
  if ctx.message.country then
    ctx:add_header("X-Client-Country", ctx.message.country)
  end
end
