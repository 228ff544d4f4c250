--- pgsql:/path, mysql:/path and sqlite:/path: a query for each key, as in pgsql_table(5), mysql_table(5) and
--- sqlite_table(5). The value is made of all rows and columns, of SQLite the first column: each in result_format,
--- joined by commas; NULL and empty ones are left out, and when nothing is left, the key is not there.
local database = require "moonmilter.maps.database"
local domains = require "moonmilter.maps.domains"
local parameters = require "moonmilter.maps.parameters"
local quotes = require "moonmilter.maps.quotes"
local template = require "moonmilter.maps.template"

local sql = {}

-- Parameters of both; false: Postfix has it, and it has no effect here.
local KNOWN = {
  hosts = true, user = true, password = true, dbname = true, query = true, result_format = true, domain = true,
  expansion_limit = true, table = true, select_field = true, where_field = true, additional_conditions = true,
  idle_interval = false, retry_interval = false,
}

local KINDS = {
  pgsql = {
    port = 5432, hosts = "localhost",
    known = { select_function = true, encoding = false, sslmode = true, sslrootcert = true, sslcert = true,
      sslkey = true },
    settings = { user = "user", password = "password", dbname = "dbname", sslmode = "sslmode",
      sslrootcert = "sslrootcert", sslcert = "sslcert", sslkey = "sslkey" },
  },
  mysql = {
    port = 3306, hosts = "localhost", localhost = "/run/mysqld/mysqld.sock",
    known = { option_file = false, option_group = false, require_result_set = false, charset = false,
      tls_cert_file = true, tls_key_file = true, tls_CAfile = true, tls_CApath = true, tls_ciphers = true,
      tls_verify_cert = true, tls = true },
    settings = { user = "user", password = "password", dbname = "dbname", tls = "tls", tls_cert_file = "tls_cert_file",
      tls_key_file = "tls_key_file", tls_CAfile = "tls_CAfile", tls_CApath = "tls_CApath", tls_ciphers = "tls_ciphers",
      tls_verify_cert = "tls_verify_cert" },
    switches = { "tls", "tls_verify_cert" },
  },
  sqlite = { known = { dbpath = true }, settings = {} },
}

local Source = database.source_class()

-- Rows to the value.
local function joined(self, rows, parts)
  local values = {}
  for _, row in ipairs(rows) do
    for _, value in ipairs(row) do
      local text = value and value ~= "" and self.templates:format(self.result_format, value, parts)
      if text then
        values[#values + 1] = text
      end
      if self.limit > 0 and #values > self.limit then
        return nil, ("more than %d results (expansion_limit)"):format(self.limit), "bad_answer"
      end
    end
  end
  local value = table.concat(values, ",")
  return value ~= "" and value or nil
end

---@return string? value, string? text, string? code
function Source:get(key)
  if key == "" or not database.can_hold(key) or not self.domains:has(key) then
    return nil
  end
  local parts = self.templates:parts_of(key)
  if not parts then
    return nil
  end
  local rows, text, code = self.database:ask(template.fill(self.query, parts))
  if not rows then
    return nil, text, code
  end
  return joined(self, rows, parts)
end

-- The query, or one that is made of the parameters that were before it.
local function query_of(p)
  local query, call = p:text "query", p:text "select_function"
  if query then
    return query
  elseif call then
    return ("SELECT %s('%%s')"):format(call)
  end
  local words = {}
  for i, name in ipairs { "select_field", "table", "where_field" } do
    words[i] = p:text(name)
    if not words[i] then
      error(("%s: query is missing"):format(p.name), 0)
    end
  end
  return ("SELECT %s FROM %s WHERE %s='%%s' %s"):format(words[1], words[2], words[3],
    p:text("additional_conditions", ""))
end

local function servers_of(p, row)
  if row.known.dbpath then
    local path = p:text "dbpath"
    if not path or path:sub(1, 1) ~= "/" then
      error(("%s: dbpath is %s; give the absolute path of the database"):format(p.name, path or "missing"), 0)
    end
    return { { path = path, port = 1 } }
  end
  local servers = {}
  for i, word in ipairs(p:words("hosts", row.hosts)) do
    if row.localhost and word:gsub("^inet:", "") == "localhost" then -- as MySQL's libraries do
      word = row.localhost
    end
    servers[i] = database.server(word, row.port)
    if not servers[i] then
      error(("%s: hosts: number %d is no server; write unix:/path, host or host:port, and not a URI"):format(p.name,
        i), 0)
    end
  end
  return servers
end

-- Names and values in turn. Parameters of TLS ask for TLS, unless tls says otherwise.
local function settings_of(p, row)
  local settings, asks_for_tls = {}, false
  for name, setting in pairs(row.settings) do
    local value = p:text(name)
    if value then
      settings[#settings + 1] = setting
      settings[#settings + 1] = value
      asks_for_tls = asks_for_tls or (name:find "^tls_" ~= nil and value ~= "no")
    end
  end
  for _, name in ipairs(row.switches or {}) do
    p:is(name)
  end
  if asks_for_tls and not p:text "tls" then
    settings[#settings + 1] = "tls"
    settings[#settings + 1] = "yes"
  end
  return settings
end

local function known_of(row)
  local known = {}
  for _, names in ipairs { KNOWN, row.known } do
    for name, has_effect in pairs(names) do
      known[name] = has_effect
    end
  end
  return known
end

--- Opens it; raises a text.
---@param argument string  a path, or ""
---@param options { kind: "pgsql"|"mysql"|"sqlite", parameters: table?, timeout: number?, pool_size: integer? }
function sql.open(argument, options)
  local row = KINDS[options.kind]
  local p = parameters.open(argument, options, known_of(row), { "password" })
  local templates = template.new()
  local query = query_of(p)
  quotes.check(query, options.kind)
  return setmetatable({
    templates = templates, query = templates:parse(query, "query", "query"),
    result_format = templates:parse(p:text("result_format", "%s"), "result", "result_format"),
    domains = domains.new(p:words "domain"), limit = p:number("expansion_limit", 0),
    database = database.open(options.kind, servers_of(p, row), settings_of(p, row), options),
  }, Source)
end

return sql
