"""What Python's email package (policy.default) sees in each message of a directory, printed as a Lua table."""
import email
import email.policy
import os
import sys


def lua(text):
    out = ['"']
    for byte in text.encode("utf-8", "surrogateescape"):  # restores raw 8-bit bytes
        out.append(chr(byte) if 32 <= byte < 127 and byte not in (34, 92) else "\\%03d" % byte)
    out.append('"')
    return "".join(out)


def mailboxes(message, name):
    field = message[name]
    if field is None:
        return None
    out = []
    for address in field.addresses:
        name = address.display_name
        out.append((name + " " if name else "") + "<" + address.addr_spec + ">")
    return " | ".join(out)


def parts(message, path, out):
    line = [path, message.get_content_type()]
    name = message.get_filename()
    if name:
        line.append("name=" + name)
    children = message.get_payload() if message.is_multipart() else []
    if not isinstance(children, list):
        children = []
    if not children and message.get_content_maintype() != "multipart":
        line.append("size=%d" % len(message.get_payload(decode=True) or b""))
    out.append(" ".join(line))
    for number, child in enumerate(children):
        parts(child, "%s.%d" % (path, number + 1), out)


def facet(function):
    try:
        return function()
    except Exception as problem:  # a disagreement like any other
        return "!" + type(problem).__name__


def main(directory):
    print("return {")
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            message = email.message_from_bytes(file.read(), policy=email.policy.default)
        lines = []
        failure = facet(lambda: parts(message, "1", lines))
        facets = {
            "from": facet(lambda: mailboxes(message, "From")),
            "to": facet(lambda: mailboxes(message, "To")),
            "subject": facet(lambda: None if message["Subject"] is None else str(message["Subject"])),
            "parts": failure or "\n".join(lines),
        }
        print("  [%s] = {" % lua(name))
        for key, value in facets.items():
            if value is not None:
                print("    [%s] = %s," % (lua(key), lua(value)))
        print("  },")
    print("}")


main(sys.argv[1])
