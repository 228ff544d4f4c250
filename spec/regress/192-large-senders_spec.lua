-- Nothing was read of Microsoft 365's Authentication-Results; a Received whose "from" has a comment only took "by" for
-- its value, and dates with fractions of seconds, as SendGrid writes them, were none. Since 0.1.0.
local authres = require "moonmilter.authres"
local datetime = require "moonmilter.datetime"
local header = require "moonmilter.header"

local function sorted(set)
  local names = {}
  for name in pairs(set or {}) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, " ")
end

-- "method=result", with what belongs to it
local function shown(t)
  local out = {}
  for i, r in ipairs(t.results) do
    local words = { r.method .. "=" .. r.result }
    words[#words + 1] = r.reason and "reason:" .. r.reason
    for _, p in ipairs(r.properties) do
      words[#words + 1] = (p.type and p.type .. "." or "") .. p.property .. "=" .. p.value
    end
    words[#words + 1] = r.unread and "unread:" .. r.unread
    out[i] = table.concat(words, " ")
  end
  return table.concat(out, "; ")
end

describe("Authentication-Results of", function()
  local cases = {
    { "Microsoft 365", "spf=pass (sender IP is 192.0.2.1)\n smtp.mailfrom=x.example; dkim=pass (signature was "
      .. "verified)\n header.d=x.example;dmarc=pass action=none\n header.from=x.example;compauth=pass reason=100",
      nil, "spf=pass smtp.mailfrom=x.example; dkim=pass header.d=x.example; dmarc=pass action=none "
      .. "header.from=x.example; compauth=pass reason:100", "bad-property no-authserv-id" },
    { "Exchange behind it", "mx.example 1; spf=pass smtp.mailfrom=x.example; dmarc=pass action=none "
      .. "header.from=x.example; dkim=pass header.d=x.example; arc=none", "mx.example", "spf=pass "
      .. "smtp.mailfrom=x.example; dmarc=pass action=none header.from=x.example; dkim=pass header.d=x.example; "
      .. "arc=none",
      "bad-property" },
    { "Gmail", "mx.google.com;\n dkim=pass header.i=@x.example header.s=s header.b=AbC/d1+;\n spf=pass "
      .. "(google.com: domain "
      .. "of a@x.example designates 192.0.2.4 as permitted sender) smtp.mailfrom=\"b=c@x.example\";\n dmarc=pass "
      .. "(p=REJECT sp=REJECT dis=NONE) header.from=x.example", "mx.google.com",
      "dkim=pass header.i=@x.example header.s=s "
      .. "header.b=AbC/d1+; spf=pass smtp.mailfrom=b=c@x.example; dmarc=pass header.from=x.example", "" },
    { "Yahoo", "a.omega.yahoo.com;\n dkim=pass header.i=@x.example header.s=s;\n dmarc=pass(p=REJECT) "
      .. "header.from=x.example;",
      "a.omega.yahoo.com", "dkim=pass header.i=@x.example header.s=s; dmarc=pass header.from=x.example", "" },
    { "Yahoo, formerly", "mta1.mail.bf1.yahoo.com  from=x.example; domainkeys=neutral (no sig);  from=y.example; "
      .. "dkim=pass",
      "mta1.mail.bf1.yahoo.com", "domainkeys=neutral; dkim=pass", "bad-result no-semicolon" },
    { "Fastmail", "mx6.messagingengine.com; dkim=pass (2048-bit rsa key sha256) header.d=x.example x-bits=2048; "
      .. "x-vs=clean "
      .. "score=0 state=0; x-tls=pass smtp.version=TLSv1.3 smtp.bits=256/256; x-return-mx=pass policy.is_org=yes "
      .. "(MX found)",
      "mx6.messagingengine.com", "dkim=pass header.d=x.example x-bits=2048; x-vs=clean score=0 state=0; x-tls=pass "
      .. "smtp.version=TLSv1.3 smtp.bits=256/256; x-return-mx=pass policy.is_org=yes", "bad-property" },
    { "Apple", "bimi.icloud.com; bimi=skipped reason=\"insufficient dmarc\"", "bimi.icloud.com",
      "bimi=skipped reason:insufficient dmarc", "" },
    { "Cisco", "esa1.x.example; spf=Pass smtp.mailfrom=a@x.example; dmarc=pass (p=none dis=none) d=x.example",
      "esa1.x.example", "spf=pass smtp.mailfrom=a@x.example; dmarc=pass d=x.example", "bad-property" },
    { "mail.ru", "mxs.mail.ru; spf=pass (mx1.i.mail.ru: domain of x.example designates 192.0.2.4 as permitted sender) "
      .. "smtp.mailfrom=a@x.example smtp.helo=y.example;\n\t dkim=pass header.d=x.example", "mxs.mail.ru",
      "spf=pass smtp.mailfrom=a@x.example smtp.helo=y.example; dkim=pass header.d=x.example", "" },
    { "an ARC set", "i=2; mx.microsoft.com 1; spf=pass smtp.mailfrom=x.example; arc=none", "mx.microsoft.com",
      "spf=pass smtp.mailfrom=x.example; arc=none", "" },
    { "a careless writer", "mx.example; dkim=fail reason=signature did not verify header.d=x.example; spf=pass; "
      .. "smtp.mailfrom=y.example; foo; dkim=; iprev=pass (open policy.iprev=192.0.2.1; auth=pass", "mx.example",
      "dkim=fail reason:signature header.d=x.example unread:did not verify; spf=pass smtp.mailfrom=y.example; "
      .. "iprev=pass policy.iprev=192.0.2.1 unread:(open; auth=pass", "bad-property bad-result unclosed" },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " is read, its faults said", function()
      local t = assert(authres.parse(case[2]))
      assert.equal(case[3], t.authserv_id)
      assert.equal(case[4], shown(t))
      assert.equal(case[5], sorted(t.defects))
      -- what was read can be written, and read again
      assert.equal(case[4]:gsub(" unread:[^;]*", ""), (shown(authres.parse(authres.format(t)))))
      assert.equal(case[2], header.format("Authentication-Results", header.parse("Authentication-Results", case[2])))
    end)
  end

  it("a careless writer keeps what is no result", function()
    assert.same({ "foo", "dkim=" }, authres.parse("mx.example; spf=pass; foo; dkim=").unread)
    assert.equal(2, authres.parse("i=2; mx.example 1; arc=none").instance)
    assert.equal("i=2; mx.example; arc=none", authres.format(authres.parse "i=2; mx.example 1; arc=none"))
  end)
end)

describe("Received", function()
  local DATE = "; Tue, 12 Mar 2024 01:02:03 +0000"
  local cases = {
    { "from ([192.0.2.1]) by mx.example with ESMTP id 1A for <u@x.example>" .. DATE,
      { by = "mx.example", with = "ESMTP", id = "1A", for_ = "<u@x.example>" }, { "from ([192.0.2.1])" } },
    { "from a.example by b.example" .. DATE .. " (UTC)\n (envelope-from c@x.example)", { from = "a.example",
      by = "b.example" }, { "date (UTC)", "date (envelope-from c@x.example)" } },
    { "from by mx.example with ESMTP" .. DATE, { by = "mx.example", with = "ESMTP" }, {} },
    { "from by by mx.example with ESMTP" .. DATE, { from = "by", by = "mx.example", with = "ESMTP" }, {} },
    { "from unknown (HELO m.example) (a@192.0.2.1) by y.example with SMTP" .. DATE, { from = "unknown",
      by = "y.example", with = "SMTP" }, { "from (HELO m.example)", "from (a@192.0.2.1)" } },
    { "(qmail 12345 invoked by uid 500)" .. DATE, {}, { "- (qmail 12345 invoked by uid 500)" } },
    { "from A.prod.outlook.com (2603:10a6:10:1::1) by B.prod.outlook.com with Microsoft SMTP Server (version=TLS1_2, "
      .. "cipher=TLS_X) id 15.20.7362.33 via Frontend Transport" .. DATE, { from = "A.prod.outlook.com",
      by = "B.prod.outlook.com", with = "Microsoft SMTP Server", id = "15.20.7362.33", via = "Frontend Transport" },
      { "from (2603:10a6:10:1::1)", "with (version=TLS1_2, cipher=TLS_X)" } },
    { "by 2002:a05:6512::c77c with SMTP id d12csp1" .. DATE, { by = "2002:a05:6512::c77c", with = "SMTP",
      id = "d12csp1" }, {} },
    { "from m.example ([192.0.2.1]:1234 helo=foo) by mx with esmtps  (TLS1.3) tls TLS_X (Exim 4.96) id 1abc for "
      .. "u@x.example"
      .. DATE, { from = "m.example", by = "mx", with = "esmtps", id = "1abc", for_ = "u@x.example" },
      { "from ([192.0.2.1]:1234 helo=foo)", "with (TLS1.3)", "with (Exim 4.96)" } },
    { "from a (b [192.0.2.1] by mx.example with ESMTP id 1" .. DATE, { from = "a", by = "mx.example", with = "ESMTP",
      id = "1" }, {}, "unclosed" },
    { "from a by b by c" .. DATE, { from = "a", by = "b" }, {}, "repeated-clause" },
    { "from [127.0.0.1] (unknown [192.0.2.4]) by ismtpd0005p1 (SG) with ESMTP id abc Tue, 12 Mar 2024 "
      .. "01:02:03.516 +0000 "
      .. "(UTC)", { from = "[127.0.0.1]", by = "ismtpd0005p1", with = "ESMTP", id = "abc" },
      { "from (unknown [192.0.2.4])", "by (SG)", "date (UTC)" }, "no-semicolon" },
    { "by filterdrecv-1 with SMTP id f-1; 2024-03-12 01:02:03.516083 +0000 UTC m=+548154.123", { by = "filterdrecv-1",
      with = "SMTP", id = "f-1" }, {} },
  }
  for _, case in ipairs(cases) do
    it(("is read: %.60s"):format(case[1]), function()
      local r = header.received(case[1])
      local clauses, remarks = {}, {}
      for _, name in ipairs { "from", "by", "via", "with", "id", "for_" } do
        clauses[name] = r[name]
      end
      for i, remark in ipairs(r.remarks) do
        remarks[i] = (remark.clause or "-") .. " (" .. remark.text .. ")"
      end
      assert.same(case[2], clauses)
      assert.same(case[3], remarks)
      assert.equal(1710205323, r.date.epoch)
      assert.equal(case[4] or "", sorted(r.defects))
    end)
  end

  it("says when its date is missing or cannot be read", function()
    assert.equal("no-date", sorted(header.received("from a by b").defects))
    assert.equal("bad-date", sorted(header.received("from a by b; yesterday").defects))
  end)

  it("is written with a comment that has a clause by itself", function()
    local r = header.received("from ([192.0.2.1]) by mx.example" .. DATE)
    r.id = "2"
    assert.equal("from ([192.0.2.1]) by mx.example id 2" .. DATE, header.format("Received", r):gsub("\n", ""))
  end)
end)

describe("a date", function()
  local cases = {
    { "Thu, 02 Apr 2020 07:53:55.516 +0000 (UTC)", 1585814035, "time" },
    { "Thu, 02 Apr 2020 07:53:55,516 +0000", 1585814035, "time" },
    { "2020-04-02T07:53:55.516Z", 1585814035, "order time zone" },
    { "2020-04-02 09:53:55 +02:00", 1585814035, "order zone" },
    { "Thu Apr  2 07:53:55 2020", 1585814035, "order zone" },
    { "Thu Apr 2 02:53:55 EST 2020", 1585814035, "order zone" },
    { "Thu, Apr 2, 2020 7:53:55 AM +0000", 1585814035, "order time" },
    { "Thu Apr 02 2020 09:53:55 GMT+0200 (CEST)", 1585814035, "order zone" },
    { "Thursday, 2-April-20 07.53.55 GMT", 1585814035, "time year zone" },
    { "Do, 2 Apr 2020 07:53:55 +0000", 1585814035, "weekday" },
    { "Fri, 2 Apr 2020 07:53:55 +0000", 1585814035, "weekday" },
    { '"Thu, 2 Apr 2020 07:53:55 +0000"', 1585814035, "quoted" },
    { "Thu, 2 Apr 2020 07:53:55 +0000 and more", 1585814035, "trailing" },
    { "(a (b)) Thu (c), 2 (d) Apr 2020 07 : 53 : 55 +0000 (open", 1585814035, "" },
    { "2020/04/02 16:53:55 +0900", 1585814035, "order" }, { "2 Apr 2020 09:53:55 UTC+2", 1585814035, "zone" },
    { "2 Apr 2020 01:53:55 -600", 1585814035, "zone" },
    { "Thu, 2 Apr 2020 07:53:55", 1585814035, "zone" }, { "Thu, 2 Apr 2020 07:53:55+0000", 1585814035, "" },
  }
  for _, case in ipairs(cases) do
    it("is read: " .. case[1], function()
      local date, why = datetime.parse(case[1])
      assert.is_table(date, why)
      assert.same({ case[2], case[3] }, { date.epoch, sorted(date.defects) })
      assert.equal(case[1]:find "516" and 0.516 or nil, date.fraction)
    end)
  end
end)
