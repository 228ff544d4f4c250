#!/usr/bin/python3
"""dkimpy as an oracle: see spec/auth/oracles.lua for the jobs that it reads and the answers that it writes.
Usage: dkimpy.py DIRECTORY <jobs >answers"""
import sys

import dkim

directory = sys.argv[1].encode()
zone = {}
with open(directory + b"/zone", "rb") as lines:
    for line in lines:
        name, text = line.rstrip(b"\n").split(b"\t")
        zone[name] = text


def dns(name, timeout=5):
    return zone.get(name.rstrip(b".") if isinstance(name, bytes) else name.rstrip(".").encode())


def verify(message):
    try:
        return b"pass\n" if dkim.DKIM(message).verify(dnsfunc=dns) else b"fail\n"
    except dkim.DKIMException as error:
        return b"fail " + str(error).encode().replace(b"\n", b" ") + b"\n"


def sign(header_canon, body_canon, key, message):
    kind = b"ed25519-sha256" if key.startswith(b"ed25519") else b"rsa-sha256"
    with open(directory + b"/" + key + (b".seed" if kind[0] == ord("e") else b".pem"), "rb") as file:
        private = file.read()
    try:
        signer = dkim.DKIM(message, signature_algorithm=kind)
        field = signer.sign(key, b"example.org", private, canonicalize=(header_canon, body_canon))
        return b"%d\n%s" % (len(field), field)
    except dkim.DKIMException as error:
        return b"fail " + str(error).encode().replace(b"\n", b" ") + b"\n"


while True:
    words = sys.stdin.buffer.readline().split()
    if not words:
        break
    message = sys.stdin.buffer.read(int(words[-1]))
    answer = verify(message) if words[0] == b"verify" else sign(*words[1:4], message)
    sys.stdout.buffer.write(answer)
