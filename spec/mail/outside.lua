--- The functions of the Lua modules that read text from outside, found by reading the modules: for linear_spec.
---
--- Modules load without a host, with a `moonmilter.core` whose functions do nothing. A function has a row below, which
--- runs it on a text; or it is the same function under another name; or it is named as one that reads no such text.
local lfs = require "lfs"

local outside = {}

-- ---- the modules ----

-- A table whose every member is such a table, and whose call gives nothing.
local nothing = {}
local function empty()
  return setmetatable({}, nothing)
end
nothing.__index = function(self, name)
  local made = empty()
  rawset(self, name, made)
  return made
end
nothing.__call = function() end

local core = setmetatable({ now = os.time, timeout_of = {} }, nothing)
core.socket = setmetatable({ is_address = function() return false end }, nothing)
package.loaded["moonmilter.core"] = core

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- name -> function, or true for a method; "mail.path.parse", "mime Walker:body"
local function functions()
  local found = {}
  local function add(name, value)
    for key, member in pairs(value) do
      if type(key) == "string" and type(member) == "function" then
        found[name .. "." .. key] = member
      end
    end
  end
  for _, folder in ipairs { "", "mail/", "identity/", "maps/", "net/", "runtime/" } do
    for entry in lfs.dir("lua/moonmilter/" .. folder) do
      local file = entry:match "^(.*)%.lua$"
      if file then
        local name = (folder .. file):gsub("/", ".")
        local module = require("moonmilter." .. name)
        if type(module) == "table" then
          add(name, module)
          for key, member in pairs(module) do
            if type(member) == "table" and type(key) == "string" then
              add(name .. "." .. key, member)
            end
          end
        end
        local source = read_file("lua/moonmilter/" .. folder .. file .. ".lua")
        for class, method in source:gmatch "\nfunction (%a+):([%w_]+)" do
          found[("%s %s:%s"):format(name, class, method)] = true
        end
      end
    end
  end
  add("codec", require "moonmilter.codec")
  add("seal", require "moonmilter.seal")
  return found
end

-- ---- what reads no text from outside, and why ----

local silent = {
  -- a script's words, checked against a list or passed to the host
  "runtime.chunk.* runtime.coroutines.* runtime.edits.* runtime.entry.* runtime.environment.* runtime.loader.*",
  "runtime.macros.* runtime.members.* runtime.modules.* runtime.options.* runtime.plan.* runtime.script.*",
  "runtime.prompt.* runtime.shadow.* runtime.lookup.* runtime.settings.* store.* limit.* greylist.* metric.*",
  -- a script's options and values; of a receiver's answer, which http bounds, a few words and a field of 64 bytes
  "event.* event_Sink:* net.receiver.* net.receiver_Web:* net.receiver_File:* net.receiver_Stream:*",
  -- the source of a script, which is trusted
  "runtime.tokens.* runtime.syntax.* runtime.flow.* runtime.lint.* runtime.remedy.*",
  "runtime.tasks.* runtime.wait.* init.* init.log.* timer.* process.run log.* dns.* body.check_options",
  -- the host hashes; the host searches, within limits of time
  "hash.sha1 hash.sha256 hash.sha512 hash.hmac hash.equal hash.random re.* re_Pattern:* re_Set:*",
  -- the host reads addresses and files; bounded in C (host/map/geo.h)
  "geo.open geo_Geo:*",
  -- addresses that the host has read from DNS, a script's zones
  "net.listing.* net.lists.* net.lists_Lists:* net.lists_Listed:*",
  -- the host sends and receives; what is received reaches a script as it is, or net.resp and net.http_head
  "socket.* net.datagram.* net.luasec.* net.luasocket.* redis.* http.* net.question.*",
  -- keys are looked up as they are, specs are those of a script; the row of maps.address.keys splits mailboxes
  "map.* map_Map:* map_Leaf:* maps.address.networks maps.spec.* maps.chain.* maps.chain_Chain:* maps.cached.*",
  "maps.cached_Cached:* maps.inline.* maps.inline_Source:* maps.static.* maps.static_Source:*",
  -- answers of services, of at most 100000 bytes
  "maps.service.* maps.service_Service:* maps.service_Reader:* maps.socketmap.* maps.socketmap_Source:* maps.tcp.*",
  "maps.tcp_Source:* maps.redis.* maps.redis_Source:* maps.dns.* maps.dns_Source:*",
  -- files of the administrator, and keys of at most 65536 bytes that templates put into a question
  "maps.file.* maps.file_Source:* maps.https.* maps.opened.* maps.https_Source:* maps.sql.* maps.sql_Source:*",
  "maps.ldap.* maps.ldap_Source:* maps.asked.* maps.asked_Asked:*",
  "maps.database.* maps.database_Database:* maps.domains.* maps.domains_Domains:*",
  "maps.parameters.* maps.parameters_Parameters:* maps.quotes.* maps.template.* maps.template_Templates:*",
  -- options of a script; replies that net.resp has read: lists of servers, slots, messages of channels
  "net.cluster.* net.sentinel.* net.subscription.* net.redis_node.* net.redis_options.* net.redis_room.*",
  "net.resp.error net.resp.value net.key_slot.name_in net.key_slot.is_of_one_server",
  -- a list and its fields, walked or changed, whatever they say
  "mail.fields.list_metatable.* runtime.headers.list_metatable.* mail.fields_Headers:* mail.block_Field:* mail.block_Block:* runtime.headers_Field:*",
  "runtime.headers.field_metatable.*",
  "runtime.kept_body.*",
  -- names that identity.author has read, and answers; the row of dmarc.check reads them
  "identity.tree.new identity.tree_Tree:* identity.policy.wanted",
  -- the rows of spf, dkim, dmarc, identity.row and identity.stamp read them
  "auth.*",
  -- files of the administrator, and the message as the host keeps it; author and dkim read the fields
  "identity.keys.* identity.leaving.* identity.received.* identity.signing.*",
  -- bytes go through, or are counted
  "body_Body:restart body_Body:finish body_Body:size body_Body:close mail.parts.through mail.parts.collect",
  "mail.rewrite_Edit:header_changes mail.rewrite_Edit:apply mail.rewrite.of codec.decoder codec.encoder seal.new_key",
  -- options of a script; keys by name; numbers; lower-case names that signature.read has checked
  "dkim.signer dkim_Signer:* identity.keyrecord.fetch identity.evidence.* identity.recent.* identity.recent_Recent:*",
  "identity.signature.time_fault identity.signature.is_within identity.signed.header identity.signed_SignedHeader:*",
  -- tokens that mail.token has made; the row of address.list reads them
  "mail.addrspec.*",
  -- an address that was read, and a session, whose facts spf.check reads
  "identity.ip.unmapped identity.ip.is_within identity.ip.format identity.ip.dotted identity.ip.reverse_name",
  "spf.mailfrom spf.helo",
  -- a chain that was read, and a message of the host
  "arc.trusted identity.sealing.*",
  -- parts that mime has found
  "mail.displayed.*",
  -- networks that a script names
  "json.array cidr.set cidr_Network:covers cidr_Set:remove cidr_Set:count",
  -- numbers
  "datetime.format mail.bound.fault identity.time_left.of",
}

local is_silent = {}
for _, line in ipairs(silent) do
  for name in line:gmatch "%S+" do
    is_silent[name:gsub("_(%u)", " %1")] = true
  end
end

-- "socket.connect" is in "socket.*", "mime Walker:body" in "mime Walker:*" and "mime.*".
local function reads_nothing(name)
  local module, class = name:match "^(%S+) (%u?%l+%u?%l*):"
  return is_silent[name] or is_silent[name:gsub("[%w_]+$", "*")]
    or module ~= nil and (is_silent[module .. "." .. "*"] or is_silent[module .. " " .. class .. ":*"])
end

-- ---- the rows ----

local address = require "moonmilter.address"
local arc = require "moonmilter.arc"
local dns_name = require "moonmilter.identity.dns_name"
local ip = require "moonmilter.identity.ip"
local map_address = require "moonmilter.maps.address"
local spf = require "moonmilter.spf"
local spf_macro = require "moonmilter.identity.spf_macro"
local spf_record = require "moonmilter.identity.spf_record"
local authres = require "moonmilter.authres"
local body = require "moonmilter.body"
local bound = require "moonmilter.mail.bound"
local charset = require "moonmilter.charset"
local json = require "moonmilter.json"
local cidr = require "moonmilter.cidr"
local codec = require "moonmilter.codec"
local seal = require "moonmilter.seal"
local dkim = require "moonmilter.dkim"
local keyrecord = require "moonmilter.identity.keyrecord"
local signature = require "moonmilter.identity.signature"
local author = require "moonmilter.identity.author"
local dmarc = require "moonmilter.dmarc"
local policy = require "moonmilter.identity.policy"
local taglist = require "moonmilter.identity.taglist"
local row_of = require("moonmilter.identity.row").of
local stamp = require "moonmilter.identity.stamp"
local tree = require "moonmilter.identity.tree"
local datetime = require "moonmilter.datetime"
local encoded_word = require "moonmilter.encoded_word"
local hash = require "moonmilter.hash"
local header = require "moonmilter.header"
local host_name = require "moonmilter.net.host_name"
local http_head = require "moonmilter.net.http_head"
local key_slot = require "moonmilter.net.key_slot"
local kind = require "moonmilter.mail.kind"
local lpeg = require "lpeg"
local html_end = require "moonmilter.mail.html_end"
local mime = require "moonmilter.mime"
local parts = require "moonmilter.mail.parts"
local resp = require "moonmilter.net.resp"
local scan = require "moonmilter.scan"
local token = require "moonmilter.mail.token"
local word = require "moonmilter.mail.word"
local transfer = require "moonmilter.mail.transfer"

local STRICT = { mode = "strict" }

local ARC_KEY = seal.private_key(seal.new_key "ed25519")

local function one_line(text)
  return (text:gsub("%c", " "))
end

-- What header.parse() has read, changed so that format() writes it anew.
local function rewritten(name)
  return function(text)
    local parsed = header.parse(name, text)
    if parsed then
      parsed.raw = nil
      pcall(header.format, name, parsed) -- raises on what no field may hold
    end
  end
end

local function walk(text, options, size)
  local walker = mime.walker(options)
  for at = 1, #text, size do
    walker:body(text:sub(at, at + size - 1))
  end
  walker:eom()
end

local MULTIPART = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n"

local function kept(text, fields)
  local made = body.new { headers = header.block(fields), max_memory = 1000 }
  made:feed(text)
  made:finish()
  return made
end

local function pieces_of(text, size)
  local at = 1
  return function()
    local piece = text:sub(at, at + size - 1)
    at = at + size
    return piece ~= "" and piece or nil
  end
end

-- A reader of net.resp over a text.
local function reader_of(text)
  local at = 1
  local function take(first, last, after)
    if not last or last > #text then
      return nil, "closed", "closed"
    end
    at = after
    return text:sub(first, last)
  end
  return {
    line = function()
      local line_end = text:find("\r\n", at, true)
      return take(at, line_end and line_end - 1, line_end and line_end + 2)
    end,
    bytes = function(n) return take(at, at + n - 1, at + n) end,
  }
end

local scanner = scan.new({ x = lpeg.P "a" ^ 1 * "b", aaaa = "aaaaab", id = "<a@b>" },
  { window = 64, max_matches = 1e9 })

local networks = cidr.set { "10.0.0.0/8" }

-- name -> { function(text), heads... }: the text may begin with any of the heads, by default with none
local rows = {
  ["address.parse"] = { function(text) address.parse(text) address.parse(text, STRICT) end, "", "a@b ", "x <", "\"",
    "=?utf-8?q?", "\27$B", "a\"@,", "(" },
  ["address.list"] = { function(text) address.list(text) end, "", "g: ", "<@a", "\"@,\"(" },
  ["address.list "] = { function(text) address.list(text, STRICT) end },
  ["address.mailboxes"] = { function(text) address.mailboxes(text) end },
  ["address.path"] = { function(text) address.path(text) address.path(text, STRICT) end, "", "<", "<@a:", "a@" },
  ["address.format"] = { function(text)
    address.format { name = one_line(text), address = "a@b.example" }
    pcall(address.format, { local_part = text, domain = "b.example" }) -- raises on control characters
    pcall(address.format, { address = text })
  end },
  ["address.format_list"] = { function(text) address.format_list(address.mailboxes(text) or {}) end, "", "a@b," },
  ["address.same"] = { function(text)
    address.same({ local_part = text, domain = text }, { local_part = text, domain = text:upper() })
  end },
  ["address.same_domain"] = { function(text) address.same_domain(text, "b.example") end, "", "ü" },
  ["address.domain_to_ascii"] = { function(text) address.domain_to_ascii(text) end, "", "ü" },
  ["address.domain_to_unicode"] = { function(text) address.domain_to_unicode(text) end, "", "xn--" },
  ["authres.parse"] = { function(text) authres.parse(text) end, "", "mx; ", "mx; a=b ", "mx; a=b c.d=", "mx 1; a (",
    "mx; a=b reason=" },
  ["authres.claims"] = { function(text) authres.claims(text, "mx.example") end, "", "(", "mx.example", "=?utf-8?q?",
    "(()", "i=1 ", "%20(()=?a?b?" },
  ["authres.strip"] = { function(text)
    local edit = { delete = function() end }
    local field = header.field { name = "Authentication-Results", value = text, edit = edit }
    authres.strip({ field }, { "mx.example", "b" })
  end },
  ["authres.format"] = { function(text)
    local value = one_line(text)
    authres.format { authserv_id = value, results = { { method = "spf", result = "pass", reason = value,
      comment = value, properties = { { type = "smtp", property = "mailfrom", value = value } } } } }
  end },
  ["datetime.parse"] = { function(text) datetime.parse(text) end, "", "Fri, 21 Nov 1997 09:55:06 ", "21-", "(",
    "2020-04-02T", "Nov 21 ", "\"" },
  ["charset.name"] = { function(text) charset.name(text) charset.is_ascii_superset(text) end },
  ["charset.is_ascii_superset"] = { function(text) charset.is_ascii_superset(text) end },
  ["charset.guess"] = { function(text) charset.guess(text) end, "", "\255" },
  ["charset.to_utf8"] = { function(text)
    for _, label in ipairs { "utf-8", "utf-7", "iso-2022-jp", "gb2312", "big5", "euc-kr", "utf-16", "hz",
      "shift_jis", "euc-jp", "windows-1258", "tcvn", "utf-32", "iso-2022-kr", "koi8-r" } do
      charset.to_utf8(text, label)
    end
  end, "", "\27$B" },
  ["charset.converter"] = { function(text)
    local converter = charset.converter "iso-2022-jp"
    for at = 1, #text, 7 do
      converter:feed(text:sub(at, at + 6))
    end
    converter:finish()
    converter:close()
  end, "", "\27$B" },
  ["encoded_word.decode"] = { function(text) encoded_word.decode(text) end, "", "=?utf-8?q?", "=?utf-8?b?" },
  ["encoded_word.encode"] = { function(text) encoded_word.encode(one_line(text)) end, "", "ü" },
  ["encoded_word.words"] = { function(text) encoded_word.words(text) end },
  ["header.encode"] = { function(text) header.encode(one_line(text)) end },
  ["header.fold"] = { function(text) header.fold("X", text) end },
  ["header.unfold"] = { function(text) header.unfold(text) end },
  ["header.params"] = { function(text) header.params(text) end, "", "a; ", "a; b=", "a; b*0*=utf-8''", "a; b=\"",
    "a; b*0==?a?q?" },
  ["header.format_params"] = { function(text)
    pcall(header.format_params, { value = "a", params = { b = text, c = one_line(text) } }) -- raises on line ends
    rewritten "Content-Disposition"(text)
  end, "", "a; b=" },
  ["header.parameter_source"] = { function(text) header.parameter_source(text, "b") end, "", "a; b=" },
  ["header.content_type"] = { function(text) header.content_type(text) end, "", "a/", "a/b; " },
  ["header.attachment_name"] = { function(text)
    header.attachment_name(header.params(text), header.content_type(text))
  end },
  ["header.received"] = { function(text) header.received(text) end, "", "from ", "from a by b; ", "from a (b ",
    "id a Thu, " },
  ["header.list_urls"] = { function(text) header.list_urls(text) end, "", "<", "<a> (" },
  ["header.list_id"] = { function(text) header.list_id(text) end, "", "<", "\"" },
  ["header.message_id"] = { function(text) header.message_id(text) end, "", "<", "(", "a@", "< a" },
  ["header.references"] = { function(text) header.references(text) end, "", "<" },
  ["header.parse"] = { function(text)
    for _, name in ipairs { "Date", "Message-ID", "References", "List-Post" } do -- others have rows
      header.parse(name, text)
    end
  end },
  ["header.format"] = { function(text)
    for _, name in ipairs { "To", "Message-ID", "References", "Received", "List-Post", "List-Id" } do
      rewritten(name)(text)
    end
  end, "", "<" },
  ["header.field"] = { function(text) header.field { name = "X", value = text } end },
  ["header.block"] = { function(text)
    local block = header.block(text)
    for _ = 1, 10 do
      block:get("X")
    end
    block:bytes()
  end, "", "A: ", "A: b\r\n " },
  ["mail.block reading:text"] = { function(text) header.field { name = "X", value = text }:text() end },
  ["mail.block reading:addresses"] = { function(text) header.field { name = "X", value = text }:addresses() end },
  ["mail.block reading:date"] = { function(text)
    header.field { name = "Received", value = text }:date()
  end, "", "; " },
  ["mail.block reading:params"] = { function(text) header.field { name = "Content-Type", value = text }:params() end },
  ["mail.block reading:parsed"] = { function(text) header.field { name = "To", value = text }:parsed() end },
  ["mail.bound.cut"] = { function(text) bound.cut(text) end },
  ["mail.kind.under_any_encoding"] = { function(text) kind.under_any_encoding(text) end, "", "begin 644 x\n", "TVqQ" },
  ["mail.embedded.finder"] = { function(text)
    walk(text, { with_header = true, on_embedded = function() end, max_parts = 1e9, max_header_bytes = 1e9 }, 1000)
  end, "\r\n", "\r\nbegin 644 x\n", "\r\n=ybegin name=x\r\n",
    "\r\n(This file must be converted with BinHex 4.0)\r\n:" },
  ["mail.kind.of"] = { function(text) kind.of(text) end, "", "PK\3\4", "<?xml", "MZ" },
  ["mail.transfer.read"] = { function(text) transfer.read(text) end, "", "base64 ", "(" },
  ["mail.token.lex"] = { function(text)
    for _, dialect in ipairs { "address", "path", "mime", "trace" } do
      token.lex(text, dialect)
    end
  end, "", "(", "\"", "[", "\"@<" },
  ["mail.word.is_in"] = { function(text) word.is_in(text) end, "", "=?a?q?" },
  ["mail.parts.of"] = { function(text) parts.of(kept(text, MULTIPART), { max_parts = 1e9 }) end, "", "--b\r\n" },
  ["mime.parse"] = { function(text) mime.parse(text) end, "", "Content-Type: ", "Content-ID: ", MULTIPART },
  ["mime Walker:header"] = { function(text)
    local walker = mime.walker()
    walker:header("Content-Type", "multipart/mixed; boundary=\"" .. text) -- header.params has a row
    walker:header("Content-ID", text)
    walker:eoh()
  end, "", "<" },
  ["mime Walker:body"] = { function(text)
    walk(text, { with_header = true, max_parts = 1e9, max_header_bytes = 1e9 }, 1000000)
  end, "", "A: ", MULTIPART },
  ["mime Walker:body "] = { function(text)
    walk(text, { with_header = true, max_parts = 1e9, max_header_bytes = 1e9 }, 7)
  end, MULTIPART },
  ["body.new"] = { function(text) kept(text, "X: y\r\n\r\n"):string() end },
  ["body Body:lines"] = { function(text)
    for _ in kept(text, "X: y\r\n\r\n"):lines() do end -- luacheck: ignore 542
  end },
  ["body Body:parts"] = { function(text)
    for _, part in ipairs(kept(text, MULTIPART):parts { max_parts = 200 } or {}) do
      part:text()
      part:content(10)
    end
  end, "", "--b\r\n\r\n" },
  ["body Body:parts "] = { function(text) -- each a part of its own inside an encoded message
    local inner = "Content-Type: multipart/mixed; boundary=b\r\n\r\n" .. (text:gsub("\n", "\n--b\r\n\r\n"))
    local message = kept(codec.base64_encode(inner, 76), "Content-Type: message/rfc822\r\n"
      .. "Content-Transfer-Encoding: base64\r\n\r\n")
    for _, part in ipairs(message:parts { max_parts = 1e9 } or {}) do
      part:content()
    end
  end, "" },
  ["body Body:edit"] = { function(text)
    local edit = kept(text, "Content-Type: text/html\r\n\r\n"):edit()
    edit:footer { text = one_line(text) }
    edit:string()
  end, "", "<" },
  ["mail.html_end.find"] = { function(text) html_end.find(pieces_of(text, 7)) end, "", "<", "<a ", "<a b=", "<!--",
    "<script>", "<script><!--", "<![CDATA[" },
  ["mail.html_end.find "] = { function(text) html_end.find(pieces_of(text, #text)) end, "", "<", "<!--",
    "<script><!--" },
  ["mail.rewrite Edit:remove"] = { function(text)
    local message = kept("text", "Content-Type: text/plain\r\n\r\n")
    message:edit():remove(message:parts()[1], text)
  end },
  ["net.host_name.addresses"] = { function(text) host_name.addresses(text) end, "", "[" },
  ["net.http_head.read"] = { function(text) http_head.read(text) end, "", "a:", "a:b", "a: b\r\n" },
  ["net.resp.read"] = { function(text)
    local reader = reader_of(text)
    for _ = 1, #text do
      if not resp.read(reader) then
        return
      end
    end
  end, "", "+", "*9999\r\n", "$9\r\n" },
  ["net.key_slot.of"] = { function(text) key_slot.of(text) end, "", "{", "{}" },
  ["net.resp.encode"] = { function(text) resp.encode({ "SET", text, text }, {}, 1) end },
  ["identity.dns_name.of"] = { function(text) dns_name.of(text) end, "", "a.", "\195\188" },
  ["identity.dns_name.answered"] = { function(text) dns_name.answered(text) end, "", "\\0" },
  ["identity.ip.parse"] = { function(text) ip.parse(text) end, "", "::", "1." },
  ["identity.spf_macro.parse"] = { function(text)
    spf_macro.parse(text, "domain")
    local list = spf_macro.parse(text, "text")
    if list then
      spf_macro.name(list, function() return text end)
      spf_macro.text(list, function() return "a.b" end, 1e9)
    end
  end, "", "%{", "%{d1", "%{dr.", "%{l}" },
  ["identity.spf_record.parse"] = { function(text) spf_record.parse("v=spf1 " .. text) end, "", "a:", "a/", "a:%{",
    "x=", "ip6:::", "ip4:1." },
  ["spf.check"] = { function(text)
    spf.check { ip = "192.0.2.1", sender = text .. "@example.org", helo = text, dns = function(_, type)
      return type == "txt" and { "v=spf1 " .. text, text } or type == "mx" and { { host = text } } or { text }
    end }
    spf.check { ip = "192.0.2.1", sender = text, helo = text, dns = function(_, type)
      return type == "txt" and { "v=spf1 exists:%{lr-+}.%{h}.a ptr mx -all exp=%{s}%{L}%{p}.b" } or { text }
    end }
  end, "", "a:", "exists:%{l}", "%{" },
  ["scan.new"] = { function(text) scan.new { text } end },
  ["scan Scanner:find_all"] = { function(text) scanner:find_all(text) end },
  ["hash.hex"] = { function(text) hash.hex(text) end },
  ["hash.unhex"] = { function(text) hash.unhex(text) end, "", "a" },
  ["hash.base64"] = { function(text) hash.base64(text) end },
  ["hash.unbase64"] = { function(text) hash.unbase64(text) end, "", "a", "a=" },
  ["json.decode"] = { function(text) json.decode(text, { max_bytes = 1e9 }) end, "", "[", "\"", "{\"a\":", "[1",
    "[\"\195", "[1e" },
  ["json.encode"] = { function(text) json.encode { [text] = text } end, "", "\255" },
  ["maps.address.keys"] = { function(text) map_address.keys(text, "+-=") end, "", "a@", "a.", '"', "a-", "owner-" },
  ["cidr.parse"] = { function(text) cidr.parse(text) end, "", "::", "1:", "10.0.0.0/", "1." },
  ["cidr.address"] = { function(text) cidr.address(text) end, "", "::", "1:", "1." },
  ["cidr.network"] = { function(text) cidr.network(text) end, "", "::" },
  ["cidr.contains"] = { function(text) cidr.contains("10.0.0.0/8", text) end, "", "::" },
  ["cidr Set:get"] = { function(text) networks:get(text) networks:contains(text) end, "", "::" },
  ["cidr Set:add"] = { function(text) networks:add(text) end, "", "::" },
  ["codec.base64_decode"] = { function(text) codec.base64_decode(text) end },
  ["codec.base64_encode"] = { function(text) codec.base64_encode(text, 76) end },
  ["codec.qp_decode"] = { function(text) codec.qp_decode(text) end },
  ["codec.qp_encode"] = { function(text) codec.qp_encode(text) end },
  ["codec.q_decode"] = { function(text) codec.q_decode(text) end },
  ["codec.uu_decode"] = { function(text) codec.uu_decode(text) end, "", "begin 644 a\n" },
  ["codec.is_utf8"] = { function(text) codec.is_utf8(text) end },
  ["codec.clean_utf8"] = { function(text) codec.clean_utf8(text) end },
  ["codec.idna_to_ascii"] = { function(text) codec.idna_to_ascii(text) end },
  ["codec.idna_to_unicode"] = { function(text) codec.idna_to_unicode(text) end },
  ["seal.body"] = { function(text)
    local hashes = seal.body()
    hashes:want("simple", "sha256")
    hashes:want("relaxed", "sha256")
    for at = 1, #text, 7 do
      hashes:feed(text, at, at + 6)
    end
    hashes:finish()
  end, "", "\r\n", "\r\n \r\n\t" },
  ["seal.body "] = { function(text) seal.body("relaxed", "sha256"):feed(text) end, "", "\r\n", " ", "\r\n \r\n" },
  ["seal.header"] = { function(text)
    seal.header("simple", text)
    seal.header("relaxed", text)
  end, "", "A: " },
  ["seal.hash"] = { function(text) seal.hash("sha256", text) end },
  ["seal.tags"] = { function(text) seal.tags(text) end, "", "a=", "a=b;" },
  ["seal.solid"] = { function(text) seal.solid(text) end },
  ["seal.public_key"] = { function(text) seal.public_key("rsa", text) end, "", "\48" },
  ["seal.private_key"] = { function(text) seal.private_key(text) end, "", "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----" },
  ["arc.verify"] = { function(text)
    arc.verify { headers = { { name = "ARC-Seal", raw = "ARC-Seal:" .. text },
      { name = "ARC-Message-Signature", raw = "ARC-Message-Signature:" .. text },
      { name = "ARC-Authentication-Results", raw = "ARC-Authentication-Results:" .. text } }, body = text,
      dns = function() end }
  end, "", "i=1;", "i=1; a=rsa-sha256; b=YQ==; cv=none; d=a.b; s=s; h=", "i=1; " },
  ["arc.seal"] = { function(text)
    arc.seal { headers = { { name = "Authentication-Results", raw = "Authentication-Results: " .. text },
      { name = "From", raw = "From: " .. text } }, body_hash = ("x"):rep(32), chain = { result = "none", instance = 0 },
      domain = "a.b", selector = "s", authserv_id = "mx", key = ARC_KEY }
  end, "", "mx;", "mx; " },
  ["identity.signature.read_seal"] = { function(text) signature.read_seal("ARC-Seal:" .. text) end, "", "i=1; b=" },
  ["dkim.key"] = { function(text) dkim.key(text) end, "", "v=DKIM1; p=" },
  ["dkim.verifier"] = { function(text)
    dkim.verifier { headers = { { name = "DKIM-Signature", value = text }, { name = "From", value = text } },
      dns = function() end }:finish()
  end, "", "v=1; h=", "v=1; d=", "v=1; a=rsa-sha256; d=a.b; s=s; h=from; b=YQ==; bh=" },
  ["dkim.verifier "] = { function(text)
    local headers = {}
    for i = 1, #text / 32 do
      headers[i] = { name = "DKIM-Signature", value = "v=1; d=example.org; s=s" }
    end
    dkim.verifier { headers = headers, dns = function() end }:finish()
  end },
  ["dkim.long_lines"] = { function(text) dkim.long_lines { { name = "X", raw = text } } end, "", "\n" },
  ["identity.keyrecord.parse"] = { function(text) keyrecord.parse(text) end, "", "k=rsa; p=" },
  ["identity.signature.read"] = { function(text) signature.read("DKIM-Signature:" .. text) end, "", "v=1; h=" },
  ["identity.signature.is_name"] = { function(text) signature.is_name(text, 1) end, "", "a." },
  ["dmarc.check"] = { function(text)
    dmarc.check { from = text, spf = { result = "pass", domain = text }, dkim = { { result = "pass", domain = text } },
      dns = function() return { text, "v=DMARC1; p=none; rua=" .. text } end }
  end, "", "a@b.example (", "a@b.example, ", "v=DMARC1; p=none;" },
  ["identity.author.domain"] = { function(text) author.domain(text) end, "", "a@b.example (", "a@b.example,",
    "=?utf-8?q?=40?=", "a@b.example \"" },
  ["identity.author.name_of"] = { function(text) author.name_of(text) end, "", "ü" },
  ["identity.policy.read"] = { function(text) policy.read("v=DMARC1; " .. text) end, "", "rua=", "rua=mailto:a@b,",
    "p=" },
  ["identity.policy.only"] = { function(text) policy.only { text, "v=DMARC1;" .. text } end, "", "v=DMARC1;" },
  ["identity.row.of"] = { function(text)
    row_of({ client = {}, helo = text, sender = text, recipients = { { address = text } } },
      { dkim = { { result = "pass", domain = text, selector = text } } })
  end, "", "@" },
  ["identity.stamp.value"] = { function(text)
    local properties = {}
    for i, name in ipairs { "smtp.mailfrom", "smtp.helo", "header.d", "header.i", "header.b", "policy.x" } do
      properties[i] = { type = name:match "^%l+", property = name:match "%l+$", value = text }
    end
    stamp.value({ spf = { result = "none", reason = text, properties = properties } }, "mx.example", true)
  end, "", "@", "[" },
  ["identity.tree.names"] = { function(text) tree.names(text) end, "", "a." },
  ["identity.taglist.parse"] = { function(text) taglist.parse(text) end, "", "a=", "a=b;" },
  ["identity.taglist.remove"] = { function(text)
    local _, spans = taglist.parse("a=b;" .. text)
    taglist.remove(text, type(spans) == "table" and spans or {}, "b")
  end },
  ["identity.taglist.solid"] = { function(text) taglist.solid(text) end },
  ["identity.taglist.items"] = { function(text) taglist.items(text) end, "", ":" },
}

-- Functions that another row runs: a name of ours, or a method that a row of its module calls.
local runs = {
  ["arc.verifier"] = "arc.verify", ["arc Verifier:feed"] = "arc.verify", ["arc Verifier:ask"] = "arc.verify",
  ["arc Verifier:finish"] = "arc.verify",
  ["identity.dns_name.domain"] = "spf.check", ["identity.dns_name.spell"] = "spf.check",
  ["identity.spf_macro.name"] = "identity.spf_macro.parse", ["identity.spf_macro.text"] = "identity.spf_macro.parse",
  ["identity.spf_record.is_spf"] = "spf.check",
  ["codec.to_utf8"] = "charset.to_utf8", ["codec.converter"] = "charset.converter",
  ["mail.declared.part"] = "mime Walker:header", ["mail.readings.of"] = "header.params",
  ["mime.walker"] = "mime Walker:body", ["dkim Verifier:feed"] = "seal.body",
  ["dkim Verifier:ask"] = "dkim.verifier", ["dkim Verifier:finish"] = "dkim.verifier",
  ["mime Walker:eoh"] = "mime Walker:header",
  ["mime Walker:eom"] = "mime Walker:body", ["body Body:feed"] = "body.new", ["body Body:read"] = "body.new",
  ["body Body:string"] = "body.new", ["body Body:chunks"] = "body Body:lines",
  ["mail.parts StoredPart:raw"] = "body Body:parts", ["mail.parts StoredPart:chunks"] = "body Body:parts",
  ["mail.parts StoredPart:content"] = "body Body:parts", ["mail.parts StoredPart:text"] = "body Body:parts",
  ["mail.rewrite Edit:footer"] = "body Body:edit", ["mail.rewrite Edit:append"] = "body Body:edit",
  ["mail.rewrite Edit:string"] = "body Body:edit", ["mail.rewrite Edit:chunks"] = "body Body:edit",
  ["scan Scanner:stream"] = "scan Scanner:find_all", ["scan Stream:feed"] = "scan Scanner:find_all",
  ["cidr Network:contains"] = "cidr.contains", ["cidr Set:contains"] = "cidr Set:get",
  ["scan Stream:finish"] = "scan Scanner:find_all", ["net.resp.is_error"] = "net.resp.read",
  ["net.key_slot.of_command"] = "net.key_slot.of",
}

-- ---- what the spec asks ----

--- Names of functions that have no row and are not named above.
function outside.forgotten()
  local all, has_row, list = functions(), {}, {}
  for name in pairs(rows) do
    has_row[all[name] or name] = true
  end
  for name, fn in pairs(all) do
    local is_known = rows[name] or rows[runs[name]] or has_row[fn] or reads_nothing(name)
      or name:find "^mail%.block%.reading%." -- the methods, which have rows
    if not is_known then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

--- Names above that no module has.
function outside.unknown()
  local all, list = functions(), {}
  for _, names in ipairs { rows, runs } do
    for name in pairs(names) do
      if not all[(name:gsub(" $", ""))] then
        list[#list + 1] = name
      end
    end
  end
  table.sort(list)
  return list
end

--- Every row: { name, run, heads }, by name.
function outside.rows()
  local list = {}
  for name, row in pairs(rows) do
    list[#list + 1] = { name = name, run = row[1], heads = row[2] and { unpack(row, 2) } or { "" } }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local FIELD_MAX, LINE_MAX = bound.FIELD_MAX, bound.LINE_MAX

--- Lets parsers read texts of any length: their time is linear also above the bound.
function outside.lift_bounds()
  bound.FIELD_MAX, bound.LINE_MAX = math.huge, math.huge
end

function outside.restore_bounds()
  bound.FIELD_MAX, bound.LINE_MAX = FIELD_MAX, LINE_MAX
end

return outside
