"""What GMime sees in each message of a directory: a line "name reader parts". Needs gir1.2-gmime-3.0 and python3-gi."""
import os
import sys
import gi
gi.require_version("GMime", "3.0")
from gi.repository import GMime


def leaves(part, out):
    if isinstance(part, GMime.Multipart):
        for number in range(part.get_count()):
            leaves(part.get_part(number), out)
    elif isinstance(part, GMime.MessagePart):
        inner = part.get_message()
        if inner and inner.get_mime_part():
            leaves(inner.get_mime_part(), out)
    elif isinstance(part, GMime.Part) and part.get_content():
        stream = GMime.StreamMem.new()
        part.get_content().write_to_stream(stream)
        content = bytes(stream.get_byte_array() or b"")
        out.append("program" if content.startswith(b"MZ\x90\0") else "other")
    else:
        out.append("other")


GMime.init()
for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        stream = GMime.StreamMem.new_with_buffer(file.read())
    found = []
    message = GMime.Parser.new_with_stream(stream).construct_message(None)
    if message and message.get_mime_part():
        leaves(message.get_mime_part(), found)
    print(name, "gmime", *found)
