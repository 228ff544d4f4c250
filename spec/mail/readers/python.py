"""What Python's email package sees in each message of a directory: a line "name reader parts"."""
import email
import email.policy
import os
import sys


def leaves(part, out):
    children = part.get_payload() if part.is_multipart() else None
    if isinstance(children, list):
        for child in children:
            leaves(child, out)
        return
    content = part.get_payload(decode=True) or b""
    out.append("program" if content.startswith(b"MZ\x90\0") else "other")


for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        text = file.read()
    for policy in "compat32", "default":
        found = []
        try:
            leaves(email.message_from_bytes(text, policy=getattr(email.policy, policy)), found)
        except Exception as problem:
            found = ["!" + type(problem).__name__]
        print(name, "python-" + policy, *found)
