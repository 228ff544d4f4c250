# ARC by dkimpy (Debian: python3-dkim), as an oracle: reads lines of JSON { message, keys: by name, domain, selector, pem } and
# prints for each: the verdict, and whether message signature and seal of each set verify, newest first. With pem it
# prints the three fields that dkimpy would add instead.
import json
import sys

import dkim

for line in sys.stdin:
    case = json.loads(line)
    message = case["message"].encode("latin-1")

    def look_up(name, timeout=5):
        return case["keys"].get(name.decode().rstrip(".").lower(), "").encode()

    try:
        result, sets, text = dkim.ARC(message).verify(dnsfunc=look_up)
        print((result or b"ended").decode(), *["%d%d" % (s["ams-valid"], s["as-valid"]) for s in sets], flush=True)
    except Exception as e:
        print("crash", type(e).__name__, e, flush=True)
