--- Real servers for the specs of pgsql:, mysql: and ldap: maps: on loopback, with their own data, as the users of their
--- packages and never as root. Each has port, start(), kill(), stop() (all its processes stand still), go_on() and
--- close().
local process = require "spec.support.process"
local posix_unistd = require "posix.unistd"

local databases = {}

local IS_ROOT = posix_unistd.geteuid() == 0

-- Without what make asan and make one-byte preload: PostgreSQL's programs hang in it.
local CLEAN = "env -u LD_PRELOAD "

--- The beginning of a command that runs it as this user.
local function as(user)
  if not IS_ROOT then
    return { "env", "-u", "LD_PRELOAD" }
  end
  return { "env", "-u", "LD_PRELOAD", "setpriv", "--reuid=" .. user, "--regid=" .. user, "--clear-groups", "--" }
end

local function shell(user, command)
  return process.run(table.concat(as(user), " ") .. " " .. command)
end

local function directory_for(user)
  local directory = process.directory()
  if IS_ROOT then
    process.run(("chown %s %s"):format(user, directory))
  end
  return directory
end

--- Certificates that the server may read, in tls/ of its directory: ca.pem; good.pem for localhost and 127.0.0.1,
--- wrong.pem for another name; other/ca.pem knows neither.
local function make_certificates(directory, user)
  local tls = directory .. "/tls"
  process.run(("mkdir -p %s/other && sh spec/async/certificates %s && sh spec/async/certificates %s/other"):format(tls,
    tls, tls))
  process.run(("chmod 600 %s/*.key; %s"):format(tls, IS_ROOT and ("chown -R %s %s"):format(user, tls) or ":"))
end

-- Debian keeps the programs of each version apart.
local function pgsql_program(name)
  local path = process.run "ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1":match "%S+"
  return path .. "/" .. name
end

local Server = {}
Server.__index = Server

function Server:stop() process.kill_tree(self.child:pid(), "SIGSTOP") end
function Server:go_on() process.kill_tree(self.child:pid(), "SIGCONT") end

--- Ends it at once, as a crash does.
function Server:kill()
  process.kill_tree(self.child:pid(), "SIGKILL")
  self.child:stop(true)
end

--- Ends it as an administrator does.
function Server:shut_down()
  self.child:signal(self.shutdown_signal)
  assert(process.wait_until(20, function() return not self.child:running() end, "the end of the server"))
end

function Server:start()
  local argv = as(self.user)
  for _, word in ipairs(self.argv) do
    argv[#argv + 1] = word
  end
  self.child = process.start(argv, { output = self.directory .. "/log", grace = 1 })
  assert(process.wait_until(30, function()
    if not self.child:running() then
      error("the server has ended:\n" .. self.child:text(), 0)
    end
    return self:is_up()
  end, "the server"))
end

function Server:close()
  if self.child:running() then
    self:go_on()
    self.child:stop(true)
  end
  process.run("rm -rf " .. self.directory)
end

-- ---- PostgreSQL ----

local Pgsql = setmetatable({}, { __index = Server })
Pgsql.__index = Pgsql

function Pgsql:psql(sql)
  local path = process.write_file(self.directory .. "/sql", sql)
  return process.run((CLEAN .. "PGPASSWORD=owner-secret psql -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p %d -U owner "
    .. "-f %s mail"):format(self.port, path))
end

function Pgsql:is_up()
  return os.execute((CLEAN .. "pg_isready -q -h 127.0.0.1 -p %d -U owner -d postgres"):format(self.port)) == 0
end

--- A PostgreSQL server with a database `mail`, an owner, and a user `reader` whose password is "reader's \secret".
function databases.pgsql()
  local user = "postgres"
  local directory = directory_for(user)
  local self = setmetatable({ user = user, directory = directory, port = process.free_port(),
    shutdown_signal = "SIGINT" }, Pgsql)
  process.write_file(directory .. "/password", "owner-secret")
  shell(user, ("%s -D %s/data -U owner -A scram-sha-256 --pwfile=%s/password -E UTF8 --locale=C --no-sync"):format(
    pgsql_program "initdb", directory, directory))
  self.argv = { pgsql_program "postgres", "-D", directory .. "/data", "-p", tostring(self.port), "-c",
    "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" .. directory, "-c", "fsync=off", "-c",
    "max_connections=40", "-c", "ssl=on", "-c", "ssl_cert_file=" .. directory .. "/tls/good.pem", "-c",
    "ssl_key_file=" .. directory .. "/tls/good.key" }
  make_certificates(directory, user)
  self:start()
  process.run((CLEAN .. "PGPASSWORD=owner-secret createdb -h 127.0.0.1 -p %d -U owner mail"):format(self.port))
  self:psql [[CREATE USER reader PASSWORD 'reader''s \secret']]
  return self
end

-- ---- MariaDB ----

local Mysql = setmetatable({}, { __index = Server })
Mysql.__index = Mysql

function Mysql:mysql(sql, database)
  local path = process.write_file(self.directory .. "/sql", sql)
  return process.run((CLEAN .. "mariadb --no-defaults -N -B -h 127.0.0.1 -P %d -u owner -powner-secret %s <%s"):format(
    self.port, database or "mail", path))
end

function Mysql:is_up()
  return os.execute((CLEAN .. "mariadb-admin --no-defaults -h 127.0.0.1 -P %d -u owner -powner-secret ping >/dev/null "
    .. "2>&1"):format(self.port)) == 0
end

--- A MariaDB server with a database `mail`, an owner, and a user `reader` whose password is "reader's \secret".
function databases.mysql()
  local user = "mysql"
  local directory = directory_for(user)
  local self = setmetatable({ user = user, directory = directory, port = process.free_port(),
    socket = directory .. "/sock", shutdown_signal = "SIGTERM" }, Mysql)
  shell(user, ("mariadb-install-db --no-defaults --datadir=%s/data --auth-root-authentication-method=normal "
    .. "--skip-test-db --innodb-flush-log-at-trx-commit=0"):format(directory))
  process.write_file(directory .. "/init", [[
    CREATE DATABASE IF NOT EXISTS mail CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
    CREATE USER IF NOT EXISTS 'owner'@'%' IDENTIFIED BY 'owner-secret';
    GRANT ALL ON *.* TO 'owner'@'%' WITH GRANT OPTION;
    CREATE USER IF NOT EXISTS 'reader'@'%' IDENTIFIED BY 'reader''s \\secret';
  ]])
  self.argv = { process.which "mariadbd", "--no-defaults", "--datadir=" .. directory .. "/data", "--port=" .. self.port,
    "--bind-address=127.0.0.1,127.0.0.2", "--socket=" .. self.socket, "--skip-name-resolve",
    "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
    "--pid-file=" .. directory .. "/pid",
    "--init-file=" .. directory .. "/init", "--plugin-maturity=unknown", "--ssl-cert=" .. directory .. "/tls/good.pem",
    "--ssl-key=" .. directory .. "/tls/good.key" }
  make_certificates(directory, user)
  self:start()
  return self
end

-- ---- OpenLDAP ----

local Ldap = setmetatable({}, { __index = Server })
Ldap.__index = Ldap

function Ldap:is_up()
  return os.execute((CLEAN .. "ldapsearch -x -H ldap://127.0.0.1:%d -s base -b '' >/dev/null 2>&1"):format(
    self.port)) == 0
end

--- Adds or changes entries, as the administrator; LDIF.
function Ldap:add(ldif, program)
  local path = process.write_file(self.directory .. "/ldif", ldif)
  return process.run((CLEAN .. "%s -x -H ldap://127.0.0.1:%d -D cn=admin,dc=example -w owner-secret -f %s"):format(
    program or "ldapadd", self.port, path))
end

--- An OpenLDAP server of dc=example. Only cn=reader, whose password is "reader-secret", and the administrator may read.
function databases.ldap()
  local user = "openldap"
  local directory = directory_for(user)
  local self = setmetatable({ user = user, directory = directory, port = process.free_port(),
    shutdown_signal = "SIGTERM" }, Ldap)
  self.socket, self.tls_port = directory .. "/sock", process.free_port()
  shell(user, "mkdir " .. directory .. "/data")
  process.write_file(directory .. "/slapd.conf", ([[
    include /etc/ldap/schema/core.schema
    include /etc/ldap/schema/cosine.schema
    include /etc/ldap/schema/inetorgperson.schema
    include /etc/ldap/schema/dyngroup.schema
    modulepath /usr/lib/ldap
    moduleload back_mdb
    pidfile %s/pid
    TLSCertificateFile %s/tls/good.pem
    TLSCertificateKeyFile %s/tls/good.key
    threads 4
    database mdb
    maxsize 268435456
    suffix "dc=example"
    rootdn "cn=admin,dc=example"
    rootpw owner-secret
    directory %s/data
    dbnosync
    index mail,uid eq
    access to attrs=userPassword by anonymous auth by * none
    access to * by dn.base="cn=reader,dc=example" read by anonymous auth by * none
  ]]):gsub("\n +", "\n"):gsub("^ +", ""):format(directory, directory, directory, directory))
  make_certificates(directory, user)
  self.argv = { process.which "slapd", "-d", "0", "-f", directory .. "/slapd.conf", "-h",
    ("ldap://127.0.0.1:%d ldap://127.0.0.2:%d ldaps://127.0.0.1:%d ldapi://%s"):format(self.port, self.port,
      self.tls_port, (self.socket:gsub("/", "%%2F"))) }
  self:start()
  self:add [[
dn: dc=example
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: cn=reader,dc=example
objectClass: person
cn: reader
sn: reader
userPassword: reader-secret
]]
  return self
end

return databases
