# SPF by pyspf (Debian: python3-spf), as an oracle: reads lines of JSON { zone, ip, sender, helo }, and prints the result of
# each, and its text. zone: by name, a list of [type, value]; TXT are lists of strings, MX [preference, name].
import json
import socket
import sys

import spf

zone = {}


def look_up(name, kind, strict=True, timeout=None, level=0):
    for row in zone.get(name.lower().rstrip("."), []):
        row_kind, value = row
        if row_kind == kind and value == "TIMEOUT":
            raise spf.TempError("DNS timeout")
        if row_kind not in (kind, "CNAME"):
            continue
        if row_kind == "TXT":
            value = tuple(text.encode("latin-1") for text in value)
        elif row_kind == "AAAA":
            value = bytes(socket.inet_pton(socket.AF_INET6, value))
        elif row_kind == "MX":
            value = tuple(value)
        yield (name, row_kind), value
        if row_kind == "CNAME" and kind != "CNAME" and level < 4:
            yield from look_up(value, kind, level=level + 1)


spf.DNSLookup = look_up

for line in sys.stdin:
    case = json.loads(line)
    zone.clear()
    zone.update(case["zone"])
    try:
        query = spf.query(i=case["ip"], s=case["sender"], h=case["helo"], strict=True)
        result, _, text = query.check()
        print(result, text.replace("\n", " "), flush=True)
    except Exception as e:
        print("crash", type(e).__name__, flush=True)
