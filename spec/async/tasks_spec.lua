local fake_mta = require "spec.support.fake_mta"

local mta

local function serve(source, options)
  options = options or {}
  options.script = 'local milter = require "moonmilter"\n' .. source
  mta = fake_mta.start(options)
  return mta
end

local function errors()
  return table.concat(mta:log_lines "script_error", "\n")
end

local function notes()
  local list = {}
  for _, line in ipairs(mta:log_lines "script") do
    list[#list + 1] = line:match 'text="([^"]*)"' or line:match "text=(%S+)"
  end
  return table.concat(list, ",")
end

describe("a task", function()
  after_each(function()
    mta:close()
  end)

  it("is started at connect and collected at rcpt", function()
    serve [[
      function on_connect(ctx, host, ip)
        ctx.session.lookup = milter.spawn(function(a, b) milter.sleep(0.02) return a .. b, 2, nil, 4 end, ip, "!")
      end
      function on_rcpt(ctx)
        local first, second, third, fourth = ctx.session.lookup:wait(3)
        ctx:reject("5.7.1", ("%s %s %s %s"):format(first, second, tostring(third), fourth))
      end
    ]]
    mta:begin()
    mta:mail()
    assert.equal("550 5.7.1 192.0.2.1! 2 nil 4", mta:rcpt().text)
  end)

  it("begins only when its starter waits or returns", function()
    serve [[
      function on_mail(ctx)
        local order = {}
        local task = milter.spawn(function() order[#order + 1] = "task" end)
        order[#order + 1] = "handler"
        task:wait()
        task:wait() -- again, at once
        return ctx:reject(table.concat(order, " "))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 handler task", mta:mail().text)
  end)

  it("is waited for no longer than the time-out, and goes on", function()
    serve [[
      function on_mail(ctx)
        local task = milter.spawn(function() milter.sleep(0.1) return "late" end)
        local value, text, code = task:wait(0.01)
        local again = task:wait(2)
        return ctx:reject(("%s|%s|%s|%s"):format(tostring(value), text, code, again))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 nil|the task is not ready after 0.01 s|timeout|late", mta:mail().text)
  end)

  it("lets several tasks wait for it at once", function()
    serve [[
      function on_mail(ctx)
        local slow = milter.spawn(function() milter.sleep(0.02) return 7 end)
        local function double() return slow:wait() * 2 end
        local found = milter.all { double, double, double, slow }
        return ctx:reject(table.concat(found, " "))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 14 14 14 7", mta:mail().text)
  end)

  it("that raises without a waiter is logged, and also raises at wait", function()
    serve [[
      function on_connect(ctx)
        ctx.session.task = milter.spawn(function() error("went wrong") end)
      end
      function on_mail(ctx)
        local ok, err = pcall(ctx.session.task.wait, ctx.session.task)
        return ctx:reject(tostring(ok) .. " " .. err:match("[^:]*$"))
      end
    ]]
    mta:begin()
    mta.owner:turn(0)
    assert.matches("went wrong", errors())
    assert.matches("handler=task", errors())
    assert.equal("550 5.7.1 false  went wrong", mta:mail().text)
  end)

  it("that raises while it is waited for is not logged a second time", function()
    serve [[
      function on_mail(ctx)
        local task = milter.spawn(function() milter.sleep(0.01) error({ told = "a table" }) end)
        local ok, err = pcall(task.wait, task)
        return ctx:reject(err.told)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 a table", mta:mail().text)
    assert.equal("", errors())
  end)

  it("cannot give a verdict, and gets an error that says why", function()
    serve [[
      function on_mail(ctx)
        local task = milter.spawn(function() ctx:reject("no") end)
        local ok, err = pcall(task.wait, task)
        milter.log.info("%s", (err:gsub('"', "")))
      end
    ]]
    mta:begin()
    assert.equal("continue", mta:mail().kind)
    assert.matches("a verdict is given by the handler itself, not by a task", notes())
  end)

  it("may use ctx and wait inside coroutines, pcall and metamethods", function()
    serve [[
      function on_mail(ctx)
        local task = milter.spawn(function()
          local meta = setmetatable({}, { __index = function(_, key) milter.sleep(0.001) return key end })
          local each = coroutine.wrap(function() for i = 1, 3 do milter.sleep(0.001) coroutine.yield(i) end end)
          local sum = 0
          for i in each do sum = sum + i end
          return ctx.client.ip .. " " .. meta.word .. " " .. sum
        end)
        return ctx:reject(task:wait())
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 192.0.2.1 word 6", mta:mail().text)
  end)

  it("is refused with a reason when its owner has a thousand under way", function()
    serve [[
      function on_mail(ctx)
        for i = 1, 1000 do milter.spawn(milter.sleep, 60) end
        local ok, err = pcall(milter.spawn, milter.sleep, 60)
        return ctx:reject(err:match("%d+ are already under way"))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 1000 are already under way", mta:mail().text)
  end)

  it("cannot wait for itself", function()
    serve [[
      function on_mail(ctx)
        local task
        task = milter.spawn(function() return task:wait() end)
        local ok, err = pcall(task.wait, task)
        return ctx:reject((err:match("a task.*")))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 a task cannot wait for itself", mta:mail().text)
  end)

  it("of another session cannot be waited for", function()
    local host = fake_mta.host { script = [[
      local milter = require "moonmilter"
      local shared = {}
      function on_connect(ctx) shared.task = shared.task or milter.spawn(milter.sleep, 60) end
      function on_mail(ctx)
        local ok, err = pcall(shared.task.wait, shared.task, 1)
        if not ok then return ctx:reject((err:match("the task .*"))) end
      end
    ]] }
    local first = fake_mta.start { host = host }
    first:begin()
    mta = fake_mta.start { host = host }
    mta:begin()
    assert.equal("550 5.7.1 the task belongs to another session", mta:mail().text)
    mta:close()
    first:close()
    mta = host
  end)
end)

describe("the end of a task's owner", function()
  after_each(function()
    mta:close()
  end)

  local watcher = [[
    local function watch(name)
      return milter.spawn(function()
        local ok, err = pcall(milter.sleep, 60)
        local again = pcall(milter.sleep, 0)
        milter.log.info("%s %s %s", name, milter.cancelled(err) and err.reason or tostring(err), tostring(again))
      end)
    end
  ]]

  it("ends a message's tasks with the message and a client's with the client", function()
    serve(watcher .. [[
      function on_connect(ctx) watch("client") end
      function on_mail(ctx) watch("message") end
      function on_eom(ctx) milter.sleep(0.001) end
    ]])
    mta:begin()
    mta:message()
    mta.owner:turn(0)
    assert.equal("message ended false", notes())
    mta:message()
    assert.equal("message ended false,message ended false", notes())
    mta:quit()
    assert.equal("message ended false,message ended false,client ended false", notes())
  end)

  it("names the abort or the lost connection", function()
    serve(watcher .. [[
      function on_connect(ctx) watch("client") end
      function on_mail(ctx) watch("message") end
    ]])
    mta:begin()
    mta:mail()
    mta.owner:turn(0)
    mta:abort()
    assert.equal("message abort false", notes())
    mta:mail()
    mta.owner:turn(0)
    mta:vanish()
    assert.equal("message abort false,message abort false,client abort false", notes())
  end)

  it("drops tasks that have not begun", function()
    serve(watcher .. [[
      function on_mail(ctx) watch("message") end
    ]])
    mta:begin()
    mta:feed(fake_mta.packet("M", "<a@b>\0") .. fake_mta.packet "A")
    mta.owner:turn(0)
    assert.equal("", notes())
  end)

  it("ends the tasks of tasks, and takes no new ones from their cleanup", function()
    serve [[
      function on_mail(ctx)
        milter.spawn(function()
          milter.spawn(function()
            pcall(milter.sleep, 60)
            milter.log.info("inner")
            milter.log.info("%s", tostring(select(2, pcall(milter.spawn, print))))
          end)
        end)
      end
    ]]
    mta:begin()
    mta:mail()
    mta.owner:turn(0)
    mta.owner:turn(0)
    mta:abort()
    assert.equal("inner,cancelled: abort", notes())
  end)

  it("runs the functions of at_end last one first, after the tasks, where waiting is impossible", function()
    serve [[
      function on_connect(ctx)
        milter.at_end(function() milter.log.info("client") end)
      end
      function on_mail(ctx)
        milter.at_end(function()
          milter.log.info("first %s", tostring(ctx.message.kept))
          local ok, err = pcall(milter.sleep, 0)
          milter.log.info("%s", err.reason)
        end)
        milter.at_end(function() milter.log.info("second") error("in defer") end)
        milter.spawn(function() pcall(milter.sleep, 60) milter.log.info("task") end)
        ctx.message.kept = "here"
      end
    ]]
    mta:begin()
    mta:mail()
    mta.owner:turn(0)
    mta:abort()
    assert.equal("task,second,first here,abort", notes())
    assert.matches("script=%S+ handler=at_end error=\".-in defer", errors())
    for _, line in ipairs(mta:log_lines "script") do assert.matches(" script=%S+", line) end
    mta:quit()
    assert.equal("task,second,first here,abort,client", notes())
  end)

  it("also runs those of an accepted message", function()
    serve [[
      function on_mail(ctx) milter.at_end(function() milter.log.info("deferred") end) end
      function on_eom(ctx) return "accept" end
    ]]
    mta:begin()
    assert.equal("accept", mta:message().kind)
    assert.equal("deferred", notes())
  end)

  it("names the successor of milter.defer", function()
    serve "function on_mail(ctx)\n  milter.defer(print)\nend"
    mta:begin()
    mta:mail()
    assert.matches("script.lua:3: milter.defer is now milter.at_end", errors())
  end)
end)

describe("task:cancel", function()
  after_each(function()
    mta:close()
  end)

  it("lets the task clean up and reports it as cancelled", function()
    serve [[
      function on_mail(ctx)
        local said = {}
        local task = milter.spawn(function()
          local ok, err = pcall(milter.sleep, 60)
          said[#said + 1] = err.reason
          said[#said + 1] = tostring(pcall(milter.sleep, 0))
          return "swallowed"
        end)
        milter.sleep(0.001)
        local was_running = task:cancel()
        local value, text, code = task:wait()
        return ctx:reject(table.concat(said, " ") .. " " .. tostring(was_running) .. " " .. tostring(value) .. " " .. code
          .. " " .. tostring(task:cancel()))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 cancelled false true nil cancelled false", mta:mail().text)
    assert.equal("", errors())
  end)

  it("keeps a task from beginning", function()
    serve [[
      function on_mail(ctx)
        local began = false
        local task = milter.spawn(function() began = true end)
        task:cancel()
        local _, _, code = task:wait()
        milter.sleep(0.01)
        return ctx:reject(tostring(began) .. " " .. code)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 false cancelled", mta:mail().text)
  end)

  it("on the running task takes effect at the next wait", function()
    serve [[
      function on_mail(ctx)
        local said, task = {}
        task = milter.spawn(function()
          task:cancel()
          said[1] = "still here"
          milter.sleep(0)
          said[2] = "not here"
        end)
        local _, _, code = task:wait()
        return ctx:reject(table.concat(said, " ") .. " " .. code)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 still here cancelled", mta:mail().text)
  end)

  it("gives up a task that waits for another task", function()
    serve [[
      function on_mail(ctx)
        local slow = milter.spawn(milter.sleep, 60)
        local waiter = milter.spawn(function() return slow:wait() end)
        milter.sleep(0.001)
        waiter:cancel()
        local _, _, code = waiter:wait()
        return ctx:reject(code .. " " .. tostring(slow:is_over()))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 cancelled false", mta:mail().text)
  end)
end)

describe("several tasks", function()
  after_each(function()
    mta:close()
  end)

  it("run side by side in milter.all, which returns failures by key", function()
    serve [[
      function on_mail(ctx)
        local began = milter.now()
        local found, failures = milter.all {
          a = function() milter.sleep(0.3) return 1 end,
          b = function() milter.sleep(0.3) return nil, "no such thing", "nxdomain" end,
          c = function() milter.sleep(0.3) end,
        }
        local took = milter.now() - began
        return ctx:reject(("%s %s %s %s %s"):format(found.a, tostring(found.b), failures.b.code, tostring(failures.c),
          tostring(took < 0.8)))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 1 nil nxdomain nil true", mta:mail().text)
  end)

  it("are cancelled by milter.all when one raises", function()
    serve [[
      function on_mail(ctx)
        local ended = "no"
        local ok, err = pcall(milter.all, {
          function() milter.sleep(0.01) error("broken", 0) end,
          function() local ok, err = pcall(milter.sleep, 60) ended = err.reason end,
        })
        milter.sleep(0.001)
        return ctx:reject(tostring(ok) .. " " .. err .. " " .. ended)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 false broken cancelled", mta:mail().text)
  end)

  it("race in milter.any: the first success wins and the others are cancelled", function()
    serve [[
      function on_mail(ctx)
        local ended = "no"
        local a, b = milter.any {
          function() return nil, "nothing here", "refused" end,
          function() error("broken") end,
          function() milter.sleep(0.02) return "good", "two" end,
          function() local ok, err = pcall(milter.sleep, 60) ended = err.reason end,
        }
        milter.sleep(0.001)
        return ctx:reject(a .. " " .. b .. " " .. ended)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 good two cancelled", mta:mail().text)
  end)

  it("give the last failure when all fail in milter.any", function()
    serve [[
      function on_mail(ctx)
        local value, text, code = milter.any {
          function() error("broken") end,
          function() milter.sleep(0.02) return nil, "gone", "timeout" end,
        }
        return ctx:reject(tostring(value) .. " " .. text .. " " .. code)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 nil gone timeout", mta:mail().text)
  end)

  it("end exactly once each, even a thousand", function()
    serve [[
      function on_mail(ctx)
        local list, sum = {}, 0
        for i = 1, 900 do list[i] = function() milter.sleep((i % 7) / 1000) return i end end
        local found = milter.all(list)
        for i = 1, 900 do sum = sum + found[i] end
        return ctx:reject(tostring(sum))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 405450", mta:mail().text)
  end)

  it("are refused with a reason when they are not functions", function()
    serve [[
      function on_mail(ctx)
        local _, err = pcall(milter.all, { 7 })
        local _, also = pcall(milter.spawn, nil)
        return ctx:reject(err:match("all:.*"), also:match("spawn:.*"))
      end
    ]]
    mta:begin()
    assert.equal("550-5.7.1 all: [1] is a number; give functions and tasks\r\n"
      .. "550 5.7.1 spawn: expected a function, got nil; was it called already, as in spawn(f())?", mta:mail().text)
  end)
end)

describe("milter.timeout", function()
  after_each(function()
    mta:close()
  end)

  it("returns what the function returns in time", function()
    serve [[
      function on_mail(ctx)
        local a, b = milter.timeout(2, function(x) milter.sleep(0.001) return x, 2 end, 1)
        return ctx:reject(a .. " " .. b)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 1 2", mta:mail().text)
  end)

  it("ends the function and lets it clean up", function()
    serve [[
      function on_mail(ctx)
        local reason, again
        local value, text, code = milter.timeout(0.02, function()
          local ok, err = pcall(milter.sleep, 60)
          reason = err.reason
          again = pcall(milter.sleep, 0)
          error(err, 0)
        end)
        milter.sleep(0.001)     -- waiting works again
        return ctx:reject(("%s|%s|%s|%s|%s"):format(tostring(value), text, code, reason, tostring(again)))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 nil|not ready after 0.02 s|timeout|timeout|false", mta:mail().text)
  end)

  it("passes a verdict on", function()
    serve [[
      function on_mail(ctx)
        milter.timeout(2, function() milter.sleep(0.001) ctx:reject("from inside") end)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 from inside", mta:mail().text)
    assert.equal("550 5.7.1 from inside", mta:mail().text)
  end)

  it("nests: the outer limit ends the inner one", function()
    serve [[
      function on_mail(ctx)
        local inner = "not told"
        local _, _, code = milter.timeout(0.02, function()
          local a, b, c = milter.timeout(60, milter.sleep, 60)
          inner = c
        end)
        local _, _, other = milter.timeout(60, function() return milter.timeout(0.01, milter.sleep, 60) end)
        return ctx:reject(code .. ", " .. inner .. ", " .. other)
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 timeout, not told, timeout", mta:mail().text)
  end)

  it("works inside a coroutine of the script's own", function()
    serve [[
      function on_mail(ctx)
        local co = coroutine.wrap(function() return select(3, milter.timeout(0.01, milter.sleep, 60)) end)
        return ctx:reject(co())
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 timeout", mta:mail().text)
  end)

  it("passes errors on", function()
    serve [[
      function on_mail(ctx)
        local ok, err = pcall(milter.timeout, 2, function() error("oh") end)
        return ctx:reject(tostring(ok) .. " " .. err:match("oh"))
      end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 false oh", mta:mail().text)
  end)
end)

describe("tasks of the scripts themselves", function()
  after_each(function()
    mta:close()
  end)

  it("start at the top level and in on_load, and end with the generation", function()
    serve [[
      local prepared
      local early = milter.spawn(function() milter.sleep(0.01) return "early" end)
      function on_load() prepared = milter.spawn(function() return early:wait() .. " prepared" end) end
      function on_mail(ctx) return ctx:reject(prepared:wait()) end
    ]]
    mta:begin()
    assert.equal("550 5.7.1 early prepared", mta:mail().text)
  end)
end)
