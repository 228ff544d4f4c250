--- The message of the benches of mail identity: 20 fields, 4 KB, signed by example.org with RSA 2048.
---@param example moonmilter.testing.Domain
---@return table  as mta:message takes it
return function(example)
  local headers = { { "From", "Ann <ann@example.org>" }, { "To", "bob@example.com" }, { "Subject", "a message" },
    { "Date", "Fri, 21 Nov 1997 09:55:06 -0600" }, { "Message-ID", "<1@example.org>" } }
  for i = #headers + 1, 19 do -- DKIM-Signature is the twentieth
    headers[i] = { "X-Field-" .. i, ("word "):rep(12) }
  end
  return example:sign { headers = headers, body = ("The quick brown fox jumps over the lazy dog.\r\n"):rep(90) }
end
