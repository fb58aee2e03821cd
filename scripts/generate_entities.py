#!/usr/bin/env python3
"""Writes src/text/entity_table.c: the named character references of HTML5, from Python's html.entities.

Run from the repository's root: python3 scripts/generate_entities.py
"""
from html.entities import html5

entities = {}
for name, text in html5.items():
    bare = not name.endswith(";")
    key = name.rstrip(";")
    assert len(key) < 32 and len(text) <= 2
    entities[key] = (text, bare or entities.get(key, ("", False))[1])

lines = []
line = " "
for key in sorted(entities, key=lambda k: k.encode()):
    text, bare = entities[key]
    code = [f"0x{ord(c):X}" for c in text] + ["0"] * (2 - len(text))
    item = f' {{"{key}", {{{code[0]}, {code[1]}}}, {int(bare)}}},'
    if len(line) + len(item) > 120:
        lines.append(line)
        line = " "
    line += item
lines.append(line)

with open("src/text/entity_table.c", "w", encoding="ascii") as out:
    out.write("/* Made by scripts/generate_entities.py; not to be edited by hand. */\n")
    out.write('#include "text/text.h"\n\n')
    out.write("const mc_entity mc_entities[] = {\n")
    out.write("\n".join(lines))
    out.write("\n};\n\nconst size_t mc_n_entities = sizeof mc_entities / sizeof *mc_entities;\n")
