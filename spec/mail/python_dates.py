"""What email.utils makes of dates, one a line on stdin: epoch seconds and the offset in minutes ("-" where it knows none),
or "none"."""
import sys
from email.utils import mktime_tz, parsedate_tz

for line in sys.stdin:
    try:
        parts = parsedate_tz(line.rstrip("\n"))
        epoch = parts and mktime_tz(parts)
    except Exception:  # a disagreement like any other
        parts = None
    if parts is None:
        print("none")
    else:
        print(int(epoch), "-" if parts[9] is None else parts[9] // 60)
