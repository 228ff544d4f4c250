--- Where other implementations of DKIM differ from ours, and which section says who is right. The differential spec
--- accepts nothing else.
---
--- Each row: oracle; job "verify" (it reads our signature) or "sign" (we read its signature); answer, a pattern of what
--- it says, or of the result that we give; when(case), the trait of the message; section and why.
local function has_blank_before_colon(case)
  for _, field in ipairs(case.fields) do
    if field.raw:find "^[^:]* :" then
      return true
    end
  end
  return false
end

local function has_no_line_end(case)
  return case.body ~= "" and case.body:sub(-2) ~= "\r\n"
end

local function ends_with_blank(case)
  return case.body_canon == "relaxed" and case.body:find "[ \t]$" ~= nil
end

-- A last line of nothing but blanks is enough for the simple form.
local function ends_with_blanks(case)
  return ends_with_blank(case) or case.body_canon == "simple" and case.body:find "\n[ \t]+$" ~= nil
end

local BLANK_BEFORE_COLON = "it refuses a message with \"Name :\"; blanks there are deleted"
local BLANK_AT_END = "it keeps blanks of a last line without CRLF; blanks at the end of lines are ignored"

return {
  { oracle = "libopendkim", job = "sign", answer = "^fail fail signature does not match$",
    when = function(case) return case.key == "ed25519" and case.header_canon == "simple" end,
    section = "RFC 6376 3.4.1",
    why = "its Ed25519 signatures over a simple header match for nobody, itself and dkimpy included" },
  { oracle = "dkimpy", job = "verify", answer = "^fail Unexpected characters in RFC822 header",
    when = has_blank_before_colon, section = "RFC 6376 3.4.2", why = BLANK_BEFORE_COLON },
  { oracle = "dkimpy", job = "sign", answer = "^fail Unexpected characters in RFC822 header",
    when = has_blank_before_colon, section = "RFC 6376 3.4.2", why = BLANK_BEFORE_COLON },
  { oracle = "libopendkim", job = "verify", answer = "^fail Syntax error$", when = has_no_line_end,
    section = "RFC 6376 3.4.3", why = "it refuses a body without CRLF at its end; one is added" },
  { oracle = "libopendkim", job = "sign", answer = "^fail Syntax error$", when = has_no_line_end,
    section = "RFC 6376 3.4.3", why = "it refuses a body without CRLF at its end; one is added" },
  { oracle = "dkimpy", job = "verify", answer = "^fail body hash mismatch", when = ends_with_blank,
    section = "RFC 6376 3.4.4", why = BLANK_AT_END },
  { oracle = "dkimpy", job = "sign", answer = "^fail fail body hash does not match$", when = ends_with_blank,
    section = "RFC 6376 3.4.4", why = BLANK_AT_END },
  { oracle = "libopendkim", job = "verify", answer = "^fail Bad signature$", when = ends_with_blanks,
    section = "RFC 6376 3.4.4", why = BLANK_AT_END },
  { oracle = "libopendkim", job = "sign", answer = "^fail fail body hash does not match$", when = ends_with_blanks,
    section = "RFC 6376 3.4.4", why = BLANK_AT_END },
  { oracle = "mail_dkim", job = "verify", answer = "^fail fail %(body has been altered%)$", when = has_no_line_end,
    section = "RFC 6376 3.4.3", why = "it hashes a body without CRLF at its end as it is; CRLF is added" },
  { oracle = "mail_dkim", job = "sign", answer = "^fail fail body hash does not match$", when = has_no_line_end,
    section = "RFC 6376 3.4.3", why = "it hashes a body without CRLF at its end as it is; CRLF is added" },
}
