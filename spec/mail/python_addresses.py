"""What Python sees in address lists, one base64 text a line on stdin, printed as a Lua table: for each text the addresses
of email.utils.getaddresses in strict mode, and those of email.headerregistry."""
import base64
import email.policy
import sys
from email.utils import getaddresses


def lua(text):
    out = ['"']
    for byte in text.encode("utf-8", "surrogateescape"):
        out.append(chr(byte) if 32 <= byte < 127 and byte not in (34, 92) else "\\%03d" % byte)
    out.append('"')
    return "".join(out)


def strict(text):
    return [address for _, address in getaddresses([text], strict=True)]


def registry(text):
    try:
        return [a.addr_spec for a in email.policy.default.header_factory("To", text).addresses]
    except Exception as problem:  # a disagreement like any other
        return ["!" + type(problem).__name__]


def table(addresses):
    return "{ " + ", ".join(lua(a) for a in addresses) + " }"


print("return {")
for line in sys.stdin:
    text = base64.b64decode(line).decode("utf-8", "surrogateescape")
    print("{ strict = %s, registry = %s }," % (table(strict(text)), table(registry(text))))
print("}")
