--- Where these modules and Python's email package (policy.default, 3.11) differ on the corpus, and why we keep our
--- result. [message] = { [facet] = reason }. A reason that begins with "varies" may also not apply: other Python
--- versions.
local drops_last_line_end = "Python drops the line end before the end of a message whose close delimiter is missing; "
  .. "no delimiter claims it (RFC 2046 5.1.1), so it is content"

return {
  ["cte-base64-padding-inside"] = { parts = "varies; RFC 2045 6.8 lets a reader stop at padding; some go on, and a "
    .. "filter must see what those show" },
  ["cte-qp"] = { parts = "RFC 2045 6.7 (3): blanks at the end of a line are padding and must go; Python keeps them" },
  ["cut-003"] = { parts = drops_last_line_end },
  ["cut-022"] = { parts = drops_last_line_end },
  ["cut-025"] = { parts = drops_last_line_end },
  ["from-comment-name"] = { from = "lenient mode shows the comment as name, as most mail readers do (the habit is "
    .. "older than RFC 822)" },
  ["from-dots"] = { from = "same address; ours quotes a local part that is not a dot-atom, so that it can be written into a "
    .. "header again" },
  ["from-double-at"] = { from = "no address at all is ours for a@b@c (errors list has it); Python makes an "
    .. "empty address" },
  ["from-two-angles"] = { from = "varies; two addresses where one is meant: ours gives none and an error, "
    .. "Python the first" },
  ["from-unquoted-address-name"] = {
    from = "the address is what stands in angle brackets, as every mail reader has it; Python takes the bait in the "
      .. "display name",
  },
  ["mime-boundary-reused"] = { parts = "ours gives a reused boundary to the innermost part and sees both texts; "
    .. "Python sees one" },
  ["mime-comments"] = { parts = "a comment is not part of the media type (RFC 2045 5.1)" },
  ["mime-report"] = { parts = "message/delivery-status is fields, not messages (RFC 3464 2.1); Python splits it into "
    .. "pseudo messages" },
  ["mime-rfc822-base64"] = { parts = "readers open an encoded message, so ours decodes it; Python parses the "
    .. "base64 as if it were the message" },
  ["name-backslashes"] = { parts = "varies; Windows paths: a backslash goes only before a quote or another (see "
    .. "token.lua)" },
  ["name-continued-from-one"] = { parts = "varies; continuations counted from 1 are read, since an attachment "
    .. "without a name passes name filters" },
  ["name-rfc2231-cut-escape"] = { parts = "varies; an escape cut in two is joined before decoding" },
  ["name-unquoted-blank"] = { parts = "the whole unquoted name counts, as in mail readers; cutting at the blank hides "
    .. "the extension" },
  ["raw-latin1-subject"] = { subject = "8-bit text without a charset is shown as windows-1252 when it is not "
    .. "UTF-8; Python keeps raw bytes" },
  ["rfc2047-encoded-newline"] = { subject = "text() never has line ends: they would inject headers or log lines" },
  ["rfc5322-a63-obs-space"] = {
    from = "blanks before the colon are obsolete but legal to read (RFC 5322 4.5); Python ends the header there",
    to = "as from", subject = "as from", parts = "as from: the rest of the header is body for Python",
  },
  ["to-semicolons"] = { to = "lenient mode takes Outlook's semicolons; Python drops what follows" },
  ["to-unquoted-comma"] = { to = "\"Doe\" alone is not an address: an entry in the errors list, not a mailbox "
    .. "without a domain" },
}
