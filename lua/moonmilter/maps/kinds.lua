--- Kinds of maps: what stands before the ":" of a spec, and which module opens it.
--
-- module: below moonmilter.maps. folds: keys are looked up in lower case, as Postfix does for tables of fixed strings.
-- whole: the key is always given whole, never a part of an address (regexp_table(5), tcp_table(5)). path: the argument
-- names a file; relative names start at the directory of the script. parameters: what would be in the file may be an
-- option. asks: a service is asked, so a lookup waits. fetched: not the lookup
-- asks, but what fetches the whole list.
local kinds = {
  -- in the spec itself
  inline = { module = "inline", folds = true },
  static = { module = "static" },
  -- files that are read whole
  texthash = { module = "file", folds = true, path = true },
  list = { module = "file", folds = true, path = true },
  csv = { module = "file", folds = true, path = true },
  json = { module = "file", folds = true, path = true },
  cidr = { module = "file", whole = true, path = true },
  regexp = { module = "file", whole = true, path = true },
  pcre = { module = "file", whole = true, path = true },
  -- databases in files
  hash = { module = "file", folds = true, path = true },
  btree = { module = "file", folds = true, path = true },
  cdb = { module = "file", folds = true, path = true },
  lmdb = { module = "file", folds = true, path = true },
  sqlite = { module = "sql", folds = true, path = true, parameters = true, asks = true },
  -- files of a web server; keys are those of the format
  https = { module = "https", asks = true, fetched = true },
  -- services
  socketmap = { module = "socketmap", whole = true, asks = true },
  tcp = { module = "tcp", whole = true, asks = true },
  redis = { module = "redis", folds = true, asks = true },
  dns = { module = "dns", folds = true, asks = true },
  pgsql = { module = "sql", folds = true, path = true, parameters = true, asks = true },
  mysql = { module = "sql", folds = true, path = true, parameters = true, asks = true },
  ldap = { module = "ldap", folds = true, path = true, parameters = true, asks = true },
}

return kinds
