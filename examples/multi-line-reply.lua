-- A refusal of several lines: each argument is a line, and the host adds the codes.
function on_mail(ctx, sender, params)
  if sender:lower():find("@spammer%.example$") then
    return ctx:reject(550, "5.7.1",
      "Mail from this domain is refused.",
      "100% of what we got from it was unwanted.",
      "Questions: https://example.com/postmaster")
  end
end
