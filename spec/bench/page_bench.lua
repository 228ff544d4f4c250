-- What the web page costs mail: the same rate of messages without readers of the page, with 1000 requests a second on
-- it, and with as many on a server that only answers the same bytes, in turns (readers.lua). Readers ask six pages in
-- turn, a filter among them.
-- Run from the top: make bench-readers, or after it
--   luajit spec/bench/page_bench.lua [messages a second] [requests a second] [rounds]
package.path = "./?.lua;" .. package.path
local host = require "spec.support.host"
local page = require "spec.page.page"
local readers = require "spec.bench.readers"

local MAIL = tonumber(arg and arg[1]) or 500
local RATE = tonumber(arg and arg[2]) or 1000
local ROUNDS = tonumber(arg and arg[3]) or 5
local SECONDS = 4

local SCRIPT = [[
function on_mail(ctx, from) end
function on_rcpt(ctx, to) end
function on_header(ctx, name, value) end
function on_eom(ctx) ctx:add_header("X-Seen", "yes") end]]

local p = page.start { workers = 1, life = 3600, scripts = { ["10-work.lua"] = SCRIPT },
  arguments = { "--history=10000", "--log_level=warn" } }

readers.measure {
  port = p.port, rate = RATE, readers = 8, rounds = ROUNDS, seconds = SECONDS, directory = p.directory,
  targets = { "/", "/messages", "/messages?verdict=reject&from=nobody", "/messages?json&count=20", "/scripts",
    "/state" },
  still = os.getenv "STILL_SERVER" or "build/bench/still_server",
  load = ("%s bench --to inet:%d@127.0.0.1 --rate %d --seconds %d --warmup 0.5 --connections 40 --json")
    :format(host.program(), p.host.port, MAIL, SECONDS),
  cpu = function() return host.cpu(p.child:pid()) end,
}
p:stop()
