rockspec_format = "3.0"
package = "moonmilter"
version = "scm-1"

-- Built from a checkout: luarocks --lua-version=5.1 make rockspec/moonmilter-scm-1.rockspec
source = { url = "git+file://." }

description = {
  summary = "Mail as data: addresses, header fields, MIME, Authentication-Results, SPF, scanning",
  detailed = [[
The mail modules of moonmilter, for use outside the host: plain LuaJIT, LPeg and two C modules (glibc's iconv, libidn2,
libcrypto).
Where lpeg comes from the distribution (Debian: lua-lpeg), add --deps-mode=none.]],
  license = "MIT",
}

supported_platforms = { "unix" }

dependencies = { "lua == 5.1", "lpeg >= 1.0" } -- LuaJIT 2.1, which is Lua 5.1 to LuaRocks

external_dependencies = {
  CRYPTO = { header = "openssl/evp.h", library = "crypto" },
  IDN2 = { header = "idn2.h", library = "idn2" },
}

build = {
  type = "builtin",
  modules = {
    ["moonmilter.address"] = "lua/moonmilter/address.lua",
    ["moonmilter.arc"] = "lua/moonmilter/arc.lua",
    ["moonmilter.authres"] = "lua/moonmilter/authres.lua",
    ["moonmilter.body"] = "lua/moonmilter/body.lua",
    ["moonmilter.charset"] = "lua/moonmilter/charset.lua",
    ["moonmilter.cidr"] = "lua/moonmilter/cidr.lua",
    ["moonmilter.codec"] = {
      sources = {
        "host/codec/charset.c", "host/codec/codec.c", "host/codec/decode.c", "host/codec/encode.c", "host/codec/idna.c",
        "host/codec/indexes.c", "host/codec/pad.c", "host/codec/unicode.c", "host/codec/whatwg.c",
      },
      defines = { "_GNU_SOURCE" },
      libraries = { "idn2" },
      incdirs = { "host", "$(IDN2_INCDIR)" },
      libdirs = { "$(IDN2_LIBDIR)" },
    },
    ["moonmilter.datetime"] = "lua/moonmilter/datetime.lua",
    ["moonmilter.dkim"] = "lua/moonmilter/dkim.lua",
    ["moonmilter.dmarc"] = "lua/moonmilter/dmarc.lua",
    ["moonmilter.encoded_word"] = "lua/moonmilter/encoded_word.lua",
    ["moonmilter.header"] = "lua/moonmilter/header.lua",
    ["moonmilter.identity.author"] = "lua/moonmilter/identity/author.lua",
    ["moonmilter.identity.evidence"] = "lua/moonmilter/identity/evidence.lua",
    ["moonmilter.identity.keyrecord"] = "lua/moonmilter/identity/keyrecord.lua",
    ["moonmilter.identity.policy"] = "lua/moonmilter/identity/policy.lua",
    ["moonmilter.identity.recent"] = "lua/moonmilter/identity/recent.lua",
    ["moonmilter.identity.signature"] = "lua/moonmilter/identity/signature.lua",
    ["moonmilter.identity.signed"] = "lua/moonmilter/identity/signed.lua",
    ["moonmilter.identity.taglist"] = "lua/moonmilter/identity/taglist.lua",
    ["moonmilter.identity.time_left"] = "lua/moonmilter/identity/time_left.lua",
    ["moonmilter.identity.tree"] = "lua/moonmilter/identity/tree.lua",
    ["moonmilter.identity.dns_name"] = "lua/moonmilter/identity/dns_name.lua",
    ["moonmilter.identity.ip"] = "lua/moonmilter/identity/ip.lua",
    ["moonmilter.identity.spf_macro"] = "lua/moonmilter/identity/spf_macro.lua",
    ["moonmilter.identity.spf_record"] = "lua/moonmilter/identity/spf_record.lua",
    ["moonmilter.mail.bound"] = "lua/moonmilter/mail/bound.lua",
    ["moonmilter.mail.addrspec"] = "lua/moonmilter/mail/addrspec.lua",
    ["moonmilter.mail.block"] = "lua/moonmilter/mail/block.lua",
    ["moonmilter.mail.declared"] = "lua/moonmilter/mail/declared.lua",
    ["moonmilter.mail.fields"] = "lua/moonmilter/mail/fields.lua",
    ["moonmilter.mail.folding"] = "lua/moonmilter/mail/folding.lua",
    ["moonmilter.mail.displayed"] = "lua/moonmilter/mail/displayed.lua",
    ["moonmilter.mail.embedded"] = "lua/moonmilter/mail/embedded.lua",
    ["moonmilter.mail.html_end"] = "lua/moonmilter/mail/html_end.lua",
    ["moonmilter.mail.kind"] = "lua/moonmilter/mail/kind.lua",
    ["moonmilter.mail.params"] = "lua/moonmilter/mail/params.lua",
    ["moonmilter.mail.readings"] = "lua/moonmilter/mail/readings.lua",
    ["moonmilter.mail.parts"] = "lua/moonmilter/mail/parts.lua",
    ["moonmilter.mail.path"] = "lua/moonmilter/mail/path.lua",
    ["moonmilter.mail.rewrite"] = "lua/moonmilter/mail/rewrite.lua",
    ["moonmilter.mail.structured"] = "lua/moonmilter/mail/structured.lua",
    ["moonmilter.mail.token"] = "lua/moonmilter/mail/token.lua",
    ["moonmilter.mail.word"] = "lua/moonmilter/mail/word.lua",
    ["moonmilter.mail.transfer"] = "lua/moonmilter/mail/transfer.lua",
    ["moonmilter.mime"] = "lua/moonmilter/mime.lua",
    ["moonmilter.net.ascii_name"] = "lua/moonmilter/net/ascii_name.lua",
    ["moonmilter.scan"] = "lua/moonmilter/scan.lua",
    ["moonmilter.seal"] = {
      sources = {
        "host/seal/canon.c", "host/seal/der.c", "host/seal/digest.c", "host/seal/keypair.c", "host/seal/method.c",
        "host/seal/seal.c", "host/seal/tags.c",
      },
      defines = { "_GNU_SOURCE" },
      libraries = { "crypto" },
      incdirs = { "host", "$(CRYPTO_INCDIR)" },
      libdirs = { "$(CRYPTO_LIBDIR)" },
    },
    ["moonmilter.spf"] = "lua/moonmilter/spf.lua",
  },
}
