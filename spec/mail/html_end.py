"""What a reader of HTML (html5lib) is shown of each text of a Lua-free list: one text a line, as hexadecimal digits.
Prints, for each, the last text that is displayed."""
import sys

import html5lib

HIDDEN = {"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"}


def texts(element, out):
    if not isinstance(element.tag, str):  # a comment
        return
    if element.tag.rpartition("}")[2] not in HIDDEN:
        if element.text:
            out.append(element.text)
        for child in element:
            texts(child, out)
            if child.tail:
                out.append(child.tail)


for line in sys.stdin:
    found = []
    texts(html5lib.parse(bytes.fromhex(line.strip()).decode("utf-8")), found)
    found = [text.strip() for text in found if text.strip()]
    print(found[-1].replace("\n", " ") if found else "")
