--- Transfer encodings by their names (RFC 2045 6.1), in lower case.
local transfer = {}

--- Those that change no byte.
transfer.is_identity = { [""] = true, ["7bit"] = true, ["8bit"] = true, ["binary"] = true }

--- What moonmilter.codec calls the decoder of the others.
transfer.decoder_of = {
  base64 = "base64", ["quoted-printable"] = "quoted-printable",
  ["x-uuencode"] = "x-uuencode", ["x-uue"] = "x-uuencode", uuencode = "x-uuencode", uue = "x-uuencode",
}

return transfer
