#!/usr/bin/python3
"""Prints src/text/html_entities.inc: HTML's named characters, out of Python's html.entities, sorted by their names' bytes.

usage: src/text/make_html_entities.py > src/text/html_entities.inc
"""

import html.entities


def literal(text):
    out = ""
    for byte in text.encode():
        printable = 0x20 <= byte < 0x7f and chr(byte) not in '"\\?'
        out += chr(byte) if printable else f"\\{byte:03o}"
    return f'"{out}"'


def main():
    print("// Made by make_html_entities.py. Sorted; a name without its semicolon is one that HTML lets stand so.")
    line = ""
    for name, text in sorted(html.entities.html5.items(), key=lambda item: item[0].encode()):
        entry = f"{{{literal(name)}, {literal(text)}}}, "
        if len(line) + len(entry) > 121:
            print(line.rstrip())
            line = ""
        line += entry
    print(line.rstrip())


if __name__ == "__main__":
    main()
