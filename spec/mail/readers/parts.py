"""The parts that GMime sees in each message of a directory, as a Lua table: path, type, decoded size of a leaf. Needs
gir1.2-gmime-3.0 and python3-gi."""
import os
import sys
import gi
gi.require_version("GMime", "3.0")
from gi.repository import GMime


def size_of(part):
    if not part.get_content():
        return 0
    stream = GMime.StreamMem.new()
    part.get_content().write_to_stream(stream)
    return len(bytes(stream.get_byte_array() or b""))


def parts(part, path, out):
    line = path + " " + (part.get_content_type().get_mime_type() if part.get_content_type() else "-").lower()
    children = []
    if isinstance(part, GMime.Multipart):
        children = [part.get_part(number) for number in range(part.get_count())]
    elif isinstance(part, GMime.MessagePart):
        inner = part.get_message() and part.get_message().get_mime_part()
        children = [inner] if inner else []
    elif isinstance(part, GMime.Part):
        line += " size=%d" % size_of(part)
    out.append(line)
    for number, child in enumerate(children):
        parts(child, "%s.%d" % (path, number + 1), out)


GMime.init()
print("return {")
for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        stream = GMime.StreamMem.new_with_buffer(file.read())
    found = []
    message = GMime.Parser.new_with_stream(stream).construct_message(None)
    if message and message.get_mime_part():
        parts(message.get_mime_part(), "1", found)
    print("  [\"%s\"] = \"%s\"," % (name, "; ".join(found)))
print("}")
