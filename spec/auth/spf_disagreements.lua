--- Where pyspf 2.0.14 gives another result than ours, and why we keep ours: their result and the beginning of their
--- text (or ours), the section, and a claim that has to hold: of our trace, of the case as text, of our reason.
return {
  { theirs = "permerror", text = "SPF Permanent Error: Void lookup limit of 2 exceeded",
    section = "RFC 7208 4.6.4 limits terms whose look-ups are void; pyspf counts each question, also again where it "
      .. "repeats, those for addresses of the names of an mx and of the client, and those of %{p} in terms that it never "
      .. "evaluates",
    holds = function(trace) return trace.voids <= 2 end },
  { theirs = "permerror", text = "SPF Permanent Error: include has trivial recursion",
    section = "RFC 7208 4.6.4 and 5.2: a record that includes itself reaches the limit of look-ups; where a term before it "
      .. "matches, it is never evaluated. pyspf refuses the record when it reads it",
    holds = function(trace) return trace.lookups <= 10 end },
  { theirs = "temperror", text = "SPF Temporary Error: DNS timeout",
    section = "RFC 7208 5.5: an error while a name of the client is looked up skips the name; %{p} is then another name "
      .. "or \"unknown\" (7.3)",
    holds = function(_, case) return case:find "[pP][tT][rR]" or case:find "%{p" end },
  { ours = "permerror",
    section = "RFC 7208 7.1: the number of parts in a macro must not be zero; pyspf takes it as all parts",
    holds = function(_, _, reason) return reason:find "%%{[dD]0}" end },
  { section = "RFC 7208 7.1 with RFC 5234 2.3: \"r\" is a literal, which ABNF takes in either case; pyspf ignores "
      .. "\"R\"",
    holds = function(_, case) return case:find "%%{%a%d*R" end },
}
