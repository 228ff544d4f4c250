-- The filter of the soak: the sender's local part decides what it does to a message. Each kind uses another part of the
-- host; load.lua knows the expected result.
-- luacheck: allow defined top, ignore 131
local milter = require "moonmilter"
local process = require "moonmilter.process"
local socket = require "moonmilter.socket"

local MARK = "start"
local ECHO_PORT = 0 -- of the soak's echo server

local function ask_echo(word)
  local connection = assert(socket.connect { host = "127.0.0.1", port = ECHO_PORT, timeout = 5, pool = { size = 4 } })
  assert(connection:send(word .. "\n"))
  local answer = assert(connection:receive "*l")
  if math.random() < 0.5 then connection:setkeepalive() else connection:close() end
  return answer
end

local AT_END = {
  pass = function() end,
  edit = function(ctx)
    ctx:add_header("X-Soak", MARK)
    ctx:insert_header(1, "X-First", ("x"):rep(500))
    ctx:change_header("Subject", 1, "changed")
    ctx:delete_header("X-Old")
    ctx:change_from("new@one.example")
    ctx:add_recipient("eve@two.example")
    ctx:delete_recipient("bob@two.example")
  end,
  newbody = function(ctx) ctx:replace_body(("0123456789abcdef\r\n"):rep(5000)) end,
  kept = function(ctx)
    local edit = ctx:body():edit()
    edit:footer { text = "Example Ltd" }
    edit:apply(ctx)
  end,
  reject = function(ctx) return ctx:reject(550, "5.7.1", "no, says the soak") end,
  tempfail = function(ctx) return ctx:tempfail(451, "4.7.1", "later, says the soak") end,
  discard = function(ctx) return ctx:discard() end,
  raise = function() error { "an object", {} } end,
  deep = function(ctx) -- an error below pcalls and coroutines, with edits requested
    ctx:add_header("X-Lost", "yes")
    coroutine.wrap(function()
      pcall(error, "caught")
      milter.sleep(0.001)
      error "deep down"
    end)()
  end,
  sleep = function(ctx)
    milter.sleep(math.random() * 0.03)
    ctx:add_header("X-Soak", MARK)
  end,
  tasks = function(ctx)
    local word
    local a = milter.spawn(function()
      milter.sleep(0.002)
      return "a"
    end)
    milter.spawn(function() milter.sleep(30) end) -- ends with the message
    milter.timeout(0.001, function() milter.sleep(1) end)
    word = a:wait()
    ctx:add_header("X-Soak", word)
  end,
  echo = function(ctx)
    local answer = ask_echo(ctx.id)
    if answer ~= ctx.id then return ctx:reject(554, "5.0.0", "an answer to another session") end
    ctx:add_header("X-Soak", answer)
  end,
  program = function(ctx)
    local result = assert(process.run { argv = { "/bin/echo", ctx.id } })
    if not result.stdout:find(ctx.id, 1, true) then return ctx:reject(554, "5.0.0", "output of another session") end
    ctx:add_header("X-Soak", "program")
  end,
}

function on_connect() end

function on_mail(ctx, sender)
  ctx.message.kind = sender:match "^%l+"
  ctx.message.seen = {}
end

function on_rcpt(ctx, recipient)
  ctx.session.rcpts = (ctx.session.rcpts or 0) + 1
  if recipient:match "^refused" then return ctx:reject(550, "5.1.1", "no such user") end
  if ctx.message.kind == "spin" then milter.sleep(30) end -- until the MTA goes away
end

function on_header(ctx, name, value)
  ctx.message.seen[#ctx.message.seen + 1] = { name = name, value = value }
end

function on_eoh(ctx)
  if ctx.message.kind == "kept" then ctx:body { max_memory = 16384 } end
end

function on_body() end

function on_eom(ctx)
  return AT_END[ctx.message.kind](ctx)
end

function on_abort(ctx) ctx.message.seen = nil end
function on_done(ctx) ctx.message.seen = nil end
function on_close() end
