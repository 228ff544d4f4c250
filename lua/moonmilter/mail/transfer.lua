--- Transfer encodings by their names (RFC 2045 6.1), in lower case.
local transfer = {}

--- Those that leave every byte unchanged.
transfer.is_identity = { [""] = true, ["7bit"] = true, ["8bit"] = true, ["binary"] = true }

--- The names of the other decoders in moonmilter.codec.
transfer.decoder_of = {
  base64 = "base64", ["quoted-printable"] = "quoted-printable",
  ["x-uuencode"] = "x-uuencode", ["x-uue"] = "x-uuencode", uuencode = "x-uuencode", uue = "x-uuencode",
}

return transfer
