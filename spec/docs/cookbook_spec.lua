-- Every recipe of docs/cookbook.md, as the page prints it: a message that meets its rule, and one that does not. Both
-- as Postfix and as Sendmail tell it. A recipe without these cases fails, and so does a case without its recipe.
local sealed = require "spec.support.sealed"
local testing = require "moonmilter.testing"

local PAGE = "docs/cookbook.md"

-- title -> the code below it; each "###" has exactly one block
local function read_recipes()
  local recipes, order, title, block = {}, {}, nil, nil
  for line in io.lines(PAGE) do
    if block and line == "```" then
      assert(not recipes[title], "two blocks below " .. title)
      recipes[title], block = table.concat(block, "\n") .. "\n", nil
    elseif block then
      block[#block + 1] = line
    elseif line == "```lua" then
      block = {}
    elseif line:find "^### " then
      title = line:sub(5)
      order[#order + 1] = title
    end
  end
  return recipes, order
end

local AUTH = { auth = "ann" }
local BASE64_EXE = "TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAA=\r\n"

-- The body of a multipart message with a text and one more part.
local function with_part(fields, content)
  return "--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\n" .. fields .. "\r\n\r\n" .. content .. "--b--\r\n"
end

local MULTIPART = { { "From", "Ann <ann@example.org>" }, { "Content-Type", "multipart/mixed; boundary=b" } }

local function from(value)
  return { headers = { { "From", value }, { "Subject", "hello" } } }
end

-- The reply that ends a message is accept, and the filter said nothing that a postmaster would have to look at.
local function passes(mta, message)
  local result = mta:message(message)
  assert.equal("accept", result.verdict, tostring(result))
  assert.same({}, mta:complaints())
  return result
end

-- The beginning of the SMTP reply. Sendmail puts the address in front of the words.
local function refused(mta, message, text)
  local result = mta:message(message)
  local smtp = result.smtp:gsub("<[^>]*>%.%.%. ", "", 1)
  assert.equal(text, smtp:sub(1, #text), tostring(result))
  return result
end

-- Files that cases of "Read a list from a file" write.
local list_path = os.tmpname()

local function write_list(text)
  local file = assert(io.open(list_path, "w"))
  file:write(text)
  file:close()
end

-- title -> the world, and the two outcomes
local CASES = {
  ["Accept clients of my own networks"] = {
    meets = function(mta)
      mta:connect { ip = "192.168.1.7" }
      mta:helo "printer"
      passes(mta, {})
    end,
    misses = function(mta)
      mta:connect { ip = "192.0.2.7" }
      mta:helo "printer"
      refused(mta, {}, "550 5.7.1 Say HELO with a full host name")
      mta:connect { ip = "192.0.2.7" }
      passes(mta, {})
    end,
  },

  ["Refuse clients without a reverse name"] = {
    options = { dns = { ["192.0.2.1"] = { PTR = { "mail.example.org" } }, ["192.0.2.3"] = "servfail" } },
    meets = function(mta)
      mta:connect { host = false, ip = "192.0.2.2" }
      refused(mta, {}, "550 5.7.25 Your address has no reverse DNS entry")
    end,
    misses = function(mta)
      mta:connect { ip = "192.0.2.1" }
      passes(mta, {})
      mta:connect { ip = "192.0.2.2", auth = "ann" }
      passes(mta, {})
      mta:connect { host = false, ip = "192.0.2.3" } -- nobody knows
      refused(mta, {}, "451 4.4.3 ")
    end,
  },

  ["Refuse clients that say HELO with my name"] = {
    meets = function(mta)
      mta:connect()
      mta:helo "MAIL.example.com."
      refused(mta, {}, "550 5.7.1 You are not MAIL.example.com.")
    end,
    misses = function(mta)
      mta:connect()
      mta:helo "mail.example.org"
      passes(mta, {})
      mta:connect { ip = "127.0.0.1" }
      mta:helo "mail.example.com"
      passes(mta, {})
    end,
  },

  ["Ask block lists"] = {
    options = { dns = {
      ["2.2.0.192.bl.example"] = { A = { "127.0.0.4" } },
      ["3.2.0.192.bl.example"] = { A = { "127.255.255.254" } },
      ["3.2.0.192.other-bl.example"] = { A = { "198.51.100.1" } },
      ["4.2.0.192.bl.example"] = "timeout", ["4.2.0.192.other-bl.example"] = "refused",
    } },
    meets = function(mta)
      mta:connect { ip = "192.0.2.2" }
      refused(mta, {}, "550 5.7.1 192.0.2.2 is listed by bl.example")
    end,
    misses = function(mta)
      for _, ip in ipairs { "192.0.2.1", "192.0.2.3", "192.0.2.4" } do -- unlisted, error codes, no answer
        mta:connect { ip = ip }
        passes(mta, {})
      end
      mta:connect { ip = "192.0.2.2", auth = "ann" }
      passes(mta, {})
    end,
  },

  ["Refuse the mail of clients that name a spam trap"] = {
    meets = function(mta)
      refused(mta, { to = { "Info2009@example.com", "bob@example.com" } }, "550 5.7.1 Your mail is not wanted here")
      refused(mta, { to = "bob@example.com" }, "550 5.7.1 Your mail is not wanted here")
    end,
    misses = function(mta) passes(mta, { to = "bob@example.com" }) end,
  },

  ["Slow down clients without a name"] = {
    meets = function(mta, host_now)
      mta:connect { host = false }
      local before = host_now()
      passes(mta, {})
      assert.is_true(host_now() - before >= 5)
    end,
    misses = function(mta, host_now)
      local before = host_now()
      passes(mta, {})
      assert.is_true(host_now() - before < 5)
    end,
  },

  ["Refuse mail from domains on a list"] = {
    meets = function(mta)
      refused(mta, { from = "x@spam.example" }, "550 5.7.1 Mail from spam.example is refused here")
      refused(mta, { from = "x@a.b.Mass-Mail.example" }, "550 5.7.1 Mail from mass-mail.example is refused here")
    end,
    misses = function(mta)
      for _, sender in ipairs { "x@antispam.example", "x@spam.example.org", "spam.example", "" } do
        passes(mta, { from = sender })
      end
    end,
  },

  ["Refuse senders whose domain does not exist"] = {
    options = { dns = {
      ["mail.example"] = { MX = { { 10, "mx.mail.example" } } }, ["address.example"] = { AAAA = { "2001:db8::1" } },
      ["null.example"] = { MX = { { 0, "" } } }, ["empty.example"] = { TXT = { "x" } },
      ["half.example"] = { MX = "nodata", A = "timeout" }, ["broken.example"] = "servfail",
    } },
    meets = function(mta)
      for _, sender in ipairs { "x@nowhere.example", "x@null.example", "x@empty.example" } do
        refused(mta, { from = sender }, "550 5.1.8 ")
      end
    end,
    misses = function(mta)
      for _, sender in ipairs { "x@mail.example", "x@address.example", "x@[192.0.2.1]", "" } do
        passes(mta, { from = sender })
      end
      for _, sender in ipairs { "x@half.example", "x@broken.example" } do -- nobody knows
        refused(mta, { from = sender }, "451 4.4.3 ")
      end
    end,
  },

  ["Let an account use its own addresses only"] = {
    meets = function(mta)
      mta:connect(AUTH)
      refused(mta, { from = "bob@example.com" }, "553 5.7.1 This is not an address of your account")
      local message = from "Bob <bob@example.com>"
      message.from = "ann@example.com"
      refused(mta, message, "550 5.7.1 From holds an address that is not your account's")
      message = from "Ann <ann@example.com>, bob@example.com"
      message.from = "ann@example.com"
      refused(mta, message, "550 5.7.1 From holds")
      message = from "ann@example.com <"
      message.from = "ann@example.com"
      refused(mta, message, "550 5.7.1 From holds")
      mta:connect { auth = "nobody-known" }
      refused(mta, { from = "ann@example.com" }, "553 5.7.1 ")
    end,
    misses = function(mta)
      mta:connect(AUTH)
      local message = from "Example Ltd <Info@example.com>"
      message.from = "ann@example.com"
      passes(mta, message)
      mta:connect() -- without authentication
      passes(mta, { from = "bob@example.com" })
    end,
  },

  ["Require TLS from a partner"] = {
    meets = function(mta) refused(mta, { from = "x@BANK.example" }, "550 5.7.10 Mail from this domain must come") end,
    misses = function(mta)
      passes(mta, { from = "x@other.example" })
      mta:connect { tls = true }
      passes(mta, { from = "x@bank.example" })
    end,
  },

  ["Refuse bounces to several recipients"] = {
    meets = function(mta)
      local result = passes(mta, { from = "", to = { "a@example.com", "b@example.com" } })
      assert.same({ "<a@example.com>" }, result.recipients)
      assert.equal("5.7.1", result.refused["<b@example.com>"].status)
    end,
    misses = function(mta)
      assert.equal(2, #passes(mta, { to = { "a@example.com", "b@example.com" } }).recipients)
      assert.equal(1, #passes(mta, { from = "", to = "a@example.com" }).recipients)
    end,
  },

  ["Limit the recipients of a message"] = {
    meets = function(mta)
      local to = {}
      for i = 1, 21 do
        to[i] = i .. "@example.com"
      end
      local result = passes(mta, { to = to })
      assert.equal(20, #result.recipients)
      assert.equal(452, result.refused["<21@example.com>"].code)
    end,
    misses = function(mta)
      local to = {}
      for i = 1, 20 do
        to[i] = i .. "@example.com"
      end
      assert.equal(20, #passes(mta, { to = to }).recipients)
      to[21] = "21@example.com"
      mta:connect(AUTH)
      assert.equal(21, #passes(mta, { to = to }).recipients)
    end,
  },

  ["Keep an address internal"] = {
    meets = function(mta)
      refused(mta, { to = "Staff@example.com" }, "550 5.7.1 This address takes mail from inside")
    end,
    misses = function(mta)
      passes(mta, { to = "bob@example.com" })
      mta:connect(AUTH)
      passes(mta, { to = "staff@example.com" })
    end,
  },

  ["Say where somebody has gone"] = {
    meets = function(mta)
      refused(mta, { to = "carl@example.com" }, "551-5.1.6 Carl does not work here any more.\n"
        .. "551 5.1.6 Please write to carl@new-employer.example")
    end,
    misses = function(mta) passes(mta, { to = "ann@example.com" }) end,
  },

  ["Take the list of mailboxes from Redis"] = {
    options = { redis = function(command, key, member)
      assert(command:upper() == "SISMEMBER" and key == "mailboxes")
      if member == "down@example.com" then
        return nil, "connection refused", "refused"
      end
      return member == "bob@example.com" and 1 or 0
    end },
    meets = function(mta) refused(mta, { to = "eve@example.com" }, "550 5.1.1 No such mailbox") end,
    misses = function(mta)
      passes(mta, { to = "Bob@example.com" })
      refused(mta, { to = "down@example.com" }, "451 4.3.0 ")
    end,
  },

  ["Read a list from a file, and notice changes"] = {
    options = { settings = { refused_recipients = list_path } },
    before = function() write_list "carl@example.com\n" end,
    meets = function(mta)
      refused(mta, { to = "Carl@example.com" }, "550 5.2.1 This mailbox is closed")
      write_list "carl@example.com\ndora@example.com\n"
      mta:pass(61)
      refused(mta, { to = "dora@example.com" }, "550 5.2.1 This mailbox is closed")
      os.remove(list_path)
      mta:pass(61)
      refused(mta, { to = "dora@example.com" }, "550 5.2.1 This mailbox is closed")
    end,
    misses = function(mta)
      passes(mta, { to = "dora@example.com" })
      write_list "\n"
      mta:pass(61)
      passes(mta, { to = "carl@example.com" })
    end,
  },

  ["Copy all mail to an archive"] = {
    meets = function(mta)
      assert.same({ { "add_recipient", "<archive@example.com>", "NOTIFY=NEVER" } }, passes(mta, {}).edits)
    end,
    misses = function(mta) assert.same({}, passes(mta, { to = "Archive@example.com" }).edits) end,
  },

  ["Send all mail of a test system to one mailbox"] = {
    meets = function(mta)
      local result = passes(mta, { to = { "ann@example.net", "bob@example.net" } })
      assert.same({ "<tests@example.com>" }, result.recipients)
      assert.equal("ann@example.net", result.message:get "X-Would-Reach")
      assert.equal("bob@example.net", result.message:get("X-Would-Reach", 2))
    end,
    misses = function(mta)
      local result = passes(mta, { to = "tests@example.com" })
      assert.equal("<tests@example.com>", result.recipients[1])
      assert.is_nil(result.message:get "X-Would-Reach")
    end,
  },

  ["Drop mail to noreply"] = {
    meets = function(mta)
      assert.equal("discard", mta:message({ to = "NoReply@example.com" }).verdict)
      local result = passes(mta, { to = { "noreply@example.com", "bob@example.com" } })
      assert.same({ "<bob@example.com>" }, result.recipients)
    end,
    misses = function(mta) assert.same({}, passes(mta, {}).edits) end,
  },

  ["Replace an old domain in sender addresses"] = {
    meets = function(mta)
      local result = passes(mta, { from = "ann@OLD.example",
        headers = { { "From", "Ann <ann@old.example>, Team: bob@Old.example, c@other.example;" } } })
      assert.equal("<ann@new.example>", result.sender)
      assert.equal("Ann <ann@new.example>, Team: bob@new.example, c@other.example;", result.message:get "From")
    end,
    misses = function(mta)
      assert.same({}, passes(mta, { from = "ann@very-old.example", headers = { { "From", "a@b.old.example" } } }).edits)
      assert.same({}, passes(mta, { from = "", headers = { { "Subject", "no From" } } }).edits)
    end,
  },

  ["Add a field with facts about the client"] = {
    meets = function(mta)
      mta:connect { ip = "192.0.2.9", tls = true }
      local result = passes(mta, { headers = { { "X-Client", "forged" }, { "Subject", "x" } } })
      local fields = result.message:all "X-Client"
      assert.equal(1, #fields)
      assert.equal("192.0.2.9; tls", result.message:get "X-Client")
    end,
    misses = function(mta)
      mta:connect(AUTH)
      assert.is_nil(passes(mta, {}).message:get "X-Client")
    end,
  },

  ["Remove fields that tell about my network"] = {
    meets = function(mta)
      mta:connect(AUTH)
      local result = passes(mta, { headers = { { "X-Originating-IP", "10.0.0.7" }, { "Subject", "x" },
        { "user-agent", "Mailer 1" }, { "User-Agent", "2" } } })
      assert.is_nil(result.message.text:find "10%.0%.0%.7")
      assert.is_nil(result.message:get "User-Agent")
      assert.equal("x", result.message:get "Subject")
    end,
    misses = function(mta) assert.same({}, passes(mta, { headers = { { "User-Agent", "Mailer 1" } } }).edits) end,
  },

  ["Mark mail from outside in its subject"] = {
    meets = function(mta)
      local header = require "moonmilter.header"
      local result = passes(mta, { headers = { { "Subject", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=" } } })
      assert.equal("[external] Grüße", header.decode(result.message:get "Subject"))
      assert.equal("[external] (no subject)", passes(mta, { headers = { { "To", "x" } } }).message:get "Subject")
    end,
    misses = function(mta)
      assert.same({}, passes(mta, { headers = { { "Subject", "Re: [external] hello" } } }).edits)
      mta:connect(AUTH)
      assert.same({}, passes(mta, {}).edits)
    end,
  },

  ["Add a missing Date or Message-ID"] = {
    meets = function(mta)
      local datetime = require "moonmilter.datetime"
      local message = passes(mta, {}).message
      assert.is_number(assert(datetime.parse(message:get "Date")).epoch)
      assert.matches("^<[%w-]+%.%d+%.%d+@example%.com>$", message:get "Message-ID")
    end,
    misses = function(mta)
      local result = passes(mta, { headers = { { "Date", "Fri, 21 Nov 1997 09:55:06 -0600" },
        { "Message-Id", "<a@b>" } } })
      assert.same({}, result.edits)
    end,
  },

  ["Mark mail that borrows a colleague's name"] = {
    meets = function(mta)
      assert.equal("yes", passes(mta, from '"ANN  Example" <x@free.example>').message:get "X-Borrowed-Name")
      assert.equal("yes", passes(mta, from "=?utf-8?q?Bob_Example?= <x@free.example>").message:get "X-Borrowed-Name")
    end,
    misses = function(mta)
      for _, value in ipairs { "Ann Example <ann@EXAMPLE.com>", "Carl Example <x@free.example>", "x@free.example" } do
        assert.is_nil(passes(mta, from(value)).message:get "X-Borrowed-Name")
      end
      local forged = { headers = { { "From", "x@free.example" }, { "X-Borrowed-Name", "no" } } }
      assert.is_nil(passes(mta, forged).message:get "X-Borrowed-Name")
    end,
  },

  ["Insist on one From field"] = {
    meets = function(mta)
      refused(mta, { headers = { { "Subject", "x" } } }, "550 5.6.0 A message has one From field")
      refused(mta, { headers = { { "From", "a@x.example" }, { "from", "b@x.example" } } },
        "550 5.6.0 A message has one")
      refused(mta, from "<a@x.example", "550 5.6.0 From cannot be read: ")
    end,
    misses = function(mta)
      passes(mta, from "Ann <ann@example.org>")
      passes(mta, from "Ann <ann@example.org>, bob@example.org")
    end,
  },

  ["Refuse words in the subject"] = {
    meets = function(mta)
      refused(mta, { headers = { { "Subject", "National LOTTERY" } } }, "550 5.7.1 Refused by its subject")
      refused(mta, { headers = { { "Subject", "=?utf-8?b?bG90dGVyeQ==?=" } } }, "550 5.7.1 Refused by its subject")
      refused(mta, { headers = { { "Subject", "You\n have won" } } }, "550 5.7.1 Refused by its subject")
    end,
    misses = function(mta)
      passes(mta, { headers = { { "Subject", "lot" }, { "X-Subject", "lottery" } } })
      passes(mta, { headers = { { "From", "lottery@example.org" } } })
    end,
  },

  ["Stop mail loops"] = {
    meets = function(mta)
      local fields = { { "From", "a@x.example" } }
      for i = 1, 31 do
        fields[#fields + 1] = { "Received", ("from h%d.example; Fri, 21 Nov 1997 09:55:06 -0600"):format(i) }
      end
      refused(mta, { headers = fields }, "554 5.4.6 Too many hops")
    end,
    misses = function(mta)
      local fields = { { "From", "a@x.example" } }
      for _ = 1, 30 do
        fields[#fields + 1] = { "Received", "from h.example by mx.example; Fri, 21 Nov 1997 09:55:06 -0600" }
      end
      passes(mta, { headers = fields })
    end,
  },

  ["Hold mail that fails DMARC"] = {
    options = { dns = { ["_dmarc.bank.example"] = { TXT = { "v=DMARC1; p=reject" } } } },
    meets = function(mta)
      local result = passes(mta, { from = "a@evil.example", headers = { { "From", "boss@bank.example" } } })
      assert.equal("DMARC policy of bank.example", result.quarantined)
      assert.truthy(result.message:get("Authentication-Results"):find("dmarc=fail", 1, true))
    end,
    misses = function(mta)
      assert.is_nil(passes(mta, { headers = { { "From", "boss@bank.example" }, { "List-Id", "<l.bank.example>" } } })
        .quarantined)
      assert.is_nil(passes(mta, { headers = { { "From", "a@other.example" } } }).quarantined)
      mta:connect { auth = "ann" }
      assert.is_nil(passes(mta, { headers = { { "From", "boss@bank.example" } } }).quarantined)
    end,
  },

  ["Believe mailing lists that I know"] = {
    options = { dns = testing.dns(sealed.domain "lists.example.net", sealed.domain "lists.evil.example",
      { ["test._domainkey.mx.forwarder.example"] = "servfail",
        ["_dmarc.example.org"] = { TXT = { "v=DMARC1; p=reject" } } }) },
    meets = function(mta)
      local seen = "dmarc=pass header.from=example.org"
      assert.is_nil(passes(mta, sealed.message("lists.example.net", seen)).quarantined)
      refused(mta, sealed.message("mx.forwarder.example", seen),
        "451 4.7.0 The seals of this message cannot be checked now")
    end,
    misses = function(mta)
      for _, message in ipairs { sealed.message("lists.evil.example", "dmarc=pass header.from=example.org"),
        sealed.message("lists.example.net", "dmarc=fail header.from=example.org"), from "ann@example.org" } do
        assert.equal("DMARC policy of example.org", passes(mta, message).quarantined)
      end
      assert.is_nil(passes(mta, from "ann@other.example").quarantined)
      mta:connect { auth = "ann" }
      assert.is_nil(passes(mta, from "ann@example.org").quarantined)
    end,
  },

  ["Act on the results of another milter"] = {
    meets = function(mta)
      local result = passes(mta, { headers = { { "Authentication-Results", "MX.example.com; dmarc=pass" },
        { "Authentication-Results", "mx.example.com; spf=pass; dmarc=fail header.from=bank.example" } } })
      assert.equal("dmarc=fail", result.quarantined)
    end,
    misses = function(mta)
      for _, value in ipairs { "mx.example.com; dmarc=pass", "other.example; dmarc=fail", "mx.example.com; none",
        ";;" } do
        assert.is_nil(passes(mta, { headers = { { "Authentication-Results", value } } }).quarantined)
      end
      assert.is_nil(passes(mta, {}).quarantined)
    end,
  },

  ["Refuse attachments by their name"] = {
    meets = function(mta)
      for _, disposition in ipairs { 'attachment; filename="Invoice.EXE"', "attachment; filename*=utf-8''a%2Ejs",
        'attachment; filename="=?utf-8?b?YS5zY3I=?="', 'attachment; filename="a.exe. "' } do
        refused(mta, { headers = MULTIPART, body = with_part("Content-Disposition: " .. disposition, "MZ\r\n") },
          "554 5.7.1 An attachment has a name that is not accepted here")
      end
      refused(mta, { body = "begin 644 a.vbs\r\n#86)C\r\n`\r\nend\r\n" }, "554 5.7.1 An attachment has a name")
    end,
    misses = function(mta)
      local field = 'Content-Disposition: attachment; filename="a.exe.txt"'
      passes(mta, { headers = MULTIPART, body = with_part(field, "x\r\n") })
      passes(mta, {})
    end,
  },

  ["Limit the size of mail from outside"] = {
    meets = function(mta)
      refused(mta, { params = { SIZE = 10485761 } }, "552 5.3.4 Messages from outside may have 10 MB")
      local result = mta:message { body = ("x"):rep(1022) .. "\r\n" .. (("x"):rep(1022) .. "\r\n"):rep(10240) }
      assert.equal("reject", result.verdict)
      assert.equal("5.3.4", result.status)
    end,
    misses = function(mta)
      passes(mta, { params = { SIZE = 10485760 } })
      mta:connect(AUTH)
      passes(mta, { params = { SIZE = 99999999 } })
    end,
  },

  ["Hold mail that contains certain words"] = {
    meets = function(mta)
      assert.equal("words: falcon", passes(mta, { body = "about Project\r\nand\r\nPROJECT FALCON\r\n" }).quarantined)
      local encoded = with_part("Content-Type: text/html\r\nContent-Transfer-Encoding: base64",
        "U3RyaWN0bHkgY29u\r\nZmlkZW50aWFs\r\n")
      assert.equal("words: offer", passes(mta, { headers = MULTIPART, body = encoded }).quarantined)
    end,
    misses = function(mta)
      assert.is_nil(passes(mta, { body = "falcon\r\n" }).quarantined)
      local program = with_part("Content-Type: application/octet-stream", "project falcon\r\n")
      assert.is_nil(passes(mta, { headers = MULTIPART, body = program }).quarantined)
    end,
  },

  ["Ask a program about the message"] = {
    options = { process = function(command)
      if command.stdin:find("crash", 1, true) then
        return { signal = 11, stdout = "", stderr = "" }
      elseif command.stdin:find("slow", 1, true) then
        return nil, "classify: timeout", "timeout"
      end
      local is_bad = command.stdin:find("Subject: hello\r\n.*\r\n\r\nbad") ~= nil
      return { status = is_bad and 1 or 0, stdout = "", stderr = "" }
    end },
    meets = function(mta)
      refused(mta, { body = "bad\r\n" }, "550 5.7.1 Refused by content")
      assert.same("ann@example.org", mta:asked("process")[1].argv[3])
    end,
    misses = function(mta)
      passes(mta, { body = "good\r\n" })
      refused(mta, { body = "crash\r\n" }, "451 4.3.0 ")
      refused(mta, { body = "slow\r\n" }, "451 4.3.0 ")
    end,
  },

  ["Ask a web service about the sender"] = {
    options = { http = {
      ["GET http://reputation.example/senders/ann%40example.org"] = { status = 404 },
      ["GET http://reputation.example/senders/spam%40example.org"] = { body = "bad: 98" },
      ["GET http://reputation.example/senders/down%40example.org"] = "timeout",
      ["GET http://reputation.example/senders/broken%40example.org"] = { status = 503 },
    } },
    meets = function(mta)
      refused(mta, { from = "spam@example.org" }, "550 5.7.1 Your address has a bad reputation")
    end,
    misses = function(mta)
      passes(mta, { from = "ann@example.org" })
      for _, sender in ipairs { "down@example.org", "broken@example.org" } do
        assert.equal("accept", mta:message({ from = sender }).verdict)
      end
      assert.equal(2, #mta:complaints())
    end,
  },

  ["Replace attachments by a note"] = {
    meets = function(mta)
      local part = 'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64'
      local result = passes(mta, { headers = MULTIPART, body = with_part(part, BASE64_EXE) })
      assert.truthy(result.message.body:find("An attachment was removed: a.pdf", 1, true), result.message.body)
      assert.truthy(result.message.body:find("hello", 1, true))
      assert.is_nil(result.message.body:find("TVqQ", 1, true))
      local inside = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64"
      local encoded = require("moonmilter.codec").base64_encode("Content-Type: application/octet-stream\r\n\r\n"
        .. "MZ\144\0\3\0\0\0\4\0\0\0\255\255\0\0\r\n", 76) .. "\r\n"
      refused(mta, { headers = MULTIPART, body = with_part(inside, encoded) }, "554 5.7.1 Programs are not accepted")
    end,
    misses = function(mta)
      local body = with_part("Content-Type: text/html", "<p>\r\n")
      assert.same({}, passes(mta, { headers = MULTIPART, body = body }).edits)
    end,
  },

  ["Add a footer"] = {
    meets = function(mta)
      mta:connect(AUTH)
      local result = passes(mta, {})
      assert.truthy(result.message.body:find("hello\r\n.*Example Ltd, 1 Mail Street"), result.message.body)
    end,
    misses = function(mta)
      assert.same({}, passes(mta, {}).edits)
      mta:connect(AUTH)
      local signed = { { "From", "a@x.example" }, { "Content-Type",
        'multipart/signed; boundary=b; protocol="application/pgp-signature"; micalg=pgp-sha256' } }
      assert.same({}, passes(mta, { headers = signed,
        body = with_part("Content-Type: application/pgp-signature", "x\r\n") }).edits)
      assert.truthy(table.concat(mta:log(), "\n"):find("no footer: ", 1, true))
    end,
  },

  ["Limit what an account sends in an hour"] = {
    options = { settings = { recipients_an_hour = 2 } },
    meets = function(mta)
      mta:connect(AUTH)
      local result = mta:message { to = { "a@x.example", "b@x.example", "c@x.example" } }
      assert.equal(2, #result.recipients)
      assert.equal(452, result.refused["<c@x.example>"].code)
      assert.truthy(mta:complaints()[1]:find("has reached its limit", 1, true))
      mta:pass(3600)
      assert.equal("accept", mta:message({}).verdict)
    end,
    misses = function(mta)
      for _ = 1, 3 do
        passes(mta, {}) -- without authentication nothing is counted
      end
      mta:connect(AUTH)
      passes(mta, { to = { "a@x.example", "b@x.example" } })
    end,
  },

  ["Log a line of my own for each message"] = {
    meets = function(mta)
      refused(mta, { headers = { { "Subject", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=" }, { "X-Test", "refuse" } } }, "550 5.7.1 ")
      assert.truthy(mta:complaints()[1]:find("refused: 550 5.7.1 Refused, subject: Grüße", 1, true))
    end,
    misses = function(mta) passes(mta, {}) end,
  },

  ["Try a rule without effect"] = {
    meets = function(mta)
      mta:connect()
      mta:helo "192.0.2.1"
      refused(mta, {}, "550 5.7.1 An address in HELO needs brackets")
    end,
    misses = function(mta)
      mta:connect()
      mta:helo "[192.0.2.1]"
      passes(mta, {})
    end,
    also = { {
      title = "only says what it would do",
      options = { settings = { observe = true } },
      run = function(mta)
        mta:connect()
        mta:helo "192.0.2.1"
        passes(mta, {})
        assert.truthy(table.concat(mta:log(), "\n"):find("would refuse: An address in HELO", 1, true))
      end,
    } },
  },

  ["Ask several services at once"] = {
    options = {
      dns = { ["_policy.bad.example"] = { TXT = { "refuse" }, delay = 2 },
        ["_policy.one.example"] = { TXT = { "refuse" } },
        ["_policy.slow.example"] = { TXT = { "refuse" }, delay = 7 } },
      http = { ["GET http://score.example/?domain=bad.example"] = { body = "bad", delay = 2 },
        ["GET http://score.example/?domain=one.example"] = { status = 500 },
        ["GET http://score.example/?domain=slow.example"] = { body = "bad" },
        ["GET http://score.example/?domain=good.example"] = "timeout" },
    },
    meets = function(mta) refused(mta, { from = "x@bad.example" }, "550 5.7.1 Refused by two judges") end,
    misses = function(mta)
      for _, sender in ipairs { "x@one.example", "x@slow.example", "x@good.example", "" } do
        passes(mta, { from = sender })
      end
    end,
  },
}

local recipes, order = read_recipes()

-- The virtual clock of a host, read by a script of its own.
local CLOCK = "local milter = require 'moonmilter' function on_done() print('now ' .. milter.now()) end function "
  .. "on_eom() end"

local function start(recipe, kind, ...)
  local options = { mta = kind, files = { ["10-recipe.lua"] = recipe } }
  for _, given in ipairs { ... } do
    for key, value in pairs(given) do
      options[key] = value
    end
  end
  return testing.start(options)
end

-- Seconds of the clock that scripts see: a message of nobody asks for it.
local function clock_of(mta)
  return function()
    local other = mta:another()
    other:connect { ip = "127.0.0.1", host = "localhost" }
    other:message {}
    other:quit()
    local log = mta:log()
    for i = #log, 1, -1 do
      local now = log[i]:match "now (%d+%.?%d*)"
      if now then
        return tonumber(now)
      end
    end
    error "no script has said the time"
  end
end

describe("the cookbook", function()
  it("has at least 25 recipes, each with cases here", function()
    assert.is_true(#order >= 25)
    for _, title in ipairs(order) do
      assert.truthy(recipes[title], "no block below " .. title)
      assert.truthy(CASES[title], "no cases for " .. title)
    end
    for title in pairs(CASES) do
      assert.truthy(recipes[title], "no recipe for the cases of " .. title)
    end
  end)

  it("links every recipe in its table", function()
    local file = assert(io.open(PAGE))
    local text = file:read "*a"
    file:close()
    for _, title in ipairs(order) do
      local anchor = title:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")
      assert.truthy(text:find("](#" .. anchor .. ")", 1, true), anchor)
    end
  end)
end)

for _, title in ipairs(order) do
  local case = CASES[title] or {}
  for _, kind in ipairs { "postfix", "sendmail" } do
    describe(("the recipe %q, asked by %s,"):format(title, kind), function()
      local mta

      local function run(act, options)
        if case.before then
          case.before()
        end
        local files = { files = { ["10-recipe.lua"] = recipes[title], ["90-clock.lua"] = CLOCK } }
        mta = start(recipes[title], kind, case.options or {}, options or {}, title:find "Slow down" and files or {})
        act(mta, clock_of(mta))
      end

      after_each(function()
        if mta then
          mta:close()
          mta = nil
        end
      end)

      it("acts on mail that meets its rule", function() run(case.meets) end)
      it("leaves other mail alone", function() run(case.misses) end)
      for _, more in ipairs(case.also or {}) do
        it(more.title, function() run(more.run, more.options) end)
      end
    end)
  end
end

teardown(function() os.remove(list_path) end)
