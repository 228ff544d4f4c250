-- No mail is lost, doubled, half edited or judged wrongly while workers are killed and scripts reloaded, on real MTAs.
-- Every message is accounted for: what the client was told, what the filter logged, what was delivered.
-- LEDGER_SECONDS (default 6) is how long each fault goes on.
local lfs = require "lfs"
local socket = require "socket"

local filter = require "spec.mta.filter"
local host = require "spec.support.host"
local postfix = require "spec.mta.postfix"
local process = require "spec.mta.process"
local sendmail = require "spec.mta.sendmail"

local SECONDS = tonumber(os.getenv "LEDGER_SECONDS") or 6
local CLIENTS = 4

local SCRIPT = [[
  local milter = require "moonmilter"
  local mark = "%s"
  function on_eom(ctx)
    milter.sleep(0.02)
    if ctx.headers:get "Subject" == "refuse" then
      return ctx:reject(550, "5.7.1", "refused by the filter")
    end
    ctx:add_header("X-First", "1")
    ctx:change_header("Subject", 1, "kept by " .. mark)
    ctx:replace_body("new body of " .. ctx.headers:get("Message-Id") .. "\r\n")
    ctx:add_header("X-Last", "2")
  end]]

local function workers_of(f)
  local text = process.read_file(("/proc/%d/task/%d/children"):format(f.child:pid(), f.child:pid())) or ""
  local pids = {}
  for pid in text:gmatch "%d+" do pids[#pids + 1] = tonumber(pid) end
  return pids
end

local reloads = 0

local FAULTS = {
  ["workers are killed"] = { every = 0.3, strike = function(f)
    local pids = workers_of(f)
    if #pids > 0 then host.kill(pids[math.random(#pids)], "SIGKILL") end
  end },
  ["scripts are reloaded twenty times a second"] = { every = 0.05, strike = function(f)
    reloads = reloads + 1
    f:write { ["10-ledger.lua"] = SCRIPT:format("reload" .. reloads) }
    f.child:signal "SIGHUP"
  end },
  ["broken scripts come and go"] = { every = 0.2, strike = function(f)
    reloads = reloads + 1
    if reloads % 2 == 0 then
      f:write { ["20-broken.lua"] = "function on_rcpt(" }
    else
      os.remove(f.scripts .. "/20-broken.lua")
    end
    f.child:signal "SIGHUP"
  end },
  ["workers hang in C and in Lua"] = { every = 1, strike = function(f)
    reloads = reloads + 1
    local text = "('a.'):rep(2000):find '.-.-.-.-.-.-b'"
    local what = reloads % 2 == 0 and text or "while true do end"
    f:write { ["20-hang.lua"] = "local n = 0 function on_eom() n = n + 1 if n % 25 == 24 then " .. what .. " end end" }
    f.child:signal "SIGHUP"
  end },
}

local function read_ledgers(paths)
  local entries, done = {}, 0
  for _, path in ipairs(paths) do
    for line in (process.read_file(path) or ""):gmatch "[^\n]+" do
      local token, kind, outcome, attempts = line:match "^(%S+) (%S+) (%S+) (%d+)$"
      if token then
        entries[token] = { kind = kind, outcome = outcome, attempts = tonumber(attempts), delivered = 0 }
      elseif line == "end" then
        done = done + 1
      end
    end
  end
  return entries, done
end

-- What is wrong with the whole, as a list of sentences.
local function audit(entries, messages)
  local wrong, sums = {}, { messages = 0, repeated = 0 }
  for _, message in ipairs(messages) do
    local token = message.data:match "(ledger%-%S-%.)@"
    local entry = token and entries[token]
    if not entry then
      wrong[#wrong + 1] = "delivered but in no ledger: " .. tostring(token)
    else
      entry.delivered = entry.delivered + 1
      local edits = { message:get "X-First", message:get "X-Last", message:get("Subject"):match "^kept by", message.body:match "^new body of" }
      if #edits ~= 4 or #message:all "X-First" ~= 1 then wrong[#wrong + 1] = "edited wrongly: " .. token end
    end
  end
  for token, entry in pairs(entries) do
    sums.messages = sums.messages + 1
    sums.repeated = sums.repeated + entry.attempts - 1
    local expected = entry.kind == "keep" and "taken" or "550"
    if entry.outcome ~= expected then wrong[#wrong + 1] = ("%s: %s ended as %s"):format(token, entry.kind, entry.outcome) end
    if entry.delivered ~= (entry.kind == "keep" and 1 or 0) then
      wrong[#wrong + 1] = ("%s: %s, delivered %d times"):format(token, entry.kind, entry.delivered)
    end
  end
  return wrong, sums
end

for _, mta_module in ipairs { postfix, sendmail } do
  describe("with " .. mta_module.kind, function()
    local why = mta_module.unavailable() or filter.host_unavailable()
    if why then
      pending(why)
      return
    end

    for what, fault in pairs(FAULTS) do
      it("no mail is lost, doubled, half edited or judged wrongly while " .. what, function()
        math.randomseed(7)
        local f = filter.host({ ["10-ledger.lua"] = SCRIPT:format "start" },
          { arguments = { "--workers=2", "--cpu_slice=0.3", "--hang_timeout=1.5", "--log_level=warn" },
            unix = mta_module.kind == "sendmail" })
        local mta = mta_module.start { milters = { f.milter } }
        finally(function()
          mta:stop()
          f:stop()
        end)
        local directory = process.directory()
        local clients, paths = {}, {}
        for i = 1, CLIENTS do
          paths[i] = directory .. "/ledger" .. i
          clients[i] = process.start({ "luajit", "spec/process/ledger_client.lua", tostring(mta.port),
            ("%s%d"):format(mta_module.kind, i), tostring(SECONDS), paths[i] },
            { output = directory .. "/output" .. i, life = SECONDS + 90 })
        end
        local strikes, till = 0, socket.gettime() + SECONDS
        while socket.gettime() < till do
          fault.strike(f)
          strikes = strikes + 1
          socket.sleep(fault.every)
        end
        os.remove(f.scripts .. "/20-broken.lua")
        os.remove(f.scripts .. "/20-hang.lua")
        f.child:signal "SIGHUP"
        assert.truthy(process.wait_until(70, function() return select(2, read_ledgers(paths)) == CLIENTS end, "the clients' end"))
        assert.truthy(mta:wait_idle(30))
        local entries = read_ledgers(paths)
        local messages = mta:delivered()
        local wrong, sums = audit(entries, messages)
        for _, client in ipairs(clients) do client:stop() end
        local _, deaths = f:log():gsub("worker_ended", "")
        if os.getenv "LEDGER_FIGURES" then
          print(("# %s, %s: %d strikes, %d workers lost, %d messages, %d attempts repeated, %d delivered, %d wrong"):format(
            mta_module.kind, what, strikes, deaths, sums.messages, sums.repeated, #messages, #wrong))
        end
        os.execute("rm -r " .. directory)
        assert.same({}, wrong)
        assert.is_true(sums.messages >= SECONDS, sums.messages .. " messages")
        assert.is_true(lfs.attributes(f.scripts) ~= nil and f:running())
      end)
    end
  end)
end
