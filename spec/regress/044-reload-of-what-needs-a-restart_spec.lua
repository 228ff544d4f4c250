-- A new listener in the configuration and SIGHUP: "result=ok", but no process listened there, and no log line said why.
-- Since 0.1.0.
local host = require "spec.support.host"
local process = require "spec.support.process"

for _, workers in ipairs { 0, 2 } do
  it("a key that only a restart takes over is named, once, workers=" .. workers, function()
    local directory = process.directory()
    local config = directory .. "/moonmilter.conf"
    os.execute("chmod 755 " .. directory)
    assert(os.rename(process.write_file(directory .. "/new", 'socket_mode = "0660"\nstage_deadline = 8\n'), config))
    local h = host.start { workers = workers, scripts = { ["10.lua"] = "function on_eom() end" },
      arguments = { "-c", config } }
    finally(function() h:stop() os.execute("rm -r " .. directory) end)
    os.execute("chmod 644 " .. config)
    h:signal "SIGHUP"
    assert.truthy(h:wait_log "generation=2")
    assert.falsy(h:log():find("needs a restart", 1, true))
    assert(os.rename(process.write_file(directory .. "/new", 'socket_mode = "0666"\nstage_deadline = 7\n'), config))
    os.execute("chmod 644 " .. config)
    h:signal "SIGHUP"
    assert.truthy(h:wait_log "generation=3")
    assert.truthy(h:wait_log "socket_mode has changed in the configuration; that needs a restart")
    local _, count = h:log():gsub("needs a restart", "")
    assert.equal(1, count)
  end)
end
