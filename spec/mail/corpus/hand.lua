--- The hand-made messages: where each shape comes from, and its expected parse (see portrait.lua for the notation).
-- luacheck: ignore 613 631
return {
  { name = "rfc5322-a11-simple", source = "RFC 5322 A.1.1", expect = [==[
from: John Doe <jdoe@machine.example>
to: Mary Smith <mary@example.net>
subject: Saying Hello
date: 880127706-360
id: 1234@local.machine.example
part 1 text/plain size=52 begins=This is a message just t]==] },
  { name = "rfc5322-a12-mailboxes", source = "RFC 5322 A.1.2", expect = [==[
from: Joe Q. Public <john.q.public@example.com>
to: Mary Smith <mary@x.test> | <jdoe@example.org> | Who? <one@y.test>
cc: <boss@nil.test> | Giant; "Big" Box <sysservices@example.net>
date: 1057049557+120
id: 5678.21-Nov-1997@example.com
part 1 text/plain size=14 begins=Hi everyone.\013\010]==] },
  { name = "rfc5322-a13-group", source = "RFC 5322 A.1.3", expect = [==[
from: Pete <pete@silly.example>
to: Ed Jones <c@a.test> in A Group | <joe@where.test> in A Group | John <jdoe@one.test> in A Group
cc: 
date: -27723426-210
id: testabcd.1234@silly.example
part 1 text/plain size=10 begins=Testing.\013\010]==] },
  { name = "rfc5322-a2-reply", source = "RFC 5322 A.2", expect = [==[
from: Mary Smith <mary@example.net>
to: John Doe <jdoe@machine.example>
reply-to: Mary Smith: Personal Account <smith@home.example>
subject: Re: Saying Hello
date: 880128070-360
id: 3456@example.net
part 1 text/plain size=32 begins=This is a reply to your ]==] },
  { name = "rfc5322-a3-resent", source = "RFC 5322 A.3", expect = [==[
from: John Doe <jdoe@machine.example>
to: Mary Smith <mary@example.net>
resent-from: Mary Smith <mary@example.net>
subject: Saying Hello
date: 880127706-360
id: 1234@local.machine.example
part 1 text/plain size=38 begins=This is a message just t]==] },
  { name = "rfc5322-a4-trace", source = "RFC 5322 A.4", expect = [==[
from: John Doe <jdoe@node.example>
to: Mary Smith <mary@example.net>
subject: Saying Hello
date: 880127706-360
id: 1234@local.node.example
part 1 text/plain size=38 begins=This is a message just t]==] },
  { name = "rfc5322-a5-comments", source = "RFC 5322 A.5", expect = [==[
from: Pete <pete@silly.test>
to: Chris Jones <c@public.example> in A Group | <joe@example.org> in A Group | John <jdoe@one.test> in A Group
cc: 
date: -27723480-210
id: testabcd.1234@silly.test
part 1 text/plain size=10 begins=Testing.\013\010]==] },
  { name = "rfc5322-a61-obs-address", source = "RFC 5322 A.6.1", expect = [==[
from: Joe Q. Public <john.q.public@example.com>
to: Mary Smith <mary@example.net> | <jdoe@test.example>
date: 1057049557+120
id: 5678.21-Nov-1997@example.com
part 1 text/plain size=14 begins=Hi everyone.\013\010]==] },
  { name = "rfc5322-a62-obs-date", source = "RFC 5322 A.6.2", expect = [==[
from: John Doe <jdoe@machine.example>
to: Mary Smith <mary@example.net>
subject: Saying Hello
date: 880106106+0
id: 1234@local.machine.example
part 1 text/plain size=38 begins=This is a message just t]==] },
  { name = "rfc5322-a63-obs-space", source = "RFC 5322 A.6.3", expect = [==[
from: John Doe <jdoe@machine.example>
to: Mary Smith <mary@example.net>
subject: Saying Hello
date: 880127706-360
id: 1234@local.machine.example
part 1 text/plain size=38 begins=This is a message just t]==] },
  { name = "rfc2047-8-1", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: a
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-8-2", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: a b
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-8-3", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: ab
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-8-4", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: ab
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-8-5", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: ab
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-8-6", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: a b
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-8-7", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: a b
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-8-8", source = "RFC 2047 8", expect = [==[
from: Keith Moore <moore@cs.example>
to: Keld Jørn Simonsen <keld@dkuug.example>
subject: If you can read this you understand the example.
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-long-word", source = "RFC 2047 2 broken: word over 75 characters", expect = [==[
from: <a@example.org>
subject: Über einen sehr langen Betreff, den manche Programme in ein einziges Wort packen, obwohl es nicht sein darf
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-split-character", source = "RFC 2047 5 (3) broken: a character split over two words", expect = [==[
from: <a@example.org>
subject: ïü
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-no-space-between", source = "seen in the wild: words without white space "
    .. "between them", expect = [==[
from: <a@example.org>
subject: aébx
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-in-quotes", source = "RFC 2047 5 (3) broken: word inside a quoted string", expect = [==[
from: Jörg <j@example.org>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-comma-in-phrase", source = "seen in the wild: raw comma in a Q word of a "
    .. "display name", expect = [==[
from: Doe, Jörg <j@example.org>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-japanese", source = "RFC 1468", expect = [==[
from: 残 <j@example.org>
subject: 日本語
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-unknown-charset", source = "charset nobody knows", expect = [==[
from: <a@example.org>
subject: café b
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2047-encoded-newline", source = "header injection through an encoded line end", expect = [==[
from: <a@example.org>
subject: a  Bcc: x@example.org
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "raw-utf8-headers", source = "RFC 6532 3", expect = [==[
from: Jörg Müller <jörg@bücher.example>
to: <b@example.org>
subject: Grüße
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "raw-latin1-subject", source = "8-bit header without a charset", expect = [==[
from: <a@example.org>
subject: café
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc6854-group-from", source = "RFC 6854 3", expect = [==[
from: <ben@example.com> in Managing Partners | <carol@example.com> in Managing Partners
to: <x@example.org>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-two-angles", source = "two addresses where one is meant", expect = [==[
from: !syntax@16
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-address-in-name", source = "display-name spoofing", expect = [==[
from: ceo@bank.example <evil@example.net>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-unquoted-address-name", source = "display-name spoofing, unquoted", expect = [==[
from: ceo@bank.example <evil@example.net>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-double-at", source = "two @", expect = [==[
from: !syntax@4
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-dots", source = "RFC 5322 broken: dots of Japanese mobile carriers", expect = [==[
from: <".a..b."@mobile.example>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-quoted-local", source = "RFC 5321 4.1.2", expect = [==[
from: a b <"a b"@example.org>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-literal", source = "RFC 5321 4.1.3", expect = [==[
from: <u@[192.0.2.1]>
to: <u@[IPv6:2001:db8::1]>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "from-comment-name", source = "RFC 822 habit: name in a comment", expect = [==[
from: John Doe <john@example.org>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "to-semicolons", source = "Outlook habit: semicolons", expect = [==[
from: <a@example.org>
to: <b@example.org> | <c@example.org>
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "to-unquoted-comma", source = "unquoted comma in a display name", expect = [==[
from: <a@example.org>
to: John <j@example.org> | !syntax@4
subject: x
part 1 text/plain size=3 begins=x\013\010]==] },
  { name = "rfc2046-511", source = "RFC 2046 5.1.1 example", expect = [==[
from: Nathaniel Borenstein <nsb@bellcore.example>
to: Ned Freed <ned@innosoft.example>
subject: Sample message
date: 732787008-480
part 1 multipart/mixed
part 1.1 text/plain size=80 begins=This is implicitly typed
part 1.2 text/plain size=78 begins=This is explicitly typed]==] },
  { name = "rfc2046-515-digest", source = "RFC 2046 5.1.5 example", expect = [==[
from: <Moderator-Address@example.org>
to: <Recipient-List@example.org>
subject: Internet Digest, volume 42
date: 764343291+0
part 1 multipart/mixed
part 1.1 text/plain size=46 begins=...Introductory text or 
part 1.2 multipart/digest
part 1.2.1 message/rfc822 size=117
part 1.2.1.1 text/plain size=23 begins=...body goes here ...\013\010
part 1.2.2 message/rfc822 size=142
part 1.2.2.1 text/plain size=32 begins=... another body goes he]==] },
  { name = "rfc2049-a", source = "RFC 2049 A", expect = [==[
from: Nathaniel Borenstein <nsb@nsb.fv.example>
to: Ned Freed <ned@innosoft.example>
subject: A multipart example
date: 781571705-420
part 1 multipart/mixed
part 1.1 text/plain size=32 begins=  ... Some text appears 
part 1.2 text/plain size=111 begins=This could have been par
part 1.3 multipart/parallel
part 1.3.1 audio/basic size=5 begins=audio
part 1.3.2 image/jpeg size=10 kind=jpeg begins=\255\216\255\224\000\016JFIF
part 1.4 text/enriched size=47 begins=This is <bold><italic>en
part 1.5 message/rfc822 size=235
part 1.5.1 text/plain size=52 begins=  ... Additional text in]==] },
  { name = "name-disposition", source = "RFC 2183 2.3", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=a b.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-rfc2231", source = "RFC 2231 4", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=für dich.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-rfc2231-continued", source = "RFC 2231 4.1", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/x-stuff name=This is even more ***fun*** isn't it!.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-content-type", source = "RFC 2046 4.5.1 habit: name in Content-Type", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=c.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-encoded-word", source = "RFC 2047 5 broken: encoded word in a parameter", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=für.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-raw-8bit", source = "8-bit in a parameter", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=für.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-unquoted-blank", source = "RFC 2045 5.1 broken: blank in an unquoted value", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=my file.exe size=14 kind=exe defects=ambiguous-parameter begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-missing-quote", source = "RFC 2045 5.1 broken: quote not closed", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=a.exe size=14 kind=exe defects=ambiguous-parameter,unclosed begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-twice", source = "a parameter given twice", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=a.txt size=14 kind=exe defects=ambiguous-parameter,conflicting-name,duplicate-parameter begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-backslashes", source = "Windows path in quotes", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=C:\work\a.exe size=14 kind=exe defects=ambiguous-parameter begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-continued-from-one", source = "RFC 2231 3 broken: counted from 1", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/octet-stream name=a.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "name-rfc2231-cut-escape", source = "RFC 2231 3 broken: cut inside %XX", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=2 begins=hi
part 1.2 application/x name=für.exe size=14 kind=exe begins=MZ\144\000\003\000\000\000\004\000\000\000\255\255]==] },
  { name = "mime-close-missing", source = "RFC 2046 5.1.1 broken: no close delimiter", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed defects=close-missing
part 1.1 text/plain size=3 begins=one
part 1.2 text/html size=6 begins=<p>two]==] },
  { name = "mime-start-missing", source = "RFC 2046 5.1.1 broken: no delimiter at all", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed defects=start-missing]==] },
  { name = "mime-no-boundary", source = "RFC 2046 5.1.1 broken: no boundary parameter", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed defects=no-boundary]==] },
  { name = "mime-empty-boundary", source = "RFC 2046 5.1.1 broken: empty boundary", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed defects=bad-boundary
part 1.1 text/plain size=3 begins=one]==] },
  { name = "mime-boundary-reused", source = "evasion: the same boundary inside", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 multipart/mixed
part 1.1.1 text/plain size=3 begins=one
part 1.2 text/plain size=3 begins=two]==] },
  { name = "mime-boundary-prefix", source = "RFC 2046 5.1.1: one boundary begins with the other", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 multipart/mixed
part 1.1.1 text/plain size=3 begins=one
part 1.2 text/plain size=3 begins=two]==] },
  { name = "mime-boundary-outer-ends-inner", source = "RFC 2046 5.1.2: an outer delimiter ends "
    .. "inner parts", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 multipart/mixed defects=close-missing
part 1.1.1 text/plain size=3 begins=one
part 1.2 text/plain size=3 begins=two]==] },
  { name = "mime-boundary-blank-after", source = "RFC 2046 5.1.1 transport padding", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=3 begins=one]==] },
  { name = "mime-boundary-text-after", source = "a line that only begins like a delimiter", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=20 begins=one\013\010--bx\013\010still one]==] },
  { name = "mime-boundary-quoted", source = "RFC 2046 5.1.1 boundary that must be quoted", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=3 begins=one]==] },
  { name = "mime-epilogue-delimiter", source = "a delimiter after the close delimiter", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=3 begins=one]==] },
  { name = "mime-empty-part", source = "RFC 2046 5.1.1 part without header and body", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=0 begins=
part 1.2 text/html size=0 begins=]==] },
  { name = "mime-header-only-part", source = "RFC 2046 5.1.1: part that is only a header", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/html size=0 begins=]==] },
  { name = "mime-no-separator", source = "text where headers should be", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/html size=20 defects=no-separator begins=<p>no empty line</p>]==] },
  { name = "mime-continuation-first", source = "first header line is a continuation", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/html size=3 defects=continuation-first begins=<p>]==] },
  { name = "mime-bad-type", source = "RFC 2045 5.2", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=3 defects=bad-type begins=x\013\010]==] },
  { name = "mime-repeated-type", source = "Content-Type given twice", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/html size=5 defects=conflicting-field,repeated-field begins=<p>\013\010]==] },
  { name = "mime-comments", source = "RFC 2045 5.1 comments in structured fields", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/html size=5 defects=odd-encoding begins=<p>\013\010]==] },
  { name = "mime-case", source = "RFC 2045 5.1 case", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/html size=3 begins=<p>]==] },
  { name = "mime-rfc822", source = "RFC 2046 5.2.1", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 message/rfc822 size=122
part 1.1.1 multipart/alternative
part 1.1.1.1 text/plain size=5 begins=plain
part 1.1.1.2 text/html size=3 begins=<p>]==] },
  { name = "mime-rfc822-empty", source = "message/rfc822 without anything in it", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 message/rfc822 size=0
part 1.1.1 text/plain size=0 begins=]==] },
  { name = "mime-rfc822-base64", source = "RFC 2046 5.2.1 broken: encoded message", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 message/rfc822 size=43 defects=encoded-message
part 1.1.1 text/html size=3 begins=<p>]==] },
  { name = "mime-report", source = "RFC 3464", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/report
part 1.1 text/plain size=6 begins=failed
part 1.2 message/delivery-status size=104 begins=Reporting-MTA: dns; x.ex
part 1.3 text/rfc822-headers size=12 begins=Subject: x\013\010]==] },
  { name = "mime-signed", source = "RFC 1847 2.1", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/signed
part 1.1 text/plain size=6 begins=signed
part 1.2 application/pgp-signature name=signature.asc size=65 begins=-----BEGIN PGP SIGNATURE]==] },
  { name = "mime-deep", source = "nested ten deep", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 multipart/mixed
part 1.1.1 multipart/mixed
part 1.1.1.1 multipart/mixed
part 1.1.1.1.1 multipart/mixed
part 1.1.1.1.1.1 multipart/mixed
part 1.1.1.1.1.1.1 multipart/mixed
part 1.1.1.1.1.1.1.1 multipart/mixed
part 1.1.1.1.1.1.1.1.1 multipart/mixed
part 1.1.1.1.1.1.1.1.1.1 multipart/mixed
part 1.1.1.1.1.1.1.1.1.1.1 text/plain size=6 begins=bottom]==] },
  { name = "mime-bare-lf", source = "LF line ends (a milter on some paths sees them)", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 text/plain size=3 begins=one]==] },
  { name = "mime-mbox-line", source = "mbox \"From \" line in front of an attached message", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed
part 1.1 message/rfc822 size=47
part 1.1.1 text/plain size=2 begins=hi]==] },
  { name = "mime-empty-body", source = "no body at all", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=0 begins=]==] },
  { name = "cte-base64-junk", source = "RFC 2045 6.8: characters outside the alphabet", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=11 defects=bad-encoding begins=hello world]==] },
  { name = "cte-base64-padding-inside", source = "data after padding", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=10 defects=data-after-padding begins=helloworld]==] },
  { name = "cte-base64-truncated", source = "base64 cut short", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=10 defects=truncated begins=hello worl]==] },
  { name = "cte-qp", source = "RFC 2045 6.7", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=30 begins=caf\195\169 soft line\013\010lower\195\169]==] },
  { name = "cte-qp-bad", source = "RFC 2045 6.7 broken escapes", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=15 defects=bad-encoding begins=a=ZZ b=4 c= d\013\010]==] },
  { name = "cte-uuencode", source = "x-uuencode, before MIME", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 application/octet-stream name=cat.txt size=3 begins=Cat]==] },
  { name = "cte-unknown", source = "RFC 2045 6.4: unknown encoding", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=5 defects=unknown-encoding begins=abc\013\010]==] },
  { name = "cte-multipart-base64", source = "RFC 2045 6.4 broken: encoded multipart", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 multipart/mixed defects=encoded-multipart
part 1.1 text/plain size=3 begins=one]==] },
  { name = "charset-gb2312", source = "GB 2312 text", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=6 begins=\196\227\186\195\013\010]==] },
  { name = "charset-utf7", source = "RFC 2152", expect = [==[
from: Ann <ann@example.org>
to: <bob@example.net>
subject: test
part 1 text/plain size=10 begins=caf+AOk-\013\010]==] },
}
