"""Reads one base64 text a line from stdin and writes what Python's json makes of it: base64 of the value written again, or
"-". What json.md states differently is stated here: NaN and infinity are errors, also beyond a double."""
import base64
import json
import math
import sys


def refuse(name):
    raise ValueError(name)


def number(text):
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


for line in sys.stdin:
    try:
        text = base64.b64decode(line).decode("utf-8")
        value = json.loads(text, parse_constant=refuse, parse_float=number, parse_int=number)
        print(base64.b64encode(json.dumps(value).encode()).decode())
    except (ValueError, RecursionError):
        print("-")
