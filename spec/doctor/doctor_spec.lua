-- moonmilter doctor: each thing that goes wrong between an MTA and a milter, provoked once. Postfix's side is a
-- configuration directory that postconf reads, Sendmail's a sendmail.cf; only the host runs.
local cjson = require "cjson"
local lfs = require "lfs"

local host = require "spec.support.host"
local process = require "spec.support.process"
local world = require "spec.async.world"

local PASS = { ["10-pass.lua"] = "function on_eom() end" }
local IS_ROOT = require "posix.unistd".geteuid() == 0

local MASTER = [[
smtp      inet  n       -       n       -       -       smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
]]

describe("moonmilter doctor", function()
  local directory, running, path

  setup(function()
    directory = process.directory()
    process.write_file(directory .. "/10-pass.lua", PASS["10-pass.lua"])
    assert(lfs.mkdir(directory .. "/run"))
    process.run("chmod 755 " .. directory .. "/run; chown nobody " .. directory .. "/run 2>/dev/null || true")
    path = directory .. "/run/milter.sock"
    running = process.start({ host.program(), "run", "-s", "unix:" .. path, "--workers=1", "--socket_mode=0666",
      "--control=" .. directory .. "/run/control.sock", directory .. "/10-pass.lua" },
      { output = directory .. "/output", remove = directory })
    assert(running:wait_text("moonmilter: ready", 10))
  end)
  teardown(function() running:stop() end)

  local function configure(lines, script)
    local text = ("listen = %q\nscripts = %q\nworkers = 1\ncontrol = %q\n"):format("unix:" .. path,
      directory .. "/" .. (script or "10-pass.lua"), directory .. "/run/control.sock")
    return process.write_file(directory .. "/moonmilter.conf", text .. (lines or ""))
  end

  -- Its findings: the whole text, and the exit status.
  local function ask(arguments, through)
    local pipe = assert(io.popen(("%s %s doctor %s 2>&1; echo \"status $?\""):format(through or "",
      host.program(), arguments)))
    local text = pipe:read "*a"
    pipe:close()
    local output, status = text:match "^(.*)status (%d+)\n$"
    return output, tonumber(status)
  end

  local function assert_finds(text, level, what, remedy)
    local finding, todo = nil, nil
    for line, following in (text .. "\n"):gmatch "([^\n]*)\n()" do
      if line:find("  " .. level, 1, true) == 1 and line:find(what, 1, true) then
        finding, todo = line, text:match("^[^\n]*", following)
        break
      end
    end
    assert(finding, ("no %s with %q in\n%s"):format(level, what, text))
    if remedy then assert(todo:find(remedy, 1, true), ("%q does not say %q"):format(todo, remedy)) end
    assert(level ~= "WRONG" or todo:find "^ +%-> .", "nothing says what to do:\n" .. text)
  end

  it("has colours where --color asks for them, and knows no other word", function()
    local command = ("%s doctor -c %s --color=%%s 2>&1; echo $?"):format(host.program(), configure())
    local function output(word)
      local pipe = assert(io.popen(command:format(word)))
      local text = pipe:read "*a"
      pipe:close()
      return text
    end
    assert.truthy(output("always"):find("\27[32m", 1, true))
    assert.is_nil(output("auto"):find("\27", 1, true))
    assert.matches("%-%-color: give auto, always or never\n64\n$", output "mauve")
  end)

  describe("about the host:", function()
    local EMPTY = "--sendmail-cf /dev/null"

    it("passes a running host with a sound configuration", function()
      local text = ask("-c " .. configure() .. " " .. EMPTY)
      assert.matches("^moonmilter\n  ok     reads " .. directory:gsub("%p", "%%%0") .. "/moonmilter.conf\n", text)
      assert_finds(text, "ok", "all scripts load")
      assert_finds(text, "ok", "it runs: version=")
    end)

    it("asks the Redis of the configuration whether it has room for all hosts", function()
      local redis = world.redis "--maxclients 100"
      finally(function() redis.close() end)
      local line = ("redis = { port = %d, pool_size = 3, hosts = %%d }\n"):format(redis.port)
      local text = ask("-c " .. configure(line:format(10)) .. " " .. EMPTY)
      assert_finds(text, "ok", "takes 100 clients and has 1; a host opens up to 3, during a reload 6")
      text = ask("-c " .. configure(line:format(17)) .. " " .. EMPTY)
      assert_finds(text, "WRONG", "takes 100 clients, but 17 hosts open up to 102", "raise maxclients")
      redis.close()
      local status
      text, status = ask("-c " .. configure(line:format(1)) .. " " .. EMPTY)
      assert_finds(text, "WRONG", "redis 127.0.0.1:" .. redis.port, "on_down")
      assert_finds(text, "ok", "all scripts load")
      assert.equal(78, status)
    end)

    it("says first that it has read no configuration", function()
      if require("posix.unistd").access("/etc/moonmilter/moonmilter.conf") then return pending "there is one here" end
      local text = ask("-s inet:10025 " .. EMPTY)
      assert.matches("^moonmilter\n  note   reads no configuration: ", text)
      assert_finds(text, "note", "reads no configuration", "moonmilter doctor -c FILE")
    end)

    it("finds that the host does not run", function()
      local text, status = ask(("-c %s --control %s/none %s"):format(configure(), directory, EMPTY))
      assert_finds(text, "WRONG", "the host does not run", "systemctl start moonmilter")
      assert.equal(78, status)
    end)

    it("finds scripts that do not load", function()
      process.write_file(directory .. "/20-bad.lua", "x =")
      local text = ask(("-c %s %s"):format(configure("", "20-bad.lua"), EMPTY))
      assert_finds(text, "WRONG", "the scripts do not load", "moonmilter check -c ")
    end)

    it("finds a failed reload", function()
      local own = host.start { workers = 1, scripts = PASS }
      own:write { ["20-bad.lua"] = "x =" }
      own:ctl "reload"
      local text = ask(("-c %s --control %s %s"):format(configure(), own.control, EMPTY))
      own:stop()
      assert_finds(text, "WRONG", "the last reload failed, and older scripts serve",
        ("ctl -c %s/moonmilter.conf reload"):format(directory))
    end)

    it("finds an open TCP port without an allow list", function()
      local text = ask(("-c %s -s inet:10025@0.0.0.0 %s"):format(configure(), EMPTY))
      assert_finds(text, "WRONG", "every machine that reaches this port can use the filters", "allow = {")
      text = ask(("-c %s -s inet:10025@0.0.0.0 %s"):format(configure 'allow = "192.0.2.0/24"\n', EMPTY))
      assert.is_nil(text:find("every machine that reaches", 1, true))
    end)

    it("finds our sockets even when no MTA names them", function()
      local own = host.start { workers = 0, scripts = PASS }
      local text = ask(("-c %s -s inet:%d -s unix:%s %s"):format(configure(), own.port, path, EMPTY))
      assert_finds(text, "note", ("inet:%d@127.0.0.1: no MTA here uses it"):format(own.port),
        "if an MTA elsewhere uses it")
      assert_finds(text, "ok", ("127.0.0.1 port %d: a process listens"):format(own.port))
      assert_finds(text, "ok", path .. ": a process listens")
      own:stop()
      text = ask(("-c %s -s inet:%d@0.0.0.0 -s unix:%s/none %s"):format(configure 'allow = "192.0.2.7"\n', own.port,
        directory, EMPTY))
      assert_finds(text, "WRONG", ("127.0.0.1 port %d: no process answers"):format(own.port), "start moonmilter")
      assert_finds(text, "WRONG", directory .. "/none: no process answers", "start moonmilter")
    end)

    it("notes settings that have a price", function()
      local priced = configure 'on_error = "accept"\nsocket_mode = "0666"\nover = "truncate"\n'
      local text = ask(("-c %s %s"):format(priced, EMPTY))
      assert_finds(text, "note", "on_error is \"accept\"", "on_error = \"tempfail\"")
      assert_finds(text, "note", "over is \"truncate\"", "over = \"reject\"")
      assert_finds(text, "note", "lets every user of this machine talk to the filters", "0660")
      text = ask("-s inet:10025 " .. EMPTY)
      assert_finds(text, "note", "workers is 0", "workers = \"auto\"")
      assert_finds(text, "note", "no control socket", "control = ")
    end)

    it("finds a configuration that does not load", function()
      local text, status = ask("-c " .. configure "lisen = 3\n")
      assert.matches("unknown key", text)
      assert.equal(78, status)
    end)
  end)

  describe("about Postfix:", function()
    if not process.which "postconf" then return pending "Postfix is not installed" end
    local postfix

    before_each(function()
      postfix = directory .. "/postfix"
      lfs.mkdir(postfix)
      lfs.mkdir(directory .. "/queue")
    end)

    local function write(settings, master)
      local lines = { "compatibility_level = 3.6\n", "queue_directory = " .. directory .. "/queue\n" }
      for name, value in pairs(settings) do lines[#lines + 1] = ("%s = %s\n"):format(name, value) end
      process.write_file(postfix .. "/main.cf", table.concat(lines))
      process.write_file(postfix .. "/master.cf", master or MASTER)
    end

    local function look(settings, master, lines, arguments, through)
      write(settings, master)
      return ask(("-c %s --postfix-config %s %s"):format(configure(lines), postfix, arguments or ""), through)
    end

    -- As the doctor says it for a configuration that is not Postfix's default.
    local function postconf(arguments) return ("postconf -c %s %s"):format(postfix, arguments) end

    local function ours(more)
      local settings = { smtpd_milters = "unix:" .. path }
      for name, value in pairs(more or {}) do settings[name] = value end
      return settings
    end

    it("finds nothing wrong in a sound configuration", function()
      local text, status = look(ours())
      assert_finds(text, "ok", "user postfix can connect")
      assert_finds(text, "ok", "milter_command_timeout of 30 s is longer than our stage_deadline of 8 s")
      assert.matches("Nothing is wrong", text)
      assert.equal(0, status)
    end)

    it("reports the same as JSON", function()
      local text, status = look(ours(), nil, nil, "--json")
      local all = cjson.decode(text)
      assert.equal(0, all.wrong)
      assert.equal(0, status)
      assert.is_true(#all.findings > 5)
      for _, finding in ipairs(all.findings) do assert.is_string(finding.part) end
    end)

    it("finds that no milter is configured, and one that is not ours", function()
      local text, status = look {}
      assert_finds(text, "WRONG", "no service names a socket of ours", postconf "-e 'smtpd_milters=unix:" .. path)
      assert.equal(78, status)
      text = look { smtpd_milters = "unix:" .. directory .. "/other" }
      assert_finds(text, "WRONG", "/other: no process answers", "start the filter that should listen there")
      assert_finds(text, "note", "we do not listen there")
      assert_finds(text, "WRONG", "no service names a socket of ours")
    end)

    it("finds that the MTA's user is not in the socket's group", function()
      if not IS_ROOT then pending "needs root" return end
      process.run(("chmod 660 %s; chgrp nogroup %s"):format(path, path))
      for _, through in ipairs { "", "setpriv --reuid=nobody --regid=nogroup --clear-groups" } do
        local text = look(ours(), nil, nil, nil, through)
        assert_finds(text, "WRONG", "user postfix may not connect (mode 0660, group nogroup)",
          'socket_group = "postfix"')
        assert.is_nil(text:find("-aG nogroup", 1, true), "nobody may be given the rights of every nobody")
      end
      process.run(("chgrp mail %s"):format(path))
      assert_finds(look(ours()), "WRONG", "user postfix may not connect (mode 0660, group mail)",
        "usermod -aG mail postfix")
      process.run(("chgrp postfix %s"):format(path))
      local text = look(ours())
      process.run(("chmod 666 %s; chgrp nogroup %s"):format(path, path))
      assert_finds(text, "ok", "user postfix can connect")
    end)

    it("finds a directory that the MTA's user may not enter", function()
      if not IS_ROOT then pending "needs root" return end
      process.run(("chmod 700 %s/run"):format(directory))
      local text = look(ours())
      process.run(("chmod 755 %s/run"):format(directory))
      assert_finds(text, "WRONG", "user postfix may not pass through this directory (mode 0700", "chmod o+x "
        .. directory .. "/run")
    end)

    it("finds a socket outside the chroot", function()
      local chroot = MASTER:gsub("n(%s+%-%s+%-%s+smtpd)", "y%1")
      local text = look(ours(), chroot)
      assert_finds(text, "WRONG", "smtp/inet runs in the chroot " .. directory .. "/queue and cannot see " .. path,
        postconf "-F smtp/inet/chroot=n")
    end)

    it("accepts a socket inside the chroot, with and without a leading slash", function()
      if not IS_ROOT then pending "needs root" return end
      local chroot = MASTER:gsub("n(%s+%-%s+%-%s+smtpd)", "y%1")
      lfs.mkdir(directory .. "/queue/milter")
      local inside = host.start { workers = 0, scripts = PASS, arguments = { "-s", "unix:" .. directory
        .. "/queue/milter/m.sock", "--socket_mode=0666" } }
      local where = ("-s unix:%s/queue/milter/m.sock"):format(directory)
      for _, name in ipairs { "unix:milter/m.sock", "unix:/milter/m.sock" } do
        local text = look({ smtpd_milters = name }, chroot, nil, where)
        assert_finds(text, "ok", "user postfix can connect, in the chroot " .. directory .. "/queue")
        assert.is_nil(text:find("WRONG", 1, true), text)
      end
      local text = look({ smtpd_milters = ("unix:%s/queue/milter/m.sock"):format(directory) }, chroot, nil, where)
      inside:stop()
      assert_finds(text, "WRONG", "cannot see", "smtpd_milters = unix:milter/m.sock")
    end)

    it("finds services that set their own milters", function()
      local master = MASTER .. "submission inet n - n - - smtpd\n  -o smtpd_milters=\n"
        .. "10026 inet n - n - - smtpd\n  -o smtpd_milters=inet:127.0.0.1:1\n"
        .. "smtps inet n - n - - smtpd\n  -o milter_command_timeout=5s\n"
      local text = look(ours(), master)
      assert_finds(text, "note", "submission/inet uses no milter: master.cf has -o smtpd_milters= for it")
      assert_finds(text, "WRONG", "127.0.0.1 port 1: no process answers")
      assert_finds(text, "WRONG", "milter_command_timeout of 5 s is not longer than our stage_deadline of 8 s",
        postconf "-P 'smtps/inet/milter_command_timeout=28s'")
    end)

    it("recognizes our TCP socket, one without a listener, and the other MTA's notation", function()
      local own = host.start { workers = 0, scripts = PASS }
      local text, status = look({ smtpd_milters = "inet:localhost:" .. own.port }, nil, nil, "-s inet:" .. own.port)
      own:stop()
      assert_finds(text, "ok", ("localhost port %d: a process listens"):format(own.port))
      assert.equal(0, status)
      text = look({ smtpd_milters = "inet:127.0.0.1:" .. own.port }, nil, nil, "-s inet:" .. own.port)
      assert_finds(text, "WRONG", "no process answers", "start moonmilter")
      text = look({ smtpd_milters = "inet:10025@127.0.0.1" }, nil, nil, "-s inet:10025")
      assert_finds(text, "WRONG", "does not name a milter", "smtpd_milters = inet:127.0.0.1:10025")
    end)

    it("finds time-outs of the MTA that end before ours", function()
      local text = look(ours { milter_command_timeout = "8s", milter_content_timeout = "4s",
        milter_connect_timeout = "1s" })
      assert_finds(text, "WRONG", "milter_command_timeout of 8 s is not longer than our stage_deadline",
        postconf "-e 'milter_command_timeout=28s'")
      assert_finds(text, "WRONG", "milter_content_timeout of 4 s is not longer than our progress_every")
      assert_finds(text, "WRONG", "milter_connect_timeout of 1 s is not longer than our cpu_slice")
      text = look({ smtpd_milters = ("{ unix:%s, command_timeout = 3s }"):format(path) })
      assert_finds(text, "WRONG", "milter_command_timeout of 3 s", "command_timeout=28s after unix:")
    end)

    it("says what happens to mail while the host is away", function()
      local text = look(ours { milter_default_action = "accept" })
      assert_finds(text, "WRONG", "mail passes unfiltered when we are down, but our on_error is \"tempfail\"",
        postconf "-e 'milter_default_action=tempfail'")
      text = look(ours { milter_default_action = "reject" })
      assert_finds(text, "WRONG", "mail bounces when we are down")
      text = look({ smtpd_milters = ("{ unix:%s, default_action=accept }"):format(path) })
      assert_finds(text, "WRONG", "mail passes unfiltered when we are down", "default_action=tempfail after unix:")
      local status
      text, status = look(ours { milter_default_action = "accept" }, nil, 'on_error = "accept"\n')
      assert_finds(text, "note", "as it does when a script fails")
      assert.equal(0, status)
    end)

    it("finds a protocol version that is too low, and a name that Postfix does not know", function()
      local text = look(ours { milter_protocol = "4", milter_macro_v = "Mail" })
      assert_finds(text, "WRONG", "milter_protocol is 4", postconf "-e 'milter_protocol=6'")
      assert_finds(text, "WRONG", "milter_macro_v is \"Mail\"", postconf "-X milter_macro_v")
    end)

    it("finds macros that the MTA does not send", function()
      process.write_file(directory .. "/30-macros.lua", [[
        function on_mail(ctx) return ctx:macro "auth_ssf" and ctx:macro "client_port" and nil end]])
      local function check(settings)
        write(ours(settings))
        return ask(("-c %s --postfix-config %s"):format(configure("", "30-macros.lua"), postfix))
      end
      local text = check()
      assert_finds(text, "note", "macro auth_ssf, which a script names, does not exist in Postfix")
      assert.is_nil(text:find("macro client_port", 1, true))
      text = check { milter_protocol = "4", milter_mail_macros = "i {mail_addr}", milter_connect_macros = "j" }
      assert_finds(text, "WRONG", "macro client_port, which a script names, is not in milter_",
        postconf "-e milter_protocol=6")
      assert_finds(text, "note", "ctx.auth is always nil", "add {auth_authen} to milter_mail_macros")
      assert_finds(text, "note", "v is not in milter_connect_macros", "add v to milter_connect_macros")
      assert.is_nil(text:find("macro j", 1, true)) -- no script names it
    end)

    it("says what breaks signatures, when a script signs", function()
      local seal = require "moonmilter.seal"
      process.write_file(directory .. "/40-sign.lua", ("local keys = require('moonmilter.identity.keys').new { ['example.org'] = { selector = 's', key = %q } }\n"
        .. "function on_eoh(ctx) ctx:sign(keys) end"):format(seal.new_key "ed25519"))
      local settings = ours { smtp_generic_maps = "hash:/etc/postfix/generic" }
      settings.smtpd_milters = settings.smtpd_milters .. ", inet:127.0.0.1:1"
      write(settings)
      local text = ask(("-c %s --postfix-config %s"):format(configure("", "40-sign.lua"), postfix))
      assert_finds(text, "note", "smtp/inet asks inet:127.0.0.1:1 after ours", "ours last in smtpd_milters")
      assert_finds(text, "note", "disable_mime_output_conversion is no",
        postconf "-e disable_mime_output_conversion=yes")
      assert_finds(text, "note", "smtp_generic_maps = hash:/etc/postfix/generic: replaces addresses")
      assert_finds(text, "note", "smtp_line_length_limit = 998", "fold = true")
      write(ours { disable_mime_output_conversion = "yes", smtp_line_length_limit = "0" })
      text = ask(("-c %s --postfix-config %s"):format(configure("", "40-sign.lua"), postfix))
      assert.is_nil(text:find("sign", 1, true) and text:find("signature", 1, true), text)
      write(settings)
      text = ask(("-c %s --postfix-config %s"):format(configure(""), postfix))
      assert.is_nil(text:find("signature", 1, true), text)
    end)

    it("reads the lists of macros, which hold where we do not ask", function()
      local function check(script, settings)
        process.write_file(directory .. "/30-macros.lua", script)
        write(ours(settings))
        return ask(("-c %s --postfix-config %s"):format(configure("", "30-macros.lua"), postfix))
      end
      local names = "function on_mail(ctx) return ctx:macro 'auth_type' and nil end"
      local text = check(names, { milter_mail_macros = "i {auth_authen}" })
      assert_finds(text, "WRONG", "macro auth_type, which a script names, is not in milter_mail_macros",
        "add {auth_type} to milter_mail_macros")
      assert.is_nil(text:find("ctx.auth is always nil", 1, true))
      assert.is_nil(check(names):find("macro auth_type", 1, true))
      text = check("function on_eom(ctx) ctx:insert_header(0, 'A', 'b') end", { milter_connect_macros = "j" })
      assert_finds(text, "ok", "recognized as Postfix by macro v")
      assert.is_nil(text:find("macro ", 1, true) and text:find("which a script names", 1, true))
      text = check("function on_eom(ctx) ctx:add_header('A', 'b') end", { milter_connect_macros = "j" })
      assert_finds(text, "note", "v is not in milter_connect_macros")
    end)

    it("notes the milters of mail that does not come by SMTP", function()
      local text = look(ours { non_smtpd_milters = "unix:" .. directory .. "/other" })
      assert_finds(text, "note", "cleanup/unix names unix:" .. directory .. "/other")
    end)

    it("reports that there is no Postfix in the given directory", function()
      local text, status = ask(("-c %s --postfix-config %s/none"):format(configure(), directory))
      assert.matches("prints nothing; name the directory of main.cf", text)
      assert.equal(66, status)
    end)
  end)

  describe("about Sendmail:", function()
    local function look(lines, ours, arguments)
      local file = process.write_file(directory .. "/sendmail.cf", lines)
      return ask(("-c %s --sendmail-cf %s %s"):format(configure(ours), file, arguments or ""))
    end
    local function line(more, used)
      return ("O InputMailFilters=%s\nXfirst, S=unix:%s%s\n"):format(used or "first", path, more
        or ", F=T, T=C:1m;S:10s;R:10s;E:5m")
    end

    it("finds nothing wrong in a sound configuration", function()
      local text, status = look(line())
      assert_finds(text, "ok", "user root can connect")
      assert_finds(text, "ok", "filter first, F=T")
      assert_finds(text, "ok", "T=R of 10 s is longer than our stage_deadline of 8 s")
      assert.is_nil(text:find("WRONG", 1, true), text)
      assert.equal(0, status)
    end)

    it("finds that no filter is defined, one that is not used, and one that is not ours", function()
      assert_finds(look "O QueueDirectory=/tmp\n", "WRONG", "no X line names a socket of ours",
        "INPUT_MAIL_FILTER(`moonmilter'")
      assert_finds(look(line(nil, "other")), "WRONG", "O InputMailFilters does not name it", "confINPUT_MAIL_FILTERS")
      local text = look(("Xother, S=local:%s/other\n"):format(directory))
      assert_finds(text, "note", "we do not listen there")
    end)

    it("finds a missing F=, and F=R", function()
      assert_finds(look(line ""), "WRONG", "filter first without F=: mail passes unfiltered when we are down", "F=T")
      assert_finds(look(line ", F=R"), "WRONG", "filter first, F=R: mail bounces when we are down")
    end)

    it("finds time-outs of the MTA that end before ours", function()
      local text = look(line ",\n\tF=T, T=C:1s;S:1s;R:4s;E:2m")
      for _, what in ipairs { "T=C of 1 s is not longer than our cpu_slice",
        "T=S of 1 s is not longer than our cpu_slice", "T=R of 4 s is not longer than our stage_deadline",
        "T=R of 4 s is not longer than our progress_every",
        "T=E of 120 s is not longer than our eom_deadline" } do
        assert_finds(text, "WRONG", what, "INPUT_MAIL_FILTER(`first'")
      end
    end)

    it("finds a directory that others may write to, and a link", function()
      process.run(("chmod 775 %s/run"):format(directory))
      local text = look(line())
      process.run(("chmod 755 %s/run"):format(directory))
      assert_finds(text, "WRONG", directory .. "/run: its group may write here, so Sendmail refuses", "chmod go-w "
        .. directory .. "/run")
      process.run(("ln -sf %s %s/link"):format(path, directory))
      text = look(("O InputMailFilters=first\nXfirst, S=unix:%s/link, F=T\n"):format(directory))
      assert_finds(text, "WRONG", "is a symbolic link: Sendmail refuses it")
    end)

    it("says what breaks signatures, when a script signs", function()
      local seal = require "moonmilter.seal"
      process.write_file(directory .. "/40-sign.lua", ("local keys = require('moonmilter.identity.keys').new { ['example.org'] = { selector = 's', key = %q } }\n"
        .. "function on_eoh(ctx) ctx:sign(keys) end"):format(seal.new_key "ed25519"))
      local file = process.write_file(directory .. "/sendmail.cf", ("DMexample.org\n"
        .. "Kgenerics hash -o /etc/mail/genericstable\nO SevenBitInput=True\nO InputMailFilters=first, second\n"
        .. "Xfirst, S=unix:%s, F=T\nXsecond, S=inet:1@127.0.0.1, F=T\n"):format(path))
      local text = ask(("-c %s --sendmail-cf %s"):format(configure("", "40-sign.lua"), file))
      assert_finds(text, "note", "MASQUERADE_AS is example.org", "MASQUERADE_EXCEPTION")
      assert_finds(text, "note", "genericstable: Sendmail replaces addresses")
      assert_finds(text, "note", "SevenBitInput is True")
      assert_finds(text, "note", "filter second is asked after ours", "first last in INPUT_MAIL_FILTER")
      text = ask(("-c %s --sendmail-cf %s"):format(configure(""), file))
      assert.is_nil(text:find("signature", 1, true), text)
    end)

    it("finds Postfix's notation of host and port", function()
      local text = look("O InputMailFilters=first\nXfirst, S=inet:127.0.0.1:10025, F=T\n", nil, "-s inet:10025")
      assert_finds(text, "WRONG", "does not name a milter: Sendmail writes inet:PORT@HOST")
    end)

    it("finds a user that the daemon runs as", function()
      if not IS_ROOT then pending "needs root" return end
      process.run(("chmod 660 %s"):format(path))
      local text = look("O RunAsUser=nobody:nogroup\n" .. line())
      local other = look("O RunAsUser=mail\n" .. line())
      process.run(("chmod 666 %s"):format(path))
      assert_finds(text, "ok", "user nobody can connect")
      assert_finds(other, "WRONG", "user mail may not connect")
    end)
  end)
end)
