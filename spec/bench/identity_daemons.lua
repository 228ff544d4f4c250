-- What checking a message costs beside Debian's opendkim, opendmarc and policyd-spf: CPU time of their processes and of
-- ours, for the message of identity_bench.lua, in turns. opendkim reads the key from a file; the others ask dnsmasq,
-- whose time is not counted, and opendmarc gets the message as the other two leave it. policyd-spf answers one
-- recipient a message, and its start is subtracted.
-- It binds port 53 and replaces resolv.conf, in namespaces of its own. As root, from the top, after make and
--   apt-get install opendkim opendmarc postfix-policyd-spf-python dnsmasq-base
--   unshare --net --mount luajit spec/bench/identity_daemons.lua [messages a round]
package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path
package.cpath = "build/lua/?.so;" .. package.cpath
local message = require "spec.bench.identity_message"
local process = require "spec.support.process"
local testing = require "moonmilter.testing"

local MESSAGES, ROUNDS = tonumber(arg and arg[1]) or 2000, 5
local LIFE = 280 -- seconds
local TICKS = 100 -- a second, of /proc/PID/stat

local example = testing.domain("example.org", { key = "rsa" })
local directory = process.directory()

local function path(name)
  return directory .. "/" .. name
end

local function write(name, text)
  process.write_file(path(name), text)
  return path(name)
end

if not process.run("cat /proc/net/dev"):find "^[^\n]*\n[^\n]*\n%s*lo:[^\n]*\n$" then
  error "not in a network of its own: begin with unshare --net --mount"
end
process.run "ip link set lo up"
process.run(("mount --bind %s /etc/resolv.conf"):format(write("resolv.conf", "nameserver 127.0.0.1\n")))

-- ---- what they read ----

local function pieces(text)
  local list = {}
  for at = 1, #text, 250 do
    list[#list + 1] = '"' .. text:sub(at, at + 249) .. '"'
  end
  return table.concat(list, ",")
end

local records, keys = {}, {}
for name, entry in pairs(example.dns) do
  local text = table.concat(type(entry.TXT) == "table" and entry.TXT or { entry.TXT })
  records[#records + 1] = ("txt-record=%s,%s\n"):format(name, pieces(text))
  keys[#keys + 1] = name:find("_domainkey", 1, true) and ("%s %s\n"):format(name, text) or nil
end
local zone = write("zone", table.concat(records) .. "local=/org/\nlocal=/com/\nno-resolv\nno-hosts\nlocal-ttl=3600\n"
  .. "listen-address=127.0.0.1\nbind-interfaces\nuser=root\n")

local sent, lines = message(example), {}
for _, field in ipairs(sent.headers) do
  lines[#lines + 1] = field[1] .. ": " .. field[2]:gsub("\r?\n", "\r\n") .. "\r\n"
end
local plain = table.concat(lines) .. "\r\n" .. sent.body
local CHECKED = "Authentication-Results: mail.example.org; dkim=pass header.d=example.org\r\n"
  .. "Received-SPF: Pass (mailfrom) identity=mailfrom; client-ip=192.0.2.1; helo=client.example.org;\r\n"
  .. "\tenvelope-from=bounces@example.org; receiver=mail.example.org\r\n"

local COMMON = "Socket local:%s\nAuthservID mail.example.org\nSyslog no\nBackground no\nUserID nobody\nUMask 000\n%s\n"

local function configuration(name, more)
  return write(name .. ".conf", COMMON:format(path(name .. ".sock"), more))
end

local script = write("check.lua", [[
local auth = require "moonmilter.auth"
function on_eom(ctx)
  auth.stamp(ctx, auth.check(ctx))
end
]])

-- ---- they run ----

process.run(("chown nobody %s"):format(directory))
local dnsmasq = process.start({ "dnsmasq", "-k", "-C", zone }, { output = path "dnsmasq.log", life = LIFE })
local milters = {
  { name = "moonmilter", file = write("plain.eml", plain), shows = "dmarc=pass", argv = { "build/moonmilter", "run",
    "-s", "unix:" .. path "moonmilter.sock", "--dns_servers=127.0.0.1", "--user=nobody", "--log_level=warn", script } },
  { name = "opendkim", file = path "plain.eml", shows = "dkim=pass", argv = { "opendkim", "-f", "-x",
    configuration("opendkim", "Mode v\nTestPublicKeys " .. write("keys", table.concat(keys))) } },
  { name = "opendmarc", file = write("checked.eml", CHECKED .. plain), shows = "dmarc=pass", argv = { "opendmarc", "-f",
    "-c", configuration("opendmarc", "TrustedAuthservIDs mail.example.org") } },
}

local function send(milter, count)
  return process.run(("build/moonmilter send --to unix:%s --from bounces@example.org --rcpt bob@example.com --diff "
    .. "--client 192.0.2.1,client.example.org --helo client.example.org --mta-name mail.example.org --repeat %d %s")
    :format(path(milter.name .. ".sock"), count, milter.file))
end

local function ticks(milter)
  local stat = process.read_file(("/proc/%d/stat"):format(milter.child:pid())):match "%) (.*)"
  local user, system = stat:match(("%S+ "):rep(11) .. "(%d+) (%d+)")
  return tonumber(user) + tonumber(system)
end

for _, milter in ipairs(milters) do
  milter.child = process.start(milter.argv, { output = path(milter.name .. ".log"), life = LIFE })
  assert(process.wait_until(10, function()
    return os.execute(("test -S %s"):format(path(milter.name .. ".sock"))) == 0
  end, milter.name))
  local shown = send(milter, 1)
  assert(shown:find(milter.shows, 1, true), shown)
  send(milter, 200)
end

local REQUEST = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=SMTP\nhelo_name=client.example.org\n"
  .. "sender=bounces@example.org\nrecipient=bob@example.com\nclient_address=192.0.2.1\n"
  .. "client_name=client.example.org\ninstance=%d\n\n"

-- CPU seconds of policyd-spf for so many messages.
local function policy_seconds(count)
  local list = {}
  for i = 1, count do
    list[i] = REQUEST:format(i)
  end
  local said = process.run(("bash -c 'TIMEFORMAT=\"cpu %%U %%S\"; time policyd-spf < %s'")
    :format(write("requests", table.concat(list))))
  assert(said:find("Received-SPF: Pass", 1, true), said)
  local user, system = said:match "cpu ([%d.]+) ([%d.]+)"
  return tonumber(user) + tonumber(system)
end

local best = {}
local function note(name, used)
  best[name] = math.min(best[name] or math.huge, used)
end

for _ = 1, ROUNDS do
  for _, milter in ipairs(milters) do
    local before = ticks(milter)
    send(milter, MESSAGES)
    note(milter.name, (ticks(milter) - before) / TICKS / MESSAGES * 1e6)
  end
  note("policyd-spf", (policy_seconds(MESSAGES / 2 + 1) - policy_seconds(1)) / (MESSAGES / 2) * 1e6)
end
local theirs = best.opendkim + best.opendmarc + best["policyd-spf"]
print(("moonmilter %.0f us a message; opendkim %.0f + opendmarc %.0f + policyd-spf %.0f = %.0f us; ratio %.2f "
  .. "(goal 0.25)"):format(best.moonmilter, best.opendkim, best.opendmarc, best["policyd-spf"], theirs,
  best.moonmilter / theirs))
for _, milter in ipairs(milters) do
  milter.child:stop()
end
dnsmasq:stop()
process.run("rm -r " .. directory)
